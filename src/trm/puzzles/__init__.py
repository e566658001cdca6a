"""The puzzles: one module each, all with the same few plain functions.

A puzzle's module `trm/puzzles/NAME.py` holds (`dataset` is the puzzle's own section of an experiment; boards are
arrays [n, seq_len] of tokens, token 0 is always PAD):

    class Dataset(config.Dataset)         the keys of its `dataset:` section, with `puzzle: Literal["NAME"]`
    SOURCES: dict[str, Source]            the raw files that can be downloaded, by upstream name; {} where generated
    vocab_size(dataset) -> int            tokens, PAD included
    seq_len(dataset) -> int               cells of a board
    raw_files(dataset) -> list[str]       names of the raw files that `examples` reads; [] where it generates
    examples(dataset, raw) -> dict        {"train": Examples, "test": Examples}, before augmentation; `raw`: folder
    variants(dataset, group, variant)     the Symmetries that make variant v of group g (arrays); 0 is the identity
    canonical(dataset, boards)            equal for two boards exactly when a symmetry maps one on the other
    blanks(dataset, inputs)               bool [n, seq_len]: the cells that the solver has to fill
    is_valid(dataset, inputs, predictions)  bool [n]: the prediction keeps the givens and obeys every rule
    draw(dataset, inputs, prediction, label) -> Drawing   one board; prediction and label may be None

Adding a puzzle is one such module, one experiment file and one test; nothing else names the puzzles.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np


@dataclass(frozen=True)
class Examples:
    """A table of examples, one row an input/label pair, rows of a group together and groups in order."""

    inputs: np.ndarray  # [n, seq_len] tokens
    labels: np.ndarray  # [n, seq_len] tokens; 0 where there is nothing to predict
    group: np.ndarray  # [n] the base problem: the unit of a train/test split

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> "Examples":
        return Examples(self.inputs[rows], self.labels[rows], self.group[rows])


@dataclass(frozen=True)
class Source:
    """Where a raw file comes from, pinned."""

    url: str
    sha256: str


def module(name: str) -> ModuleType:
    """The module of the puzzle called `name`."""
    return importlib.import_module(f"trm.puzzles.{name}")
