"""A drawing of a board as SVG in a page, whose colours are those of a light or a dark page."""

from html import escape

from trm.puzzles.drawing import PALETTE, Disk, Line, Rect, Shape, Text

CELL = 20  # units: browsers draw fonts of less than a pixel badly
CAPITAL = 0.73  # height of a capital or digit over the font size
PAWN, AS_TEXT = "♟", "\ufe0e"  # alone among the chessmen it is an emoji, unless told otherwise
DARK = {  # what differs from PALETTE on a dark page
    "paper": "#14171b",
    "shade": "#2b323a",
    "grid": "#4b545e",
    "frame": "#8d97a1",
    "wall": "#87919b",
    "given": "#eceff2",
    "answer": "#6cbcf0",
    "error": "#ff9a5c",
    "missed": "#e59ac4",
    "start": "#3fcf9f",
    "goal": "#b07a14",
}


def to_svg(shape: Shape) -> str:
    """An element, CELL units a cell; its class names its colour, which `style` defines."""
    match shape:
        case Rect(x, y, width, height, fill):
            return f"<rect {_lengths(x=x, y=y, width=width, height=height)} {_ink(fill)}/>"
        case Line(x0, y0, x1, y1, color, width):
            return f"<line {_lengths(x1=x0, y1=y0, x2=x1, y2=y1, stroke_width=width)} {_ink(color)}/>"
        case Disk(x, y, radius, fill):
            return f"<circle {_lengths(cx=x, cy=y, r=radius)} {_ink(fill)}/>"
        case Text(x, y, text, color, size, bold):
            place = _lengths(x=x, y=y + CAPITAL / 2 * size, font_size=size)
            weight = ' font-weight="bold"' if bold else ""
            return f"<text {place} {_ink(color)}{weight}>{escape(text).replace(PAWN, PAWN + AS_TEXT)}</text>"


def style() -> str:
    """The rules of a style sheet for `to_svg`: light-dark() follows the page's color-scheme."""
    colors = {name: f"light-dark({light}, {DARK[name]})" if name in DARK else light for name, light in PALETTE.items()}
    rules = [f".ink-{name} {{ color: {color}; }}" for name, color in colors.items()]
    rules += [".board:has(.ink-piece) { color-scheme: light; }"]
    return "\n".join([*rules, ".board * { fill: currentColor; }", ".board line { stroke: currentColor; }"])


def _lengths(**values: float) -> str:
    return " ".join(f'{name.replace("_", "-")}="{CELL * value:g}"' for name, value in values.items())


def _ink(color: str) -> str:
    return f'class="ink-{color}"'
