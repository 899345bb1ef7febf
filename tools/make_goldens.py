#!/usr/bin/env python3
"""Makes tests/golden/forward: small random checkpoints and what transformers computes for them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers safetensors gguf
    /tmp/venv/bin/python tools/make_goldens.py [NAME...]

Layout: tests/golden/forward/MODEL/{config.json, model.safetensors or shards with an index} and
MODEL/cases.safetensors, the tensors of its cases, CASE/{inputs,outputs}/NAME with the names that
`diffllama forward` reads and writes. cases.json lists every case, {MODEL: {CASE: record}}:
    logits_to_keep, hidden_states, attentions   the options of the call
    checkpoint         a directory of the repository, where MODEL holds none
    length_dependent   rotary frequencies follow the prompt's length: a cache fed in pieces differs
    for_each_token     a base model or a causal LM: a cache may be fed in pieces
    not_comparable     [row, position] pairs that see nothing
    gradients          true: there is CASE/gradients/grad.NAME of every parameter, computed in float64
                       and rounded to float32

Everything follows from the names below, so a second run writes the same files. NAME limits the run
to models whose name contains it.
"""

import json
import shutil
import sys
from pathlib import Path

import torch

import reference
from golden_cases import MODELS as FORWARD_MODELS
from gradient_cases import MODELS as GRADIENT_MODELS
from variant_cases import MODELS as VARIANT_MODELS

REPOSITORY = Path(__file__).resolve().parent.parent
ROOT = REPOSITORY / "tests" / "golden" / "forward"
CASES = ROOT / "cases.json"
MODELS = {**FORWARD_MODELS, **GRADIENT_MODELS, **VARIANT_MODELS}
TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4


def every_parameter_matters(name, model, inputs, options, wanted):
    """A golden proves nothing about a parameter that its outputs do not depend on: moving any
    one by half must show well past the tolerance."""
    rng = reference.generator(name + ".perturb")
    good = reference.comparable_rows(inputs)
    for key, parameter in model.named_parameters():
        old = parameter.detach().clone()
        worst = 0.0
        for _ in range(4):  # a draw may happen to leave lambda where it was
            with torch.no_grad():
                parameter.copy_(old * (1 + 0.5 * torch.randn(old.shape, generator=rng)))
            moved = reference.run(model, inputs, options)
            differences = (
                reference.relative_difference(k, moved[k], wanted[k], good, options)
                for k in wanted
            )
            worst = max([worst, *differences])
        with torch.no_grad():
            parameter.copy_(old)
        assert worst > 20 * TOLERANCE, f"{name}: {key} moves the outputs by {worst:.1e} only"


def inputs_and_gradients(name, directory, case):
    """Inputs, their gradients (None where the case asks for none), and how far transformers' own
    float32 is from those. Drawn again where that is far: the sum over a layer that is lambda's
    gradient may happen to be next to zero, of which any rounding is much."""
    config = reference.load(directory).config
    for draw in range(20):
        inputs = case.inputs(reference.generator(name + f".{draw}" * bool(draw)), config)
        if not case.gradients:
            return inputs, None, 0.0
        exact = reference.exact_gradients(directory, inputs)
        rounded = reference.gradients(reference.load(directory), inputs)
        noise = max(reference.gradient_differences(rounded, exact).values())
        if noise <= GRADIENT_TOLERANCE / 8:
            break
    assert noise <= GRADIENT_TOLERANCE / 8, f"{name}: float32 cannot compute it, {noise:.1e}"
    for key, gradient in exact.items():
        unused = key.endswith("embed_tokens.weight") and "input_ids" not in inputs
        zero = case.zero_gradients or unused or key == "grad.qa_outputs.bias"
        assert zero or gradient.any(), f"{name}: the gradient of {key} is zero"
    return inputs, {key: gradient.float() for key, gradient in exact.items()}, noise


def make_case(spec, model_name, case_name, case):
    """The case's record and tensors, and the rounding of transformers' float32."""
    directory = REPOSITORY / spec.checkpoint if spec.checkpoint else ROOT / model_name
    model = reference.load(directory)  # afresh: dynamic rotary keeps state between calls
    inputs, gradients, gradient_noise = inputs_and_gradients(
        f"{model_name}/{case_name}", directory, case
    )
    options = case.options
    outputs = reference.run(model, inputs, options)
    good = reference.comparable_rows(inputs)
    if "start_positions" in inputs:
        assert good.all(), f"{case_name}: the loss is over every row"
    for key, value in outputs.items():
        assert case.nan_loss == bool(value.isnan().any()) or key != "loss", f"{case_name} {key}"
        assert value.dtype == torch.float32
    if case.check_parameters:
        every_parameter_matters(
            f"{model_name}/{case_name}", reference.load(directory), inputs, options, outputs
        )
    tensors = {f"inputs/{key}": value for key, value in inputs.items()}
    tensors |= {f"outputs/{key}": value for key, value in outputs.items()}
    record = {
        "logits_to_keep": options.get("logits_to_keep", 0),
        "hidden_states": bool(options.get("hidden_states")),
        "attentions": bool(options.get("attentions")),
        "length_dependent": case.length_dependent,
        "for_each_token": type(model).__name__.endswith(("Model", "ForCausalLM")),
        "not_comparable": (~good).nonzero().tolist(),
    }
    if spec.checkpoint:
        record["checkpoint"] = spec.checkpoint
    if gradients:
        record["gradients"] = True
        tensors |= {f"gradients/{key}": value for key, value in gradients.items()}
    # How much of the tolerance transformers' own rounding takes.
    with reference.in_double():
        exact = reference.run(reference.load(directory).double(), inputs, options)
    noise = max(
        reference.relative_difference(k, outputs[k], exact[k], good, options) for k in outputs
    )
    line = f", of gradients {gradient_noise:.1e}" if gradients else ""
    print(f"{model_name}/{case_name}: float32 rounding {noise:.1e}{line}", flush=True)
    return record, tensors, noise


def write_list(listed):
    """cases.json with a case a line."""
    models = []
    for model, cases in sorted(listed.items()):
        lines = (f"  {json.dumps(case)}: {json.dumps(record)}" for case, record in cases.items())
        models.append(f" {json.dumps(model)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(models) + "\n}\n"


def main():
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    worst = 0.0
    listed = json.loads(CASES.read_text()) if wanted and CASES.exists() else {}
    for name, spec in MODELS.items():
        if wanted and not any(w in name for w in wanted):
            continue
        directory = ROOT / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        if spec.config:
            reference.write_checkpoint(directory, spec.config, name, **spec.files)
        listed[name], tensors = {}, {}
        for case_name, case in spec.cases.items():
            record, made, noise = make_case(spec, name, case_name, case)
            listed[name][case_name] = record
            tensors |= {f"{case_name}/{key}": value for key, value in made.items()}
            worst = max(worst, noise)
        reference.save_tensors(directory / "cases.safetensors", tensors)
    CASES.write_text(write_list(listed))
    size = sum(f.stat().st_size for f in ROOT.rglob("*") if f.is_file())
    print(f"worst float32 rounding {worst:.1e} of {TOLERANCE:.0e}; {size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
