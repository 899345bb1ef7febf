"""The models and cases of tests/golden/forward: MODELS, name -> Model. Tiny shapes; together they
cover docs/model.md: classes, heads, shapes, biases, activations, rotary types in both config styles,
storage, masks, positions, embeddings as inputs, losses."""

from dataclasses import dataclass, field

import torch

import reference
from golden_inputs import ending_in_padding, embeddings, ids, left_padded, mask_4d
from golden_inputs import mask_with_holes, positions, right_padded, starting_with_padding, tokens
from golden_inputs import with_labels


@dataclass
class Case:
    """inputs(rng, config) gives the tensors of inputs.safetensors."""

    inputs: object
    options: dict = field(default_factory=dict)
    length_dependent: bool = False
    check_parameters: bool = False
    nan_loss: bool = False
    gradients: bool = False
    zero_gradients: bool = False  # no label counts


@dataclass
class Model:
    config: dict
    cases: dict
    files: dict = field(default_factory=dict)  # write_checkpoint's storage, shards, stored_head
    checkpoint: str = None  # of the repository, in place of a random one from `config`


FULL = {"hidden_states": True, "attentions": True}


def config(model_type, head, **changes):
    """A small config.json; a change to None takes the field out."""
    base = {
        "architectures": [reference.architecture(model_type, head)],
        "model_type": model_type,
        "vocab_size": 56,
        "hidden_size": 32,
        "intermediate_size": 28,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "dtype": "float32",
    }
    base.update(changes)
    return {key: value for key, value in base.items() if value is not None}


def masks_and_positions():
    """What every kind of attention must get right."""
    return {
        "plain": Case(tokens(2, 13), FULL, check_parameters=True),
        "one_token": Case(tokens(1, 1), FULL),
        "one_token_each": Case(tokens(3, 1), FULL),
        "long": Case(tokens(1, 300), {"logits_to_keep": 9}),
        "left_padding": Case(left_padded(3, 14), FULL),
        "right_padding": Case(right_padded(3, 14), FULL),
        "right_padding_bool": Case(right_padded(2, 9, torch.bool), {}),
        "holes": Case(mask_with_holes(3, 12), FULL),
        "bidirectional": Case(mask_4d(2, 9, "bidirectional"), FULL),
        "prefix": Case(mask_4d(1, 12, "prefix", torch.bool), FULL),
        "random_mask": Case(mask_4d(2, 11, "random"), FULL),
        "blind_rows": Case(mask_4d(2, 10, "some_blind"), FULL),
        "positions_shifted": Case(positions(2, 12, "shifted"), FULL),
        "positions_packed": Case(positions(2, 17, "packed"), FULL),
        "positions_gaps": Case(positions(2, 15, "gaps"), FULL),
        "positions_gaps_masked": Case(positions(2, 15, "gaps", mask=True), FULL),
        "positions_reversed": Case(positions(1, 8, "reversed"), FULL),
        "embeddings": Case(embeddings(2, 10), FULL),
        "embeddings_masked": Case(embeddings(2, 10, mask=True), {}),
        "keep_1": Case(tokens(2, 11), {"logits_to_keep": 1}),
        "keep_5_left_padding": Case(left_padded(2, 12), {"logits_to_keep": 5}),
        "labels": Case(with_labels(tokens(2, 16), "tokens"), {}),
        "labels_left_padding": Case(with_labels(left_padded(2, 14), "tokens"), {}),
        "labels_all_ignored": Case(with_labels(tokens(1, 6), "all_ignored"), nan_loss=True),
    }


pooled = {"pad_token_id": 0, "dtype": "float16"}
three = {"id2label": {str(i): f"C{i}" for i in range(3)}, **pooled}
half = {"storage": "float16"}

