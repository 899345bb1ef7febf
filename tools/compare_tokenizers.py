#!/usr/bin/env python3
"""Compares `diffllama tokenize` with the tokenizers library on random texts, and prints where they differ.

    pip install tokenizers transformers gguf      # in a scratch virtual environment
    tools/compare_tokenizers.py build/release/diffllama MODEL [-n 200] [--seed 0] [--texts FILE.jsonl]

MODEL is a directory with a tokenizer.json, a tokenizer.json, or a .gguf file (read through transformers).
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from make_tokenizer_goldens import INVALID, PIECES, TEXTS


def load(model):
    if model.suffix == ".gguf":
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).backend_tokenizer
    if model.is_dir() and (model / "config.json").exists():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model).backend_tokenizer
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(model / "tokenizer.json" if model.is_dir() else model))


def random_text(rng):
    parts = []
    for _ in range(rng.randint(0, 20)):
        kind = rng.random()
        if kind < 0.7:
            parts.append(rng.choice(PIECES))
        elif kind < 0.9:
            parts.append(chr(rng.randint(32, 126)))
        else:
            code = rng.choice([rng.randint(0, 0x24FF), rng.randint(0, 0xFFFF), rng.randint(0, 0x10FFFF)])
            parts.append(chr(code) if not 0xD800 <= code < 0xE000 else "?")
    return "".join(parts)


def run(program, model, options, data):
    result = subprocess.run([program, "tokenize", "-m", model, *options], input=data, capture_output=True)
    if result.returncode != 0:
        sys.exit(f"{program} tokenize {' '.join(options)}: {result.stderr.decode(errors='replace')}")
    return result.stdout


def byte_offsets(text, spans):
    boundaries = [0]
    for character in text:
        boundaries.append(boundaries[-1] + len(character.encode()))
    return [[boundaries[begin], boundaries[end]] for begin, end in spans]


def differences(program, model, tokenizer, text):
    for special in [True, False]:
        expected = tokenizer.encode(text, add_special_tokens=special)
        options = ["--json", "--offsets"] + ([] if special else ["--no-special"])
        got = json.loads(run(program, model, options, text.encode()))
        if got["ids"] != expected.ids:
            yield "ids", expected.ids, got["ids"]
        elif got["offsets"] != byte_offsets(text, expected.offsets):
            yield "offsets", byte_offsets(text, expected.offsets), got["offsets"]
    decoded = tokenizer.decode(expected.ids, skip_special_tokens=False)
    got = run(program, model, ["--decode"], json.dumps(expected.ids).encode()).decode()
    if got != decoded:
        yield "decoded", decoded, got


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("model", type=Path)
    parser.add_argument("-n", type=int, default=200, help="random texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", help="JSON lines with a text each, compared too")
    arguments = parser.parse_args()

    tokenizer = load(arguments.model)
    rng = random.Random(arguments.seed)
    texts = TEXTS + [data.decode(errors="replace") for data in INVALID] + [random_text(rng) for _ in range(arguments.n)]
    if arguments.texts:
        texts += [json.loads(line)["text"] for line in open(arguments.texts, encoding="utf-8")]
    wrong = 0
    for text in texts:
        for what, expected, got in differences(arguments.program, str(arguments.model), tokenizer, text):
            wrong += 1
            print(f"{what} of {text[:200]!r}:\n  expected {expected}\n  got      {got}")
    print(f"{len(texts)} texts, {wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
