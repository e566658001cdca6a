"""Random draws are functions of their keys, and look random."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm import draws

key = st.integers(-(2**63), 2**63 - 1)
small = st.integers(0, 6)


@given(st.lists(key, min_size=1, max_size=4), small, small)
def test_a_draw_is_the_same_alone_and_among_others(keys, row, column):
    grid = draws.hashed(*keys, np.arange(7)[:, None], np.arange(7))
    assert grid.shape == (7, 7)
    assert grid[row, column] == draws.hashed(*keys, row, column)[0]


@given(st.permutations(range(12)))
def test_the_order_of_asking_does_not_matter(order):
    order = np.array(order)
    assert (draws.permutations(5, 3, order) == draws.permutations(5, 3, np.arange(12))[order]).all()
    assert (draws.uniform(3, order) == draws.uniform(3, np.arange(12))[order]).all()


def test_draws_stay_the_same_for_ever():
    # figures here are those of the first release: datasets and training orders hang on them
    assert draws.hashed(0, 1, np.arange(3)).tolist() == [768889509309083662, 3921992799272616245, 5706241220826143957]
    assert draws.permutations(8, 42, 7).tolist() == [7, 0, 4, 6, 3, 5, 2, 1]


def test_streams_differ():
    rows = np.arange(1000)
    streams = [draws.hashed(*keys, rows) for keys in ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0))]
    assert len(np.unique(np.concatenate(streams))) == 6 * len(rows)


def test_keys_are_told_apart_by_place():
    assert draws.hashed(1, 2) != draws.hashed(2, 1)


def chi_square(counts):
    return ((counts - counts.mean()) ** 2 / counts.mean()).sum()


@pytest.mark.parametrize("keys", [(0,), (7, 3), (2**40, 1, 2)])
def test_uniform_looks_uniform(keys):
    values = draws.uniform(*keys, np.arange(100_000))
    assert values.min() >= 0
    assert values.max() < 1
    # 99 degrees of freedom: 160 is exceeded once in 10,000
    assert chi_square(np.histogram(values, 100, (0, 1))[0]) < 160


def test_neighbouring_draws_look_independent():
    values = draws.uniform(5, np.arange(300)[:, None], np.arange(300))
    for axis in (0, 1):
        here, there = np.delete(values, -1, axis), np.delete(values, 0, axis)
        pairs = np.histogram2d(here.ravel(), there.ravel(), 10, ((0, 1), (0, 1)))[0]
        assert chi_square(pairs) < 160


def test_permutations_look_uniform():
    orders = draws.permutations(4, 11, np.arange(24_000))
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert chi_square(counts) < 56  # 23 degrees of freedom: once in 10,000


@given(st.integers(1, 40), key)
def test_permutations_hold_everything_once(n, seed):
    assert (np.sort(draws.permutations(n, seed, np.arange(3))) == np.arange(n)).all()


@given(st.integers(-100, 100), st.integers(1, 50), key)
def test_integers_stay_in_their_range(low, count, seed):
    values = draws.integers(low, low + count, seed, np.arange(200))
    assert values.min() >= low
    assert values.max() < low + count


def test_integers_reach_all_values_equally_often():
    counts = np.bincount(draws.integers(2, 17, 1, np.arange(30_000)), minlength=17)
    assert counts[:2].sum() == 0
    assert chi_square(counts[2:]) < 43  # 14 degrees of freedom: once in 10,000
