#!/usr/bin/env python3
"""Times `diffllama`'s tokenizers beside Hugging Face tokenizers, turn about, on one thread, and checks that the ids agree.

    pip install tokenizers      # in a scratch virtual environment
    benchmarks/time_tokenizers.py build/release/benchmarks/tokenizer_benchmark CORPUS.jsonl TOKENIZER... [-r 3] [-t 1,2]

CORPUS holds lines of {"text": ...}; each TOKENIZER is a tokenizer.json. Prints megabytes of text a second, medians of
the rounds, and how many times faster this project is: of encoding alone, and of whole processes, which start, read the
tokenizer and the corpus, and encode it text by text.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


def encode(path, corpus):
    """What a process of the library does: prints seconds to encode all texts, and their tokens together."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = [json.loads(line)["text"] for line in open(corpus, encoding="utf-8")]
    start = time.perf_counter()
    count = sum(len(tokenizer.encode(text).ids) for text in texts)
    print(time.perf_counter() - start, count)


def run(command):
    """Seconds of encoding, seconds of the whole process, tokens."""
    start = time.perf_counter()
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    whole = time.perf_counter() - start
    seconds, count = result.stdout.split()
    return float(seconds), whole, int(count)


def main():
    if sys.argv[1] == "--theirs":
        return encode(sys.argv[2], sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("corpus")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", default="1")
    arguments = parser.parse_args()
    size = sum(len(json.loads(line)["text"].encode()) for line in open(arguments.corpus, encoding="utf-8")) / 1e6
    print("| tokenizer | threads | MB/s | tokenizers, 1 thread | times | with process start: MB/s | tokenizers | times |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for path in arguments.tokenizers:
        for threads in arguments.threads.split(","):
            commands = {"ours": [arguments.program, path, arguments.corpus, threads],
                        "theirs": [sys.executable, __file__, "--theirs", path, arguments.corpus]}
            rounds = {name: [] for name in commands}
            for _ in range(arguments.rounds):
                for name, command in commands.items():
                    rounds[name].append(run(command))
                if rounds["ours"][-1][2] != rounds["theirs"][-1][2]:
                    sys.exit(f"{path}: expected {rounds['theirs'][-1][2]} tokens, got {rounds['ours'][-1][2]}")
            speeds = {name: [size / statistics.median(each[i] for each in rounds[name]) for i in (0, 1)] for name in rounds}
            cells = [f"{speeds['ours'][i]:.1f} | {speeds['theirs'][i]:.2f} | {speeds['ours'][i] / speeds['theirs'][i]:.1f}"
                     for i in (0, 1)]
            print(f"| {os.path.basename(path)} | {threads} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
