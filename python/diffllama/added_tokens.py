"""Tokens that a caller adds to a tokenizer, and what its files say of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from . import _core


@dataclass(frozen=True)
class AddedToken:
    """A token beside the vocabulary's own, which is found before a text is cut.

    single_word: only where no word goes on. lstrip, rstrip: takes the white space before or behind
    it along. normalized: is found in the normalized text (None: unless it is special). special: a
    control token, which skip_special_tokens leaves out.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = False

    @staticmethod
    def of(value: Any, special: bool = False) -> AddedToken:
        """Of a str, an AddedToken (of the tokenizers library too) or its dictionary."""
        if isinstance(value, str):
            return AddedToken(value, normalized=not special, special=special)
        values = value if isinstance(value, dict) else {
            name: getattr(value, name, None) for name in ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
        }
        if not isinstance(values.get("content"), str):
            raise _core.InvalidArgument(f"token: expected str or AddedToken, got {type(value).__name__}")
        is_special = bool(values.get("special")) or special
        normalized = values.get("normalized")
        return AddedToken(
            str(values["content"]), bool(values.get("single_word")), bool(values.get("lstrip")), bool(values.get("rstrip")),
            (not is_special) if normalized is None else bool(normalized), is_special,
        )

    def __str__(self) -> str:
        return self.content


def added_to_json(tokenizer_json: bytes, tokens: dict[int, AddedToken]) -> bytes:
    """A tokenizer.json with these tokens by their ids."""
    document = json.loads(tokenizer_json)
    added = {int(each["id"]): each for each in document.get("added_tokens") or []}
    added.update({number: {"id": number, **asdict(token)} for number, token in tokens.items()})
    document["added_tokens"] = [added[number] for number in sorted(added)]
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def added_to_settings(tokenizer_config: bytes, tokens: dict[int, AddedToken]) -> bytes:
    """A tokenizer_config.json with these tokens, for a tokenizer.model."""
    settings = json.loads(tokenizer_config)
    decoder = settings.setdefault("added_tokens_decoder", {})
    decoder.update({str(number): asdict(token) for number, token in tokens.items()})
    return (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()


def template_processor(before: list[tuple[str, int]], behind: list[tuple[str, int]]) -> dict[str, Any]:
    """The post-processor of tokenizer.json that puts these tokens and ids around each text."""
    def around(name: str, type_id: int) -> list[dict[str, Any]]:
        first, last = (
            [{"SpecialToken": {"id": token, "type_id": type_id}} for token, _ in tokens] for tokens in (before, behind)
        )
        return [*first, {"Sequence": {"id": name, "type_id": type_id}}, *last]

    special = {token: {"id": token, "ids": [number], "tokens": [token]} for token, number in (*before, *behind)}
    return {"type": "TemplateProcessing", "single": around("A", 0), "pair": [*around("A", 0), *around("B", 1)],
            "special_tokens": special}
