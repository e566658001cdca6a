"""Several datasets as one: the groups of all, one after the other, so that an epoch mixes them.

Puzzle identifiers of a later dataset come behind those of the ones before it; 0, the blank, is common to all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from trm.data.layout import read_split
from trm.data.split import Metadata, Split
from trm.files import BadInput

SHARED = ("vocab_size", "seq_len", "ignore_label_id")  # what datasets must have in common to be trained on together


@dataclass(frozen=True)
class Mixture:
    """Splits of datasets, to be drawn from as from one split; its rows are theirs, one after the other."""

    parts: list[Split]

    def __len__(self) -> int:
        return int(self.puzzle_indices[-1])

    @cached_property
    def puzzle_indices(self) -> np.ndarray:
        """The first example of each puzzle: [num_puzzles + 1]."""
        return _chained(part.puzzle_indices for part in self.parts)

    @cached_property
    def group_indices(self) -> np.ndarray:
        """The first puzzle of each group: [num_groups + 1]."""
        return _chained(part.group_indices for part in self.parts)

    @cached_property
    def metadata(self) -> Metadata:
        puzzles = [len(part.puzzle_identifiers) for part in self.parts]
        means = [part.metadata.mean_puzzle_examples for part in self.parts]
        totals = {
            "total_groups": sum(part.metadata.total_groups for part in self.parts),
            "total_puzzles": sum(puzzles),
            "mean_puzzle_examples": float(np.average(means, weights=puzzles)),
        }
        return self.parts[0].metadata.model_copy(update=totals)

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, labels (both [n, seq_len]) and puzzle identifiers ([n]) of some examples."""
        ends = np.cumsum([len(part) for part in self.parts])
        origin = np.searchsorted(ends, rows, side="right")
        places = [np.flatnonzero(origin == i) for i in range(len(self.parts))]
        taken = [
            part.take(rows[place] - (end - len(part)))
            for part, place, end in zip(self.parts, places, ends, strict=True)
        ]
        back = np.argsort(np.concatenate(places))
        return tuple(np.concatenate(arrays)[back] for arrays in zip(*taken, strict=True))


def _chained(indices: Iterable[np.ndarray]) -> np.ndarray:
    """Indices [n + 1] of parts as those of the whole."""
    sizes = [np.diff(part) for part in indices]
    return np.concatenate(([0], np.cumsum(np.concatenate(sizes))))


def mixed(splits: list[Split]) -> Split | Mixture:
    """One split to draw from; a single one is itself."""
    return splits[0] if len(splits) == 1 else Mixture(splits)


def read_splits(folders: list[Path], name: str) -> list[Split]:
    """A split of each dataset, for one network. Raises BadInput where they cannot share one."""
    splits = [read_split(folder / name) for folder in folders]
    first = splits[0]
    for split in splits[1:]:
        for key in SHARED:
            ours, theirs = getattr(first.metadata, key), getattr(split.metadata, key)
            if ours != theirs:
                raise BadInput(
                    f"{split.folder}/dataset.json: {key}: {theirs}, expected {ours} as in {first.folder}/dataset.json "
                    f"to train on both"
                )
    counts = [split.metadata.num_puzzle_identifiers for split in splits]
    return [renumbered(split, counts, place) for place, split in enumerate(splits)]


def renumbered(split: Split, counts: list[int], place: int) -> Split:
    """A split of the dataset at `place` among those with `counts` identifiers, as their common network numbers them.

    Each count has the blank in it, which is one for all.
    """
    identifiers, shift = split.puzzle_identifiers, shift_of(counts, place)
    metadata = split.metadata.model_copy(update={"num_puzzle_identifiers": sum(counts) - len(counts) + 1})
    return replace(split, puzzle_identifiers=np.where(identifiers > 0, identifiers + shift, 0), metadata=metadata)


def shift_of(counts: list[int], place: int) -> int:
    """By how much the identifiers of the dataset at `place` move up, save the blank."""
    return sum(counts[:place]) - place
