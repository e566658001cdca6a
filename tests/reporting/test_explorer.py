"""The explorer's page: which puzzles it holds and what it says of them; tests/browser looks at it in a browser."""

import base64
import json
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.reporting.boards import DATASETS, boards_of, said
from trm import puzzles
from trm.cli import main
from trm.config import puzzle_names
from trm.data.build import build
from trm.evaluation.trace import Trace
from trm.puzzles import arc_boards
from trm.puzzles.drawing import PALETTE, Disk, Line, Rect, Text
from trm.reporting import svg
from trm.reporting.explorer import KINDS, Boards, choose, kinds, page
from trm.reporting.results import read_predictions, read_results

EXACT = np.array([[0, 1, 1, 1], [0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
tables = arrays.arrays(bool, st.tuples(st.integers(1, 60), st.integers(1, 5)))


def unpacked(text: str) -> dict:
    """What a page holds."""
    [data] = re.findall(r'<script id="data" type="text/plain">([A-Za-z0-9+/=]*)</script>', text)
    return json.loads(zlib.decompress(base64.b64decode(data)))


def page_of(run: Path, name: str, exact: np.ndarray = EXACT) -> str:
    dataset, boards = boards_of(name)
    [result] = read_results([run])
    return page(result, dataset, boards, said(dataset, boards, exact), 20)


def explore(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["trm", "explore", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_kinds_tell_when_a_puzzle_was_solved():
    assert [KINDS[kind] for kind in kinds(EXACT)] == ["solved", "solved late", "lost again", "never solved", "solved"]


@given(tables, st.integers(4, 70))
def test_the_chosen_puzzles_are_as_many_as_asked_and_of_every_kind(exact, count):
    chosen = choose(exact, count)
    assert len(chosen) == min(count, len(exact))
    assert (np.diff(chosen) > 0).all()
    assert set(kinds(exact)[chosen]) == set(kinds(exact))


def test_the_chosen_puzzles_spread_over_the_test_set():
    exact = np.ones((1000, 2), bool)
    exact[[400, 410]] = False
    chosen = choose(exact, 20)
    assert {400, 410} <= set(chosen)
    assert np.diff(chosen).max() < 80


def test_the_command_writes_what_the_run_says(tiny_run, tiny_data, tmp_path, monkeypatch, capsys):
    assert explore(monkeypatch, tiny_run, "--data", tiny_data, "--out", tmp_path / "a.html", "--puzzles", 10) == 0
    counts = [int(number) for number in re.findall(r" (\d+) ", capsys.readouterr().out)]
    table = read_predictions(tiny_run, ("rows", "asked", "exact", "q_halt"))
    found = unpacked((tmp_path / "a.html").read_text())["puzzles"]
    assert len(found) == sum(counts) == 10
    place = np.searchsorted(table["rows"], [puzzle["row"] for puzzle in found])
    np.testing.assert_array_equal([puzzle["exact"] for puzzle in found], table["exact"][place])
    halting = 1 / (1 + np.exp(-table["q_halt"][place].astype(float)))
    np.testing.assert_allclose([puzzle["halting"] for puzzle in found], halting, atol=6e-4)
    np.testing.assert_array_equal([puzzle["asked"] for puzzle in found], table["asked"][place].sum(1))


def test_the_same_results_give_the_same_bytes(tiny_run, tiny_data, tmp_path, monkeypatch):
    for name in ("a.html", "b.html"):
        assert explore(monkeypatch, tiny_run, "--data", tiny_data, "--out", tmp_path / name) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_other_test_puzzles_are_told(tiny_run, tiny_experiment, tmp_path, monkeypatch, capsys):
    for key, value in {"seed": 1, "test_size": 5}.items():
        build(tiny_experiment.dataset.model_copy(update={key: value}), tmp_path / key)
        assert explore(monkeypatch, tiny_run, "--data", tmp_path / key, "--out", tmp_path / "a.html") == 2
        assert "other test puzzles than those of" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_a_run_without_predictions_is_told(tiny_run, tiny_data, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "predictions.npz").write_bytes(b"nothing")
    assert explore(monkeypatch, run, "--data", tiny_data, "--out", tmp_path / "a.html") == 2
    error = capsys.readouterr().err
    assert "predictions.npz" in error
    assert error.count("\n") == 1


def test_the_boards_of_the_tests_are_of_every_puzzle():
    assert {dataset.puzzle for dataset in DATASETS.values()} == set(puzzle_names())


@pytest.mark.parametrize("name", DATASETS)
def test_the_page_holds_every_step_of_every_puzzle(tiny_run, name):
    text = page_of(tiny_run, name)
    dataset, boards = boards_of(name)
    found = unpacked(text)
    blanks = puzzles.module(dataset.puzzle).blanks(dataset, boards.inputs) & boards.asked
    for i, puzzle in enumerate(found["puzzles"]):
        missing = np.minimum(blanks[i].sum(), 2) * ~EXACT[i]
        assert puzzle["row"] == boards.rows[i]
        assert puzzle["exact"] == EXACT[i].tolist()
        assert puzzle["right"] == (boards.asked[i].sum() - missing).tolist()
        assert [wrong.count("1") for wrong in puzzle["wrong"]] == missing.tolist()
        assert puzzle["cells"] == np.flatnonzero(blanks[i]).tolist()
        sure = [{chr(48 + 57), chr(48 + 16)} if count else {chr(48 + 57)} for count in missing]  # 0.9, 0.25 of 63
        assert all(set(step) <= expected for step, expected in zip(puzzle["confidence"], sure, strict=True))
        assert len(puzzle["pictures"]) == len(set(EXACT[i]))  # equal answers share one
        assert (puzzle["picture"][0] == puzzle["picture"][3]) == (EXACT[i, 0] == EXACT[i, 3])
        numbers = [puzzle["question"], puzzle["truth"], puzzle["ground"], *puzzle["pictures"]]
        assert max(map(max, filter(None, numbers))) < len(found["shapes"])
    assert len(set(found["shapes"])) == len(found["shapes"])


@pytest.mark.parametrize("name", DATASETS)
def test_cells_have_their_place_on_the_board(tiny_run, name):
    found = unpacked(page_of(tiny_run, name))
    dataset, _ = boards_of(name)
    assert len(found["places"]) == puzzles.module(dataset.puzzle).seq_len(dataset)
    if name.startswith(("chess", "hanoi")):
        assert set(map(str, found["places"])) == {"None"}
        return
    assert len(set(map(tuple, found["places"]))) == len(found["places"])
    for puzzle in found["puzzles"]:
        if name not in ("sudoku", "skyscrapers", "arithmetic"):
            continue
        signs = [found["shapes"][number] for number in puzzle["truth"] if "<text" in found["shapes"][number]]
        middles = {tuple(float(length) // 20 for length in re.findall(r' [xy]="([^"]*)"', sign)) for sign in signs}
        assert {tuple(found["places"][cell]) for cell in puzzle["cells"]} <= middles


def test_twenty_of_the_largest_boards_make_less_than_a_megabyte(tiny_run):
    """ARC's 30 x 30, a twentieth of whose cells change at every step, with confidences that nothing packs smaller.

    A page of a hundred is to stay under 5 megabytes.
    """
    rng = np.random.default_rng(0)
    grids = rng.integers(10, size=(20, 2, 30, 30))
    inputs, labels = arc_boards.boards([tuple(pair) for pair in grids]).swapaxes(0, 1)
    boards = Boards(np.arange(20), inputs, labels, labels > 0)
    answers = np.repeat(labels[:, None], 16, axis=1)
    for step in range(1, 16):
        changed = rng.random(inputs.shape) < 0.05
        answers[:, step] = np.where(changed, rng.integers(2, 12, size=inputs.shape), answers[:, step - 1])
    said = Trace(answers, rng.random(answers.shape), rng.normal(size=(20, 16)))
    [result] = read_results([tiny_run])
    text = page(result, DATASETS["arc"], boards, said, 400)
    assert len(unpacked(text)["puzzles"]) == 20
    assert len(text.encode()) < 1e6


def test_nothing_comes_from_outside(tiny_run):
    text = page_of(tiny_run, "sudoku")
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    assert "default-src 'none'" in text


def test_a_shape_is_an_element_in_its_colour():
    assert svg.to_svg(Rect(1, 2, 3, 0.5, "wall")) == '<rect x="20" y="40" width="60" height="10" class="ink-wall"/>'
    assert svg.to_svg(Line(0, 1, 2, 3, "grid", 0.1)) == (
        '<line x1="0" y1="20" x2="40" y2="60" stroke-width="2" class="ink-grid"/>'
    )
    assert svg.to_svg(Disk(0.5, 1.5, 0.25, "start")) == '<circle cx="10" cy="30" r="5" class="ink-start"/>'
    text = svg.to_svg(Text(1, 1, "<&", "given", 1, bold=True))
    assert text == '<text x="20" y="27.3" font-size="20" class="ink-given" font-weight="bold">&lt;&amp;</text>'
    assert svg.to_svg(Text(1, 1, "♟", "piece")).endswith(">♟\ufe0e</text>")


def test_every_colour_has_its_rule():
    for name, light in PALETTE.items():
        [rule] = re.findall(rf"\.ink-{name} {{ color: (.*); }}", svg.style())
        assert light in rule
    assert svg.DARK.keys() <= PALETTE.keys()
