"""generate: transformers' ids, its arguments, and what Python may do at each step."""

from __future__ import annotations

import json
import signal
import threading
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import diffllama

GOLDEN = json.loads((ROOT / "tests" / "golden" / "generate.json").read_text())["sequences"]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda each: each["name"])
def test_greedy_ids_equal_transformers(model: Any, tokenizer: Any, golden: dict[str, Any]) -> None:
    prompt = np.array([golden["prompt_ids"]])
    ids = model.generate(prompt, tokenizer=tokenizer, **golden["options"])
    assert ids[0, prompt.shape[1] :].tolist() == golden["ids"]
    looped = model.generate(prompt, tokenizer=tokenizer, stopping_criteria=[lambda ids, scores: False], **golden["options"])
    assert np.array_equal(looped, ids)


def test_padding_on_the_left_changes_no_token(model: Any, tokenizer: Any) -> None:
    texts = ["HAMLET:", "To be, or not to be"]
    batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="np")
    together = model.generate(**batch, max_new_tokens=12)
    without_mask = model.generate(batch.input_ids, max_new_tokens=12)
    assert np.array_equal(together, without_mask)  # padding is found by its token
    for text, row in zip(texts, together):
        alone = tokenizer(text, return_tensors="np").input_ids
        expected = model.generate(alone, max_new_tokens=12)[0, alone.shape[1] :]
        assert row[batch.input_ids.shape[1] :].tolist() == expected.tolist()


def test_lengths_are_transformers(model: Any) -> None:
    prompt = np.array([[1, 916, 300]])
    assert model.generate(prompt).shape == (1, 23)
    assert model.generate(prompt, max_length=10).shape == (1, 10)
    config = diffllama.GenerationConfig(max_new_tokens=4)
    assert model.generate(prompt, generation_config=config).shape == (1, 7)
    with pytest.raises(diffllama.InvalidArgument, match="max_length: expected more than the 3 tokens"):
        model.generate(prompt, max_length=3)
    with pytest.raises(diffllama.InvalidArgument, match="got zap"):
        model.generate(prompt, zap=1)
    with pytest.raises(diffllama.ConfigError, match="top_p: expected a number from 0 to 1, got 2"):
        model.generate(prompt, top_p=2.0)


def test_drawing_follows_seeds(model: Any) -> None:
    prompt = np.array([[1, 916, 300]])
    options = {"do_sample": True, "max_new_tokens": 10, "num_return_sequences": 3}
    first = model.generate(prompt, seed=5, **options)
    assert first.shape == (3, 13)
    assert np.array_equal(first, model.generate(prompt, seed=5, **options))
    diffllama.set_seed(1)
    one = model.generate(prompt, **options)
    other = model.generate(prompt, **options)
    diffllama.set_seed(1)
    assert np.array_equal(one, model.generate(prompt, **options))
    assert not np.array_equal(one, other)
    looped = model.generate(prompt, seed=5, stopping_criteria=[lambda ids, scores: False], **options)
    assert np.array_equal(first, looped)
    # equal prompts of one call draw sequences of their own, beams too
    for options in ({}, {"num_beams": 2, "top_k": 0, "temperature": 2.0}):
        drawn = model.generate(np.repeat(prompt, 8, axis=0), do_sample=True, max_new_tokens=4, seed=5, **options)
        assert len({tuple(row) for row in drawn.tolist()}) > 1, options


