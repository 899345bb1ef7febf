"""What changes scores, written in Python: the base of a caller's own, and transformers' by their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from . import _core
from .arrays import Array, converter, numpy_array
from .generation_loop import log_softmax


class LogitsProcessor:
    """Changes scores: derive, and give it to generate(logits_processor=[...])."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """ids int64 [N, T] and scores float32 [N, V] of all sequences; returns scores [N, V]. Of
        engine.add N is 1."""
        raise NotImplementedError


class LogitsProcessorList(list[Any]):
    """Processors, one after another."""

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array:
        for processor in self:
            scores = processor(input_ids, scores, **kwargs)
        return scores


class _NumpyProcessor(LogitsProcessor):
    """Works on numpy arrays, and returns what came in."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        changed = self._process(numpy_array(input_ids), np.array(numpy_array(scores, np.float32)))
        return converter(scores)(np.ascontiguousarray(changed, np.float32))

    def _process(self, ids: Any, scores: Any) -> Any:
        """Scores [N, V], which may be changed in place."""
        raise NotImplementedError


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise _core.InvalidArgument(f"{name}: expected a number above 0, got {value}")
    return value


def _tokens(value: Any) -> Any:
    return np.atleast_1d(numpy_array(value)).astype(np.int64)


class TemperatureLogitsWarper(_NumpyProcessor):
    """Divides scores by a temperature (> 0)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = _positive("temperature", temperature)

    def _process(self, ids: Any, scores: Any) -> Any:
        return scores / np.float32(self.temperature)


class TopKLogitsWarper(_NumpyProcessor):
    """Keeps the top_k (>= 1) largest scores."""

    def __init__(self, top_k: int, filter_value: float = -np.inf, min_tokens_to_keep: int = 1) -> None:
        self.top_k = max(int(_positive("top_k", top_k)), min_tokens_to_keep)
        self.filter_value = filter_value

    def _process(self, ids: Any, scores: Any) -> Any:
        count = min(self.top_k, scores.shape[1])
        least = np.partition(scores, -count, axis=1)[:, -count][:, None]
        return np.where(scores < least, np.float32(self.filter_value), scores)


class TopPLogitsWarper(_NumpyProcessor):
    """Keeps the fewest likeliest tokens whose probabilities reach top_p (0 to 1)."""

    def __init__(self, top_p: float, filter_value: float = -np.inf, min_tokens_to_keep: int = 1) -> None:
        if not 0 <= top_p <= 1:
            raise _core.InvalidArgument(f"top_p: expected a number from 0 to 1, got {top_p}")
        self.top_p, self.filter_value, self.min_tokens_to_keep = top_p, filter_value, min_tokens_to_keep

    def _process(self, ids: Any, scores: Any) -> Any:
        order = np.argsort(scores, axis=1, kind="stable")
        ascending = np.take_along_axis(scores, order, axis=1).astype(np.float64)
        shares = np.exp(ascending - ascending[:, -1:])
        out = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1) <= 1 - self.top_p
        out[:, -self.min_tokens_to_keep :] = False
        ruled_out = np.zeros_like(out)
        np.put_along_axis(ruled_out, order, out, axis=1)
        return np.where(ruled_out, np.float32(self.filter_value), scores)


class RepetitionPenaltyLogitsProcessor(_NumpyProcessor):
    """Scores of tokens that have come are divided by a penalty (> 0), those below zero multiplied.

    prompt_ignore_length: so many tokens in front do not count.
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | None = None) -> None:
        self.penalty = np.float32(_positive("penalty", penalty))
        self.prompt_ignore_length = prompt_ignore_length or 0

    def _process(self, ids: Any, scores: Any) -> Any:
        for row, own in zip(scores, ids[:, self.prompt_ignore_length :]):
            seen = np.unique(own)
            row[seen] = np.where(row[seen] < 0, row[seen] * self.penalty, row[seen] / self.penalty)
        return scores


class NoRepeatNGramLogitsProcessor(_NumpyProcessor):
    """Rules out every token that would repeat a run of ngram_size (>= 1) tokens."""

    def __init__(self, ngram_size: int) -> None:
        self.ngram_size = int(_positive("ngram_size", ngram_size))

    def _process(self, ids: Any, scores: Any) -> Any:
        before = self.ngram_size - 1
        for row, own in zip(scores, ids.tolist()):
            end = own[len(own) - before :] if before else []
            for i in range(len(own) - before):
                if own[i : i + before] == end:
                    row[own[i + before]] = -np.inf
        return scores


class MinLengthLogitsProcessor(_NumpyProcessor):
    """No eos_token_id below min_length tokens, the prompt's among them."""

    def __init__(self, min_length: int, eos_token_id: int | list[int] | Array, device: Any = None) -> None:
        if min_length < 0:
            raise _core.InvalidArgument(f"min_length: expected an integer of at least 0, got {min_length}")
        self.min_length, self.eos_token_id = min_length, _tokens(eos_token_id)

    def _process(self, ids: Any, scores: Any) -> Any:
        if ids.shape[1] < self.min_length:
            scores[:, self.eos_token_id] = -np.inf
        return scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """No eos_token_id before min_new_tokens come behind a prompt of prompt_length_to_skip."""

    def __init__(
        self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: int | list[int] | Array, device: Any = None
    ) -> None:
        super().__init__(prompt_length_to_skip + min_new_tokens, eos_token_id)


class SuppressTokensLogitsProcessor(_NumpyProcessor):
    """Rules tokens out."""

    def __init__(self, suppress_tokens: Iterable[int], device: Any = None) -> None:
        self.suppress_tokens = _tokens(list(suppress_tokens))

    def _process(self, ids: Any, scores: Any) -> Any:
        scores[:, self.suppress_tokens] = -np.inf
        return scores


class LogitNormalization(_NumpyProcessor):
    """log_softmax of the scores."""

    def _process(self, ids: Any, scores: Any) -> Any:
        return log_softmax(scores)
