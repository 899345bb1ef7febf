"""generate where a caller sees or changes each step: rows of processors, beams, negative prompts, criteria."""

from __future__ import annotations

import copy
import json
import pickle
import queue
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffllama

PROMPT = np.array([[1, 916, 300]])
BATCH = np.array([[0, 1, 916, 300], [1, 596, 511, 335]])  # 0: padding
EQUAL = np.array([[1, 916, 300], [1, 916, 300]])


class Nothing(diffllama.StoppingCriteria):
    """Ends nothing, but is asked."""

    def __init__(self) -> None:
        self.scores: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        self.scores.append(scores)
        return np.zeros(len(input_ids), bool)


def test_processors_get_all_rows_at_once(model: Any) -> None:
    shapes: list[Any] = []
    bias = np.zeros((2, 4096), np.float32)
    bias[0, 42], bias[1, 43] = 1000, 1000

    def by_row(input_ids: Any, scores: Any) -> Any:
        shapes.append((input_ids.shape, scores.shape, input_ids[0, 0]))
        return scores + bias

    ids = model.generate(BATCH, max_new_tokens=2, logits_processor=[by_row])
    assert ids[:, 4:].tolist() == [[42, 42], [43, 43]]
    assert shapes == [((2, 4), (2, 4096), 0), ((2, 5), (2, 4096), 0)]
    shapes.clear()
    model.generate(PROMPT, max_new_tokens=2, num_beams=2, logits_processor=[by_row])
    assert [each[:2] for each in shapes] == [((2, 3), (2, 4096)), ((2, 4), (2, 4096))]


def test_allowed_tokens_are_those_of_the_row(model: Any) -> None:
    asked: list[Any] = []

    def allowed(row: int, ids: Any) -> list[int]:
        asked.append((row, ids.tolist()))
        return [100 + row]

    ids = model.generate(EQUAL, max_new_tokens=2, prefix_allowed_tokens_fn=allowed)
    assert ids[:, 3:].tolist() == [[100, 100], [101, 101]]
    asked.clear()
    model.generate(BATCH, max_new_tokens=1, prefix_allowed_tokens_fn=allowed)
    assert asked == [(0, [0, 1, 916, 300]), (1, [1, 596, 511, 335])]  # as they came, padding too
    beams = model.generate(EQUAL, max_new_tokens=2, num_beams=3, prefix_allowed_tokens_fn=lambda row, ids: [7 + row, 9 + row])
    assert {7, 9} >= set(beams[0, 3:].tolist()) and {8, 10} >= set(beams[1, 3:].tolist())
    with pytest.raises(ValueError, match="prefix_allowed_tokens_fn: expected tokens for prompt 1, got none"):
        model.generate(EQUAL, max_new_tokens=2, prefix_allowed_tokens_fn=lambda row, ids: [5] if row == 0 else [])


@pytest.mark.parametrize(
    ("processor", "message"),
    [(lambda ids, scores: scores[:1], r"got \[1, 4096\]"), (lambda ids, scores: scores[:, :5], r"got \[2, 5\]"),
     (lambda ids, scores: None, "got None")],
)
def test_a_processor_returns_the_shape_it_got(model: Any, processor: Any, message: str) -> None:
    with pytest.raises(diffllama.InvalidArgument, match=r"logits_processor <lambda>: expected scores \[2, 4096\], " + message):
        model.generate(EQUAL, max_new_tokens=2, logits_processor=[processor])


def test_drawn_rows_are_those_of_the_engine(model: Any) -> None:
    options = {"do_sample": True, "max_new_tokens": 8, "seed": 3, "num_return_sequences": 2}
    drawn = model.generate(BATCH, **options)
    assert np.array_equal(drawn, model.generate(BATCH, stopping_criteria=[Nothing()], **options))
    # Equal prompts of one call draw texts of their own.
    assert len({tuple(row) for row in model.generate(EQUAL, **options).tolist()}) == 4


def test_biases_by_tuples(model: Any, tmp_path: Path) -> None:
    options = {(300,): 1000.0, (5, 6): -3.0}
    assert model.generate(PROMPT, max_new_tokens=2, sequence_bias=options)[0, 3:].tolist() == [300, 300]
    config = diffllama.GenerationConfig(max_new_tokens=2, sequence_bias=options)
    assert model.generate(PROMPT, generation_config=config)[0, 3:].tolist() == [300, 300]
    config.save_pretrained(tmp_path)
    again = diffllama.GenerationConfig.from_pretrained(tmp_path)
    assert again.sequence_bias == [[[300], 1000.0], [[5, 6], -3.0]]


