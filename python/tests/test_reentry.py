"""Callbacks of Python that use the model, or the engine, that is calling them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import FORWARD

import diffllama

IDS = np.array([[1, 5, 9]])


def open_model() -> Any:
    return diffllama.AutoModelForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32", threads=2)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """call() in a thread: one that hangs fails the test instead of stopping them all."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "hangs"
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


class Calls(diffllama.LogitsProcessor):
    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.results: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.results.append(self.call())
        return scores


def test_a_processor_runs_the_model_that_generates() -> None:
    model = open_model()
    expected = model(np.array([[2, 3]])).logits
    plain = model.generate(IDS, max_new_tokens=4, do_sample=False)
    forwards = Calls(lambda: model(np.array([[2, 3]])).logits)
    found = within(60, lambda: model.generate(IDS, max_new_tokens=4, do_sample=False, logits_processor=[forwards]))
    assert np.array_equal(found, plain)
    assert len(forwards.results) == 4 and all(np.array_equal(each, expected) for each in forwards.results)
    nested = Calls(lambda: model.generate(IDS, max_new_tokens=4, do_sample=False))
    found = within(60, lambda: model.generate(IDS, max_new_tokens=2, do_sample=False, logits_processor=[nested]))
    assert all(np.array_equal(each, plain) for each in nested.results)
    beams = Calls(lambda: model(np.array([[2, 3]])).logits)
    within(60, lambda: model.generate(IDS, max_new_tokens=3, num_beams=2, logits_processor=[beams]))
    assert all(np.array_equal(each, expected) for each in beams.results)


def test_a_processor_may_not_change_the_model_that_steps() -> None:
    model = open_model()
    before = model(IDS).logits
    for change in (
        lambda: model.resize_token_embeddings(80),
        lambda: model.load_state_dict({"lm_head.weight": np.zeros((56, 32))}, strict=False),
    ):
        engine = diffllama.Engine(model)
        engine.add(IDS, max_new_tokens=2, logits_processor=[Calls(change)])
        messages = [refusal.message for refusal in within(60, engine.step).refusals]
        assert len(messages) == 1 and "a change in a callback" in messages[0]
    assert np.array_equal(model(IDS).logits, before)


def test_a_processor_of_an_engine() -> None:
    model = open_model()
    engine = diffllama.Engine(model)
    expected = model(np.array([[2, 3]])).logits
    forwards = Calls(lambda: model(np.array([[2, 3]])).logits)
    engine.add(IDS, max_new_tokens=2, logits_processor=[forwards])
    while engine.has_work():
        within(60, engine.step)
    assert len(forwards.results) == 2 and all(np.array_equal(each, expected) for each in forwards.results)
    engine.add(IDS, max_new_tokens=2, logits_processor=[Calls(engine.step)])
    with pytest.raises(AssertionError, match="of its own step"):
        while engine.has_work():
            for refusal in within(60, engine.step).refusals:
                raise AssertionError(refusal.message)


def test_a_step_right_after_generate_waits_for_its_thread() -> None:
    engine = diffllama.Engine(open_model())

    async def first_token() -> int:
        async for token in engine.generate(IDS, max_new_tokens=3, ignore_eos=True):
            return token.id
        raise AssertionError

    for _ in range(5):
        asyncio.run(first_token())
        engine.step()
        other = engine.add(IDS, max_new_tokens=2, ignore_eos=True)
        tokens = []
        while engine.has_work():
            tokens += [token.id for token in engine.step().tokens if token.request == other]
        assert len(tokens) == 2


def test_an_engine_of_a_model_that_has_changed_refuses() -> None:
    model = open_model()
    engine = diffllama.Engine(model)
    engine.add(IDS, max_new_tokens=2)
    model.resize_token_embeddings(70)
    with pytest.raises(diffllama.InvalidArgument, match="changed parameters"):
        engine.step()


def test_a_prompt_is_one_sequence() -> None:
    engine = diffllama.Engine(open_model())
    for wrong in ([[1, 2], [3, 4]], 5, np.zeros((1, 1, 2), np.int64)):
        with pytest.raises(diffllama.InvalidArgument, match="prompt: expected a text, or ids"):
            engine.add(wrong, max_new_tokens=1)
