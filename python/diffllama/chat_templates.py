"""Conversations to text and ids, by a model's chat template."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _core
from .batch_encoding import BatchEncoding
from .hub import read_json
from .tool_schema import tool_schema

TEMPLATE_FOLDERS = ("chat_templates", "additional_chat_templates")

# Marks of where an assistant's text begins and ends while a template runs; no text holds them.
_BEGIN, _END = "\ue0f1\ue0f2\ue0f3", "\ue0f3\ue0f2\ue0f1"


def read_templates(directory: Path | None) -> str | dict[str, str] | None:
    """A model's template, or its templates by name; None where it has none."""
    if directory is None:
        return None
    found: dict[str, str] = {}
    settings = directory / "tokenizer_config.json"
    given = read_json(settings).get("chat_template") if settings.is_file() else None
    if isinstance(given, list):
        found.update({each["name"]: each["template"] for each in given})
    elif given is not None:
        found["default"] = given
    if (directory / "chat_template.jinja").is_file():
        found["default"] = (directory / "chat_template.jinja").read_text()
    for folder in TEMPLATE_FOLDERS:
        for file in sorted((directory / folder).glob("*.jinja")):
            found[file.stem] = file.read_text()
    if not found:
        return None
    return found["default"] if set(found) == {"default"} else found


def write_templates(directory: Path, template: str | dict[str, str] | None) -> list[Path]:
    """chat_template.jinja, and the others of several in chat_templates/. Returns the files."""
    written = []
    named = {"default": template} if isinstance(template, str) else dict(template or {})
    for name, source in named.items():
        if name != Path(name).name or name in ("", ".", ".."):
            raise _core.InvalidArgument(f"chat_template: expected names that are no paths, got {name!r}")
        file = directory / ("chat_template.jinja" if name == "default" else f"chat_templates/{name}.jinja")
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        written.append(file)
    return written


