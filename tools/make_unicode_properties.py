#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_properties_table.inc: which characters are punctuation, numeric and so on for the
tokenizers library, found by asking it about every one. Its parts go by Unicode versions of their own, from 8 to 16,
and so does utf8proc, whose normalization is compared with the library's.

    pip install tokenizers      # in a scratch virtual environment; libutf8proc as packages.txt has it
    tools/make_unicode_properties.py
"""

import ctypes
from pathlib import Path

import tokenizers
from tokenizers import normalizers, pre_tokenizers

from cpp_table import table_lines

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def cut(pre_tokenizer, parts):
    return lambda c: len(pre_tokenizer.pre_tokenize_str(f"a{c}b")) == parts


def dropped(normalizer):
    return lambda c: normalizer.normalize_str(f"a{c}b") == "ab"


def bert(**flags):
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return normalizers.BertNormalizer(**{**off, **flags})


PROPERTIES = {
    "kNumeric": cut(pre_tokenizers.Digits(individual_digits=True), 3),
    "kPunctuation": cut(pre_tokenizers.Punctuation(), 3),
    "kWord": cut(pre_tokenizers.Whitespace(), 1),
    "kMark": dropped(normalizers.StripAccents()),
    "kNonspacingMark": dropped(bert(strip_accents=True)),
    "kOther": dropped(bert(clean_text=True)),
}


def ranges(codes):
    found = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def lowercase():
    """[first, last, first's lower case] of characters whose lower case is one other, in runs or in every second place."""
    lower = normalizers.Lowercase()
    found = []
    for c in CHARACTERS:
        small = lower.normalize_str(c)
        if small == c or len(small) != 1:
            continue
        code, target = ord(c), ord(small)
        if found and found[-1][1] == code - 1 and found[-1][2] - found[-1][0] == target - code:
            found[-1][1] = code
        else:
            found.append([code, code, target])
    return found


def not_normalized():
    """Characters that utf8proc decomposes or reorders and the library, of an older Unicode, does not."""
    library, c_library = ctypes.CDLL("libutf8proc.so.2"), ctypes.CDLL(None)

    def utf8proc(form, text):
        function = getattr(library, f"utf8proc_{form}")
        function.restype = ctypes.c_void_p
        result = function(ctypes.c_char_p(text.encode()))
        decoded = ctypes.string_at(result).decode()
        c_library.free(ctypes.c_void_p(result))
        return decoded

    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    found = set()
    for c in CHARACTERS[1:]:
        orders = [f"a{mark}{c}" for mark in "\u0301\u0327\u0338"] + [f"a{c}{mark}" for mark in "\u0301\u0327\u0338"]
        if utf8proc("NFKD", c) != nfkd.normalize_str(c) or any(utf8proc("NFD", t) != nfd.normalize_str(t) for t in orders):
            found.add(ord(c))
    return found


def array(name, kind, rows):
    cells = ["{" + ", ".join(f"0x{value:X}" for value in row) + "}," for row in rows]
    return f"constexpr auto {name} = std::to_array<{kind}>({{\n{table_lines(cells)}\n}});\n"


def main():
    text = f"// Made by tools/make_unicode_properties.py from tokenizers {tokenizers.__version__}.\n"
    for name, holds in PROPERTIES.items():
        text += array(name, "Range", ranges(ord(c) for c in CHARACTERS if ord(c) >= 0x80 and holds(c)))
    text += array("kLowercase", "CaseRange", lowercase())
    text += array("kNotNormalized", "Range", ranges(not_normalized()))
    out = Path(__file__).parent.parent / "src/tokenizer/unicode_properties_table.inc"
    out.write_text(text)
    print(text.count("{0x"), "ranges")


if __name__ == "__main__":
    main()
