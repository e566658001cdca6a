"""Boards on matplotlib axes."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from trm.puzzles.drawing import PALETTE, Disk, Drawing, Line, Rect, Text, grid_lines
from trm.reporting.render import to_axes

SHAPES = {
    "rect": Rect(1, 1, 1, 1, "answer"),
    "line": Line(0.5, 1.5, 2.5, 1.5, "answer", 0.4),
    "circle": Disk(1.5, 1.5, 0.5, "answer"),
    "text": Text(1.5, 1.5, "■", "answer", 1.5, bold=True),
}


def pixels(drawing: Drawing) -> np.ndarray:
    """The drawing as it looks: [height, width, 3] in 0..1."""
    figure = Figure(figsize=(1, 1), dpi=120)
    canvas = FigureCanvasAgg(figure)
    to_axes(drawing, figure.add_axes((0, 0, 1, 1)))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


@pytest.mark.parametrize("kind", SHAPES)
def test_every_shape_shows_in_its_colour_in_the_middle_and_nowhere_else(kind):
    picture = pixels(Drawing(3, 3, [SHAPES[kind]]))
    assert picture[60, 60] == pytest.approx(to_rgb(PALETTE["answer"]), abs=0.02)
    assert picture[[4, 4, -5, -5], [4, -5, 4, -5]] == pytest.approx(1)


def test_y_goes_down():
    picture = pixels(Drawing(3, 3, [Rect(0, 0, 3, 1, "wall")]))
    assert picture[20, 60] == pytest.approx(to_rgb(PALETTE["wall"]), abs=0.02)
    assert picture[100, 60] == pytest.approx(1)


def test_shapes_of_one_colour_cut_no_holes_where_they_overlap():
    lines = [Line(0, 1.5, 3, 1.5, "wall", 1.0), Line(1.5, 3, 1.5, 0, "wall", 1.0)]
    everything = [*lines, Rect(1, 1, 1, 1, "wall"), Disk(1.5, 1.5, 0.3, "wall")]
    assert pixels(Drawing(3, 3, everything))[60, 60] == pytest.approx(to_rgb(PALETTE["wall"]), abs=0.02)


def test_thin_lines_of_large_boards_are_seen():
    picture = pixels(Drawing(40, 40, grid_lines(40, 40)))
    assert (picture[60, 5:115].min(axis=1) < 0.97).sum() > 30


def test_later_shapes_lie_on_earlier_ones():
    shapes = [Rect(0, 0, 3, 3, "wall"), Disk(1.5, 1.5, 1, "start"), Rect(1, 1, 1, 1, "wall")]
    assert pixels(Drawing(3, 3, shapes))[60, 60] == pytest.approx(to_rgb(PALETTE["wall"]), abs=0.02)


def test_formulas_are_drawn_as_they_are():
    pixels(Drawing(1, 1, [Text(0.5, 0.5, r"$\nonsense{", "given", 0.1)]))


def test_an_unknown_colour_is_an_error():
    with pytest.raises(KeyError):
        pixels(Drawing(1, 1, [Rect(0, 0, 1, 1, "#123456")]))
