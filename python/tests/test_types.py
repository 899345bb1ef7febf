"""The stub of the extension module is what the module has; mypy --strict finds nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest
from conftest import ROOT

import diffllama
from diffllama import _core

PACKAGE = ROOT / "python" / "diffllama"


def test_the_stub_names_what_the_module_has() -> None:
    stub: dict[str, set[str]] = {}
    for node in ast.parse((PACKAGE / "_core.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            stub[node.name] = set()
        elif isinstance(node, ast.ClassDef):
            names = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            names += [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]  # type: ignore[union-attr]
            names += [each.targets[0].id for each in node.body if isinstance(each, ast.Assign)]  # type: ignore[attr-defined]
            stub[node.name] = {name for name in names if not name.startswith("__")}
    module = {name for name in dir(_core) if not name.startswith("_")}
    assert set(stub) == module
    for name, methods in stub.items():
        cls = getattr(_core, name)
        if isinstance(cls, type) and issubclass(cls, Enum):
            assert methods == {each.name for each in cls}, name
        elif isinstance(cls, type) and not issubclass(cls, Exception):
            assert methods == {each for each in vars(cls) if not each.startswith("_")}, name


def test_every_public_name_has_a_text() -> None:
    for name in diffllama.__all__:
        assert getattr(diffllama, name).__doc__, name


def test_mypy_strict() -> None:
    pytest.importorskip("mypy")
    folder = Path(diffllama.__file__).parent.parent
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), "-p", "diffllama"],
        cwd=folder, capture_output=True, text=True, env={"MYPYPATH": str(folder), "PATH": ""},
    )
    assert result.returncode == 0, result.stdout + result.stderr