def test_processors_in_python(model: Any) -> None:
    class Only(diffllama.LogitsProcessor):
        def __init__(self) -> None:
            self.lengths: list[int] = []

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            self.lengths.append(input_ids.shape[1])
            kept = np.full_like(scores, -np.inf)
            kept[:, 42] = 0
            return kept

    processor = Only()
    prompt = np.array([[1, 916, 300]])
    ids = model.generate(prompt, max_new_tokens=4, logits_processor=[processor])
    assert ids[0, 3:].tolist() == [42] * 4 and processor.lengths == [3, 4, 5, 6]
    ids = model.generate(prompt, max_new_tokens=3, prefix_allowed_tokens_fn=lambda batch, so_far: [7 + len(so_far)])
    assert ids[0, 3:].tolist() == [10, 11, 12]

    def wrong(input_ids: Any, scores: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.generate(prompt, max_new_tokens=3, logits_processor=[wrong])
    with pytest.raises(diffllama.InvalidArgument, match=r"expected scores \[1, 4096\], got \[1, 5\]"):
        model.generate(prompt, max_new_tokens=3, logits_processor=[lambda ids, scores: scores[:, :5]])


def test_stopping_criteria_end_sequences(model: Any) -> None:
    class AfterFive(diffllama.StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return np.array([input_ids.shape[1] >= 5, False])

    prompts = np.array([[1, 916, 300], [1, 916, 300]])
    ids = model.generate(prompts, max_new_tokens=6, stopping_criteria=diffllama.StoppingCriteriaList([AfterFive()]))
    assert ids.shape == (2, 9) and ids[0, 5:].tolist() == [0] * 4 and (ids[1] != 0).all()
    assert np.array_equal(ids[0, :5], ids[1, :5])


def test_what_each_step_shows(model: Any) -> None:
    prompt = np.array([[1, 916, 300]])
    shown = model.generate(
        prompt, max_new_tokens=3, return_dict_in_generate=True, output_logits=True, output_scores=True,
        output_hidden_states=True, output_attentions=True, repetition_penalty=1.5,
    )
    assert len(shown.logits) == len(shown.scores) == len(shown.hidden_states) == len(shown.attentions) == 3
    assert np.array_equal(shown.logits[0], model(prompt).logits[:, -1])
    assert not np.array_equal(shown.logits[0], shown.scores[0])
    assert shown.scores[2].argmax() == shown.sequences[0, -1]
    assert shown.hidden_states[1][0].shape == (1, 1, 256) and shown.attentions[1][0].shape == (1, 8, 1, 4)
    beams = model.generate(prompt, max_new_tokens=3, num_beams=3, return_dict_in_generate=True, num_return_sequences=2)
    assert beams.sequences.shape[0] == 2 and beams.sequences_scores[0] >= beams.sequences_scores[1]


def test_a_cache_goes_on(model: Any) -> None:
    prompt = np.array([[1, 916, 300]])
    cache = diffllama.DynamicCache()
    first = model.generate(prompt, max_new_tokens=4, past_key_values=cache)
    assert cache.get_seq_length() == 6
    longer = np.concatenate([first, [[14]]], axis=1)
    assert np.array_equal(
        model.generate(longer, max_new_tokens=4, past_key_values=cache), model.generate(longer, max_new_tokens=4)
    )
    embeddings = model.get_input_embeddings()(prompt)
    new = model.generate(inputs_embeds=embeddings, max_new_tokens=4)
    assert np.array_equal(new, model.generate(prompt, max_new_tokens=4)[:, 3:])


def test_streamers(model: Any, tokenizer: Any, capsys: Any) -> None:
    inputs = tokenizer("HAMLET:", return_tensors="np")
    ids = model.generate(**inputs, max_new_tokens=20, streamer=diffllama.TextStreamer(tokenizer, skip_special_tokens=True))
    text = tokenizer.decode(ids[0], skip_special_tokens=True)
    assert capsys.readouterr().out == text + "\n"
    streamer = diffllama.TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)
    thread = threading.Thread(target=model.generate, kwargs={**inputs, "max_new_tokens": 20, "streamer": streamer})
    thread.start()
    assert "".join(streamer) == text.removeprefix("HAMLET:")
    thread.join()


def test_text_kept_to_a_form(model: Any, tokenizer: Any) -> None:
    prompt = tokenizer("HAMLET:", return_tensors="np")
    ids = model.generate(**prompt, max_new_tokens=30, regex="[a-c]{3}", tokenizer=tokenizer)
    text = tokenizer.decode(ids[0, prompt.input_ids.shape[1] :], skip_special_tokens=True)
    assert len(text) == 3 and set(text) <= set("abc")
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    ids = model.generate(**prompt, max_new_tokens=60, json_schema=schema, tokenizer=tokenizer)
    parsed = json.loads(tokenizer.decode(ids[0, prompt.input_ids.shape[1] :], skip_special_tokens=True))
    assert isinstance(parsed["a"], bool)


def test_an_interrupt_ends_it(model: Any) -> None:
    import _thread

    class Interrupts(diffllama.BaseStreamer):
        def put(self, value: Any) -> None:
            _thread.interrupt_main()

        def end(self) -> None:
            pass

    # A program that a shell starts in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.generate(np.array([[1, 916]]), max_new_tokens=200, streamer=Interrupts())
    finally:
        signal.signal(signal.SIGINT, before)
