"""Puzzles as people write them: boards of one character a cell, row by row, and single lines of characters."""

from collections.abc import Container

import numpy as np

from trm.files import BadInput

RULES = " \t|-+"  # what people draw between cells


def square(text: str, side: int, tokens: dict[str, int], expected: str, ignored: str = RULES) -> np.ndarray:
    """The board in `text` as tokens [1, side * side] of its characters: a row a line, or all rows in one line.

    `ignored` characters and empty lines are passed over. Raises BadInput; `expected` says in words what a cell holds.
    """
    rows = characters(text, tokens, expected, ignored)
    if len(rows) < 2:
        cells = sum(map(len, rows))
        if cells != side**2:
            raise BadInput(f"{cells} cells, expected {side**2}: {side} rows of {side}")
    else:
        if len(rows) != side:
            raise BadInput(f"{len(rows)} rows, expected {side} of {side} cells each, or all of them in one line")
        for number, row in enumerate(rows, 1):
            if len(row) != side:
                raise BadInput(f"row {number} has {len(row)} cells, expected {side}")
    return np.array([[tokens[character] for row in rows for character in row]], np.uint8)


def characters(text: str, allowed: Container[str], expected: str, ignored: str = " \t") -> list[str]:
    """The `allowed` characters of each line of `text` that has any; besides them it may have the `ignored` ones."""
    rows = []
    for line, row in enumerate(text.splitlines(), 1):
        for place, character in enumerate(row, 1):
            if character not in allowed and character not in ignored:
                raise BadInput(f"line {line}, character {place}: {character!r}, expected {expected}")
        rows.append("".join(character for character in row if character in allowed))
    return [row for row in rows if row]
