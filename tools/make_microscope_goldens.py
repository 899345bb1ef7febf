#!/usr/bin/env python3
"""Writes tests/golden/microscope.json: the attention of models/diffllama-tiny on one text, as transformers computes it.

In a scratch virtual environment: pip install torch transformers; python tools/make_microscope_goldens.py

Of each layer: lambda, the softmax maps of eager attention, A1 - lambda A2 of each pair, and the largest magnitudes of
the attention logits and of the layer's output. Then the paper's Table 3: how the last token's attention divides.
"""

import json
import pathlib

import torch
import transformers
from transformers.models.diffllama import modeling_diffllama as diffllama

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = "The king is in the garden. Where is the king? In the"
ANSWER = "garden"


def largest(values):
    values = values.abs().flatten().sort(descending=True).values
    top = {f"top_{k}": values[k - 1].item() if k <= len(values) else 0.0 for k in (1, 2, 3, 10, 100)}
    return {**top, "median": values.quantile(0.5).item()}


def shares(row, answer):
    """Of weights that a token gives to its keys: on the answer, on the first token, on the rest."""
    total = row.abs().sum()
    chosen = torch.zeros_like(row, dtype=torch.bool)
    chosen[answer] = True
    first = torch.zeros_like(chosen)
    first[0] = not chosen[0]
    return {"answer": (row[chosen].sum() / total).item(), "bos": (row[first].sum() / total).item(),
            "rest": (row[~chosen & ~first].sum() / total).item()}


def entropy(rows):
    p = rows.abs() / rows.abs().sum(-1, keepdim=True)
    return -torch.where(p > 0, p * p.log(), 0).sum(-1).mean().item()


def negative_mass(rows):
    return ((-rows).clamp(min=0).sum(-1) / rows.abs().sum(-1)).mean().item()


@torch.no_grad()
def main():
    directory = ROOT / "models" / "diffllama-tiny"
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager").eval()
    encoding = tokenizer(TEXT, return_tensors="pt", return_offsets_mapping=True)
    ids = encoding["input_ids"]
    begin = TEXT.index(ANSWER)
    inside = [i for i, (a, b) in enumerate(encoding["offset_mapping"][0].tolist())
              if a < b and a < begin + len(ANSWER) and b > begin]
    answer = slice(inside[0], inside[-1] + 1)

    seen = {}
    for number, layer in enumerate(model.model.layers):
        def keep(name):
            return lambda module, inputs, output: seen.__setitem__(
                name, output[0] if isinstance(output, tuple) else output)
        layer.register_forward_hook(keep(f"{number}.output"))
        layer.self_attn.q_proj.register_forward_hook(keep(f"{number}.q"))
        layer.self_attn.k_proj.register_forward_hook(keep(f"{number}.k"))
    output = model(ids, output_attentions=True)

    config, tokens = model.config, ids.shape[1]
    d, groups = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    cos, sin = model.model.rotary_emb(torch.zeros(1, tokens, d), torch.arange(tokens)[None])
    layers, all_logits, all_outputs = [], [], []
    for number, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        lambda_ = (torch.exp((attention.lambda_q1 * attention.lambda_k1).sum())
                   - torch.exp((attention.lambda_q2 * attention.lambda_k2).sum()) + attention.lambda_init)
        maps = output.attentions[number][0]
        difference = maps[: len(maps) // 2] - lambda_ * maps[len(maps) // 2:]
        q, k = (seen[f"{number}.{name}"].view(1, tokens, -1, d).transpose(1, 2) for name in "qk")
        q, k = diffllama.apply_rotary_pos_emb(q, k, cos, sin)
        logits = (q @ k.repeat_interleave(groups, 1).transpose(2, 3) / d**0.5)[0][:, visible]
        all_logits.append(logits)
        all_outputs.append(seen[f"{number}.output"])
        layers.append({"lambda": lambda_.item(), "attentions": maps.tolist(), "difference": difference.tolist(),
                       "attention_logits": largest(logits), "hidden_states": largest(all_outputs[-1]),
                       "shares": {"first": [shares(a[-1], answer) for a in maps[: len(maps) // 2]],
                                  "difference": [shares(a[-1], answer) for a in difference]},
                       "entropy": [entropy(a) for a in difference],
                       "negative_mass": [negative_mass(a) for a in difference]})
    golden = {"transformers": transformers.__version__, "text": TEXT, "answer": ANSWER, "ids": ids[0].tolist(),
              "answer_tokens": [answer.start, answer.stop], "layers": layers,
              "attention_logits": largest(torch.stack(all_logits)), "hidden_states": largest(torch.stack(all_outputs))}
    (ROOT / "tests" / "golden" / "microscope.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
