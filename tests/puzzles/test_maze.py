"""Mazes: the CSV as published, generated mazes, symmetries, and what counts as a valid answer."""

import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.files import BadInput
from trm.puzzles import maze
from trm.puzzles.drawing import PALETTE, Disk, Rect

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "maze"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"needs the published mazes in {PUBLISHED}")


def dataset(**keys) -> maze.Dataset:
    generate = {"size": 9, "walls": (0.25, 0.45), "subsample_size": 60, "test_size": 20}
    return maze.Dataset(puzzle="maze", **{**generate, **keys})


def board(text: str) -> np.ndarray:
    """Tokens [1, cells] of rows of "#.SGo" with spaces between them."""
    return np.array([[maze.CHARACTERS.index(cell) + 1 for cell in "".join(text.split()).replace(".", " ")]], np.uint8)


@pytest.fixture(scope="module")
def generated() -> dict:
    return maze.examples(dataset(), Path("unused"))


# ---- symmetries


def symmetries(variant, n):
    return maze.variants(dataset(), np.arange(n), np.full(n, variant))


def test_variant_0_is_the_identity_and_all_variants_differ(generated):
    inputs = generated["train"].inputs
    assert (symmetries(0, len(inputs)).apply(inputs) == inputs).all()
    assert len({symmetries(v, 1).apply(inputs[:1]).tobytes() for v in range(8)}) == 8


@pytest.mark.parametrize("variant", range(8))
def test_inverse_undoes_a_variant_and_composition_stays_in_the_group(generated, variant):
    inputs = generated["train"].inputs
    symmetry = symmetries(variant, len(inputs))
    assert (symmetry.inverse().apply(symmetry.apply(inputs)) == inputs).all()
    group = {symmetries(v, 1).cells.tobytes() for v in range(8)}
    assert {symmetry[:1].compose(symmetries(v, 1)).cells.tobytes() for v in range(8)} == group


@pytest.mark.parametrize("variant", range(8))
def test_a_symmetry_changes_neither_the_canonical_form_nor_validity(generated, variant):
    settings_, table = dataset(), generated["train"]
    symmetry = symmetries(variant, len(table))
    inputs, labels = symmetry.apply(table.inputs), symmetry.apply(table.labels)
    assert (maze.canonical(settings_, inputs) == maze.canonical(settings_, table.inputs)).all()
    assert maze.is_valid(settings_, inputs, labels).all()


# ---- generation


def test_generated_mazes_have_one_start_one_goal_and_a_long_enough_path(generated):
    assert [len(table) for table in generated.values()] == [60, 20]
    for table in generated.values():
        assert table.inputs.dtype == table.labels.dtype == np.uint8
        assert ((table.inputs == maze.START).sum(axis=1) == 1).all()
        assert ((table.inputs == maze.GOAL).sum(axis=1) == 1).all()
        assert not (table.inputs == maze.PATH).any()
        assert ((table.labels == maze.PATH).sum(axis=1) + 2 >= 18).all()
        assert maze.is_valid(dataset(), table.inputs, table.labels).all()
        assert (np.diff(table.group) > 0).all()


def test_no_two_mazes_are_twins_even_where_few_mazes_exist():
    small = dataset(size=4, walls=(0.1, 0.4), subsample_size=150, test_size=50, min_path=3)
    splits = maze.examples(small, Path("unused"))
    forms = maze.canonical(small, np.concatenate([table.inputs for table in splits.values()]))
    assert len(np.unique(forms, axis=0)) == 200


def test_the_same_seed_gives_the_same_mazes_and_another_seed_others(generated):
    again, other = (maze.examples(dataset(seed=seed), Path("unused"))["train"].inputs for seed in (0, 1))
    assert (again == generated["train"].inputs).all()
    assert not (other == again).all(axis=1).any()


def test_the_share_of_walls_stays_in_its_range():
    table = maze.examples(dataset(walls=(0.3, 0.35)), Path("unused"))["train"]
    share = (table.inputs == maze.WALL).mean(axis=1)
    assert share.min() >= 0.29
    assert share.max() <= 0.36
    assert len(np.unique(share)) > 1


def test_thousands_of_small_mazes_a_second(generated):  # `generated` has the search compiled
    start = time.perf_counter()
    maze.examples(dataset(subsample_size=2000, test_size=1), Path("unused"))
    assert time.perf_counter() - start < 2


