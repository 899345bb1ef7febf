"""Keys and values of sequences, as transformers' Cache."""

from __future__ import annotations

from typing import Any

from . import _core
from .arrays import numpy_array


class DynamicCache:
    """A cache that grows. Empty until a model has run with it; then it belongs to that model.

    Copies (copy.copy, copy.deepcopy) share what is full and are independent from then on.
    """

    def __init__(self, *args: Any, config: Any = None, **kwargs: Any) -> None:
        self._core: _core.KVCache | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that it holds, masked ones included."""
        return 0 if self._core is None else self._core.length

    @property
    def batch_size(self) -> int | None:
        """Sequences; None while it is empty."""
        return None if self._core is None else self._core.batch_size

    def crop(self, max_length: int) -> None:
        """Forgets all but the first `max_length` tokens; negative: so many of the last."""
        if self._core is not None:
            length = self._core.length
            self._core.crop(max(0, length + max_length) if max_length < 0 else min(max_length, length))

    def reset(self) -> None:
        """Forgets everything."""
        self._core = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each sequence `repeats` times, one after the other."""
        if self._core is not None:
            self._core.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Any) -> None:
        """The sequences `indices` [N], in that order."""
        if self._core is not None:
            self._core.batch_select_indices(numpy_array(indices).tolist())

    def reorder_cache(self, beam_idx: Any) -> None:
        """batch_select_indices under another name."""
        self.batch_select_indices(beam_idx)

    def engine_cache(self, model: _core.Model, batch_size: int) -> _core.KVCache:
        """What the engine keeps; made of `model` on first use."""
        if self._core is None:
            self._core = model.make_cache(batch_size)
        return self._core

    def __copy__(self) -> DynamicCache:
        copied = DynamicCache()
        copied._core = None if self._core is None else self._core.fork()
        return copied

    def __deepcopy__(self, memo: Any) -> DynamicCache:
        return self.__copy__()

    def __len__(self) -> int:
        return self.get_seq_length()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"DynamicCache(batch_size={self.batch_size}, length={self.get_seq_length()})"


Cache = DynamicCache
