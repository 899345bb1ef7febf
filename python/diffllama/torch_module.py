"""What torch's modules have, and an engine needs not."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from . import _core, options
from .arrays import has_torch
from .configuration import dtype_name

ModelT = TypeVar("ModelT", bound="TorchModule")


class TorchModule:
    """Where a model is, its type and its mode: of these there is one each."""

    training = False
    _core: _core.Model

    @property
    def device(self) -> Any:
        """The processor: torch.device("cpu") where torch is imported, else a text with `type`."""
        return options.device()

    @property
    def dtype(self) -> Any:
        """How products are computed: float32 or bfloat16, torch's where it is imported, else text."""
        name = str(self._core.runtime()["compute"])
        return getattr(sys.modules["torch"], name) if has_torch() else name

    def eval(self: ModelT) -> ModelT:
        """Itself, with training False."""
        return self.train(False)

    def train(self: ModelT, mode: bool = True) -> ModelT:
        """Itself, with training set: losses and gradients are those of evaluation mode all the same,
        for there is no dropout; see diffllama.train."""
        self.training = mode
        return self

    def to(self: ModelT, *args: Any, **kwargs: Any) -> ModelT:
        """Itself, for "cpu" and the type that products have. Raises InvalidArgument for another
        device or type: from_pretrained(dtype=...) sets the type."""
        options.check_to(dtype_name(self.dtype), *args, **kwargs)
        return self

    def float(self: ModelT) -> ModelT:
        """to("float32")."""
        return self.to("float32")

    def bfloat16(self: ModelT) -> ModelT:
        """to("bfloat16")."""
        return self.to("bfloat16")

    def half(self: ModelT) -> ModelT:
        """Raises InvalidArgument: there are no products in float16."""
        return self.to("float16")

    def double(self: ModelT) -> ModelT:
        """Raises InvalidArgument: there are no products in float64."""
        return self.to("float64")

    def cpu(self: ModelT) -> ModelT:
        """Itself."""
        return self

    def cuda(self: ModelT, device: Any = None) -> ModelT:
        """Raises InvalidArgument: the engine runs on the processor here."""
        return self.to("cuda")

    def __deepcopy__(self: ModelT, memo: Any) -> ModelT:
        raise TypeError(
            f"{type(self).__name__} is not copied: open it again with from_pretrained, or give its state_dict() to "
            "load_state_dict of another"
        )

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{type(self).__name__} is not pickled: save_pretrained and from_pretrained carry it to another process"
        )
