"""Every head against what transformers computed, arrays of every kind, caches and losses."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from conftest import FORWARD, assert_close, load_case

import diffllama

CASES = json.loads((FORWARD / "cases.json").read_text())
AUTO = {
    "Model": diffllama.AutoModel,
    "ForCausalLM": diffllama.AutoModelForCausalLM,
    "ForSequenceClassification": diffllama.AutoModelForSequenceClassification,
    "ForQuestionAnswering": diffllama.AutoModelForQuestionAnswering,
    "ForTokenClassification": diffllama.AutoModelForTokenClassification,
}
MODELS = [
    "diffllama_base", "diffllama_causal", "diffllama_sequence_3", "diffllama_sequence_regression",
    "diffllama_sequence_multi", "diffllama_qa", "diffllama_token", "diffllama_tied", "diffllama_rope_llama3",
    "diffllama_sharded", "llama_base", "llama_causal", "llama_sequence_3", "llama_qa", "llama_token", "v1_causal",
    "v2_causal", "motif_base", "dex_qa",
]


def open_model(name: str, **kwargs: Any) -> Any:
    architecture = json.loads((FORWARD / name / "config.json").read_text())["architectures"][0]
    head = "Model" if architecture.endswith("Model") else "For" + architecture.split("For", 1)[1]
    return AUTO[head].from_pretrained(FORWARD / name, dtype="float32", threads=2, **kwargs)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_equal_transformers(name: str) -> None:
    model = open_model(name)
    for case, settings in CASES[name].items():
        if settings["length_dependent"] or settings["not_comparable"]:
            continue
        golden = load_case(name, case)
        output = model(
            **golden["inputs"], output_hidden_states=True, output_attentions=True, use_cache=False,
            **({"logits_to_keep": settings["logits_to_keep"]} if settings["logits_to_keep"] else {}),
        )
        for key, expected in golden["outputs"].items():
            found, _, layer = key.partition(".")
            value = output[found] if not layer else output[found][int(layer)]
            if key == "loss":
                value = np.reshape(value, expected.shape)
            assert_close(value, expected)


@pytest.mark.parametrize("name", ["diffllama_gradients", "diffllama_gradients_qa", "diffllama_gradients_sequence"])
def test_backward_gives_transformers_gradients(name: str) -> None:
    model = open_model(name)
    case = next(case for case in CASES[name] if load_case(name, case)["gradients"])
    golden = load_case(name, case)
    model(**golden["inputs"]).loss.backward()
    found = {f"grad.{parameter}": each.grad for parameter, each in model.named_parameters()}
    assert set(found) == set(golden["gradients"])
    # Some are zero but for rounding: they are held to a thousandth of the largest.
    floor = 1e-3 * max(np.abs(each).max() for each in golden["gradients"].values())
    for key, expected in golden["gradients"].items():
        assert_close(found[key], expected, 1e-4, floor)
    model(**golden["inputs"]).loss.backward()  # a second one is added
    key, expected = next(iter(golden["gradients"].items()))
    assert_close(dict(model.named_parameters())[key.removeprefix("grad.")].grad, 2 * expected, 1e-4, floor)
    model.zero_grad()
    assert next(model.parameters()).grad is None


def test_outputs_are_attributes_keys_and_a_tuple(model: Any) -> None:
    output = model(np.array([[1, 916, 300]]))
    assert output[0] is output.logits is output["logits"]
    assert list(output) == ["logits", "past_key_values"]
    assert output.cache is output.past_key_values is output["past_key_values"]
    assert output.loss is None and "loss" not in output
    assert len(output.to_tuple()) == 2
    with pytest.raises(AttributeError, match="no field 'x'"):
        output.x  # noqa: B018
    assert isinstance(model(np.array([[1]]), return_dict=False), tuple)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int16, np.uint16])
def test_integers_of_any_width(model: Any, dtype: Any) -> None:
    ids = np.array([[1, 916, 300]], dtype)
    assert np.array_equal(model(ids).logits, model([[1, 916, 300]]).logits)


def test_strided_arrays_are_read_right(model: Any) -> None:
    wide = np.array([[1, 7, 916, 7, 300, 7]])
    assert np.array_equal(model(wide[:, ::2]).logits, model(np.array([[1, 916, 300]])).logits)


def test_arrays_are_borrowed_not_copied(model: Any) -> None:
    """The cache's last token sees what is in the caller's memory when the model runs."""
    ids = np.array([[1, 916, 300]])
    before = model(ids).logits
    ids[0, 2] = 14
    assert not np.array_equal(before, model(ids).logits)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": np.array([1, 2])}, "input_ids"),
        ({"input_ids": np.array([[4096]])}, "4096"),
        ({"input_ids": np.array([[0.5]])}, "expected integers"),
        ({"input_ids": "text"}, "expected an array"),
        ({}, "input_ids"),
        ({"input_ids": np.array([[1, 2]]), "attention_mask": np.ones((1, 5), np.int64)}, "attention_mask"),
    ],
)
def test_wrong_inputs_are_named(model: Any, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises((diffllama.InvalidArgument, TypeError), match=message):
        model(**inputs)


def test_a_cache_changes_no_bit(model: Any) -> None:
    ids = np.array([[1, 916, 300, 14, 498]])
    whole = model(ids).logits
    cache = diffllama.DynamicCache()
    first = model(ids[:, :3], past_key_values=cache)
    assert cache.get_seq_length() == 3 and first.past_key_values is cache
    other = copy.deepcopy(cache)
    assert np.array_equal(model(ids[:, 3:], past_key_values=cache).logits, whole[:, 3:])
    assert np.array_equal(model(ids[:, 3:], cache=other).logits, whole[:, 3:])
    cache.crop(-2)
    assert np.array_equal(model(ids[:, 3:], past_key_values=cache).logits, whole[:, 3:])
    cache.batch_repeat_interleave(2)
    assert cache.batch_size == 2


def test_embeddings_in_place_of_ids(model: Any) -> None:
    ids = np.array([[1, 916, 300]])
    embeddings = model.get_input_embeddings()
    assert np.array_equal(model(inputs_embeds=embeddings(ids)).logits, model(ids).logits)


def test_another_head_on_the_same_layers() -> None:
    base = diffllama.DiffLlamaModel.from_pretrained(FORWARD / "diffllama_causal", dtype="float32")
    golden = load_case("diffllama_causal", "plain")
    states = golden["outputs"]["hidden_states.2"]
    assert_close(base(golden["inputs"]["input_ids"]).last_hidden_state, states)
    with pytest.warns(UserWarning, match="score"):
        model = diffllama.DiffLlamaForSequenceClassification.from_pretrained(FORWARD / "diffllama_causal", num_labels=5)
    assert model.config.num_labels == 5
    assert model(golden["inputs"]["input_ids"][:1]).logits.shape == (1, 5)


def test_the_wrong_family_is_refused() -> None:
    with pytest.raises(diffllama.ConfigError, match="expected llama for LlamaForCausalLM, got diffllama"):
        diffllama.LlamaForCausalLM.from_pretrained(FORWARD / "diffllama_causal")


def test_new_models_and_their_parameters(tmp_path: Any) -> None:
    config = diffllama.DiffLlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0,
    )
    model = diffllama.AutoModelForCausalLM.from_config(config, seed=3)
    assert type(model) is diffllama.DiffLlamaForCausalLM
    assert model.num_parameters() == sum(value.size for value in model.state_dict().values())
    ids = np.array([[1, 2, 3]])
    before = model(ids).logits
    model.save_pretrained(tmp_path)
    again = diffllama.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert np.array_equal(again(ids).logits, before)
    assert again.config == diffllama.AutoConfig.from_pretrained(tmp_path)
    again.resize_token_embeddings(70)
    assert again(ids).logits.shape == (1, 3, 70)
    # A step downhill lowers the loss.
    loss = model(ids, labels=ids).loss
    loss.backward()
    model.load_state_dict({name: each.data - 0.1 * each.grad for name, each in model.named_parameters()})
    assert model(ids, labels=ids).loss < loss
    with pytest.raises(diffllama.InvalidArgument, match="missing"):
        model.load_state_dict({})
    with pytest.raises(diffllama.InvalidArgument, match=r"expected float32 \[64, 32\]"):
        next(model.parameters()).data = np.zeros(3)
