"""A drawing of a board on matplotlib axes. Colours come from PALETTE alone."""

import math
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from trm.puzzles.drawing import PALETTE, Disk, Drawing, Line, Rect, Shape, Text

MARGIN = 0.06  # cells around the board, for the outer half of its frame
POINTS_PER_INCH = 72
HAIRLINE = 0.2  # points: what print and screens still show


def to_axes(drawing: Drawing, axes: Axes) -> None:
    """Draw on axes that already have their place in the figure, since that decides the size of the letters."""
    axes.set_axis_off()
    axes.set(xlim=(-MARGIN, drawing.width + MARGIN), ylim=(drawing.height + MARGIN, -MARGIN), aspect="equal")
    axes.apply_aspect()
    cell = axes.get_window_extent().height / (drawing.height + 2 * MARGIN) / axes.figure.dpi * POINTS_PER_INCH
    # a board has a thousand shapes, so neighbours of one colour make one path
    for layer, ((is_text, color), group) in enumerate(groupby(_on_paper(drawing), key=_look)):
        if not is_text:
            path = Path.make_compound_path(*(_outline(shape, HAIRLINE / cell) for shape in group))
            # snapping to pixels would swallow thin lines
            axes.add_patch(PathPatch(path, facecolor=PALETTE[color], linewidth=0, snap=False, zorder=layer))
            continue
        for text in group:
            axes.text(
                text.x,
                text.y,
                text.text,
                color=PALETTE[color],
                fontsize=text.size * cell,
                fontweight="bold" if text.bold else "normal",
                ha="center",
                va="center_baseline",
                zorder=layer,
                parse_math=False,
            )


def _on_paper(drawing: Drawing) -> list[Shape]:
    return [Rect(0, 0, drawing.width, drawing.height, "paper"), *drawing.shapes]


def _look(shape: Shape) -> tuple[bool, str]:
    return isinstance(shape, Text), _color(shape)


def _color(shape: Shape) -> str:
    return shape.fill if isinstance(shape, Rect | Disk) else shape.color


def _outline(shape: Rect | Line | Disk, thinnest: float) -> Path:
    """The shape as a filled path, lines no thinner than `thinnest` cells.

    All paths turn the same way round, so that none cuts a hole into another one of its colour.
    """
    if isinstance(shape, Disk):
        return Path.circle((shape.x, shape.y), shape.radius)
    if isinstance(shape, Rect):
        right, low = shape.x + shape.width, shape.y + shape.height
        corners = [(shape.x, shape.y), (right, shape.y), (right, low), (shape.x, low)]
    else:  # a line is a thin rectangle, so its width scales with the board; square ends close a frame's corners
        length = math.hypot(shape.x1 - shape.x0, shape.y1 - shape.y0) or 1.0
        half = max(shape.width, thinnest) / 2
        x, y = half * (shape.x1 - shape.x0) / length, half * (shape.y1 - shape.y0) / length
        corners = [
            (shape.x0 - x + y, shape.y0 - y - x),
            (shape.x1 + x + y, shape.y1 + y - x),
            (shape.x1 + x - y, shape.y1 + y + x),
            (shape.x0 - x - y, shape.y0 - y + x),
        ]
    return Path([*corners, corners[0]], closed=True)
