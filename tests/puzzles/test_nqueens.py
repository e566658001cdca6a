"""N queens: all solutions, masks, splits that do not leak, symmetries, and what counts as a valid answer."""

import time
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.files import BadInput
from trm.puzzles import nqueens
from trm.puzzles.drawing import PALETTE, Rect, Text
from trm.puzzles.nqueens import EMPTY, QUEEN, UNKNOWN

VARIANTS = ["unique", "many"]


def dataset(size=8, **keys) -> nqueens.Dataset:
    return nqueens.Dataset(puzzle="nqueens", size=size, **keys)


def build(size=8, **keys) -> dict:
    return nqueens.examples(dataset(size, **keys), Path("unused"))


def brute_force(size: int) -> np.ndarray:
    """Boards [n, cells] of all solutions, from all permutations of the columns."""
    columns = np.array(list(permutations(range(size))))
    rows = np.arange(size)
    distinct = [np.diff(np.sort(columns + sign * rows, axis=1), axis=1).all(axis=1) for sign in (1, -1)]
    columns = columns[distinct[0] & distinct[1]]
    return np.where(columns[:, :, None] == rows, QUEEN, EMPTY).reshape(-1, size**2)


def forms(boards: np.ndarray) -> set[bytes]:
    size = int(boards.shape[1] ** 0.5)
    return {form.tobytes() for form in nqueens.canonical(dataset(size, split="published"), boards)}


# ---- solutions


@pytest.mark.parametrize(
    ("size", "count", "orbits"),
    [
        (4, 2, 1),
        (5, 10, 2),
        (6, 4, 1),
        (7, 40, 6),
        (8, 92, 12),
        (9, 352, 46),
        (10, 724, 92),
        (12, 14200, 1787),
    ],
)
def test_all_solutions_are_found(size, count, orbits):
    queens = nqueens.solutions(size)
    assert len(np.unique(queens, axis=0)) == len(queens) == count
    boards = np.where(queens[:, :, None] == 1 << np.arange(size), QUEEN, EMPTY).reshape(-1, size**2)
    assert len(forms(boards.astype(np.uint8))) == orbits
    assert nqueens.is_valid(dataset(size, split="published"), np.full_like(boards, EMPTY), boards).all()


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8])
def test_the_labels_are_the_solutions_of_a_brute_force_search(size):
    splits = build(size, variant="many", split="published")
    labels = np.concatenate([table.labels for table in splits.values()])
    assert {row.tobytes() for row in labels} == {row.astype(np.uint8).tobytes() for row in brute_force(size)}


# ---- masks


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_unique_boards_have_exactly_one_completion(size):
    solutions = brute_force(size)
    for table in build(size, split="published").values():
        shown = table.inputs == QUEEN
        agrees = shown.astype(int) @ (solutions == QUEEN).T == shown.sum(axis=1)[:, None]  # [boards, solutions]
        assert (agrees.sum(axis=1) == 1).all()
        assert (solutions[agrees.argmax(axis=1)] == table.labels).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_show_part_of_the_label_and_tell_nothing_of_the_rest(variant):
    rest = {"unique": UNKNOWN, "many": EMPTY}[variant]
    for table in build(variant=variant).values():
        assert table.inputs.dtype == table.labels.dtype == np.uint8
        shown = table.inputs == QUEEN
        assert (table.labels[shown] == QUEEN).all()
        assert (table.inputs[~shown] == rest).all()
        assert (nqueens.blanks(dataset(variant=variant), table.inputs) == ~shown).all()
        assert table.inputs.max() < nqueens.vocab_size(dataset(variant=variant))
        assert table.inputs.shape[1] == nqueens.seq_len(dataset())
        assert nqueens.is_valid(dataset(variant=variant), table.inputs, table.labels).all()


