"""Does the test set stand in the training set? Are the files what they say?

Boards are compared by their canonical form, so a rotated, relabelled or otherwise symmetric twin counts as the same.
A group's variants are symmetric to each other, so its first puzzle stands for all of them. What of a test problem
must not stand in train is the puzzle's to say (LEAKS): for Sudoku the board, for queens the solution as well.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from trm import puzzles
from trm.config import Dataset
from trm.data.build import built_section
from trm.data.layout import SPLITS, content_hash, read_split
from trm.data.split import Split
from trm.files import BadInput, read_json
from trm.progress import progress
from trm.puzzles.symmetry import as_items

CHUNK = 5000
KINDS = ("inputs", "labels")


def audit(folder: Path) -> dict[str, Any]:
    """Audit the dataset in `folder`: sizes, token ranges, ambiguous examples, twins within and across its splits.

    Raises BadInput where its files contradict each other.
    """
    facts = read_json(folder / "provenance.json")
    dataset = built_section(folder, facts)
    content, built = content_hash(folder), str(facts.get("content_sha256"))
    if content != built:
        raise BadInput(f"{folder}: content {content[:12]}, expected {built[:12]} as provenance.json says it was built")
    puzzle = puzzles.module(dataset.puzzle)
    splits = {name: read_split(folder / name) for name in SPLITS if (folder / name).is_dir()}
    bases = {name: _base(dataset, puzzle, split, name) for name, split in splits.items()}
    twins = {name: _twins(bases[name], bases["train"]) for name in splits if name != "train"}
    return {
        "dataset": dataset.name,
        "content_sha256": content,
        "splits": {name: _describe(split, bases[name]) for name, split in splits.items()},
        "twins_in_train": twins,
        "leaks": list(puzzle.LEAKS),
        "clean": not any(found[kind] for found in twins.values() for kind in puzzle.LEAKS),
        "claims_clean": dataset.claims_clean,
    }


def _base(dataset: Dataset, puzzle: ModuleType, split: Split, name: str) -> dict[str, np.ndarray]:
    """Of the examples of each base problem: the group, the canonical form of input and label as one comparable
    item each, the exact input and label, and whether there are several answers: arrays [base examples]."""
    rows = split.base_rows()
    group = np.repeat(np.arange(len(split.base_indices) - 1), np.diff(split.base_indices))
    parts: list[dict[str, np.ndarray]] = []
    with progress(f"canonical forms of {name}", len(rows)) as advance:
        for start in range(0, len(rows), CHUNK):
            boards = dict(zip(KINDS, split.take(rows[start : start + CHUNK])[:2], strict=True))
            part = {kind: as_items(puzzle.canonical(dataset, tokens)) for kind, tokens in boards.items()}
            part |= {f"exact_{kind}": as_items(tokens) for kind, tokens in boards.items()}
            if hasattr(puzzle, "several_answers"):
                part["several"] = puzzle.several_answers(dataset, boards["inputs"])
            parts.append(part)
            advance(len(boards["inputs"]))
    return {"group": group, **{key: np.concatenate([part[key] for part in parts]) for key in parts[0]}}


def _twins(held_out: dict[str, np.ndarray], train: dict[str, np.ndarray]) -> dict[str, int]:
    """Of how many held-out groups an input, and a label, stands in train up to symmetry."""
    found = {kind: len(np.unique(held_out["group"][np.isin(held_out[kind], train[kind])])) for kind in KINDS}
    return {"groups": int(held_out["group"][-1]) + 1, **found}


def _describe(split: Split, base: dict[str, np.ndarray]) -> dict[str, Any]:
    used = {name: np.zeros(split.metadata.vocab_size, bool) for name in KINDS}
    for start in range(0, len(split.inputs), CHUNK * 10):
        rows = np.arange(start, min(start + CHUNK * 10, len(split.inputs)))
        for name, tokens in zip(KINDS, split.on_disk(rows), strict=True):
            used[name][np.unique(tokens[tokens >= 0])] = True
    return {
        "examples": len(split),
        "puzzles": split.metadata.total_puzzles,
        "groups": split.metadata.total_groups,
        "base_examples": len(base["group"]),
        "tokens": {name: np.flatnonzero(tokens).tolist() for name, tokens in used.items()},
        "twins_within": int(len(base["inputs"]) - len(np.unique(base["inputs"]))),
        "contradictions": _contradictions(base),
        "several_answers": int(base["several"].sum()) if "several" in base else None,
    }


def _contradictions(base: dict[str, np.ndarray]) -> int:
    """Examples whose very input has another label elsewhere in the split."""
    kind = np.unique(base["exact_inputs"], return_inverse=True)[1]
    label = np.unique(base["exact_labels"], return_inverse=True)[1]
    pairs = np.unique(np.stack([kind, label]), axis=1)[0]  # the input of each different pair
    return int((np.bincount(pairs)[kind] > 1).sum())
