#!/usr/bin/env python3
"""lm-evaluation-harness's `diffllama` beside its `hf`, on the same checkpoint and tasks made here from text.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install . lm_eval torch transformers accelerate
    /tmp/venv/bin/python tools/compare_lm_eval.py --model models/diffllama-tiny --text docs/model.md --work /tmp/lm-eval

A multiple choice (which of four ends a sentence has), perplexity of documents and a generation are run as
`lm_eval --model MODEL --model_args pretrained=DIR,dtype=float32`. Fails where an accuracy or an exact match differs, a
log-likelihood is further than 1e-4, a perplexity further than 1e-4 of itself, or a text is another. Prints the time of
each."""

import argparse
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 1e-4


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def task(name, work, fields):
    """The harness's description of a task on work/NAME.jsonl, in YAML's JSON."""
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(work / f"{name}.jsonl")}},
        "test_split": "test",
        "metadata": {"version": 1},
        **fields,
    }
    (work / f"{name}.yaml").write_text(json.dumps(task, indent=1))


def make_tasks(text, work, count, seed):
    chance = random.Random(seed)
    words = re.findall(r"\S+", text)
    pieces = [words[at : at + 24] for at in range(0, len(words) - 24, 24)]
    rows = []
    for piece in chance.sample(pieces, min(count, len(pieces))):
        ends = [" ".join(piece[16:])]
        ends += [" ".join(other[16:]) for other in chance.sample(pieces, 3)]
        order = chance.sample(range(4), 4)
        rows.append({"query": " ".join(piece[:16]), "choices": [ends[i] for i in order], "gold": order.index(0)})
    write_lines(work / "ends.jsonl", rows)
    task("ends", work, {
        "output_type": "multiple_choice", "doc_to_text": "{{query}}", "doc_to_choice": "choices", "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    })
    documents = [" ".join(words[at : at + 700]) for at in range(0, len(words), 700)][:8]
    write_lines(work / "documents.jsonl", [{"text": document} for document in documents])
    task("documents", work, {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    })
    write_lines(work / "goes_on.jsonl", [{"query": row["query"], "answer": row["choices"][row["gold"]]} for row in rows[:20]])
    task("goes_on", work, {
        "output_type": "generate_until", "doc_to_text": "{{query}}", "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 24, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    })


def run(program, model, model_args, work, tasks):
    out = work / model
    start = time.monotonic()
    subprocess.run(
        [*program, "--model", model, "--model_args", model_args, "--tasks", ",".join(tasks), "--include_path", str(work),
         "--output_path", str(out), "--log_samples", "--batch_size", "8", "--device", "cpu"],
        check=True,
    )
    seconds = time.monotonic() - start
    newest = max(out.rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
    samples = {}
    for name in tasks:
        file = max(out.rglob(f"samples_{name}_*.jsonl"), key=lambda path: path.stat().st_mtime)
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        samples[name] = [row["resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]
    return json.loads(newest.read_text())["results"], samples, seconds


def numbers(value):
    """Every number in an answer, which may be text."""
    if isinstance(value, (list, tuple)):
        return [number for each in value for number in numbers(each)]
    try:
        return [float(value)]
    except ValueError:
        return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="a checkpoint that both read")
    parser.add_argument("--text", required=True, type=Path, help="text that the tasks are made of")
    parser.add_argument("--work", required=True, type=Path, help="directory for tasks and results")
    parser.add_argument("--count", type=int, default=100, help="questions of the multiple choice")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    make_tasks(options.text.read_text(), work, options.count, options.seed)
    tasks = ["ends", "documents", "goes_on"]
    program = [str(Path(sys.executable).with_name("lm_eval"))]
    arguments = f"pretrained={options.model.resolve()},dtype=float32"
    theirs, their_samples, their_seconds = run(program, "hf", arguments, work, tasks)
    ours, our_samples, our_seconds = run(program, "diffllama", arguments, work, tasks)
    wrong = []
    for name in tasks:
        for metric, expected in theirs[name].items():
            if not isinstance(expected, float) or "stderr" in metric:
                continue
            got = ours[name][metric]
            exact = "perplexity" not in metric and "bits" not in metric
            if got != expected if exact else abs(got - expected) > LIMIT * abs(expected):
                wrong.append(f"{name} {metric}: expected {expected}, got {got}")
            print(f"{name} {metric}: hf {expected:.6f}, diffllama {got:.6f}")
    furthest = 0.0
    for name in ("ends", "documents"):
        for number, (expected, got) in enumerate(zip(their_samples[name], our_samples[name], strict=True)):
            for a, b in zip(numbers(expected), numbers(got), strict=True):
                limit = LIMIT if name == "ends" else LIMIT * abs(a)  # a sum over a document
                furthest = max(furthest, abs(a - b) if name == "ends" else 0)
                if not abs(a - b) <= limit:
                    wrong.append(f"{name} {number}: expected {a}, got {b}")
    different = sum(a != b for a, b in zip(their_samples["goes_on"], our_samples["goes_on"], strict=True))
    if different:
        wrong.append(f"goes_on: {different} texts differ")
    print(f"log-likelihoods of choices are within {furthest:.1e}, {different} of {len(our_samples['goes_on'])} texts differ")
    print(f"whole command: hf {their_seconds:.1f} s, diffllama {our_seconds:.1f} s")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
