"""Models and cases of tests/golden/forward with gradients (docs/model.md): MODELS, name -> Model.
Apart from golden_cases.py, and smaller, because a gradient is as large as its checkpoint. Together
they cover every kind of parameter, head, loss, mask, position, rotary type and activation."""

import torch

import golden_cases as forward
from golden_cases import Case, Model
from golden_inputs import embeddings, ending_in_padding, ids, left_padded, mask_4d, mask_with_holes
from golden_inputs import positions, right_padded, starting_with_padding, tokens, with_labels


def small(model_type, head, **changes):
    settings = dict(
        vocab_size=24, hidden_size=16, intermediate_size=12, head_dim=4, num_attention_heads=4,
        num_key_value_heads=2, dtype="bfloat16",
    )  # fmt: skip
    return forward.config(model_type, head, **{**settings, **changes})


def gradient_model(config, cases):
    return Model(config, cases, {"storage": "bfloat16"})


def with_gradients(make, kind="tokens", **settings):
    return Case(with_labels(make, kind), gradients=True, **settings)


def with_pad_tokens(batch, length):
    """Token ids of which a third are pad_token_id, which the look-up gives no gradient."""

    def make(rng, cfg):
        rows = ids(rng, cfg, batch, length)
        hidden = torch.rand(batch, length, generator=rng) < 0.3
        return {"input_ids": rows.masked_fill(hidden, cfg.pad_token_id)}

    return make


def first_alone_ignored(make):
    """Question answering where every start lies outside: NaN, and the gradients of the ends."""

    def labelled(rng, cfg):
        inputs = with_labels(make, "span")(rng, cfg)
        inputs["start_positions"][:] = inputs["input_ids"].shape[1] + 1
        return inputs

    return labelled


def one_sequence_ignored(make):
    def labelled(rng, cfg):
        inputs = with_labels(make, "tokens")(rng, cfg)
        inputs["labels"][0] = -100
        return inputs

    return labelled


CAUSAL = {
    "plain": with_gradients(tokens(2, 13)),
    "three_tokens": with_gradients(tokens(4, 3)),
    "pad_tokens": with_gradients(with_pad_tokens(2, 12)),
    "long": with_gradients(tokens(1, 300)),
    "longer": with_gradients(tokens(2, 530)),
    "left_padding": with_gradients(left_padded(3, 14)),
    "left_padding_long": with_gradients(left_padded(2, 290)),
    "right_padding": with_gradients(right_padded(3, 14)),
    "right_padding_bool": with_gradients(right_padded(2, 9, torch.bool)),
    "holes": with_gradients(mask_with_holes(3, 12)),
    "bidirectional": with_gradients(mask_4d(2, 9, "bidirectional")),
    "prefix": with_gradients(mask_4d(1, 12, "prefix", torch.bool)),
    "random_mask": with_gradients(mask_4d(2, 11, "random")),
    "random_mask_long": with_gradients(mask_4d(1, 270, "random", torch.bool)),
    "blind_rows": with_gradients(mask_4d(2, 10, "some_blind")),
    "positions_shifted": with_gradients(positions(2, 12, "shifted")),
    "positions_packed": with_gradients(positions(2, 17, "packed")),
    "positions_gaps": with_gradients(positions(2, 15, "gaps")),
    "positions_gaps_masked": with_gradients(positions(2, 15, "gaps", mask=True)),
    "positions_reversed": with_gradients(positions(1, 8, "reversed", mask=True)),
    "embeddings": with_gradients(embeddings(2, 10)),
    "embeddings_masked": with_gradients(embeddings(2, 10, mask=True)),
    "all_ignored": with_gradients(tokens(1, 6), "all_ignored", nan_loss=True, zero_gradients=True),
    "one_sequence_ignored": Case(one_sequence_ignored(tokens(3, 9)), gradients=True),
}  # fmt: skip
OF_LLAMA = (
    "plain", "pad_tokens", "long", "left_padding", "holes", "random_mask", "positions_packed",
    "embeddings",
)  # fmt: skip
SINGLE = {"single_label": with_gradients(ending_in_padding(4, 10), "class")}
MULTI = {"multi_label": with_gradients(starting_with_padding(3, 10), "many")}
THREE = {"id2label": {str(i): f"C{i}" for i in range(3)}, "pad_token_id": 0}

MODELS = {}
for kind in ("diffllama", "llama"):
    few = CAUSAL if kind == "diffllama" else {name: CAUSAL[name] for name in OF_LLAMA}
    MODELS[f"{kind}_gradients"] = gradient_model(small(kind, "causal", pad_token_id=0), few)
    MODELS[f"{kind}_gradients_tied"] = gradient_model(
        small(kind, "causal", pad_token_id=0, tie_word_embeddings=True),
        {
            "pad_tokens": with_gradients(with_pad_tokens(2, 12)),
            "embeddings": with_gradients(embeddings(2, 10)),
        },
    )
    MODELS[f"{kind}_gradients_bias"] = gradient_model(
        small(
            kind, "causal", attention_bias=True, rms_norm_eps=1e-2,
            mlp_bias=True if kind == "llama" else None,
        ),
        {"plain": with_gradients(tokens(2, 11)), "left_padding": CAUSAL["left_padding"]},
    )  # fmt: skip
    MODELS[f"{kind}_gradients_sequence"] = gradient_model(
        small(kind, "sequence", **THREE), {**SINGLE, **MULTI}
    )
    MODELS[f"{kind}_gradients_qa"] = gradient_model(
        small(kind, "qa"),
        {
            "span": with_gradients(right_padded(3, 11), "span"),
            "span_outside": with_gradients(tokens(3, 9), "span_outside"),
        },
    )
    MODELS[f"{kind}_gradients_token"] = gradient_model(
        small(kind, "token", num_labels=5, classifier_dropout=0.3),
        {"tags": with_gradients(left_padded(2, 12), "tags")},
    )
MODELS["diffllama_gradients_qa"].cases["starts_outside"] = Case(
    first_alone_ignored(tokens(2, 9)), gradients=True, nan_loss=True
)
MODELS["diffllama_gradients_token"].cases["embeddings"] = with_gradients(embeddings(2, 9), "tags")
MODELS["diffllama_gradients_tied_but_stored"] = Model(
    small("diffllama", "causal", pad_token_id=0, tie_word_embeddings=True),
    {"pad_tokens": with_gradients(with_pad_tokens(2, 12))},
    {"storage": "bfloat16", "stored_head": True},
)
MODELS["diffllama_gradients_sequence_regression"] = gradient_model(
    small("diffllama", "sequence", problem_type="regression", **THREE),
    {"values": with_gradients(tokens(2, 7), "values")},
)
MODELS["diffllama_gradients_sequence_1"] = gradient_model(
    small("diffllama", "sequence", num_labels=1, pad_token_id=0),
    {"regression": with_gradients(tokens(3, 6), "value")},
)
MODELS["diffllama_gradients_sequence_default"] = gradient_model(
    small("diffllama", "sequence"),
    {"single_label": with_gradients(tokens(1, 8), "class")},
)

SHAPES = {
    "group1": dict(num_key_value_heads=4, head_dim=6, hidden_size=19, num_hidden_layers=3),
    "group2": dict(num_attention_heads=8, num_key_value_heads=4, head_dim=10, hidden_size=20),
    "group4": dict(num_attention_heads=8, head_dim=24, vocab_size=33, num_hidden_layers=1),
    "group6": dict(num_attention_heads=12, hidden_size=24, intermediate_size=35),
    "defaults": dict(num_key_value_heads=None, head_dim=None, hidden_size=32, num_hidden_layers=1),
}
for shape_name, shape in SHAPES.items():
    MODELS[f"diffllama_gradients_{shape_name}"] = gradient_model(
        small("diffllama", "causal", **shape),
        {"plain": with_gradients(tokens(2, 11)), "left_padding": CAUSAL["left_padding"]},
    )
MODELS["llama_gradients_one_kv_head"] = gradient_model(
    small("llama", "causal", num_key_value_heads=1), {"plain": CAUSAL["plain"]}
)
MODELS["llama_gradients_three_kv_heads"] = gradient_model(
    small("llama", "causal", num_attention_heads=6, num_key_value_heads=3, hidden_size=24),
    {"plain": CAUSAL["plain"]},
)

for activation in forward.ACTIVATIONS:
    MODELS[f"diffllama_gradients_act_{activation}"] = gradient_model(
        small("diffllama", "causal", hidden_act=activation, num_hidden_layers=1),
        {"plain": with_gradients(tokens(2, 12))},
    )

ROTARY = ("theta", "linear", "dynamic", "yarn_betas", "yarn_mscale_old", "longrope", "llama3")
for index, rope_name in enumerate(ROTARY):
    of_llama = rope_name in ("dynamic", "yarn_betas")
    by_length = rope_name in ("dynamic", "longrope")
    past = with_gradients(tokens(1, 19), length_dependent=by_length)
    MODELS[f"{'llama' if of_llama else 'diffllama'}_gradients_rope_{rope_name}"] = gradient_model(
        small(
            "llama" if of_llama else "diffllama", "causal", num_hidden_layers=1, head_dim=8,
            hidden_size=32 if of_llama else 16, **forward.ROTARY[rope_name],
        ),
        {"past": past, "short": with_gradients(tokens(1, 12))} if by_length else {"past": past},
    )  # fmt: skip
