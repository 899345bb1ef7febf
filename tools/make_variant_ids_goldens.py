#!/usr/bin/env python3
"""Writes tests/golden/variant_ids.json: what members of the family generate greedily, by the references of variants.py.

In a scratch virtual environment: pip install torch transformers; python tools/make_variant_ids_goldens.py

Each step runs the whole sequence anew. A prompt is taken where the two largest logits of every step lie at least 1e-3
of the largest apart, so that rounding cannot choose another token.
"""

import json
from pathlib import Path

import torch

import reference

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
MODELS = ("v1_causal", "v1_pairs", "v1_odd_group", "v2_causal", "v2_three_key_heads", "motif_pairs", "motif_grouped",
          "motif_bias", "llama_qk_norm", "llama_qk_norm_gqa", "llama_dex")
NEW_TOKENS = 12


@torch.no_grad()
def greedy(model, prompt):
    """The new ids, or None where a choice is too close."""
    ids = list(prompt)
    for _ in range(NEW_TOKENS):
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        best, second = logits.topk(2).values.tolist()
        if best - second < 1e-3 * logits.abs().max().item():
            return None
        ids.append(int(logits.argmax()))
    return ids[len(prompt):]


def main():
    golden = {}
    for name in MODELS:
        model = reference.load(GOLDEN / "forward" / name)
        random = torch.Generator().manual_seed(5)
        golden[name] = []
        while len(golden[name]) < 3:
            length = int(torch.randint(2, 9, (), generator=random))
            prompt = torch.randint(3, model.config.vocab_size, (length,), generator=random).tolist()
            ids = greedy(model, prompt)
            if ids:
                golden[name].append({"prompt": prompt, "ids": ids})
    (GOLDEN / "variant_ids.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
