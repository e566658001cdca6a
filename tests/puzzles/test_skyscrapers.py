"""Skyscrapers: random Latin squares, boards with one solution, symmetries, and what counts as a valid answer."""

import time
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm import draws
from trm.files import BadInput
from trm.puzzles import Origin, skyscrapers
from trm.puzzles.drawing import PALETTE, Rect, Text

SIZES = [4, 5, 6, 7]


def dataset(size=6, **keys) -> skyscrapers.Dataset:
    return skyscrapers.Dataset(puzzle="skyscrapers", size=size, **{"subsample_size": 60, "test_size": 20, **keys})


def visible(line) -> int:
    return sum(height > max(line[:place], default=0) for place, height in enumerate(line))


def framed(square: np.ndarray) -> np.ndarray:
    """The board [cells] of a square [size, size], in plain Python."""
    rows, columns = square.tolist(), square.T.tolist()
    top, bottom = [visible(line) for line in columns], [visible(line[::-1]) for line in columns]
    middle = [[visible(row), *row, visible(row[::-1])] for row in rows]
    return np.array([[0, *top, 0], *middle, [0, *bottom, 0]], np.uint8).ravel()


def all_squares(size: int) -> np.ndarray:
    """Every Latin square [n, size, size] by brute force over its rows."""
    lines = list(permutations(range(1, size + 1)))
    found = [
        rows for rows in product(lines, repeat=size) if all(len(set(column)) == size for column in np.transpose(rows))
    ]
    return np.array(found)


SQUARES = all_squares(4)
BOARDS = np.array([framed(square) for square in SQUARES])


@pytest.fixture(scope="module", params=SIZES)
def size(request):
    return request.param


@pytest.fixture(scope="module")
def splits(size):
    return skyscrapers.examples(dataset(size), None)


# ---- Latin squares


def test_all_latin_squares_are_drawn_equally_often():
    n = 40 * len(SQUARES)
    everything_given = dataset(4, given=(1, 1))  # every square has a unique board, so none is passed over
    labels = skyscrapers._draw_boards(everything_given, draws.hashed(0, np.arange(n)))[1]
    boards, counts = np.unique(labels, axis=0, return_counts=True)
    assert {board.tobytes() for board in boards} == {board.tobytes() for board in BOARDS}
    chi_square = ((counts - 40) ** 2 / 40).sum()  # 575 degrees of freedom: 575 +- 34
    assert 575 - 5 * 34 < chi_square < 575 + 5 * 34


# ---- boards


def test_the_label_is_a_latin_square_with_its_clues(size, splits):
    for table, count in zip(splits.values(), (60, 20), strict=True):
        assert table.inputs.shape == table.labels.shape == (count, skyscrapers.seq_len(dataset(size)))
        assert table.inputs.dtype == table.labels.dtype == np.uint8
        assert table.group.tolist() == list(range(count))
        assert table.labels.max() == size == skyscrapers.vocab_size(dataset(size)) - 1
        for label in table.labels:
            square = label.reshape(size + 2, size + 2)[1:-1, 1:-1]
            for line in (*square, *square.T):
                assert sorted(line) == list(range(1, size + 1))
            assert (framed(square) == label).all()


def test_the_input_shows_all_clues_and_part_of_the_heights(size, splits):
    for table in splits.values():
        asked = skyscrapers.blanks(dataset(size), table.inputs)
        assert (table.inputs[~asked] == table.labels[~asked]).all()
        assert (table.inputs[asked] == 0).all()
        assert (table.labels[asked] > 0).all()
        given = size**2 - asked.sum(axis=1)
        assert given.max() <= round(0.3 * size**2)
        assert len(set(given)) > 3


@pytest.mark.parametrize(("share", "least", "most"), [((0, 0), 0, 0), ((0.5, 0.5), 18, 18), ((0.1, 0.6), 4, 22)])
def test_the_share_of_given_heights_is_as_asked(share, least, most):
    table = skyscrapers.examples(dataset(given=share, subsample_size=300), None)["train"]
    given = 36 - skyscrapers.blanks(dataset(), table.inputs).sum(axis=1)
    assert (given.min(), given.max()) == (least, most)


def test_boards_have_one_solution(size, splits):
    for table in splits.values():
        assert (skyscrapers.solutions(dataset(size), table.inputs, limit=5) == 1).all()
        assert not skyscrapers.several_answers(dataset(size), table.inputs).any()


def test_no_two_squares_are_twins_within_or_across_splits(size, splits):
    for part in ("inputs", "labels"):
        boards = np.concatenate([getattr(table, part) for table in splits.values()])
        assert len(np.unique(skyscrapers.canonical(dataset(size), boards), axis=0)) == 80


