"""Figures with their count and 95 % interval."""

import math
from dataclasses import asdict, dataclass

import numpy as np

Z = 1.959963984540054  # two-sided 95 % of the normal distribution


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


def _wilson(p: float, n: int) -> tuple[float, float]:
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return (0.0 if p == 0 else centre - half), (1.0 if p == 1 else centre + half)