class ChatMixin:
    """apply_chat_template, for tokenizers."""

    engine: _core.Tokenizer
    name_or_path: str
    special_tokens_map: dict[str, str]
    _directory: Path | None
    _template_path: Path
    _templates: dict[Any, _core.ChatTemplate | None]

    @property
    def chat_template(self) -> Any:
        """The model's chat template in Jinja, a dictionary of several by their names, or None; set
        it to use another."""
        given = self.__dict__.get("_chat_template")
        return read_templates(self._directory) if given is None else given

    @chat_template.setter
    def chat_template(self, template: str | dict[str, str] | None) -> None:
        object.__setattr__(self, "_chat_template", template)

    def get_chat_template(self, chat_template: str | None = None, tools: list[Any] | None = None) -> str:
        """The template that apply_chat_template takes: a source, one of several by its name,
        "tool_use" of them where there are tools, else "default". Raises ValueError without one."""
        own = self.chat_template
        if isinstance(own, dict):
            if chat_template in own:
                return str(own[chat_template])
            if chat_template is None:
                name = "tool_use" if tools is not None and "tool_use" in own else "default"
                if name not in own:
                    raise ValueError(f"chat_template: expected the name of one of {', '.join(sorted(own))}, got none")
                return str(own[name])
        if chat_template is None and own is None:
            raise ValueError(f"{self.name_or_path}: expected a chat template, got none; set chat_template")
        return str(own if chat_template is None else chat_template)

    def _template(self, source: str | None, tools: list[Any] | None) -> _core.ChatTemplate:
        if source is None and self._directory is None and self.__dict__.get("_chat_template") is None:
            if None not in self._templates:  # of a .gguf file
                self._templates[None] = _core.ChatTemplate.from_pretrained(self._template_path)
            found = self._templates[None]
            if found is None:
                raise ValueError(f"{self.name_or_path}: expected a chat template, got none; set chat_template")
            return found
        text = self.get_chat_template(source, tools)
        key = (text, tuple(self.special_tokens_map.items()))
        if key not in self._templates:
            self._templates[key] = _core.ChatTemplate({"default": text}, self.special_tokens_map)
        found = self._templates[key]
        assert found is not None
        return found

    def apply_chat_template(
        self,
        conversation: Any,
        tools: list[Any] | None = None,
        documents: list[dict[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A conversation, or a list of them, as the model's template writes it.

        conversation: list of {"role": ..., "content": ...}; keys whose value is None are left out.
        tools: JSON schemas, or functions with type hints and a docstring. chat_template: in place of the model's, or the name of one of
        several. add_generation_prompt: ends where the assistant's turn begins.
        continue_final_message: ends with the last message's text, or another key's by its name. tokenize: ids (a BatchEncoding,
        with return_dict=False ids alone), else text. sanitize_control_tokens: control tokens inside
        the conversation stay plain text. return_assistant_tokens_mask: `assistant_masks`, 1 for
        tokens between {% generation %} and {% endgeneration %} of the template. kwargs: variables of
        the template. Raises ValueError for no message at all, FormatError for a template that
        refuses the conversation.
        """
        if continue_final_message and add_generation_prompt:
            raise ValueError("continue_final_message: expected not with add_generation_prompt")
        if return_assistant_tokens_mask and (continue_final_message or sanitize_control_tokens or not (tokenize and return_dict)):
            raise ValueError(
                "return_assistant_tokens_mask: expected tokenize and return_dict, and neither continue_final_message nor "
                "sanitize_control_tokens"
            )
        if isinstance(conversation, (list, tuple)) and len(conversation) == 0:
            raise ValueError("conversation: expected at least one message, got none")
        conversation = getattr(conversation, "messages", conversation)
        first = conversation[0] if isinstance(conversation, (list, tuple)) else conversation
        batched = isinstance(first, (list, tuple))
        schemas = None if tools is None else [tool_schema(tool) for tool in tools]
        template = self._template(chat_template, tools)
        marked = self._template(_mark_generation(self.get_chat_template(chat_template, tools)), None) if (
            return_assistant_tokens_mask) else None
        rendered, ids, masks = [], [], []
        for given in conversation if batched else [conversation]:
            messages = _messages(given)
            field = continue_final_message if isinstance(continue_final_message, str) else "content"
            if continue_final_message:
                messages = _mark_end(messages, field)
            variables = {**kwargs, "messages": messages, "add_generation_prompt": add_generation_prompt}
            variables.update({k: v for k, v in (("tools", schemas), ("documents", documents)) if v is not None})
            chat = template.apply(_json(variables))
            text = _up_to_mark(chat.text) if continue_final_message else chat.text
            rendered.append(text)
            if not tokenize:
                continue
            if marked is not None:
                text, spans = _spans(marked.apply(_json(variables)).text)
                encoded = self.engine.encode(text, None, False)
                ids.append(encoded[0])
                masks.append([int(any(begin < e and end > b for b, e in spans)) for begin, end in encoded[1]])
            elif continue_final_message:
                ids.append(self.engine.encode(text, None, False)[0])
            else:
                ids.append(self.engine.encode_chat(chat, not sanitize_control_tokens))
        if not tokenize:
            return rendered if batched else rendered[0]
        return self._chat_encoding(
            ids, masks, batched, padding, truncation, max_length, return_tensors, return_dict, tokenizer_kwargs or {}
        )

    def _chat_encoding(
        self, ids: list[list[int]], masks: list[list[int]], batched: bool, padding: bool | str, truncation: bool | str,
        max_length: int | None, return_tensors: str | None, return_dict: bool, tokenizer_kwargs: dict[str, Any],
    ) -> Any:
        tokenizer: Any = self
        strategy, limit = tokenizer._truncation(truncation, max_length, padding)
        if strategy is not None:
            left = tokenizer.truncation_side == "left"
            ids = [row[-limit:] if left else row[:limit] for row in ids]
            masks = [row[-limit:] if left else row[:limit] for row in masks]
        data: dict[str, Any] = {"input_ids": ids}
        out = tokenizer.pad(data, padding, max_length, return_tensors=return_tensors, **tokenizer_kwargs)
        if masks:
            side = tokenizer_kwargs.get("padding_side") or tokenizer.padding_side
            width = max(len(row) for row in out["input_ids"])
            if padding is not False:
                masks = [[0] * (width - len(m)) + m if side == "left" else m + [0] * (width - len(m)) for m in masks]
            out["assistant_masks"] = masks
            out = out.convert_to_tensors(return_tensors)
        if not batched and return_tensors is None:
            out = BatchEncoding({name: values[0] for name, values in out.items()}, out.encodings)
        return out if return_dict else out["input_ids"]


def _messages(given: Any) -> Any:
    """Messages as dictionaries, without keys whose value is None: templates would write "None"."""
    def plain(message: Any) -> Any:
        if dataclasses.is_dataclass(message) and not isinstance(message, type):
            message = dataclasses.asdict(message)
        dump = getattr(message, "model_dump", None)
        message = dump() if dump is not None else message
        if isinstance(message, Mapping):
            return {name: value for name, value in message.items() if value is not None}
        return message

    given = getattr(given, "messages", given)
    return [plain(message) for message in given] if isinstance(given, (list, tuple)) else given


def _mark_end(messages: list[Any], field: str) -> list[Any]:
    """The messages with a mark, and a space, behind the text of the last one that is continued."""
    last = messages[-1] if messages and isinstance(messages[-1], dict) else {}
    text = last.get(field)
    if isinstance(text, (list, tuple)):  # of parts: the last one that is a text
        place = next((i for i in reversed(range(len(text))) if isinstance(text[i], dict) and "text" in text[i]), None)
        if place is not None:
            part = {**text[place], "text": text[place]["text"] + _END + " "}
            return [*messages[:-1], {**last, field: [*text[:place], part, *text[place + 1 :]]}]
    elif isinstance(text, str):
        return [*messages[:-1], {**last, field: text + _END + " "}]
    raise ValueError(f"continue_final_message: expected a text in {field} of the last message, got {type(text).__name__}")


def _up_to_mark(text: str) -> str:
    """What stands before the mark; where the template took the space behind it off, before the spaces too."""
    place = text.rfind(_END)
    if place < 0:
        raise ValueError("continue_final_message: expected a template that writes the last message, got one that does not")
    kept = text[:place]
    return kept if text[place + len(_END) :].startswith(" ") else kept.rstrip()


def _json(variables: dict[str, Any]) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return dict(value)
        raise _core.InvalidArgument(f"conversation: expected what JSON can say, got {type(value).__name__}")

    try:
        return json.dumps(variables, default=plain)
    except ValueError as error:
        raise _core.InvalidArgument(f"conversation: expected what JSON can say, got {error}") from None


def _mark_generation(source: str) -> str:
    """The template with marks inside {% generation %}, where jinja2 keeps all white space as it was."""
    if not re.search(r"\{%-?\+?\s*generation\s*[-+]?%\}", source):
        raise ValueError("return_assistant_tokens_mask: expected a template with {% generation %}, got none")

    def begin(tag: re.Match[str]) -> str:
        # A line's end behind a tag is not written, and "-" takes all white space behind it.
        return tag[1] + "{{ '" + _BEGIN + "' " + ("-}}" if tag[2] else "}}")

    def end(tag: re.Match[str]) -> str:
        return "{{" + ("- '" if tag[2] else " '") + _END + "' }}" + tag[1].lstrip(" \t")

    source = re.sub(r"(\{%[-+]?\s*generation\s*(-)?%\})(?:\n)?", begin, source)
    return re.sub(r"(?:(?<=\n)[ \t]+(?=\{%))?(\{%(-)?\s*endgeneration\s*[-+]?%\})", end, source)


def _spans(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without marks, and where they were: characters from and to."""
    text, spans, begin = "", [], 0
    for piece in re.split(f"({_BEGIN}|{_END})", marked):
        if piece == _BEGIN:
            begin = len(text)
        elif piece == _END:
            spans.append((begin, len(text)))
        else:
            text += piece
    return text, spans
