"""Ablations: each experiment beside the one that its file starts from, what differs and what came of it."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from trm.reporting.comparisons import paired
from trm.reporting.diff import configuration, differing
from trm.reporting.results import Result, by_experiment, read_results
from trm.reporting.tables import read_csv, results_table, write_formats
from trm.reporting.texts import p_value, percent, points

COLUMNS = [
    "experiment",
    "base",
    "changed",  # keys of the configuration, as KEY: OLD to NEW
    "figure",  # what the next four are of
    "value",
    "base_value",
    "difference",
    "published_difference",
    "count",
    "p",  # of McNemar's exact test, where each has one run, on the same puzzles
]


def ablations(runs: list[Path], about: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row for each experiment among the runs whose base is among them too. Shares and differences are in 0..1.

    `about` is as for `results_table`, with the "base" of those experiments that have one. Of several seeds the values
    are means. No row where the two are headed by different figures.
    """
    experiments = by_experiment(read_results(runs))
    table = results_table(runs, about)
    # the mean of the seeds stands last
    heads = {name: rows.iloc[-1] for name, rows in table.groupby("experiment", sort=False)}
    rows = []
    for name, results in experiments.items():
        base = about.get(name, {}).get("base")
        if base in experiments and heads[name]["figure"] == heads[base]["figure"]:
            rows.append(_row(results, experiments[base], heads[name], heads[base]))
    return pd.DataFrame(rows, columns=COLUMNS)


def write_ablations(frame: pd.DataFrame, out: Path) -> None:
    """Write `out` in the formats of `write_formats`."""
    write_formats(frame, out, READABLE)


def read_ablations(path: Path) -> pd.DataFrame:
    """The table that `write_ablations` wrote as CSV."""
    return read_csv(path, COLUMNS, "ablations", ("experiment", "base", "changed", "figure"))


READABLE = {
    "experiment": lambda row: row["experiment"],
    "base": lambda row: row["base"],
    "what differs": lambda row: row["changed"],
    "figure": lambda row: row["figure"].replace("_", " "),
    "%": lambda row: percent(row["value"]),
    "base, %": lambda row: percent(row["base_value"]),
    "difference, points": lambda row: points(row["difference"]),
    "published difference": lambda row: points(row["published_difference"]),
    "puzzles": lambda row: f"{row['count']:,}",
    "p": lambda row: p_value(row["p"]),
}


def _row(results: list[Result], bases: list[Result], head: pd.Series, base: pd.Series) -> dict[str, Any]:
    alone = len(results) == len(bases) == 1 and head["figure"] == "exact_accuracy"
    pair = paired(bases[0], results[0]) if alone else []
    return {
        "experiment": head["experiment"],
        "base": base["experiment"],
        "changed": _changed(bases[0], results[0]),
        "figure": head["figure"],
        "value": head["value"],
        "base_value": base["value"],
        "difference": head["value"] - base["value"],
        "published_difference": head["published"] - base["published"],
        "count": head["count"],
        "p": pair[0]["p"] if pair else math.nan,
    }


def _changed(base: Result, result: Result) -> str:
    """The keys that shape the two and differ."""
    old, new = (configuration(one.experiment) for one in (base, result))
    return "; ".join(f"{key}: {before} to {after}" for key, before, after in differing(old, new) if key != "name")
