"""The table of audits: a row for each split of each dataset, as data/audit.py found it."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from trm.files import BadInput, read_json
from trm.reporting.tables import write_formats
from trm.reporting.texts import MISSING, short

COLUMNS = [
    "dataset",
    "split",
    "examples",
    "base_examples",
    "puzzles",
    "groups",
    "twins_within",
    "contradictions",
    "several_answers",  # missing where the puzzle has no rules to tell by
    "inputs_in_train",  # groups of a held-out split that have a symmetric twin there; so the next one
    "labels_in_train",
    "verdict",
    "data",
]
COUNTED = ("examples", "base_examples", "puzzles", "groups", "twins_within", "contradictions", "several_answers")


def audits_table(datasets: list[Path]) -> pd.DataFrame:
    """The audits in the folders of some datasets, by name; raises BadInput where one has none."""
    rows = [row for folder in datasets for row in _rows(folder)]
    rows.sort(key=lambda row: row["dataset"])  # splits keep their order
    whole = dict.fromkeys((*COUNTED, "inputs_in_train", "labels_in_train"), "Int64")
    return pd.DataFrame(rows, columns=COLUMNS).astype(whole)


def write_audits(frame: pd.DataFrame, out: Path) -> None:
    """Write `out` in the formats of `write_formats`."""
    write_formats(frame, out, READABLE)


def _number(key: str) -> Any:
    return lambda row: MISSING if pd.isna(row[key]) else f"{row[key]:,}"


READABLE = {
    "dataset": lambda row: row["dataset"],
    "split": lambda row: row["split"],
    "examples": _number("examples"),
    "without augmentation": _number("base_examples"),
    "puzzles": _number("puzzles"),
    "groups": _number("groups"),
    "twins within": _number("twins_within"),
    "contradictions": _number("contradictions"),
    "several answers": _number("several_answers"),
    "puzzles with a twin in train": _number("inputs_in_train"),
    "answers with a twin in train": _number("labels_in_train"),
    "verdict": lambda row: row["verdict"],
    "data": lambda row: short(row["data"]),
}


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "audit.json"
    audit = read_json(path)
    try:
        return [
            {
                "dataset": audit["dataset"],
                "split": name,
                **{key: split[key] for key in COUNTED},
                **_twins(audit, name),
                "data": audit["content_sha256"],
            }
            for name, split in audit["splits"].items()
        ]
    except KeyError as error:
        raise BadInput(f"{path}: no key {error.args[0]}, expected what `trm audit` wrote") from None


def _twins(audit: dict[str, Any], split: str) -> dict[str, Any]:
    """What of a held-out split stands in train, and whether that gives it away."""
    if split not in audit["twins_in_train"]:
        return {"inputs_in_train": math.nan, "labels_in_train": math.nan, "verdict": "trained on"}
    twins = audit["twins_in_train"][split]
    found = max(twins[kind] for kind in audit["leaks"])
    verdict = f"{found:,} of {twins['groups']:,} groups leak" if found else "clean"
    return {"inputs_in_train": twins["inputs"], "labels_in_train": twins["labels"], "verdict": verdict}