@pytest.mark.parametrize(
    "options", [{}, {"length_penalty": 2.0}, {"early_stopping": True}, {"early_stopping": "never"}, {"no_repeat_ngram_size": 2},
                {"eos_token_id": [14, 286]}, {"repetition_penalty": 1.3, "min_new_tokens": 4}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_beams_step_by_step_are_those_of_the_engine(model: Any, options: dict[str, Any]) -> None:
    options = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 8, **options}
    expected = model.generate(BATCH, **options)
    shown = model.generate(BATCH, return_dict_in_generate=True, output_scores=True, output_logits=True, **options)
    assert np.array_equal(shown.sequences, expected)
    new = expected.shape[1] - 4
    assert shown.beam_indices.shape == (6, new) and len(shown.scores) >= new and shown.scores[0].shape == (6, 4096)
    assert (np.diff(shown.sequences_scores.reshape(2, 3), axis=1) <= 0).all()
    assert shown.past_key_values.get_seq_length() >= 4
    # The score of a sequence is what its tokens added, divided by length^length_penalty.
    added = model.compute_transition_scores(shown.sequences, shown.scores, shown.beam_indices)
    lengths = (shown.beam_indices >= 0).sum(axis=1)
    np.testing.assert_allclose(added.sum(axis=1) / lengths ** options.get("length_penalty", 1.0), shown.sequences_scores, atol=1e-5)


def test_beams_with_criteria_and_a_cache(model: Any) -> None:
    class AfterFive(diffllama.StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return np.full(len(input_ids), input_ids.shape[1] >= 5)

    options = {"num_beams": 3, "max_new_tokens": 8}
    ended = model.generate(PROMPT, stopping_criteria=[AfterFive()], **options)
    assert np.array_equal(ended, model.generate(PROMPT, num_beams=3, max_new_tokens=2))
    cache = diffllama.DynamicCache()
    model(PROMPT[:, :2], past_key_values=cache)
    assert np.array_equal(model.generate(PROMPT, past_key_values=cache, **options), model.generate(PROMPT, **options))
    filled = model.generate(BATCH, num_beams=2, max_new_tokens=20, eos_token_id=14, pad_token_id=0)
    ends = [row.tolist().index(14, 4) for row in filled]
    assert (filled[int(np.argmin(ends)), min(ends) :] == 14).all()  # beams are filled with EOS where padding is id 0


def test_a_negative_prompt_for_each_row(model: Any) -> None:
    negative = np.array([[0, 0, 5], [700, 701, 702]])
    mask = np.array([[0, 0, 1], [1, 1, 1]])
    options = {"max_new_tokens": 8, "guidance_scale": 2.0}
    together = model.generate(EQUAL, negative_prompt_ids=negative, negative_prompt_attention_mask=mask, **options)
    for row, prompt in zip(together, ([[5]], [[700, 701, 702]])):
        alone = model.generate(PROMPT, negative_prompt_ids=np.array(prompt), **options)
        assert row.tolist() == alone[0].tolist()
    assert together[0].tolist() != together[1].tolist()
    for_all = model.generate(EQUAL, negative_prompt_ids=np.array([[5]]), **options)
    assert for_all.tolist() == [together[0].tolist()] * 2
    shown = model.generate(PROMPT, negative_prompt_ids=np.array([[5]]), return_dict_in_generate=True, output_scores=True, **options)
    assert np.array_equal(shown.sequences, for_all[:1]) and len(shown.scores) == 8
    plain = model.generate(PROMPT, return_dict_in_generate=True, **options)
    assert np.array_equal(plain.sequences, model.generate(PROMPT, **options))  # without one: the prompt's last token
    with pytest.raises(diffllama.InvalidArgument, match="one for each of 2 prompts, got 3"):
        model.generate(EQUAL, negative_prompt_ids=np.ones((3, 2), np.int64), **options)


def test_criteria_take_the_place_of_options(model: Any) -> None:
    assert model.generate(PROMPT, stopping_criteria=[diffllama.MaxLengthCriteria(30)]).shape == (1, 30)
    assert model.generate(PROMPT, stopping_criteria=[diffllama.MaxLengthCriteria(9)], max_new_tokens=20).shape == (1, 9)
    free = model.generate(PROMPT, max_new_tokens=12)
    token = int(free[0, 6])
    ended = model.generate(PROMPT, max_new_tokens=12, stopping_criteria=[diffllama.EosTokenCriteria(token)])
    assert ended.tolist() == [free[0, : free[0].tolist().index(token, 3) + 1].tolist()]
    criteria = diffllama.StoppingCriteriaList([Nothing(), diffllama.MaxLengthCriteria(5)])
    assert criteria.max_length == 5 and diffllama.StoppingCriteriaList().max_length is None


def test_criteria_get_the_scores_that_are_kept(model: Any) -> None:
    seen = Nothing()
    model.generate(PROMPT, max_new_tokens=2, stopping_criteria=[seen])
    assert seen.scores == [None, None]
    seen = Nothing()
    model.generate(PROMPT, max_new_tokens=2, stopping_criteria=[seen], return_dict_in_generate=True, output_scores=True)
    assert [len(each) for each in seen.scores] == [1, 2]


def test_stop_strings_as_a_criterion(model: Any, tokenizer: Any) -> None:
    free = model.generate(PROMPT, max_new_tokens=12)
    stop = tokenizer.decode(free[0, 6:8])
    criterion = diffllama.StopStringCriteria(tokenizer, stop)
    expected = model.generate(PROMPT, max_new_tokens=12, stop_strings=[stop], tokenizer=tokenizer)
    assert np.array_equal(model.generate(PROMPT, max_new_tokens=12, stopping_criteria=[criterion]), expected)


def test_padding_behind_goes_to_the_front(model: Any) -> None:
    behind = np.array([[1, 916, 300, 0], [1, 596, 511, 335]])
    mask = (behind != 0).astype(np.int64)
    plain = model.generate(behind, attention_mask=mask, max_new_tokens=5)
    looped = model.generate(behind, attention_mask=mask, max_new_tokens=5, stopping_criteria=[Nothing()])
    assert np.array_equal(plain, looped)


def test_a_cache_comes_back_unasked(model: Any) -> None:
    shown = model.generate(PROMPT, max_new_tokens=3, return_dict_in_generate=True)
    assert shown.past_key_values.get_seq_length() == 5 and shown.scores is None


def test_named_processors(model: Any) -> None:
    for processor, options in (
        (diffllama.RepetitionPenaltyLogitsProcessor(1.5), {"repetition_penalty": 1.5}),
        (diffllama.NoRepeatNGramLogitsProcessor(1), {"no_repeat_ngram_size": 1}),
        (diffllama.SuppressTokensLogitsProcessor([300, 14]), {"suppress_tokens": [300, 14]}),
        (diffllama.MinLengthLogitsProcessor(9, 14), {"min_length": 9, "eos_token_id": 14}),
        (diffllama.MinNewTokensLengthLogitsProcessor(3, 6, 14), {"min_new_tokens": 6, "eos_token_id": 14}),
    ):
        eos = {"eos_token_id": options["eos_token_id"]} if "eos_token_id" in options else {}
        found = model.generate(PROMPT, max_new_tokens=10, logits_processor=[processor], **eos)
        assert np.array_equal(found, model.generate(PROMPT, max_new_tokens=10, **options)), processor
    ids = np.array([[0]])
    scores = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32))
    assert np.isinf(diffllama.TopKLogitsWarper(2)(ids, scores)).tolist() == [[False, False, True, True]]
    assert np.isinf(diffllama.TopPLogitsWarper(0.7)(ids, scores)).tolist() == [[False, False, True, True]]
    np.testing.assert_allclose(diffllama.TemperatureLogitsWarper(0.5)(ids, scores), scores * 2)
    with pytest.raises(ValueError, match="top_k: expected a number above 0, got -1"):
        diffllama.TopKLogitsWarper(-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"do_sample": True, "temperature": 0.0}, "temperature: expected a number above 0, got 0.0"),
     ({"do_sample": True, "top_k": -1}, "top_k: expected an integer above 0"),
     ({"early_stopping": "x"}, "early_stopping: expected true, false or never, got 'x'"),
     ({"cache_implementation": "x"}, "cache_implementation: expected one of dynamic"),
     ({"dola_layers": "high"}, "expected supported options, got dola_layers: 'high'"),
     ({"token_healing": True}, "expected supported options, got token_healing: True")],
)
def test_what_transformers_refuses(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.generate(PROMPT, max_new_tokens=2, **options)


@pytest.mark.parametrize(
    "options",
    [{"cache_implementation": "static"}, {"cache_implementation": "dynamic"}, {"cache_implementation": None},
     {"disable_compile": True}, {"remove_invalid_values": True}, {"prefill_chunk_size": 4}, {"token_healing": False},
     {"encoder_repetition_penalty": 1.0}, {"num_beam_groups": 1, "diversity_penalty": 0.0}, {"temperature": 0.0}],
    ids=str,
)
def test_what_changes_nothing(model: Any, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = model.generate(PROMPT, max_new_tokens=4, **options)
    assert np.array_equal(ids, model.generate(PROMPT, max_new_tokens=4))


def test_ids_are_integers(model: Any) -> None:
    with pytest.raises(diffllama.InvalidArgument, match="inputs: expected integers, got float64"):
        model.generate(np.array([[1.7, 300.2]]), max_new_tokens=2)


def test_an_error_ends_the_stream(model: Any, tokenizer: Any) -> None:
    streamer = diffllama.TextIteratorStreamer(tokenizer, timeout=60)
    errors: queue.Queue[Exception] = queue.Queue()

    def run() -> None:
        try:
            model.generate(PROMPT, streamer=streamer, max_new_tokens=3, top_p=9.0)
        except diffllama.ConfigError as error:
            errors.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert "".join(streamer) == ""
    thread.join()
    assert "top_p" in str(errors.get_nowait())


def test_streamers_get_what_came_in(model: Any) -> None:
    torch = pytest.importorskip("torch")
    got: list[Any] = []

    class Keeps(diffllama.BaseStreamer):
        def put(self, value: Any) -> None:
            got.append(value)

        def end(self) -> None:
            got.append(None)

    ids = model.generate(torch.tensor(PROMPT), max_new_tokens=2, streamer=Keeps())
    assert all(isinstance(each, torch.Tensor) for each in got[:-1]) and got[-1] is None
    assert [each.tolist() for each in got[:-1]] == [PROMPT.tolist(), [int(ids[0, 3])], [int(ids[0, 4])]]


def test_options_have_names(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not supported and ignored: penalty_alpha: 0.6; unknown and ignored: foo") as said:
        config = diffllama.GenerationConfig(penalty_alpha=0.6, foo=3, top_k=4)
    assert len(said) == 1
    assert config.foo == 3 and config.num_beams is None and config.penalty_alpha == 0.6
    assert not hasattr(config, "anything")
    with pytest.warns(UserWarning, match="GenerationConfig: unknown and ignored: temprature"):
        config.temprature = 0.5
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    with pytest.raises(AttributeError, match="no option 'anything'"):
        _ = config.anything
    with pytest.raises(ValueError, match="early_stopping"):
        diffllama.GenerationConfig(early_stopping="x")
    (tmp_path / "own.json").write_text(json.dumps({"dola_layers": "high", "bar": 1, "num_beam_groups": 1, "top_k": 7}))
    with pytest.warns(UserWarning, match=r"own.json: not supported and ignored: dola_layers: 'high'; unknown and ignored: bar") as said:
        config = diffllama.GenerationConfig.from_pretrained(tmp_path, "own.json")
    assert len(said) == 1 and config.top_k == 7


def test_options_in_files(model: Any, tmp_path: Path) -> None:
    diffllama.GenerationConfig(max_new_tokens=7).save_pretrained(tmp_path, config_file_name="own.json")
    assert diffllama.GenerationConfig.from_pretrained(tmp_path, "own.json").max_new_tokens == 7
    config, unused = diffllama.GenerationConfig.from_pretrained(tmp_path, "own.json", top_k=5, foo=1, return_unused_kwargs=True)
    assert config.top_k == 5 and unused == {"foo": 1}
    assert config.to_diff_dict() == {"max_new_tokens": 7, "top_k": 5}
    assert diffllama.GenerationConfig.from_model_config(model.config).eos_token_id == 2
    (tmp_path / "generation_config.json").write_text("{broken")
    with pytest.raises(diffllama.FormatError, match="generation_config.json: expected JSON"):
        diffllama.GenerationConfig.from_pretrained(tmp_path)


def test_ids_equal_those_of_transformers(model: Any) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from conftest import ROOT

    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        ROOT / "models" / "diffllama-tiny", dtype=torch.float32, attn_implementation="eager"
    )
    ids, mask = torch.tensor(BATCH), torch.tensor((BATCH != 0).astype(np.int64))
    bias = torch.zeros(2, 4096)
    bias[0, 300], bias[1, 262] = -100, -100
    negative = {"negative_prompt_ids": torch.tensor([[0, 5], [700, 701]]),
                "negative_prompt_attention_mask": torch.tensor([[0, 1], [1, 1]])}
    for options in (
        {"logits_processor": [lambda ids, scores: scores + bias]},
        {"prefix_allowed_tokens_fn": lambda row, ids: [300, 14] if row == 0 else [262, 286, len(ids)]},
        {"guidance_scale": 1.7, **negative},
        {"sequence_bias": {(262,): -5.0}},
        {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": 14},
    ):
        found, expected = (
            each.generate(ids, attention_mask=mask, max_new_tokens=9, **options) for each in (model, theirs)
        )
        assert found.tolist() == expected.tolist(), options
    shown, expected = (
        each.generate(ids, attention_mask=mask, max_new_tokens=6, num_beams=3, return_dict_in_generate=True,
                      output_scores=True, output_logits=True) for each in (model, theirs)
    )
    assert shown.beam_indices.tolist() == expected.beam_indices.tolist()
    for name in ("scores", "logits"):
        for own, other in zip(shown[name], expected[name], strict=True):
            np.testing.assert_allclose(own, other, atol=2e-5 * float(other.abs().max()))
    np.testing.assert_allclose(shown.sequences_scores, expected.sequences_scores, atol=1e-5)


def test_an_engine_refuses_what_generate_refuses(model: Any) -> None:
    engine = diffllama.Engine(model)
    with pytest.raises(diffllama.InvalidArgument, match="add: expected supported options, got dola_layers: 'high'"):
        engine.add([1, 916], dola_layers="high")
    with pytest.raises(diffllama.InvalidArgument, match="add: expected options of generation, got zap"):
        engine.add([1, 916], zap=1)
    with pytest.raises(diffllama.InvalidArgument, match="prompt: expected a text or integers, got float64"):
        engine.add([1.0, 2.5])


def test_answers_of_functions_that_make_no_sense(model: Any) -> None:
    for allowed in ([-1], [4096], [1.5]):
        with pytest.raises(diffllama.InvalidArgument, match="prefix_allowed_tokens_fn: expected ids from 0 to 4095, got"):
            model.generate(PROMPT, max_new_tokens=2, prefix_allowed_tokens_fn=lambda row, ids: allowed)
    for ended, shown in ((None, "None"), (np.zeros(3, bool), r"\[3\]")):
        with pytest.raises(diffllama.InvalidArgument, match=rf"stopping_criteria function: expected a bool or \[1\], got {shown}"):
            model.generate(PROMPT, max_new_tokens=2, stopping_criteria=[lambda ids, scores: ended])
    for options in ({"max_new_tokens": "x"}, {"do_sample": True, "temperature": "x"}, {"do_sample": True, "top_k": [1]}):
        with pytest.raises(diffllama.ConfigError):
            model.generate(PROMPT, **options)


def test_embeddings_have_no_ids_to_penalise(model: Any) -> None:
    embeds = model.get_input_embeddings()(PROMPT)
    rows: list[Any] = []

    def seen(input_ids: Any, scores: Any) -> Any:
        rows.append(input_ids.tolist())
        return scores

    options = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "return_dict_in_generate": True}
    shown = model.generate(
        inputs_embeds=embeds, max_new_tokens=3, output_scores=True, output_logits=True, logits_processor=[seen], **options
    )
    assert np.array_equal(shown.scores[0], shown.logits[0])  # nothing came before
    assert rows[0] == [[]] and rows[2] == shown.sequences[:, :2].tolist()
    beams = model.generate(inputs_embeds=embeds, max_new_tokens=2, num_beams=2, **options)
    assert 0 not in beams.sequences[0][:1] and beams.sequences.shape == (1, 2)
    with pytest.raises(diffllama.InvalidArgument, match="expected negative_prompt_ids with inputs_embeds"):
        model.generate(inputs_embeds=embeds, max_new_tokens=1, guidance_scale=2.0)
    assert "past_key_values" not in model.generate(PROMPT, max_new_tokens=1, use_cache=False, return_dict_in_generate=True)


@pytest.mark.parametrize(("options", "message"), [
    ({"generation_config": {"max_new_tokens": 3}}, "generation_config: expected a GenerationConfig, got dict"),
    ({"streamer": 5}, "streamer: expected a streamer, got int"),
    ({"assistant_model": "x"}, "assistant_model: expected a model of this package, got str"),
    ({"tokenizer": "x", "stop_strings": "a"}, "tokenizer: expected a tokenizer of this package, got str"),
    ({"logits_processor": 5}, "logits_processor: expected a list, got int"),
    ({"stopping_criteria": [5]}, "stopping_criteria: expected a list of functions, got int in it"),
    ({"eos_token_id": "x"}, "eos_token_id: expected an id, or a list of them, got 'x'"),
    ({"inputs": [[1, 2], [3]]}, "expected rows of one length in a list, got several"),
])
def test_arguments_of_another_kind_are_named(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(diffllama.Error, match=message):
        model.generate(**{"inputs": PROMPT, "max_new_tokens": 1, **options})