def test_more_boards_than_there_are_squares_are_reported():
    with pytest.raises(BadInput, match=r"found only \d+ boards of size 4 .* expected 2200: ask for fewer"):
        skyscrapers.examples(dataset(4, subsample_size=2000, test_size=200), None)


def test_the_same_seed_gives_the_same_boards_and_another_seed_others(size, splits):
    again, other = (skyscrapers.examples(dataset(size, seed=seed), None) for seed in (0, 1))
    for name, table in splits.items():
        assert (again[name].inputs == table.inputs).all()
        assert (again[name].labels == table.labels).all()
        assert not np.array_equal(other[name].labels, table.labels)


def test_the_published_number_of_boards_takes_a_second_or_two():
    skyscrapers.examples(dataset(), None)  # has the search compiled
    start = time.perf_counter()
    skyscrapers.examples(skyscrapers.Dataset(puzzle="skyscrapers"), None)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": 3}, "greater than or equal to 4"),
        ({"size": 8}, "less than or equal to 7"),
        ({"num_aug": 8}, "less than or equal to 7"),
        ({"given": (0.3, 0.2)}, "smaller share first"),
        ({"given": (0.3, 1.2)}, "less than or equal to 1"),
        ({"subsample_size": None}, "valid integer"),
        ({"test_size": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        dataset(**keys)


def test_there_is_nothing_to_download():
    assert skyscrapers.SOURCES == {}
    assert skyscrapers.raw_files(dataset()) == []


# ---- solving


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 575), st.sets(st.integers(0, 35)), st.lists(st.tuples(st.integers(0, 35), st.integers(0, 4))))
def test_the_solver_finds_as_many_solutions_as_brute_force(number, shown, changes):
    board = np.where(np.isin(np.arange(36), list(shown)), BOARDS[number], 0)
    for cell, token in changes[:2]:  # often to a contradiction
        board[cell] = token
    board[[0, 5, 30, 35]] = 0
    expected = ((board == 0) | (board == BOARDS)).all(axis=1).sum()
    assert skyscrapers.solutions(dataset(4), board[None], limit=1000)[0] == expected
    assert skyscrapers.solutions(dataset(4), board[None])[0] == min(expected, 2)
    assert skyscrapers.several_answers(dataset(4), board[None])[0] == (expected > 1)


def test_a_board_without_any_clue_has_every_square_as_a_solution():
    for size, squares in ((4, 576), (5, 161280)):
        empty = np.zeros((1, (size + 2) ** 2), np.uint8)
        assert skyscrapers.solutions(dataset(size), empty, limit=10**6) == squares


@pytest.mark.parametrize("token", [5, 8, 9, 64, 255])
@pytest.mark.parametrize("cell", [3, 7, 13, 18, 34])
def test_a_token_that_means_nothing_has_no_solution(token, cell):
    board = BOARDS[:1].copy()
    board[0, cell] = token
    assert skyscrapers.solutions(dataset(4), board)[0] == 0


# ---- symmetries


def moves(size, variant, n=1):
    return skyscrapers.variants(dataset(size), np.arange(n), np.full(n, variant))


def test_variant_0_is_the_identity_and_all_variants_differ(size, splits):
    inputs = splits["train"].inputs
    assert (moves(size, 0, len(inputs)).apply(inputs) == inputs).all()
    assert len({moves(size, v).apply(inputs[:1]).tobytes() for v in range(8)}) == 8


@pytest.mark.parametrize("variant", range(8))
def test_inverse_undoes_a_variant_and_composition_stays_in_the_group(size, splits, variant):
    inputs = splits["train"].inputs
    move = moves(size, variant, len(inputs))
    assert (move.inverse().apply(move.apply(inputs)) == inputs).all()
    group = {moves(size, v).cells.tobytes() for v in range(8)}
    assert {move[:1].compose(moves(size, v)).cells.tobytes() for v in range(8)} == group


@pytest.mark.parametrize("variant", range(1, 8))
def test_augmented_boards_are_boards_of_the_same_orbit_with_one_solution(size, splits, variant):
    table = splits["train"]
    n = len(table)
    origin = Origin(table.group, np.full(n, variant), np.zeros(n, int), np.ones(n, int))
    inputs, labels = skyscrapers.augment(dataset(size), origin, table.inputs, table.labels)
    assert (inputs != table.inputs).any(axis=1).mean() > 0.8  # a few boards are symmetric themselves
    assert skyscrapers.is_valid(dataset(size), inputs, labels).all()
    assert (skyscrapers.solutions(dataset(size), inputs) == 1).all()
    for label in labels[:5]:  # the clues moved with their lines
        assert (framed(label.reshape(size + 2, size + 2)[1:-1, 1:-1]) == label).all()
    for boards, before in ((inputs, table.inputs), (labels, table.labels)):
        assert (skyscrapers.canonical(dataset(size), boards) == skyscrapers.canonical(dataset(size), before)).all()


