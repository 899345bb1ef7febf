"""Parameters of a model as Python sees them, and losses that know their gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import _core, arrays
from .arrays import Array, numpy_array

Backward = Callable[[float], None]


class Parameter(np.lib.mixins.NDArrayOperatorsMixin):
    """One parameter of a model under its transformers name, where torch is not imported.

    data: float32 numpy array, read from the model when it is asked for; setting it changes the
    model, as `parameter -= step` does. grad: what backward() of a loss has added up, or None.
    requires_grad: whether backward() gives it a gradient.
    """

    def __init__(self, parameters: Parameters, name: str) -> None:
        self._parameters = parameters
        self.name = name
        self.grad: Any = None
        self.requires_grad = True

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        return self._parameters.read(self.name)

    @data.setter
    def data(self, values: Any) -> None:
        self._parameters.set({self.name: values})

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self._parameters.shape(self.name)

    def numel(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape))

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        return self.data

    def detach(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        return self.data

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Sets requires_grad, and returns itself."""
        self.requires_grad = requires_grad
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.data, dtype=dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **kwargs: Any) -> Any:
        values = [each.data if isinstance(each, Parameter) else each for each in inputs]
        if len(out) != 1 or not isinstance(out[0], Parameter):
            return getattr(ufunc, method)(*values, **({"out": out} if out else {}), **kwargs)
        out[0].data = getattr(ufunc, method)(*values, **kwargs)
        return out[0]

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape={self.shape})"


