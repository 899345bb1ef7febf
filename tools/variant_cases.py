"""Models and cases of tests/golden/forward for the members of the family that transformers does not
define (tools/variants.py is their reference): MODELS, name -> Model. Every row of docs/variants.md's
table is in one of them: which query, key and value heads a pair reads, at several head counts;
lambda and its lambda_init; the norm and its eps; rotary pairs; the MLP; biases."""

import golden_cases as forward
import gradient_cases as gradient
from golden_cases import FULL, Case, Model
from golden_inputs import ending_in_padding, left_padded, mask_4d, mask_with_holes, positions
from golden_inputs import right_padded, tokens, with_labels
from gradient_cases import with_gradients

BFLOAT16 = {"storage": "bfloat16"}
V1, V2 = "diff_transformer", "diff_transformer_v2"
MOTIF = {"hidden_act": "poly_norm", "attn_rms_norm_eps": 3e-2}
GROUPED = dict(num_attention_heads=10, num_key_value_heads=2, num_noise_heads=2, **MOTIF)
# What every member gets right in every case, and with little.
CAUSAL = {
    "plain": Case(tokens(2, 13), FULL, check_parameters=True),
    "long": Case(tokens(1, 300), {"logits_to_keep": 5}),
    "left_padding": Case(left_padded(3, 12), FULL),
    "holes": Case(mask_with_holes(2, 11), {}),
    "random_mask": Case(mask_4d(2, 9, "random"), FULL),
    "positions_packed": Case(positions(2, 14, "packed"), {}),
}
SMALL = {"plain": Case(tokens(2, 11), FULL, check_parameters=True)}
GRADIENTS = {
    "plain": with_gradients(tokens(2, 13)),
    "long": with_gradients(tokens(1, 150)),
    "left_padding": with_gradients(left_padded(3, 12)),
    "random_mask": with_gradients(mask_4d(2, 11, "random")),
    "positions_packed": with_gradients(positions(2, 14, "packed")),
}
FEW_GRADIENTS = {name: GRADIENTS[name] for name in ("plain", "left_padding")}
DEX = {"layers": [0, 1], "heads": [[2, 0], [3]]}

MODELS = {}


def add(name, kind, head, cases, small=False, **changes):
    settings = {"dtype": "bfloat16", "hidden_size": 24, **changes}
    make = gradient.small if small else forward.config
    MODELS[name] = Model(make(kind, head, **settings), cases, BFLOAT16)


add("v1_causal", V1, "causal", CAUSAL, subln_eps=3e-2)  # g = 2: both of a pair read one key head
add("v1_pairs", V1, "causal", CAUSAL, kv_pairs=True, num_attention_heads=8)
for name, kind, changes in (
    ("v1_mha", V1, dict(num_key_value_heads=4, subln_eps=3e-2)),
    ("v1_lambda_init", V1, dict(num_key_value_heads=4, lambda_init=0.5)),
    ("v1_odd_group", V1, dict(num_attention_heads=6)),
    ("v1_large_group", V1, dict(num_attention_heads=16, num_key_value_heads=4, head_dim=4)),
    ("v1_rotate_half", V1, dict(rope_interleaved=False, attention_bias=True, mlp_bias=True)),
    ("v1_yarn", V1, forward.ROTARY["yarn_betas"]),
    ("v1_tied", V1, dict(tie_word_embeddings=True, num_key_value_heads=4)),
    ("v2_one_key_head", V2, dict(num_key_value_heads=1)),
    ("v2_three_key_heads", V2, dict(num_attention_heads=12, num_key_value_heads=3, head_dim=6)),
    ("v2_rotate_half", V2, dict(rope_interleaved=False, attention_bias=True)),
    ("v2_llama3", V2, forward.ROTARY["llama3"]),
    ("motif_pairs", "motif", dict(num_attention_heads=8, num_key_value_heads=4, **MOTIF)),
    ("motif_shared_pairs", "motif", dict(num_attention_heads=8, num_key_value_heads=2, **MOTIF)),
    ("motif_two_groups", "motif", {**GROUPED, "num_attention_heads": 12, "num_noise_heads": 4,
                                   "num_key_value_heads": 4}),
    ("motif_bias", "motif", dict(use_bias=True, **GROUPED)),
    ("motif_bias_but_qkv", "motif", dict(use_bias=True, qkv_bias=False, **GROUPED)),
    ("motif_bias_of_qkv", "motif", dict(qkv_bias=True, **MOTIF)),
    ("motif_yarn", "motif", {**MOTIF, **forward.ROTARY["yarn_mscale_old"]}),
    ("llama_qk_norm_gqa", "llama", dict(qk_norm=True, num_attention_heads=6, num_key_value_heads=3)),
    ("llama_dex_one_list", "llama", {"dex": {"layers": [1], "heads": [1, 3, 0]}}),
):  # fmt: skip
    add(name, kind, "causal", SMALL, **changes)
add("v2_causal", V2, "causal", CAUSAL, num_attention_heads=8)
add("motif_grouped", "motif", "causal", CAUSAL, **GROUPED)
add("llama_qk_norm", "llama", "causal", CAUSAL, qk_norm=True, rms_norm_eps=3e-2)
add("llama_dex", "llama", "causal", CAUSAL, dex=DEX)

for name, kind, changes in (
    ("v1", V1, {}),
    ("v2", V2, {}),
    ("motif", "motif", MOTIF),
    ("qk_norm", "llama", {"qk_norm": True}),
    ("dex", "llama", {"dex": DEX}),
):
    few = {**changes, "num_hidden_layers": 1} if "dex" not in changes else changes
    pooled = {"pad_token_id": 0, "num_labels": 3, **few}
    labelled = Case(with_labels(tokens(2, 8), "class"), {})
    add(f"{name}_base", kind, "base", {"plain": Case(tokens(1, 7), FULL)}, **few)
    add(
        f"{name}_sequence", kind, "sequence",
        {"plain": Case(ending_in_padding(3, 8), {}), "single_label": labelled}, **pooled,
    )  # fmt: skip
    add(f"{name}_qa", kind, "qa", {"span": Case(with_labels(right_padded(2, 9), "span"), {})}, **few)
    add(
        f"{name}_token", kind, "token", {"tags": Case(with_labels(tokens(2, 8), "tags"), {})},
        num_labels=3, **few,
    )  # fmt: skip

for name, kind, changes in (
    ("v1", V1, dict(subln_eps=3e-2)),
    ("v1_pairs", V1, dict(kv_pairs=True, num_attention_heads=8)),
    ("v1_lambda_init", V1, dict(lambda_init=0.0)),
    ("v1_odd_group", V1, dict(num_attention_heads=6)),
    ("v1_large_group", V1, dict(num_attention_heads=16, num_key_value_heads=4)),
    ("v2", V2, dict(num_attention_heads=8)),
    ("v2_biases", V2, dict(num_key_value_heads=1, attention_bias=True, rope_interleaved=False)),
    ("motif", "motif", dict(num_attention_heads=8, num_key_value_heads=4, **MOTIF)),
    ("motif_grouped", "motif", dict(use_bias=True, **GROUPED)),
    ("qk_norm", "llama", {"qk_norm": True}),
    ("dex", "llama", {"dex": DEX}),
):
    cases = GRADIENTS if name in ("v1", "v2", "motif_grouped", "qk_norm", "dex") else FEW_GRADIENTS
    add(f"{name}_gradients", kind, "causal", cases, small=True, **changes)
