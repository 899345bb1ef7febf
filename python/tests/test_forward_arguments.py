"""Arguments of forward beyond ids: masks, labels' options, indices of logits, caches, wrong kinds of arrays."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from conftest import FORWARD, assert_close
from test_configuration import small

import diffllama

IDS = np.array([[1, 5, 9, 3], [2, 7, 7, 4]])
HAS_TORCH = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("transformers") is not None


@pytest.fixture(scope="module")
def causal() -> Any:
    return diffllama.AutoModelForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32", threads=2)


@pytest.mark.parametrize("hidden", [-1e4, -3.4028235e38, -np.inf])
def test_masks_that_are_added(causal: Any, hidden: float) -> None:
    seen = np.tril(np.ones((4, 4), bool))[None, None].repeat(2, axis=0)
    seen[1, :, 2:, 0] = False
    added = np.where(seen, np.float32(0), np.float32(hidden))
    assert np.array_equal(causal(IDS, attention_mask=added).logits, causal(IDS, attention_mask=seen).logits)


@pytest.mark.parametrize("value", [0.5, -0.5, -3.0, 1.0, np.nan])
def test_masks_that_are_a_bias_are_refused(causal: Any, value: float) -> None:
    added = np.zeros((2, 1, 4, 4), np.float32)
    added[0, 0, 2, 1] = value
    with pytest.raises(diffllama.InvalidArgument, match="attention_mask: expected 0, or at most -10000"):
        causal(IDS, attention_mask=added)


def test_logits_of_indices(causal: Any) -> None:
    whole = causal(IDS).logits
    for indices in ([0], [1, 3], [3, 0, 3], [-1]):
        assert_close(causal(IDS, logits_to_keep=np.array(indices)).logits, whole[:, indices])
    assert_close(causal(IDS, logits_to_keep=np.int64(2)).logits, whole[:, 2:])
    for wrong in (2.7, "2", None):
        with pytest.raises(TypeError, match="logits_to_keep: expected an integer"):
            causal(IDS, logits_to_keep=wrong)
    for bad in (-1, np.array([4]), np.array([-5]), np.array([0.5]), np.array([[1]]), np.array([], np.int64)):
        with pytest.raises(diffllama.InvalidArgument, match="logits_to_keep: expected"):
            causal(IDS, logits_to_keep=bad)


def test_options_of_the_loss(causal: Any) -> None:
    plain = causal(IDS, labels=IDS).loss
    assert_close(causal(IDS, labels=IDS, num_items_in_batch=12).loss, plain * np.float32(0.5))
    labels = IDS.copy()
    labels[0, 2] = labels[1, 3] = -100
    expected = causal(IDS, labels=labels).loss
    assert_close(causal(IDS, labels=np.where(labels == -100, 55, labels), ignore_index=55).loss, expected)
    shifted = np.concatenate([labels[:, 1:], np.full((2, 1), -100)], axis=1)
    assert_close(causal(IDS, labels=IDS, shift_labels=shifted).loss, expected)
    assert_close(causal(IDS, labels=IDS, shift_labels=shifted, num_items_in_batch=8).loss, expected * np.float32(0.5))
    assert causal(IDS, labels=np.full_like(IDS, -100), num_items_in_batch=4).loss == 0
    for name in ("num_items_in_batch", "ignore_index"):
        with pytest.raises(diffllama.InvalidArgument, match=f"{name}: expected labels with it"):
            causal(IDS, **{name: 3})
    with pytest.raises(diffllama.InvalidArgument, match="shift_labels: expected .* last column is -100"):
        causal(IDS, labels=IDS, shift_labels=IDS)
    with pytest.raises(diffllama.InvalidArgument, match="num_items_in_batch: expected more than 0"):
        causal(IDS, labels=IDS, num_items_in_batch=0)
    first, second = (
        causal(IDS, labels=IDS, output_gradients=True, **options).gradients["lm_head.weight"]
        for options in ({}, {"num_items_in_batch": 12})
    )
    assert_close(second, first * np.float32(0.5))


@pytest.mark.skipif(not HAS_TORCH, reason="no torch and transformers")
def test_options_of_the_loss_are_transformers() -> None:
    import torch
    import transformers

    theirs = transformers.DiffLlamaForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype=torch.float32)
    ours: Any = diffllama.DiffLlamaForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32")
    ids = torch.from_numpy(IDS)
    shifted = torch.tensor([[5, 9, -100, -100], [7, 7, 4, -100]])
    for options in (
        {"num_items_in_batch": 5}, {"num_items_in_batch": torch.tensor(5)}, {"ignore_index": 7}, {"shift_labels": shifted},
        {"ignore_index": 9, "num_items_in_batch": 3},
    ):
        for model in (theirs, ours):
            model.zero_grad()
        losses = [model(ids, labels=ids, **options).loss for model in (theirs, ours)]
        assert_close(losses[1].detach(), losses[0].detach())
        for loss in losses:
            loss.backward()
        gradients = [model.get_parameter("lm_head.weight").grad for model in (theirs, ours)]
        assert_close(gradients[1], gradients[0], 1e-4)
    with torch.no_grad():
        whole = theirs(ids, logits_to_keep=torch.tensor([2, 0])).logits
    assert_close(ours(ids, logits_to_keep=torch.tensor([2, 0])).logits.detach(), whole)


def test_arguments_that_there_are_none_of(causal: Any) -> None:
    base = diffllama.AutoModel.from_pretrained(FORWARD / "diffllama_base")
    for model, name in ((causal, "num_items"), (base, "labels"), (base, "logits_to_keep"), (causal, "keeps_cache")):
        with pytest.raises(TypeError, match=f"forward: got an unexpected argument '{name}'"):
            model(IDS, **{name: 1})
    causal(IDS, cache_position=np.arange(4))  # older callers'


def test_a_loss_comes_with_the_cache(causal: Any) -> None:
    output = causal(IDS, labels=IDS)
    assert list(output) == ["loss", "logits", "past_key_values"]
    assert output.past_key_values.get_seq_length() == 4


def test_fields_of_an_output_stay(causal: Any) -> None:
    output = causal(IDS)
    for wrong in (lambda: output.pop("logits"), lambda: output.__delitem__("logits"), lambda: output.update(loss=1), output.clear):
        with pytest.raises(TypeError, match="expected its fields to stay"):
            wrong()
    output["loss"] = 1
    assert output.loss == 1 and list(causal(IDS)) == ["logits", "past_key_values"]


def test_one_position_alone_gives_no_loss() -> None:
    model = diffllama.AutoModelForQuestionAnswering.from_pretrained(FORWARD / "diffllama_qa", dtype="float32")
    assert model(IDS, start_positions=np.array([1, 2])).loss is None
    assert model(IDS, start_positions=np.array([1, 2]), end_positions=np.array([2, 3])).loss > 0


def test_a_cache_belongs_to_one_model_as_it_is(causal: Any) -> None:
    cache = diffllama.DynamicCache()
    assert len(cache) == 0 and not cache.is_initialized
    causal(IDS, past_key_values=cache)
    assert len(cache) == causal.config.num_hidden_layers and cache.get_seq_length() == 4
    other = diffllama.AutoModelForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32")
    with pytest.raises(diffllama.InvalidArgument, match="got one of another"):
        other(IDS[:, :1], past_key_values=cache)
    with pytest.raises(diffllama.InvalidArgument, match="expected a DynamicCache, got tuple"):
        causal(IDS[:, :1], past_key_values=((1, 2),))
    with pytest.raises(TypeError, match="no look at keys and values"):
        iter(cache)
    with pytest.raises(AttributeError, match="no look at keys and values"):
        cache.layers  # noqa: B018
    static = diffllama.StaticCache(other.config, max_cache_len=8)
    other(IDS, past_key_values=static)
    other.resize_token_embeddings(60)
    with pytest.raises(diffllama.InvalidArgument, match="from before its parameters or vocab_size changed"):
        other(IDS[:, :1], past_key_values=static)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"attention_mask": "abc"}, "attention_mask: expected an array of numbers .*, got str"),
        ({"input_ids": np.array([[2**63 + 5]], np.uint64)}, r"input_ids: expected integers below 2\^63"),
        ({"input_ids": np.array([["a"]])}, "input_ids: expected an array of numbers .*, got numpy.ndarray of <U1"),
        ({"input_ids": np.array([[1.5]])}, "input_ids: expected integers, got numpy.ndarray of float64"),
        ({"labels": object()}, "labels: expected an array .*, got object"),
    ],
    ids=["text", "large", "strings", "fractions", "object"],
)
def test_wrong_arrays_are_named(causal: Any, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(diffllama.InvalidArgument, match=message):
        causal(**{"input_ids": IDS, **inputs})


def test_arrays_of_the_other_byte_order(causal: Any) -> None:
    assert np.array_equal(causal(IDS.astype(">i8")).logits, causal(IDS).logits)
    embeddings = causal.get_input_embeddings()(IDS)
    assert np.array_equal(causal(inputs_embeds=embeddings.astype(">f4")).logits, causal(inputs_embeds=embeddings).logits)


def test_new_models_are_no_ones_else() -> None:
    model = diffllama.DiffLlamaForCausalLM(small())
    with pytest.raises(diffllama.ConfigError, match="expected llama"):
        diffllama.LlamaForCausalLM(model.config)
