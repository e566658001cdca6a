"""`trm show`: examples as pictures and in the terminal, one or a dozen, from every split."""

import re

import numpy as np
import pytest

from trm.cli import main
from trm.data.layout import read_split
from trm.puzzles.drawing import Disk, Drawing, Line, Rect, Text
from trm.reporting.terminal import to_text


def show(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["trm", "show", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_one_example_in_the_terminal_shows_its_givens_and_its_answer(tiny_data, monkeypatch, capsys):
    status, out, _ = show(monkeypatch, capsys, tiny_data, "--split", "test", "--index", 3, "--text")
    assert not status
    inputs, labels, _ = read_split(tiny_data / "test").take(np.array([3]))
    assert out.startswith("test row 3\n")
    shown = [re.findall(r"\d", line) for line in out.splitlines()[1:] if "│" in line]  # input and label side by side
    for row, digits in enumerate(shown):
        cells = slice(4 * row, 4 * row + 4)
        givens = [token - 1 for token in inputs[0, cells].tolist() if token > 1]
        assert [*map(int, digits)] == givens + (labels[0, cells] - 1).tolist()
    assert len(shown) == 4


def test_without_an_index_a_dozen_is_shown(tiny_data, monkeypatch, capsys):
    status, out, _ = show(monkeypatch, capsys, tiny_data, "--text")
    assert not status
    assert len(re.findall(r"^train row ", out, re.MULTILINE)) == 12


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_one_example_as_a_picture(tiny_data, tmp_path, monkeypatch, capsys, suffix):
    out = tmp_path / f"one.{suffix}"
    assert not show(monkeypatch, capsys, tiny_data, "--index", 0, "--out", out)[0]
    assert out.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "180", "--text"], "--index 180: the train split has rows 0..179"),
        (["--text", "--out", "a.png"], "expected either --out PICTURE or --text"),
        ([], "expected either --out PICTURE or --text"),
        (["--out", "a.jpeg"], "a.jpeg: expected a name that ends in .svg, .pdf, .png"),
        (["--split", "validation", "--text"], "validation/dataset.json: no such file"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line(tiny_data, monkeypatch, capsys, arguments, message):
    status, out, err = show(monkeypatch, capsys, tiny_data, *arguments)
    assert status == 2
    assert not out
    assert message in err
    assert err.count("\n") == 1


def test_shapes_in_characters():
    shapes = [
        Rect(0, 0, 1, 1, "wall"),
        Rect(1, 0, 1, 1, "shade"),
        Disk(0.5, 1.5, 0.4, "answer"),
        Disk(1.5, 1.5, 0.1, "missed"),
        Text(1.5, 0.5, "7", "given"),
        *(Line(0, y, 2, y, "frame", 0.08) for y in (0, 2)),
        *(Line(x, 0, x, 2, "frame", 0.08) for x in (0, 2)),
        Line(0, 1, 2, 1, "grid", 0.03),
    ]
    lines = to_text(Drawing(2, 2, shapes))
    assert [line.plain for line in lines] == ["┌────┐", "│██7 │", "│● • │", "└────┘"]
    assert any("#eeeeee" in str(span.style) for span in lines[1].spans)
