#!/usr/bin/env python3
"""Makes python/tests/golden: what transformers computes in python/tests/scripts, and small heads for them.

In an environment with torch and transformers (CONTRIBUTING.md "How to make goldens"): tools/make_python_goldens.py
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

TESTS = Path(__file__).resolve().parents[1] / "python" / "tests"
sys.path.insert(0, str(TESTS))
from script_names import NAMES  # noqa: E402


def make_heads() -> None:
    config = dict(
        vocab_size=4096, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, pad_token_id=0, initializer_range=0.5, max_position_embeddings=256,
    )
    labels = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
    for seed, (name, kind, more) in enumerate((
        ("SEQUENCE", transformers.DiffLlamaForSequenceClassification, {"num_labels": 3}),
        ("ANSWER", transformers.DiffLlamaForQuestionAnswering, {}),
        ("TOKENS", transformers.DiffLlamaForTokenClassification, {"id2label": labels}),
    )):
        if (Path(NAMES[name]) / "model.safetensors").exists():
            continue
        torch.manual_seed(seed)
        model = kind(transformers.DiffLlamaConfig(**config, **more)).to(torch.bfloat16)
        model.save_pretrained(NAMES[name])


def plain(value):
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    return value


def main() -> None:
    make_heads()
    arrays, others = {}, {}
    for path in sorted((TESTS / "scripts").glob("*.py")):
        results = runpy.run_path(str(path), init_globals=NAMES)["results"]
        for key, value in results.items():
            value = plain(value)
            if key == "features":
                value = np.asarray(value, np.float32)
            if isinstance(value, np.ndarray):
                # What is large is sampled: the first 4,096 values, and the norm of all.
                arrays[f"{path.stem}/{key}"] = value.reshape(-1)[:4096]
                others[f"{path.stem}/{key}"] = [list(value.shape), float(np.linalg.norm(value.astype(np.float64)))]
            else:
                others[f"{path.stem}/{key}"] = value
    np.savez_compressed(TESTS / "golden" / "scripts.npz", **arrays)
    (TESTS / "golden" / "scripts.json").write_text(json.dumps(others, indent=1, sort_keys=True, default=float) + "\n")


main()
