"""The engine: requests beside each other, cancelled, and as an asynchronous stream."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import diffllama


def finish(engine: diffllama.Engine) -> tuple[dict[int, list[int]], dict[int, str]]:
    ids: dict[int, list[int]] = {}
    reasons: dict[int, str] = {}
    while engine.has_work():
        events = engine.step()
        assert not events.refusals
        for token in events.tokens:
            ids.setdefault(token.request, []).append(token.id)
        reasons.update({ending.request: ending.reason for ending in events.endings})
    return ids, reasons


def test_requests_get_what_they_would_get_alone(model: Any, tokenizer: Any) -> None:
    engine = diffllama.Engine(model, tokenizer)
    prompts = ["HAMLET:", "To be, or not", "My lord"]
    numbers = [engine.add(text, max_new_tokens=10) for text in prompts]
    ids, reasons = finish(engine)
    for number, text in zip(numbers, prompts):
        inputs = tokenizer(text, return_tensors="np").input_ids
        assert ids[number] == model.generate(inputs, max_new_tokens=10)[0, inputs.shape[1] :].tolist()
        assert reasons[number] in ("eos", "length")
    assert engine.counters()["new_tokens"] == sum(len(each) for each in ids.values())


def test_what_is_asked_comes_back(model: Any, tokenizer: Any) -> None:
    engine = diffllama.Engine(model, tokenizer)
    ids = np.array([[1, 916, 300, 14]])
    engine.add(ids, prompt_only=True, prompt_logprobs=2, hidden_states="all")
    prompt = engine.step().prompts[0]
    output = model(ids, output_hidden_states=True)
    logits = output.logits[0].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert np.allclose([each[0] for each in prompt.logprobs], [expected[i, ids[0, i + 1]] for i in range(3)], atol=1e-5)
    assert np.array_equal(prompt.hidden_states, output.hidden_states[-1][0])
    with pytest.raises(diffllama.InvalidArgument, match="got zap"):
        engine.add("To", zap=1)


def test_cancelled_requests_end(model: Any, tokenizer: Any) -> None:
    engine = diffllama.Engine(model, tokenizer)
    number = engine.add("HAMLET:", max_new_tokens=100)
    engine.step()
    engine.cancel(number)
    assert finish(engine)[1] == {number: "cancelled"}


def test_an_asynchronous_stream(model: Any, tokenizer: Any) -> None:
    async def collect(engine: diffllama.Engine, text: str) -> list[int]:
        return [token.id async for token in engine.generate(text, max_new_tokens=8)]

    async def both() -> list[list[int]]:
        engine = diffllama.Engine(model, tokenizer)
        found = await asyncio.gather(collect(engine, "HAMLET:"), collect(engine, "To be"))
        async for token in engine.generate("HAMLET:", max_new_tokens=100):
            assert token.text is not None
            break  # cancels it
        return found

    for text, ids in zip(("HAMLET:", "To be"), asyncio.run(both())):
        inputs = tokenizer(text, return_tensors="np").input_ids
        assert ids == model.generate(inputs, max_new_tokens=8)[0, inputs.shape[1] :].tolist()


def test_requests_without_a_seed_draw_their_own(model: Any, tokenizer: Any) -> None:
    def draw(**options: Any) -> list[list[int]]:
        engine = diffllama.Engine(model, tokenizer)
        for _ in range(3):
            engine.add(tokenizer("To be"), do_sample=True, max_new_tokens=12, **options)
        return list(finish(engine)[0].values())

    diffllama.set_seed(5)
    drawn = draw()
    assert len({tuple(each) for each in drawn}) == 3
    diffllama.set_seed(5)
    assert draw() == drawn
    assert len({tuple(each) for each in draw(seed=1)}) == 1