class Parameters:
    """All parameters of a model. Where torch is imported they are torch.nn.Parameter's: copies, whose
    changes are written into the engine before it next computes (`push`)."""

    def __init__(self, core: _core.Model) -> None:
        self._core = core
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._made: dict[str, Any] = {}
        self._torch = False  # what kind was made
        self._frozen = False  # what those not yet made begin with
        self._watch: Any = None  # torch_parameters.Watch of those made
        self.changes = 0
        """How often the engine's parameters were changed."""

    @property
    def made(self) -> dict[str, Any]:
        """Those that were asked for."""
        return self._made

    def names(self) -> list[str]:
        """The name of each; a tied lm_head is not listed."""
        return self._core.parameter_names()

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A float32 copy of the engine's values."""
        self.push()
        return self._core.parameter(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of one."""
        if name not in self._shapes:
            self._shapes[name] = tuple(self._core.parameter(name).shape)
        return self._shapes[name]

    def get(self, name: str) -> Any:
        """One as an object with data, grad and requires_grad: always the same one."""
        with_torch = arrays.has_torch()
        if self._made and with_torch != self._torch:  # torch was imported since
            kept = {each: (old.grad, old.requires_grad) for each, old in self._made.items()}
            self._made, self._torch = {}, with_torch
            for each, (gradient, trained) in kept.items():
                new = self.get(each)
                new.requires_grad = trained
                new.grad = None if gradient is None else arrays.to_torch(np.array(numpy_array(gradient)))
        if name not in self._made:
            self._torch, self._watch = with_torch, None
            if with_torch:
                from .torch_parameters import make_parameter

                self._made[name] = make_parameter(self._core.parameter(name), not self._frozen)
            else:
                self._made[name] = Parameter(self, name)
                self._made[name].requires_grad = not self._frozen
        return self._made[name]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for name in self.names():
            yield name, self.get(name)

    def require_gradients(self, required: bool) -> None:
        """requires_grad of each."""
        self._frozen = not required
        for parameter in self._made.values():
            parameter.requires_grad = required

    def trained(self) -> list[str]:
        """The names of those that get gradients."""
        if not self._made:
            return [] if self._frozen else self.names()
        return [
            name for name in self.names()
            if (self._made[name].requires_grad if name in self._made else not self._frozen)
        ]

    def push(self) -> None:
        """Writes into the engine what was changed in torch's tensors."""
        if not self._torch or (self._watch is not None and self._watch.unchanged()):
            return
        from .torch_parameters import changed_values, mark_written, watch_of

        changed = {}
        for name, parameter in self._made.items():
            values = changed_values(parameter, functools.partial(self._core.parameter, name))
            if values is not None:
                changed[name] = values
        if changed:
            self._core.set_parameters(changed)
            self.changes += 1
            for name in changed:
                mark_written(self._made[name])
        self._watch = watch_of(list(self._made.values()))

    def set(self, values: dict[str, Array]) -> None:
        """Replaces some, as float32. Raises InvalidArgument for unknown names and other shapes, before
        anything is changed."""
        self.push()
        self._core.set_parameters({name: numpy_array(value, np.float32) for name, value in values.items()})
        self.changes += 1
        self.pull(values)

    def pull(self, names: Any = None) -> None:
        """Reads torch's tensors anew, after the engine's parameters changed."""
        self._shapes.clear()
        if not self._torch:
            return
        from .torch_parameters import write_values

        for name in self._made if names is None else names:
            if name in self._made:
                write_values(self._made[name], self._core.parameter(name))

    def add_gradients(self, gradients: dict[str, Any], names: list[str]) -> None:
        """Adds gradients, arrays as the inputs were, to grad."""
        for name in names:
            parameter, gradient = self.get(name), gradients[name]
            if self._torch and not arrays.is_torch(gradient):
                gradient = arrays.to_torch(np.ascontiguousarray(numpy_array(gradient)))
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class Loss(np.ndarray[Any, Any]):
    """A loss, a float32 array without dimensions, that adds its gradients to the parameters. Its
    multiples, and sums with other losses and numbers, are losses too."""

    _backward: Backward | None

    def __new__(cls, value: Any, backward: Backward) -> Loss:
        loss = np.asarray(value, np.float32).view(cls)
        loss._backward = backward
        return loss

    def __array_finalize__(self, source: Any) -> None:
        self._backward = None

    def backward(self) -> None:
        """Adds the gradient of each parameter to its grad: the model runs once more, and back.

        Raises InvalidArgument where the parameters have changed since, or where tokens of a cache
        came before.
        """
        if self._backward is None:
            raise _core.InvalidArgument("backward: expected the loss that a model returned, got a value made of it")
        self._backward(1.0)

    def _scaled(self, factor: Any) -> Any:
        backward = self._backward
        if backward is None or np.ndim(factor) > 0 or isinstance(factor, Loss):
            return NotImplemented
        return Loss(np.multiply(np.asarray(self), np.float32(factor)), lambda scale: backward(scale * float(factor)))

    def _plus(self, other: Any, sign: float) -> Any:
        if self._backward is None or np.ndim(other) > 0:
            return NotImplemented
        terms = [(self._backward, 1.0)]
        if isinstance(other, Loss) and other._backward is not None:
            terms.append((other._backward, sign))

        def backward(scale: float) -> None:
            for term, factor in terms:
                term(scale * factor)

        return Loss(np.asarray(self) + np.float32(sign) * np.asarray(other, np.float32), backward)

    def __mul__(self, other: Any) -> Any:
        return self._scaled(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return NotImplemented if np.ndim(other) > 0 else self._scaled(1 / np.float64(other))

    def __neg__(self) -> Any:
        return self._scaled(-1.0)

    def __add__(self, other: Any) -> Any:
        return self._plus(other, 1.0)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._plus(other, -1.0)


def make_loss(
    value: float, gradients: Callable[[], dict[str, Any]], parameters: Parameters, convert: Callable[[Any], Any]
) -> Any:
    """The loss as what the inputs were: a Loss, or a torch tensor whose backward() works.

    gradients: computes one array for each of parameters.trained().
    """
    if convert is arrays.to_torch:
        from .torch_parameters import make_torch_loss

        return make_torch_loss(value, gradients, parameters)
    if convert is not arrays.unchanged:
        return convert(np.asarray(value, np.float32))

    def backward(scale: float) -> None:
        found = gradients()
        names = [name for name in parameters.trained() if name in found]
        parameters.add_gradients({name: found[name] * np.float32(scale) for name in names}, names)

    return Loss(value, backward)
