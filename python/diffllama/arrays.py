"""Arrays in and out: what comes in goes to the engine without a copy, and out as what came in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core

Array = Any
"""numpy.ndarray, torch.Tensor, jax.Array, or anything else with DLPack."""


def engine_array(value: Array | None) -> Array | None:
    """`value` as the engine takes it: arrays stay what they are, lists become numpy arrays.

    A torch tensor that needs gradients is detached: the engine computes its own.
    """
    if value is None:
        return value
    if type(value) is np.ndarray:
        return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
    if isinstance(value, (list, tuple, int, float)):
        return _array_of(value)
    if not is_torch(value):
        return value
    try:
        return value.numpy()  # several times as fast as DLPack
    except (TypeError, RuntimeError):  # it needs gradients, is of another device, or of a type that numpy has not
        return value.detach()


def numpy_array(value: Array, dtype: Any = None) -> np.ndarray[Any, Any]:
    """A numpy array of `value`, which shares its memory where it can."""
    if isinstance(value, np.ndarray) or isinstance(value, (list, tuple, int, float)):
        return _array_of(value, dtype)
    value = engine_array(value)
    if is_torch(value):
        value = value.cpu().float() if value.is_floating_point() else value.cpu()
        return np.asarray(value.numpy(), dtype=dtype)
    return np.asarray(value, dtype=dtype)


def _array_of(value: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value, dtype=dtype)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise _core.InvalidArgument("expected rows of one length in a list, got several; pad them") from None


def is_torch(value: object) -> bool:
    """Whether `value` is a torch tensor; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def has_torch() -> bool:
    """Whether torch is imported."""
    return hasattr(sys.modules.get("torch"), "nn")


def converter(*examples: Array | None) -> Callable[[Any], Any]:
    """A function that turns numpy arrays into what the first array among `examples` is."""
    for example in examples:
        if example is None or isinstance(example, (np.ndarray, list, tuple, int, float)):
            if isinstance(example, np.ndarray):
                break
            continue
        if is_torch(example):
            return to_torch
        namespace = getattr(example, "__array_namespace__", None)
        if namespace is not None:
            from_dlpack: Callable[[Any], Any] = namespace().from_dlpack
            return from_dlpack
        break
    return unchanged


def unchanged(array: Any) -> Any:
    """The array itself."""
    return array


def to_torch(array: Any) -> Any:
    """A torch tensor of a numpy array's memory."""
    import torch

    return torch.from_numpy(array)


def as_tensors(array: Any, kind: str | None) -> Any:
    """`array` as `return_tensors` of a tokenizer names it: "np", "pt", "jax" or None (a list)."""
    if kind is None:
        return array
    if kind == "np":
        return np.asarray(array)
    if kind == "pt":
        return to_torch(np.asarray(array))
    if kind == "jax":
        import jax.numpy

        return jax.numpy.asarray(np.asarray(array))
    raise ValueError(f"return_tensors: expected np, pt, jax or None, got {kind!r}")
