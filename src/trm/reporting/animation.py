"""A drawing that changes, as a GIF: one frame after the other, the last one held."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from trm.files import atomic
from trm.puzzles.drawing import Drawing
from trm.reporting.render import to_axes
from trm.reporting.style import look

BOARD, LEAST_WIDTH, CAPTION, MARGIN = 4.0, 3.2, 0.3, 0.12  # inches; a board is as large on its longer side
DPI = 100
FRAME, HELD = 500, 3000  # milliseconds that a frame, and the last one, is shown


def animate(frames: list[Drawing], captions: list[str], out: Path) -> None:
    """Write drawings, each under its caption, as a GIF that starts again; all on the scale of the largest."""
    width, height = max(frame.width for frame in frames), max(frame.height for frame in frames)
    papers = [Drawing(width, height, frame.shapes) for frame in frames]
    pictures = _pictures(papers, captions)
    durations = [FRAME] * (len(frames) - 1) + [HELD]
    with look(), atomic(out) as path:
        first = next(pictures)
        first.save(path, "GIF", save_all=True, append_images=pictures, duration=durations, loop=0)


def _pictures(frames: list[Drawing], captions: list[str]) -> Iterator[Image.Image]:
    inch = BOARD / max(frames[0].width, frames[0].height)  # inches a cell
    across, down = inch * frames[0].width, inch * frames[0].height
    width, height = max(across, LEAST_WIDTH) + 2 * MARGIN, CAPTION + down + MARGIN
    width, height = math.ceil(width * DPI) / DPI, math.ceil(height * DPI) / DPI
    for frame, caption in zip(frames, captions, strict=True):
        figure = Figure(figsize=(width, height), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        figure.text(MARGIN / width, 1 - 0.2 / height, caption, fontsize=9, va="baseline")
        place = ((width - across) / 2 / width, MARGIN / height, across / width, down / height)
        to_axes(frame, figure.add_axes(place))
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # [rows, columns, 3]
        yield Image.fromarray(np.ascontiguousarray(pixels)).quantize(dither=Image.Dither.NONE)
