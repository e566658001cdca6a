"""Difficulty, calibration and early exit, against plain counts row by row."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trm.evaluation.curves import THRESHOLDS, by_difficulty, calibration, early_exit, halting
from trm.evaluation.metrics import share

measures = st.one_of(
    arrays.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 9)),
    arrays.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 10**6)),
)


def figure(hits):
    return share(np.array(hits, bool)).as_dict()


def figure_in(part):
    return {key: part[key] for key in ("value", "count", "low", "high")}


def alternating(n):
    return np.arange(n) % 3 == 0


# ---- difficulty


@given(measures)
def test_bins_hold_every_row_once_in_order_and_their_own_share(values):
    exact = alternating(len(values))
    parts = by_difficulty({"blanks": values}, exact)["blanks"]
    assert sum(part["count"] for part in parts) == len(values)
    assert parts[0]["from"] == values.min()
    assert parts[-1]["to"] == values.max()
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        assert part["from"] <= part["to"]
        assert after is None or part["to"] < after["from"]
        within = [
            right for value, right in zip(values.tolist(), exact, strict=True) if part["from"] <= value <= part["to"]
        ]
        assert figure_in(part) == figure(within)


@given(measures)
def test_few_values_stand_for_themselves_and_many_make_bins_of_about_an_eighth(values):
    parts = by_difficulty({"blanks": values}, alternating(len(values)))["blanks"]
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 12:
        assert [(part["from"], part["to"]) for part in parts] == [(value, value) for value in distinct.tolist()]
    else:
        assert 2 <= len(parts) <= 8
        assert all(part["count"] < len(values) / 8 + counts.max() for part in parts)


def test_a_value_that_most_rows_have_hides_none_of_the_others():
    values = np.concatenate([np.zeros(950, int), np.arange(1, 51)])
    parts = by_difficulty({"guesses": values}, values > 0)["guesses"]
    assert [(part["from"], part["to"], part["value"]) for part in parts] == [(0, 0, 0.0), (1, 50, 1.0)]


def test_a_puzzle_without_measures_has_no_parts():
    assert by_difficulty({}, alternating(5)) == {}


# ---- calibration


def probability(logit):
    return 1 / (1 + math.exp(-logit))


@given(st.lists(st.tuples(st.floats(-30, 30, width=32), st.booleans()), min_size=1, max_size=200))
def test_calibration_is_that_of_a_count_row_by_row(rows):
    logits, exact = np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows])
    by_bin = {}
    for logit, right in zip(logits.tolist(), exact.tolist(), strict=True):
        by_bin.setdefault(min(int(10 * probability(logit)), 9), []).append((probability(logit), right))
    result = calibration(logits, exact)
    assert [round(10 * part["from"]) for part in result["bins"]] == sorted(by_bin)
    error = 0.0
    for part in result["bins"]:
        own = by_bin[round(10 * part["from"])]
        mean, hits = sum(p for p, _ in own) / len(own), [right for _, right in own]
        assert part["probability"] == pytest.approx(mean)
        assert part["from"] - 1e-12 <= part["probability"] <= part["to"] + 1e-12
        assert figure_in(part) == figure(hits)
        error += len(own) / len(rows) * abs(mean - sum(hits) / len(own))
    assert result["expected_calibration_error"] == pytest.approx(error, abs=1e-12)


def test_probabilities_that_come_true_leave_no_error_and_certain_ones_that_do_not_a_whole_one():
    logits = np.repeat(np.log([1 / 3, 3]), 400)  # 25 % and 75 %
    exact = np.arange(800) % 4 < np.repeat([1, 3], 400)
    assert calibration(logits, exact)["expected_calibration_error"] == pytest.approx(0)
    assert calibration(np.array([1000.0, -1000.0]), np.array([False, True]))["expected_calibration_error"] == 1
    assert calibration(np.array([np.nan, np.inf, -np.inf]), np.array([False, True, False]))["bins"][0]["count"] == 2


# ---- stopping early

tables = st.tuples(st.integers(1, 60), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.float32, shape, elements=st.floats(-12, 12, width=32)), arrays.arrays(bool, shape)
    )
)


def stopped(q_halt, exact, logit):
    """Step by step: the step after which each row stops, and whether its answer is right then."""
    steps, right = [], []
    for row, answers in zip(q_halt.tolist(), exact.tolist(), strict=True):
        step = next((i for i, q in enumerate(row) if q > logit), len(row) - 1)
        steps.append(step + 1)
        right.append(answers[step])
    return steps, right


@given(tables)
def test_halting_stops_each_row_at_its_first_step_above_0_or_the_last(table):
    steps, right = stopped(*table, 0.0)
    result = halting(*table)
    assert result["rows"] == [steps.count(step + 1) for step in range(table[1].shape[1])]
    assert result["mean_steps"] == pytest.approx(sum(steps) / len(steps))
    assert result["exact_accuracy"] == figure(right)


@given(tables)
def test_early_exit_stops_each_row_once_it_is_sure_enough(table):
    points = early_exit(*table)
    assert [point["threshold"] for point in points] == list(THRESHOLDS)
    for point in points:
        steps, right = stopped(*table, math.log(point["threshold"] / (1 - point["threshold"])))
        assert point["mean_steps"] == pytest.approx(sum(steps) / len(steps))
        assert figure_in(point) == figure(right)
    means = [point["mean_steps"] for point in points]
    assert means == sorted(means)
    obeyed = halting(*table)
    assert (points[0]["mean_steps"], figure_in(points[0])) == (obeyed["mean_steps"], obeyed["exact_accuracy"])


def test_a_row_that_is_never_sure_takes_every_step():
    q_halt, exact = np.full((4, 5), -1.0, np.float32), np.zeros((4, 5), bool)
    exact[:3, -1] = True
    assert halting(q_halt, exact)["rows"] == [0, 0, 0, 0, 4]
    assert {point["value"] for point in early_exit(q_halt, exact)} == {0.75}


def test_the_tables_are_left_as_they_are_and_everything_can_be_written_as_json():
    q_halt = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    before, exact = q_halt.copy(), q_halt > 0.3
    measures = {"blanks": np.arange(50)}
    last = q_halt[:, -1], exact[:, -1]
    found = [by_difficulty(measures, last[1]), calibration(*last), halting(q_halt, exact), early_exit(q_halt, exact)]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (q_halt == before).all()
