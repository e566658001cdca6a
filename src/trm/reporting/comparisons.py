"""Experiments held against each other on the test puzzles that they share: one row for each pair of runs.

Two runs on the same puzzles differ by less than their intervals say, since a hard puzzle is hard for both. What tells
them apart is the puzzles that only one of them solves (McNemar's test). Runs are paired seed by seed. What they were
trained on may differ, so long as the boards that were scored are the same, row by row.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trm.evaluation.metrics import mcnemar
from trm.reporting.results import Result, by_experiment, read_predictions, read_results
from trm.reporting.tables import read_csv, write_formats
from trm.reporting.texts import p_value, percent, points

COLUMNS = [
    "experiment_a",
    "seed_a",
    "experiment_b",
    "seed_b",
    "count",
    "accuracy_a",
    "accuracy_b",
    "difference",
    "only_a",
    "only_b",
    "p",
]


def comparisons(runs: list[Path]) -> pd.DataFrame:
    """Each pair of runs of two experiments that were scored on the same rows with the same boards, in order of names.

    Of two experiments those runs are paired that have the same seed; the first ones where none have. `difference` is
    that of b from a, `only_a` the puzzles that a solves and b does not, p that of McNemar's exact test.
    """
    scored, boards = cache(_scored), cache(_boards)  # read once a run, and only where there is something to compare
    rows = []
    for one, other in combinations(by_experiment(read_results(runs)).values(), 2):
        for a, b in _pairs(one, other):
            rows += paired(a, b, scored, boards)
    return pd.DataFrame(rows, columns=COLUMNS)


def paired(
    a: Result, b: Result, scored: Callable[[Path], tuple] | None = None, boards: Callable[[Path], str] | None = None
) -> list[dict[str, Any]]:
    """The row of two runs that were scored on the same rows with the same boards, by COLUMNS; none of others.

    `scored` and `boards` read predictions, from a cache where many runs are compared.
    """
    scored, boards = scored or _scored, boards or _boards
    (rows_a, exact_a), (rows_b, exact_b) = scored(a.folder), scored(b.folder)
    if np.array_equal(rows_a, rows_b) and (a.data == b.data or boards(a.folder) == boards(b.folder)):
        return [_row(a, b, exact_a, exact_b)]
    return []


def write_comparisons(frame: pd.DataFrame, out: Path) -> None:
    """Write `out` in the formats of `write_formats`."""
    write_formats(frame, out, READABLE)


def read_comparisons(path: Path) -> pd.DataFrame:
    """The table that `write_comparisons` wrote as CSV."""
    return read_csv(path, COLUMNS, "comparisons", ("experiment_a", "experiment_b"))


def sentence(row: pd.Series) -> str:
    """One comparison in a line."""
    a, b = (
        f"{row[f'experiment_{side}']} seed {row[f'seed_{side}']} {percent(row[f'accuracy_{side}'])} %" for side in "ab"
    )
    alone = f"only the first solves {row['only_a']:,}, only the second {row['only_b']:,}"
    return f"{a}, {b}: {points(row['difference'])} points; of {row['count']:,} {alone}; p = {p_value(row['p'])}"


READABLE = {
    "a": lambda row: f"{row['experiment_a']}, seed {row['seed_a']}",
    "b": lambda row: f"{row['experiment_b']}, seed {row['seed_b']}",
    "a, %": lambda row: percent(row["accuracy_a"]),
    "b, %": lambda row: percent(row["accuracy_b"]),
    "difference, points": lambda row: points(row["difference"]),
    "puzzles": lambda row: f"{row['count']:,}",
    "only a": lambda row: f"{row['only_a']:,}",
    "only b": lambda row: f"{row['only_b']:,}",
    "p": lambda row: p_value(row["p"]),
}


def _pairs(first: list[Result], second: list[Result]) -> list[tuple[Result, Result]]:
    """The runs of two experiments that may be held against each other, by seed; none on different puzzles."""
    other = {result.seed: result for result in second}
    pairs = [(result, other[result.seed]) for result in first if result.seed in other] or [(first[0], second[0])]
    return [(a, b) for a, b in pairs if a.experiment.dataset.puzzle == b.experiment.dataset.puzzle]


def _scored(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the test set that were scored [n], and whether the last answer to each is right: bool [n]."""
    table = read_predictions(folder, ("rows", "exact"))
    return table["rows"], table["exact"][:, -1].copy()  # not a view that keeps the other steps


def _boards(folder: Path) -> str:
    """A hash of the inputs and labels that were scored, [n, seq_len] both."""
    digest = hashlib.sha256()
    for name, array in read_predictions(folder, ("inputs", "labels")).items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _row(a: Result, b: Result, exact_a: np.ndarray, exact_b: np.ndarray) -> dict[str, str | int | float]:
    paired = mcnemar(exact_a, exact_b)
    accuracy_a, accuracy_b = float(exact_a.mean()), float(exact_b.mean())
    return {
        "experiment_a": a.name,
        "seed_a": a.seed,
        "experiment_b": b.name,
        "seed_b": b.seed,
        "count": len(exact_a),
        "accuracy_a": accuracy_a,
        "accuracy_b": accuracy_b,
        "difference": accuracy_b - accuracy_a,
        "only_a": paired.only_first,
        "only_b": paired.only_second,
        "p": paired.p,
    }
