#!/usr/bin/env python3
"""Writes src/microscope/glyphs_table.inc: the letters of images, those of X11's font 6x10, which is in the public domain.

    apt-get install xfonts-base pcf2bdf
    zcat /usr/share/fonts/X11/misc/6x10.pcf.gz | pcf2bdf > 6x10.bdf
    tools/make_glyphs.py 6x10.bdf
"""

import sys
from pathlib import Path

from cpp_table import table_lines

WIDTH, HEIGHT, ASCENT = 6, 10, 8
# Latin, Greek and Cyrillic, punctuation, currency, arrows, empty set, minus, box, replacement.
KEPT = [(0x21, 0x45F), (0x1E00, 0x1EFF), (0x2010, 0x20AC), (0x2190, 0x2193), (0x2205, 0x2205), (0x2212, 0x2212),
        (0x25A1, 0x25A1), (0xFFFD, 0xFFFD)]


def glyphs(bdf):
    """Code points and their pixels: bit 6 row + column from the top left."""
    code, box, rows = None, None, None
    for line in filter(None, bdf.splitlines()):
        word, *rest = line.split()
        if word == "ENCODING":
            code = int(rest[0])
        elif word == "BBX":
            box = [int(number) for number in rest]
        elif word == "BITMAP":
            rows = []
        elif word == "ENDCHAR":
            width, height, left, bottom = box
            top = ASCENT - bottom - height
            pixels = 0
            for row, bits in enumerate(rows):
                for column in range(width):
                    if bits >> (-width % 8 + width - 1 - column) & 1:
                        pixels |= 1 << WIDTH * (top + row) + left + column
            yield code, pixels
            rows = None
        elif rows is not None:
            rows.append(int(word, 16))


def main():
    kept = sorted((code, pixels) for code, pixels in glyphs(Path(sys.argv[1]).read_text())
                  if pixels and any(first <= code <= last for first, last in KEPT))
    rows = [f"{{0x{code:X}, 0x{pixels:X}}}," for code, pixels in kept]
    out = Path(__file__).parent.parent / "src/microscope/glyphs_table.inc"
    head = "// Made by tools/make_glyphs.py: characters, and the bits of their pixels row by row, 6 to a row.\n"
    out.write_text(head + table_lines(rows) + "\n")
    print(len(rows), "glyphs")


if __name__ == "__main__":
    main()
