"""A tool's JSON schema, of a Python function: its name, type hints and docstring."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from . import _core

_TYPES: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "boolean", list: "array", dict: "object"}


def tool_schema(tool: Any) -> Any:
    """What a chat template gets for a tool: a dictionary as it is, or a function's schema.

    The docstring says what the function does, and under "Args:" what each argument is
    ("name: text", choices as "(choices: [...])"); type hints say their types. Raises InvalidArgument
    where a hint or a text is absent.
    """
    if isinstance(tool, dict):
        return tool
    if not callable(tool):
        raise _core.InvalidArgument(f"tools: expected JSON schemas and functions, got {type(tool).__name__}")
    name = getattr(tool, "__name__", type(tool).__name__)
    about, arguments, returned = _texts(tool, name)
    schema = _parameters(tool, name)
    for argument, parameter in schema["properties"].items():
        if argument not in arguments:
            raise _core.InvalidArgument(f"tools: {name}: expected a text of the argument {argument} in the docstring, got none")
        text = arguments[argument]
        if found := re.search(r"\(choices:\s*(\[.*?\])\)\s*$", text, re.DOTALL):
            import json

            parameter["enum"] = [each.strip() for each in json.loads(found[1])]
            text = text[: found.start()].strip()
        parameter["description"] = text
    function: dict[str, Any] = {"name": name, "description": about, "parameters": schema}
    hints = get_type_hints(tool)
    if "return" in hints:
        function["return"] = _type(hints["return"])
        if returned:
            function["return"]["description"] = returned
    return {"type": "function", "function": function}


def _texts(tool: Callable[..., Any], name: str) -> tuple[str, dict[str, str], str]:
    text = inspect.getdoc(tool)
    if not text:
        raise _core.InvalidArgument(f"tools: {name}: expected a docstring, got none")
    about, *sections = re.split(r"^(Args|Returns|Raises):[ \t]*\n", text, flags=re.MULTILINE)
    named = dict(zip(sections[::2], sections[1::2]))
    arguments = {}
    for found in re.finditer(r"^ {1,8}(\w+)[^:\n]*:\s*(.*(?:\n {5,}(?!\w+\s*(?:\([^)]*\))?:\s).*)*)", named.get("Args", ""), re.MULTILINE):
        arguments[found[1]] = re.sub(r"\s+", " ", found[2]).strip()
    return about.strip(), arguments, re.sub(r"\s+", " ", named.get("Returns", "")).strip()


def _parameters(tool: Callable[..., Any], name: str) -> dict[str, Any]:
    hints = get_type_hints(tool)
    properties, required = {}, []
    for argument, parameter in inspect.signature(tool).parameters.items():
        if argument not in hints:
            raise _core.InvalidArgument(f"tools: {name}: expected a type hint of the argument {argument}, got none")
        properties[argument] = _type(hints[argument])
        if parameter.default is inspect.Parameter.empty:
            required.append(argument)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


def _type(hint: Any) -> dict[str, Any]:
    """The JSON schema of a type hint."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if hint is type(None):
        return {"type": "null"}
    if origin in (Union, types.UnionType):
        kinds = [_type(each) for each in args if each is not type(None)]
        if len(kinds) == 1:
            schema = kinds[0]
        elif all(set(each) == {"type"} and isinstance(each["type"], str) for each in kinds):
            schema = {"type": sorted(each["type"] for each in kinds)}
        else:
            schema = {"anyOf": kinds}
        return {**schema, "nullable": True} if type(None) in args else schema
    if origin is Literal:
        return {**_type(type(args[0])), "enum": list(args)}
    if origin in (list, tuple) or hint in (list, tuple):
        if origin is list:
            return {"type": "array", "items": _type(args[0])}
        return {"type": "array", "prefixItems": [_type(each) for each in args]} if args else {"type": "array"}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(args[1])}
    return {"type": _TYPES.get(hint, "object")}
