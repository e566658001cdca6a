"""Every figure has an interval that is right for one run, and two runs are compared on what they disagree about."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trm.evaluation.evaluate import headline
from trm.evaluation.metrics import RESAMPLES, Z, bootstrap, mcnemar, share, share_of_parts

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


@pytest.mark.parametrize("figure_of", [share, bootstrap])
def test_nothing_scored_says_nothing(figure_of):
    figure = figure_of(np.array([], bool))
    assert (figure.count, figure.low, figure.high) == (0, 0, 1)
    assert math.isnan(figure.value)


# Means of tasks


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_a_mean_of_tasks_lies_in_its_interval_whatever_their_order(values, random):
    figure = bootstrap(np.array(values))
    assert figure.value == pytest.approx(np.mean(values))
    assert figure.count == len(values)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high or max(values) - min(values) < 1e-9
    random.shuffle(values)
    assert bootstrap(np.array(values)) == figure


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_tasks_that_all_agree_have_wilson_s_interval(value):
    figure = bootstrap(np.full(20, value))
    hits = share(np.arange(20) < 20 * value)
    assert (figure.value, figure.count, figure.low, figure.high) == (value, 20, hits.low, hits.high)


@pytest.mark.parametrize("hits", [20, 100, 200, 350])
def test_the_bootstrap_of_right_and_wrong_is_the_binomial_s(hits):
    """There the mean of a resample is a binomial variable, whose 2.5 % and 97.5 % points can be counted."""
    n = 400
    figure = bootstrap(np.arange(n) < hits)
    p, total, points = hits / n, 0.0, []
    for k in range(n + 1):
        total += math.exp(
            math.lgamma(n + 1)
            - math.lgamma(k + 1)
            - math.lgamma(n - k + 1)
            + k * math.log(p)
            + (n - k) * math.log(1 - p)
        )
        points += [k / n] * ((len(points) == 0 and total >= 0.025) + (len(points) == 1 and total >= 0.975))
    assert (figure.low, figure.high) == pytest.approx(points, abs=1.01 / n)


def test_the_bootstrap_covers_the_true_mean_as_often_as_it_says():
    """Of 300 samples of 60 tasks, each the mean of two throws: 95 % is 285, with a standard deviation of 4."""
    tasks = np.random.default_rng(0).binomial(2, 0.3, (300, 60)) / 2
    figures = [bootstrap(sample) for sample in tasks]
    covered = sum(figure.low <= 0.3 <= figure.high for figure in figures)
    assert 270 <= covered <= 297


def test_resamples_that_do_not_fit_one_block_are_drawn_all_the_same(monkeypatch):
    values = np.random.default_rng(1).random(50)
    once = bootstrap(values)
    monkeypatch.setattr("trm.evaluation.metrics._BLOCK", 50 * (RESAMPLES // 7))
    assert bootstrap(values) == once


# Two runs on the same items


def exact_p(heads, tails):
    """Twice the smaller tail of a fair coin, in whole numbers."""
    n = heads + tails
    tail = sum(math.comb(n, k) for k in range(min(heads, tails) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2**n))


def runs(both, only_first, only_second, neither):
    first = [True] * both + [True] * only_first + [False] * only_second + [False] * neither
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first, bool), np.array(second, bool)


@given(*[st.integers(0, 40)] * 4)
def test_mcnemar_s_p_is_the_exact_tail_and_only_disagreement_counts(both, only_first, only_second, neither):
    first, second = runs(both, only_first, only_second, neither)
    paired = mcnemar(first, second)
    found = (paired.both, paired.only_first, paired.only_second, paired.neither)
    assert found == (both, only_first, only_second, neither)
    assert paired.p == pytest.approx(float(exact_p(only_first, only_second)), rel=1e-12)
    assert mcnemar(second, first).p == paired.p


@pytest.mark.parametrize(
    ("heads", "tails"), [(0, 0), (0, 1), (59, 121), (2000, 2200), (20_000, 20_700), (3, 900), (1, 1100), (0, 100_000)]
)
def test_large_counts_neither_overflow_nor_lose_digits(heads, tails):
    p = mcnemar(*runs(0, heads, tails, 0)).p
    n, term, tail = heads + tails, 1, 0
    for k in range(min(heads, tails) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    assert p == pytest.approx(min(1.0, 2 * tail / 2**n), rel=1e-8, abs=0)


def test_published_example_of_mcnemar():
    """Agresti, Categorical Data Analysis, section 10.1: 150 and 86 of the opinions changed."""
    paired = mcnemar(*runs(794, 150, 86, 570))
    assert 1e-5 < paired.p < 1e-4  # the normal approximation, z = 4.17, gives 3.1e-5


def test_a_figure_in_print_has_its_count_and_interval():
    assert headline(of(5, 10)) == "50.0 % (23.7 to 76.3, n = 10)"
    assert headline(of(2500, 5000).as_dict()) == "50.0 % (48.6 to 51.4, n = 5,000)"
