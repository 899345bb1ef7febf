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
    """On the golden's adapter, with what its config and the tokenizer's get besides."""
    adapter = shutil.copytree(TASKS / golden["adapter"], folder / "adapter")
    model = shutil.copytree(ROOT / "models" / "diffllama-tiny", folder / "model")
    for path, changes in [
        (adapter / "config.json", golden["config"]),
        (model / "tokenizer_config.json", golden.get("tokenizer_config", {})),
    ]:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return diffllama.pipeline(task, model, dtype="float32", model_kwargs={"adapter": adapter})


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


@pytest.fixture(scope="module")
def generator() -> Any:
    return diffllama.pipeline("text-generation", ROOT / "models" / "diffllama-tiny", dtype="float32")


def test_streams_give_iterators() -> None:
    model = diffllama.AutoModelForSequenceClassification.from_pretrained(
        ROOT / "models" / "diffllama-tiny", adapter=TASKS / "trec", dtype="float32"
    )
    classifier = diffllama.TextClassificationPipeline(model=model)
    texts = ["Who ?", "How many ?"]
    taken: list[str] = []
    answers = classifier(text for text in texts if taken.append(text) is None)
    assert next(answers) == classifier(texts)[0] and taken == ["Who ?"]
    assert [*answers] == classifier(texts)[1:]
    one = classifier({"text": "Who ?", "text_pair": "How ?"})
    assert one == classifier([{"text": "Who ?", "text_pair": "How ?"}])[0] and set(one) == {"label", "score"}
    cut = classifier("Who is it ?", truncation=True, max_length=3)
    assert cut != classifier("Who is it ?") and str(classifier.device) == "cpu"
    with pytest.raises(TypeError, match="text-classification: unexpected keyword argument 'wrong', expected one of top_k"):
        diffllama.pipeline("text-classification", model, wrong=1)


def test_options_of_text_generation(generator: Any) -> None:
    options = {"do_sample": False, "max_new_tokens": 6}
    plain = generator("To be", **options)[0]["generated_text"]
    assert "be" + plain.removeprefix("To be") == generator("be", prefix="To ", **options)[0]["generated_text"]
    word = plain.removeprefix("To be").split(" ")[1]
    assert generator("To be", stop_sequence=word, do_sample=False)[0]["generated_text"] == plain[: plain.index(word) + len(word)]
    ids = generator.tokenizer("To be").input_ids
    cut = generator("To be or not to be", do_sample=False, truncation=True, tokenizer_encode_kwargs={"max_length": 3}, max_new_tokens=2)
    longer = generator.model.generate([ids], max_new_tokens=2)[0, 3:]
    assert cut[0]["generated_text"] == "To be or not to be" + generator.tokenizer.decode(longer)
    without = generator("To be", add_special_tokens=False, return_tensors=True, **options)
    assert without[0]["generated_token_ids"][:2] == ids[1:]
    with pytest.raises(diffllama.InvalidArgument, match="handle_long_generation: expected hole or None, got 'x'"):
        generator("To be", handle_long_generation="x", **options)


def test_an_assistants_message_is_continued(generator: Any) -> None:
    generator.tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    options = {"do_sample": False, "max_new_tokens": 4}
    chat = [{"role": "user", "content": "Who art thou?"}, {"role": "assistant", "content": "I am"}]
    continued = generator(chat, **options)[0]["generated_text"]
    new = generator("user: Who art thou?\nassistant: I am", add_special_tokens=False, return_full_text=False, **options)
    assert continued == [chat[0], {"role": "assistant", "content": "I am" + new[0]["generated_text"]}]
    assert len(generator(chat, continue_final_message=False, **options)[0]["generated_text"]) == 3
    assert len(generator(chat[:1], **options)[0]["generated_text"]) == 2


def test_states_as_tensors() -> None:
    extractor = diffllama.pipeline("feature-extraction", ROOT / "models" / "diffllama-tiny", dtype="float32")
    short = extractor("To be or not", tokenize_kwargs={"truncation": True, "max_length": 3})
    assert len(short[0]) == 3 and short == extractor("To be or not", truncation=True, max_length=3)
    with pytest.raises(diffllama.InvalidArgument, match="truncation: expected it once"):
        extractor("To be", truncation=True, tokenize_kwargs={"truncation": True})
    states = extractor("To be or not", return_tensors=True)
    assert tuple(states.shape) == (1, 5, 256)
    try:
        import torch
    except ImportError:
        return
    assert isinstance(states, torch.Tensor)


def test_ways_to_open_and_call(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    options: Any = {"do_sample": False, "max_new_tokens": 3}
    made = diffllama.pipeline("text-generation", model=model, tokenizer=tokenizer)
    expected = made("To be", **options)
    assert made(text_inputs="To be", **options) == expected
    tiny = ROOT / "models" / "diffllama-tiny"
    opened = diffllama.pipeline("text-generation", tiny, config=tiny, model_kwargs={"dtype": "float32"})
    assert opened("To be", **options) == expected and opened.model.dtype == diffllama.pipeline(
        "text-generation", tiny, torch_dtype="float32").model.dtype
    made.save_pretrained(tmp_path)
    assert diffllama.pipeline("text-generation", tmp_path, dtype="float32")("To be", **options) == expected
    logits = diffllama.pipeline("feature-extraction", model=model, tokenizer=tokenizer)("To be")
    assert len(logits[0]) == 3 and len(logits[0][0]) == 4096
    for wrong in (["a", "b"], 5, []):
        with pytest.raises(ValueError, match="text-generation: expected a text, or a list of messages"):
            made([wrong] if wrong != 5 else wrong, **options)


def test_labels_that_are_asked_for_at_first() -> None:
    with pytest.warns(UserWarning, match="score"):
        several = diffllama.pipeline("text-classification", ROOT / "models" / "diffllama-tiny", top_k=2)
    assert len(several("a")) == 1 and len(several("a")[0]) == 2 and several(["a"]) == several("a")
    with pytest.raises(ValueError, match="expected a text, or a dictionary of text and text_pair"):
        several([["a", "b"]])
