"""generate, step by step in Python: where a caller wants to see or to change each step, or brings what comes before."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arrays import Array, numpy_array
from .cache import DynamicCache
from .generation_config import GenerationConfig

if TYPE_CHECKING:
    from .streamers import BaseStreamer

Floats = np.ndarray[Any, np.dtype[np.float32]]
Ids = np.ndarray[Any, np.dtype[np.int64]]


class Prompts:
    """The prompts of a call: ids without padding, and the rows that they came in."""

    def __init__(self, ids: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], embedded: bool = False) -> None:
        """embedded: they are inputs_embeds, so there are no ids, whatever `ids` holds."""
        self.rows = ids[:, :0] if embedded else ids
        self.mask = mask
        self.ids: list[list[int]] = [row[kept].tolist() for row, kept in zip(ids, mask.astype(bool))]
        if embedded:
            self.ids = [[] for _ in ids]

    def earlier(self) -> list[int]:
        """How many equal prompts came before each: the engine draws the same tokens for all of them."""
        return [self.ids[:i].count(own) for i, own in enumerate(self.ids)]


def ids_of(value: Any) -> list[int]:
    """The ids of an option that is one, several or none."""
    if value is None:
        return []
    try:
        return [int(value)] if np.ndim(value) == 0 else [int(each) for each in value]
    except (TypeError, ValueError):
        raise _core.ConfigError(f"eos_token_id: expected an id, or a list of them, got {value!r}") from None


def pad_of(options: GenerationConfig) -> int:
    """What fills sequences that end before others."""
    eos = ids_of(options.eos_token_id)
    pad = options.pad_token_id
    if int(options.num_beams or 1) > 1 and eos:  # transformers' beam search takes a pad_token_id of 0 for none
        pad = pad or eos[0]
    return int(pad if pad is not None else (eos[0] if eos else 0))


def log_softmax(logits: Floats) -> Floats:
    """Logarithms of the probabilities of logits [..., V], summed in float64."""
    wide = logits.astype(np.float64)
    largest = wide.max(axis=-1, keepdims=True)
    total = np.exp(wide - largest).sum(axis=-1, keepdims=True)
    found: Floats = (wide - (largest + np.log(total))).astype(np.float32)
    return found


class Runner:
    """The model with the keys and values of rows of ids, padding in front."""

    def __init__(self, model: Any, mask: np.ndarray[Any, Any], cache: DynamicCache, **outputs: bool) -> None:
        self.model = model
        self.mask = mask.astype(np.int64)
        self.cache = cache
        self.outputs = outputs

    def start(self, rows: Ids, embeds: np.ndarray[Any, Any] | None = None) -> Any:
        """Runs what the cache does not hold yet; the last row always."""
        held = min(self.cache.get_seq_length(), self.mask.shape[1] - 1)
        self.cache.crop(held)
        # The last column must be a token: padding that comes behind goes to the front.
        behind = [int(np.argmax(row[::-1] != 0)) for row in self.mask] if held == 0 else [0] * len(rows)

        def turned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.stack([np.roll(row, count, axis=0) for row, count in zip(values, behind)])

        self.mask = turned(self.mask)
        step = {"input_ids": turned(rows)[:, held:]} if embeds is None else {"inputs_embeds": turned(embeds)[:, held:]}
        return self._forward(step)

    def go_on(self, tokens: list[int] | Ids) -> Any:
        """Runs one more token of each row."""
        self.mask = np.concatenate([self.mask, np.ones((len(self.mask), 1), np.int64)], axis=1)
        return self._forward({"input_ids": np.array(tokens, np.int64)[:, None]})

    def reorder(self, parents: Ids) -> None:
        """The rows become those that `parents` names."""
        self.cache.batch_select_indices(parents)
        self.mask = self.mask[parents]

    def _forward(self, step: dict[str, np.ndarray[Any, Any]]) -> Any:
        width = next(iter(step.values())).shape[1]
        positions = np.maximum(np.cumsum(self.mask, axis=1) - 1, 0)[:, -width:]
        return self.model.forward(
            **step, attention_mask=self.mask, position_ids=positions, past_key_values=self.cache, logits_to_keep=1,
            return_dict=True, **self.outputs,
        )


class Guidance:
    """Scores of guidance_scale: the model runs on negative prompts beside the prompts."""

    def __init__(self, model: Any, scale: float, negative: Prompts) -> None:
        self.scale = scale
        self.rows = negative.rows
        self.runner = Runner(model, negative.mask, DynamicCache())

    def __call__(self, logits: Floats, tokens: list[int] | None) -> Floats:
        output = self.runner.start(self.rows) if tokens is None else self.runner.go_on(tokens)
        without = log_softmax(output.logits[:, -1])
        return (np.float32(self.scale) * (log_softmax(logits) - without) + without).astype(np.float32)


class Processors:
    """What a caller's functions make of scores: each gets the rows of all sequences at once."""

    def __init__(
        self, processors: list[Any], allowed: Callable[[int, Array], Any] | None, beams: int, convert: Callable[[Any], Any]
    ) -> None:
        self.processors = processors
        self.allowed = allowed
        self.beams = beams
        self.convert = convert

    def __call__(self, rows: Ids, scores: Floats) -> Floats:
        if self.allowed is not None:
            scores = self._keep_allowed(rows, scores)
        for processor in self.processors:
            scores = checked_scores(processor, processor(self.convert(rows), self.convert(scores)), scores.shape)
        return scores

    def _keep_allowed(self, rows: Ids, scores: Floats) -> Floats:
        kept = np.full_like(scores, -np.inf)
        for i, row in enumerate(rows):
            prompt = i // self.beams
            chosen = numpy_array(self.allowed(prompt, self.convert(row)))  # type: ignore[misc]
            if chosen.size == 0:
                raise _core.InvalidArgument(f"prefix_allowed_tokens_fn: expected tokens for prompt {prompt}, got none")
            if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= scores.shape[1]:
                raise _core.InvalidArgument(
                    f"prefix_allowed_tokens_fn: expected ids from 0 to {scores.shape[1] - 1}, got {chosen.reshape(-1).tolist()}"
                )
            kept[i, chosen] = scores[i, chosen]
        return kept