@pytest.mark.parametrize(
    ("keys", "least", "most"),
    [
        ({"variant": "many"}, 2, 10),
        ({"variant": "unique"}, 2, 7),
        ({"variant": "many", "hidden": (0.5, 0.5)}, 5, 5),
        ({"variant": "many", "hidden": (0, 0)}, 1, 1),
    ],
)
def test_the_share_of_hidden_queens_is_as_asked_and_never_none(keys, least, most):
    table = build(10, split="published", **keys)["train"]
    hidden = 10 - (table.inputs == QUEEN).sum(axis=1)
    assert (hidden.min(), hidden.max()) == (least, most)


@pytest.mark.parametrize(("keys", "masks"), [({}, 5), ({"masks": 1}, 1), ({"masks": 8}, 8)])
def test_train_has_all_masks_of_a_solution_and_test_has_one(keys, masks):
    splits = build(variant="many", split="published", **keys)
    for name, count in (("train", masks), ("test", 1)):
        assert (np.unique(splits[name].labels, axis=0, return_counts=True)[1] == count).all()
    assert len(splits["train"]) == masks * 83
    assert len(splits["test"]) == 9  # a tenth of 92 solutions


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_mask_is_a_group_of_its_own(variant):
    for table in build(variant=variant).values():
        assert (np.diff(table.group) > 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_seed_gives_the_same_boards_and_another_seed_others(variant):
    first, again, other = (build(variant=variant, seed=seed) for seed in (0, 0, 1))
    for name in first:
        assert (first[name].inputs == again[name].inputs).all()
        assert not np.array_equal(first[name].inputs, other[name].inputs)


# ---- splits


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [5, 7, 8, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_orbit_split_shares_neither_solutions_nor_inputs_up_to_symmetry(size, variant, seed):
    splits = build(size, variant=variant, seed=seed)
    for part in ("inputs", "labels"):
        assert not forms(getattr(splits["train"], part)) & forms(getattr(splits["test"], part))
    assert len(forms(splits["test"].inputs)) == len(splits["test"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_nearly_every_test_solution_of_the_published_split_stands_in_train_turned_or_mirrored(variant):
    splits = build(9, variant=variant, split="published")
    train = forms(splits["train"].labels)
    shared = [form.tobytes() in train for form in nqueens.canonical(dataset(9), splits["test"].labels)]
    assert len(shared) == 35  # a tenth of 352
    assert np.mean(shared) > 0.95


def test_the_orbit_split_sets_aside_the_share_that_was_asked_for():
    for share, orbits in ((0.01, 1), (0.25, 3), (0.5, 6), (0.99, 11)):
        assert len(forms(build(variant="many", test_share=share, masks=40, hidden=(0, 0))["test"].labels)) == orbits


@pytest.mark.parametrize("variant", VARIANTS)
def test_size_12_builds_in_seconds_and_only_the_published_split_leaks(variant):
    start = time.perf_counter()
    ours, published = (build(12, variant=variant, split=split) for split in ("orbit", "published"))
    assert time.perf_counter() - start < 20
    assert len(published["test"].labels) == 1420
    assert forms(published["test"].labels) < forms(published["train"].labels)  # each of the 1420
    assert not forms(ours["test"].labels) & forms(ours["train"].labels)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": 6}, "size 6 has but one solution up to symmetry"),
        ({"size": 3}, "greater than or equal to 4"),
        ({"size": 15}, "less than or equal to 14"),
        ({"hidden": (0.7, 0.2)}, "smaller share first"),
        ({"hidden": (0.7, 1.2)}, "less than or equal to 1"),
        ({"test_share": 1.0}, "less than 1"),
        ({"masks": 0}, "greater than or equal to 1"),
        ({"num_aug": 8}, "less than or equal to 7"),
        ({"validation": 0.1}, "validation 0.1: expected 0, since each mask is a group of its own"),
    ],
)
def test_settings_that_do_not_fit_are_explained(keys, message):
    with pytest.raises(ValidationError, match=message):
        dataset(**keys)


@pytest.mark.parametrize("variant", VARIANTS)
def test_settings_that_leave_a_split_empty_are_reported(variant):
    with pytest.raises(BadInput, match=rf"size 8, {variant}, hidden \[1.0, 1.0\] leaves no train board"):
        build(variant=variant, hidden=(1, 1))  # every board is blank: none is unique, and all are the same


def test_there_is_nothing_to_download():
    assert nqueens.SOURCES == {}
    assert nqueens.raw_files(dataset()) == []


# ---- symmetries


def symmetries(variant, n, size=8):
    return nqueens.variants(dataset(size), np.arange(n), np.full(n, variant))


def test_variant_0_is_the_identity_and_all_variants_differ():
    inputs = build()["train"].inputs
    assert (symmetries(0, len(inputs)).apply(inputs) == inputs).all()
    assert len({symmetries(v, 1).cells.tobytes() for v in range(8)}) == 8


@pytest.mark.parametrize("variant", range(8))
def test_inverse_undoes_a_variant_and_composition_stays_in_the_group(variant):
    inputs = build()["train"].inputs
    symmetry = symmetries(variant, len(inputs))
    assert (symmetry.inverse().apply(symmetry.apply(inputs)) == inputs).all()
    group = {symmetries(v, 1).cells.tobytes() for v in range(8)}
    assert {symmetry[:1].compose(symmetries(v, 1)).cells.tobytes() for v in range(8)} == group


@pytest.mark.parametrize("variant", range(8))
def test_a_symmetry_changes_neither_the_canonical_form_nor_validity(variant):
    table = build()["train"]
    symmetry = symmetries(variant, len(table))
    inputs, labels = symmetry.apply(table.inputs), symmetry.apply(table.labels)
    assert (nqueens.canonical(dataset(), inputs) == nqueens.canonical(dataset(), table.inputs)).all()
    assert nqueens.is_valid(dataset(), inputs, labels).all()


# ---- validity


def by_the_rules(inputs: np.ndarray, prediction: np.ndarray, size: int) -> bool:
    """Validity in plain Python, pair by pair."""
    queens = [divmod(cell, size) for cell in np.flatnonzero(prediction == QUEEN).tolist()]
    clash = any(
        a != b and (a[0] == b[0] or a[1] == b[1] or abs(a[0] - b[0]) == abs(a[1] - b[1]))
        for a in queens
        for b in queens
    )
    kept = all(prediction[cell] == QUEEN for cell in np.flatnonzero(inputs == QUEEN))
    return len(queens) == size and not clash and kept and set(prediction.tolist()) <= {EMPTY, QUEEN}


@settings(max_examples=200, deadline=None)
@given(
    st.permutations(range(5)),
    st.sets(st.integers(0, 24), max_size=2),
    st.sets(st.integers(0, 24), max_size=2),
)
def test_validity_agrees_with_the_rules_pair_by_pair(columns, shown, spoiled):
    prediction = np.where(np.array(columns)[:, None] == np.arange(5), QUEEN, EMPTY).ravel()
    prediction[list(spoiled)] = 3 - prediction[list(spoiled)]
    inputs = np.full(25, UNKNOWN)
    inputs[list(shown)] = QUEEN
    assert nqueens.is_valid(dataset(5), inputs[None], prediction[None])[0] == by_the_rules(inputs, prediction, 5)


def test_any_completion_is_valid_not_only_the_label():
    many = dataset(variant="many")
    solutions = brute_force(8)
    assert nqueens.is_valid(many, np.full_like(solutions, EMPTY), solutions).all()
    inputs = np.where(solutions[0] == QUEEN, QUEEN, EMPTY)[None].repeat(len(solutions), axis=0)
    assert nqueens.is_valid(many, inputs, solutions).sum() == 1


@pytest.mark.parametrize("size", [5, 6, 7])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_board_has_several_answers_exactly_when_several_solutions_show_its_queens(size, data):
    solutions = brute_force(size)
    solution = solutions[data.draw(st.integers(0, len(solutions) - 1))]
    shown = data.draw(st.sets(st.integers(0, size**2 - 1), max_size=3)) | set(np.flatnonzero(solution == QUEEN)[:1])
    for variant, rest in (("unique", UNKNOWN), ("many", EMPTY)):
        inputs = np.full((1, size**2), rest, np.uint8)
        inputs[0, list(shown)] = QUEEN  # often more queens than any solution has
        completions = (solutions[:, list(shown)] == QUEEN).all(axis=1).sum()
        several = nqueens.several_answers(dataset(size, variant=variant, split="published"), inputs)
        assert several.tolist() == [completions > 1]


def test_unique_boards_have_one_answer_and_some_of_the_others_several():
    unique, many = (build(variant=variant)["train"].inputs for variant in VARIANTS)
    assert not nqueens.several_answers(dataset(), unique).any()
    several = nqueens.several_answers(dataset(variant="many"), many)
    assert several.any()
    assert not several.all()


def test_hints_can_be_left_out_of_account():
    solutions = brute_force(8)
    inputs = np.where(solutions[0] == QUEEN, QUEEN, EMPTY)[None].repeat(len(solutions), axis=0)
    predictions = solutions.copy()
    predictions[1, np.flatnonzero(solutions[1] == QUEEN)[0]] = EMPTY
    metrics = nqueens.metrics(dataset(), inputs, predictions, inputs)
    assert list(metrics) == ["valid_hints_ignored"]
    assert metrics["valid_hints_ignored"].tolist() == [row != 1 for row in range(len(solutions))]
    assert nqueens.is_valid(dataset(), inputs, predictions).sum() == 1


@pytest.mark.parametrize("garbage", [-1, 0, 3, 4, 255, 257, 258, 10**6])
def test_tokens_that_mean_nothing_are_invalid_not_an_error(garbage):
    prediction = brute_force(5)[:1].repeat(25, axis=0)
    inputs = np.full_like(prediction, EMPTY)
    assert nqueens.is_valid(dataset(5), inputs, prediction).all()
    prediction[np.arange(25), np.arange(25)] = garbage
    assert not nqueens.is_valid(dataset(5), inputs, prediction).any()


# ---- drawing


def queens_by_color(drawing) -> dict[str, int]:
    colors = [shape.color for shape in drawing.shapes if isinstance(shape, Text)]
    assert set(colors) <= set(PALETTE)
    return {color: colors.count(color) for color in colors}


def test_a_drawing_shows_given_right_wrong_and_missed_queens():
    label = brute_force(5)[0]
    cells = np.flatnonzero(label == QUEEN)
    inputs, prediction = np.full(25, UNKNOWN), label.copy()
    inputs[cells[:2]] = QUEEN
    prediction[cells[4]] = EMPTY
    prediction[np.flatnonzero(label == EMPTY)[0]] = QUEEN
    drawing = nqueens.draw(dataset(5), inputs, prediction, label)
    assert (drawing.width, drawing.height) == (5, 5)
    assert sum(isinstance(shape, Rect) for shape in drawing.shapes) == 12  # dark squares of a 5x5 board
    assert queens_by_color(drawing) == {"given": 2, "answer": 2, "error": 1, "missed": 1}


def test_a_drawing_needs_neither_prediction_nor_label():
    label = brute_force(5)[0]
    inputs = np.full(25, EMPTY)
    assert queens_by_color(nqueens.draw(dataset(5), inputs, None, None)) == {}
    assert queens_by_color(nqueens.draw(dataset(5), inputs, None, label)) == {}
    assert queens_by_color(nqueens.draw(dataset(5), inputs, label, None)) == {"answer": 5}
    assert queens_by_color(nqueens.draw(dataset(5), inputs, np.full(25, 99), label)) == {"missed": 5}
