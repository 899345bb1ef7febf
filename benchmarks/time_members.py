#!/usr/bin/env python3
"""Times each member of the family of differential attention beside a Llama with as many query and key heads, turn about, and
prints the table of docs/variants.md: ratios of tokens per second, medians of the pairs, and of operations.

usage: benchmarks/time_members.py WORK_DIR [--threads 2] [--members NAME,...]

WORK_DIR (0.5 GB) gets the models: two layers of random bfloat16, for timing only. Needs build/release and numpy, ml_dtypes
and safetensors. Ten minutes or so; leave the machine alone meanwhile."""
import argparse
import json
import pathlib
import statistics
import subprocess

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

DIFFLLAMA = pathlib.Path(__file__).resolve().parent.parent / "build/release/bin/diffllama"
LAYERS, WIDTH, INNER, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY = 2, 1024, 2816, 16, 8, 64, 4000
NOISE_HEADS = 4  # of motif-2-12.7b: 12 signal heads
DEX_HEADS = HEADS // 4

COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "hidden_act": "silu",
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2, "dtype": "bfloat16",
}
LAMBDAS = {f"self_attn.lambda_{name}": (HEAD_DIM,) for name in ("q1", "k1", "q2", "k2")}
SUBLN = {"self_attn.subln.weight": (2 * HEAD_DIM,)}
POLY_NORM = {"mlp.act_fn.weight": (3,), "mlp.act_fn.bias": (1,)}
QK_NORM = {f"self_attn.{name}_norm.weight": (HEAD_DIM,) for name in "qk"}
DEX = {"self_attn.dex_proj.weight": (DEX_HEADS, HEAD_DIM, HEAD_DIM), "self_attn.dex_lambda": (DEX_HEADS,)}
MOTIF = {"model_type": "motif", "architectures": ["MotifForCausalLM"], "hidden_act": "poly_norm"}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}

# Name: config, tensors of a layer beside a Llama's, width that o_proj reads, and operations of values for each key of a
# token (docs/variants.md "What each costs"); those of scores are 2 H d for all.
ALL = 2 * HEADS * HEAD_DIM
MEMBERS = {
    "llama": (LLAMA, {}, HEADS * HEAD_DIM, ALL),
    "llama-qk-norm": (LLAMA | {"qk_norm": True}, QK_NORM, HEADS * HEAD_DIM, ALL),
    "dex": (LLAMA | {"dex": {"layers": list(range(LAYERS)), "heads": list(range(DEX_HEADS))}}, DEX, HEADS * HEAD_DIM, ALL),
    "diffllama": ({"model_type": "diffllama", "architectures": ["DiffLlamaForCausalLM"]}, LAMBDAS, HEADS * HEAD_DIM, ALL),
    "diff_transformer": ({"model_type": "diff_transformer", "architectures": ["DiffTransformerForCausalLM"]},
                         LAMBDAS | SUBLN, HEADS * HEAD_DIM, ALL),
    "diff_transformer_v2": ({"model_type": "diff_transformer_v2", "architectures": ["DiffTransformerV2ForCausalLM"]},
                            {"self_attn.lambda_proj.weight": (HEADS // 2, WIDTH)}, HEADS // 2 * HEAD_DIM, ALL // 2),
    "motif-2.6b": (MOTIF, LAMBDAS | SUBLN | POLY_NORM, HEADS * HEAD_DIM, ALL),
    "motif-2-12.7b": (MOTIF | {"num_noise_heads": NOISE_HEADS}, LAMBDAS | SUBLN | POLY_NORM,
                      (HEADS - NOISE_HEADS) * 2 * HEAD_DIM, 4 * (HEADS - NOISE_HEADS) * HEAD_DIM),
}


def shapes(own, output_width):
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        layer_shapes = {
            "self_attn.q_proj.weight": (HEADS * HEAD_DIM, WIDTH), "self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, WIDTH),
            "self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, WIDTH), "self_attn.o_proj.weight": (WIDTH, output_width),
            "mlp.gate_proj.weight": (INNER, WIDTH), "mlp.up_proj.weight": (INNER, WIDTH),
            "mlp.down_proj.weight": (WIDTH, INNER), "input_layernorm.weight": (WIDTH,),
            "post_attention_layernorm.weight": (WIDTH,)}
        for name, shape in (layer_shapes | own).items():
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (WIDTH,)


def write(folder, name):
    config, own, output_width, _ = MEMBERS[name]
    random = np.random.default_rng(0)
    tensors = {}
    for tensor, shape in shapes(own, output_width):
        ones = "norm" in tensor or "subln" in tensor
        value = np.ones(shape, np.float32) if ones else random.standard_normal(shape, dtype=np.float32) * 0.02
        tensors[tensor] = value.astype(ml_dtypes.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(COMMON | config, indent=1) + "\n")


# What is timed, and how many pairs: prompts of 512 and of 8,192 tokens, and decoding at depth 4,096. Each of a pair is the
# median of three runs in one process: where memory's speed moves, single runs lie further apart than members do.
TIMED = ((("-p", 512, "-n", 0), 13), (("-p", 8192, "-n", 0), 5), (("-p", 0, "-n", 32, "-d", 4096), 13))


def rate(model, threads, arguments):
    command = [DIFFLLAMA, "bench", "-m", model, "-t", threads, "-r", 3, "--json", *arguments]
    printed = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    return json.loads(printed)[0]["median_ts"]


def operations(name, keys):
    """Of a token that sees so many keys: two for each parameter of a matrix, and those of attention."""
    _, own, output_width, values = MEMBERS[name]
    matrices = sum(2 * int(np.prod(shape)) for tensor, shape in shapes(own, output_width) if len(shape) > 1)
    return matrices + LAYERS * keys * (2 * HEADS * HEAD_DIM + values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--members", default=",".join(name for name in MEMBERS if name != "llama"))
    options = parser.parse_args()
    names = options.members.split(",")
    for name in ("llama", *names):
        if not (options.work / name / "config.json").exists():
            write(options.work / name, name)
    print("| beside a Llama | prompt of 512 | prompt of 8,192 | decoding at depth 4,096 | operations, the same three |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        speeds = [statistics.median(rate(options.work / name, options.threads, arguments) /
                                    rate(options.work / "llama", options.threads, arguments) for _ in range(rounds))
                  for arguments, rounds in TIMED]
        counts = [operations(name, keys) / operations("llama", keys) for keys in (256, 4096, 4096)]
        print(f"| {name} | " + " | ".join(f"{speed:.2f}" for speed in speeds) + " | " +
              ", ".join(f"{count:.2f}" for count in counts) + " |", flush=True)


if __name__ == "__main__":
    main()
