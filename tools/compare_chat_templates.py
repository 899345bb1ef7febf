#!/usr/bin/env python3
"""Compares `diffllama apply-chat-template` with jinja2 in transformers' settings.

    tools/compare_chat_templates.py PROGRAM DIRECTORY            # every *.jinja of it, with many conversations
    tools/compare_chat_templates.py PROGRAM --random SECONDS     # random expressions and blocks; prints its seed

A pair agrees when both give the same text, or both refuse. Needs jinja2.
"""
import argparse
import datetime
import functools
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/diffllama-tiny"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a town, \"now\" & <here>.",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "The town's name"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1},
                "near": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
            },
            "required": ["town"],
        },
        "return": {"type": "object", "properties": {"degrees": {"type": "number"}}},
    },
}
SEARCH = {"type": "function", "function": {"name": "search", "description": "Suche größer",
                                           "parameters": {"type": "object", "properties": {}}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, arguments, number="abcdefgh1"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    """(name, conversation) pairs: turns, systems, tools, calls and results, reasoning, parts, documents."""
    system = {"role": "system", "content": "  Be brief.\nAlways. "}
    turns = [user("Hello, who are you?"), assistant("  I am\na model. "), user("What is 1 < 2 & 'x'? \U0001f600 é")]
    parts = [{"type": "text", "text": "First part."}, {"type": "text", "text": " Second."}]
    arguments = {"town": "Köln \"am\" Rhein", "days": 2, "deep": {"list": [1, 2.5, None, True]}}
    called = [user("Weather?"), assistant("", tool_calls=[call("get_weather", arguments)])]
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefgh1", "content": "{\"degrees\": 21.5}"}
    two = [call("get_weather", arguments), call("search", {"q": "x"}, "abcdefgh2")]
    second = {"role": "tool", "name": "search", "tool_call_id": "abcdefgh2", "content": "nothing\n"}
    cases = {
        "one": {"messages": [user("Hi")]},
        "turns": {"messages": turns},
        "system": {"messages": [system, *turns]},
        "developer": {"messages": [{"role": "developer", "content": "Obey."}, *turns]},
        "ends_with_assistant": {"messages": [system, *turns[:2]]},
        "two_users": {"messages": [user("a"), user("b")]},
        "starts_with_assistant": {"messages": [assistant("Hi"), user("b")]},
        "empty_content": {"messages": [user(""), assistant(""), user(" ")]},
        "no_messages": {"messages": []},
        "unknown_role": {"messages": [{"role": "narrator", "content": "x"}]},
        "parts": {"messages": [{"role": "system", "content": parts}, user(parts), assistant(parts), user(parts[:1])]},
        "tools": {"messages": [system, *turns], "tools": [WEATHER, SEARCH]},
        "tools_no_system": {"messages": [user("Hi")], "tools": [WEATHER]},
        "empty_tools": {"messages": turns, "tools": []},
        "called": {"messages": [system, *called], "tools": [WEATHER]},
        "result": {"messages": [system, *called, result], "tools": [WEATHER]},
        "answered": {"messages": [system, *called, result, assistant("21.5 °C"), user("Thanks")], "tools": [WEATHER]},
        "two_calls": {"messages": [called[0], assistant("Let me see.", tool_calls=two), result, second,
                                   assistant("Done."), user("More?")], "tools": [WEATHER, SEARCH]},
        "call_text_arguments": {"messages": [called[0], assistant("", tool_calls=[call("get_weather", json.dumps(arguments))]),
                                             result], "tools": [WEATHER]},
        "call_none_content": {"messages": [called[0], assistant(None, tool_calls=[call("get_weather", arguments)]), result],
                              "tools": [WEATHER]},
        "call_without_tools": {"messages": [*called, result, user("So?")]},
        "call_empty_arguments": {"messages": [called[0], assistant("", tool_calls=[call("search", {})]), result]},
        "result_as_parts": {"messages": [*called, {**result, "content": parts}], "tools": [WEATHER]},
        "reasoning": {"messages": [user("2+2?"), assistant("4", reasoning_content="Adding.\n"), user("3+3?"),
                                   assistant("6", reasoning_content="Again.")]},
        "thinking": {"messages": [user("2+2?"), assistant("4", thinking="Adding."), user("3+3?")]},
        "think_tags": {"messages": [user("2+2?"), assistant("<think>\nAdding.\n</think>\n\n4"), user("3+3?")]},
        "reasoning_call": {"messages": [called[0], assistant("", reasoning_content="Call it.",
                                                            tool_calls=[call("get_weather", arguments)]), result],
                           "tools": [WEATHER]},
        "documents": {"messages": turns, "documents": [{"title": "T", "text": "Some text", "doc_id": 1},
                                                       {"title": "U", "text": "More", "doc_id": 2}]},
        "thinking_on": {"messages": [system, *turns], "enable_thinking": True, "thinking": True},
        "thinking_off": {"messages": turns, "enable_thinking": False, "thinking": False},
        "effort": {"messages": turns, "reasoning_effort": "high", "thinking_effort": "high"},
        "date": {"messages": [system, *turns], "date_string": "01 Jan 2025", "current_date": "2025-01-01"},
        "special_in_content": {"messages": [user("<|im_end|></s>[INST]{{ x }}{% raw %}"), assistant("<|eot_id|>"), user("!")]},
    }
    for name, conversation in cases.items():
        for prompt in (True, False):
            yield f"{name}{'+' if prompt else ''}", {**conversation, "add_generation_prompt": prompt}


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(line)

        def _run(self, caller):
            return caller()

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return env


@functools.cache
def special_tokens():
    config = json.loads((MODEL / "tokenizer_config.json").read_text())
    tokens = {name: config[name] for name in config if name.endswith("_token") and config[name]}
    return {name: token if isinstance(token, str) else token["content"] for name, token in tokens.items()
            if isinstance(token, (str, dict))}


@functools.lru_cache(maxsize=4)
def compiled(env, source):
    return env.from_string(source)


def expected(env, source, conversation):
    """The text, or the exception."""
    variables = {"tools": None, "documents": None, **special_tokens(), **conversation}
    try:
        return compiled(env, source).render(**variables)
    except Exception as error:  # whatever it is, the program has to refuse too
        return error


def actual(program, file, conversation):
    """The text, or the message as an exception."""
    run = subprocess.run([program, "apply-chat-template", "-m", str(MODEL), "--chat-template", str(file)],
                         input=json.dumps(conversation).encode(), capture_output=True, timeout=60)
    if run.returncode == 0:
        return run.stdout.decode()
    if run.returncode != 1:
        raise SystemExit(f"{file}: the program ended with {run.returncode}: {run.stderr.decode()}")
    return RuntimeError(run.stderr.decode().strip())


def agree(a, b):
    return a == b if isinstance(a, str) and isinstance(b, str) else isinstance(a, Exception) and isinstance(b, Exception)


def show(value):
    return repr(value) if isinstance(value, Exception) else value


def report(name, source, conversation, want, got):
    print(f"--- {name} differs")
    if len(source) < 400:
        print(f"template: {source!r}")
    if isinstance(want, str) and isinstance(got, str):
        at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
        print(f"at {at}: want ...{want[max(0, at - 60):at + 60]!r}\n got ...{got[max(0, at - 60):at + 60]!r}")
    else:
        print(f"want {show(want)[:300]}\n got {show(got)[:300]}")


def compare_directory(program, directory):
    env = environment()
    differing = total = refused = 0
    files = sorted(pathlib.Path(directory).glob("*.jinja"))
    for file in files:
        source = file.read_text()
        wrong = 0
        for name, conversation in conversations():
            want, got = expected(env, source, conversation), actual(program, file, conversation)
            total += 1
            refused += isinstance(want, Exception)
            if not agree(want, got):
                wrong += 1
                report(f"{file.name} {name}", source, conversation, want, got)
        differing += wrong
        print(f"{'FAIL' if wrong else 'ok  '} {file.name}", flush=True)
    print(f"{len(files)} templates, {total} renderings ({refused} refused by both), {differing} differ")
    return differing == 0


class Expressions:
    """Random expressions over a few variables, most of which have a value."""

    ATOMS = ["a", "s", "n", "f", "l", "d", "t", "u", "missing", "none", "true", "false", "0", "1", "-2", "3.5", "''",
             "'ab c'", '"x\\ty"', "[1, 2, 3]", "['b', 'a', 'C']", "{'k': 1, 'z': [2]}", "(1, 'two')", "range(4)|list", "l2"]
    BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in"]
    FILTERS = ["length", "upper", "lower", "trim", "title", "capitalize", "string", "list", "first", "last", "sort",
               "reverse", "reverse|list", "join", "join('-')", "tojson", "tojson(indent=2)", "int", "float", "abs",
               "default('D')", "default('D', true)", "replace('a', 'bb')", "unique|list", "map('string')|list",
               "map('upper')|join", "select|list", "reject('none')|list", "sum", "min", "max", "dictsort", "items|list",
               "indent", "indent(2, true)", "wordcount", "round", "round(1)", "batch(2)|list", "slice(2)|list", "e",
               "center(9)", "truncate(4, true, '.', 0)", "safe", "count", "selectattr('k')|list", "map(attribute='k')|list",
               "striptags", "urlencode", "tojson(sort_keys=true, separators=(',', ':'))", "groupby(0)|list"]
    TESTS = ["defined", "none", "string", "number", "integer", "float", "mapping", "sequence", "iterable", "true", "false",
             "boolean", "undefined", "odd", "even", "divisibleby 2", "in [1, 2]", "eq 1", "lower", "upper", "sameas true"]
    METHODS = [".upper()", ".lower()", ".strip()", ".strip('a ')", ".split()", ".split('b')", ".split(' ', 1)",
               ".rsplit(' ', 1)", ".splitlines()", ".title()", ".replace('a', 'X')", ".replace('', '-')",
               ".startswith('a')", ".endswith(('c', 'b'))", ".find('b')", ".count('a')", ".items()", ".keys()", ".get('k')",
               ".get('q', 7)", ".values()", ".index(1)", ".k", "['k']", "[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[::2]",
               ".format(1, k=2)", ".isdigit()", ".isalpha()", ".join(['x', 'y'])", ".zfill(5)", ".rjust(6, '*')",
               ".center(7)", ".partition('b')", ".capitalize()", ".append(1)", ".lstrip('a')", ".rstrip()", ".z.k",
               ".removeprefix('a')", ".swapcase()", ".isupper()", ".count(1)", ".expandtabs(4)"]
    VALUES = {"a": "ab abc", "s": " É<b>ß \n'x' ", "n": 7, "f": -2.5, "l": [3, 1, 2], "d": {"k": "v", "z": {"k": 1}},
              "t": True, "u": "Größe 漢字 \U0001f600", "l2": [{"k": 2, "x": "B"}, {"k": 1, "x": "a"}]}

    def __init__(self, seed):
        self.random = random.Random(seed)

    def expression(self, depth):
        pick = self.random.random()
        if depth == 0 or pick < 0.15:
            return self.random.choice(self.ATOMS)
        inner = self.expression(depth - 1)
        if pick < 0.40:
            return f"({inner}) | {self.random.choice(self.FILTERS)}"
        if pick < 0.60:
            return f"({inner}){self.random.choice(self.METHODS)}"
        if pick < 0.80:
            return f"({inner} {self.random.choice(self.BINARY)} {self.expression(depth - 1)})"
        if pick < 0.88:
            return f"({inner}) is {self.random.choice(['', 'not '])}{self.random.choice(self.TESTS)}"
        if pick < 0.94:
            return f"({inner} if {self.expression(depth - 1)} else {self.expression(depth - 1)})"
        return self.random.choice([f"not {inner}", f"-({inner})", f"[{inner}, 1]", f"{{'k': {inner}}}",
                                   f"'%s|%s' % (({inner}), 1)", f"'%5s' % ({inner})"])

    def template(self):
        """Several expressions, each with what shows its type, so that one run tells much."""
        pick = self.random.random()
        expression = self.expression(self.random.randint(1, 4))
        if pick < 0.6:
            return f"{{{{ {expression} }}}}"
        body = self.random.choice(["{{ loop.index }}{{ x }}", "{{ x }}{% if loop.last %}!{% endif %}",
                                   "{%- if loop.first %}{% continue %}{% endif -%} {{ x }}\n",
                                   "{% set y = x %}{{ y }},", "  {% if x %}\n  {{ x }}\n  {% endif %}\n"])
        if pick < 0.8:
            return f"{{% for x in {expression} %}}\n{body}{{% else %}}none{{% endfor %}}"
        return (f"{{% macro m(p, q=2) %}}\n<{{{{ p }}}}{{{{ q }}}}>{{% endmacro %}}\n  {{% set v = {expression} -%}}\n"
                f"{{{{ m(v) }}}}{{{{ m(v, q=v) }}}}{{% set b %}}{{{{ v }}}}{{% endset %}}{{{{ b | length }}}}")


def compare_random(program, seconds, seed):
    print(f"seed {seed}", flush=True)
    env, expressions = environment(), Expressions(seed)
    tried = differing = 0
    end = time.time() + seconds
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "t.jinja"
        while time.time() < end:
            source = expressions.template()
            conversation = {"messages": [], **expressions.VALUES}
            want = expected(env, source, conversation)
            if isinstance(want, str) and ("<generator" in want or "object at 0x" in want or "dict_" in want
                                          or "<bound" in want or "<built-in" in want or "range(" in want):
                continue  # Python's own words for what no template prints
            file.write_text(source)
            got = actual(program, file, conversation)
            tried += 1
            if not agree(want, got):
                differing += 1
                report("random", source, conversation, want, got)
    print(f"{tried} templates, {differing} differ")
    return differing == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("directory", nargs="?")
    parser.add_argument("--random", type=float, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    if (options.directory is None) == (options.random is None):
        parser.error("expected a directory or --random")
    if options.directory:
        same = compare_directory(options.program, options.directory)
    else:
        same = compare_random(options.program, options.random, options.seed)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
