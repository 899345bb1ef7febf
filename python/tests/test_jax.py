"""jax arrays go in without a copy and come out as jax arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import FORWARD, assert_close

import diffllama

jax = pytest.importorskip("jax")
IDS = np.array([[1, 5, 9, 3], [2, 7, 7, 4]])


@pytest.fixture(scope="module")
def causal() -> Any:
    return diffllama.AutoModelForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32", threads=2)


def test_outputs_are_jax_arrays(causal: Any) -> None:
    ids = jax.numpy.asarray(IDS)
    output = causal(ids, labels=ids, output_hidden_states=True)
    expected = causal(IDS, labels=IDS, output_hidden_states=True)
    for found, value in ((output.logits, expected.logits), (output.loss, expected.loss), *zip(output.hidden_states, expected.hidden_states)):
        assert isinstance(found, jax.Array) and np.array_equal(found, value)
    gradients = causal(ids, labels=ids, output_gradients=True).gradients
    assert isinstance(gradients["lm_head.weight"], jax.Array)
    found = causal.generate(ids, max_new_tokens=3, do_sample=False, ignore_eos=True)
    assert isinstance(found, jax.Array) and found.dtype.kind == "i"
    assert np.array_equal(found, causal.generate(IDS, max_new_tokens=3, do_sample=False, ignore_eos=True))
    embeddings = causal.get_input_embeddings()(ids)
    assert isinstance(embeddings, jax.Array)
    assert_close(causal(inputs_embeds=embeddings).logits, expected.logits)
    assert_close(causal(ids, attention_mask=jax.numpy.ones((2, 4)), logits_to_keep=jax.numpy.array([1, 3])).logits, expected.logits[:, [1, 3]])


def test_float32_goes_in_without_a_copy() -> None:
    """The engine reads the memory of a jax array: two views of it share an address."""
    values = jax.numpy.arange(24, dtype="float32").reshape(1, 3, 8)
    seen = np.from_dlpack(values)
    from diffllama.arrays import converter, engine_array

    assert engine_array(values) is values
    assert seen.__array_interface__["data"][0] == values.unsafe_buffer_pointer()
    out = np.zeros((64, 64), np.float32)
    made = converter(values)(out)
    assert isinstance(made, jax.Array) and made.shape == out.shape


def test_tokenizers_give_jax_arrays() -> None:
    tokenizer = diffllama.AutoTokenizer.from_pretrained()
    assert isinstance(tokenizer("To be", return_tensors="jax")["input_ids"], jax.Array)
