"""The table of results: one row a run, one more for the mean of an experiment's seeds, beside the published figures."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trm.evaluation.metrics import Z
from trm.files import BadInput, read_text, write_text
from trm.reporting.results import Result, by_experiment, read_results
from trm.reporting.texts import MISSING, duration, percent, points, short

MEAN = "mean"  # in the column of seeds
SHARES = ("valid", "token_accuracy", "blank_accuracy", "q_halt_accuracy")


def results_table(runs: list[Path], about: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row per run, and after the runs of an experiment with several seeds their mean and spread.

    `about` maps the name of an experiment to {"published": {"exact_accuracy": share, "source": text} or None}. Shares
    and differences are in 0..1, times in seconds.
    """
    rows = []
    for name, results in by_experiment(read_results(runs)).items():
        figure = about.get(name, {}).get("published")
        own = [_row(result, figure) for result in results]
        rows += own if len(own) == 1 else [*own, _mean_row(own, figure, results[0].evaluation["data"])]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(("count", "of", "steps"), "Int64"))


COLUMNS = [
    "experiment",
    "seed",
    "exact_accuracy",
    "low",
    "high",
    "spread",
    "count",
    "of",
    *SHARES,
    "published",
    "difference",
    "verdict",
    "source",
    "steps",
    "seconds",
    "device",
    "data",
    "commit",
]
TEXTS = ("experiment", "seed", "verdict", "source", "device", "data", "commit")


def verdict(
    high: float, examples: int, of: int, value: float, published: float | None, same_files: bool | None = None
) -> str:
    """Does a share with the upper end `high` of its interval hold up?

    `same_files` is False where the dataset was built from other raw files than the published ones.
    """
    if published is None:
        return "no published figure"
    if same_files is False:
        return "not comparable: other raw files than the published ones"
    if examples < of:
        return f"not comparable: scored on {examples:,} of {of:,} examples"
    return "reproduced" if published <= high else f"short by {percent(published - value)} points"


def write_table(frame: pd.DataFrame, out: Path) -> None:
    """Write `out` with suffix .csv, which holds every digit, and with .md, to be read."""
    write_text(out.with_suffix(".csv"), frame.to_csv(index=False, lineterminator="\n"))
    lines = [list(READABLE), ["---"] * len(READABLE)]
    lines += [[cell(row) for cell in READABLE.values()] for _, row in frame.iterrows()]
    write_text(out.with_suffix(".md"), "".join(f"| {' | '.join(line)} |\n" for line in lines))


def read_table(path: Path) -> pd.DataFrame:
    """The table that `write_table` wrote as CSV."""
    try:
        frame = pd.read_csv(io.StringIO(read_text(path)), dtype=dict.fromkeys(TEXTS, str))
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise BadInput(f"{path}: not valid CSV ({' '.join(str(error).split())})") from None
    if list(frame.columns) != COLUMNS:
        raise BadInput(f"{path}: line 1: has not the columns of a table of results, expected {','.join(COLUMNS)}")
    return frame.fillna(dict.fromkeys(TEXTS, ""))


def interval(row: pd.Series) -> str:
    """The 95 % interval of a row's exact accuracy, and what it was counted on: 59.3 to 65.3, n = 1,000."""
    return f"{percent(row['low'])} to {percent(row['high'])}, n = {row['count']:,}"


def _exact(row: pd.Series) -> str:
    spread = "" if math.isnan(row["spread"]) else f" ± {percent(row['spread'])}"
    return f"{percent(row['exact_accuracy'])}{spread} ({interval(row)})"


READABLE = {
    "experiment": lambda row: row["experiment"],
    "seed": lambda row: row["seed"],
    "exact accuracy, %": _exact,
    "valid, %": lambda row: percent(row["valid"]),
    "tokens, %": lambda row: percent(row["token_accuracy"]),
    "blanks, %": lambda row: percent(row["blank_accuracy"]),
    "q_halt, %": lambda row: percent(row["q_halt_accuracy"]),
    "published, %": lambda row: percent(row["published"]),
    "difference, points": lambda row: points(row["difference"]),
    "verdict": lambda row: row["verdict"],
    "steps": lambda row: f"{row['steps']:,}",
    "time": lambda row: duration(row["seconds"]),
    "device": lambda row: row["device"] or MISSING,
    "data": lambda row: short(row["data"]),
    "commit": lambda row: short(row["commit"]),
}


def _row(result: Result, published: dict[str, Any] | None) -> dict[str, Any]:
    evaluation, run = result.evaluation, result.provenance
    exact = evaluation["figures"]["exact_accuracy"]
    ranks = f"{run['ranks']} x " if run["ranks"] > 1 else ""
    return {
        "experiment": result.name,
        "seed": str(result.seed),
        "exact_accuracy": exact["value"],
        "low": exact["low"],
        "high": exact["high"],
        "spread": math.nan,
        "count": exact["count"],
        "of": evaluation["of"],
        **{name: evaluation["figures"].get(name, {}).get("value", math.nan) for name in SHARES},
        **_comparison(exact, evaluation, published),
        "steps": run["steps"],
        "seconds": math.nan if run["seconds"] is None else run["seconds"],
        "device": f"{ranks}{run['device']}",
        "data": result.data,
        "commit": run["commit"] or "",
    }


def _mean_row(rows: list[dict[str, Any]], published: dict[str, Any] | None, data: dict[str, Any]) -> dict[str, Any]:
    """Mean, standard deviation over seeds, and an interval for another draw of both test puzzles and seeds."""
    frame = pd.DataFrame(rows)
    mean = frame[["exact_accuracy", "low", "high", *SHARES, "seconds"]].mean()
    value, spread = float(mean["exact_accuracy"]), float(frame["exact_accuracy"].std(ddof=1))
    # the seeds share their test puzzles, so averaging does not shrink a run's interval; their own spread is added
    error = Z * spread / math.sqrt(len(rows))
    low = max(0.0, value - math.hypot(value - mean["low"], error))
    high = min(1.0, value + math.hypot(mean["high"] - value, error))
    count, of = int(frame["count"].min()), int(frame["of"].max())
    exact = {"value": value, "low": low, "high": high}
    return {
        **rows[0],
        **mean,
        "seed": MEAN,
        "exact_accuracy": value,
        "low": low,
        "high": high,
        "spread": spread,
        "count": count,
        "of": of,
        **_comparison(exact, {"examples": count, "of": of, "data": data}, published),
        "steps": int(np.median(frame["steps"])),
        **{name: _if_same(frame[name]) for name in ("device", "data", "commit")},
    }


def _comparison(
    exact: dict[str, float], evaluation: dict[str, Any], published: dict[str, Any] | None
) -> dict[str, Any]:
    """The columns that hold a share against the published one."""
    figure = published["exact_accuracy"] if published else None
    same_files = evaluation["data"].get("published_files")
    return {
        "published": math.nan if figure is None else figure,
        "difference": math.nan if figure is None else exact["value"] - figure,
        "verdict": verdict(exact["high"], evaluation["examples"], evaluation["of"], exact["value"], figure, same_files),
        "source": published["source"] if published else "",
    }


def _if_same(values: pd.Series) -> str:
    return values.iloc[0] if values.nunique() == 1 else "several"
