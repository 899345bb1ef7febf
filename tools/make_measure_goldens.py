#!/usr/bin/env python3
"""Makes tests/golden/measures.json: what scikit-learn, SciPy, seqeval and SQuAD's rules give for random predictions.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install scikit-learn scipy seqeval transformers==4.57.1
    /tmp/venv/bin/python tools/make_measure_goldens.py

SQuAD's rules are those of its script as transformers 4 carries them (data/metrics/squad_metrics.py). The seed is fixed:
a second run writes the same file."""

import json
import random
import warnings
from pathlib import Path

from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as entity_f1
from seqeval.metrics import precision_score, recall_score
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from transformers.data.metrics import squad_metrics

TARGET = Path(__file__).resolve().parent.parent / "tests" / "golden" / "measures.json"
TAGS = ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "I-X-Y", "B-X-Y"]
ANSWERS = [
    ("the Cat", ["cat", "dog"]), ("a an the", ["", "the"]), ("", []), ("something", []), ("", ["x"]),
    ("New York City", ["york city", "New-York  City!"]), ("Theatre", ["the atre"]), ("U.S.A.", ["USA", "us a"]),
    ("ÉCOLE des Chartes", ["école"]), ("the\u0301 tea", ["tea"]), ("it's 1,000", ["its 1000"]), ("a\u00a0b", ["b"]),
    ("the the cat cat", ["cat cat cat"]), ("«the» cat", ["cat"]), ("theʼs", ["s"]), ("under_the_tree", ["tree"]),
    ("日本 語", ["日本", "語 日本"]),
]


def class_cases(source):
    cases = []
    for classes, count in ((2, 20), (4, 50), (7, 15), (3, 1)):
        labels = [source.randrange(classes) for _ in range(count)]
        predictions = [label if source.random() < 0.6 else source.randrange(classes) for label in labels]
        cases.append({"classes": classes, "labels": labels, "predictions": predictions})
    cases.append({"classes": 3, "labels": [1, 1, 1], "predictions": [0, 1, 2]})
    for case in cases:
        both = case["labels"], case["predictions"]
        case["accuracy"] = accuracy_score(*both)
        case["macro_f1"] = f1_score(*both, average="macro", zero_division=0)
        case["matthews_correlation"] = matthews_corrcoef(*both)
    return cases


def correlation_cases(source):
    cases = []
    for count in (3, 10, 40):
        a = [round(source.gauss(0, 2), 1) for _ in range(count)]
        b = [round(value + source.gauss(0, 1), 0) for value in a]
        cases.append({"a": a, "b": b, "pearson": pearsonr(a, b)[0], "spearman": spearmanr(a, b)[0]})
    return cases


def entity_cases(source):
    cases = []
    for _ in range(12):
        labels = [[source.choice(TAGS) for _ in range(source.randrange(1, 12))] for _ in range(6)]
        predictions = [[tag if source.random() < 0.7 else source.choice(TAGS) for tag in tags] for tags in labels]
        cases.append({"labels": labels, "predictions": predictions, "entity_f1": entity_f1(labels, predictions),
                      "entity_precision": precision_score(labels, predictions),
                      "entity_recall": recall_score(labels, predictions)})
    return cases


def squad_cases():
    cases = []
    for prediction, answers in ANSWERS:
        gold = [answer for answer in answers if squad_metrics.normalize_answer(answer)] or [""]
        cases.append({"prediction": prediction, "answers": answers,
                      "normalized": squad_metrics.normalize_answer(prediction),
                      "exact_match": max(squad_metrics.compute_exact(each, prediction) for each in gold),
                      "f1": max(squad_metrics.compute_f1(each, prediction) for each in gold)})
    return cases


def main():
    warnings.simplefilter("ignore")
    source = random.Random(18)
    goldens = {"classes": class_cases(source), "correlations": correlation_cases(source),
               "entities": entity_cases(source), "squad": squad_cases()}
    TARGET.write_text(json.dumps(goldens, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
