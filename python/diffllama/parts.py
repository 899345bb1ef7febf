"""Parts of a model by transformers' names: model.model.layers[0].self_attn.q_proj.weight, model.lm_head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, converter, numpy_array

if TYPE_CHECKING:
    from .modeling_utils import PreTrainedModel


_NORMS = ("norm", "input_layernorm", "post_attention_layernorm")


class Part:
    """The parameters whose names begin alike, as attributes; those of a list of layers by number."""

    def __init__(self, model: PreTrainedModel, prefix: str) -> None:
        self._model = model
        self._prefix = prefix

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Every parameter of this part by its name within it."""
        for name, parameter in self._model.named_parameters():
            if name.startswith(self._prefix):
                own = name[len(self._prefix) :]
                yield (f"{prefix}.{own}" if prefix else own), parameter

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Every parameter of this part."""
        for _, parameter in self.named_parameters():
            yield parameter

    def requires_grad_(self, requires_grad: bool = True) -> Part:
        """Whether backward() gives this part gradients. Returns itself."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def _names(self) -> list[str]:
        names = [name[len(self._prefix) :] for name in self._model._parameters.names() if name.startswith(self._prefix)]
        return list(dict.fromkeys(name.partition(".")[0] for name in names))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names():
            raise AttributeError(f"{self!r} has no {name!r}")
        return part(self._model, self._prefix + name)

    def __getitem__(self, index: int) -> Any:
        numbers = [int(name) for name in self._names() if name.isdigit()]
        return part(self._model, f"{self._prefix}{sorted(numbers)[index]}")

    def __len__(self) -> int:
        return sum(name.isdigit() for name in self._names())

    def __bool__(self) -> bool:
        return True

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names()]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._prefix.rstrip('.')!r})"


class Linear(Part):
    """A matrix, and perhaps a bias: what lm_head and the heads that classify are."""

    def __call__(self, states: Array) -> Array:
        """float32 [..., in] to [..., out], as what came in. No gradient follows it."""
        found = numpy_array(states, np.float32) @ self._model._parameters.read(self._prefix + "weight").T
        if "bias" in self._names():
            found += self._model._parameters.read(self._prefix + "bias")
        return converter(states)(found)

    @property
    def in_features(self) -> int:
        """What it reads."""
        return self._model._parameters.shape(self._prefix + "weight")[1]

    @property
    def out_features(self) -> int:
        """What it gives."""
        return self._model._parameters.shape(self._prefix + "weight")[0]


    @property
    def bias(self) -> Any:
        """The parameter, or None."""
        return self._model._parameters.get(self._prefix + "bias") if "bias" in self._names() else None


class RMSNorm(Part):
    """A norm over the last dimension: what stands before attention, before the MLP and behind the layers."""

    def __call__(self, states: Array) -> Array:
        """float32 [..., C] to the same shape, as what came in. No gradient follows it."""
        values = numpy_array(states, np.float32)
        squares = np.mean(np.square(values), axis=-1, keepdims=True)
        scale = self._model._parameters.read(self._prefix + "weight")
        return converter(states)(scale * (values / np.sqrt(squares + np.float32(self.variance_epsilon))))

    @property
    def variance_epsilon(self) -> float:
        """What is added to the mean of squares."""
        return float(self._model.config.rms_norm_eps)  # type: ignore[attr-defined]


class Embedding(Part):
    """The embeddings of a model: looks ids up; `weight` is the parameter [V, C]."""

    def __call__(self, input_ids: Array) -> Array:
        """ids int64 [...] to float32 [..., C], as what came in. No gradient follows it."""
        return converter(input_ids)(self._model._parameters.read(self._prefix + "weight")[numpy_array(input_ids)])

    @property
    def num_embeddings(self) -> int:
        """V."""
        return self._model._parameters.shape(self._prefix + "weight")[0]

    @property
    def embedding_dim(self) -> int:
        """C."""
        return self._model._parameters.shape(self._prefix + "weight")[1]


def part(model: PreTrainedModel, name: str) -> Any:
    """The parameter `name`, or the part whose parameters' names begin with it."""
    names = model._parameters.names()
    if name in names:
        return model._parameters.get(name)
    if not any(each.startswith(name + ".") for each in names):
        raise AttributeError(f"{type(model).__name__} has no {name!r}")
    if name.endswith("embed_tokens"):
        return Embedding(model, name + ".")
    shape = model._parameters.shape(name + ".weight") if name + ".weight" in names else ()
    if name.rpartition(".")[2] in _NORMS:
        return RMSNorm(model, name + ".")
    return (Linear if len(shape) == 2 else Part)(model, name + ".")


class Layers(Part):
    """The layers of a model that has a head: runs without it."""

    def __call__(self, input_ids: Array | None = None, **kwargs: Any) -> Any:
        """As the base model's forward: BaseModelOutputWithPast, or a tuple with return_dict=False."""
        return self._model._run_layers(input_ids, **kwargs)

    forward = __call__

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._model.config

    def get_input_embeddings(self) -> Embedding:
        """The model's embeddings."""
        return self._model.get_input_embeddings()
