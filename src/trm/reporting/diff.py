"""Two runs side by side: what differs in their configuration, their data and how they came about, and their figures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm.config import Experiment
from trm.files import read_json
from trm.reporting.comparisons import paired
from trm.reporting.results import Result, read_results
from trm.reporting.texts import MISSING, p_value, percent, points, short
from trm.runs import FinishedRun, read_run

Row = tuple[str, str, str]

MADE = ("trm", "commit", "python", "platform", "packages", "device", "ranks", "threads", "seed", "init")
CAME_OUT = ("steps", "weights", "parameters", "seconds", "starts")


def diff(first: Path, second: Path) -> list[Row]:
    """Rows of what it is and how it is in either run: keys that differ and, where both were scored, all figures."""
    runs = read_run(first), read_run(second)
    rows = [("", *map(_title, runs))]
    rows += _section("configuration", *(configuration(run.experiment) for run in runs))
    rows += _section("data", *map(_data, runs))
    rows += _section("training", *(_facts(run, MADE + CAME_OUT) for run in runs))
    scored = [run.folder for run in runs if (run.folder / "evaluation.json").is_file()]
    if len(scored) == 2:
        rows += _figures(*(read_results([folder])[0] for folder in scored))
    elif scored:
        rows += [("", "", ""), (f"figures: only {scored[0]} is scored", "", "")]
    return rows


def _title(run: FinishedRun) -> str:
    return f"{run.experiment.name}, seed {run.provenance['seed']}"


def _section(name: str, first: dict[str, Any], second: dict[str, Any]) -> list[Row]:
    """The keys whose values differ, under the name of what they are of."""
    rows = [(f"  {key}", *values) for key, *values in differing(first, second)]
    return [("", "", ""), (name if rows else f"{name}: the same", "", ""), *rows]


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[Row]:
    """The keys whose values differ, with both values as they are written in a file."""
    keys = [key for key in first | second if first.get(key, MISSING) != second.get(key, MISSING)]
    return [(key, _shown(first.get(key, MISSING)), _shown(second.get(key, MISSING))) for key in keys]


def configuration(experiment: Experiment) -> dict[str, Any]:
    """What shapes the runs of an experiment, by dotted key; where its raw files lie does not."""
    shaping = {"name", "dataset", "more_datasets", "model", "training"}
    found = dict(_flat(experiment.model_dump(mode="json", include=shaping)))
    return {key: value for key, value in found.items() if key.split(".")[-1] != "raw"}


def _data(run: FinishedRun) -> dict[str, Any]:
    """What is known of the datasets of a run, with their rows and raw files where they lie beside it."""
    found = {}
    for i, facts in enumerate(run.datasets):
        folder = Path(*run.folder.absolute().parts[:-3], "datasets", facts["name"])
        built = read_json(folder / "provenance.json") if (folder / "provenance.json").is_file() else {}
        known = {**facts, **{key: built[key] for key in ("splits", "raw") if key in built}}
        found |= _flat(known, "" if i == 0 else f"more_data.{i - 1}.")
    return found


def _facts(run: FinishedRun, keys: tuple[str, ...]) -> dict[str, Any]:
    """What the run says of itself, by dotted key."""
    return dict(_flat({key: run.provenance[key] for key in keys if key in run.provenance}))


def _flat(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree of mappings, and of lists of them, by dotted key."""
    if isinstance(tree, list) and tree and all(isinstance(value, dict) for value in tree):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        yield above.rstrip("."), tree
        return
    for key, value in tree.items():
        yield from _flat(value, f"{above}{key}.")


def _shown(value: Any) -> str:
    """A value as it is written in a file; of a hash its beginning."""
    if isinstance(value, str):
        digest = value.removesuffix("-dirty")
        is_digest = len(digest) in (40, 64) and set(digest) <= set("0123456789abcdef")
        return short(value) if is_digest else value
    return json.dumps(value)


def _figures(a: Result, b: Result) -> list[Row]:
    """All figures with their intervals, and what tells the runs apart where they were scored on the same boards."""
    known = [result.evaluation["figures"] for result in (a, b)]
    rows = [("", "", ""), ("figures, %", "", "")]
    rows += [(f"  {name}", *(_figure(figures.get(name)) for figures in known)) for name in known[0] | known[1]]
    same_puzzle = a.experiment.dataset.puzzle == b.experiment.dataset.puzzle
    for row in paired(a, b) if same_puzzle else []:
        difference = f"{points(row['difference'])} points"
        rows += [("  exact on the same puzzles", f"{row['count']:,} puzzles", f"{difference}, p = {p_value(row['p'])}")]
        rows += [("  solved by this run alone", f"{row['only_a']:,}", f"{row['only_b']:,}")]
    return rows


def _figure(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return MISSING
    low, high = percent(figure["low"]), percent(figure["high"])
    return f"{percent(figure['value'])} ({low} to {high}, n = {figure['count']:,})"
