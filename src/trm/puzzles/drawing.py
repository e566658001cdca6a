"""Pictures of boards as lists of shapes, drawn by a puzzle once and rendered anywhere.

Coordinates are in cells: x to the right, y down, (0, 0) the top left corner. Colours are named by what they mean, and
the palette (Okabe and Ito's, safe for the colour-blind) gives each its hex value.
"""

from dataclasses import dataclass, field

PALETTE = {
    "paper": "#ffffff",
    "shade": "#eeeeee",
    "grid": "#bbbbbb",
    "frame": "#333333",
    "wall": "#444444",
    "given": "#222222",
    "answer": "#0072b2",
    "error": "#d55e00",
    "missed": "#cc79a7",
    "start": "#009e73",
    "goal": "#e69f00",
    "piece": "#222222",  # a chessman, dark on any page: its sign is outlined for White and filled for Black
    # ARC's ten colours, as its players know them
    "arc0": "#000000",
    "arc1": "#0074d9",
    "arc2": "#ff4136",
    "arc3": "#2ecc40",
    "arc4": "#ffdc00",
    "arc5": "#aaaaaa",
    "arc6": "#f012be",
    "arc7": "#ff851b",
    "arc8": "#7fdbff",
    "arc9": "#870c25",
}


@dataclass(frozen=True)
class Rect:
    """A filled rectangle with its top left corner at (x, y)."""

    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True)
class Line:
    """A straight line; `width` in cells."""

    x0: float
    y0: float
    x1: float
    y1: float
    color: str
    width: float = 0.03


@dataclass(frozen=True)
class Disk:
    """A filled circle around (x, y)."""

    x: float
    y: float
    radius: float
    fill: str


@dataclass(frozen=True)
class Text:
    """A text centred on (x, y); `size` is its height in cells."""

    x: float
    y: float
    text: str
    color: str
    size: float = 0.6
    bold: bool = False


Shape = Rect | Line | Disk | Text


@dataclass(frozen=True)
class Drawing:
    """Shapes on a paper of width x height cells, first ones at the back."""

    width: float
    height: float
    shapes: list[Shape] = field(default_factory=list)


def grid_lines(rows: int, columns: int, color: str = "grid", width: float = 0.03) -> list[Shape]:
    """The lines between and around the cells of a board."""
    across = [Line(0, y, columns, y, color, width) for y in range(rows + 1)]
    down = [Line(x, 0, x, rows, color, width) for x in range(columns + 1)]
    return [*across, *down]


def answer_color(token: int, label: int | None) -> str:
    """Colour of a filled-in cell: an answer, or an error where the label says otherwise."""
    return "error" if label is not None and token != label else "answer"
