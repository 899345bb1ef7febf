#!/usr/bin/env python3
"""Turns task data sets, as their authors publish them, into what `diffllama train` reads.

    tools/prepare_datasets.py trec     DIR OUT [--fine]         train.txt, test.txt
    tools/prepare_datasets.py banking77 DIR OUT                 train.csv, test.csv
    tools/prepare_datasets.py clinc150 DIR OUT [--without-oos]  data_full.json
    tools/prepare_datasets.py xquad    DIR OUT [--test-articles N]  xquad.en.json

The first three become JSON lines {"text": ..., "label": NAME} in OUT/train.jsonl and OUT/test.jsonl (clinc150: also
OUT/valid.jsonl). xquad becomes SQuAD JSON: its last N articles OUT/test.json, those before them OUT/train.json; no
article is in both. Files of SQuAD itself and of Universal Dependencies (CoNLL-U) need no preparation.
"""

import argparse
import csv
import json
import sys
from pathlib import Path


def fail(where, expected, found):
    sys.exit(f"{where}: expected {expected}, got {found}")


def write_lines(path, examples):
    """examples: (text, label) pairs."""
    examples = list(examples)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for text, label in examples:
            file.write(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n")
    labels = {label for _, label in examples}
    print(f"{path}: {len(examples)} examples, {len(labels)} labels")


def read_trec(path, fine):
    # "COARSE:fine question", in Latin-1.
    with open(path, encoding="latin-1", newline="\n") as file:
        for number, line in enumerate(file, 1):
            label, space, text = line.strip().partition(" ")
            coarse, colon, _ = label.partition(":")
            if not space or not colon or not text:
                fail(f"{path}:{number}", '"COARSE:fine question"', repr(line))
            yield text, label if fine else coarse


def prepare_trec(source, out, options):
    for part in ("train", "test"):
        write_lines(out / f"{part}.jsonl", read_trec(source / f"{part}.txt", options.fine))


def read_banking77(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != ["text", "category"]:
            fail(path, "the columns text, category", rows.fieldnames)
        for row in rows:
            if not row["text"] or not row["category"]:
                fail(f"{path}:{rows.line_num}", "a text and its category", row)
            yield row["text"], row["category"]


def prepare_banking77(source, out, _):
    for part in ("train", "test"):
        write_lines(out / f"{part}.jsonl", read_banking77(source / f"{part}.csv"))


def prepare_clinc150(source, out, options):
    path = source / "data_full.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for part, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        lists = [part] if options.without_oos else [part, f"oos_{part}"]
        for key in lists:
            if key not in data:
                fail(path, f'a list "{key}"', sorted(data))
        write_lines(out / f"{name}.jsonl", ((text, label) for key in lists for text, label in data[key]))


def prepare_xquad(source, out, options):
    path = source / "xquad.en.json"
    squad = json.loads(path.read_text(encoding="utf-8"))
    articles = squad["data"]
    if not 0 < options.test_articles < len(articles):
        fail("--test-articles", f"1..{len(articles) - 1}", options.test_articles)
    cut = len(articles) - options.test_articles
    for name, part in (("train", articles[:cut]), ("test", articles[cut:])):
        target = out / f"{name}.json"
        with open(target, "w", encoding="utf-8", newline="\n") as file:
            json.dump({**squad, "data": part}, file, ensure_ascii=False)
            file.write("\n")
        questions = sum(len(paragraph["qas"]) for article in part for paragraph in article["paragraphs"])
        print(f"{target}: {len(part)} articles, {questions} questions")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = parser.add_subparsers(dest="set", required=True)
    prepare = {"trec": prepare_trec, "banking77": prepare_banking77, "clinc150": prepare_clinc150,
               "xquad": prepare_xquad}
    commands = {name: sets.add_parser(name) for name in prepare}
    for command in commands.values():
        command.add_argument("source", type=Path, metavar="DIR", help="the folder with the published files")
        command.add_argument("out", type=Path, metavar="OUT", help="the folder to write to; made where it is absent")
    commands["trec"].add_argument("--fine", action="store_true", help="50 classes (COARSE:fine) instead of 6")
    commands["clinc150"].add_argument("--without-oos", action="store_true", help="leave out-of-scope texts out")
    commands["xquad"].add_argument("--test-articles", type=int, default=8, metavar="N", help="default 8")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare[options.set](options.source, options.out, options)


if __name__ == "__main__":
    main()
