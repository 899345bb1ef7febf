"""Scripts of what transformers documents, with the import changed: the same numbers and ids."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from script_names import NAMES

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((HERE / "golden" / "scripts.json").read_text())
ARRAYS = np.load(HERE / "golden" / "scripts.npz")
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.parametrize("tensors", ["np", pytest.param("pt", marks=pytest.mark.skipif(not HAS_TORCH, reason="no torch"))])
@pytest.mark.parametrize("path", sorted((HERE / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_script(path: Path, tensors: str) -> None:
    text = path.read_text().replace("from transformers import", "from diffllama import")
    if "import torch" in text:
        pytest.importorskip("torch")
    names: dict[str, Any] = dict(NAMES)
    exec(compile(text.replace('"pt"', f'"{tensors}"'), str(path), "exec"), names)
    results = names["results"]
    assert {f"{path.stem}/{key}" for key in results} == {key for key in EXPECTED if key.startswith(path.stem + "/")}
    for key, value in results.items():
        name = f"{path.stem}/{key}"
        if name not in ARRAYS:
            if key in ("score", "scores", "losses"):
                assert np.allclose(value, EXPECTED[name], rtol=2e-5, atol=2e-5)
            else:
                assert value == EXPECTED[name], key
            continue
        if tensors == "pt" and key != "features":
            assert type(value).__module__.startswith("torch"), key
        found = np.asarray(value.detach() if hasattr(value, "detach") else value)
        shape, norm = EXPECTED[name]
        assert list(found.shape) == shape, key
        tolerance = 1e-4 if key.startswith("gradient") else 2e-5
        if found.dtype == np.int64:
            assert np.array_equal(found.reshape(-1)[:4096], ARRAYS[name]), key
        else:
            assert_close(found.reshape(-1)[:4096], ARRAYS[name], tolerance)
        assert abs(np.linalg.norm(found.astype(np.float64)) - norm) <= tolerance * norm, key
