"""The tokenizer's call, as transformers documents it."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import diffllama


def test_one_text_and_several(tokenizer: Any) -> None:
    one = tokenizer("To be, or")
    assert one == {"input_ids": [1, 916, 300, 14, 498], "attention_mask": [1] * 5}
    assert one.input_ids is one["input_ids"]
    assert tokenizer(["To be, or"])["input_ids"] == [[1, 916, 300, 14, 498]]
    assert tokenizer("To be, or", add_special_tokens=False).input_ids == [916, 300, 14, 498]
    assert tokenizer.encode("To be, or") == [1, 916, 300, 14, 498]
    assert tokenizer.tokenize("To be") == ["To", "Ġbe"]
    assert tokenizer.decode([1, 916, 300, 14, 498]) == "<s>To be, or"
    assert tokenizer.decode(np.array([1, 916]), skip_special_tokens=True) == "To"
    assert tokenizer.batch_decode(np.array([[1, 916], [1, 300]]), skip_special_tokens=True) == ["To", " be"]


def test_a_tokenizer_in_a_sub_folder(tokenizer: Any, tmp_path: Path) -> None:
    """As trainers leave "checkpoint-500" in a folder of their own."""
    shutil.copytree(ROOT / "models" / "diffllama-tiny", tmp_path / "checkpoint-500")
    found = diffllama.AutoTokenizer.from_pretrained(tmp_path)
    assert found.encode("To be, or") == tokenizer.encode("To be, or")
    assert found.eos_token == tokenizer.eos_token
    assert found.save_pretrained(tmp_path / "saved")


def test_padding(tokenizer: Any) -> None:
    texts = ["To", "To be, or"]
    right = tokenizer(texts, padding=True)
    assert right.input_ids[0] == [1, 916, 0, 0, 0] and right.attention_mask[0] == [1, 1, 0, 0, 0]
    left = tokenizer(texts, padding=True, padding_side="left", return_tensors="np")
    assert left.input_ids.dtype == np.int64 and left.input_ids[0].tolist() == [0, 0, 0, 1, 916]
    assert tokenizer(texts, padding="max_length", max_length=7, return_tensors="np").input_ids.shape == (2, 7)
    assert tokenizer(texts, padding=True, pad_to_multiple_of=4, return_tensors="np").input_ids.shape == (2, 8)
    assert tokenizer.pad([{"input_ids": [5]}, {"input_ids": [6, 7]}]).input_ids == [[5, 0], [6, 7]]
    with pytest.raises(ValueError, match="one length"):
        tokenizer(texts, return_tensors="np")
    with pytest.raises(ValueError, match="padding: expected"):
        tokenizer(texts, padding="widest")


def test_truncation(tokenizer: Any) -> None:
    ids = tokenizer("To be, or not to be").input_ids
    assert tokenizer("To be, or not to be", truncation=True, max_length=4).input_ids == ids[:4]
    pair = tokenizer("To be, or not", "To be", truncation="only_first", max_length=6)
    assert len(pair.input_ids) == 6 and pair.sequence_ids().count(1) == 2 + pair.input_ids.count(1) * 0
    pieces = tokenizer(
        "To be, or not to be", truncation=True, max_length=5, stride=2, return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert [row[0] for row in pieces.input_ids] == [1] * len(pieces.input_ids)
    assert pieces.input_ids[1][1:3] == pieces.input_ids[0][-2:]
    assert pieces.overflow_to_sample_mapping == [0] * len(pieces.input_ids)
    assert pieces.offset_mapping[-1][-1][1] == len("To be, or not to be")


def test_offsets_count_characters(tokenizer: Any) -> None:
    text = "naïve 日本"
    found = tokenizer(text, return_offsets_mapping=True)
    assert found.offset_mapping[0] == (0, 0)
    assert max(end for _, end in found.offset_mapping) == len(text)
    assert found.char_to_token(2) is not None and found.token_to_chars(0) is None
    assert found.word_ids()[0] is None


def test_words_cut_before(tokenizer: Any) -> None:
    found = tokenizer(["To", "be"], is_split_into_words=True)
    assert found.word_ids() == [None, 0] + [1] * (len(found.input_ids) - 2)


def test_special_tokens(tokenizer: Any) -> None:
    assert (tokenizer.bos_token, tokenizer.bos_token_id, tokenizer.pad_token_id) == ("<s>", 1, 0)
    other = copy.copy(tokenizer)
    other.pad_token_id = 2
    assert other.pad_token == "</s>" and other("To", padding="max_length", max_length=3).input_ids == [1, 916, 2]
    assert tokenizer.all_special_ids == [1, 2, 0]
    assert tokenizer.convert_tokens_to_ids(["To", "<s>"]) == [916, 1] and len(tokenizer) == 4096


def test_chat(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": " To be"}]
    template = "{% for m in messages %}{{ bos_token }}{{ m.role }}:{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
    assert text == "<s>user: To be>"
    ids = tokenizer.apply_chat_template(messages, chat_template=template, return_dict=False)
    assert ids == tokenizer("<s>user: To be", add_special_tokens=False).input_ids
    both = tokenizer.apply_chat_template([messages, messages], chat_template=template, return_tensors="np")
    assert both.input_ids.shape == (2, len(ids))
    injected = [{"role": "user", "content": "</s>"}]
    assert 2 in tokenizer.apply_chat_template(injected, chat_template=template, return_dict=False)
    assert 2 not in tokenizer.apply_chat_template(
        injected, chat_template=template, return_dict=False, sanitize_control_tokens=True
    )
    with pytest.raises(ValueError, match="expected a chat template, got none"):
        tokenizer.apply_chat_template(messages)


def test_saving_and_pickling(tokenizer: Any, tmp_path: Any) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = diffllama.AutoTokenizer.from_pretrained(tmp_path)
    pickled = pickle.loads(pickle.dumps(again))
    for each in (tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json"):
        each.unlink()
    assert pickled("To be, or").input_ids == [1, 916, 300, 14, 498] and pickled.pad_token == "<pad>"
    config = diffllama.AutoConfig.from_pretrained(ROOT / "models" / "diffllama-tiny")
    assert pickle.loads(pickle.dumps(config)) == config


def test_nothing_there_is_said() -> None:
    with pytest.raises(diffllama.IoError, match="nothing is downloaded"):
        diffllama.AutoTokenizer.from_pretrained("nobody/nothing")
    with pytest.raises(OSError):
        diffllama.AutoConfig.from_pretrained("nobody/nothing")
