"""Tokenizers as they are opened and called: what transformers' users write."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import diffllama

TINY = ROOT / "models" / "diffllama-tiny"


def opened(**kwargs: Any) -> Any:
    return diffllama.AutoTokenizer.from_pretrained(TINY, **kwargs)


def test_special_tokens_may_be_ordinary_text(tokenizer: Any, tmp_path: Path) -> None:
    as_text = tokenizer("x", add_special_tokens=False).input_ids + tokenizer.convert_tokens_to_ids(["<", "/", "s", ">"])
    assert tokenizer("x</s>", split_special_tokens=True, add_special_tokens=False).input_ids == as_text
    assert tokenizer.encode("x</s>", split_special_tokens=True) == [1, *as_text]
    assert tokenizer.tokenize("x</s>", split_special_tokens=True) == ["x", "<", "/", "s", ">"]
    pair = tokenizer("a", "é</s>", split_special_tokens=True, return_offsets_mapping=True)
    assert 2 not in pair.input_ids and pair.sequence_ids()[-5:] == [1] * 5 and pair.offset_mapping[-1] == (4, 5)
    words = tokenizer(["a", "</s>"], split_special_tokens=True, is_split_into_words=True)
    assert 2 not in words.input_ids and words.word_ids() == [None, 0, 1, 1, 1, 1]
    assert tokenizer("x</s>").input_ids == [1, as_text[0], 2]
    always = opened(split_special_tokens=True)
    assert always.encode("x</s>") == [1, *as_text]
    assert always("x</s>", split_special_tokens=False).input_ids == [1, as_text[0], 2]
    always.save_pretrained(tmp_path)
    for again in (diffllama.AutoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(always))):
        assert again.split_special_tokens and again.encode("x</s>") == [1, *as_text]


def test_special_tokens_are_added_when_it_is_opened(tmp_path: Path) -> None:
    tokenizer = opened(pad_token="<|pad|>", extra_special_tokens={"image_token": "<img>"})
    assert len(tokenizer) == 4098 and tokenizer("<img>").input_ids == [1, tokenizer.image_token_id]
    assert tokenizer.image_token == "<img>" and tokenizer.pad_token_id >= 4096
    assert tokenizer.all_special_tokens[-1] == "<img>"
    tokenizer.save_pretrained(tmp_path)
    again = diffllama.AutoTokenizer.from_pretrained(tmp_path)
    assert again("<img>").input_ids == [1, tokenizer.image_token_id] and "<img>" in again.extra_special_tokens
    named = opened(additional_special_tokens=["<x>"])
    assert named("<x>").input_ids == [1, 4096] and named.extra_special_tokens == ["<x>"]
    with pytest.raises(AttributeError, match="image_token"):
        assert named.image_token


def test_a_tokenizer_of_one_file(tokenizer: Any, tmp_path: Path) -> None:
    alone = diffllama.PreTrainedTokenizerFast(tokenizer_file=TINY / "tokenizer.json", pad_token="<pad>", eos_token="</s>")
    assert alone("To be").input_ids == tokenizer("To be").input_ids
    assert alone.pad_token_id == 0 and alone.bos_token is None
    with pytest.raises(diffllama.IoError, match="no.json"):
        diffllama.PreTrainedTokenizerFast(tokenizer_file=tmp_path / "no.json")
    with pytest.raises(diffllama.InvalidArgument, match="expected a path, a tokenizer_file or a tokenizer_object"):
        diffllama.PreTrainedTokenizerFast()
    tokenizers = pytest.importorskip("tokenizers")
    made = diffllama.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_file(str(TINY / "tokenizer.json")))
    assert made("To be").input_ids == tokenizer("To be").input_ids


def test_nothing_to_encode(tokenizer: Any) -> None:
    assert tokenizer("a", "").input_ids == tokenizer("a").input_ids == [1, 67]
    assert tokenizer(["a"], [""]).input_ids == [[67]]  # a pair, which this tokenizer puts no BOS before
    empty = tokenizer("", add_special_tokens=False, return_tensors="np", return_offsets_mapping=True)
    assert all(each.dtype == np.int64 for each in empty.values())


def test_lengths_that_leave_no_room(tokenizer: Any) -> None:
    assert tokenizer("a b c", truncation="only_first", max_length=1).input_ids == [1]
    with pytest.raises(ValueError, match="stride: expected at most the 2 tokens"):
        tokenizer("a b c", truncation=True, max_length=3, stride=3)
    with pytest.raises(ValueError, match="stride: expected at most the 2 tokens"):
        tokenizer("a", truncation=True, max_length=3, stride=3)
    assert len(tokenizer("a b c d", truncation=True, max_length=3, padding="do_not_pad", pad_to_multiple_of=4).input_ids) == 3
