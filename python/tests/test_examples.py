"""The examples of the documents, as they stand there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

EXPECTED = {
    "generate.py": "HAMLET:\nI am a king, and I will not be\nAgainst the king.",
    "batch.py": "of the day of the",
    "engine.py": "I am a king, and I will not be\nAgainst the\n to the end of the earth",
}


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "python").glob("*.py")), ids=lambda path: path.name)
def test_example(path: Path) -> None:
    result = subprocess.run([sys.executable, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert EXPECTED[path.name] in result.stdout
