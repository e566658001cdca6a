"""The training order: packed as published, and a function of (seed, interval, step) alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.datasets import structures
from trm.data.sampler import plan_interval, total_steps


def light_split(structure):
    """The parts of a split that planning reads."""
    sizes = [size for group in structure for size in group]
    return SimpleNamespace(
        puzzle_indices=np.cumsum([0, *sizes]),
        group_indices=np.cumsum([0, *map(len, structure)]),
        metadata=SimpleNamespace(total_groups=len(structure), mean_puzzle_examples=sum(sizes) / len(sizes)),
    )


plans = st.builds(
    lambda *keys: keys, structures, st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32), st.integers(0, 9)
)


def packed_slowly(puzzles, sizes, batch_size):
    """SPEC section 1: how many examples of which puzzle each batch takes, full batches only."""
    batches, batch, room = [], [], batch_size
    for puzzle in puzzles:
        taken = min(sizes[puzzle], room)
        batch.append((puzzle, taken))
        room -= taken
        if room == 0:
            batches.append(batch)
            batch, room = [], batch_size
    return batches


@settings(max_examples=150, deadline=None)
@given(plans)
def test_batches_are_packed_as_published(keys):
    structure, batch_size, epochs, seed, interval = keys
    split = light_split(structure)
    plan = plan_interval(split, batch_size, epochs, seed, interval)
    sizes = np.diff(split.puzzle_indices)
    expected = packed_slowly(plan.puzzles.tolist(), sizes.tolist(), batch_size)
    assert len(plan) == len(expected)  # a last partial batch is dropped
    for step, batch in enumerate(expected):
        rows = plan.rows(step)
        assert len(rows) == batch_size
        begin = 0
        for puzzle, taken in batch:
            part = rows[begin : begin + taken]
            begin += taken
            assert len(set(part.tolist())) == taken  # without replacement
            assert (part >= split.puzzle_indices[puzzle]).all()
            assert (part < split.puzzle_indices[puzzle + 1]).all()


@settings(max_examples=100, deadline=None)
@given(plans)
def test_every_epoch_visits_each_group_once(keys):
    structure, batch_size, epochs, seed, interval = keys
    split = light_split(structure)
    plan = plan_interval(split, batch_size, epochs, seed, interval)
    groups = np.searchsorted(split.group_indices, plan.puzzles, side="right") - 1
    assert (np.sort(groups.reshape(epochs, -1), axis=1) == np.arange(len(structure))).all()


@settings(max_examples=50, deadline=None)
@given(plans)
def test_a_step_depends_on_its_keys_alone(keys):
    plan, again = (plan_interval(light_split(keys[0]), *keys[1:]) for _ in range(2))
    np.random.seed(0)  # noqa: NPY002  (ours must not listen to it)
    forwards = [plan.rows(step).tolist() for step in range(len(plan))]
    np.random.seed(1)  # noqa: NPY002
    backwards = [again.rows(step).tolist() for step in reversed(range(len(plan)))]
    assert forwards == backwards[::-1]


def everything(plan):
    return [plan.rows(step).tolist() for step in range(len(plan))]


def test_seeds_and_intervals_give_different_orders():
    split = light_split([[3, 2]] * 40)
    orders = [everything(plan_interval(split, 8, 3, *keys)) for keys in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])


def test_epochs_have_different_orders():
    plan = plan_interval(light_split([[1]] * 50), 50, 20, 0, 0)
    assert len({tuple(batch) for batch in everything(plan)}) == 20


def test_each_puzzle_of_a_group_is_drawn_about_equally_often():
    plan = plan_interval(light_split([[1] * 10, [2] * 5]), 4, 20_000, 0, 0)
    counts = np.bincount(plan.puzzles, minlength=15)
    for part, mean in ((counts[:10], 2000), (counts[10:], 4000)):
        assert part.sum() == 20_000
        assert np.abs(part - mean).max() < 5 * mean**0.5


def test_each_place_of_a_group_in_the_order_is_about_equally_likely():
    plan = plan_interval(light_split([[1]] * 5), 5, 10_000, 0, 0)
    places = plan.puzzles.reshape(-1, 5)
    counts = np.stack([(places == group).sum(0) for group in range(5)])
    assert np.abs(counts - 2000).max() < 5 * 2000**0.5


def test_a_cut_puzzle_gives_any_of_its_examples():
    plan = plan_interval(light_split([[7]]), 3, 3000, 0, 0)
    assert len(plan) == 3000  # the rest of the puzzle is dropped each time
    counts = np.bincount(np.concatenate(everything(plan)), minlength=7)
    mean = 3000 * 3 / 7
    assert np.abs(counts - mean).max() < 5 * mean**0.5


def test_examples_come_in_any_order_within_their_puzzle():
    plan = plan_interval(light_split([[3]]), 3, 6000, 0, 0)
    orders, counts = np.unique(everything(plan), axis=0, return_counts=True)
    assert len(orders) == 6
    assert np.abs(counts - 1000).max() < 5 * 1000**0.5


@pytest.mark.parametrize(
    ("groups", "batch_size", "epochs", "interval", "total", "packed"),
    [
        (1000, 768, 50_000, 5000, 65_104, 65_100),  # sudoku, maze
        (1000, 384, 20_000, 2000, 52_083, 52_080),  # HRM on one GPU
        (1000, 128, 50_000, 5000, 390_625, 390_620),
    ],
)
def test_steps_are_those_of_the_published_trainings(groups, batch_size, epochs, interval, total, packed):
    split = light_split([[1]] * groups)
    assert total_steps(split, batch_size, epochs) == total
    per_interval = len(plan_interval(split, batch_size, interval, 0, 0))
    assert per_interval * (epochs // interval) == packed


@settings(max_examples=150, deadline=None)
@given(plans, st.integers(1, 6))
def test_a_cap_counts_as_if_no_puzzle_had_more_examples(keys, cap):
    structure, batch_size, epochs, seed, interval = keys
    split = light_split(structure)
    plan = plan_interval(split, batch_size, epochs, seed, interval, cap)
    sizes = np.minimum(np.diff(split.puzzle_indices), cap)
    expected = packed_slowly(plan.puzzles.tolist(), sizes.tolist(), batch_size)
    assert len(plan) == len(expected)
    for step, batch in enumerate(expected):
        rows = plan.rows(step)
        owners = np.searchsorted(split.puzzle_indices, rows, side="right") - 1
        assert owners.tolist() == [puzzle for puzzle, taken in batch for _ in range(taken)]
        begin = 0
        for _, taken in batch:
            assert len(set(rows[begin : begin + taken].tolist())) == taken  # without replacement
            begin += taken
    assert total_steps(split, batch_size, epochs, cap) == int(epochs * len(structure) * sizes.mean() / batch_size)


def test_a_cap_that_no_puzzle_reaches_changes_nothing():
    split = light_split([[3, 2], [5], [1, 1]] * 5)
    capped, plain = (plan_interval(split, 4, 6, 0, 0, cap) for cap in (5, None))
    assert everything(capped) == everything(plain)
    assert total_steps(split, 4, 6, 5) == total_steps(split, 4, 6)


def test_a_capped_puzzle_gives_any_of_its_examples():
    plan = plan_interval(light_split([[7]]), 2, 6000, 0, 0, cap=1)
    assert len(plan) == 3000  # a visit gives one example
    counts = np.bincount(np.concatenate(everything(plan)), minlength=7)
    mean = 6000 / 7
    assert np.abs(counts - mean).max() < 5 * mean**0.5


def test_an_interval_with_less_than_a_batch_has_no_step():
    assert len(plan_interval(light_split([[1]] * 3), 10, 3, 0, 0)) == 0
