#!/usr/bin/env python3
"""Makes tests/golden/adapters: small LoRA adapters that PEFT wrote, and what it computes with them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers peft safetensors
    PYTHONHASHSEED=0 /tmp/venv/bin/python tools/make_adapter_goldens.py [NAME...]

Layout: tests/golden/adapters/NAME/{adapter_config.json, adapter_model.safetensors} as PEFT saves
them, {inputs, outputs}.safetensors as `diffllama forward` reads and writes them, and case.json with
the base checkpoint, one of tests/golden/forward. Everything follows from the names below, so a
second run writes the same files. With --check DIR it writes nothing: it loads the adapters in DIR,
one a folder of these names that this engine wrote, in PEFT, and compares what they compute with the
goldens."""

import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

import reference

REPOSITORY = Path(__file__).resolve().parent.parent
FORWARD = REPOSITORY / "tests" / "golden" / "forward"
ROOT = REPOSITORY / "tests" / "golden" / "adapters"
TOLERANCE = 2e-5

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# name -> (base checkpoint, PEFT's settings)
CASES = {
    "causal_q_v": ("diffllama_causal", dict(r=4, target_modules=["q_proj", "v_proj"])),
    "causal_all_linear": (
        "diffllama_causal",
        dict(r=3, lora_alpha=5, use_rslora=True, lora_dropout=0.1, target_modules="all-linear"),
    ),
    "causal_expression": (
        "diffllama_causal",
        dict(r=2, lora_alpha=7, target_modules=r".*layers\.1\..*\.(up|down|q)_proj"),
    ),
    "causal_patterns": (
        "diffllama_causal",
        dict(
            r=4,
            lora_alpha=6,
            target_modules=["q_proj", "v_proj", "layers.0.mlp.gate_proj", "lm_head"],
            exclude_modules=["layers.1.self_attn.v_proj"],
            rank_pattern={"v_proj": 5, r"layers\.0\.self_attn\.q_proj": 2},
            alpha_pattern={"model.layers.1.self_attn.q_proj": 3},
        ),
    ),
    "causal_saved": (
        "diffllama_causal",
        dict(r=2, target_modules=["o_proj"], modules_to_save=["embed_tokens", "model.norm", "mlp"]),
    ),
    "mixed_storage": ("diffllama_mixed_storage", dict(r=4, target_modules=ATTENTION)),
    "tied_head": ("diffllama_tied", dict(r=4, target_modules=["o_proj", "lm_head"])),
    "tied_embeddings": (
        "diffllama_tied",
        dict(r=4, target_modules=["o_proj"], modules_to_save=["embed_tokens"]),
    ),
    "llama_all_linear": ("llama_bias", dict(r=4, lora_alpha=16, target_modules="all-linear")),
    "base_model": (
        "diffllama_base",
        dict(r=4, target_modules=["down_proj", "k_proj"], task_type="FEATURE_EXTRACTION"),
    ),
    "sequence_classification": (
        "diffllama_sequence_3",
        dict(r=4, target_modules="all-linear", task_type="SEQ_CLS"),
    ),
    "sequence_no_task": (
        "diffllama_sequence_3",
        dict(r=4, target_modules="all-linear", task_type=None),
    ),
    "token_classification": (
        "diffllama_token",
        dict(r=4, target_modules=ATTENTION, task_type="TOKEN_CLS"),
    ),
    "question_answering": (
        "diffllama_qa",
        dict(r=4, target_modules=["v_proj"], task_type="QUESTION_ANS"),
    ),
    # A head that the base checkpoint does not have.
    "new_sequence_head": (
        "diffllama_causal",
        dict(r=4, target_modules="all-linear", task_type="SEQ_CLS"),
    ),
    "new_token_head": (
        "diffllama_causal",
        dict(r=4, target_modules=ATTENTION, task_type="TOKEN_CLS"),
    ),
    # On the base model: transformers loads no causal LM into its class for questions.
    "new_question_head": (
        "diffllama_base",
        dict(r=4, target_modules=["v_proj"], task_type="QUESTION_ANS"),
    ),
}
# Of these: the class, its labels, and whether config.json stands beside the adapter.
HEADS = {
    "new_sequence_head": ("DiffLlamaForSequenceClassification", ["DESC", "ENTY", "HUM"], True),
    "new_token_head": ("DiffLlamaForTokenClassification", [f"LABEL_{i}" for i in range(5)], False),
    "new_question_head": ("DiffLlamaForQuestionAnswering", ["LABEL_0", "LABEL_1"], False),
}


def randomise(model, name):
    """Moves the adapter's tensors well away from their start."""
    rng = reference.generator(name)
    for key, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=rng)
        with torch.no_grad():
            if ".lora_A." in key:
                parameter.copy_(values / parameter.shape[1] ** 0.5)
            elif ".lora_B." in key:
                parameter.copy_(0.3 * values / parameter.shape[1] ** 0.5)
            elif ".modules_to_save." in key:
                parameter.copy_(parameter * (1 + 0.3 * values))


def sort_lists(path, base):
    """PEFT's lists come from sets, in any order; its path of the base model is this machine's."""
    config = json.loads(path.read_text())
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key].sort()
    config["base_model_name_or_path"] = f"tests/golden/forward/{base}"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_base(name, base):
    """The base model, with a new head where the case has one."""
    if name not in HEADS:
        return reference.load(FORWARD / base)
    class_name, labels, _ = HEADS[name]
    torch.manual_seed(1)
    model = getattr(transformers, class_name).from_pretrained(
        FORWARD / base,
        dtype=torch.float32,
        attn_implementation="eager",
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        pad_token_id=0,
    )
    for head in ("score", "qa_outputs"):
        bias = getattr(getattr(model, head, None), "bias", None)
        if bias is not None:
            torch.nn.init.normal_(bias)  # from zeros
    return model.eval()


def load_with_adapter(name, base, directory):
    model = PeftModel.from_pretrained(load_base(name, base), directory)
    return model.get_base_model().eval()


def every_tensor_matters(name, model, inputs, wanted):
    for key, parameter in model.named_parameters():
        if ".lora_" not in key and ".modules_to_save." not in key:
            continue
        old = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(1.5 * old)
            moved = reference.run(model, inputs, {})
            parameter.copy_(old)
        good = reference.comparable_rows(inputs)
        worst = max(
            reference.relative_difference(k, moved[k], wanted[k], good, {}) for k in wanted
        )
        assert worst > 20 * TOLERANCE, f"{name}: {key} moves the outputs by {worst:.1e} only"


def make(name, base, settings):
    directory = ROOT / name
    shutil.rmtree(directory, ignore_errors=True)
    config = LoraConfig(**{"task_type": "CAUSAL_LM", **settings})
    model = get_peft_model(load_base(name, base), config)
    randomise(model, name)
    model.save_pretrained(directory)
    (directory / "README.md").unlink()
    sort_lists(directory / "adapter_config.json", base)
    if name in HEADS and HEADS[name][2]:
        model.get_base_model().config.save_pretrained(directory)

    model = load_with_adapter(name, base, directory)
    rng = reference.generator(name + ".inputs")
    ids = torch.randint(3, model.config.vocab_size, (2, 9), generator=rng)
    inputs = {"input_ids": ids}
    outputs = reference.run(model, inputs, {})
    plain = reference.run(load_base(name, base), inputs, {})
    good = reference.comparable_rows(inputs)
    for key, value in outputs.items():
        moved = reference.relative_difference(key, plain[key], value, good, {})
        assert moved > 0.01, f"{name}: the adapter moves {key} by {moved:.1e} only"
    every_tensor_matters(name, model, inputs, outputs)
    reference.save_tensors(directory / "inputs.safetensors", inputs)
    reference.save_tensors(directory / "outputs.safetensors", outputs)
    record = {"checkpoint": f"tests/golden/forward/{base}"}
    (directory / "case.json").write_text(json.dumps(record, indent=1) + "\n")
    with reference.in_double():
        exact = reference.run(load_with_adapter(name, base, directory).double(), inputs, {})
    return max(reference.relative_difference(k, outputs[k], exact[k], good, {}) for k in outputs)


def check(name, base, directory):
    inputs = reference.load_tensors(ROOT / name / "inputs.safetensors")
    wanted = reference.load_tensors(ROOT / name / "outputs.safetensors")
    got = reference.run(load_with_adapter(name, base, directory), inputs, {})
    good = reference.comparable_rows(inputs)
    return max(reference.relative_difference(k, got[k], wanted[k], good, {}) for k in wanted)


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = sys.argv[1:]
    written = Path(names.pop(names.index("--check") + 1)) if "--check" in names else None
    names = [name for name in names if name != "--check"]
    worst = 0.0
    for name, (base, settings) in CASES.items():
        if names and not any(part in name for part in names):
            continue
        if written and not (written / name).exists():
            print(f"{name}: not written")
            continue
        if written:
            difference = check(name, base, written / name)
            assert difference <= TOLERANCE, f"{name}: {difference:.1e}"
            what = "of the golden"
        else:
            difference = make(name, base, settings)
            what = "float32 rounding"
        worst = max(worst, difference)
        print(f"{name}: {difference:.1e} {what}", flush=True)
    print(f"worst {worst:.1e} of {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
