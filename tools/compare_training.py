#!/usr/bin/env python3
"""The same training run in `diffllama train` and in transformers, torch and PEFT, side by side.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers peft safetensors
    compare_training.py steps --program build/release/bin/diffllama --model DIR --work DIR
    compare_training.py task RECIPE.json --model DIR --work DIR [--program ...] [FIELD=VALUE...]

steps: ten AdamW steps on made-up lines from the model DIR (with its tokenizer): language
modelling packed and plain, with decay, schedules, accumulation and clipping, classification, and
Llama's layers in place of DiffLlama's. Fails when a weight is further than 1e-5 from torch's, whose
own float32 is up to 5e-6 from float64 there: AdamW makes whole steps of the smallest gradients.

task: trains by a recipe of the program (sections of fields; see docs/training.md) whose data are
"classification" lines, on transformers' side and, with --program, on the program's, from one start:
the model DIR with a new head. Prints loss and accuracy on data.valid of both, as transformers
evaluates them, and how far the program's logits are from transformers' (PEFT's, with an adapter)
with the checkpoint of either; fails when accuracies are more than 1.5 points apart or logits more
than 2e-5 of the largest. FIELD=VALUE changes the recipe:
optimizer.learning_rate=1e-3, lora.r=16. --work gets the start, the checkpoints and result.json."""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

import reference
import training_reference

POINTS = 0.015
TOLERANCE = 1e-5
LOGITS_TOLERANCE = 2e-5


def write_json(path, value):
    Path(path).write_text(json.dumps(value, indent=1) + "\n")


