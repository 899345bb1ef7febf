"""What forward takes, as the engine takes it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arrays import Array, engine_array, has_torch, is_torch, numpy_array, to_torch

if TYPE_CHECKING:
    from .parameters import Parameters

_HIDDEN = -1e4  # what is added to hide a key is at most so much
_IGNORED = -100  # the label that the engine leaves out


def engine_mask(mask: Array | None) -> Array | None:
    """A float mask of 4 dimensions is one that is added to scores, as transformers takes it: 0 where a
    key may be seen, very negative where not. Raises InvalidArgument for other values."""
    mask = engine_array(mask)
    if mask is None or "float" not in str(getattr(mask, "dtype", "")):
        return mask
    values = numpy_array(mask)
    if values.ndim != 4:
        return values != 0
    other = ~((values == 0) | (values <= _HIDDEN))
    if other.any():
        raise _core.InvalidArgument(
            f"attention_mask: expected 0, or at most {_HIDDEN:g} where a key is hidden, in a mask that is added to scores, "
            f"got {values[other][0]:g}"
        )
    return values == 0


def embeddings_array(embeddings: Array | None) -> Array | None:
    """inputs_embeds for the engine. Raises InvalidArgument where a gradient is expected of them."""
    if is_torch(embeddings) and embeddings.requires_grad:  # type: ignore[union-attr]
        import torch

        if torch.is_grad_enabled():
            raise _core.InvalidArgument(
                "inputs_embeds: expected a tensor that needs no gradient, for parameters alone get one, got requires_grad"
            )
    return engine_array(embeddings)


def kept_logits(keep: Any, shape: tuple[int, ...], labels: Any) -> tuple[int, np.ndarray[Any, Any] | None]:
    """How many of the last tokens the engine gives logits of, and which of these are wanted (None: all).

    keep: a number, or the indices [K] of tokens. Raises TypeError and InvalidArgument.
    """
    if np.ndim(keep) == 0 and not is_torch(keep):
        try:
            count = operator.index(keep)
        except TypeError:
            raise TypeError(f"logits_to_keep: expected an integer or an array of them, got {keep!r}") from None
        if count < 0:
            raise _core.InvalidArgument(f"logits_to_keep: expected at least 0, got {count}")
        return count, None
    indices = numpy_array(keep)
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        raise _core.InvalidArgument(
            f"logits_to_keep: expected an integer or indices [K], got {indices.dtype} {list(indices.shape)}"
        )
    if labels is not None:
        raise _core.InvalidArgument("logits_to_keep: expected no indices with labels, which are of all tokens")
    tokens = shape[1] if len(shape) > 1 else 0
    if len(indices) == 0 or indices.min() < -tokens or indices.max() >= tokens:
        raise _core.InvalidArgument(f"logits_to_keep: expected indices of {tokens} tokens, got {indices.tolist()}")
    indices = np.where(indices < 0, indices + tokens, indices).astype(np.int64)
    count = tokens - int(indices.min())
    return count, indices - (tokens - count)


@dataclass
class LossScaling:
    """Arguments of transformers' losses: labels as the engine takes them, and what the mean is multiplied by."""

    labels: np.ndarray[Any, Any]
    factor: float

    @classmethod
    def take(
        cls, class_name: str, allowed: bool, head: str, others: dict[str, Any], labels: Array | None
    ) -> LossScaling | None:
        """Reads num_items_in_batch, ignore_index and shift_labels; None where none is given.

        Raises TypeError for arguments that there are none of, and InvalidArgument.
        """
        others.pop("cache_position", None)  # older callers': where the tokens are is known
        shifts = head == "ForCausalLM"
        names = ("num_items_in_batch", "ignore_index", *(("shift_labels",) if shifts else ())) if allowed else ()
        unknown = [name for name in others if name not in names]
        if unknown:
            raise TypeError(f"{class_name}.forward: got an unexpected argument {unknown[0]!r}")
        given = {name: value for name, value in others.items() if value is not None}
        if not given:
            return None
        if labels is None:
            raise _core.InvalidArgument(f"{next(iter(given))}: expected labels with it, got none")
        own = np.array(numpy_array(labels, np.int64))
        ignored = int(given.get("ignore_index", _IGNORED))
        if given.get("shift_labels") is not None:
            own = _unshifted(numpy_array(given["shift_labels"], np.int64), ignored)
        if ignored != _IGNORED:
            if (own == _IGNORED).any():
                raise _core.InvalidArgument(f"labels: expected {ignored} where none counts (ignore_index), got {_IGNORED}")
            own[own == ignored] = _IGNORED
        factor = 1.0
        if "num_items_in_batch" in given:
            items = float(numpy_array(given["num_items_in_batch"]))
            if not items > 0:
                raise _core.InvalidArgument(f"num_items_in_batch: expected more than 0, got {items:g}")
            factor = int(((own[:, 1:] if shifts else own) != _IGNORED).sum()) / items
        return cls(own, factor)


def _unshifted(labels: np.ndarray[Any, Any], ignored: int) -> np.ndarray[Any, Any]:
    """Labels of the tokens themselves, of those of the next ones. The token after the last has no place."""
    if labels.ndim != 2 or (labels[:, -1] != ignored).any():
        raise _core.InvalidArgument(f"shift_labels: expected [B, T] whose last column is {ignored}, got others")
    return np.concatenate([np.full_like(labels[:, :1], ignored), labels[:, :-1]], axis=1)


def convert_result(result: dict[str, Any], convert: Callable[[Any], Any], parameters: Parameters) -> None:
    """Turns arrays of a forward into what the inputs were. The loss is left as it is."""
    for name, value in result.items():
        if isinstance(value, list):
            result[name] = [convert(each) for each in value]
        elif isinstance(value, dict):
            result[name] = {key: convert(each) for key, each in value.items()}
        elif name != "loss":
            result[name] = convert(value)
    if convert is to_torch and has_torch() and parameters.made:
        from .torch_parameters import refuse_gradients

        for name in ("logits", "last_hidden_state", "start_logits", "end_logits"):
            if name in result:
                result[name] = refuse_gradients(name, result[name], parameters)
        for name in ("hidden_states", "attentions"):
            if name in result:
                result[name] = [refuse_gradients(name, each, parameters) for each in result[name]]
