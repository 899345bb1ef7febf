#!/usr/bin/env python3
"""Writes a Llama and a DiffLlama of one shape, 0.35 B parameters of random bfloat16, for timing only.

usage: make_models.py OUT_DIR
OUT_DIR/llama, OUT_DIR/diffllama: Hugging Face directories without a tokenizer.
Needs numpy, ml_dtypes and safetensors."""
import json
import pathlib
import sys

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

LAYERS, WIDTH, INNER, HEADS, KV_HEADS, VOCABULARY = 24, 1024, 2816, 16, 8, 32000
HEAD_DIM = WIDTH // HEADS


def shapes(lambdas):
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{prefix}self_attn.{name}_proj.weight", (rows * HEAD_DIM, WIDTH)
        yield prefix + "self_attn.o_proj.weight", (WIDTH, WIDTH)
        yield prefix + "mlp.gate_proj.weight", (INNER, WIDTH)
        yield prefix + "mlp.up_proj.weight", (INNER, WIDTH)
        yield prefix + "mlp.down_proj.weight", (WIDTH, INNER)
        yield prefix + "input_layernorm.weight", (WIDTH,)
        yield prefix + "post_attention_layernorm.weight", (WIDTH,)
        if lambdas:
            for name in ("q1", "k1", "q2", "k2"):
                yield f"{prefix}self_attn.lambda_{name}", (HEAD_DIM,)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (VOCABULARY, WIDTH)


def write(out, model_type, architecture):
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in shapes(model_type == "diffllama"):
        if name.endswith("norm.weight"):
            value = np.ones(shape, np.float32)
        else:
            value = random.standard_normal(shape, dtype=np.float32) * (0.1 if "lambda" in name else 0.02)
        tensors[name] = value.astype(ml_dtypes.bfloat16)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": model_type, "architectures": [architecture], "vocab_size": VOCABULARY,
        "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "hidden_act": "silu", "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        "dtype": "bfloat16",
    }
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    write(folder / "llama", "llama", "LlamaForCausalLM")
    write(folder / "diffllama", "diffllama", "DiffLlamaForCausalLM")
