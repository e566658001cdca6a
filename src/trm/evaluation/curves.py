"""What a model's answers say besides their share: by difficulty, by how sure it was, by the steps it was given.

Everything follows from the table of predictions (trm/evaluation/evaluate.py): exact [n, S], whether the answer after
each supervision step is right, and q_halt [n, S], the logit of the model's own probability that it is. As rows do not
affect each other, what a model would do if it stopped early can be read from the steps that it did.
"""

import math
from typing import Any

import numpy as np

from trm.evaluation.metrics import halting_probability, share

EACH = 12  # different values of a measure that are shown one by one
BINS = 8  # made of more than that, of about as many rows each
LEVELS = 10  # bins of probability
THRESHOLDS = (0.5, 0.7, 0.9, 0.95, 0.99, 0.999)  # of the probability at which a row may stop


def by_difficulty(measures: dict[str, np.ndarray], exact: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """For each measure [n] the share of right answers, exact [n], among rows from one value to another, both included.

    Each value stands for itself where there are few; otherwise neighbours are taken together.
    """
    return {name: _by_value(values, exact) for name, values in measures.items()}


def _by_value(values: np.ndarray, exact: np.ndarray) -> list[dict[str, Any]]:
    distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    bins = np.arange(len(distinct))
    if len(distinct) > EACH:  # a value belongs where its first row does, when all are in order
        bins = (np.cumsum(counts) - counts) * BINS // len(values)
    of_row = bins[place]
    parts = []
    for number in np.unique(bins):
        within = distinct[bins == number]
        hits = exact[of_row == number]
        parts.append({"from": int(within[0]), "to": int(within[-1]), **share(hits).as_dict()})
    return parts


def calibration(q_halt: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Does the probability of having the right answer come true? q_halt and exact [n] of one step.

    The bins are of equal width, the upper end included in the last one alone; empty ones are left out. The expected
    calibration error (Naeini et al., AAAI 2015) is the mean distance of probability and share, over rows.
    """
    logit = np.nan_to_num(q_halt.astype(float), nan=-500)  # a model that broke down is not sure of anything
    probability = halting_probability(logit)
    level = np.minimum((probability * LEVELS).astype(int), LEVELS - 1)
    bins, error = [], 0.0
    for number in np.unique(level):
        within = level == number
        figure, mean = share(exact[within]), float(probability[within].mean())
        error += figure.count / len(exact) * abs(figure.value - mean)
        ends = {"from": int(number) / LEVELS, "to": (int(number) + 1) / LEVELS}
        bins.append({**ends, "probability": mean, **figure.as_dict()})
    return {"expected_calibration_error": error if len(exact) else math.nan, "bins": bins}


def halting(q_halt: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """Obeying q_halt [n, S] as training does: each row stops once it is above 0, at the last step for sure.

    `rows` has the number of rows that used 1, 2, ..., S steps.
    """
    stop = _stops(q_halt, 0.0)
    figure = share(np.take_along_axis(exact, stop[:, None], 1)[:, 0])
    rows = np.bincount(stop, minlength=exact.shape[1])
    return {"rows": rows.tolist(), "mean_steps": _mean_steps(stop), "exact_accuracy": figure.as_dict()}


def early_exit(q_halt: np.ndarray, exact: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy against steps: each row stops once its probability of being right is above a threshold."""
    points = []
    for threshold in THRESHOLDS:
        stop = _stops(q_halt, math.log(threshold / (1 - threshold)))
        figure = share(np.take_along_axis(exact, stop[:, None], 1)[:, 0])
        points.append({"threshold": threshold, "mean_steps": _mean_steps(stop), **figure.as_dict()})
    return points


def _stops(q_halt: np.ndarray, logit: float) -> np.ndarray:
    """The place [n] of the first step that is surer than `logit`, or of the last one."""
    sure = q_halt.astype(float) > logit
    sure[:, -1] = True
    return sure.argmax(axis=1)


def _mean_steps(stop: np.ndarray) -> float:
    return float(stop.mean()) + 1 if len(stop) else math.nan
