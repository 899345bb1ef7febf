#!/usr/bin/env python3
"""Writes tests/golden/chat/templates.json: templates, what they are given, and what jinja2 makes of them in transformers'
settings; null where it refuses. Templates of our own that use each construct, and random ones. Needs jinja2."""
import json
import pathlib

import compare_chat_templates as compare

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/chat/templates.json"

CHATML = """{%- set ns = namespace(system='', calls=0) -%}
{%- if messages and messages[0]['role'] == 'system' %}{% set ns.system = messages[0].content | trim %}{% set messages = messages[1:] %}{% endif -%}
{% if tools %}<|tools|>{% for tool in tools %}{{ (tool.function if 'function' in tool else tool) | tojson }}
{% endfor %}{% endif %}
{%- macro text(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}{%- for part in content if part.type == 'text' -%}{{ part['text'] }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- for message in messages %}
  {%- if message.role not in ['user', 'assistant', 'tool'] %}{{ raise_exception('unknown role ' ~ message.role) }}{% endif %}
  {{- '<|im_start|>' + message.role + '\\n' }}{{ text(message.content or '') }}
  {%- for call in message.tool_calls | default([]) %}
    {%- set ns.calls = ns.calls + 1 %}
    {{- '\\n<call>' ~ call.function.name }}{% for key, value in call.function.arguments.items() if value is not none %}
 {{ key }}={{ value | tojson if value is not string else value }}{% endfor %}</call>
  {%- endfor %}
  {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}{{ ns.calls }}{{ ns.system }}"""

