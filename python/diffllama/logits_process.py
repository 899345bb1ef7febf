"""Bases of what changes scores and of what ends a text, written in Python."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .arrays import Array, converter, numpy_array


class LogitsProcessor:
    """Changes scores: derive, and give it to generate(logits_processor=[...])."""

    def __call__(self, input_ids: Array, scores: Array) -> Array:
        """ids int64 [1, T] and scores float32 [1, V]; returns scores [1, V]."""
        raise NotImplementedError


class LogitsProcessorList(list[Any]):
    """Processors, one after another."""

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array:
        for processor in self:
            scores = processor(input_ids, scores, **kwargs)
        return scores


class StoppingCriteria:
    """Ends sequences: derive, and give it to generate(stopping_criteria=[...])."""

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array | bool:
        """ids int64 [B, T] and scores float32 [B, V]; returns a bool, or bools [B]."""
        raise NotImplementedError


class StoppingCriteriaList(list[Any]):
    """Criteria; a sequence ends where one is true."""

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array:
        ended = np.zeros(len(input_ids), bool)
        for criterion in self:
            ended |= np.broadcast_to(numpy_array(criterion(input_ids, scores, **kwargs)), ended.shape).astype(bool)
        return converter(input_ids)(ended)


class MaxLengthCriteria(StoppingCriteria):
    """Ends at max_length tokens, the prompt's among them."""

    def __init__(self, max_length: int, max_position_embeddings: int | None = None) -> None:
        self.max_length = max_length

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> bool:
        return int(input_ids.shape[-1]) >= self.max_length


class MaxTimeCriteria(StoppingCriteria):
    """Ends max_time seconds after initial_timestamp (now)."""

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        self.max_time = max_time
        self.initial_timestamp = time.time() if initial_timestamp is None else initial_timestamp

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> bool:
        return time.time() - self.initial_timestamp > self.max_time


class EosTokenCriteria(StoppingCriteria):
    """Ends a sequence at one of the tokens."""

    def __init__(self, eos_token_id: int | list[int]) -> None:
        self.eos_token_id = np.atleast_1d(eos_token_id)

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array:
        return np.isin(numpy_array(input_ids)[:, -1], self.eos_token_id)