MODELS = {}
for kind in ("diffllama", "llama"):
    cases = masks_and_positions()
    if kind == "llama":  # the rest is the same code
        few = ("plain", "one_token", "long", "left_padding", "holes", "random_mask", "keep_1")
        few += ("positions_packed", "embeddings", "labels")
        cases = {case_name: cases[case_name] for case_name in few}
    MODELS[f"{kind}_causal"] = Model(config(kind, "causal"), cases)
    MODELS[f"{kind}_base"] = Model(
        config(kind, "base", dtype="bfloat16"),
        {
            "plain": Case(tokens(2, 9), FULL, check_parameters=True),
            "left_padding": Case(left_padded(2, 11), FULL),
            "embeddings": Case(embeddings(1, 7), {}),
        },
        {"storage": "bfloat16"},
    )
    MODELS[f"{kind}_sequence_3"] = Model(
        config(kind, "sequence", **three),
        {
            "padding_behind": Case(ending_in_padding(4, 10), FULL, check_parameters=True),
            "padding_before": Case(starting_with_padding(3, 10), {}),
            "embeddings": Case(embeddings(2, 8), {}),
            "single_label": Case(with_labels(tokens(3, 8), "class"), {}),
            "multi_label": Case(with_labels(tokens(3, 8), "many"), {}),
        },
        half,
    )
    MODELS[f"{kind}_qa"] = Model(
        config(kind, "qa", dtype="bfloat16"),
        {
            "plain": Case(tokens(2, 10), FULL, check_parameters=True),
            "left_padding": Case(left_padded(2, 12), {}),
            "span": Case(with_labels(right_padded(3, 11), "span"), {}),
            "span_outside": Case(with_labels(tokens(3, 9), "span_outside"), {}),
            "embeddings": Case(embeddings(1, 6), {}),
        },
        {"storage": "bfloat16"},
    )
    MODELS[f"{kind}_token"] = Model(
        config(kind, "token", num_labels=5, dtype="bfloat16", classifier_dropout=0.3),
        {
            "plain": Case(tokens(2, 10), FULL, check_parameters=True),
            "tags": Case(with_labels(tokens(2, 12), "tags"), {}),
            "tags_left_padding": Case(with_labels(left_padded(2, 12), "tags"), {}),
        },
        {"storage": "bfloat16"},
    )
    MODELS[f"{kind}_tied"] = Model(
        config(kind, "causal", tie_word_embeddings=True, dtype="bfloat16"),
        {"plain": Case(tokens(1, 12), FULL, check_parameters=True)},
        {"storage": "bfloat16"},
    )

# Other problem types, and how checkpoints are stored.
MODELS["diffllama_sequence_regression"] = Model(
    config("diffllama", "sequence", problem_type="regression", **three),
    {"values": Case(with_labels(tokens(2, 7), "values"), {}, check_parameters=True)},
    half,
)
MODELS["diffllama_sequence_1"] = Model(
    config("diffllama", "sequence", num_labels=1, **pooled),
    {"regression": Case(with_labels(tokens(3, 6), "value"), {}, check_parameters=True)},
    half,
)
MODELS["diffllama_sequence_default"] = Model(
    config("diffllama", "sequence", dtype="float16"),  # two labels, no pad token: one sequence only
    {
        "no_padding": Case(tokens(1, 8), {}, check_parameters=True),
        "single_label": Case(with_labels(tokens(1, 8), "class"), {}),
    },
    half,
)
MODELS["diffllama_sequence_multi"] = Model(
    config("diffllama", "sequence", problem_type="multi_label_classification", **three),
    {"labels": Case(with_labels(ending_in_padding(3, 8), "many"), {}, check_parameters=True)},
    half,
)
MODELS["diffllama_sequence_single"] = Model(
    config("diffllama", "sequence", problem_type="single_label_classification", **three),
    {"labels": Case(with_labels(tokens(2, 8), "class"), {}, check_parameters=True)},
    half,
)
MODELS["diffllama_tied_but_stored"] = Model(
    config("diffllama", "causal", tie_word_embeddings=True, dtype="bfloat16"),
    {"plain": Case(tokens(1, 12), {})},
    {"storage": "bfloat16", "stored_head": True},
)
MODELS["diffllama_sharded"] = Model(
    config("diffllama", "causal", dtype="float16"),
    {"plain": Case(tokens(1, 9), {}, check_parameters=True)},
    {"storage": "float16", "shards": 3},
)
MODELS["diffllama_mixed_storage"] = Model(
    config("diffllama", "causal", dtype=None, torch_dtype="float32"),
    {"plain": Case(tokens(1, 9), {}, check_parameters=True)},
    {"storage": "mixed"},
)

