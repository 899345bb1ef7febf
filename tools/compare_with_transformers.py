#!/usr/bin/env python3
"""Looks for differences between the program and transformers, open-endedly: random configurations,
weights and inputs over all of docs/model.md, each from a seed that reproduces it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers safetensors gguf
    compare_with_transformers.py --program build/release/bin/diffllama --seeds 0:200
    compare_with_transformers.py --program ... --seeds 17 --keep DIR     one seed, its files kept
    compare_with_transformers.py --program ... --seeds 0:99 --gradients   labels wherever they can be
    compare_with_transformers.py --program ... --perplexity FILE.jsonl   models/diffllama-tiny
    compare_with_transformers.py --program ... --smollm2 FILE.gguf       greedy ids and logits

A seed fails when an output is further than 2e-5 of its largest value from transformers' (or, where
transformers' own rounding is more than half of that, than twice that rounding), when
greedy ids differ at a choice that rounding cannot explain, or when the program fails. Where there
are labels, each parameter's gradient by `forward --gradients` is held to 1e-4 of its largest value
in float64, or to 4 times transformers' own rounding. Each line gives the worst difference and,
where it is not small, that of transformers' float32 itself from float64 ("rounding").
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import reference
from random_cases import random_case

TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4
TINY = Path(__file__).resolve().parent.parent / "models" / "diffllama-tiny"


def run_program(command):
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if result.returncode != 0:
        message = result.stderr.strip().split("\n")[-1]
        raise RuntimeError(f"exit status {result.returncode}: {message}")
    return result.stdout


def forward_command(program, case, directory, extra=()):
    command = [program, "forward", "-m", directory, "--inputs", directory / "inputs.safetensors"]
    command += ["--outputs", directory / "got.safetensors"]
    if case.options.get("hidden_states"):
        command.append("--hidden-states")
    if case.options.get("attentions"):
        command.append("--attentions")
    if case.options.get("logits_to_keep"):
        command += ["--logits-to-keep", case.options["logits_to_keep"]]
    return [str(c) for c in [*command, *case.flags, *extra]]


def compare_forward(program, case, directory):
    """The worst relative difference with its output's name, and, where that is not small,
    transformers' own rounding."""
    model = reference.load(directory)
    inputs = case.inputs(model.config)
    good = reference.comparable_rows(inputs)
    reference.save_tensors(directory / "inputs.safetensors", inputs)
    wanted = reference.run(model, inputs, case.options)
    run_program(forward_command(program, case, directory))
    got = reference.load_tensors(directory / "got.safetensors")
    if got.keys() != wanted.keys():
        raise RuntimeError(f"outputs {sorted(got)} in place of {sorted(wanted)}")
    worst = max(
        (reference.relative_difference(k, got[k], wanted[k], good, case.options), k) for k in wanted
    )
    if worst[0] <= TOLERANCE / 4:
        return worst, None
    with reference.in_double():
        exact = reference.run(reference.load(directory).double(), inputs, case.options)
    rounding = max(
        reference.relative_difference(k, wanted[k], exact[k], good, case.options) for k in wanted
    )
    return worst, rounding


def has_labels(inputs):
    return "labels" in inputs or "start_positions" in inputs


