"""Every share has an interval that is right for one run: Wilson's, or that of a ratio over boards."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm.evaluation.evaluate import headline
from trm.evaluation.metrics import Z, share, share_of_parts

# items with some parts, some of which are right
items = st.lists(
    st.integers(0, 81).flatmap(lambda parts: st.tuples(st.integers(0, parts), st.just(parts))), min_size=1, max_size=60
)


def of(hits, count):
    return share(np.arange(count) < hits)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, and R's prop.test(correct = FALSE)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilson_s_interval_is_the_published_one(hits, count, low, high):
    figure = of(hits, count)
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)
    assert (figure.value, figure.count) == (hits / count, count)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_an_interval_holds_its_share_and_stays_between_0_and_1(hits):
    figure = share(np.array(hits))
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high


@given(st.integers(1, 200), st.data())
def test_right_and_wrong_are_mirrored(count, data):
    hits = data.draw(st.integers(0, count))
    figure, mirrored = of(hits, count), of(count - hits, count)
    assert (figure.low, figure.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low))


@given(st.integers(1, 50), st.data())
def test_more_data_narrows_an_interval(count, data):
    hits = data.draw(st.integers(0, count))
    once, tenfold = of(hits, count), of(10 * hits, 10 * count)
    assert tenfold.high - tenfold.low < once.high - once.low


@given(items)
def test_a_share_of_parts_holds_its_value_and_stays_between_0_and_1(pairs):
    right, parts = np.array(pairs).T
    figure = share_of_parts(right, parts)
    if parts.sum() == 0:
        assert math.isnan(figure.value)
        assert (figure.low, figure.high, figure.count) == (0, 1, 0)
        return
    assert figure.value == pytest.approx(right.sum() / parts.sum())
    assert figure.count == parts.sum()
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high


@given(st.lists(st.booleans(), min_size=2, max_size=100).filter(lambda hits: len(set(hits)) == 2))
def test_with_one_part_an_item_it_is_the_plain_share(hits):
    hits = np.array(hits)
    n, p = len(hits), hits.mean()
    figure = share_of_parts(hits.astype(int), np.ones(n, int))
    assert (figure.value, figure.count) == (share(hits).value, n)
    half = Z * math.sqrt(p * (1 - p) / (n - 1))
    assert (figure.low, figure.high) == pytest.approx((max(0, p - half), min(1, p + half)))


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_where_all_items_agree_it_is_wilson_s_over_the_items(share_of, extra, sizes):
    parts = (share_of + extra) * np.array(sizes)
    figure = share_of_parts(share_of * np.array(sizes), parts)
    p, n = share_of / (share_of + extra), len(sizes)
    centre, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    assert (figure.low, figure.high) == pytest.approx(
        ((centre - half) / (1 + Z * Z / n), (centre + half) / (1 + Z * Z / n))
    )


def test_parts_that_hang_together_widen_the_interval():
    parts = np.full(200, 50)
    together = share_of_parts(np.repeat([0, 50], 100), parts)
    apart = share_of_parts(np.tile([24, 26], 100), parts)
    assert together.value == apart.value == 0.5
    assert together.high - together.low > 10 * (apart.high - apart.low)


def test_more_items_narrow_a_share_of_parts():
    right, parts = np.array([3, 8, 1, 7]), np.array([9, 9, 5, 8])
    once, tenfold = share_of_parts(right, parts), share_of_parts(np.tile(right, 10), np.tile(parts, 10))
    assert tenfold.high - tenfold.low < 0.4 * (once.high - once.low)


def test_nothing_scored_says_nothing():
    figure = share(np.array([], bool))
    assert (figure.count, figure.low, figure.high) == (0, 0, 1)
    assert math.isnan(figure.value)


def test_a_figure_in_print_has_its_count_and_interval():
    assert headline(of(5, 10)) == "50.0 % (23.7 to 76.3, n = 10)"
    assert headline(of(2500, 5000).as_dict()) == "50.0 % (48.6 to 51.4, n = 5,000)"