def test_impossible_mazes_are_reported_not_searched_for_ever():
    with pytest.raises(BadInput, match=r"cannot find 80 mazes of size 5 with walls .* 25 cells on the path"):
        maze.examples(dataset(size=5, walls=(0.3, 0.3), min_path=25), Path("unused"))
    with pytest.raises(BadInput, match="fewer mazes"):  # 4x4 without walls: S and G in opposite corners
        maze.examples(dataset(size=4, walls=(0, 0), min_path=7), Path("unused"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"walls": None, "size": 9}, "size 9 needs walls"),
        ({"walls": None, "size": 30, "min_path": 20}, "min_path 20 needs walls"),
        ({"walls": (0.4, 0.3)}, "smaller share first"),
        ({"walls": (0.4, 1.0)}, "less than 1"),
        ({"subsample_size": None}, "subsample_size and test_size"),
        ({"test_size": None}, "subsample_size and test_size"),
        ({"num_aug": 8}, "less than or equal to 7"),
        ({"size": 65}, "less than or equal to 64"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        dataset(**keys)


# ---- labels


def breadth_first(inputs: np.ndarray, size: int) -> np.ndarray:
    """The rule of the labels in plain Python: neighbours down, left, right, up, first parent kept."""
    cells = {divmod(i, size): int(token) for i, token in enumerate(inputs)}
    start = next(cell for cell, token in cells.items() if token == maze.START)
    parent, queue = {start: None}, deque([start])
    while queue:
        row, column = cell = queue.popleft()
        for beside in ((row + 1, column), (row, column - 1), (row, column + 1), (row - 1, column)):
            if cells.get(beside, maze.WALL) != maze.WALL and beside not in parent:
                parent[beside] = cell
                queue.append(beside)
    label = inputs.copy()
    cell = next((cell for cell in parent if cells[cell] == maze.GOAL), None)
    if cell is None:
        return np.zeros_like(inputs)
    while (cell := parent[cell]) != start:
        label[cell[0] * size + cell[1]] = maze.PATH
    return label


@st.composite
def random_boards(draw, size=6):
    cells = np.array(draw(st.lists(st.sampled_from([1, 2, 2]), min_size=size**2, max_size=size**2)), np.uint8)
    start, goal = draw(st.lists(st.integers(0, size**2 - 1), min_size=2, max_size=2, unique=True))
    cells[start], cells[goal] = maze.START, maze.GOAL
    return cells


@settings(max_examples=150, deadline=None)
@given(random_boards())
def test_labels_follow_the_published_rule(cells):
    label = maze.shortest_paths(6, cells[None])
    assert (label[0] == breadth_first(cells, 6)).all()
    assert maze.is_valid(dataset(size=6), cells[None], label)[0] == label.any()


@published
def test_all_published_labels_are_reproduced():
    splits = maze.examples(maze.Dataset(puzzle="maze"), PUBLISHED)
    for table in splits.values():
        assert table.inputs.shape == (1000, 900)
        assert (maze.shortest_paths(30, table.inputs) == table.labels).all()
        assert ((table.labels == maze.PATH).sum(axis=1) + 2 >= 110).all()
    assert sum(len(table) for table in splits.values()) == 2000


@published
def test_a_subsample_consists_of_different_published_mazes():
    keys = {"subsample_size": 50, "test_size": 7}
    full = maze.examples(maze.Dataset(puzzle="maze"), PUBLISHED)
    some = maze.examples(maze.Dataset(puzzle="maze", **keys), PUBLISHED)
    other = maze.examples(maze.Dataset(puzzle="maze", seed=1, **keys), PUBLISHED)
    assert [len(table) for table in some.values()] == [50, 7]
    for name, table in some.items():
        rows = {row.tobytes() for row in table.inputs}
        assert len(rows) == len(table)
        assert rows < {row.tobytes() for row in full[name].inputs}
        assert rows != {row.tobytes() for row in other[name].inputs}


# ---- validity

OPEN = board("S... .... .... ...G")


@pytest.mark.parametrize(
    ("prediction", "valid", "why"),
    [
        ("Sooo ...o ...o ...G", True, "a shortest path"),
        ("S... o... o... oooG", True, "another shortest path"),
        ("So.. .oo. ..oo ...G", True, "a staircase"),
        ("Sooo oo.o .ooo ...G", False, "cells that no shortest path has"),
        ("Soo. .... .... ..oG", False, "does not connect"),
        ("S.oo o..o ...o ...G", False, "as many cells as a shortest path, one of them elsewhere"),
        ("Sooo o..o ...o ...G", False, "one cell too many"),
        ("S... .... .... ...G", False, "no path at all"),
        ("oooo ...o ...o ...G", False, "S lost"),
        ("Sooo ...o ...o ...o", False, "G lost"),
        ("S#oo ...o ...o ...G", False, "a wall put in"),
        ("SoGo ...o ...o ...G", False, "a second G"),
    ],
)
def test_valid_is_any_shortest_path_and_nothing_else(prediction, valid, why):
    assert maze.is_valid(dataset(size=4), OPEN, board(prediction))[0] == valid, why


def test_a_path_may_not_pass_walls_or_wrap_round_the_border():
    walled = board("S.#G ..#. ..#. ....")
    assert maze.is_valid(dataset(size=4), walled, board("S.#G o.#o o.#o oooo"))[0]
    assert not maze.is_valid(dataset(size=4), walled, board("SooG ..#. ..#. ...."))[0]
    border = board("...S G### ...# ....")  # G follows S in reading order, but is not beside it
    assert not maze.is_valid(dataset(size=4), border, border)[0]
    assert maze.is_valid(dataset(size=4), border, board("oooS G### ...# ...."))[0]


def test_start_beside_goal_needs_no_path():
    beside = board("SG.. .... .... ....")
    assert maze.is_valid(dataset(size=4), beside, beside)[0]


def test_a_maze_without_a_way_has_no_label_and_no_valid_answer():
    closed = board("S#.. ##.. .... ...G")
    assert not maze.shortest_paths(4, closed).any()
    assert not maze.is_valid(dataset(size=4), closed, closed)[0]


@pytest.mark.parametrize("garbage", [-100, -1, 0, 6, 255, 258, 261, 10**6])
def test_tokens_that_mean_nothing_are_invalid_not_an_error(garbage):
    prediction = board("Sooo ...o ...o ...G").astype(np.int64)
    assert maze.is_valid(dataset(size=4), OPEN, prediction)[0]
    for cell in range(16):
        spoiled = prediction.copy()
        spoiled[0, cell] = garbage
        assert not maze.is_valid(dataset(size=4), OPEN, spoiled)[0]


@pytest.mark.parametrize(
    ("prediction", "figures"),
    [
        ("Sooo ...o ...o ...G", "connected free_cells_only shortest"),
        ("Sooo oo.o .ooo ...G", "connected free_cells_only"),  # cells too many
        ("Soo. .... .... ..oG", "free_cells_only"),  # a gap
        ("Sooo ...o ...o ...#", "connected shortest"),  # G lost
        ("Sooo .#.o ...o ...G", "connected shortest"),  # a wall put in beside the path
        ("Sooo .#oo ...o ...G", "connected"),  # and a cell too many
        ("#... .... .... ...G", ""),
    ],
)
def test_the_parts_of_a_valid_answer_are_judged_one_by_one(prediction, figures):
    metrics = maze.metrics(dataset(size=4), OPEN, board(prediction), OPEN)
    assert list(metrics) == ["connected", "free_cells_only", "shortest"]
    assert [name for name, figure in metrics.items() if figure[0]] == figures.split()


def test_a_path_through_walls_connects_but_breaks_them():
    walled = board("S#.. ##.. .... ...G")
    metrics = maze.metrics(dataset(size=4), walled, board("Sooo ##.o ...o ...G"), walled)
    assert {name: bool(figure[0]) for name, figure in metrics.items()} == {
        "connected": True,
        "free_cells_only": False,
        "shortest": False,  # there is no way at all
    }


def count_shortest(inputs: np.ndarray, size: int) -> int:
    """Shortest paths in plain Python: each cell has as many as all its neighbours one step nearer to S."""
    cells = {divmod(i, size): int(token) for i, token in enumerate(inputs)}
    goal = next(cell for cell, token in cells.items() if token == maze.GOAL)
    layer = {next(cell for cell, token in cells.items() if token == maze.START): 1}
    seen = set()
    while layer and goal not in layer:
        seen |= set(layer)
        following = {}
        for (row, column), ways in layer.items():
            for beside in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if cells.get(beside, maze.WALL) != maze.WALL and beside not in seen:
                    following[beside] = following.get(beside, 0) + ways
        layer = following
    return layer.get(goal, 0)


@settings(max_examples=150, deadline=None)
@given(random_boards())
def test_a_maze_has_several_answers_exactly_when_several_paths_are_shortest(cells):
    assert maze.several_answers(dataset(size=6), cells[None]).tolist() == [count_shortest(cells, 6) > 1]


def test_the_blanks_are_the_free_cells(generated):
    table = generated["test"]
    assert (maze.blanks(dataset(), table.inputs) == (table.inputs == maze.FREE)).all()
    changed = table.inputs != table.labels
    assert (maze.blanks(dataset(), table.inputs) | ~changed).all()


# ---- the CSV

QUESTION = " " * 400 + "S" + " " * 60 + "G" + " " * 438  # G is two rows below and one column right of S
ANSWER = "".join(maze.CHARACTERS[t - 1] for t in maze.shortest_paths(30, board(QUESTION.replace(" ", ".")))[0])
PATH_CELL = ANSWER.index("o")
HEADER = "source,question,answer,rating"
GOOD = f",{QUESTION},{ANSWER},4"


def read(tmp_path: Path, content: str | bytes) -> maze.Examples:
    file = tmp_path / "train.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return maze.read_csv(file, maze.Dataset(puzzle="maze"))


def put(text: str, cell: int, character: str) -> str:
    return text[:cell] + character + text[cell + 1 :]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{GOOD}\n",
        f"{HEADER}\n{GOOD}",
        f"{HEADER}\r\n{GOOD}\r\n",
        f"{HEADER}\n\n{GOOD}\n\n",
        f"\ufeff{HEADER}\n{GOOD}\n",
        f'{HEADER}\n"a, b","{QUESTION}","{ANSWER}","4"\n',
        f"answer,question\n{ANSWER},{QUESTION}\n",
    ],
    ids=[
        "plain",
        "no last newline",
        "crlf",
        "blank lines",
        "byte order mark",
        "quoted",
        "columns in another order",
    ],
)
def test_equivalent_files_give_the_same_maze(tmp_path, content):
    table = read(tmp_path, content)
    assert len(table) == 1
    assert "".join(maze.CHARACTERS[token - 1] for token in table.inputs[0]) == QUESTION
    assert "".join(maze.CHARACTERS[token - 1] for token in table.labels[0]) == ANSWER


