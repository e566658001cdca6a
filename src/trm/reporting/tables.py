"""The table of results: one row a run, one more for the mean of an experiment's seeds, beside the published figures.

A row is headed by one figure, which has an interval and is held against the published one: the exact accuracy, or of
ARC the tasks' mean pass@2.
"""

import io
import math
import re
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trm.evaluation.metrics import Z
from trm.files import BadInput, read_text, write_text
from trm.reporting.results import Result, by_experiment, read_results
from trm.reporting.texts import MISSING, duration, percent, points, short

Columns = dict[str, Callable[[pd.Series], str]]  # what a table to be read makes of a row, by the column's name
MEAN = "mean"  # in the column of seeds
VOTED = ("pass@1", "pass@2")  # where answers are voted for, as ARC's are
SHARES = ("exact_accuracy", "valid", "token_accuracy", "blank_accuracy", "q_halt_accuracy", *VOTED)


def results_table(runs: list[Path], about: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row per run, and after the runs of an experiment with several seeds their mean and spread.

    `about` maps the name of an experiment to {"published": {FIGURE: share, "source": text} or None}, where FIGURE is
    exact_accuracy or pass@2. Shares and differences are in 0..1, times in seconds.
    """
    rows = []
    for name, results in by_experiment(read_results(runs)).items():
        figure = about.get(name, {}).get("published")
        own = [_row(result, figure) for result in results]
        rows += own if len(own) == 1 else [*own, _mean_row(own, figure, results[0].evaluation["data"])]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(("count", "examples", "of", "steps"), "Int64"))


COLUMNS = [
    "experiment",
    "seed",
    "figure",  # what the next five are of
    "value",
    "low",
    "high",
    "spread",
    "count",
    "examples",
    "of",
    *SHARES,
    "published",
    "difference",
    "verdict",
    "source",
    "steps",
    "seconds",
    "hours",  # of training: of a GPU each, or of a CPU's thread each
    "hours_of",
    "device",
    "data",
    "commit",
]
TEXTS = ("experiment", "seed", "figure", "verdict", "source", "hours_of", "device", "data", "commit")


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
    """Write `out` in the formats of `write_formats`; columns of votes only where there are any, few for print."""
    hidden = set() if frame["pass@2"].notna().any() else OF_VOTES
    write_formats(frame, out, {name: cell for name, cell in READABLE.items() if name not in hidden}, PRINTED)


def write_formats(frame: pd.DataFrame, out: Path, columns: Columns, printed: Container[str] | None = None) -> None:
    """Write `out` with suffix .csv, which holds every digit, and with .md and .tex, to be read.

    `printed`: the columns that .tex has; None: all.
    """
    on_paper = {name: cell for name, cell in columns.items() if printed is None or name in printed}
    write_text(out.with_suffix(".csv"), frame.to_csv(index=False, lineterminator="\n"))
    write_text(out.with_suffix(".md"), markdown(list(columns), _cells(frame, columns)))
    write_text(out.with_suffix(".tex"), latex(list(on_paper), _cells(frame, on_paper)))


def _cells(frame: pd.DataFrame, columns: Columns) -> list[list[str]]:
    return [[cell(row) for cell in columns.values()] for _, row in frame.iterrows()]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex(header: list[str], rows: list[list[str]]) -> str:
    """A table in LaTeX, for its package booktabs; columns of numbers are flush right."""
    numbers = [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)]
    align = "".join("r" if number else "l" for number in numbers or [False] * len(header))
    lines = [" & ".join(text.translate(TEX) for text in line) + r" \\" for line in (header, *rows)]
    body = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", lines[0], r"\midrule", *lines[1:]]
    return "\n".join(["% needs \\usepackage{booktabs}", *body, r"\bottomrule", r"\end{tabular}", ""])


NUMBER = re.compile(f"[+−]?[0-9][0-9,.]*|{MISSING}")
TEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
        "±": r"$\pm$",
        "−": "$-$",
        "×": r"$\times$",
        "–": "--",
        "’": "'",
    }
)


def read_table(path: Path) -> pd.DataFrame:
    """The table that `write_table` wrote as CSV."""
    return read_csv(path, COLUMNS, "results", TEXTS)


def read_csv(path: Path, columns: list[str], kind: str, texts: tuple[str, ...]) -> pd.DataFrame:
    """The table in a CSV file; raises BadInput where it has other columns. `texts` are never numbers, nor missing."""
    try:
        frame = pd.read_csv(io.StringIO(read_text(path)), dtype=dict.fromkeys(texts, str))
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise BadInput(f"{path}: not valid CSV ({' '.join(str(error).split())})") from None
    if list(frame.columns) != columns:
        raise BadInput(f"{path}: line 1: has not the columns of a table of {kind}, expected {','.join(columns)}")
    return frame.fillna(dict.fromkeys(texts, ""))


def interval(row: pd.Series) -> str:
    """The 95 % interval of a row's figure, and what it was counted on: 59.3 to 65.3, n = 1,000."""
    return f"{percent(row['low'])} to {percent(row['high'])}, n = {row['count']:,}"


def compute(row: pd.Series) -> str:
    """What a row's training took of its devices: 12.3 GPU hours."""
    hours = row["hours"]
    return MISSING if math.isnan(hours) else f"{hours:,.{1 if hours >= 10 else 3}f} {row['hours_of']} hours"


def _headline(row: pd.Series) -> str:
    spread = "" if math.isnan(row["spread"]) else f" ± {percent(row['spread'])}"
    return f"{percent(row['value'])}{spread} ({interval(row)})"


READABLE = {
    "experiment": lambda row: row["experiment"],
    "seed": lambda row: row["seed"],
    "figure": lambda row: row["figure"].replace("_", " "),
    "%": _headline,
    "exact, %": lambda row: percent(row["exact_accuracy"]),
    "valid, %": lambda row: percent(row["valid"]),
    "tokens, %": lambda row: percent(row["token_accuracy"]),
    "blanks, %": lambda row: percent(row["blank_accuracy"]),
    "q_halt, %": lambda row: percent(row["q_halt_accuracy"]),
    "pass@1, %": lambda row: percent(row["pass@1"]),
    "pass@2, %": lambda row: percent(row["pass@2"]),
    "published, %": lambda row: percent(row["published"]),
    "difference, points": lambda row: points(row["difference"]),
    "verdict": lambda row: row["verdict"],
    "steps": lambda row: f"{row['steps']:,}",
    "time": lambda row: duration(row["seconds"]),
    "compute": lambda row: compute(row),
    "device": lambda row: row["device"] or MISSING,
    "data": lambda row: short(row["data"]),
    "commit": lambda row: short(row["commit"]),
}


# what fits a page: the rest stands in the other formats
PRINTED = {"experiment", "seed", "figure", "%", "published, %", "difference, points", "verdict", "compute", "device"}
OF_VOTES = {"exact, %", "pass@1, %", "pass@2, %"}  # shown where a row has them, headed by another figure or not


def _row(result: Result, published: dict[str, Any] | None) -> dict[str, Any]:
    evaluation, run = result.evaluation, result.provenance
    name = _figure(result, published)
    figure = evaluation["figures"][name]
    ranks = f"{run['ranks']} x " if run["ranks"] > 1 else ""
    return {
        "experiment": result.name,
        "seed": str(result.seed),
        "figure": name,
        "value": figure["value"],
        "low": figure["low"],
        "high": figure["high"],
        "spread": math.nan,
        "count": figure["count"],
        "examples": evaluation["examples"],
        "of": evaluation["of"],
        **{name: evaluation["figures"].get(name, {}).get("value", math.nan) for name in SHARES},
        **_comparison(name, figure, evaluation, published),
        "steps": run["steps"],
        "seconds": math.nan if run["seconds"] is None else run["seconds"],
        **_compute(run),
        "device": f"{ranks}{run['device']}",
        "data": result.data,
        "commit": run["commit"] or "",
    }


def _compute(run: dict[str, Any]) -> dict[str, Any]:
    """The hours of all devices of a run: of its GPUs, or on CPUs of the threads that computed."""
    if run["seconds"] is None:  # a run that was imported
        return {"hours": math.nan, "hours_of": ""}
    on_cpu = run["device"].startswith("cpu")
    devices = run["ranks"] * (run.get("threads", 1) if on_cpu else 1)
    return {"hours": run["seconds"] * devices / 3600, "hours_of": "CPU" if on_cpu else "GPU"}


def _figure(result: Result, published: dict[str, Any] | None) -> str:
    """The name of the figure that heads a run's row."""
    known = result.evaluation["figures"]
    for name in ("pass@2", "exact_accuracy"):
        if published and name in published:
            if name not in known:
                raise BadInput(f"{result.folder}/evaluation.json: no figure {name}, expected it, as it is published")
            return name
    return "pass@2" if "pass@2" in known else "exact_accuracy"


def _mean_row(rows: list[dict[str, Any]], published: dict[str, Any] | None, data: dict[str, Any]) -> dict[str, Any]:
    """Mean, standard deviation over seeds, and an interval for another draw of both test puzzles and seeds."""
    frame = pd.DataFrame(rows)
    mean = frame[["value", "low", "high", *SHARES, "seconds", "hours"]].mean()
    value, spread = float(mean["value"]), float(frame["value"].std(ddof=1))
    # the seeds share their test puzzles, so averaging does not shrink a run's interval; their own spread is added
    error = Z * spread / math.sqrt(len(rows))
    low = max(0.0, value - math.hypot(value - mean["low"], error))
    high = min(1.0, value + math.hypot(mean["high"] - value, error))
    count, examples, of = int(frame["count"].min()), int(frame["examples"].min()), int(frame["of"].max())
    figure = {"value": value, "low": low, "high": high}
    return {
        **rows[0],
        **mean,
        "seed": MEAN,
        "low": low,
        "high": high,
        "spread": spread,
        "count": count,
        "examples": examples,
        "of": of,
        **_comparison(rows[0]["figure"], figure, {"examples": examples, "of": of, "data": data}, published),
        "steps": int(np.median(frame["steps"])),
        **{name: _if_same(frame[name]) for name in ("hours_of", "device", "data", "commit")},
    }


def _comparison(
    name: str, figure: dict[str, float], evaluation: dict[str, Any], published: dict[str, Any] | None
) -> dict[str, Any]:
    """The columns that hold a figure against the published one of its name."""
    theirs = published[name] if published else None
    same_files = evaluation["data"].get("published_files")
    examples, of = evaluation["examples"], evaluation["of"]
    return {
        "published": math.nan if theirs is None else theirs,
        "difference": math.nan if theirs is None else figure["value"] - theirs,
        "verdict": verdict(figure["high"], examples, of, figure["value"], theirs, same_files),
        "source": published["source"] if published else "",
    }


def _if_same(values: pd.Series) -> str:
    return values.iloc[0] if values.nunique() == 1 else "several"
