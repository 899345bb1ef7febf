"""Attention, looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import diffllama


def test_maps_are_those_of_forward(model: Any, tokenizer: Any) -> None:
    report = diffllama.attention_report(model, "To be, or not to be", tokenizer)
    ids = tokenizer("To be, or not to be", return_tensors="np").input_ids
    maps = model(ids, output_attentions=True).attentions
    values = diffllama.lambdas(model)
    assert values.shape == (6,)
    for layer in (0, 5):
        assert np.array_equal(report.first(layer, 1), maps[layer][0, 1])
        assert np.array_equal(report.second(layer, 1), maps[layer][0, 5])
        assert np.allclose(report.lambdas(layer, 1), values[layer], atol=1e-6)
        expected = report.first(layer, 1) - values[layer] * report.second(layer, 1)
        assert np.allclose(report.difference(layer, 1), expected, atol=1e-6)
    assert report.to_png(0, 0).startswith(b"\x89PNG") and "<iframe" in report._repr_html_()
    assert report.measures["layers"]
    with pytest.raises(diffllama.InvalidArgument, match="expected a layer and head"):
        report.first(9, 0)
    with pytest.raises(diffllama.InvalidArgument, match="tokenizer"):
        diffllama.attention_report(model, "To be")
