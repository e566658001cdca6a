"""Sudoku: what its module promises."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.files import BadInput
from trm.puzzles import sudoku
from trm.puzzles.drawing import Rect, Text

REAL = Path(__file__).parents[2].parent / "shared/data/sudoku"
needs_real = pytest.mark.skipif(not (REAL / "train.csv").exists(), reason=f"no real boards in {REAL}")

HEADER = "source,question,answer,rating\n"
QUESTION = "...7.2..5....95.8.19..8..67..4...6....79...2.26...1......5......39.....8....784.."
ANSWER = "846712935372695184195483267984237651517964823263851749728549316439126578651378492"
ROW = f"unknown,{QUESTION},{ANSWER},1\n"

published = sudoku.Dataset(puzzle="sudoku")
BLANKS = {4: (6, 11), 6: (14, 24), 9: (30, 52)}


def generated(size, train=40, test=10, **keys):
    keys = {"blanks": BLANKS[size], "subsample_size": train, "test_size": test, **keys}
    return sudoku.Dataset(puzzle="sudoku", size=size, **keys)


def tokens(text):
    return np.array([[0 if c == "." else int(c) for c in text]], np.uint8) + 1


def write(folder, train=HEADER + ROW, test=HEADER + ROW):
    for name, text in (("train.csv", train), ("test.csv", test)):
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def shuffled_rows(count):
    """A CSV of `count` different boards: variants of one row."""
    moves = sudoku.variants(published, np.zeros(count, int), np.arange(count))
    texts = []
    for board in (tokens(QUESTION), tokens(ANSWER)):
        digits = moves.apply(np.repeat(board, count, axis=0)) - 1
        texts.append(["".join(map(str, row)).replace("0", ".") for row in digits])
    return HEADER + "".join(f"s,{question},{answer},1\n" for question, answer in zip(*texts, strict=True))


@pytest.fixture(scope="module", params=[4, 6, 9])
def size(request):
    return request.param


@pytest.fixture(scope="module")
def boards(size):
    return sudoku.examples(generated(size), None)


# The section of an experiment


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": 6}, "size 6 has no published boards: set blanks"),
        ({"size": 5}, "4, 6 or 9"),
        ({"blanks": (0, 5), "test_size": 1}, "within 1..80"),
        ({"blanks": (5, 81), "test_size": 1}, "within 1..80"),
        ({"blanks": (9, 5), "test_size": 1}, "blanks 9, 5"),
        ({"size": 4, "blanks": (9, 16), "test_size": 1}, "within 1..15"),
        ({"blanks": (30, 40)}, "test_size is null"),
        ({"blanks": (30, 40), "test_size": 1, "subsample_size": None}, "subsample_size is null"),
        ({"subsample_size": 0}, "greater than or equal to 1"),
        ({"min_difficulty": -1}, "greater than or equal to 0"),
        ({"blanks": (30, 40), "test_size": 1, "min_difficulty": 3}, "only published boards are rated"),
    ],
)
def test_impossible_keys_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        sudoku.Dataset(puzzle="sudoku", **keys)


def test_only_published_boards_need_raw_files():
    assert sudoku.raw_files(published) == ["train.csv", "test.csv"] == list(sudoku.SOURCES)
    assert sudoku.raw_files(generated(9)) == []


# Generated boards


def test_generated_boards_have_one_solution_which_is_the_label(size, boards):
    dataset = generated(size)
    for split, count in (("train", 40), ("test", 10)):
        table = boards[split]
        assert table.inputs.shape == table.labels.shape == (count, sudoku.seq_len(dataset))
        assert table.inputs.dtype == table.labels.dtype == np.uint8
        assert table.group.tolist() == list(range(count))
        counts, first = sudoku.solutions(dataset, table.inputs)
        assert (counts == 1).all()
        assert (first == table.labels).all()
        assert sudoku.is_valid(dataset, table.inputs, table.labels).all()
        blank = sudoku.blanks(dataset, table.inputs).sum(axis=1)
        assert ((blank >= BLANKS[size][0]) & (blank <= BLANKS[size][1])).all()
        assert len(set(blank)) > 1


def test_no_two_generated_boards_are_symmetric(size, boards):
    everything = np.concatenate([boards["train"].inputs, boards["test"].inputs])
    assert len(np.unique(sudoku.canonical(generated(size), everything), axis=0)) == 50


def test_generation_is_a_function_of_the_seed(size, boards):
    again = sudoku.examples(generated(size), None)
    other = sudoku.examples(generated(size, seed=1), None)
    for split in ("train", "test"):
        assert (again[split].inputs == boards[split].inputs).all()
        assert (other[split].inputs != boards[split].inputs).any()


@pytest.mark.parametrize(
    "keys", [{"size": 4, "blanks": (1, 1)}, {"size": 4, "blanks": (15, 15)}, {"size": 6, "blanks": (34, 35)}]
)
def test_too_small_a_space_is_bad_input(keys):
    # 4x4: only two grids up to symmetry, so few boards with a single blank; with one given none is unique
    with pytest.raises(BadInput, match=r"found only \d+ boards of size . with .* expected 40"):
        sudoku.examples(generated(**keys), None)


# Solving


def solutions_by_force(board):
    """All solutions of a 4x4 board, by trying every grid."""
    lines = [np.array(line) + 2 for line in itertools.permutations(range(4))]
    grids = np.array([np.concatenate(rows) for rows in itertools.product(lines, repeat=4)])
    blank = np.ones_like(grids)
    grids = grids[sudoku.is_valid(generated(4), blank, grids)]
    return grids[((board == 1) | (grids == board)).all(axis=1)]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 9), st.data())
def test_the_solver_counts_what_brute_force_finds(row, data):
    dataset = generated(4)
    board = sudoku.examples(generated(4, 1, 1, seed=row), None)["train"].labels.copy()
    hidden = data.draw(st.lists(st.integers(0, 15), max_size=16))
    board[0, hidden] = 1
    if data.draw(st.booleans()):
        board[0, data.draw(st.integers(0, 15))] = data.draw(st.integers(2, 5))
    expected = solutions_by_force(board[0])
    counts, first = sudoku.solutions(dataset, board, limit=1000)
    assert counts[0] == len(expected)
    assert (first[0] == expected).all(axis=1).sum() == 1 if len(expected) else (first == 0).all()


def test_the_solver_stops_at_the_limit_and_refuses_contradictions(size):
    dataset = generated(size)
    empty = np.ones((1, size * size), np.uint8)
    assert sudoku.solutions(dataset, empty, limit=7)[0] == 7
    for first, second in ((2, 2), (0, 1), (size + 2, 1), (66, 1), (255, 1)):
        board = empty.copy()
        board[0, :2] = first, second
        counts, solution = sudoku.solutions(dataset, board)
        assert counts == 0
        assert (solution == 0).all()


# Validity


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_changed_answer_is_not_valid(size, boards, data):
    table = boards["train"]
    predictions = table.labels.astype(np.int64)
    cell = data.draw(st.integers(0, size * size - 1))
    predictions[:, cell] = data.draw(st.integers(-5, 300) | st.sampled_from([0, 1, size + 2, 2**40]))
    valid = sudoku.is_valid(generated(size), table.inputs, predictions)
    assert (valid == (predictions == table.labels).all(axis=1)).all()


def test_another_solution_is_valid_and_a_changed_given_is_not(boards, size):
    dataset, labels = generated(size), boards["train"].labels
    other = np.roll(labels, 1, axis=0)
    assert sudoku.is_valid(dataset, np.ones_like(labels), other).all()
    assert not sudoku.is_valid(dataset, labels, other).any()


def test_the_rules_can_be_judged_apart_from_the_givens(boards, size):
    dataset, table = generated(size), boards["train"]
    other = np.roll(table.labels, 1, axis=0)
    other[::2, 0] = 0
    metrics = sudoku.metrics(dataset, table.inputs, other, table.labels)
    assert list(metrics) == ["valid_givens_ignored"]
    assert metrics["valid_givens_ignored"].tolist() == [False, True] * 20


def test_a_board_has_several_answers_once_enough_givens_are_gone(boards, size):
    dataset, table = generated(size), boards["train"]
    assert not sudoku.several_answers(dataset, table.inputs).any()
    fewer = table.inputs.copy()
    fewer[::2, : 3 * size] = 1  # three empty rows
    assert sudoku.several_answers(dataset, fewer)[::2].all()
    contradictory = table.labels.copy()
    contradictory[:, 0] = contradictory[:, 1]
    assert not sudoku.several_answers(dataset, contradictory).any()


# Symmetries


def test_variant_0_changes_nothing(size):
    moves = sudoku.variants(generated(size), np.arange(5), np.zeros(5, int))
    assert (moves.cells == np.arange(size * size)).all()
    assert (moves.tokens == np.arange(size + 2)).all()


def test_a_variant_is_a_function_of_seed_group_and_variant():
    group, variant = np.repeat(np.arange(20), 50), np.tile(np.arange(50), 20)
    moves = sudoku.variants(published, group, variant)
    order = np.random.default_rng(0).permutation(1000)
    again = sudoku.variants(published, group[order], variant[order])
    assert (moves.cells[order] == again.cells).all()
    assert (moves.tokens[order] == again.tokens).all()
    other = sudoku.variants(sudoku.Dataset(puzzle="sudoku", seed=1), group, variant)
    assert (moves.cells != other.cells).any()
    assert moves.tokens.dtype == np.uint8
    # random, and 980 of them: all different, half of them transposed
    assert len(np.unique(np.hstack([moves.cells, moves.tokens]), axis=0)) == 981
    transposed = abs(moves.cells[:, 1].astype(int) - moves.cells[:, 0]) >= 9
    assert 400 < transposed.sum() < 580


def test_variants_keep_boards_valid_and_can_be_undone(boards, size):
    dataset, table = generated(size), boards["train"]
    moves = sudoku.variants(dataset, table.group, table.group + 1)
    inputs, labels = moves.apply(table.inputs), moves.apply(table.labels)
    assert sudoku.is_valid(dataset, inputs, labels).all()
    assert (sudoku.blanks(dataset, inputs).sum(axis=1) == sudoku.blanks(dataset, table.inputs).sum(axis=1)).all()
    assert (moves.inverse().apply(inputs) == table.inputs).all()
    assert (inputs != table.inputs).any(axis=1).mean() > 0.8


@settings(max_examples=20, deadline=None)
@given(v=st.integers(1, 10**9), w=st.integers(1, 10**9))
def test_canonical_boards_do_not_depend_on_the_variant(boards, size, v, w):
    dataset, table = generated(size), boards["test"]
    canonical = sudoku.canonical(dataset, table.inputs)
    first = sudoku.variants(dataset, table.group, np.full(10, v))
    second = sudoku.variants(dataset, table.group, np.full(10, w))
    for moves in (first, second, second.compose(first), first.inverse()):
        assert (sudoku.canonical(dataset, moves.apply(table.inputs)) == canonical).all()
    assert (sudoku.canonical(dataset, canonical) == canonical).all()


def orbit(board, size):
    """Every image of a small board, digits numbered by first appearance, made the plain way."""
    high, wide = sudoku.BOXES[size]
    grid = board.reshape(size, size)

    def orders(blocks, width):
        for among in itertools.permutations(range(blocks)):
            for inside in itertools.product(itertools.permutations(range(width)), repeat=blocks):
                yield [b * width + i for b, order in zip(among, inside, strict=True) for i in order]

    images = set()
    for image in [grid, grid.T] if high == wide else [grid]:
        for rows in orders(wide, high):
            for columns in orders(high, wide):
                cells = image[np.ix_(rows, columns)].ravel().tolist()
                seen = dict.fromkeys(token for token in cells if token != 1)
                label = {1: 1} | {token: i + 2 for i, token in enumerate(seen)}
                images.add(tuple(label[token] for token in cells))
    return images


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=16, max_size=16))
def test_the_canonical_4x4_board_is_the_smallest_of_the_orbit(cells):
    board = np.array([cells], np.uint8)  # any tokens: nothing rests on the rules
    assert tuple(sudoku.canonical(generated(4), board)[0]) == min(orbit(board, 4))


def test_the_canonical_6x6_board_is_the_smallest_of_the_orbit():
    dataset = generated(6, 2, 1)
    table = sudoku.examples(dataset, None)["train"]
    for board, canonical in zip(table.inputs, sudoku.canonical(dataset, table.inputs), strict=True):
        assert tuple(canonical) == min(orbit(board, 6))
    transposed = table.inputs.reshape(-1, 6, 6).transpose(0, 2, 1).reshape(-1, 36)
    assert (sudoku.canonical(dataset, transposed) != sudoku.canonical(dataset, table.inputs)).any(axis=1).all()


def test_4x4_boards_are_canonically_equal_exactly_when_symmetric(boards):
    dataset = generated(4)
    rng = np.random.default_rng(0)
    some = rng.integers(1, 3, (30, 16)).astype(np.uint8)
    canonical = sudoku.canonical(dataset, some)
    orbits = [frozenset(orbit(board, 4)) for board in some]
    for i, j in itertools.combinations(range(30), 2):
        assert (canonical[i] == canonical[j]).all() == (orbits[i] == orbits[j])


# The published CSV


def test_a_published_row_is_encoded_as_digits_plus_1(tmp_path):
    dots_as_zeros = ROW.replace(".", "0").replace("\n", "\r\n")
    tables = sudoku.examples(published, write(tmp_path, test="\ufeff" + HEADER + dots_as_zeros))
    for table in tables.values():
        assert table.inputs.dtype == np.uint8
        assert (table.inputs == tokens(QUESTION)).all()
        assert (table.labels == tokens(ANSWER)).all()
        assert table.group.tolist() == [0]


def test_a_subsample_is_distinct_random_and_a_function_of_the_seed(tmp_path):
    write(tmp_path, train=shuffled_rows(200), test=shuffled_rows(100))

    def read(**keys):
        return sudoku.examples(sudoku.Dataset(puzzle="sudoku", **keys), tmp_path)

    whole = read(subsample_size=None)
    assert len(whole["train"]) == 200
    assert (read(subsample_size=200, seed=3)["train"].inputs == whole["train"].inputs).all()
    some, again, other = (read(subsample_size=50, seed=seed)["train"] for seed in (0, 0, 1))
    assert len(np.unique(some.inputs, axis=0)) == 50
    assert (some.inputs == again.inputs).all()
    assert (some.inputs != other.inputs).any()
    rows = {row.tobytes() for row in whole["train"].inputs}
    assert all(row.tobytes() in rows for row in some.inputs)
    assert sudoku.is_valid(published, some.inputs, some.labels).all()
    assert (read(test_size=10)["test"].inputs == whole["test"].inputs[::10]).all()
    assert len(read(test_size=1000)["test"]) == 100


def test_the_file_is_read_in_blocks(tmp_path, monkeypatch):
    text = shuffled_rows(100)
    whole = sudoku.examples(published, write(tmp_path, train=text.rstrip("\n"), test=text))
    parsed = []
    parse = sudoku._parse
    monkeypatch.setattr(sudoku, "_parse", lambda *args: parsed.append(len(args[2])) or parse(*args))
    for block in (1, 300, 1000):
        monkeypatch.setattr(sudoku, "_BLOCK", block)
        parsed.clear()
        blocks = sudoku.examples(published, tmp_path)
        assert max(parsed) <= block + 200  # a block and the rest of its last line
        for split in ("train", "test"):
            assert (blocks[split].inputs == whole[split].inputs).all()
            assert (blocks[split].labels == whole[split].labels).all()


def rated_rows(ratings):
    rows = shuffled_rows(len(ratings)).splitlines()[1:]
    return HEADER + "".join(f"{row.removesuffix(',1')},{rating}\n" for row, rating in zip(rows, ratings, strict=True))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("block", [1, 1000, 8 << 20])
def test_only_boards_that_are_hard_enough_take_part(tmp_path, monkeypatch, block, line_end):
    monkeypatch.setattr(sudoku, "_BLOCK", block)
    ratings = [0, 3, 12, 2, 3, 999999999, 10, 0]
    text = rated_rows(ratings).replace("\n", line_end)
    write(tmp_path, train=text, test=text)

    def read(**keys):
        return sudoku.examples(sudoku.Dataset(puzzle="sudoku", **keys), tmp_path)

    everything = read()["train"].inputs
    for least in (0, 1, 3, 10, 11, 999999999):
        hard = np.flatnonzero(np.array(ratings) >= least)
        for table in read(min_difficulty=least).values():
            assert (table.inputs == everything[hard]).all()
            assert table.group.tolist() == list(range(len(hard)))
    some = read(min_difficulty=3, subsample_size=2, test_size=3)
    assert [len(table) for table in some.values()] == [2, 3]
    for table in some.values():
        assert all((row == everything[[1, 2, 4, 5, 6]]).all(axis=1).any() for row in table.inputs)
    with pytest.raises(BadInput, match=r"train\.csv: no row has the rating 1000000000 or more"):
        read(min_difficulty=10**9)


@pytest.mark.parametrize(
    ("rating", "message"),
    [
        ("", "line 3: rating is 0 bytes long, expected 1 to 9 digits"),
        ("1234567890", "line 3: rating is 10 bytes long"),
        ("-3", "line 3: rating has '-', expected a whole number"),
        ("2.5", "line 3: rating has '.'"),
        ("3 ", "line 3: rating has ' '"),
        ("nan", "line 3: rating has 'n'"),
    ],
)
def test_ratings_are_read_only_where_they_matter(tmp_path, rating, message):
    text = rated_rows([5, rating, 5])
    write(tmp_path, train=text, test=text)
    assert len(sudoku.examples(published, tmp_path)["train"]) == 3
    with pytest.raises(BadInput) as raised:
        sudoku.examples(sudoku.Dataset(puzzle="sudoku", min_difficulty=1), tmp_path)
    assert message in str(raised.value)
    unrated = "\n".join(line.rpartition(",")[0] for line in text.splitlines())
    write(tmp_path, train=unrated, test=unrated)
    assert len(sudoku.examples(published, tmp_path)["test"]) == 3
    with pytest.raises(BadInput, match=r"line 1: the columns are .*, expected one named 'rating'"):
        sudoku.examples(sudoku.Dataset(puzzle="sudoku", min_difficulty=1), tmp_path)


def swapped(answer, i, j):
    cells = list(answer)
    cells[i], cells[j] = cells[j], cells[i]
    return "".join(cells)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file ends, expected a header"),
        (HEADER, 2, "at least one row"),
        ("source,answer,rating\n" + ROW, 1, "expected one named 'question'"),
        ("source,question,solution,rating\n" + ROW, 1, "expected one named 'answer'"),
        (ROW + ROW, 1, "expected one named 'question'"),
        (HEADER + ROW + ROW.replace(",...7", ",..7"), 3, "question is 80 bytes long, expected 81"),
        (HEADER + ROW + ROW.replace(",...7", ",....7"), 3, "question is 82 bytes long, expected 81"),
        (HEADER + ROW.replace(ANSWER, ANSWER[1:]), 2, "answer is 80 bytes long, expected 81"),
        (HEADER + ROW + ROW.replace(",...7", ",..x7"), 3, "question has 'x' in cell 3, expected a digit"),
        (HEADER + ROW.replace(",...7", ",.\x007.."), 2, "bytes long"),
        (HEADER + ROW.replace(",...7", ",.\x00.7"), 2, r"question has '\x00' in cell 2"),
        (HEADER + ROW.replace("8467", "0467"), 2, "answer has '0' in cell 1, expected a digit 1 to 9"),
        (HEADER + ROW.replace("8467", "84.7"), 2, "answer has '.' in cell 3"),
        (HEADER + ROW + ROW.replace(",...7", ",...1"), 3, "answer contradicts the given in cell 4"),
        (HEADER + ROW + ROW.replace(ANSWER, swapped(ANSWER, 0, 1)), 3, "answer breaks the rules"),
        (HEADER + ROW + ROW[:120], 3, "has 3 fields, expected 4|answer is"),
        (HEADER + ROW + "\n" + ROW, 3, "has 1 fields, expected 4"),
        (HEADER + ROW + ROW.replace(",1\n", ",1,1\n"), 3, "has 5 fields, expected 4 as in line 1"),
        ((HEADER + ROW).encode() + ROW.encode().replace(b"unknown", b"unkn\xffwn"), 3, "0xff is not UTF-8"),
        ((HEADER + ROW).encode("utf-16"), 1, "not UTF-8"),
        (HEADER + ROW.replace(",...7", ",.é7"), 2, "question has 'Ã' in cell 2"),
    ],
)
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_malformed_file_is_bad_input_with_its_line(tmp_path, name, text, line, message):
    write(tmp_path, **{name: text})
    with pytest.raises(BadInput) as raised:
        sudoku.examples(published, tmp_path)
    shown = str(raised.value)
    assert shown.startswith(f"{tmp_path / name}.csv: line {line}: ")
    assert any(part in shown for part in message.split("|"))
    assert shown.isprintable()


def test_a_missing_file_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"train\.csv: cannot be read \(No such file"):
        sudoku.examples(published, tmp_path)


@needs_real
def test_real_boards_have_one_solution_which_is_the_answer():
    for table in sudoku.examples(sudoku.Dataset(puzzle="sudoku", test_size=1000), REAL).values():
        assert len(table) == 1000
        counts, first = sudoku.solutions(published, table.inputs)
        assert (counts == 1).all()
        assert (first == table.labels).all()


@needs_real
def test_real_boards_have_one_canonical_form_in_all_variants():
    table = sudoku.examples(sudoku.Dataset(puzzle="sudoku", subsample_size=50, test_size=50), REAL)["train"]
    moves = sudoku.variants(published, table.group, table.group + 1)
    for boards in (table.inputs, table.labels):
        canonical = sudoku.canonical(published, boards)
        assert (sudoku.canonical(published, moves.apply(boards)) == canonical).all()
        assert len(np.unique(canonical, axis=0)) == 50


# Drawing


def texts_of(drawing, color):
    return [shape for shape in drawing.shapes if isinstance(shape, Text) and shape.color == color]


def test_a_drawing_shows_givens_answers_and_errors(boards, size):
    dataset, table = generated(size), boards["train"]
    inputs, label = table.inputs[0], table.labels[0]
    blank = np.flatnonzero(inputs == 1)
    prediction = label.copy()
    prediction[blank[:3]] = 0, 1, 2 + (label[blank[2]] - 1) % size
    alone = sudoku.draw(dataset, inputs, None, None)
    assert len(texts_of(alone, "given")) == (inputs > 1).sum() == sum(isinstance(s, Rect) for s in alone.shapes)
    assert sum(isinstance(shape, Text) for shape in alone.shapes) == (inputs > 1).sum()
    assert all(text.bold for text in texts_of(alone, "given"))
    checked = sudoku.draw(dataset, inputs, prediction, label)
    assert len(texts_of(checked, "error")) == 3
    assert len(texts_of(checked, "answer")) == len(blank) - 3
    unchecked = sudoku.draw(dataset, inputs, prediction, None)
    assert len(texts_of(unchecked, "answer")) == len(blank)
    assert len(texts_of(unchecked, "error")) == 0
    assert (checked.width, checked.height) == (size, size)
