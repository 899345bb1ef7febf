"""Parameters of a model, and losses that know their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays

if TYPE_CHECKING:
    from .modeling_utils import PreTrainedModel


class Parameter:
    """One parameter of a model under its transformers name.

    data: float32 numpy array, read from the model when it is asked for; setting it changes the
    model. grad: what backward() of a loss has added up, or None.
    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self._model = model
        self.name = name
        self.grad: Any = None
        self.requires_grad = True

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        values: np.ndarray[Any, Any] = self._model.engine.parameter(self.name)
        return values

    @data.setter
    def data(self, values: Any) -> None:
        self._model.load_state_dict({self.name: values}, strict=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(self.data.shape)

    def numel(self) -> int:
        """How many values it has."""
        return int(self.data.size)

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        return self.data

    def detach(self) -> np.ndarray[Any, Any]:
        """A copy of the values."""
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(self.data, dtype=dtype)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __repr__(self) -> str:
        return f"Parameter({self.name!r}, shape={self.shape})"


Backward = Callable[[float], None]


class Loss(np.ndarray[Any, Any]):
    """A loss, a float32 array without dimensions, that adds its gradients to the parameters."""

    _backward: Backward | None

    def __new__(cls, value: float, backward: Backward) -> Loss:
        loss = np.asarray(value, np.float32).view(cls)
        loss._backward = backward
        return loss

    def __array_finalize__(self, source: Any) -> None:
        self._backward = None

    def backward(self) -> None:
        """Adds the gradient of each parameter to its grad: the model runs once more, and back."""
        if self._backward is None:
            raise RuntimeError("expected the loss that a model returned, got a value made of it")
        self._backward(1.0)


def make_loss(value: float, backward: Backward, convert: Callable[[Any], Any]) -> Any:
    """The loss as what the inputs were: a Loss, or a torch tensor whose backward() works."""
    if convert is arrays.to_torch:
        return _torch_loss(value, backward)
    return Loss(value, backward) if convert is arrays.unchanged else convert(np.asarray(value, np.float32))


def _torch_loss(value: float, backward: Backward) -> Any:
    import torch

    class EngineLoss(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, anchor: Any) -> Any:
            return torch.tensor(value, dtype=torch.float32)

        @staticmethod
        def backward(ctx: Any, scale: Any) -> Any:
            backward(float(scale))
            return torch.zeros(())

    return EngineLoss.apply(torch.zeros((), requires_grad=True))
