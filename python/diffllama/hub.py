"""Where a model lies: a directory, a .gguf file, or a snapshot in Hugging Face's cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from . import _core


# Arguments of every from_pretrained that say how files are fetched: they change nothing where nothing is fetched.
FETCHING = frozenset({
    "code_revision", "force_download", "local_files_only", "proxies", "resume_download", "token", "trust_remote_code",
    "use_auth_token",
})


def drop_arguments(kwargs: dict[str, Any], *more: str) -> None:
    """Takes FETCHING, and `more` names, out of kwargs."""
    for name in (*FETCHING, *more):
        kwargs.pop(name, None)


def default_model() -> Path:
    """The small model that ships with the package: $DIFFLLAMA_MODEL where it is set."""
    given = os.environ.get("DIFFLLAMA_MODEL")
    return Path(given) if given else Path(__file__).parent / "models" / "diffllama-tiny"


def cache_directory(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Hugging Face's cache: `cache_dir`, $HF_HUB_CACHE (older: $HUGGINGFACE_HUB_CACHE), $HF_HOME/hub, or
    ~/.cache/huggingface/hub."""
    if cache_dir is not None:
        return Path(cache_dir)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if name in os.environ:
            return Path(os.environ[name])
    home = os.environ.get("HF_HOME")
    if home is None:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "huggingface")
    return Path(home) / "hub"


def find_model(
    name: str | os.PathLike[str] | None,
    *,
    revision: str | None = "main",
    cache_dir: str | os.PathLike[str] | None = None,
    subfolder: str | None = "",
    gguf_file: str | None = None,
) -> Path:
    """The directory or .gguf file that `name` means; nothing is ever downloaded.

    name: a path, or "org/model" of a snapshot in the cache; None: the model that ships.
    revision: branch, tag or commit of that snapshot.
    subfolder: a folder in it. gguf_file: a file in it.
    Raises IoError where nothing is there.
    """
    if name is not None and not isinstance(name, (str, os.PathLike)):
        raise _core.InvalidArgument(f"model: expected a path or a name, got {type(name).__name__}")
    path = default_model() if name is None else Path(name)
    revision = "main" if revision is None else revision
    if path.exists() and revision != "main":
        raise _core.InvalidArgument(f"revision: expected main for {path}, which is no name in the cache, got {revision}")
    if not path.exists():
        path = _snapshot(str(name), revision, cache_directory(cache_dir))
    path = path / subfolder if subfolder else path
    path = path / gguf_file if gguf_file else path
    if not path.exists():
        raise _core.IoError(f"{path}: expected a model, got no such file or directory")
    return path


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises FormatError, with the file's name, where there is none."""
    try:
        found = json.loads(file.read_text())
    except ValueError as error:  # of JSON, or of UTF-8
        raise _core.FormatError(f"{file}: expected JSON, got {error}") from None
    except RecursionError:
        raise _core.FormatError(f"{file}: expected JSON, got one that is nested too deep") from None
    if not isinstance(found, dict):
        raise _core.FormatError(f"{file}: expected a JSON object, got {type(found).__name__}")
    return found


def _snapshot(name: str, revision: str, cache: Path) -> Path:
    repository = cache / ("models--" + name.replace("/", "--"))
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = repository / "snapshots" / commit
    if not snapshot.is_dir():
        raise _core.IoError(
            f"{name}: expected a directory, a .gguf file, or a model whose revision {revision} is in {cache}, "
            "got none of them (nothing is downloaded)"
        )
    return snapshot