TEMPLATES = [
    "a\n", "a\n\n", "\n a", "{{ 1 }}\n", "{% if true %}\nx\n{% endif %}\ny", "  {% if true %}\n  x\n  {% endif %}\n  y",
    "a  {%- if true -%}  x  {%- endif -%}  b", "a  {%+ if true +%}\n  x\n  {%+ endif %}\n b", "a\n  {{ 1 }}\n  b", "a {{- 1 -}} b",
    "x {# c #}\ny", "x\n  {#- c -#}\n y", "x\n  {# c #} y", "x {#+ c +#}\n y", "{% raw %}{{ x }}{% endraw %}!", "a\n {%- raw -%} \n{{ \n{%- endraw -%}\n b",
    "a\r\nb\rc", "{{ 'a\\nb\\t\\x41\\u00e9\\U0001f600\\101\\q\\'' }}", "{{ \"it's\" 'joined' \"\" }}", "{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }}",
    "{{ [1, 'a', none, true, 1.5, {'k': (1,)}, ()] }}", "{{ {'a': 1, 2: 'b', none: [], true: 3}|string }}", "{{ 1e3 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 123456789.0 }} {{ 0.1 + 0.2 }} {{ 1_000 }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}",
    "{{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }}", "{{ not true or false and none }} {{ 0 or '' or 'x' }} {{ 1 and 2 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 > 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1, 2) == (1, 2) }} {{ [1] == (1,) }}",
    "{{ 'b' in 'abc' }} {{ 1 in [1] }} {{ 'k' in {'k': 1} }} {{ 'x' not in [] }} {{ 2 in range(3) }}", "{{ x if x is defined else 'no' }}{{ 'y' if false }}",
    "{% for i in [] %}x{% else %}empty{% endfor %}", "{% for i in range(5) if i % 2 %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for i in [1, 2, 3] %}{{ loop.previtem }}-{{ loop.nextitem }};{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 2) }} {% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{{ loop.last }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}<{{ loop(i) }}{{ loop.depth }}>{% else %}{{ i }}{% endif %}{% endfor %}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}", "{% set x %}<{{ 1 }}>{% endset %}{{ x }}{{ x | length }}", "{% set x | upper | trim %} ab {% endset %}{{ x }}",
    "{% if a is defined %}1{% elif 0 %}2{% elif 1 %}3{% else %}4{% endif %}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}",
    "{% macro m(a, b='d', c=none) %}{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}|{{ m(1, 2, 3, 4, x=5) }}|{{ m(c=1) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}",
    "{% macro m(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) m(3) %}<{{ x }}>{% endcall %}", "{% macro m() %}{{ caller is defined }}{{ x }}{% endmacro %}{% set x = 7 %}{{ m() }}{% call m() %}{% endcall %}",
    "{% filter upper | replace('A', 'b') %}abc{% endfilter %}", "{% block b %}in{% endblock %}{% block c scoped %}{% endblock c %}{% generation %}answer{% endgeneration %}", "{% print 1, 'a' %}",
    "{% autoescape false %}<{% endautoescape %}", "{{ 'x'|safe + '<b>' }} {{ '<' + 'y'|safe }} {{ ('x'|safe) ~ '<' }} {{ '<&>\"\\''|e }}",
    "{{ {'a': 'ü<\\n\"', 'b': [1, 2.0, none, true]} | tojson }} {{ 'é' | tojson(ensure_ascii=true) }}", "{{ {'b': [1, {}], 'a': []} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ [1, [2]] | tojson(indent='\\t') }} {{ '\\x7f\\x01😀' | tojson(true) }} {{ {1: 1, none: 2, true: 3, 1.5: 4} | tojson }}", "{{ missing | tojson }}", "{{ missing.x }}", "{{ missing['x'] }}", "{{ missing + 1 }}", "{{ missing() }}", "{{ none.x }}{{ none | default('d') }}",
    "{{ 'abc'.nothing }}{{ [].append }}{{ 5 .x }}", "{{ [].append(1) }}", "{{ {}.update({}) }}", "{{ ''.__class__ }}", "{{ 'abc'.__len__() }}", "{{ {'items': 3}['items'] }} {{ {'k': 1}['get']('k') }}",
    "{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(none, 1) }}{{ 'a b c'.rsplit(' ', 1) }}{{ 'a b c '.rsplit(none, 1) }}{{ 'x'.split('xx') }}", "{{ 'a'.split('') }}",
    "{{ 'aXbX'.replace('X', '--', 1) }}{{ 'ab'.replace('', '.') }}{{ 'abab'.count('ab') }}{{ 'größe'.find('e') }}{{ 'abc'.find('z') }}{{ 'abcabc'.rfind('c') }}{{ 'abc'.index('b') }}{{ 'abcabc'.find('a', 1, 5) }}", "{{ 'abc'.index('z') }}",
    "{{ '{} {1} {name!r:>6} {{}} {0:05d}'.format(1, 2, name='x') }}", "{{ '{} {} {}'.format(1, 2.5, 'x') }}{{ '{0[k]} {1.x}'.format({'k': 1}, 2) }}", "{{ '{:,} {:.2f} {:x} {:+} {:^7}|{:<4}|'.format(12345, 3.14159, 255, 4, 'mid', 'l') }}",
    "{{ '%s %d %r %05.1f %x %%' % ('a', 3, 'b', 2.25, 255) }}{{ '%s' % 1 }}{{ '%(k)s' % {'k': 2} }}{{ '%-5s|%5s' | format('a', 'b') }}", "{{ '%d' % 'x' }}", "{{ '%c%c%3c|%-3c|%05c' % ('a', 233, 'é', 128512, 'x') }}", "{{ '%c' % 'ab' }}", "{{ '%c' % 1114112 }}", "{{ '%c' % -1 }}", "{{ '%c' % 1.0 }}", "{{ '%c' % true == '\\x01' }}", "{{ '%s' % (1, 2) }}",
    "{{ 'ǅ ß hello wORLD'.upper() }}{{ 'HeLLO É'.lower() }}{{ 'hello wORLD-x'.title() }}{{ 'hELLO'.capitalize() }}{{ 'hello wORLD-x (y'|title }}{{ 'Ab'.swapcase() }}",
    "{{ 'x'.center(4, '*') }}{{ 'x'.ljust(3) }}|{{ '-7'.zfill(4) }}{{ 'a\\tb'.expandtabs(4) }}{{ 'k=v=w'.partition('=') }}{{ 'k=v=w'.rpartition('=') }}{{ 'abc'.removesuffix('c') }}", "{{ '\\u2003a\\u00a0'.strip() }}{{ 'xxaxx'.strip('x') }}{{ 'a\\nb\\r\\nc\\u2028d'.splitlines() }}{{ 'a\\nb\\n'.splitlines(true) }}",
    "{{ 'abc'[0] }}{{ 'größe'[2] }}{{ 'abc'[-1] }}{{ 'abc'[9] }}{{ 'größe'[1:4] }}{{ 'abc'[::-1] }}{{ [1, 2, 3][::2] }}{{ [1, 2, 3][-2:] }}{{ (1, 2)[0] }}{{ 'ab'[5:] }}{{ range(9)[2:5]|list }}", "{{ [1, 2, 3][1:none] }}{{ 5[0] }}{{ [1]['x'] }}",
    "{{ [3, 1, 2]|sort }}{{ ['b', 'A']|sort }}{{ ['b', 'A']|sort(case_sensitive=true) }}{{ [{'a': 2}, {'a': 1}]|sort(attribute='a') }}{{ [1, 2]|sort(reverse=true) }}", "{{ [1, 'a']|sort }}", "{{ {'b': 1, 'A': 2}|dictsort }}{{ {'b': 1, 'A': 2}|dictsort(by='value', reverse=true) }}",
    "{{ messages|map(attribute='role')|join(',') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('x')|map(attribute='content.0', default='-')|list }}", "{{ [1, 2, 3, 4]|select('odd')|list }}{{ [0, 1]|select|list }}{{ ['a']|map('upper')|first }}{{ [1]|select('gt', 0)|list }}",
    "{{ messages|selectattr('role')|length }}", "{% if []|select %}generators are true{% endif %}{{ ([1]|map('string'))[0] }}", "{% set g = [1, 2]|map('string') %}{{ g|list }}{{ g|list }}", "{{ [1, 2, 3, 4, 5]|batch(2, 'x')|list }}{{ [1, 2, 3, 4, 5]|slice(2, 'x')|list }}{{ [1, 1.0, 'a', 'A']|unique|list }}",
    "{{ [1, 2]|sum }}{{ [{'n': 2}]|sum(attribute='n', start=1) }}{{ [3, 1]|min }}{{ ['b', 'C']|max }}{{ []|max }}{{ []|first }}{{ [1, 2]|last }}{{ 'abc'|reverse }}{{ [1, 2]|reverse|list }}", "{% for g in [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}, {'a': 0, 'b': 4}]|groupby('a') %}{{ g[0] }}{{ g[1]|length }}{% endfor %}", "{% for g in [{'a': 1, 'b': 2}, {'a': 0, 'b': 4}]|groupby('a') %}{{ g.grouper }}{{ g.list }}{{ g }}{{ g.other is defined }}{% endfor %}", "{% macro greet(x) %}{% endmacro %}{{ greet.name }}{{ (1, 2).list is defined }}",
    "{{ '42'|int }}{{ '4.9'|int }}{{ 'x'|int(7) }}{{ '0x1f'|int(base=16) }}{{ 'x'|float }}{{ '2.50'|float }}{{ 2.5|round }}{{ 3.14159|round(2) }}{{ 2.1|round(method='ceil') }}{{ -3|abs }}{{ true|int }}", "{{ 'a b c'|wordcount }}{{ 'foo bar baz qux'|truncate(9) }}{{ 'a<b>c'|striptags }}{{ 'a b&c/ü'|urlencode }}{{ 1500|filesizeformat }}{{ 'a\\nb\\n\\nc'|indent }}{{ 'a\\nb'|indent(2, true) }}{{ 'a\\n\\nb'|indent('> ', blank=true) }}",
    "{{ 1 is odd }}{{ 1 is number }}{{ true is integer }}{{ true is number }}{{ 1.0 is float }}{{ 'a' is sequence }}{{ {} is sequence }}{{ {} is mapping }}{{ none is none }}{{ x is undefined }}{{ [] is iterable }}{{ 1 is iterable }}{{ x is iterable }}{{ 4 is divisibleby 2 }}{{ 1 is not string }}{{ 'A' is upper }}{{ 1 is sameas 1 }}{{ 1 is in [1] }}{{ range is callable }}",
    "{{ 1 is eq 1 and 2 is gt(1) }}{{ 'a' is string and not 1 is string }}{{ x is defined or 1 }}{{ 3 is divisibleby 2 + 1 }}", "{{ [1, 2]|length > 1 }}{{ -1|abs }}{{ 'a'|upper ~ 'b'|upper }}{{ (1 + 2)|string|length }}{{ 1 + 2|string|length }}", "{{ dict(a=1, **{'b': 2}) }}{{ dict([('x', 1)]) }}{{ range(3, 0, -1)|list }}",
    "{{ range(200000) }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{% set j = joiner(',') %}{{ j() }}{{ j() }}", "{{ x | nothing }}", "{{ 1 is nothing }}", "{% nothing %}", "{% if %}", "{{ 1 + }}", "{{ (1 }}", "{% for x in %}{% endfor %}", "{% if 1 %}", "{% endif %}", "{{ 'a }}", "{# x", "{% set 1 = 2 %}", "{% set x.y = 2 %}", "{% break %}", "{% raw %}x",
    "{{ raise_exception('no') }}", "{{ strftime_now('%%') }}", "{{ 'a' + 1 }}", "{{ [] + () }}", "{{ 1 < 'a' }}", "{{ {} < {} }}", "{{ 1 // 0 }}", "{{ 1 in 1 }}", "{{ 1 in 'a' }}", "{{ {[]: 1} }}", "{% for x in 5 %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{{ 5() }}", "{{ {}|length }}{{ 5|length }}", "{% include 'x' %}", "{% extends 'x' %}", "{% do 1 %}",
    "{{ loop }}", "{{ messages[0].role }}{{ messages[-1]['content'] }}{{ messages[7] }}{{ messages[7].role }}", "{{ deep.a.b[0].c }}{{ big }}{{ small }}{{ num }}{{ deep|tojson }}{{ deep }}", "{{ text[:2] }}{{ text|length }}{{ text|upper }}{{ text.split('\\n') }}", "{% set x = [] %}{% for i in [1, 2] %}{% set x = x + [i] %}{% endfor %}{{ x }}",
    "{{ 'aaa'|replace('a', 'b', 1) }}{{ 'aaa'|replace('a', 'b', count=2) }}",
    "{{ missing|int }}", "{{ missing|float }}", "{{ 'a' % 1 }}", "{{ 'a' % (1,) }}",
    "{{ 'a' % [1] }}{{ 'a' % {'k': 1} }}{{ 'a' % range(2) }}{{ 'a' % missing }}", "{{ {'a': 1, 'b c': 'x/ü'}|urlencode }}{{ 'x y/z'|urlencode }}",
    "{%- for m in messages -%}\n  {%- if loop.first -%} [ {%- endif -%}\n  {{ m.role[0]|upper }}\n  {%- if not loop.last %}, {% else %}]{% endif -%}\n{%- endfor -%}\n", CHATML,
]

