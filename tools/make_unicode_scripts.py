#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_scripts_table.inc: how the UnicodeScripts pre-tokenizer of the tokenizers library tells
scripts apart, found by asking it about every character.

    pip install tokenizers      # in a scratch virtual environment
    tools/make_unicode_scripts.py
"""

from pathlib import Path

from tokenizers import pre_tokenizers

from cpp_table import table_lines

SCRIPTS = pre_tokenizers.UnicodeScripts()


def parts(text):
    return [part for part, _ in SCRIPTS.pre_tokenize_str(text)]


def script_of(c, known):
    """A number for the script of `c`: 0 for none, the index of its first character in `known` plus 1."""
    if not parts(c):
        return 0
    for number, first in enumerate(known):
        if len(parts(first + c)) == 1:
            return number + 1
    known.append(c)
    return len(known)


def main():
    known, ranges, last = [], [], None
    for code in range(0x110000):
        c = chr(code)
        if 0xD800 <= code < 0xE000:
            script = 0
        elif last and parts(last + c) == [last + c] and parts(c):
            script = ranges[-1][2]
        else:
            script = script_of(c, known)
        if ranges and ranges[-1][1] == code - 1 and ranges[-1][2] == script:
            ranges[-1][1] = code
        else:
            ranges.append([code, code, script])
        last = c if script else None
    rows = [f"{{0x{first:X}, 0x{end:X}, {script}}}," for first, end, script in ranges if script]
    out = Path(__file__).parent.parent / "src/tokenizer/unicode_scripts_table.inc"
    head = "// Made by tools/make_unicode_scripts.py: first and last character, number of the script.\n"
    out.write_text(head + table_lines(rows) + "\n")
    print(len(known), "scripts,", len(rows), "ranges")


if __name__ == "__main__":
    main()
