#!/usr/bin/env python3
"""Times `diffllama classify` and transformers' text classification pipeline on 1,000 texts of mixed lengths.

    benchmarks/time_classify.py --program build/release/bin/diffllama [--texts 1000] [--batch-size 32] [--repeats 3]

Both compute in float32 with the same number of threads, from the model in models/diffllama-tiny with the adapter
tests/golden/tasks/trec, merged for transformers. The pipeline gets the texts sorted by length, in batches of one length
where it can; the program gets them as they come. Labels must agree before a time counts, and loading is not timed: the
program's time is that of all texts less that of one. Needs torch, transformers and safetensors."""

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tools"))
import make_task_goldens as goldens  # noqa: E402


def mixed_texts(count):
    words = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split()
    source = random.Random(7)
    texts = []
    for _ in range(count):
        length = min(120, 3 + int(source.expovariate(1 / 20)))
        first = source.randrange(len(words) - length)
        texts.append(" ".join(words[first : first + length]))
    return texts


def time_program(program, texts, threads):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [program, "classify", "-m", str(goldens.MODEL), "--adapter", str(goldens.ROOT / "trec"), "--top-k", "1",
               "-t", str(threads)]
    start = time.perf_counter()
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return seconds, [json.loads(line)["labels"][0] for line in done.stdout.splitlines()]


def time_pipeline(pipe, texts, batch_size):
    start = time.perf_counter()
    order = sorted(range(len(texts)), key=lambda i: len(pipe.tokenizer(texts[i])["input_ids"]))
    labels = [None] * len(texts)
    results = pipe([texts[i] for i in order], batch_size=batch_size)
    for i, result in zip(order, results):
        labels[i] = result["label"]
    return time.perf_counter() - start, labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = mixed_texts(options.texts)
    pipe = transformers.TextClassificationPipeline(model=goldens.load("trec", {}), tokenizer=goldens.tokenizer())
    time_pipeline(pipe, texts[:64], options.batch_size)  # warm
    ours, theirs = [], []
    for _ in range(options.repeats):
        start, _ = time_program(options.program, texts[:1], options.threads)
        seconds, labels = time_program(options.program, texts, options.threads)
        ours.append(seconds - start)
        seconds, expected = time_pipeline(pipe, texts, options.batch_size)
        theirs.append(seconds)
        wrong = sum(a != b for a, b in zip(labels, expected))
        if wrong:
            sys.exit(f"expected the same labels, got {wrong} of {len(texts)} different")
    tokens = sum(len(pipe.tokenizer(text)["input_ids"]) for text in texts)
    best, other = min(ours), min(theirs)
    print(f"{len(texts)} texts, {tokens} tokens, {options.threads} threads, best of {options.repeats}")
    print(f"diffllama classify      {best:.2f} s, {tokens / best:.0f} tokens/s")
    print(f"transformers' pipeline  {other:.2f} s, {tokens / other:.0f} tokens/s (batches of {options.batch_size}, sorted)")
    print(f"ratio {other / best:.2f}")


if __name__ == "__main__":
    main()