MESSAGES = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi <|im_end|> é"},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "y": "z", "n": None}}}]},
            {"role": "tool", "content": [{"type": "text", "text": "21"}, {"type": "image"}]}]
GIVEN = {"messages": MESSAGES, "add_generation_prompt": True, "text": "größe\n漢字 \U0001f600", "big": 1e22, "small": 1.5e-9,
         "num": -12345678901234, "deep": {"a": {"b": [{"c": "'\"\\\t"}]}, "z": [True, None, 0.1]}, "tools": [{"type": "function", "function": {"name": "f", "x": "ü"}}]}
RANDOM = 800


def main():
    env = compare.environment()
    expressions = compare.Expressions(7)
    cases = [(template, GIVEN) for template in TEMPLATES]
    wanted = len(cases) + RANDOM
    seen = set()
    while len(cases) < wanted:
        template = expressions.template()
        if template not in seen:
            seen.add(template)
            cases.append((template, None))
    golden = []
    refused_random = 0
    for template, given in cases:
        text = compare.expected(env, template, {"messages": [], **(expressions.VALUES if given is None else given)})
        refused = isinstance(text, Exception)
        if not refused and any(word in text for word in ("<generator", "0x", "dict_", "<bound", "<built-in", "range(")):
            continue  # Python's own words for what no template prints
        refused_random += refused and given is None
        if refused and given is None and refused_random % 5:
            continue  # most random expressions mean nothing; a few of these are enough
        golden.append({"template": template, "given": 0 if given is None else 1, "text": None if refused else text})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in golden)
    given = json.dumps([{"messages": [], **expressions.VALUES}, GIVEN], ensure_ascii=False)
    tokens = json.dumps(compare.special_tokens())
    OUT.write_text('{"special_tokens": %s,\n"given": %s,\n"cases": [\n%s\n]}\n' % (tokens, given, lines))
    print(f"{len(golden)} cases, {sum(case['text'] is None for case in golden)} refused")


if __name__ == "__main__":
    main()
