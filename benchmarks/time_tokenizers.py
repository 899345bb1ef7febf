#!/usr/bin/env python3
"""Times `diffllama`'s tokenizers beside Hugging Face tokenizers, turn about, on one thread, and checks that the ids agree.

    pip install tokenizers      # in a scratch virtual environment
    benchmarks/time_tokenizers.py build/release/benchmarks/tokenizer_benchmark CORPUS.jsonl TOKENIZER... [-r 3] [-t 1,2]

CORPUS holds lines of {"text": ...}; each TOKENIZER is a tokenizer.json. Prints megabytes of text a second, medians of
the rounds, and how many times faster this project is.
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


def theirs(path, texts):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    start = time.perf_counter()
    count = sum(len(tokenizer.encode(text).ids) for text in texts)
    return time.perf_counter() - start, count


def ours(program, path, corpus, threads):
    result = subprocess.run([program, path, corpus, str(threads)], check=True, capture_output=True, text=True)
    seconds, count = result.stdout.split()
    return float(seconds), int(count)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("corpus")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", default="1")
    arguments = parser.parse_args()
    texts = [json.loads(line)["text"] for line in open(arguments.corpus, encoding="utf-8")]
    size = sum(len(text.encode()) for text in texts) / 1e6
    for path in arguments.tokenizers:
        for threads in map(int, arguments.threads.split(",")):
            times = {"theirs": [], "ours": []}
            for _ in range(arguments.rounds):
                seconds, expected = theirs(path, texts)
                times["theirs"].append(seconds)
                seconds, count = ours(arguments.program, path, arguments.corpus, threads)
                times["ours"].append(seconds)
                if count != expected:
                    sys.exit(f"{path}: expected {expected} tokens, got {count}")
            median = {name: statistics.median(each) for name, each in times.items()}
            print(f"{path}, {threads} threads: tokenizers {size / median['theirs']:.2f} MB/s (1 thread), diffllama "
                  f"{size / median['ours']:.2f} MB/s, {median['theirs'] / median['ours']:.1f} times")


if __name__ == "__main__":
    main()