def train_with_program(program, recipe, directory):
    """Runs the recipe; the directory of its last checkpoint."""
    shutil.rmtree(directory, ignore_errors=True)
    recipe = {**recipe, "checkpoints": {"output_dir": str(directory), "save_best": False}}
    if recipe.get("lora") is None:
        recipe.pop("lora", None)
        recipe["model"] = {**recipe["model"], "dtype": "float32"}
    path = directory.with_suffix(".recipe.json")
    write_json(path, recipe)
    result = subprocess.run([program, "train", str(path)], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{program} train {path}: {result.stderr.strip()}")
    return directory / "last"


def load_checkpoint(recipe, directory):
    """What the program saved, loaded by transformers or, onto the start, by PEFT."""
    if recipe["lora"] is None:
        return reference.load(directory)
    import peft

    return peft.PeftModel.from_pretrained(reference.load(recipe["model"]["from"]), directory)


# Ten steps


def made_up_lines(path, rng, count, labels=()):
    words = "the king of a far land saw ships come over the grey sea at dawn and said nothing".split()
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            line = {"text": " ".join(rng.choices(words, k=rng.randint(3, 25)))}
            if labels:
                line["label"] = rng.choice(labels)
            file.write(json.dumps(line) + "\n")


def llama_of(model, out):
    """A Llama with the model's weights, less lambda."""
    config = json.loads((model / "config.json").read_text())
    config.update(model_type="llama", architectures=["LlamaForCausalLM"])
    out.mkdir(exist_ok=True)
    write_json(out / "config.json", config)
    tensors = load_file(model / "model.safetensors")
    tensors = {name: t.contiguous() for name, t in tensors.items() if "lambda" not in name}
    reference.save_file(tensors, out / "model.safetensors", {"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, out)


def recipes_of_ten_steps(model, work):
    rng = random.Random(5)
    labels = ["north", "south", "west"]
    made_up_lines(work / "lines.jsonl", rng, 200)
    made_up_lines(work / "labelled.jsonl", rng, 60, labels)
    training_reference.start_of_classification(model, labels, 1, work / "classifier")
    llama_of(model, work / "llama")
    lines = {"kind": "jsonl", "train": [str(work / "lines.jsonl")], "sequence_length": 48}
    base = {
        "model": {"from": str(model)},
        "data": lines,
        "training": {"max_steps": 10, "batch_size": 4, "seed": 3},
        "optimizer": {"learning_rate": 1e-4},
    }
    decay = {"learning_rate": 1e-4, "weight_decay": 0.1, "adam_beta1": 0.8, "adam_beta2": 0.95}
    return {
        "packed": base,
        "plain, cosine": base
        | {
            "data": {**lines, "packing": False, "append_eos": False},
            "schedule": {
                "lr_scheduler_type": "cosine", "warmup_steps": 3, "min_lr_rate": 0.1,
            },
            "optimizer": decay,
        },
        "accumulated, clipped": base
        | {
            "training": {
                "max_steps": 10, "batch_size": 2, "gradient_accumulation_steps": 3, "seed": 4,
                "max_grad_norm": 0.1,
            },
            "schedule": {"lr_scheduler_type": "constant", "warmup_steps": 2},
        },
        "classification": base
        | {
            "model": {"from": str(work / "classifier")},
            "data": {**lines, "kind": "classification", "train": [str(work / "labelled.jsonl")]},
            "optimizer": decay,
        },
        "llama": base | {"model": {"from": str(work / "llama")}},
    }  # fmt: skip


def compare_steps(program, model, work):
    passed = True
    for name, given in recipes_of_ten_steps(model, work).items():
        recipe = training_reference.complete(given)
        wanted = dict(training_reference.train(recipe).named_parameters())
        before = dict(reference.load(recipe["model"]["from"]).named_parameters())
        moved = max((wanted[k] - before[k]).abs().max().item() for k in wanted)
        line = f"{name}: weights moved by up to {moved:.1e}"
        if program:
            directory = work / ("trained-" + name.replace(", ", "-"))
            checkpoint = train_with_program(program, given, directory)
            got = dict(load_checkpoint(recipe, checkpoint).named_parameters())
            worst = max(((got[k] - wanted[k]).abs().max().item(), k) for k in wanted)
            nan = any(value.isnan().any() for value in got.values())
            good = got.keys() == wanted.keys() and worst[0] <= TOLERANCE and not nan
            passed &= good
            line += f", {worst[0]:.1e} from torch's in {worst[1]}{'' if good else ' FAILED'}"
        print(line, flush=True)
    return passed


# A task


def changed(recipe, changes):
    for change in changes:
        field, _, text = change.partition("=")
        section, _, name = field.partition(".")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        if name:
            recipe.setdefault(section, {})[name] = value
        else:
            recipe[section] = value
    return recipe


@torch.no_grad()
def logits_apart(program, recipe, model, checkpoint, work):
    """How far the program's logits with a checkpoint are from the model's that holds the same, as a
    part of the largest, for the first examples of data.valid."""
    source = training_reference.source_of(recipe, model.config, "valid")
    batch = source.collate(list(range(min(64, len(source)))))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    wanted = model(**inputs, use_cache=False).logits
    reference.save_tensors(work / "inputs.safetensors", inputs)
    where = ["-m", checkpoint]
    if recipe["lora"] is not None:
        where = ["-m", recipe["model"]["from"], "--adapter", checkpoint]
    files = ["--inputs", work / "inputs.safetensors", "--outputs", work / "outputs.safetensors"]
    subprocess.run([program, "forward", *where, *files], check=True)
    got = reference.load_tensors(work / "outputs.safetensors")["logits"]
    return reference.relative_difference(
        "logits", got, wanted, reference.comparable_rows(inputs), {}
    )


def compare_task(program, model, work, given, every):
    recipe = training_reference.complete(given)
    labels = recipe["model"]["labels"] or sorted(
        {row["label"] for row in training_reference.read_lines(recipe["data"]["train"])}
    )
    start = work / "start"
    training_reference.start_of_classification(model, labels, recipe["training"]["seed"], start)
    given.setdefault("model", {})["from"] = recipe["model"]["from"] = str(start)
    began = time.time()

    def say(step, steps, loss):
        if step % every == 0 or step == steps:
            print(f"step {step} of {steps}, loss {loss:.4f}", file=sys.stderr, flush=True)

    trained = training_reference.train(recipe, say)
    trained.save_pretrained(work / "transformers")
    seconds = {"transformers": time.time() - began}
    models = {"transformers": trained}
    checkpoints = {"transformers": work / "transformers"}
    if program:
        began = time.time()
        checkpoints["diffllama"] = train_with_program(program, given, work / "diffllama")
        seconds["diffllama"] = time.time() - began
        models["diffllama"] = load_checkpoint(recipe, checkpoints["diffllama"])
    result = {"recipe": recipe, "seconds": seconds, "loss": {}, "accuracy": {}, "apart": {}}
    for name, model_there in models.items():
        loss, accuracy = training_reference.evaluate(recipe, model_there)
        result["loss"][name], result["accuracy"][name] = loss, accuracy
        print(f"{name}: loss {loss:.4f}, accuracy {100 * accuracy:.1f} %", flush=True)
        if program:
            apart = logits_apart(program, recipe, model_there, checkpoints[name], work)
            result["apart"][name] = apart
            print(f"  its checkpoint in {program}: logits {apart:.1e} apart", flush=True)
    write_json(work / "result.json", result)
    accuracies = result["accuracy"].values()
    good = all(apart <= LOGITS_TOLERANCE for apart in result["apart"].values())
    return good and max(accuracies) - min(accuracies) <= POINTS


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["steps", "task"])
    parser.add_argument("recipe", nargs="?", help="of a task")
    parser.add_argument("changes", nargs="*", metavar="FIELD=VALUE")
    parser.add_argument("--program", help="the diffllama binary; absent: transformers alone")
    parser.add_argument("--model", required=True, type=Path, help="a causal LM with its tokenizer")
    parser.add_argument("--work", required=True, type=Path, help="a folder for what is made")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--every", type=int, default=50, help="steps between two lines of loss")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.what == "steps":
        passed = compare_steps(arguments.program, arguments.model, arguments.work)
    else:
        if not arguments.recipe:
            parser.error("task needs a recipe")
        given = changed(json.loads(Path(arguments.recipe).read_text()), arguments.changes)
        passed = compare_task(
            arguments.program, arguments.model, arguments.work, given, arguments.every
        )
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
