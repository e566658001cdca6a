"""Figures with their count and 95 % interval."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from trm import draws

Z = 1.959963984540054  # two-sided 95 % of the normal distribution
RESAMPLES = 10_000

_BOOTSTRAP = 41  # purpose of a draw, part of its key
_BLOCK = 1 << 18  # items drawn at a time


def halting_probability(q_halt: np.ndarray) -> np.ndarray:
    """The network's own probability that it is done, float64, from its logits q_halt."""
    return 1 / (1 + np.exp(-np.clip(q_halt.astype(np.float64), -500, 500)))


@dataclass(frozen=True)
class Figure:
    """A share of `count` items, with the ends of its 95 % interval."""

    value: float
    count: int
    low: float
    high: float

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


def share(hits: np.ndarray) -> Figure:
    """Share of the true among independent items, bool [n], with Wilson's interval (JASA 22, 1927)."""
    n = len(hits)
    if n == 0:
        return Figure(math.nan, 0, 0.0, 1.0)
    p = float(np.mean(hits))
    low, high = _wilson(p, n)
    return Figure(p, n, low, high)


def share_of_parts(right: np.ndarray, parts: np.ndarray) -> Figure:
    """Share of right parts, where item i has right[i] of parts[i]: parts of one item are not independent.

    The interval is that of the ratio estimator over items (Cochran, Sampling Techniques, section 6.4); where every
    item agrees it is Wilson's over the items.
    """
    total, n = int(parts.sum()), int((parts > 0).sum())
    if total == 0:
        return Figure(math.nan, 0, 0.0, 1.0)
    p = float(right.sum() / total)
    residuals = right * total - parts * right.sum()  # times total, in integers: rounding must not pass for spread
    if n < 2 or not residuals.any():
        return Figure(p, total, *_wilson(p, n))
    error = math.sqrt(float(np.square(residuals / total).sum()) * n / (n - 1)) / total
    return Figure(p, total, max(0.0, p - Z * error), min(1.0, p + Z * error))


def bootstrap(values: np.ndarray) -> Figure:
    """Mean over independent items, such as tasks, of a value in 0..1 each [n].

    The interval is the bootstrap's, by percentiles (Efron, Annals of Statistics 7, 1979): the middle 95 % of the means
    of RESAMPLES draws of n items with replacement, always the same draws. Items that all agree would leave it empty,
    so there it is Wilson's.
    """
    n = len(values)
    if n == 0:
        return Figure(math.nan, 0, 0.0, 1.0)
    values = np.sort(np.asarray(values, float))  # then the order of the items makes no difference
    mean = float(values.mean())
    if values[0] == values[-1]:
        return Figure(float(values[0]), n, *_wilson(float(values[0]), n))
    means = np.empty(RESAMPLES)
    block = max(1, _BLOCK // n)
    for first in range(0, RESAMPLES, block):
        resample = np.arange(first, min(first + block, RESAMPLES))
        means[resample] = values[draws.integers(0, n, _BOOTSTRAP, resample[:, None], np.arange(n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return Figure(mean, n, min(low, mean), max(high, mean))


@dataclass(frozen=True)
class Paired:
    """How two answerers did on the same items, and McNemar's p: how likely so uneven a split is if they are equal."""

    both: int  # items that both got right
    only_first: int
    only_second: int
    neither: int
    p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare two runs on the same independent items, bool [n] each, by McNemar's exact test (Psychometrika 12, 1947).

    Items on which both agree say nothing of which is better. If neither is, each of the others is a toss of a fair
    coin, so p is the two-sided tail of a binomial distribution.
    """
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    return Paired(both, only_first, only_second, neither, _two_sided(only_first, only_second))


def _two_sided(heads: int, tails: int) -> float:
    """Probability that a fair coin splits heads + tails tosses at least so unevenly.

    The tail is summed from its largest term, whose logarithm does not overflow; each term is a factor below 1 of the
    one before.
    """
    n, k = heads + tails, min(heads, tails)
    largest = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    factors = np.arange(k, 0, -1) / np.arange(n - k + 1, n + 1)
    return min(1.0, 2 * math.exp(largest) * (1 + float(np.cumprod(factors).sum())))


def _wilson(p: float, n: int) -> tuple[float, float]:
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return (0.0 if p == 0 else centre - half), (1.0 if p == 1 else centre + half)
