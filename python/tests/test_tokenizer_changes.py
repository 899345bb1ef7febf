"""Tokenizers that are changed, saved and looked into, as transformers' are."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from conftest import ROOT

import diffllama

TINY = ROOT / "models" / "diffllama-tiny"
LINE = "To be, or not to be: that is the question."
OTHER = "Ça va? naïve 日本"
CHAT = [{"role": "user", "content": "hi there"}, {"role": "assistant", "content": "yo"}]


def opened(**kwargs: Any) -> Any:
    return diffllama.AutoTokenizer.from_pretrained(TINY, **kwargs)


def test_a_length_alone_truncates(tokenizer: Any) -> None:
    assert len(tokenizer(LINE, max_length=6).input_ids) == 6
    assert len(tokenizer(LINE, OTHER, max_length=6).input_ids) == 6
    with pytest.warns(UserWarning, match="max_length: ignored with padding=True"):
        assert len(tokenizer(LINE, max_length=6, padding=True).input_ids) == 14
    assert len(tokenizer(LINE, padding="max_length").input_ids) == 14  # no length to pad to
    assert len(tokenizer(LINE, truncation=True, max_length=0).input_ids) == 14  # nor room for BOS
    with pytest.raises(ValueError, match="expected a multiple of pad_to_multiple_of 4, got 6"):
        tokenizer(LINE, padding=True, truncation=True, max_length=6, pad_to_multiple_of=4)


def test_pieces_of_both_texts_of_a_pair(tokenizer: Any) -> None:
    cut = tokenizer(LINE, OTHER, truncation=True, max_length=6, stride=2, return_overflowing_tokens=True)
    first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in (LINE, OTHER))
    pieces = [[ids[i : i + 3] for i in range(len(ids) - 2)] for ids in (first, second)]
    expected = [a + b for a in pieces[0][1:] for b in pieces[1]]
    assert cut.input_ids[0] == pieces[0][0] + pieces[1][0]
    assert cut.input_ids[1 : 1 + len(expected)] == expected
    assert cut.input_ids[1 + len(expected) :] == [pieces[0][0] + b for b in pieces[1][1:]]
    assert [each.ids for each in cut[0].overflowing] == cut.input_ids[1:]


def test_pairs_of_words(tokenizer: Any) -> None:
    pair = tokenizer(["To", "be"], ["or", "not"], is_split_into_words=True)
    assert pair.sequence_ids() == [0, 0, 1, 1] and pair.word_ids() == [0, 1, 0, 1] and pair.n_sequences == 2
    several = tokenizer([["To", "be"]], [["or"]], is_split_into_words=True)
    assert several.sequence_ids() == [0, 0, 1]


def test_padding_keeps_other_fields(tokenizer: Any) -> None:
    found = tokenizer.pad([{"input_ids": [1, 2, 3], "labels": 1, "token_type_ids": [0, 0, 1]},
                           {"input_ids": [4], "labels": 2, "token_type_ids": [1]}])
    assert found == {"input_ids": [[1, 2, 3], [4, 0, 0]], "labels": [1, 2], "token_type_ids": [[0, 0, 1], [1, 0, 0]],
                     "attention_mask": [[1, 1, 1], [1, 0, 0]]}
    one = tokenizer.pad({"input_ids": [1, 2, 3]}, padding="max_length", max_length=5, padding_side="left")
    assert one == {"input_ids": [0, 0, 1, 2, 3], "attention_mask": [0, 0, 1, 1, 1]}
    arrays = tokenizer.pad([{"input_ids": np.array([1, 2])}, {"input_ids": np.array([3])}])
    assert isinstance(arrays.input_ids, np.ndarray) and arrays.input_ids.tolist() == [[1, 2], [3, 0]]
    with pytest.raises(ValueError, match="expected encoded texts with input_ids, got labels"):
        tokenizer.pad([{"labels": 1}])


def test_texts_of_ids(tokenizer: Any) -> None:
    ids = tokenizer(LINE).input_ids
    assert tokenizer.batch_decode(ids) == ["<s>" + LINE] and tokenizer.batch_decode([]) == []
    spaced = tokenizer("Hello , world !", add_special_tokens=False).input_ids
    assert tokenizer.decode(spaced, clean_up_tokenization_spaces=True) == "Hello , world !"  # a BPE's are its own
    assert tokenizer(LINE, return_length=True).length == [14]
    assert tokenizer.convert_tokens_to_string(tokenizer.tokenize(LINE)) == LINE
    assert tokenizer.convert_ids_to_tokens([1, 5]) == ["<s>", "#"]
    for wrong, shown in (([1.5], "1.5"), ("abc", "'abc'")):
        with pytest.raises(diffllama.InvalidArgument, match=f"ids: expected integers, got {shown}$"):
            tokenizer.decode(wrong)
    with pytest.raises(diffllama.InvalidArgument, match=r"text: expected characters, got half a surrogate pair, U\+D800, at 2$"):
        tokenizer("a \ud800")


def test_where_tokens_come_from(tokenizer: Any) -> None:
    found = tokenizer([LINE, OTHER], padding=True)
    assert found.word_to_tokens(0, 1) == (2, 3) and found.word_to_chars(0, 1) == (2, 5)
    assert found.token_to_word(0, 2) == 1 and found.token_to_sequence(0, 2) == 0 and found.char_to_word(0, 4) == 1
    span = found.token_to_chars(0, 2)
    assert (span.start, span.end) == (2, 5) and span == (2, 5)
    first = found[0]
    assert first.ids == found.input_ids[0] and first.tokens == found.tokens(0) and first.words == found.word_ids(0)
    assert first.attention_mask == found.attention_mask[0] and len(found.encodings) == 2
    assert found.data == dict(found) and found.n_sequences == 1 and tokenizer.is_fast
    arrays = found.convert_to_tensors("np")
    assert arrays.input_ids.shape == (2, len(first.ids))
    assert pickle.loads(pickle.dumps(found)).tokens(0) == found.tokens(0)
    with pytest.raises(ValueError, match="rows of one length"):
        tokenizer([LINE, OTHER]).convert_to_tensors("np")


def test_tokens_are_added(tmp_path: Path) -> None:
    changed = opened()
    assert changed.add_tokens(["<new1>", "<new2>", "To"]) == 2 and changed.add_tokens("<new1>") == 0
    assert len(changed) == 4098 and changed.vocab_size == 4096
    assert changed("a <new1> b").input_ids == [1, 67, 223, 4096, 273]
    assert changed.decode([1, 4097], skip_special_tokens=True) == "<new2>"
    assert changed.get_added_vocab() | {"To": 916} == {"<pad>": 0, "<s>": 1, "</s>": 2, "To": 916, "<new1>": 4096, "<new2>": 4097}
    assert changed.add_special_tokens({"pad_token": "<|pad|>", "extra_special_tokens": ["<x>"]}) == 2
    assert (changed.pad_token, changed.pad_token_id, len(changed)) == ("<|pad|>", 4098, 4100)
    assert changed.decode([4098, 4099, 5], skip_special_tokens=True) == "#"
    assert changed.extra_special_tokens == ["<x>"] and changed.all_special_ids[-1] == 4099
    assert str(changed.added_tokens_decoder[4098]) == "<|pad|>" and changed.added_tokens_decoder[4098].special
    mask = changed.get_special_tokens_mask([1, 5, 4098], already_has_special_tokens=True)
    assert mask == [1, 0, 1]
    changed.save_pretrained(tmp_path)
    for again in (diffllama.AutoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(changed)), copy.deepcopy(changed)):
        assert again("a <new1> b", padding="max_length", max_length=6).input_ids == [1, 67, 223, 4096, 273, 4098]
    with pytest.raises(ValueError, match="add_special_tokens: expected one of bos_token"):
        changed.add_special_tokens({"some_token": "<y>"})
    assert opened()("<new1>").input_ids != [1, 4096]  # others are not changed


def test_a_model_gets_room_for_them() -> None:
    changed = opened()
    changed.add_tokens(["<new>"])
    model = diffllama.AutoModelForCausalLM.from_pretrained(TINY, dtype="float32")
    model.resize_token_embeddings(len(changed))
    assert model(changed("<new>", return_tensors="np").input_ids).logits.shape[-1] == 4097


def test_what_stands_around_a_text(tmp_path: Path) -> None:
    assert opened(add_bos_token=False)("a").input_ids == [67]
    both = opened(add_eos_token=True)
    assert both("a").input_ids == [1, 67, 2] and both.add_bos_token and both.add_eos_token
    both.save_pretrained(tmp_path)
    assert diffllama.AutoTokenizer.from_pretrained(tmp_path)("a").input_ids == [1, 67, 2]
    both.add_eos_token = False
    assert both("a").input_ids == [1, 67]


def test_what_was_set_is_saved(tmp_path: Path) -> None:
    changed = opened()
    changed.pad_token, changed.model_max_length, changed.padding_side = "</s>", 77, "left"
    changed.chat_template = {"default": "D{{ messages|length }}", "rag": "R"}
    changed.save_pretrained(tmp_path)
    for again in (diffllama.AutoTokenizer.from_pretrained(tmp_path), pickle.loads(pickle.dumps(changed))):
        assert (again.pad_token, again.model_max_length, again.padding_side) == ("</s>", 77, "left")
        assert again.chat_template == {"default": "D{{ messages|length }}", "rag": "R"}
        assert again.apply_chat_template(CHAT, tokenize=False) == "D2"
        assert again.apply_chat_template(CHAT, tokenize=False, chat_template="rag") == "R"
    once_more = diffllama.AutoTokenizer.from_pretrained(tmp_path)
    once_more.save_pretrained(tmp_path / "copy")
    pickled = pickle.loads(pickle.dumps(once_more))
    assert pickled.chat_template == diffllama.AutoTokenizer.from_pretrained(tmp_path / "copy").chat_template == changed.chat_template
    once_more.chat_template = "one"
    once_more.save_pretrained(tmp_path)
    assert diffllama.AutoTokenizer.from_pretrained(tmp_path).chat_template == "one"
    changed.chat_template = {"../x": "y"}
    with pytest.raises(ValueError, match="names that are no paths"):
        changed.save_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.model", "tiktoken.model"])
def test_a_model_file_is_saved_and_pickled(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "tests/golden/tokenizer_model/tiktoken", source)
    (source / "tokenizer.model").rename(source / name)
    first = diffllama.AutoTokenizer.from_pretrained(source)
    first.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / name).read_bytes() == (source / name).read_bytes()
    for again in (diffllama.AutoTokenizer.from_pretrained(tmp_path / "saved"), pickle.loads(pickle.dumps(first))):
        assert again(LINE).input_ids == first(LINE).input_ids


def test_folders_of_templates(tmp_path: Path) -> None:
    opened().save_pretrained(tmp_path)
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("T")
    (tmp_path / "chat_template.jinja").write_text("D")
    tokenizer = diffllama.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.apply_chat_template(CHAT, tools=[], tokenize=False) == "T"
    assert tokenizer.get_chat_template() == "D" and tokenizer.get_chat_template("tool_use") == "T"
    tokenizer.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "additional_chat_templates" / "tool_use.jinja").read_text() == "T"


def test_a_gguf_tokenizer_is_saved(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    from diffllama import _core

    _core.convert_model(TINY, file)
    of_file = diffllama.AutoTokenizer.from_pretrained(file)
    of_file.save_pretrained(tmp_path / "saved")
    again = diffllama.AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again(LINE).input_ids == of_file(LINE).input_ids and again.eos_token == of_file.eos_token
    assert of_file.add_tokens("<new>") == 1 and of_file("<new>").input_ids == [1, 4096]


def test_broken_files_are_named(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "broken")
    (tmp_path / "broken" / "special_tokens_map.json").write_text("[1]")
    with pytest.raises(diffllama.FormatError, match="special_tokens_map.json"):
        diffllama.AutoTokenizer.from_pretrained(tmp_path / "broken")


def weather(city: str, unit: Literal["c", "f"], days: int = 3, tags: list[str] | None = None) -> str:
    """
    Tells the weather.

    Args:
        city: The city,
            and its country.
        unit: Of temperatures.
        days: How many.
        tags: Of interest.

    Returns:
        A text.
    """
    return ""


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city, and its country."},
                "unit": {"type": "string", "enum": ["c", "f"], "description": "Of temperatures."},
                "days": {"type": "integer", "description": "How many."},
                "tags": {"type": "array", "items": {"type": "string"}, "nullable": True, "description": "Of interest."},
            },
            "required": ["city", "unit"],
        },
        "return": {"type": "string", "description": "A text."},
    },
}


def test_functions_as_tools(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(CHAT, tools=[weather, {"a": 1}], chat_template="{{ tools|tojson }}", tokenize=False)
    assert json.loads(text) == [WEATHER, {"a": 1}]
    with pytest.raises(diffllama.InvalidArgument, match="tools: .*lambda.*: expected a docstring, got none"):
        tokenizer.apply_chat_template(CHAT, tools=[lambda x: x], chat_template="T", tokenize=False)
    with pytest.raises(ValueError, match="conversation: expected at least one message, got none"):
        tokenizer.apply_chat_template([], chat_template="T")


def test_functions_as_transformers_sees_them() -> None:
    utils = pytest.importorskip("transformers.utils")
    assert utils.get_json_schema(weather) == WEATHER


def test_masks_of_the_assistants_tokens(tokenizer: Any) -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}\n"
        "  {%- generation %}\n{{ m.content }} {% endgeneration %}\n{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
    )
    plain = tokenizer.apply_chat_template(CHAT, chat_template=template)
    found = tokenizer.apply_chat_template(CHAT, chat_template=template, return_assistant_tokens_mask=True)
    assert found.input_ids == plain.input_ids
    own = [i for i, marked in zip(found.input_ids, found.assistant_masks) if marked]
    assert tokenizer.decode(own).strip() == "yo"
    both = tokenizer.apply_chat_template(
        [CHAT, CHAT[:1]], chat_template=template, return_assistant_tokens_mask=True, padding=True, return_tensors="np"
    )
    assert both.assistant_masks.shape == both.input_ids.shape and both.assistant_masks[1].sum() == 0
    with pytest.raises(ValueError, match="expected a template with {% generation %}"):
        tokenizer.apply_chat_template(CHAT, chat_template="T", return_assistant_tokens_mask=True)


def test_calls_equal_those_of_transformers(tokenizer: Any) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(TINY)
    for options in (
        {"max_length": 6}, {"truncation": True, "max_length": 7, "stride": 1, "return_overflowing_tokens": True},
        {"truncation": "only_first", "max_length": 40, "stride": 3, "return_overflowing_tokens": True},
        {"truncation": True, "max_length": 0}, {"padding": "max_length"}, {"return_length": True, "padding": True},
    ):
        for texts in ((LINE,), (LINE, OTHER), ([LINE, OTHER], [OTHER, LINE + OTHER])):
            try:
                expected = dict(theirs(*texts, **options))
            except Exception:
                with pytest.raises(ValueError):
                    tokenizer(*texts, **options)
                continue
            assert dict(tokenizer(*texts, **options)) == expected, (texts, options)
    for side in ("left", "right"):
        own = opened(truncation_side=side)
        theirs.truncation_side = side
        options = {"truncation": True, "max_length": 8, "stride": 2, "return_overflowing_tokens": True}
        assert dict(own(LINE, OTHER, **options)) == dict(theirs(LINE, OTHER, **options))


CONTINUED = [
    (TEMPLATE := "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}", "I am ", "I am "),
    (TEMPLATE.replace("m.content", "m.content|trim"), "I am ", "I am"),
    (TEMPLATE + "<|assistant|>a", "a", "a"),  # what is continued also stands behind it
    (TEMPLATE.replace("m.content", "m.content[0].text"), [{"type": "text", "text": "I"}], "I"),
]


@pytest.mark.parametrize(("template", "content", "ending"), CONTINUED, ids=["kept", "trimmed", "behind", "parts"])
def test_a_last_message_is_continued(tokenizer: Any, template: str, content: Any, ending: str) -> None:
    chat = [{"role": "assistant", "content": content, "tool_calls": None}]
    text = tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, continue_final_message=True)
    assert text == "<|assistant|>" + ending
    try:
        import transformers
    except ImportError:
        return
    theirs = transformers.AutoTokenizer.from_pretrained(TINY)
    assert text == theirs.apply_chat_template(chat, chat_template=template, tokenize=False, continue_final_message=True)


def test_messages_without_texts(tokenizer: Any) -> None:
    chat = [{"role": "assistant", "content": None}]
    template = "{% for m in messages %}{{ m.content }}{{ m.content is defined }}{% endfor %}"
    assert tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False) == "False"
    with pytest.raises(ValueError, match="expected a text in content of the last message, got NoneType"):
        tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False, continue_final_message=True)
    with pytest.raises(ValueError, match="expected a template that writes the last message"):
        tokenizer.apply_chat_template(CHAT, chat_template="T", tokenize=False, continue_final_message=True)


def test_a_tokenizer_json_by_another_name(tmp_path: Path) -> None:
    shutil.copyfile(TINY / "tokenizer.json", tmp_path / "mine.json")
    own = diffllama.AutoTokenizer.from_pretrained(tmp_path / "mine.json")
    assert pickle.loads(pickle.dumps(own))("To be").input_ids == [1, 916, 300]
    assert own.add_tokens("<new>") == 1 and own("<new>").input_ids == [1, 4096]
    own.save_pretrained(tmp_path / "saved")
    assert diffllama.AutoTokenizer.from_pretrained(tmp_path / "saved")("<new>").input_ids == [1, 4096]
