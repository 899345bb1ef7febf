"""Keys and values of sequences, as transformers' Cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import _core
from .arrays import numpy_array

if TYPE_CHECKING:
    from .parameters import Parameters


class DynamicCache:
    """A cache that grows. Empty until a model has run with it; then it belongs to that model.

    Copies (copy.copy, copy.deepcopy) share what is full and are independent from then on. Its keys and
    values are the engine's own, and are not shown.
    """

    def __init__(self, ddp_cache_data: Any = None, config: Any = None) -> None:
        if ddp_cache_data is not None:
            raise _core.InvalidArgument("ddp_cache_data: expected None, for the engine makes keys and values itself")
        self._core: _core.KVCache | None = None
        self._owner: tuple[Parameters, int] | None = None  # and how often they had changed

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
        self._owner = None

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

    @property
    def is_initialized(self) -> bool:
        """Whether a model has run with it."""
        return self._core is not None

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """-1: it grows as far as it must."""
        return -1

    def engine_cache(self, model: _core.Model, parameters: Parameters, batch_size: int) -> _core.KVCache:
        """What the engine keeps; made of `model` on first use.

        Raises InvalidArgument for another model, and where its parameters have changed since.
        """
        if self._core is None:
            self._core = model.make_cache(batch_size)
            self._owner = (parameters, parameters.changes)
        if self._owner is None or self._owner[0] is not parameters:
            raise _core.InvalidArgument("past_key_values: expected a cache of this model, got one of another")
        if self._owner[1] != parameters.changes and self._core.length > 0:
            raise _core.InvalidArgument(
                "past_key_values: expected a cache of the model as it is, got one from before its parameters or vocab_size changed"
            )
        return self._core

    def __copy__(self) -> DynamicCache:
        copied = type(self)()
        copied._core = None if self._core is None else self._core.fork()
        copied._owner = self._owner
        return copied

    def __deepcopy__(self, memo: Any) -> DynamicCache:
        return self.__copy__()

    def __reduce__(self) -> Any:
        raise TypeError("DynamicCache is not pickled: it belongs to the model that made it")

    @property
    def layers(self) -> Any:
        """Raises AttributeError: the engine keeps keys and values in blocks of its own."""
        raise AttributeError("DynamicCache.layers: expected no look at keys and values, which the engine keeps in its own blocks")

    def __len__(self) -> int:
        """Layers that it holds keys and values of; get_seq_length() has the tokens."""
        names = self._owner[0].names() if self._owner is not None else []
        return len({name.partition("layers.")[2].partition(".")[0] for name in names if "layers." in name})

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("DynamicCache: expected no look at keys and values, which the engine keeps in its own blocks")

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"DynamicCache(batch_size={self.batch_size}, length={self.get_seq_length()})"


class StaticCache(DynamicCache):
    """A DynamicCache: memory comes as it is needed, and max_cache_len bounds nothing."""

    def __init__(self, config: Any = None, max_cache_len: int | None = None, **kwargs: Any) -> None:
        super().__init__(config=config)


Cache = DynamicCache
