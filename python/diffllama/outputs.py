"""What models return: attributes, keys and a tuple at once, as transformers' ModelOutput is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OLD_NAMES = {"cache": "past_key_values"}


class ModelOutput(dict[str, Any]):
    """The fields that are there, in order: `output.logits`, `output["logits"]`, `output[0]`.

    A field that was not asked for is None as an attribute, and absent as a key and in the tuple.
    """

    fields: tuple[str, ...] = ()

    def __init__(self, **values: Any) -> None:
        super().__init__({name: value for name, value in values.items() if value is not None})

    def __getattr__(self, name: str) -> Any:
        name = _OLD_NAMES.get(name, name)
        if name in self:
            return super().__getitem__(name)
        if name in self.fields:
            return None
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[_OLD_NAMES.get(name, name)] = value

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            return super().__getitem__(_OLD_NAMES.get(key, key))
        return self.to_tuple()[key]

    def __reduce__(self) -> Any:
        return (_rebuild, (type(self), dict(self)))

    def _fixed(self, *args: Any, **kwargs: Any) -> Any:
        """Raises TypeError: fields are not taken away, as in transformers."""
        raise TypeError(f"{type(self).__name__}: expected its fields to stay")

    __delitem__ = __delattr__ = pop = popitem = clear = setdefault = update = _fixed

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are there, in order."""
        return tuple(self.values())

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={value!r}" for name, value in self.items())
        return f"{type(self).__name__}({body})"


def _rebuild(cls: type[ModelOutput], values: dict[str, Any]) -> ModelOutput:
    return cls(**values)


class BaseModelOutputWithPast(ModelOutput):
    """last_hidden_state float32 [B, T, C]; past_key_values; hidden_states L + 1 of [B, T, C];
    attentions L of [B, H, T, S]."""

    fields = ("last_hidden_state", "past_key_values", "hidden_states", "attentions")


class CausalLMOutputWithPast(ModelOutput):
    """loss []; logits float32 [B, T, V]; past_key_values; hidden_states; attentions."""

    fields = ("loss", "logits", "past_key_values", "hidden_states", "attentions", "gradients")


class SequenceClassifierOutputWithPast(ModelOutput):
    """loss []; logits float32 [B, num_labels]; past_key_values; hidden_states; attentions."""

    fields = ("loss", "logits", "past_key_values", "hidden_states", "attentions", "gradients")


class TokenClassifierOutput(ModelOutput):
    """loss []; logits float32 [B, T, num_labels]; hidden_states; attentions."""

    fields = ("loss", "logits", "hidden_states", "attentions", "gradients")


class QuestionAnsweringModelOutput(ModelOutput):
    """loss []; start_logits and end_logits float32 [B, T]; hidden_states; attentions."""

    fields = ("loss", "start_logits", "end_logits", "hidden_states", "attentions", "gradients")


class GenerateDecoderOnlyOutput(ModelOutput):
    """sequences int64 [N, T]; scores and logits, one [N, V] a new token; attentions and
    hidden_states, one tuple of layers a step; past_key_values."""

    fields = ("sequences", "scores", "logits", "attentions", "hidden_states", "past_key_values")


class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """sequences int64 [N, T]; sequences_scores float32 [N]; scores and logits, one [B * beams, V] a
    new token; beam_indices int32 [N, new], the row of scores that each token came from, -1 behind
    the end; attentions and hidden_states, one tuple of layers a step; past_key_values."""

    fields = (
        "sequences", "sequences_scores", "scores", "logits", "beam_indices", "attentions", "hidden_states",
        "past_key_values",
    )
