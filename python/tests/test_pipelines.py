"""Pipelines give what transformers' give: the goldens of tools/make_task_goldens.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

import diffllama

TASKS = ROOT / "tests" / "golden" / "tasks"


def goldens(name: str) -> list[Any]:
    return [pytest.param(case, id=str(i)) for i, case in enumerate(json.loads((TASKS / f"{name}.json").read_text()))]


def pipeline(task: str, golden: Any, folder: Path) -> Any:
    """On the golden's adapter, with what its config gets besides."""
    adapter = shutil.copytree(TASKS / golden["adapter"], folder / "adapter")
    config = json.loads((adapter / "config.json").read_text())
    (adapter / "config.json").write_text(json.dumps({**config, **golden["config"]}))
    options = {"dtype": "float32", "model_kwargs": {"adapter": adapter}}
    return diffllama.pipeline(task, ROOT / "models" / "diffllama-tiny", **options)


def expect_equal(got: Any, expected: Any) -> None:
    assert [{**each, "score": 0} for each in got] == [{**each, "score": 0} for each in expected]
    assert [each["score"] for each in got] == pytest.approx([each["score"] for each in expected], rel=0, abs=1e-5)


@pytest.mark.parametrize("golden", goldens("classify"))
def test_text_classification(golden: Any, tmp_path: Path) -> None:
    options = dict(golden["options"])
    kwargs = {"top_k": options.pop("top_k", None), "function_to_apply": options.pop("function", None)}
    assert not options
    inputs = golden["inputs"]
    results = pipeline("text-classification", golden, tmp_path)(inputs, **kwargs)
    for got, expected in zip(results, golden["outputs"], strict=True):
        names = [{"label": label, "score": score} for label, score in zip(expected["labels"], expected["scores"])]
        expect_equal(got, names)


@pytest.mark.parametrize("golden", goldens("tag"))
def test_token_classification(golden: Any, tmp_path: Path) -> None:
    tagger = pipeline("token-classification", golden, tmp_path)
    for each, expected in zip(golden["inputs"], golden["outputs"], strict=True):
        strategy = golden["options"]["aggregation"]
        words = "words" in each
        got = tagger(each["words"] if words else each["text"], aggregation_strategy=strategy, is_split_into_words=words)
        expect_equal(got, expected["entities"])


@pytest.mark.parametrize("golden", goldens("answer"))
def test_question_answering(golden: Any, tmp_path: Path) -> None:
    names = {
        "top_k": "top_k", "max_answer_length": "max_answer_len", "doc_stride": "doc_stride", "max_seq_length": "max_seq_len",
        "handle_impossible": "handle_impossible_answer",
    }
    options = {names[name]: value for name, value in golden["options"].items()}
    results = pipeline("question-answering", golden, tmp_path)(golden["inputs"], **options)
    for got, expected in zip(results, golden["outputs"], strict=True):
        expect_equal([got] if isinstance(got, dict) else got, expected["answers"])


def test_one_text_and_lists() -> None:
    golden = {"adapter": "trec"}
    adapter = TASKS / golden["adapter"]
    model = diffllama.AutoModelForSequenceClassification.from_pretrained(
        ROOT / "models" / "diffllama-tiny", adapter=adapter, dtype="float32"
    )
    classifier = diffllama.pipeline("text-classification", model)
    one = classifier("Who ?")
    assert [*one[0]] == ["label", "score"] and len(one) == 1
    assert classifier(["Who ?", "How many ?"])[0] == one[0]
    assert len(classifier("Who ?", top_k=None)) == 6
    with pytest.raises(ValueError, match="function_to_apply: expected one of softmax, sigmoid, none, got tanh"):
        classifier("Who ?", function_to_apply="tanh")
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        classifier("Who ?", wrong=1)
    with pytest.raises(diffllama.InvalidArgument, match="expected a model for token classification"):
        diffllama.pipeline("token-classification", model)("Who ?")
