"""Does the test set stand in the training set? Are the files what they say?

Boards are compared by their canonical form, so a rotated, relabelled or otherwise symmetric twin counts as the same.
A group's variants are symmetric to each other, so its first example stands for all of them.
"""

from pathlib import Path
from typing import Any

import numpy as np

from trm import puzzles
from trm.config import dataset_section
from trm.data.layout import SPLITS, Split, content_hash, read_split
from trm.files import BadInput, read_json
from trm.progress import progress
from trm.puzzles.symmetry import as_items

CHUNK = 5000


def audit(folder: Path) -> dict[str, Any]:
    """Audit the dataset in `folder`: sizes, token ranges, twins within and across its splits.

    Raises BadInput where its files contradict each other.
    """
    facts = read_json(folder / "provenance.json")
    try:
        built, section = facts["content_sha256"], facts["dataset"]
        dataset = dataset_section(section["puzzle"]).model_validate(section)
    except (KeyError, TypeError, ValueError) as error:  # pydantic's error is a ValueError
        raise BadInput(f"{folder}/provenance.json: not as `trm build` wrote it ({error})") from None
    content = content_hash(folder)
    if content != built:
        raise BadInput(f"{folder}: content {content[:12]}, expected {built[:12]} as it was built")
    splits = {name: read_split(folder / name) for name in SPLITS if (folder / name).is_dir()}
    forms = {name: _canonical_forms(dataset, split, name) for name, split in splits.items()}
    twins = {name: _twins(forms[name], forms["train"]) for name in splits if name != "train"}
    return {
        "dataset": dataset.name,
        "content_sha256": content,
        "splits": {name: _describe(split, forms[name]) for name, split in splits.items()},
        "twins_in_train": twins,
        "clean": not any(found["inputs"] for found in twins.values()),
    }


def _twins(held_out: dict[str, np.ndarray], train: dict[str, np.ndarray]) -> dict[str, int]:
    """Of how many held-out groups the input, and the label, stands in train up to symmetry."""
    found = {kind: int(np.isin(held_out[kind], train[kind]).sum()) for kind in ("inputs", "labels")}
    return {"groups": len(held_out["inputs"]), **found}


def _canonical_forms(dataset: Any, split: Split, name: str) -> dict[str, np.ndarray]:
    """The canonical form of each group's first input and label, as one comparable item each: [num_groups]."""
    puzzle = puzzles.module(dataset.puzzle)
    rows = split.first_rows()
    parts: dict[str, list[np.ndarray]] = {"inputs": [], "labels": []}
    with progress(f"canonical forms of {name}", len(rows)) as advance:
        for start in range(0, len(rows), CHUNK):
            inputs, labels, _ = split.take(rows[start : start + CHUNK])
            parts["inputs"].append(as_items(puzzle.canonical(dataset, inputs)))
            parts["labels"].append(as_items(puzzle.canonical(dataset, labels)))
            advance(len(inputs))
    return {kind: np.concatenate(items) for kind, items in parts.items()}


def _describe(split: Split, forms: dict[str, np.ndarray]) -> dict[str, Any]:
    used = {name: np.zeros(split.metadata.vocab_size, bool) for name in ("inputs", "labels")}
    for start in range(0, len(split), CHUNK * 10):
        inputs, labels, _ = split.take(np.arange(start, min(start + CHUNK * 10, len(split))))
        for name, tokens in (("inputs", inputs), ("labels", labels)):
            used[name][np.unique(tokens[tokens >= 0])] = True
    return {
        "examples": len(split),
        "puzzles": split.metadata.total_puzzles,
        "groups": split.metadata.total_groups,
        "tokens": {name: np.flatnonzero(tokens).tolist() for name, tokens in used.items()},
        "twins_within": int(len(forms["inputs"]) - len(np.unique(forms["inputs"]))),
    }
