#!/usr/bin/env python3
"""Holds tools/variants.py to the authors' own modules of DIFF Transformer V1 and V2, run as they are.

In a scratch virtual environment: pip install torch transformers; then, with a checkout of github.com/microsoft/unilm,
    tools/check_variants.py UNILM/Diff-Transformer
Their CUDA parts (flash_attn, the rotary kernel) are replaced by plain torch. Prints, for each module and shape, the
largest difference of the attention's output over its largest value; status 1 where one is above 1e-5.
"""

import importlib
import pathlib
import sys
import types

import torch

import variants

TOKENS, BATCH, LAYER = 11, 2, 3


def rotary(x, cos, sin, interleaved):
    """Their apply_rotary_emb: x [B, T, H, d], cos and sin [T, d/2]."""
    cos, sin = cos[:, None], sin[:, None]
    low, high = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    low, high = low * cos - high * sin, high * cos + low * sin
    return torch.stack((low, high), -1).flatten(-2) if interleaved else torch.cat((low, high), -1)


def flash_attn_func(q, k, v, causal):
    """Their attention [B, T, H, d]: query head i reads key head i / (H / K)."""
    assert causal
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2)


def stand_in(name, **members):
    module = types.ModuleType(name)
    for member, value in members.items():
        setattr(module, member, value)
    sys.modules[name] = module


def config(kind, heads, kv, d, **fields):
    return variants.config_of(kind)(
        hidden_size=fields.pop("width"), num_attention_heads=heads, num_key_value_heads=kv, head_dim=d, **fields
    )


def difference(theirs, ours, names, d):
    """Gives ours their weights, and compares outputs."""
    ours.load_state_dict({names.get(name, name): value for name, value in theirs.state_dict().items()}, strict=True)
    x = torch.randn(BATCH, TOKENS, theirs.q_proj.in_features)
    angles = torch.arange(TOKENS)[:, None] * 10000.0 ** (-torch.arange(0, d, 2) / d)
    cos, sin = angles.cos(), angles.sin()
    want = theirs(x, (cos, sin))
    mask = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
    full = tuple(part[None].expand(BATCH, -1, -1) for part in (cos, sin))
    got, _maps = ours(x, full, mask)
    return ((got - want).abs().max() / want.abs().max()).item()


def v1(module, heads, kv_heads, kv_pairs):
    width, d = 16 * heads, 8
    cls = getattr(module, {"multihead_diffattn": "MultiheadDiffAttn", "multihead_flashdiff_1": "MultiheadFlashDiff1",
                           "multihead_flashdiff_2": "MultiheadFlashDiff2"}[module.__name__])
    theirs = cls(width, LAYER, heads, kv_heads)
    torch.nn.init.normal_(theirs.subln.weight)
    ours = variants.DiffTransformerAttention(
        config("diff_transformer", 2 * heads, 2 * kv_heads, d, width=width, kv_pairs=kv_pairs), LAYER)
    return difference(theirs, ours, {"out_proj.weight": "o_proj.weight"}, d)


def v2(module, heads, kv_heads):
    width, d = 24, 8
    theirs = module.MultiheadFlashDiffV2(True, width, heads, kv_heads, d)
    ours = variants.DiffTransformerV2Attention(
        config("diff_transformer_v2", 2 * heads, kv_heads, d, width=width), LAYER)
    return difference(theirs, ours, {}, d)


@torch.no_grad()
def main():
    root = pathlib.Path(sys.argv[1])
    sys.path[:0] = [str(root), str(root / "Diff-Transformer-V2")]
    stand_in("kernel")
    stand_in("kernel.rotary", apply_rotary_emb=rotary)
    for package in ("flash_attn", "flex_head_fa"):
        stand_in(package, flash_attn_func=flash_attn_func)
    torch.compile = lambda function: function
    torch.manual_seed(7)
    worst = 0.0
    for name in ("multihead_diffattn", "multihead_flashdiff_1", "multihead_flashdiff_2", "multihead_flashdiffv2"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            print(f"{name}: not checked, {error}")
            continue
        for heads, kv_heads in ((4, 4), (4, 2), (6, 2), (4, 1)):
            if name.endswith("v2"):
                ratio = v2(module, heads, kv_heads)
            else:  # the flash modules pair keys where they are shared
                ratio = v1(module, heads, kv_heads, kv_pairs="flash" in name)
            worst = max(worst, ratio)
            print(f"{name}, {heads} pairs, {kv_heads} key pairs or heads: {ratio:.1e}")
    sys.exit(worst > 1e-5)


if __name__ == "__main__":
    main()
