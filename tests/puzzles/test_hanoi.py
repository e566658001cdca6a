"""Towers of Hanoi: games, both encodings, legal and shortest moves, orders of the pegs."""

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.puzzles import hanoi
from trm.puzzles.drawing import PALETTE, Rect, Text
from trm.puzzles.symmetry import as_items

ENCODINGS = ["action", "state"]


def dataset(encoding="action", **keys) -> hanoi.Dataset:
    return hanoi.Dataset(puzzle="hanoi", encoding=encoding, **{"train_disks": (2, 4), "test_disks": (5, 6), **keys})


def build(encoding="action", **keys) -> dict:
    return hanoi.examples(dataset(encoding, **keys), Path("unused"))


def board(encoding: str, *cells: int) -> np.ndarray:
    return np.array([[*cells, *[0] * (hanoi.seq_len(dataset(encoding)) - len(cells))]], np.uint8)


def decode(row: np.ndarray) -> tuple[tuple[int, ...], int]:
    """The pegs and the target of an input, read plainly."""
    tokens = [int(token) for token in row if token]
    return tuple(tokens[:-1]), tokens[-1]


def legal_moves(pegs: tuple[int, ...]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Every legal move (disk, peg) and the state after it, from stacks of disks."""
    stacks = {peg: [disk for disk, on in enumerate(pegs) if on == peg] for peg in (1, 2, 3)}
    moves = {}
    for start, end in permutations(stacks, 2):
        if stacks[start] and (not stacks[end] or stacks[start][0] < stacks[end][0]):
            disk = stacks[start][0]
            moves[disk, end] = (*pegs[:disk], end, *pegs[disk + 1 :])
    return moves


def distances(disks: int, target: int) -> dict[tuple[int, ...], int]:
    """Moves from every state to the solved one, by breadth-first search: a move can be taken back."""
    found = {(target,) * disks: 0}
    queue = list(found)
    for state in queue:
        for after in legal_moves(state).values():
            if after not in found:
                found[after] = found[state] + 1
                queue.append(after)
    return found


def every_state(disks: int, encoding: str) -> np.ndarray:
    """All states of a number of disks with all targets, but the solved ones."""
    states = [(*pegs, target) for *pegs, target in product((1, 2, 3), repeat=disks + 1) if set(pegs) != {target}]
    return np.concatenate([board(encoding, *state) for state in states])


def answer(encoding: str, inputs: np.ndarray, moves: list[tuple[int, int]]) -> np.ndarray:
    """Predictions of moves (disk, peg), one for each input."""
    predictions = inputs.astype(np.int64)
    for row, (disk, peg) in zip(predictions, moves, strict=True):
        if encoding == "action":
            row[: np.count_nonzero(row) - 1] = 0
            row[:2] = 4 + disk, peg
        else:
            row[disk] = peg
    return predictions


# ---- games


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_group_is_a_game_of_all_disks_in_every_order_and_takes_the_fewest_moves(encoding):
    for numbers, table in zip([(2, 3, 4), (5, 6)], build(encoding).values(), strict=True):
        group, length = np.unique(table.group, return_counts=True)
        assert (group == np.arange(6 * len(numbers))).all()
        assert (np.diff(table.group) >= 0).all()
        assert (length == np.repeat([2**disks - 1 for disks in numbers], 6)).all()
        first = [decode(table.inputs[np.argmax(table.group == g)]) for g in group]
        ends = [(len(pegs), *set(pegs), target) for pegs, target in first]
        assert sorted(ends) == sorted((n, *ends) for n in numbers for ends in permutations((1, 2, 3), 2))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_label_is_the_legal_move_to_the_next_state_of_its_game(encoding):
    for table in build(encoding).values():
        for row in range(len(table)):
            pegs, target = decode(table.inputs[row])
            last = row + 1 == len(table) or table.group[row + 1] != table.group[row]
            after = (target,) * len(pegs) if last else decode(table.inputs[row + 1])[0]
            moves = {after: move for move, after in legal_moves(pegs).items()}
            assert after in moves
            label = table.labels[row].tolist()
            disk, peg = moves[after]
            asked = (4 + disk, peg, *[0] * (len(pegs) - 2)) if encoding == "action" else after
            assert label == [*asked, target, *[0] * (len(label) - len(pegs) - 1)]


@pytest.mark.parametrize(
    ("encoding", "test_disks", "vocab_size", "seq_len"),
    [("action", (7, 9), 13, 32), ("state", (7, 9), 4, 32), ("action", (7, 16), 20, 32), ("state", (7, 7), 4, 32)],
)
def test_the_published_sizes(encoding, test_disks, vocab_size, seq_len):
    published = hanoi.Dataset(puzzle="hanoi", encoding=encoding, test_disks=test_disks)
    assert hanoi.vocab_size(published) == vocab_size
    assert hanoi.seq_len(published) == seq_len
    for table in hanoi.examples(hanoi.Dataset(puzzle="hanoi", encoding=encoding), Path("unused")).values():
        assert table.inputs.dtype == table.labels.dtype == np.uint8
        assert table.inputs.shape == table.labels.shape == (len(table.group), 32)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_vocabulary_is_exactly_what_labels_use(encoding):
    labels = build(encoding)["test"].labels
    assert (np.unique(labels) == np.arange(hanoi.vocab_size(dataset(encoding)))).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_test_state_stands_in_train_in_any_order_of_the_pegs(encoding):
    forms = [
        {row.tobytes() for row in hanoi.canonical(dataset(encoding), table.inputs)}
        for table in build(encoding).values()
    ]
    assert not forms[0] & forms[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train_disks": (4, 3)}, r"train_disks \[4, 3\]: expected the smaller number first"),
        ({"test_disks": (6, 5)}, r"test_disks \[6, 5\]: expected the smaller number first"),
        ({"test_disks": (4, 6)}, r"test_disks \[4, 6\]: expected no number of disks that train_disks \[2, 4\] has"),
        ({"train_disks": (2, 8)}, r"test_disks \[5, 6\]: expected no number"),
        ({"train_disks": (1, 3)}, "greater than or equal to 2"),
        ({"test_disks": (7, 17)}, "less than or equal to 16"),
        ({"validation": 0.1}, "expected 0, every game's twins"),
        ({"encoding": "both"}, "'action' or 'state'"),
        ({"num_aug": 1}, "Input should be 0"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        dataset(**keys)


def test_training_on_more_disks_than_are_tested_is_allowed():
    splits = build(train_disks=(5, 6), test_disks=(2, 4))
    assert len(splits["train"]) == 6 * (31 + 63)
    assert hanoi.is_valid(dataset(train_disks=(5, 6), test_disks=(2, 4)), *vars_of(splits["test"])).all()


def vars_of(table) -> tuple[np.ndarray, np.ndarray]:
    return table.inputs, table.labels


def test_there_is_nothing_to_download_and_the_blanks_are_what_the_label_adds():
    assert hanoi.SOURCES == {}
    assert hanoi.raw_files(dataset()) == []
    for encoding in ENCODINGS:
        for table in build(encoding).values():
            blanks = hanoi.blanks(dataset(encoding), table.inputs)
            given = table.labels == np.where(table.labels > 0, table.inputs, 0)
            assert (blanks | given).all()
            assert (table.labels[blanks] > 0).all()
            assert (blanks.sum(axis=1) + 1 == (table.labels > 0).sum(axis=1)).all()


# ---- moves


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("disks", [2, 3, 4])
def test_legal_and_optimal_agree_with_a_search_for_all_moves_of_all_states(encoding, disks):
    inputs = every_state(disks, encoding)
    to_go = {target: distances(disks, target) for target in (1, 2, 3)}
    states = [decode(row) for row in inputs]
    moves_of = [legal_moves(pegs) for pegs, _ in states]
    assert hanoi.shortest(dataset(encoding), inputs).tolist() == [to_go[target][pegs] for pegs, target in states]
    for move in product(range(disks), (1, 2, 3)):
        predictions = answer(encoding, inputs, [move] * len(inputs))
        legal = [move in moves for moves in moves_of]
        best = [
            move in moves and to_go[target][moves[move]] < to_go[target][pegs]
            for moves, (pegs, target) in zip(moves_of, states, strict=True)
        ]
        figures = hanoi.metrics(dataset(encoding), inputs, predictions, predictions)
        assert figures["legal"].tolist() == legal
        assert figures["optimal"].tolist() == best
        assert hanoi.is_valid(dataset(encoding), inputs, predictions).tolist() == best
        after, moved = hanoi.advance(dataset(encoding), inputs, predictions)
        assert moved.tolist() == legal
        assert [decode(row) for row in after] == [
            (moves.get(move, pegs), target) for moves, (pegs, target) in zip(moves_of, states, strict=True)
        ]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_state_has_exactly_one_valid_move(encoding):
    inputs = every_state(4, encoding)
    moves = list(product(range(4), (1, 2, 3)))
    valid = [hanoi.is_valid(dataset(encoding), inputs, answer(encoding, inputs, [m] * len(inputs))) for m in moves]
    assert (np.sum(valid, axis=0) == 1).all()
    assert not hanoi.several_answers(dataset(encoding), inputs).any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_prediction_that_loses_the_target_peg_is_optimal_but_not_valid(encoding):
    table = build(encoding)["test"]
    predictions = table.labels.copy()
    rows, disks = np.arange(len(table)), (table.inputs > 0).sum(axis=1) - 1
    predictions[rows, disks] = predictions[rows, disks] % 3 + 1
    assert hanoi.metrics(dataset(encoding), table.inputs, predictions, table.labels)["optimal"].all()
    assert not hanoi.is_valid(dataset(encoding), table.inputs, predictions).any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cells_that_are_not_asked_for_do_not_matter(encoding):
    table = build(encoding)["test"]
    for noise in (1, 9, 200):
        predictions = np.where(table.labels > 0, table.labels, noise)
        assert hanoi.is_valid(dataset(encoding), table.inputs, predictions).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("garbage", [-100, -1, 0, 3 + 256, 20, 255, 10**12])
def test_tokens_that_mean_nothing_are_illegal_not_an_error(encoding, garbage):
    table = build(encoding)["test"]
    for cell in (0, 1):
        predictions = table.labels.astype(np.int64)
        predictions[:, cell] = garbage
        assert not hanoi.is_valid(dataset(encoding), table.inputs, predictions).any()
        assert not hanoi.metrics(dataset(encoding), table.inputs, predictions, table.labels)["legal"].any()
        assert (hanoi.advance(dataset(encoding), table.inputs, predictions)[0] == table.inputs).all()


def test_a_state_that_moves_no_disk_or_two_is_illegal():
    inputs = board("state", 1, 1, 2, 3)
    for after, legal in [((3, 1, 2), True), ((1, 1, 2), False), ((3, 2, 2), False), ((2, 2, 2), False)]:
        prediction = board("state", *after, 3)
        assert hanoi.metrics(dataset("state"), inputs, prediction, prediction)["legal"].item() == legal


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_solved_state_has_no_valid_move(encoding):
    inputs = board(encoding, 2, 2, 2, 2)
    assert hanoi.shortest(dataset(encoding), inputs).tolist() == [0]
    for move in product(range(3), (1, 2, 3)):
        assert not hanoi.is_valid(dataset(encoding), inputs, answer(encoding, inputs, [move])).any()


# ---- orders of the pegs


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_orders_of_the_pegs_are_a_group(encoding):
    group = hanoi.peg_orders(dataset(encoding))
    tables = {tokens.tobytes() for tokens in group.tokens}
    assert len(tables) == 6
    assert (group.tokens[0] == np.arange(hanoi.vocab_size(dataset(encoding)))).all()
    for first, second in product(range(6), repeat=2):
        one, two = group[np.array([first])], group[np.array([second])]
        assert one.compose(two).tokens.astype(np.uint8).tobytes() in tables
    undone = group.compose(group.inverse())
    assert (undone.tokens == group.tokens[0]).all()
    assert (undone.cells == np.arange(hanoi.seq_len(dataset(encoding)))).all()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ENCODINGS), st.lists(st.integers(1, 3), min_size=3, max_size=7), st.integers(0, 5), st.data())
def test_an_order_of_the_pegs_keeps_legality_validity_length_and_canonical_form(encoding, cells, number, data):
    inputs = board(encoding, *cells)
    move = data.draw(st.tuples(st.integers(0, len(cells) - 2), st.integers(1, 3)))
    prediction = answer(encoding, inputs, [move])
    order = hanoi.peg_orders(dataset(encoding))[np.array([number])]
    ours = dataset(encoding)
    images = order.apply(inputs), order.apply(prediction)
    assert hanoi.is_valid(ours, *images) == hanoi.is_valid(ours, inputs, prediction)
    for name, figure in hanoi.metrics(ours, inputs, prediction, prediction).items():
        assert hanoi.metrics(ours, *images, prediction)[name] == figure
    assert hanoi.shortest(ours, images[0]) == hanoi.shortest(ours, inputs)
    assert (hanoi.canonical(ours, images[0]) == hanoi.canonical(ours, inputs)).all()


def test_canonical_forms_are_equal_exactly_on_orbits():
    ours = dataset("state")
    inputs = every_state(3, "state")
    orders = [dict(enumerate((0, *order))) for order in permutations((1, 2, 3))]
    orbits = [frozenset(tuple(order[int(token)] for token in row) for order in orders) for row in inputs]
    forms = as_items(hanoi.canonical(ours, inputs)).tolist()
    assert len(set(forms)) == len(set(orbits)) == len(set(zip(forms, orbits, strict=True)))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_games_of_a_number_of_disks_are_all_orders_of_one(encoding):
    ours, table = dataset(encoding), build(encoding)["train"]
    games = [table.take(table.group == game) for game in range(6)]
    for game in games:
        for part in ("inputs", "labels"):
            forms = hanoi.canonical(ours, getattr(game, part))
            assert (forms == hanoi.canonical(ours, getattr(games[0], part))).all()


# ---- drawing


def fills(drawing) -> dict[str, int]:
    """How many bars there are of each colour; every shape lies on the paper."""
    for shape in drawing.shapes:
        if isinstance(shape, Rect):
            assert 0 <= shape.x <= shape.x + shape.width <= drawing.width
            assert 0 <= shape.y <= shape.y + shape.height <= drawing.height
    colors = [shape.fill for shape in drawing.shapes if isinstance(shape, Rect)]
    assert set(colors) <= set(PALETTE)
    return {color: colors.count(color) for color in colors}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_drawing_shows_the_towers_and_right_wrong_and_missed_disks(encoding):
    inputs = board(encoding, 1, 1, 2, 3)
    label, wrong = answer(encoding, inputs, [(0, 3)])[0], answer(encoding, inputs, [(1, 3)])[0]
    towers = {"goal": 1, "wall": 3}

    def drawn(prediction, label) -> dict[str, int]:
        return fills(hanoi.draw(dataset(encoding), inputs[0], prediction, label))

    assert drawn(None, None) == drawn(None, label) == towers
    assert drawn(label, label) == drawn(wrong, None) == {**towers, "answer": 1}
    assert drawn(wrong, label) == {**towers, "error": 1, "missed": 1}


def test_a_predicted_disk_lies_on_top_of_the_tower_where_it_goes():
    inputs = board("action", 1, 1, 2, 3)
    shapes = hanoi.draw(dataset(), inputs[0], answer("action", inputs, [(0, 2)])[0], None).shapes
    disks = [shape for shape in shapes if isinstance(shape, Rect) and shape.fill in ("wall", "answer")]
    largest, moved = disks[0], disks[-1]
    assert moved.fill == "answer"
    assert moved.y == largest.y - 1
    assert moved.x + moved.width / 2 == largest.x + largest.width / 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_predictions_that_are_no_move_are_drawn_as_question_marks(encoding):
    inputs = board(encoding, 1, 1, 2, 3)
    prediction = np.full_like(inputs[0], 99)
    shapes = hanoi.draw(dataset(encoding), inputs[0], prediction, answer(encoding, inputs, [(0, 3)])[0]).shapes
    texts = [shape.text for shape in shapes if isinstance(shape, Text) and shape.color == "error"]
    assert texts
    assert set(texts) == {"?"}
