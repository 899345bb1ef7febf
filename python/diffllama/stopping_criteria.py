"""What ends a text, written in Python: the base of a caller's own, and transformers' by their names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, converter, numpy_array

if TYPE_CHECKING:
    from .tokenization import PreTrainedTokenizer


class StoppingCriteria:
    """Ends sequences: derive, and give it to generate(stopping_criteria=[...])."""

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array | bool:
        """ids int64 [N, T], and the scores of the steps so far where generate keeps them
        (return_dict_in_generate with output_scores), else None; returns a bool, or bools [N]."""
        raise NotImplementedError


class StoppingCriteriaList(list[Any]):
    """Criteria; a sequence ends where one is true."""

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array:
        ended = np.zeros(len(input_ids), bool)
        for criterion in self:
            ended |= np.broadcast_to(numpy_array(criterion(input_ids, scores, **kwargs)), ended.shape).astype(bool)
        return converter(input_ids)(ended)

    @property
    def max_length(self) -> int | None:
        """That of the MaxLengthCriteria among them; None without one."""
        return next((int(each.max_length) for each in self if type(each).__name__ == "MaxLengthCriteria"), None)


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


class StopStringCriteria(StoppingCriteria):
    """Ends a sequence whose last token completes one of the strings."""

    def __init__(self, tokenizer: PreTrainedTokenizer, stop_strings: str | list[str]) -> None:
        self.tokenizer = tokenizer
        self.stop_strings = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)

    def __call__(self, input_ids: Array, scores: Array, **kwargs: Any) -> Array:
        longest = max(len(each.encode()) for each in self.stop_strings)  # a token has at least a byte
        ended = []
        for row in numpy_array(input_ids)[:, -longest - 2 :].tolist():
            text, before = self.tokenizer.decode(row), len(self.tokenizer.decode(row[:-1]))
            ended.append(any(text.find(stop, max(0, before - len(stop) + 1)) >= 0 for stop in self.stop_strings))
        return converter(input_ids)(np.array(ended))