def compare_gradients(program, case, directory):
    """None without labels; else the gradient that is worst against what it is allowed: its
    difference, its name, transformers' own where it counts, and whether it is allowed. The outputs
    must be those of a forward without gradients, to the tolerance."""
    inputs = reference.load_tensors(directory / "inputs.safetensors")
    if not has_labels(inputs):
        return None
    plain = reference.load_tensors(directory / "got.safetensors")
    run_program(forward_command(program, case, directory, ["--gradients"]))
    outputs = reference.load_tensors(directory / "got.safetensors")
    got = {name: outputs.pop(name) for name in list(outputs) if name.startswith("grad.")}
    if outputs.keys() != plain.keys():
        raise RuntimeError(f"with gradients: outputs {sorted(outputs)} not {sorted(plain)}")
    good = reference.comparable_rows(inputs)
    for name, value in plain.items():
        moved = reference.relative_difference(name, outputs[name], value, good, case.options)
        if moved > 2 * TOLERANCE:
            raise RuntimeError(f"with gradients {name} differs by {moved:.1e}")
    exact = reference.exact_gradients(directory, inputs)
    if got.keys() != exact.keys():
        raise RuntimeError(f"gradients differ in names: {sorted(got.keys() ^ exact.keys())}")
    differences = reference.gradient_differences(got, exact)
    worst, name = max((value, key) for key, value in differences.items())
    if worst <= GRADIENT_TOLERANCE / 4:
        return worst, name, None, True
    rounded = reference.gradients(reference.load(directory), inputs)
    rounding = reference.gradient_differences(rounded, exact)
    allowed = {key: max(GRADIENT_TOLERANCE, 4 * value) for key, value in rounding.items()}
    name = max(differences, key=lambda key: differences[key] / allowed[key])
    return differences[name], name, rounding[name], differences[name] <= allowed[name]


def greedy_of_transformers(directory, prompt, options):
    """New ids, and at each step how far the second choice was behind, over the largest score."""
    model = reference.load(directory)  # afresh: dynamic rotary keeps state between calls
    model.generation_config.eos_token_id = None  # as --ignore-eos
    result = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    margins = []
    for step in result.scores:
        top = step[0].topk(2).values
        margins.append(((top[0] - top[1]) / step[0][step[0].isfinite()].abs().max()).item())
    return result.sequences[0, len(prompt):].tolist(), margins


def compare_generate(program, case, directory):
    """None, or where the first real difference is."""
    prompts, options = case.prompts, case.generation
    command = [program, "generate", "-m", directory, "--input-ids", json.dumps(prompts), "--json"]
    command += ["--ignore-eos", "--dtype", "float32"]
    for key, value in options.items():
        command += ["--" + key.replace("_", "-"), value]
    lines = run_program([str(c) for c in command]).strip().split("\n")
    got = [json.loads(line) for line in lines]
    assert [g["index"] for g in got] == list(range(len(prompts))), "sequences out of order"
    for prompt, line in zip(prompts, got):
        wanted, margins = greedy_of_transformers(directory, prompt, options)
        if line["ids"] == wanted:
            continue
        at = next(
            (i for i, (a, b) in enumerate(zip(line["ids"], wanted)) if a != b), len(line["ids"])
        )
        if at < len(margins) and margins[at] < TOLERANCE:
            continue
        return f"prompt {line['index']} differs at new token {at}: {line['ids']} not {wanted}"
    return None


def check_seed(program, seed, directory, options):
    """One line of report and whether the seed passed."""
    case = random_case(seed, options.gradients)
    reference.write_checkpoint(directory, case.config, f"seed {seed}", **case.files)
    line = f"seed {seed}: {case.summary()}"
    try:
        (worst, name), rounding = compare_forward(program, case, directory)
        line += f": {worst:.1e} in {name}"
        if rounding is not None:
            line += f", rounding {rounding:.1e}"
        passed = worst <= max(TOLERANCE, 2 * (rounding or 0))
        gradient = None if options.outputs_only else compare_gradients(program, case, directory)
        if gradient:
            difference, name, rounding, allowed = gradient
            passed &= allowed
            line += f"; {difference:.1e} in {name}"
            line += f", rounding {rounding:.1e}" if rounding is not None else ""
        if case.prompts and not (options.forward_only or options.gradients):
            difference = compare_generate(program, case, directory)
            if difference:
                passed = False
                line += "\n  generate: " + difference
    except (RuntimeError, AssertionError, ValueError, subprocess.TimeoutExpired) as error:
        passed = False
        line += f"\n  {error}"
    if not passed:
        line += "\n  FAILED: " + " ".join(forward_command(program, case, directory))
    return line, passed