MALFORMED = {
    "empty file": ("", "line 1: the file is empty"),
    "header alone": (f"{HEADER}\n", "line 2: no mazes"),
    "missing column": (f"source,question,rating\n,{QUESTION},4\n", "line 1: the header has no single answer"),
    "column twice": (f"question,question,answer\n{QUESTION},{QUESTION},{ANSWER}\n", "line 1: .* question"),
    "short question": (
        f"{HEADER}\n{GOOD}\n,{QUESTION[:-1]},{ANSWER},4\n",
        "line 3: question has 899 characters",
    ),
    "long answer": (f"{HEADER}\n{GOOD}\n,{QUESTION},{ANSWER} ,4\n", "line 3: answer has 901 characters"),
    "stripped": (
        f"{HEADER}\n,{QUESTION.strip()},{ANSWER},4\n",
        "line 2: question has 62 characters, expected 900",
    ),
    "too few fields": (f"{HEADER}\n{GOOD}\n,{QUESTION}\n", "line 3: answer has 0 characters"),
    "too many fields": (f"{HEADER}\n{GOOD}\n{GOOD},5\n", "Expected 4 fields in line 3, saw 5"),
    "bad character": (
        f"{HEADER}\n\n,{put(QUESTION, 5, 'x')},{ANSWER},4\n",
        "line 3: question has 'x', expected",
    ),
    "not ascii": (f"{HEADER}\n,{QUESTION},{put(ANSWER, 5, 'é')},4\n", "line 2: answer has 'é', expected"),
    "path in question": (f"{HEADER}\n,{put(QUESTION, 5, 'o')},{ANSWER},4\n", "line 2: question has 'o'"),
    "no S": (f"{HEADER}\n,{put(QUESTION, 400, ' ')},{ANSWER},4\n", "line 2: question has no S or several"),
    "two G": (
        f"{HEADER}\n{GOOD}\n,{put(QUESTION, 7, 'G')},{ANSWER},4\n",
        "line 3: question has no G or several",
    ),
    "wall moved": (
        f"{HEADER}\n,{QUESTION},{put(ANSWER, 7, '#')},4\n",
        "line 2: answer differs .* character 8,",
    ),
    "S overwritten": (f"{HEADER}\n,{QUESTION},{put(ANSWER, 400, 'o')},4\n", "line 2: answer differs .* 401,"),
    "gap": (
        f"{HEADER}\n,{QUESTION},{put(ANSWER, PATH_CELL, ' ')},4\n",
        "line 2: the o of answer are no shortest path",
    ),
    "extra o": (
        f"{HEADER}\n{GOOD}\n,{QUESTION},{put(ANSWER, 3, 'o')},4\n",
        "line 3: the o of answer are no shortest",
    ),
    "open quote": (f'{HEADER}\n{GOOD}\n,"{QUESTION},{ANSWER},4\n', "not valid CSV: .* line 3"),
    "not utf-8": (f"{HEADER}\n{GOOD}\n".encode().replace(b"S ", b"\xff "), "not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_reported_with_its_name_and_line(tmp_path, content, message):
    with pytest.raises(BadInput, match=rf"train\.csv: .*{message}") as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_an_answer_may_be_any_shortest_path(tmp_path):
    other = "".join("o" if cell in (401, 431) else c for cell, c in enumerate(QUESTION))
    assert other != ANSWER
    assert len(read(tmp_path, f"{HEADER}\n,{QUESTION},{other},4\n")) == 1


def test_missing_files_and_too_few_mazes_are_reported(tmp_path):
    with pytest.raises(BadInput, match=r"train\.csv: no such file"):
        maze.examples(maze.Dataset(puzzle="maze"), tmp_path)
    for name in maze.raw_files(maze.Dataset(puzzle="maze")):
        (tmp_path / name).write_text(f"{HEADER}\n{GOOD}\n", encoding="utf-8")
    assert len(maze.examples(maze.Dataset(puzzle="maze"), tmp_path)["test"]) == 1
    with pytest.raises(BadInput, match=r"test\.csv: 1 mazes, expected the 2"):
        maze.examples(maze.Dataset(puzzle="maze", test_size=2), tmp_path)


def test_generated_mazes_need_no_files():
    assert maze.raw_files(dataset()) == []
    assert maze.raw_files(maze.Dataset(puzzle="maze")) == list(maze.SOURCES) == ["train.csv", "test.csv"]


# ---- drawing


def fills(drawing, kind) -> list[str]:
    return [shape.fill for shape in drawing.shapes if isinstance(shape, kind)]


def test_a_drawing_shows_walls_ends_right_wrong_and_missed_path_cells():
    inputs, label = board("S..# .... .... ...G")[0], board("S..# o... o... oooG")[0]
    prediction = board("S..# o... oo.. ...G")[0]
    drawing = maze.draw(dataset(size=4), inputs, prediction, label)
    assert (drawing.width, drawing.height) == (4, 4)
    assert fills(drawing, Rect) == ["wall"]
    disks = fills(drawing, Disk)
    assert [disks.count(color) for color in ("answer", "error", "missed", "start", "goal")] == [2, 1, 3, 1, 1]
    assert set(disks) <= set(PALETTE)
    wrong = next(shape for shape in drawing.shapes if isinstance(shape, Disk) and shape.fill == "error")
    assert (wrong.x, wrong.y) == (1.5, 2.5)


def test_a_drawing_needs_neither_prediction_nor_label():
    inputs, label = OPEN[0], maze.shortest_paths(4, OPEN)[0]
    assert fills(maze.draw(dataset(size=4), inputs, None, None), Disk) == ["start", "goal"]
    assert fills(maze.draw(dataset(size=4), inputs, None, label), Disk) == ["start", "goal"]
    assert fills(maze.draw(dataset(size=4), inputs, label, None), Disk).count("answer") == 5
    assert "error" not in fills(maze.draw(dataset(size=4), inputs, np.full(16, 99), label), Disk)