def test_boards_have_equal_canonical_forms_exactly_when_they_are_twins():
    forms = {form.tobytes() for form in skyscrapers.canonical(dataset(4), BOARDS)}

    def images(square):
        for turned in (np.rot90(square, k) for k in range(4)):
            yield from (turned, turned.T)

    orbits = {min(image.tobytes() for image in map(np.ascontiguousarray, images(square))) for square in SQUARES}
    assert len(forms) == len(orbits) < 576 / 4


# ---- validity


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 575),
    st.sets(st.integers(0, 35)),
    st.integers(0, 575),
    st.dictionaries(st.integers(0, 35), st.integers(-5, 300), max_size=1),
)
def test_validity_agrees_with_the_rules_in_plain_python(asked, shown, answered, spoiled):
    inputs = np.where(np.isin(np.arange(36), list(shown)), BOARDS[asked], 0)
    prediction = BOARDS[answered].astype(np.int64)
    for cell, token in spoiled.items():
        prediction[cell] = token
    square = prediction.reshape(6, 6)[1:-1, 1:-1]
    latin = all(sorted(line) == [1, 2, 3, 4] for line in (*square.tolist(), *square.T.tolist()))
    valid = latin and bool(((inputs == 0) | (inputs == framed(square))).all())
    assert skyscrapers.is_valid(dataset(4), inputs[None], prediction[None])[0] == valid


def test_the_frame_of_a_prediction_does_not_count():
    inputs, prediction = BOARDS[:1].copy(), BOARDS[:1].astype(np.int64)
    inputs.reshape(6, 6)[1:-1, 1:-1] = 0
    for cell in (0, 1, 6, 11, 30, 35):
        prediction[0, cell] = 99
    assert skyscrapers.is_valid(dataset(4), inputs, prediction)[0]


@pytest.mark.parametrize("garbage", [-1, 0, 7, 8, 255, 257, 10**6])
def test_heights_that_mean_nothing_are_invalid_not_an_error(garbage):
    table = skyscrapers.examples(dataset(), None)["train"]
    inside = np.flatnonzero(np.pad(np.ones((6, 6)), 1).ravel())
    predictions = table.labels[:36].astype(np.int64)
    assert skyscrapers.is_valid(dataset(), table.inputs[:36], predictions).all()
    predictions[np.arange(36), inside] = garbage
    assert not skyscrapers.is_valid(dataset(), table.inputs[:36], predictions).any()


# ---- drawing


def texts(drawing, color) -> list[Text]:
    shapes = [shape for shape in drawing.shapes if isinstance(shape, Text)]
    assert {shape.color for shape in shapes} <= set(PALETTE)
    return [shape for shape in shapes if shape.color == color]


def test_a_drawing_shows_clues_givens_answers_and_errors():
    label, inputs = BOARDS[0], BOARDS[0].copy()
    inputs[[7, 8, 9, 10]] = 0
    prediction = label.astype(np.int64)
    prediction[[7, 8]] = 0, label[8] % 4 + 1
    prediction[1] = 3 - int(label[1])  # a clue that is repeated wrongly is no wrong height
    checked = skyscrapers.draw(dataset(4), inputs, prediction, label)
    assert (checked.width, checked.height) == (6, 6)
    clues = texts(checked, "frame")
    assert len(clues) == 16
    assert {(clue.x in (0.5, 5.5), clue.y in (0.5, 5.5)) for clue in clues} == {(True, False), (False, True)}
    assert len(texts(checked, "given")) == sum(isinstance(shape, Rect) for shape in checked.shapes) == 12
    assert [error.text for error in texts(checked, "error")] == ["?", str(label[8] % 4 + 1)]
    assert len(texts(checked, "answer")) == 2
    assert texts(checked, "error")[0].x == texts(checked, "error")[0].y == 1.5


def test_a_drawing_needs_neither_prediction_nor_label():
    inputs = np.where(np.arange(36) == 7, 0, BOARDS[0])
    alone = skyscrapers.draw(dataset(4), inputs, None, None)
    assert (len(texts(alone, "frame")), len(texts(alone, "given")), len(texts(alone, "answer"))) == (16, 15, 0)
    assert not texts(skyscrapers.draw(dataset(4), inputs, None, BOARDS[0]), "answer")
    unchecked = skyscrapers.draw(dataset(4), inputs, np.full(36, 99), None)
    assert [text.text for text in texts(unchecked, "answer")] == ["?"]
