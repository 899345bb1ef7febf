"""What the tests share: the source tree, its goldens, and the model that ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import diffllama

ROOT = Path(__file__).resolve().parents[2]
FORWARD = ROOT / "tests" / "golden" / "forward"
_TYPES = {"F32": np.float32, "I64": np.int64, "BOOL": np.bool_, "F64": np.float64, "I32": np.int32}


def load_safetensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a file in the types that the goldens have."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] in _TYPES:
            begin, end = entry["data_offsets"]
            values = np.frombuffer(data[8 + size + begin : 8 + size + end], _TYPES[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def load_case(model: str, case: str) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """inputs, outputs and gradients of a golden case by their names."""
    parts: dict[str, dict[str, Any]] = {"inputs": {}, "outputs": {}, "gradients": {}}
    for name, tensor in load_safetensors(FORWARD / model / "cases.safetensors").items():
        own_case, part, key = name.split("/", 2)
        if own_case == case:
            parts[part][key] = tensor
    assert parts["inputs"], f"{model} has no case {case}"
    return parts


def assert_close(found: Any, expected: Any, tolerance: float = 2e-5, floor: float = 1e-30) -> None:
    """Largest difference against the largest value, or `floor`; NaN fails where none is expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if np.isnan(expected).any():  # the mean of no labels
        assert np.array_equal(found, expected, equal_nan=True)
        return
    difference = np.abs(found - expected).max(initial=0)
    bound = tolerance * max(np.abs(expected).max(initial=0), floor)
    assert difference <= bound, f"difference {difference}, allowed {bound}"


@pytest.fixture(scope="session")
def tokenizer() -> diffllama.PreTrainedTokenizer:
    return diffllama.AutoTokenizer.from_pretrained(ROOT / "models" / "diffllama-tiny")


@pytest.fixture(scope="session")
def model() -> Any:
    return diffllama.AutoModelForCausalLM.from_pretrained(ROOT / "models" / "diffllama-tiny", dtype="float32", threads=2)
