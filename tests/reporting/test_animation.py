"""Drawings as the frames of a GIF."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from trm.puzzles.drawing import Drawing, Rect, Text
from trm.reporting.animation import animate


def frames_of(path) -> tuple[list[np.ndarray], list[int]]:
    """Frames [rows, columns, 3] of a GIF and for how many milliseconds each is shown."""
    frames, durations = [], []
    with Image.open(path) as picture:
        for number in range(picture.n_frames):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
            durations.append(picture.info["duration"])
        assert picture.info["loop"] == 0  # for ever
    return frames, durations


def filled(fill: str, size: int = 3) -> Drawing:
    """The top left cell of a board."""
    return Drawing(size, size, [Rect(0, 0, 1, 1, fill)])


def covered(frame: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of what has this colour, or nearly."""
    where = (abs(frame - color) < 12).all(axis=2)
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_every_drawing_is_a_frame_and_the_last_one_is_held(tmp_path):
    animate([filled("answer"), filled("error"), filled("answer")], ["one", "two", "three"], tmp_path / "a.gif")
    frames, durations = frames_of(tmp_path / "a.gif")
    assert len({frame.shape for frame in frames}) == 1
    assert durations[0] == durations[1] < durations[2]
    first, second, third = frames
    assert covered(first, BLUE) == covered(second, ORANGE) == covered(third, BLUE)
    top, _, height, width = covered(first, BLUE)
    assert abs(height - width) <= 1
    assert abs(3 * height - (len(first) - top)) < height / 3  # three cells down to the edge
    captions = [frame[: top - 10] for frame in frames]
    assert (captions[0] != captions[1]).any()
    assert (captions[1] != captions[2]).any()


def test_a_cell_is_as_large_in_every_frame_whatever_the_board(tmp_path):
    animate([filled("answer", 2), filled("answer", 6), filled("answer", 3)], ["a", "b", "c"], tmp_path / "a.gif")
    frames, _ = frames_of(tmp_path / "a.gif")
    assert len({covered(frame, BLUE) for frame in frames}) == 1


def test_long_boards_and_high_ones_keep_their_shape(tmp_path):
    for width, height in ((20, 2), (2, 20)):
        wide = Drawing(width, height, [Rect(0, 0, width, height, "answer")])
        animate([wide], ["step 1 of 1, halting probability 100 %"], tmp_path / "a.gif")
        [frame], _ = frames_of(tmp_path / "a.gif")
        _, _, down, across = covered(frame, BLUE)
        assert abs(across / down - width / height) < 0.06 * width / height


def test_the_same_drawings_give_the_same_bytes_whatever_the_users_style(tmp_path):
    drawings = [Drawing(2, 2, [Text(1, 1, str(number), "given")]) for number in range(3)]
    animate(drawings, ["a", "b", "c"], tmp_path / "a.gif")
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red"}):
        animate(drawings, ["a", "b", "c"], tmp_path / "b.gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    animate(drawings, ["a", "b", "d"], tmp_path / "c.gif")
    assert (tmp_path / "a.gif").read_bytes() != (tmp_path / "c.gif").read_bytes()


def test_an_animation_that_fails_leaves_nothing(tmp_path):
    broken = Drawing(2, 2, [Rect(0, 0, 1, 1, "no such colour")])
    with pytest.raises(KeyError):
        animate([filled("answer", 2), broken], ["a", "b"], tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []
