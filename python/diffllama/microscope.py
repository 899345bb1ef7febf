"""Looking inside: what a model's attention did on a text."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arrays import numpy_array

if TYPE_CHECKING:
    from .modeling_utils import PreTrainedModel
    from .tokenization import PreTrainedTokenizer


class AttentionReport:
    """Maps of both members of each pair, lambda, their difference, and what is measured of them.

    In a notebook it is the page that `diffllama attention` writes.
    """

    def __init__(self, core: _core.AttentionReport) -> None:
        self._core = core
        self._tensors = core.tensors()

    @property
    def measures(self) -> dict[str, Any]:
        """Measures of every layer and head, as `diffllama attention --json` has them."""
        found: dict[str, Any] = json.loads(self._core.json(5))
        return found

    def _map(self, layer: int, head: int, name: str) -> np.ndarray[Any, Any]:
        key = f"layers.{layer}.heads.{head}.{name}"
        if key not in self._tensors:
            raise _core.InvalidArgument(f"{name}: expected a layer and head whose maps were kept, got {layer}, {head}")
        values: np.ndarray[Any, Any] = self._tensors[key]
        return values

    def first(self, layer: int, head: int) -> np.ndarray[Any, Any]:
        """A1 float32 [T, T]: a row for each token that reads, a column for each that is read."""
        return self._map(layer, head, "first")

    def second(self, layer: int, head: int) -> np.ndarray[Any, Any]:
        """A2 float32 [T, T]. Raises InvalidArgument for a Llama, which has none."""
        return self._map(layer, head, "second")

    def difference(self, layer: int, head: int) -> np.ndarray[Any, Any]:
        """A1 - lambda A2 float32 [T, T], what multiplies the values."""
        return self._map(layer, head, "difference")

    def lambdas(self, layer: int, head: int) -> np.ndarray[Any, Any]:
        """lambda float32 [T] of each token; all equal but in DIFF V2."""
        return self._map(layer, head, "lambda")

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """All that was kept: layers.L.heads.P.first, .second, .difference, .lambda, and input_ids."""
        return dict(self._tensors)

    def to_html(self) -> str:
        """A page for a browser: one file, no network."""
        return self._core.html()

    def to_png(self, layer: int, head: int) -> bytes:
        """An image of A1, A2 and their difference, side by side."""
        return self._core.png(layer, head)

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.to_html(), quote=True)}" '
            'style="width:100%;height:40em;border:1px solid #888"></iframe>'
        )


def attention_report(
    model: PreTrainedModel,
    text: Any,
    tokenizer: PreTrainedTokenizer | None = None,
    *,
    layer: int | None = None,
    head: int | None = None,
    answer: tuple[int, int] | None = None,
    keep_maps: bool = True,
) -> AttentionReport:
    """Runs the model once and looks into its attention.

    text: a text (with a tokenizer), or ids [T] or [1, T]. layer, head: whose maps are kept, of all
    where they are None; a head is a pair of maps. answer: tokens [begin, end) whose share of the
    attention is measured. Raises InvalidArgument.
    """
    if isinstance(text, str):
        if tokenizer is None:
            raise _core.InvalidArgument("text: expected a tokenizer with a text, got none")
        ids = list(tokenizer(text)["input_ids"])
    else:
        ids = numpy_array(text, np.int64).reshape(-1).tolist()
    core = _core.attention_report(
        model.engine, ids, None if tokenizer is None else tokenizer.engine, layer, head, answer, keep_maps
    )
    return AttentionReport(core)


def lambdas(model: PreTrainedModel) -> np.ndarray[Any, Any]:
    """lambda of each layer of a DiffLlama, float32 [L]: exp(q1.k1) - exp(q2.k2) + lambda_init.

    Raises InvalidArgument for a model whose layers have no lambda vectors.
    """
    parameters = {name.split("layers.", 1)[1]: each for name, each in model.named_parameters() if "layers." in name}
    count = 1 + max(int(name.split(".", 1)[0]) for name in parameters)
    found = []
    for i in range(count):
        names = [f"{i}.self_attn.lambda_{part}" for part in ("q1", "k1", "q2", "k2")]
        if any(name not in parameters for name in names):
            raise _core.InvalidArgument("lambdas: expected a model with lambda vectors in its layers, as DiffLlama has")
        q1, k1, q2, k2 = (parameters[name].data.reshape(-1) for name in names)
        found.append(np.exp(q1 @ k1) - np.exp(q2 @ k2) + 0.8 - 0.6 * np.exp(-0.3 * i))
    return np.array(found, np.float32)
