#!/usr/bin/env python3
"""Compares `diffllama tokenize` with the tokenizers library on random texts, and prints where they differ.

    pip install tokenizers transformers gguf      # in a scratch virtual environment
    tools/compare_tokenizers.py build/release/bin/diffllama MODEL [-n 200] [--seed 0] [--texts FILE.jsonl]
    tools/compare_tokenizers.py build/release/bin/diffllama components --texts FILE.jsonl --seconds 3600
    tools/compare_tokenizers.py build/release/bin/diffllama characters --texts FILE.jsonl

MODEL is a directory with a tokenizer.json, a tokenizer.json, a .gguf file (read through transformers), or the word
"components": all of tokenizer_components.py and what `diffllama tokenizer train` makes, on random texts and pairs,
round by round with a new seed until the time is over. "characters": each of Unicode's through each of these.
"""

import argparse
import json
import random
import subprocess
import sys
import unicodedata
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
            # Regular expressions here know Unicode 14, and those of the library 16.
            parts.append("?" if unicodedata.category(chr(code)) in ("Cn", "Cs") else chr(code))
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


def full(encoded, texts):
    """What `tokenize --full` prints."""
    starts = []
    for text in texts:
        starts.append([0])
        for character in text:
            starts[-1].append(starts[-1][-1] + len(character.encode()))
    offsets = [[starts[sequence or 0][at] for at in span] for span, sequence in zip(encoded.offsets, encoded.sequence_ids)]
    none = lambda values: [-1 if value is None else value for value in values]  # noqa: E731
    return {"ids": encoded.ids, "offsets": offsets, "word_ids": none(encoded.word_ids), "type_ids": encoded.type_ids,
            "sequence_ids": none(encoded.sequence_ids), "special_tokens_mask": encoded.special_tokens_mask,
            "attention_mask": encoded.attention_mask}


def full_differences(program, path, tokenizer, text, pair):
    try:
        expected = full(tokenizer.encode(text, pair), [text, pair or ""])
    except Exception:
        expected = None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return  # a fault of the library, as with a stride longer than what a truncated text has left
    options = ["--full"] + ([] if pair is None else ["--pair", pair])
    result = subprocess.run([program, "tokenize", "-m", path, *options], input=text.encode(), capture_output=True)
    got = json.loads(result.stdout) if result.returncode == 0 else None
    if got != expected:
        yield "encoding", expected, got or result.stderr.decode(errors="replace")
    if expected is not None:
        decoded = tokenizer.decode(expected["ids"], skip_special_tokens=False)
        again = run(program, path, ["--decode"], json.dumps(expected["ids"]).encode()).decode()
        if again != decoded:
            yield "decoded", decoded, again


def trained(program, folder, corpus):
    """(path, tokenizer) of each kind that `diffllama tokenizer train` makes."""
    from tokenizers import Tokenizer

    for kind in ["bpe", "metaspace-bpe", "unigram"]:
        path = folder / f"trained_{kind}.json"
        subprocess.run([program, "tokenizer", "train", "--type", kind, "--vocab-size", "900", "--bos-token", "<s>",
                        "--special-tokens", "<|x|>", "-o", path, corpus], check=True)
        yield path, Tokenizer.from_file(str(path))


def all_components(arguments, folder):
    """(path, tokenizer) of each of tokenizer_components.py, and of each kind that can be trained."""
    from tokenizer_components import components

    lines = [line for line, _ in zip(open(arguments.texts, encoding="utf-8"), range(100))]
    texts = [json.loads(line)["text"][:4000] for line in lines] + TEXTS + PIECES * 3
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(lines))
    found = [(folder / f"{name}.json", tokenizer) for name, tokenizer in components(texts)]
    for path, tokenizer in found:
        tokenizer.save(str(path))
    return found + list(trained(arguments.program, folder, corpus))


def differing_characters(program, path, tokenizer, characters):
    """Those that a tokenizer reads differently between letters, by halving the text that holds them all."""
    text = "".join(f"a{character}b " for character in characters)
    if not any(full_differences(program, path, tokenizer, text, None)):
        return []
    if len(characters) == 1:
        return characters
    middle = len(characters) // 2
    halves = characters[:middle], characters[middle:]
    return [c for half in halves for c in differing_characters(program, path, tokenizer, half)]


def compare_characters(arguments):
    import tempfile

    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for path, tokenizer in all_components(arguments, Path(folder)):
            tokenizer.no_truncation()
            tokenizer.no_padding()
            tokenizer.save(str(path))
            found = []
            for begin in range(0, len(every), 4096):
                if len(found) < 200:
                    found += differing_characters(arguments.program, str(path), tokenizer, every[begin:begin + 4096])
            print(path.stem, " ".join(f"{ord(c):x}" for c in found) or "the same", flush=True)
            wrong += len(found)
    return 1 if wrong else 0


def search_components(arguments):
    import tempfile
    import time

    with tempfile.TemporaryDirectory() as folder:
        found = all_components(arguments, Path(folder))
        end, seed, count, wrong = time.time() + arguments.seconds, arguments.seed, 0, 0
        while time.time() < end:
            rng = random.Random(seed)
            for path, tokenizer in found:
                text = random_text(rng).replace("\0", "") if rng.random() < 0.5 else random_text(rng)
                pair = random_text(rng).replace("\0", "") if rng.random() < 0.3 else None
                for what, expected, got in full_differences(arguments.program, str(path), tokenizer, text, pair):
                    wrong += 1
                    print(f"seed {seed}, {path.stem}, {what} of {text!r}, {pair!r}:\n  expected {expected}\n  got      {got}", flush=True)
                count += 1
            seed += 1
        print(f"seeds {arguments.seed} to {seed - 1}, {len(found)} tokenizers, {count} texts, {wrong} differences")
        return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("model", type=Path)
    parser.add_argument("-n", type=int, default=200, help="random texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", help="JSON lines with a text each, compared too")
    parser.add_argument("--seconds", type=float, default=60, help="of the search through all components")
    arguments = parser.parse_args()
    if str(arguments.model) == "components":
        return search_components(arguments)
    if str(arguments.model) == "characters":
        return compare_characters(arguments)

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