# Shapes: groups of 1, 2, 4 heads to a KV head, head sizes that fill no vector, hidden sizes that
# fill no panel, head_dim apart from hidden_size / heads (DiffLlama) or left to the default.
SHAPES = {
    "group1_heads_of_6": dict(num_attention_heads=4, num_key_value_heads=4, head_dim=6, hidden_size=44),
    "group2_head10": dict(
        num_attention_heads=8, num_key_value_heads=4, head_dim=10, hidden_size=40, vocab_size=33
    ),
    "group4_head24": dict(
        num_attention_heads=8, num_key_value_heads=2, head_dim=24, hidden_size=48,
        intermediate_size=17, num_hidden_layers=1,
    ),
    "group6_head4": dict(
        num_attention_heads=12, num_key_value_heads=2, head_dim=4, hidden_size=24,
        intermediate_size=65, num_hidden_layers=3, vocab_size=97,
    ),
    "no_kv_heads": dict(num_attention_heads=4, num_key_value_heads=None, head_dim=None),
}
for kind in ("diffllama", "llama"):
    for shape_name, shape in SHAPES.items():
        if kind == "llama" and shape_name in ("group1_heads_of_6", "group2_head10"):
            continue
        MODELS[f"{kind}_{shape_name}"] = Model(
            config(kind, "causal", **shape),
            {
                "plain": Case(tokens(2, 11), FULL, check_parameters=True),
                "left_padding": Case(left_padded(2, 10), {}),
                "long": Case(tokens(1, 270), {"logits_to_keep": 3}),
            },
            {"storage": "bfloat16"},
        )
MODELS["diffllama_odd_hidden"] = Model(
    config("diffllama", "causal", hidden_size=35, num_attention_heads=6, num_key_value_heads=6),
    {"plain": Case(tokens(2, 10), FULL, check_parameters=True)},
    {"storage": "bfloat16"},
)
MODELS["llama_one_kv_head"] = Model(
    config("llama", "causal", num_attention_heads=4, num_key_value_heads=1),
    {"plain": Case(tokens(2, 10), FULL, check_parameters=True)},
    {"storage": "bfloat16"},
)
MODELS["llama_three_kv_heads"] = Model(
    config("llama", "causal", hidden_size=48, num_attention_heads=6, num_key_value_heads=3),
    {"plain": Case(tokens(2, 10), FULL, check_parameters=True)},
    {"storage": "bfloat16"},
)
MODELS["diffllama_bias"] = Model(
    config("diffllama", "causal", attention_bias=True, rms_norm_eps=1e-2),
    {"plain": Case(tokens(2, 11), FULL, check_parameters=True)},
    {"storage": "bfloat16"},
)
MODELS["llama_bias"] = Model(
    config("llama", "causal", attention_bias=True, mlp_bias=True, rms_norm_eps=1e-2),
    {"plain": Case(tokens(2, 11), FULL, check_parameters=True)},
    {"storage": "bfloat16"},
)

ACTIVATIONS = (
    "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "relu2", "tanh",
    "sigmoid", "swish",
)  # fmt: skip
for activation in ACTIVATIONS:
    MODELS[f"diffllama_act_{activation}"] = Model(
        config(
            "diffllama", "causal", hidden_act=activation, num_hidden_layers=1, hidden_size=24,
            vocab_size=24,
        ),
        {"plain": Case(tokens(1, 12), {"hidden_states": True}, check_parameters=True)},
        {"storage": "bfloat16"},
    )

