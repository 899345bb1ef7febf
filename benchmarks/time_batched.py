#!/usr/bin/env python3
"""Times many sequences at once in `diffllama bench --parallel` beside llama.cpp's llama-batched-bench, turn about, on the
same GGUF files: prompts of 128 tokens and 128 new tokens each. Prints a table of medians.

usage: benchmarks/time_batched.py LLAMA_BATCHED_BENCH MODEL.gguf... [--sequences 4,16] [--rounds 3] [--threads 2]

build/release is what is measured; leave the machine alone meanwhile."""
import argparse
import json
import pathlib
import statistics
import subprocess

DIFFLLAMA = pathlib.Path(__file__).resolve().parent.parent / "build/release/bin/diffllama"
PROMPT = NEW = 128


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def ours(model, sequences, threads):
    """Tokens a second of prompts, of generation, and of all together."""
    row = json.loads(output(DIFFLLAMA, "bench", "-m", model, "--parallel", sequences, "-p", PROMPT, "-n", NEW,
                            "-t", threads, "-r", 1, "--json"))[0]
    seconds = sequences * (PROMPT / row["prompt_ts"] + NEW / row["decode_ts"])
    return row["prompt_ts"], row["decode_ts"], sequences * (PROMPT + NEW) / seconds


def theirs(program, model, sequences, threads):
    lines = output(program, "-m", model, "-c", (sequences + 1) * (PROMPT + NEW), "-b", 2048, "-ub", 512, "-npp", PROMPT,
                   "-ntg", NEW, "-npl", sequences, "-t", threads, "-tb", threads, "--output-format", "jsonl").splitlines()
    row = json.loads(next(line for line in lines if line.startswith("{")))
    return row["speed_pp"], row["speed_tg"], row["speed"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="llama-batched-bench")
    parser.add_argument("models", nargs="+", help="GGUF files that both read")
    parser.add_argument("--sequences", default="4,16", help="counts, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print("| file | sequences | diffllama, generation | llama.cpp, generation | ratio | of prompts | of all |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in options.models:
        for sequences in map(int, options.sequences.split(",")):
            pairs = [(ours(model, sequences, options.threads), theirs(options.program, model, sequences, options.threads))
                     for _ in range(options.rounds)]
            rates = [statistics.median(pair[side][1] for pair in pairs) for side in (0, 1)]
            prompts, new, both = (statistics.median(a[i] / b[i] for a, b in pairs) for i in range(3))
            print(f"| {pathlib.Path(model).name} | {sequences} | {rates[0]:.1f} | {rates[1]:.1f} | {new:.2f} | {prompts:.2f} "
                  f"| {both:.2f} |", flush=True)


if __name__ == "__main__":
    main()
