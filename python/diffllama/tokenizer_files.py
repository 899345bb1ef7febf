"""The files that a tokenizer is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import _core, hub
from .chat_templates import TEMPLATE_FOLDERS

# What makes a tokenizer; save_pretrained and pickling take those that are there.
TOKENIZER_FILES = (
    "tokenizer.json", "tiktoken.model", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "config.json",
)


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises IoError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _core.IoError(f"{path}: {error.strerror or error}") from error


def read_json(directory: Path | None, name: str) -> dict[str, Any]:
    """The object of a JSON file in a directory; empty where there is none."""
    if directory is None or not (directory / name).is_file():
        return {}
    return hub.read_json(directory / name)


def json_bytes(document: dict[str, Any]) -> bytes:
    """A document as files hold it."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def read_files(directory: Path) -> dict[str, bytes]:
    """Contents of a tokenizer's files by their names."""
    files = [directory / name for name in TOKENIZER_FILES]
    files += [file for folder in TEMPLATE_FOLDERS for file in sorted((directory / folder).glob("*.jinja"))]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files if file.is_file()}


def write_files(directory: Path, files: dict[str, bytes]) -> list[Path]:
    """Writes them into a directory; returns them."""
    written = []
    for name, content in files.items():
        file = directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        written.append(file)
    return written
