#!/usr/bin/env python3
"""Writes tests/golden/optimizer/adamw.safetensors: ten clipped steps of torch.optim.AdamW.

In a scratch virtual environment: pip install torch safetensors; python tools/make_optimizer_goldens.py
"""

import pathlib

import torch
from safetensors.torch import save_file

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "optimizer" / "adamw.safetensors"
# Names by which the engine knows what decays; sizes that are no multiples of 16.
DECAYS = {"model.layers.0.mlp.up_proj.weight": (5, 7), "lm_head.weight": (3, 6)}
DOES_NOT = {"model.norm.weight": (7,), "model.layers.0.self_attn.lambda_q1": (4,), "score.bias": (3,)}
STEPS = 10
MAX_NORM = 1.0


def main():
    generator = torch.Generator().manual_seed(5)
    parameters = {name: torch.nn.Parameter(torch.randn(shape, generator=generator))
                  for name, shape in (DECAYS | DOES_NOT).items()}
    optimizer = torch.optim.AdamW(
        [{"params": [parameters[name] for name in DECAYS], "weight_decay": 0.1},
         {"params": [parameters[name] for name in DOES_NOT], "weight_decay": 0.0}],
        betas=(0.9, 0.95), eps=1e-8, foreach=False)
    tensors = {f"initial.{name}": p.detach().clone() for name, p in parameters.items()}
    norms, rates = [], []
    for step in range(STEPS):
        rates.append(0.02 * (1 + step) / STEPS)
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        for name, p in parameters.items():
            # Norms on both sides of the limit, gradients over four orders of magnitude.
            size = 10.0 ** torch.randint(-4, 1, p.shape, generator=generator)
            p.grad = torch.randn(p.shape, generator=generator) * size * (0.03 if step % 2 else 3.0)
            if step == 3:
                p.grad.zero_()
            tensors[f"gradient.{step}.{name}"] = p.grad.clone()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM).item())
        optimizer.step()
        for name, p in parameters.items():
            tensors[f"value.{step}.{name}"] = p.detach().clone()
    tensors["norms"] = torch.tensor(norms, dtype=torch.float64)
    tensors["learning_rates"] = torch.tensor(rates, dtype=torch.float64)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUTPUT)


if __name__ == "__main__":
    main()
