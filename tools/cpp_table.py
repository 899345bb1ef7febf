"""Rows of a C++ table, as the scripts that make src/tokenizer/*.inc write them."""


def table_lines(cells):
    """Texts such as "{0x41, 0x5A},", as many to a line as 99 columns hold; without the last line's end."""
    lines, line = [], ""
    for cell in cells:
        if len(line) + 1 + len(cell) > 99:
            lines.append(line)
            line = ""
        line += (" " if line else "") + cell
    return "\n".join([*lines, line])
