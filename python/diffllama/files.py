"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from . import _core


def write_text(path: Path, text: str) -> None:
    """Writes a file, in a directory which is made where it is not there. Raises IoError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True) if path.parent.is_dir() else None
        raise _core.IoError(f"{path}: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """The text of a file. Raises IoError, and FormatError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _core.IoError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _core.FormatError(f"{path}: expected UTF-8, got other bytes") from error
