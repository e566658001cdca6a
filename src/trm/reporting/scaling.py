"""The table of test-time scaling: a row for each way, number of rollouts or steps, and choice.

The ways and choices are those of evaluation/scaling.py.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from trm.reporting.results import Result, read_results, read_scaling
from trm.reporting.tables import read_csv, write_formats
from trm.reporting.texts import p_value, percent, points

PLAIN = "plain"  # the way that is none: a single run, as deep as the evaluation says

COLUMNS = [
    "experiment",
    "seed",
    "way",
    "rollouts",
    "steps",  # supervision steps of a rollout at most
    "choice",
    "exact_accuracy",
    "low",
    "high",
    "count",
    "valid",
    "gain",  # exact accuracy less that of the plain run
    "only_scaled",
    "only_plain",
    "p",  # of McNemar's exact test against the plain run
    "steps_per_example",
    "seconds_per_example",
    "cost",  # steps per example over those of the plain run
]


def scaling_table(runs: list[Path]) -> pd.DataFrame:
    """Test-time scaling of runs, by experiment and seed. Shares and gains are in 0..1."""
    return scaling_rows(read_results(runs))


def scaling_rows(results: list[Result]) -> pd.DataFrame:
    return pd.DataFrame([row for result in results for row in _rows(result)], columns=COLUMNS)


def write_scaling_table(frame: pd.DataFrame, out: Path) -> None:
    """Write `out` in the formats of `write_formats`."""
    write_formats(frame, out, READABLE)


def read_scaling_table(path: Path) -> pd.DataFrame:
    """The table that `write_scaling_table` wrote as CSV."""
    return read_csv(path, COLUMNS, "test-time scaling", ("experiment", "way", "choice"))


READABLE = {
    "experiment": lambda row: row["experiment"],
    "seed": lambda row: str(row["seed"]),
    "way": lambda row: row["way"],
    "rollouts": lambda row: f"{row['rollouts']:,}",
    "steps": lambda row: f"{row['steps']:,}",
    "choice": lambda row: row["choice"],
    "exact accuracy, %": lambda row: (
        f"{percent(row['exact_accuracy'])} ({percent(row['low'])} to {percent(row['high'])}, n = {row['count']:,})"
    ),
    "valid, %": lambda row: percent(row["valid"]),
    "gain, points": lambda row: points(row["gain"]),
    "only scaled": lambda row: f"{row['only_scaled']:,}",
    "only plain": lambda row: f"{row['only_plain']:,}",
    "p": lambda row: p_value(row["p"]),
    "steps a puzzle": lambda row: f"{row['steps_per_example']:,.1f}",
    "ms a puzzle": lambda row: f"{1000 * row['seconds_per_example']:,.2f}",
    "cost": lambda row: f"{row['cost']:,.1f} x",
}


def _rows(result: Result) -> list[dict[str, Any]]:
    scores = read_scaling(result)["scores"]
    plain = scores[0]  # `trm scale` writes it first
    return [_row(result, score, plain) for score in scores]


def _row(result: Result, score: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    exact, paired = score["figures"]["exact_accuracy"], score["against_plain"]
    return {
        "experiment": result.name,
        "seed": result.seed,
        **{key: score[key] for key in ("way", "rollouts", "steps", "choice")},
        "exact_accuracy": exact["value"],
        **{key: exact[key] for key in ("low", "high", "count")},
        "valid": score["figures"].get("valid", {}).get("value", math.nan),  # not counted at each depth of a single run
        "gain": exact["value"] - plain["figures"]["exact_accuracy"]["value"],
        "only_scaled": paired["only_first"],
        "only_plain": paired["only_second"],
        "p": paired["p"],
        "steps_per_example": score["steps_per_example"],
        "seconds_per_example": score["seconds_per_example"],
        "cost": score["steps_per_example"] / plain["steps_per_example"],
    }