# Rotary types: rope_parameters (transformers 5), or rope_theta and rope_scaling (before).
SHORT = [1.0, 1.1, 1.3, 1.6]
LONG = [1.2, 2.0, 3.5, 6.0]
ROTARY = {
    "theta": dict(rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
    "theta_old": dict(rope_parameters=None, rope_theta=500.0),
    "no_settings": dict(rope_parameters=None),
    "linear": dict(rope_parameters={"rope_type": "linear", "factor": 2.5, "rope_theta": 10000.0}),
    "linear_old": dict(
        rope_parameters=None, rope_theta=5000.0, rope_scaling={"type": "linear", "factor": 4.0}
    ),
    "dynamic": dict(
        rope_parameters={"rope_type": "dynamic", "factor": 3.0, "rope_theta": 10000.0},
        max_position_embeddings=16,
    ),
    "dynamic_old": dict(
        rope_parameters=None, rope_scaling={"type": "dynamic", "factor": 2},
        max_position_embeddings=16,
    ),
    "yarn": dict(
        rope_parameters={
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
            "rope_theta": 10000.0,
        }
    ),
    "yarn_betas": dict(
        rope_parameters={
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
            "rope_theta": 10000.0, "beta_fast": 4, "beta_slow": 0.25, "truncate": False,
            "attention_factor": 1.25,
        }
    ),
    "yarn_mscale_old": dict(
        rope_parameters=None, rope_theta=1000.0,
        rope_scaling={
            "rope_type": "yarn", "factor": 8.0, "mscale": 1.5, "mscale_all_dim": 0.7,
            "original_max_position_embeddings": 8,
        },
    ),
    "yarn_no_factor": dict(
        rope_parameters={
            "rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16,
            "rope_theta": 10000.0,
        }
    ),
    "longrope": dict(
        rope_parameters={
            "rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG,
            "original_max_position_embeddings": 16, "rope_theta": 10000.0,
        }
    ),
    "longrope_old": dict(
        rope_parameters=None,
        rope_scaling={
            "type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 2.0,
            "attention_factor": 1.1, "original_max_position_embeddings": 16,
        },
    ),
    "longrope_no_original": dict(
        rope_parameters={
            "rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "factor": 4.0,
        },
        max_position_embeddings=16,
    ),
    "llama3": dict(
        rope_parameters={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32, "rope_theta": 500000.0,
        }
    ),
    "llama3_old": dict(
        rope_parameters=None, rope_theta=100.0,
        rope_scaling={
            "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "both_styles": dict(
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 300.0},
        rope_theta=777.0,
        rope_scaling={"rope_type": "linear", "factor": 3.0},
    ),
    "original_outside": dict(
        rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0},
        original_max_position_embeddings=16,
    ),
}  # fmt: skip
for index, (rope_name, rope) in enumerate(ROTARY.items()):
    by_length = rope_name.startswith(("dynamic", "longrope"))
    # One sequence at a time past the threshold: transformers takes the length over the batch.
    MODELS[f"{('diffllama', 'llama')[index % 2]}_rope_{rope_name}"] = Model(
        config(
            ("diffllama", "llama")[index % 2], "causal", num_hidden_layers=1, hidden_size=24,
            vocab_size=24, intermediate_size=16, num_attention_heads=4 if index % 2 == 0 else 3,
            num_key_value_heads=2 if index % 2 == 0 else 3, **rope,
        ),
        {
            "short": Case(tokens(1, 15), {}, check_parameters=True),
            "at_threshold": Case(tokens(1, 16), {}),
            "past": Case(tokens(1, 17), {"attentions": True}, length_dependent=by_length),
            "far_past": Case(tokens(1, 90), {"logits_to_keep": 4}, length_dependent=by_length),
            "shifted_past": Case(
                lambda rng, cfg: {
                    "input_ids": ids(rng, cfg, 1, 10),
                    "position_ids": torch.arange(30, 40)[None],
                },
                {"attentions": True},
                length_dependent=by_length,
            ),
        },
        {"storage": "bfloat16"},
    )

MODELS["tiny"] = Model(
    config=None,
    cases={
        "long": Case(tokens(1, 200), {"logits_to_keep": 3}),
        "left_padding": Case(left_padded(2, 40), {"logits_to_keep": 2}),
        "hidden_states": Case(tokens(1, 6), {"logits_to_keep": 1, "hidden_states": True}),
    },
    checkpoint="models/diffllama-tiny",
)
