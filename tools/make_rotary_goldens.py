#!/usr/bin/env python3
"""Writes tests/golden/rotary.json: rotary frequencies, cosines and sines as transformers computes them.

In a scratch virtual environment: pip install torch transformers; python tools/make_rotary_goldens.py
"""

import json
import pathlib

import torch
import transformers
from transformers import DiffLlamaConfig
from transformers.models.diffllama.modeling_diffllama import DiffLlamaRotaryEmbedding

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "rotary.json"


def factors(count, first, last):
    return [round(first + (last - first) * i / (count - 1), 4) for i in range(count)]


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONGROPE = {"rope_type": "longrope", "short_factor": factors(24, 1.0, 1.5), "long_factor": factors(24, 1.0, 32.0)}
# head_dim, max_position_embeddings, rotary fields of config.json, sequence lengths
CASES = [
    (8, 128, {}, [100]),
    (64, 2048, {"rope_theta": 10000.0}, [2048, 100000]),
    (128, 8192, {"rope_theta": 500000.0}, [8192, 100000]),
    (80, 2048, {"rope_theta": 1e6, "rope_scaling": None}, [300]),
    (30, 2048, {"rope_theta": 12345, "partial_rotary_factor": 0.5}, [2048]),
    (64, 4096, {"rope_scaling": {"type": "linear", "factor": 4}}, [4096, 100000]),
    (16, 128, {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 700.0}}, [128]),
    (16, 128, {"rope_scaling": {"type": "linear", "factor": 0.5}}, [128]),
    (16, 100, {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, [50, 100, 101, 250, 1000, 100000]),
    (64, 2048, {"rope_theta": 50000.0, "rope_scaling": {"type": "dynamic", "factor": 3.7}}, [2048, 2049, 5000]),
    (4, 64, {"rope_scaling": {"type": "dynamic", "factor": 4}}, [64, 65, 777]),
    (6, 64, {"rope_scaling": {"type": "dynamic", "factor": 0.75}}, [64, 200]),
    (64, 8192, {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}},
     [1000, 100000]),
    (32, 4096, {"rope_scaling": {"type": "yarn", "factor": None, "original_max_position_embeddings": 512}}, [4096]),
    (32, 4096, {"rope_scaling": {"type": "yarn", "factor": 8, "beta_fast": 20, "beta_slow": 2.5,
                                 "attention_factor": 0.8}}, [4096]),
    (32, 4096, {"rope_scaling": {"type": "yarn", "factor": 8.0, "beta_fast": 0, "mscale": 0.707,
                                 "mscale_all_dim": 0.4}}, [4096]),
    (32, 4096, {"rope_scaling": {"type": "yarn", "factor": 8.0, "mscale": 0.707}}, [4096]),
    (48, 4096, {"original_max_position_embeddings": 1024,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "truncate": False}}, [4096]),
    (48, 4096, {"rope_scaling": {"type": "yarn", "factor": 4.0, "truncate": None}}, [4096]),
    (4, 32, {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 8}}, [32]),
    (48, 4096, {"rope_scaling": {**LONGROPE, "original_max_position_embeddings": 512}}, [512, 513, 4096]),
    (48, 4096, {"original_max_position_embeddings": 1024, "rope_scaling": {**LONGROPE, "factor": 2.0}}, [1024, 1025]),
    (48, 4096, {"rope_parameters": {**LONGROPE, "attention_factor": 1.3}}, [4096, 4097]),
    (64, 131072, {"rope_theta": 500000.0,
                  "rope_scaling": {**LLAMA3, "original_max_position_embeddings": 8192}}, [1000, 100000]),
    (32, 1024, {"rope_scaling": {**LLAMA3, "factor": 3.5, "high_freq_factor": 3.0}}, [1024]),
    (32, 1024, {"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0, "high_freq_factor": 4.0}}, [1024]),
]


def run(head_dim, max_positions, fields, length):
    # The rotary module changes the dictionaries that it is given, and remembers the longest length.
    config = DiffLlamaConfig(head_dim=head_dim, hidden_size=64, num_attention_heads=4, num_key_value_heads=2,
                             max_position_embeddings=max_positions, **json.loads(json.dumps(fields)))
    rotary = DiffLlamaRotaryEmbedding(config)
    positions = sorted({0, 1, 7, length // 2, length - 1})
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32), torch.tensor([positions]))
    half = head_dim // 2
    return {"length": length, "attention_scaling": float(rotary.attention_scaling),
            "inverse": rotary.inv_freq.tolist(), "positions": positions,
            "cos": cos[0, :, :half].tolist(), "sin": sin[0, :, :half].tolist()}


def shortened(value):
    """The shortest text of each float32, to keep the file small."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [shortened(v) for v in value]
    return value


def main():
    cases = []
    for head_dim, max_positions, fields, lengths in CASES:
        runs = [run(head_dim, max_positions, fields, length) for length in lengths]
        cases.append({"head_dim": head_dim, "max_position_embeddings": max_positions, "fields": fields,
                      "runs": [{k: shortened(v) for k, v in r.items()} for r in runs]})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(f'{{"transformers":"{transformers.__version__}","cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