def checked_scores(processor: Any, found: Any, shape: tuple[int, ...]) -> Floats:
    """The scores that a processor returned, an array of our own. Raises InvalidArgument for another shape."""
    name = getattr(processor, "__name__", type(processor).__name__)
    if found is None:
        raise _core.InvalidArgument(f"logits_processor {name}: expected scores {list(shape)}, got None")
    scores = np.array(numpy_array(found, np.float32))
    if scores.shape != shape:
        raise _core.InvalidArgument(f"logits_processor {name}: expected scores {list(shape)}, got {list(scores.shape)}")
    return scores


class Loop:
    """Steps of all sequences together. Tokens are those of the engine's own loop."""

    def __init__(
        self, model: Any, prompts: Prompts, engine_config: _core.GenerationConfig, options: GenerationConfig,
        tokenizer: _core.Tokenizer | None, convert: Callable[[Any], Any], processors: Processors,
        criteria: list[Any], guidance: Guidance | None = None,
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.config = engine_config
        self.options = options
        self.tokenizer = tokenizer
        self.convert = convert
        self.processors = processors
        self.criteria = criteria
        self.guidance = guidance
        self.repeats = int(options.num_beams or 1)
        if self.repeats == 1:
            self.repeats = int(options.num_return_sequences or 1)
        if not engine_config.eos_token_ids and not options.ignore_eos:
            engine_config.eos_token_ids = ids_of(getattr(model.config, "eos_token_id", None))
        self.began = time.monotonic()
        self.steps: dict[str, list[Any]] = {"scores": [], "logits": [], "attentions": [], "hidden_states": []}

    def run(self, embeds: Any, past: DynamicCache | None, streamer: BaseStreamer | None) -> tuple[list[list[int]], dict[str, Any]]:
        """New ids of each sequence, and what else was asked for."""
        sequences = [
            _core.Continuation(self.config, ids, self.tokenizer, earlier * self.repeats + number)
            for ids, earlier in zip(self.prompts.ids, self.prompts.earlier()) for number in range(self.repeats)
        ]
        new_ids: list[list[int]] = [[] for _ in sequences]
        ended = np.zeros(len(sequences), bool)
        rows, runner, output = self.start(embeds, past)
        tokens: list[int] | None = None
        while True:
            scores = self.score(rows, output, sequences, tokens, ended)
            tokens = [pad_of(self.options)] * len(sequences)
            for i in np.flatnonzero(~ended):
                tokens[i] = sequences[i].choose(scores[i])
                sequences[i].push(tokens[i])
                new_ids[i].append(tokens[i])
            if streamer is not None:
                streamer.put(self.convert(np.array(tokens)))
            rows = np.concatenate([rows, np.array(tokens, np.int64)[:, None]], axis=1)
            ended |= [sequence.stop_reason is not None for sequence in sequences]
            ended |= self.asked_to_end(rows)
            if ended.all() or self.late():
                return new_ids, self.extras(runner.cache)
            output = runner.go_on(tokens)

    def start(self, embeds: Any, past: DynamicCache | None) -> tuple[Ids, Runner, Any]:
        """The rows of all sequences, and the model's output for them."""
        def repeated(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.repeat(values, self.repeats, axis=0)

        rows = repeated(self.prompts.rows).astype(np.int64)
        cache = DynamicCache() if past is None else past
        if self.repeats > 1 and cache.batch_size == len(self.prompts.rows):
            cache.batch_repeat_interleave(self.repeats)
        runner = Runner(
            self.model, repeated(self.prompts.mask), cache, output_attentions=bool(self.options.output_attentions),
            output_hidden_states=bool(self.options.output_hidden_states),
        )
        return rows, runner, runner.start(rows, None if embeds is None else repeated(numpy_array(embeds, np.float32)))

    def score(
        self, rows: Ids, output: Any, sequences: list[_core.Continuation], tokens: list[int] | None,
        ended: np.ndarray[Any, Any], beams: bool = False,
    ) -> Floats:
        """The scores [N, V] that tokens are chosen from, of the last logits."""
        logits = np.array(output.logits[:, -1], np.float32)
        self._keep("logits", logits)
        for name in ("attentions", "hidden_states"):
            if getattr(self.options, f"output_{name}"):
                self.steps[name].append(tuple(self.convert(each) for each in output[name]))
        scores = log_softmax(logits) if beams else logits
        if self.guidance is not None:
            scores = self.guidance(logits, tokens)
        going = np.flatnonzero(~ended)
        for i in going:
            sequences[i].adjust(scores[i])
        scores = np.ascontiguousarray(self.processors(rows, scores))
        for i in going:
            sequences[i].warp(scores[i])
        self._keep("scores", scores)
        return scores

    def _keep(self, name: str, values: Floats) -> None:
        if getattr(self.options, f"output_{name}") and self.options.return_dict_in_generate:
            self.steps[name].append(self.convert(values.copy()))

    def asked_to_end(self, rows: Ids) -> np.ndarray[Any, Any]:
        """Which rows a criterion ends."""
        ended = np.zeros(len(rows), bool)
        scores = tuple(self.steps["scores"]) or None  # as transformers: those that are kept
        for criterion in self.criteria:
            found = numpy_array(criterion(self.convert(rows), scores))
            if found.shape not in ((), (1,), ended.shape) or found.dtype == object:
                raise _core.InvalidArgument(
                    f"stopping_criteria {type(criterion).__name__}: expected a bool or [{len(rows)}], got "
                    f"{list(found.shape) if found.dtype != object else found.tolist()}"
                )
            ended |= np.broadcast_to(found, ended.shape).astype(bool)
        return ended

    def late(self) -> bool:
        """Whether max_time is over."""
        return self.options.max_time is not None and time.monotonic() - self.began > self.options.max_time

    def extras(self, cache: DynamicCache) -> dict[str, Any]:
        """What is kept of each step, and the cache."""
        return {**{name: tuple(steps) for name, steps in self.steps.items() if steps}, "past_key_values": cache}
