#!/usr/bin/env python3
"""Makes tests/golden/gguf: small GGUF files, and the values that gguf-py and transformers read.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers safetensors gguf
    /tmp/venv/bin/python tools/make_gguf_goldens.py

  types.gguf       every tensor type, with random blocks and odd ones (zero, tiny and huge scales)
  types.safetensors      gguf-py's dequantize of each
  quantized.safetensors  float32 rows, and gguf-py's blocks of them
  llama.gguf       a Llama as llama.cpp's converter stores it: rows of q and k permuted
  llama.safetensors      the weights that transformers reads from llama.gguf
  diffllama.gguf   a DiffLlama with its config.json under diffllama.config, nothing permuted
  diffllama.safetensors  the weights it was made from

Everything follows from the seeds below, so a second run writes the same files.
"""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file
from transformers import (
    AutoModelForCausalLM,
    DiffLlamaConfig,
    DiffLlamaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

ROOT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "gguf"
LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    **{f"self_attn.lambda_{v}": f"attn_lambda_{v}" for v in ("q1", "k1", "q2", "k2")},
}
OTHER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def gguf_name(name):
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def add(writer, name, values, kind):
    data = gguf.quants.quantize(values, kind)
    writer.add_tensor(name, data, raw_dtype=kind)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def dequantized(path):
    return {
        t.name: np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float32)
        for t in gguf.GGUFReader(path).tensors
    }


def make_types():
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(ROOT / "types.gguf", "llama")
    for kind in (
        *(Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1),
        *(Type.Q5_0, Type.Q5_1),
    ):
        values = rng.standard_normal((6, 64)).astype(np.float32)
        values[1] = 0
        values[2] *= 1e-7  # float16 scales below the normal range
        values[3] *= 3e4
        values[4, ::3] = 5
        values[5] = np.abs(values[5]) + 2
        add(writer, kind.name, values, kind)
    # Bytes that no quantiser writes: every scale and quant, negative and infinite ones included.
    # gguf-py cannot make the K types, so these bytes are all that they are tried with.
    for kind in (
        *(Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1),
        *(Type.Q4_K, Type.Q5_K, Type.Q6_K),
    ):
        size = gguf.GGML_QUANT_SIZES[kind][1]
        blocks = rng.integers(0, 256, (8, 2 * size), dtype=np.uint8)
        writer.add_tensor(f"{kind.name}.bytes", blocks, raw_dtype=kind)
    finish(writer)
    save_file(dequantized(ROOT / "types.gguf"), ROOT / "types.safetensors")


def make_quantized():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((8, 64)).astype(np.float32)
    values[1] = 0
    values[2] *= 1e-7
    values[3] *= 3e4
    values[4] = np.abs(values[4]) + 2
    values[5] = -np.abs(values[5]) - 2
    values[6, ::5] = -values[6].max()  # extremes of both signs
    values[7] = np.round(values[7] * 4) / 4  # ties
    blocks = {
        kind.name: gguf.quants.quantize(values, kind)
        for kind in (Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1)
    }
    save_file({"values": values, **blocks}, ROOT / "quantized.safetensors")


def permuted(rows, heads):
    """llama.cpp's order: the halves of each head's rows in turns."""
    shape = rows.shape
    return rows.reshape(heads, 2, -1, *shape[1:]).swapaxes(1, 2).reshape(shape)


def make_llama():
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=48,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
        bos_token_id=3,
        eos_token_id=4,
    )
    state = LlamaForCausalLM(config).state_dict()
    kinds = {
        "q_proj": Type.Q4_1,
        "k_proj": Type.Q8_0,
        "v_proj": Type.Q4_0,
        "o_proj": Type.F16,
        "gate_proj": Type.BF16,
        "up_proj": Type.Q4_0,
        "down_proj": Type.Q4_1,
        "embed_tokens": Type.Q8_0,
        "lm_head": Type.Q8_0,
    }
    writer = gguf.GGUFWriter(ROOT / "llama.gguf", "llama")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(50000.0)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(48)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    # Three tokens fewer than rows: embeddings may be padded.
    writer.add_token_list([f"t{i}" for i in range(45)])
    writer.add_token_types([3] * 5 + [1] * 40)
    writer.add_token_merges(["t 1", "t 2"])
    writer.add_bos_token_id(3)
    writer.add_eos_token_id(4)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, tensor in state.items():
        values = tensor.numpy()
        part = name.split(".")[-2]
        if part in ("q_proj", "k_proj"):
            values = permuted(values, 4 if part == "q_proj" else 2)
        kind = kinds.get(part, Type.F32)
        add(writer, gguf_name(name), np.ascontiguousarray(values), kind)
    finish(writer)
    loaded = AutoModelForCausalLM.from_pretrained(
        ROOT, gguf_file="llama.gguf", dtype=torch.float32
    )
    save_file(
        {k: v.numpy().copy() for k, v in loaded.state_dict().items()}, ROOT / "llama.safetensors"
    )


def make_diffllama():
    torch.manual_seed(3)
    config = DiffLlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        hidden_act="gelu",
        lambda_std_dev=0.2,
        tie_word_embeddings=True,
        architectures=["DiffLlamaForCausalLM"],
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    )
    state = DiffLlamaForCausalLM(config).state_dict()
    del state["lm_head.weight"]
    writer = gguf.GGUFWriter(ROOT / "diffllama.gguf", "diffllama")
    writer.add_block_count(1)
    writer.add_string("diffllama.config", json.dumps(config.to_dict(), indent=2, sort_keys=True))
    for name, tensor in state.items():
        add(writer, gguf_name(name), tensor.numpy(), Type.F32)
    finish(writer)
    save_file({k: v.numpy().copy() for k, v in state.items()}, ROOT / "diffllama.safetensors")


if __name__ == "__main__":
    ROOT.mkdir(parents=True, exist_ok=True)
    make_types()
    make_quantized()
    make_llama()
    make_diffllama()
