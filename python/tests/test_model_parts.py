"""Parts of a model by transformers' names, and what a module of torch has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from test_configuration import small

import diffllama

IDS = np.array([[1, 2, 3, 4]])


@pytest.mark.parametrize("tied", [False, True])
def test_layers_and_head(tied: bool) -> None:
    model: Any = diffllama.DiffLlamaForCausalLM(small(tie_word_embeddings=tied), dtype="float32")
    output = model(IDS, output_hidden_states=True)
    states = model.model(IDS)
    assert np.array_equal(states.last_hidden_state, output.hidden_states[-1]) and states.hidden_states is None
    assert_close(model.lm_head(states[0]), output.logits)
    assert (model.lm_head.in_features, model.lm_head.out_features) == (32, 64)
    assert model.get_output_embeddings().weight is model.lm_head.weight
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert len(model.model.layers) == 2
    named = dict(model.named_parameters())
    assert model.base_model.layers[1].self_attn.lambda_q1 is named["model.layers.1.self_attn.lambda_q1"]
    assert model.model.layers[-1].mlp.up_proj.weight is named["model.layers.1.mlp.up_proj.weight"]
    inner = dict(model.model.named_parameters())
    assert {f"model.{name}" for name in inner} == {name for name in named if name != "lm_head.weight"}
    with pytest.raises(AttributeError, match="'zap'"):
        model.zap  # noqa: B018
    with pytest.raises(AttributeError, match="'zap'"):
        model.model.zap  # noqa: B018


def test_other_heads() -> None:
    for head, name, rows in (("SequenceClassification", "score", 2), ("QuestionAnswering", "qa_outputs", 2)):
        model: Any = getattr(diffllama, f"DiffLlamaFor{head}")(small(pad_token_id=0), dtype="float32")
        assert tuple(getattr(model, name).weight.shape) == (rows, 32)
        states = model.base_model(IDS).last_hidden_state
        output = model(IDS)
        logits = getattr(model, name)(states)
        assert_close(logits[:, -1] if rows == 2 and head[0] == "S" else logits[..., 0], output.get("logits", output.get("start_logits")))
        assert model.get_output_embeddings() is None
    base = diffllama.DiffLlamaModel(small(), dtype="float32")
    assert base.base_model is base and base.vocab_size == 64
    assert len(base.layers) == 2


def test_module_attributes() -> None:
    model = diffllama.DiffLlamaForCausalLM(small(), dtype="float32")
    assert not model.training and model.train().training and not model.eval().training
    assert model.device.type == "cpu"
    assert str(model.dtype).endswith("float32")
    assert model.get_memory_footprint() > 1000
    whole = model.num_parameters()
    model.model.requires_grad_(False)
    assert model.num_parameters(only_trainable=True) == 64 * 32 < whole
    assert model.get_parameter("lm_head.weight") is model.lm_head.weight  # type: ignore[attr-defined]


def test_new_rows_of_embeddings() -> None:
    model = diffllama.DiffLlamaForCausalLM(small(), dtype="float32")
    old = np.array(model.state_dict()["model.embed_tokens.weight"])
    embeddings = model.resize_token_embeddings(70, mean_resizing=False)
    new = np.array(model.state_dict()["model.embed_tokens.weight"])
    assert embeddings.num_embeddings == model.vocab_size == model.config.vocab_size == 70 and np.array_equal(new[:64], old)  # type: ignore[attr-defined]
    assert 0.01 < new[64:].std() < 0.03 and abs(new[64:]).min() > 0
    assert model(IDS).logits.shape == (1, 4, 70)
    assert model.resize_token_embeddings(pad_to_multiple_of=64).num_embeddings == 128
    assert np.allclose(np.array(model.state_dict()["model.embed_tokens.weight"])[127], new.mean(axis=0), atol=1e-6)


def test_norms_compute() -> None:
    model: Any = diffllama.DiffLlamaForCausalLM(small(), dtype="float32")
    model.get_parameter("model.norm.weight").data = np.linspace(0.5, 2, 32, dtype=np.float32)
    states = np.random.default_rng(3).normal(size=(1, 4, 32)).astype(np.float32)
    wide = states.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * np.linspace(0.5, 2, 32)
    assert_close(model.model.norm(states), expected.astype(np.float32))
    assert model.model.norm.variance_epsilon == 1e-5
    assert model.model.layers[0].input_layernorm(states).shape == states.shape
    lens = model.lm_head(model.model.norm(model(IDS, output_hidden_states=True).hidden_states[1]))
    assert lens.shape == (1, 4, 64) and model.lm_head.bias is None
