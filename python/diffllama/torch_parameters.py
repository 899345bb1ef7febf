"""Parameters as torch's optimizers take them. Imported where torch is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import _core
from .arrays import numpy_array
from .parameters import Parameters


class EngineParameter(torch.nn.Parameter):  # type: ignore[misc]
    """A float32 copy of a parameter of the engine. Whatever changes it reaches the engine before the
    model next computes: torch counts changes in place, and what of its memory was given out unseen
    (data, detach, numpy) is compared."""

    _written = 0
    _replaced = False
    _given_out = False
    _watch: Watch | None = None

    def _gives_out(self) -> None:
        self._given_out = True
        if self._watch is not None:
            self._watch.quiet = False

    @property
    def data(self) -> Any:
        """A tensor of the same memory, which autograd does not follow."""
        self._gives_out()
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, values: Any) -> None:
        new = torch.as_tensor(values)
        if new.shape != self.shape:
            raise _core.InvalidArgument(
                f"data: expected float32 {list(self.shape)}, got {str(new.dtype).removeprefix('torch.')} {list(new.shape)}"
            )
        torch.Tensor.data.__set__(self, new.detach().to("cpu", torch.float32))
        self._replaced = True
        self._gives_out()  # the tensor that it was set to may be changed

    def detach(self) -> Any:
        """A tensor of the same memory, which needs no gradient."""
        self._gives_out()
        return super().detach()

    def numpy(self, *, force: bool = False) -> Any:
        """The same memory as numpy's; as torch's does, it raises where a gradient is needed."""
        self._gives_out()
        return super().numpy(force=force)

    def __deepcopy__(self, memo: Any) -> Any:
        with torch.no_grad():
            return torch.nn.Parameter(self.clone(), self.requires_grad)


class Watch:
    """Tells fast that none of some parameters has changed: by plain tensors, whose counts of changes are read
    several times as fast as those of a class in Python."""

    def __init__(self, parameters: list[EngineParameter]) -> None:
        with torch.inference_mode(False):
            self._aliases = [torch.Tensor.detach(each) for each in parameters]
        self._versions = [each._version for each in self._aliases]
        self.quiet = True
        for each in parameters:
            each._watch = self

    def unchanged(self) -> bool:
        """Whether all are as they were, and no memory of theirs was given out."""
        return self.quiet and self._versions == [each._version for each in self._aliases]


def watch_of(parameters: list[EngineParameter]) -> Watch | None:
    """A watch over parameters that the engine has; None where memory of theirs was given out, which must be looked at."""
    return None if any(each._given_out for each in parameters) else Watch(parameters)


def make_parameter(values: np.ndarray[Any, Any], requires_grad: bool) -> EngineParameter:
    """One of these values."""
    with torch.inference_mode(False):
        parameter = EngineParameter(torch.from_numpy(values), requires_grad)
    parameter._written = parameter._version
    return parameter


def _memory(parameter: EngineParameter) -> Any:
    return torch.Tensor.data.__get__(parameter)


def changed_values(parameter: EngineParameter, engine_values: Callable[[], Any]) -> np.ndarray[Any, Any] | None:
    """The values where they are not those of the engine."""
    changed = parameter._replaced or parameter._version != parameter._written
    if not changed and not parameter._given_out:
        return None
    values: np.ndarray[Any, Any] = np.ascontiguousarray(_memory(parameter).numpy())
    return values if changed or not np.array_equal(values, engine_values()) else None


def mark_written(parameter: EngineParameter) -> None:
    """The engine has the values."""
    parameter._written = parameter._version
    parameter._replaced = False


def write_values(parameter: EngineParameter, values: np.ndarray[Any, Any]) -> None:
    """Takes over what the engine has; in place, unless the shape is another."""
    new = torch.from_numpy(values)
    if new.shape == parameter.shape:
        with torch.no_grad():
            parameter.copy_(new)
    else:
        parameter.grad = None
        torch.Tensor.data.__set__(parameter, new)
        if parameter._watch is not None:
            parameter._watch.quiet = False
    mark_written(parameter)


class _Loss(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, value: float, gradients: Any, names: list[str], *parameters: Any) -> Any:
        ctx.gradients, ctx.names = gradients, names
        return torch.tensor(value, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, scale: Any) -> Any:
        found = ctx.gradients()
        factor = float(scale)
        return (None, None, None, *(
            torch.from_numpy(numpy_array(found[name])).mul_(factor) if needed else None
            for name, needed in zip(ctx.names, ctx.needs_input_grad[3:])
        ))


class _NoGradient(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, values: Any, name: str, anchor: Any) -> Any:
        ctx.name = name
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        raise _core.InvalidArgument(
            f"{ctx.name}: expected backward() of the loss that the model returns for labels, got one of a value computed from "
            f"{ctx.name}, whose gradient the engine does not compute"
        )


def make_torch_loss(value: float, gradients: Callable[[], dict[str, Any]], parameters: Parameters) -> Any:
    """A tensor whose backward() gives every trained parameter its gradient."""
    names = parameters.trained() if torch.is_grad_enabled() else []
    return _Loss.apply(value, gradients, names, *(parameters.get(name) for name in names))


def refuse_gradients(name: str, values: Any, parameters: Parameters) -> Any:
    """The tensor; backward() of what is computed from it raises, where the parameters are trained."""
    if not torch.is_grad_enabled():
        return values
    anchor = next((each for each in parameters.made.values() if isinstance(each, EngineParameter) and each.requires_grad), None)
    return values if anchor is None else _NoGradient.apply(values, name, anchor)