def check_seeds(program, seeds, options):
    failed = []
    for seed in seeds:
        directory = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=options.keep))
        line, passed = check_seed(program, seed, directory, options)
        print(line, flush=True)
        if not passed:
            failed.append(seed)
        elif not options.keep:
            shutil.rmtree(directory)
    print(f"{len(seeds) - len(failed)} of {len(seeds)} seeds passed; failed: {failed}")
    return not failed


def check_perplexity(program, path):
    from make_generation_goldens import perplexity_of

    wanted = perplexity_of(path)
    text = run_program([program, "perplexity", "-m", str(TINY), "--dtype", "float32", path])
    print(f"transformers: {wanted['perplexity']:.6f} over {wanted['tokens']} tokens")
    print(f"diffllama: {text.strip()}")
    found = [float(w) for w in text.replace(",", " ").split() if is_number(w)]
    return any(abs(x - wanted["perplexity"]) <= 1e-3 for x in found)


def is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


def check_smollm2(program, path):
    """The ids of tests/golden/smollm2.json, and the logits of one prompt."""
    from transformers import AutoModelForCausalLM

    path = Path(path)
    golden = Path(__file__).resolve().parent.parent / "tests" / "golden" / "smollm2.json"
    sequences = json.loads(golden.read_text())["sequences"]
    prompts = json.dumps([s["prompt_ids"] for s in sequences])
    command = [program, "generate", "-m", str(path), "--input-ids", prompts, "--json"]
    command += ["--ignore-eos", "--dtype", "float32", "--max-new-tokens", "48"]
    lines = run_program(command).strip().split("\n")
    passed = True
    for sequence, line in zip(sequences, lines):
        same = json.loads(line)["ids"] == sequence["ids"]
        passed &= same
        print(f"{sequence['name']}: {'same ids' if same else 'DIFFERENT ids'}")
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    inputs = {"input_ids": torch.tensor([sequences[0]["prompt_ids"] + sequences[0]["ids"]])}
    wanted = reference.run(model, inputs, {})
    with tempfile.TemporaryDirectory() as scratch:
        files = [f"{scratch}/inputs.safetensors", f"{scratch}/outputs.safetensors"]
        reference.save_tensors(files[0], inputs)
        command = [program, "forward", "-m", str(path), "--inputs", files[0]]
        run_program([*command, "--outputs", files[1]])
        got = reference.load_tensors(files[1])["logits"]
    good = torch.ones(inputs["input_ids"].shape, dtype=torch.bool)
    worst = reference.relative_difference("logits", got, wanted["logits"], good, {})
    print(f"logits: {worst:.1e}")
    return passed and worst <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", required=True, help="the diffllama binary")
    parser.add_argument("--seeds", default="", help="FIRST:END, or single seeds with commas")
    parser.add_argument("--keep", help="an existing folder for every seed's files")
    parser.add_argument("--forward-only", action="store_true", help="leave out generation")
    parser.add_argument("--outputs-only", action="store_true", help="leave out gradients")
    parser.add_argument(
        "--gradients", action="store_true", help="labels wherever they can be, and no generation"
    )
    parser.add_argument("--perplexity", metavar="FILE", help="compare perplexity on a .jsonl file")
    parser.add_argument("--smollm2", metavar="FILE", help="compare on the SmolLM2 GGUF file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    passed = True
    if arguments.seeds:
        first, _, end = arguments.seeds.partition(":")
        seeds = range(int(first), int(end)) if end else [int(s) for s in first.split(",")]
        passed &= check_seeds(arguments.program, seeds, arguments)
    if arguments.perplexity:
        passed &= check_perplexity(arguments.program, arguments.perplexity)
    if arguments.smollm2:
        passed &= check_smollm2(arguments.program, arguments.smollm2)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
