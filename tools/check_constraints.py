#!/usr/bin/env python3
"""Checks that what `diffllama generate --json-schema` writes satisfies the schema, with PyPI's jsonschema:

    random schemas of every supported keyword, by a seed
    the schemas of the JSON-Schema-Test-Suite's draft2020-12 files, where they are: those that are refused are counted
    a second opinion on the same texts by PyPI's llguidance, where it is installed

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install jsonschema rfc3339-validator [llguidance transformers]
    /tmp/venv/bin/python tools/check_constraints.py --program build/release/bin/diffllama --count 300
    /tmp/venv/bin/python tools/check_constraints.py --suite JSON-Schema-Test-Suite/tests/draft2020-12

Texts are drawn at a high temperature from the small model; one that the token limit cuts short is counted apart.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = REPOSITORY / "models" / "diffllama-tiny"


class RandomSchema:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def scalar(self):
        r = self.random
        return r.choice([
            {"type": "integer", "minimum": r.randrange(-999, 0), "maximum": r.randrange(0, 9999)},
            {"type": "number", "exclusiveMinimum": r.randrange(8) / 4, "maximum": r.randrange(3, 90)},
            {"type": "string", "minLength": r.randrange(4), "maxLength": r.randrange(4, 12)},
            {"type": "string", "pattern": r.choice(["^[a-z]{2,5}$", "^(ab|cd)+$", "[0-9]", "^\\w+-\\d{2}$"]),
             "maxLength": 9},
            {"type": "string", "format": r.choice(["date", "time", "date-time", "uuid", "email"])},
            {"enum": ["red", 7, None, True, {"k": ["v"]}]},
            {"const": {"nested": ["\"", "é", 1.5]}},
            {"type": ["boolean", "null"]},
        ])  # fmt: skip

    def any(self, depth):
        r = self.random
        if depth == 0:
            return self.scalar()
        kind = r.randrange(7)
        if kind < 2:
            names = r.sample(["a", "b", "key with \"", "ключ", "e"], r.randrange(1, 4))
            schema = {"type": "object", "properties": {n: self.any(depth - 1) for n in names},
                      "required": [n for n in names if r.random() < 0.6]}
            if r.random() < 0.5:
                schema["additionalProperties"] = r.choice([False, {"type": "integer"}])
            return schema
        if kind < 4:
            schema = {"type": "array", "items": self.any(depth - 1), "minItems": r.randrange(2),
                      "maxItems": r.randrange(2, 4)}
            if r.random() < 0.4:
                schema["prefixItems"] = [self.scalar()]
            return schema
        if kind == 4:
            return {"anyOf": [self.any(depth - 1), self.scalar()]}
        if kind == 5:
            return {"oneOf": [
                {"type": "object", "properties": {"kind": {"const": i}, "value": self.any(depth - 1)},
                 "required": ["kind", "value"]} for i in range(3)
            ]}  # fmt: skip
        return {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": r.randrange(3, 500)}]}


def suite_schemas(folder):
    for file in sorted(Path(folder).rglob("*.json")):
        for group in json.loads(file.read_text(encoding="utf-8")):
            yield f"{file.name}: {group['description']}", group["schema"]


def write(program, schema, seed, folder, tokens):
    """The text, "length" where it was cut short, or None where the schema is refused."""
    path = folder / "schema.json"
    path.write_text(json.dumps(schema, ensure_ascii=False), encoding="utf-8")
    command = [program, "generate", "-m", TINY, "-p", "JSON:", "--json-schema", path, "--json", "--seed", str(seed),
               "--temperature", "1.5", "--top-k", "0", "--max-new-tokens", str(tokens)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        return None, done.stderr.strip()
    line = json.loads(done.stdout)
    return line["text"], line["stop_reason"]


def second_opinion():
    """A function that says whether llguidance takes a text, or None without it."""
    try:
        import llguidance
        import llguidance.hf
        from transformers import AutoTokenizer
    except ImportError:
        return None
    tokenizer = llguidance.hf.from_tokenizer(AutoTokenizer.from_pretrained(TINY))

    def takes(schema, text):
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
        except ValueError:
            return None  # integers past 64 bits
        matcher = llguidance.LLMatcher(tokenizer, grammar)
        if matcher.is_error():
            return None  # it does not support the schema
        ids = tokenizer.tokenize_str(text)
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    return takes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", default=str(REPOSITORY / "build/release/bin/diffllama"))
    parser.add_argument("--count", type=int, default=300, help="random schemas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--suite", help="folder of the JSON-Schema-Test-Suite's draft2020-12 files")
    arguments = parser.parse_args()
    if arguments.suite:
        cases = list(suite_schemas(arguments.suite))
    else:
        seeds = range(arguments.seed, arguments.seed + arguments.count)
        cases = [(f"seed {seed}", RandomSchema(seed).any(3)) for seed in seeds]
    takes = second_opinion()
    counts = dict(valid=0, cut=0, refused=0, wrong=0, unchecked=0, second_takes=0, second_refuses=0)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, schema) in enumerate(cases):
            text, reason = write(arguments.program, schema, number, Path(folder), arguments.tokens)
            if text is None:
                counts["refused"] += 1
                if not arguments.suite:
                    print(f"{name}: {reason}\n  {json.dumps(schema)}")
                continue
            if reason == "length":
                counts["cut"] += 1
                continue
            try:
                checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
                jsonschema.Draft202012Validator(schema, format_checker=checker).validate(json.loads(text))
                counts["valid"] += 1
            except re.error:
                counts["unchecked"] += 1  # a pattern that Python does not know
            except (ValueError, jsonschema.ValidationError) as error:
                counts["wrong"] += 1
                print(f"{name}: {text}\n  {json.dumps(schema)}\n  {str(error).splitlines()[0]}")
            opinion = takes(schema, text) if takes else None
            if opinion is not None:
                counts["second_takes" if opinion else "second_refuses"] += 1
                if not opinion:
                    print(f"{name}: llguidance does not take {text}\n  {json.dumps(schema)}")
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    sys.exit(1 if counts["wrong"] else 0)


if __name__ == "__main__":
    main()
