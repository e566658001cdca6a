"""A drawing of a board in characters: two columns a cell, colours where the terminal has them."""

import math

from rich.text import Text as Characters

from trm.puzzles.drawing import PALETTE, Disk, Drawing, Line, Rect, Text

BORDER = 0.06  # cells: lines as wide as this part cells, thinner ones are left out
SMALL = 0.2  # cells: disks of a smaller radius become small dots
ACROSS, DOWN = "──", "│"
CORNERS = ("┌┬┐", "├┼┤", "└┴┘")


def to_text(drawing: Drawing) -> list[Characters]:
    """The lines of a drawing, top to bottom, all of the same width."""
    rows, columns = math.ceil(drawing.height), math.ceil(drawing.width)
    signs = [["  "] * columns for _ in range(rows)]
    ink = [["given"] * columns for _ in range(rows)]
    paper = [["paper"] * columns for _ in range(rows)]
    across, down = set(), set()
    for shape in drawing.shapes:
        match shape:
            case Rect():
                for y in _cells(shape.y, shape.height, rows):
                    for x in _cells(shape.x, shape.width, columns):
                        paper[y][x] = ink[y][x] = shape.fill
                        signs[y][x] = _sign(shape.fill)
            case Disk():
                y, x = min(int(shape.y), rows - 1), min(int(shape.x), columns - 1)
                signs[y][x], ink[y][x] = "• " if shape.radius < SMALL else "● ", shape.fill
            case Text():
                y = min(int(shape.y), rows - 1)
                x = min(int(shape.x - (len(shape.text) - 1) // 4), columns - 1)
                for i in range(0, len(shape.text), 2):
                    if 0 <= x + i // 2 < columns:
                        signs[y][x + i // 2] = f"{shape.text[i : i + 2]:2}"
                        ink[y][x + i // 2] = shape.color
            case Line() if shape.y0 == shape.y1 and shape.width >= BORDER:
                across.add(shape.y0)
            case Line() if shape.x0 == shape.x1 and shape.width >= BORDER:
                down.add(shape.x0)
    lines = []
    for y in range(rows + 1):
        if y in across:
            corners = CORNERS[0 if y == 0 else 2 if y == rows else 1]
            border = (
                (corners[0 if x == 0 else 2 if x == columns else 1] if x in down else "") for x in range(columns + 1)
            )
            lines.append(Characters(ACROSS.join(border), PALETTE["frame"]))
        if y < rows:
            lines.append(_row(signs[y], ink[y], paper[y], down))
    return lines


def _sign(fill: str) -> str:
    """What a filled cell shows where there are no colours: numbered colours their number, walls a block."""
    return f"{fill[-1]} " if fill[-1].isdigit() else "██" if fill == "wall" else "  "


def _cells(start: float, length: float, end: int) -> range:
    """The cells whose middle lies within."""
    return range(max(0, math.ceil(start - 0.5)), min(end, math.ceil(start + length - 0.5)))


def _row(signs: list[str], ink: list[str], paper: list[str], down: set[float]) -> Characters:
    line = Characters()
    for x in range(len(signs) + 1):
        if x in down:
            line.append(DOWN, PALETTE["frame"])
        if x < len(signs):
            line.append(signs[x], f"{PALETTE[ink[x]]} on {PALETTE[paper[x]]}")
    return line
