"""The puzzles: one module each, all with the same few plain functions.

A puzzle's module `trm/puzzles/NAME.py` holds (`dataset` is the puzzle's own section of an experiment; boards are
arrays [n, seq_len] of tokens, token 0 is always PAD):

    class Dataset(config.Dataset)         the keys of its `dataset:` section, with `puzzle: Literal["NAME"]`
    SOURCES: dict[str, Source]            the raw files that can be downloaded, by upstream name; {} where generated
    LEAKS: tuple[str, ...]                what of a test problem no symmetry may make of a train one: inputs, labels
    vocab_size(dataset) -> int            tokens, PAD included
    seq_len(dataset) -> int               cells of a board
    raw_files(dataset) -> list[str]       names of the raw files that `examples` reads; [] where it generates
    examples(dataset, raw) -> dict        {"train": Examples, "test": Examples}, before augmentation; `raw`: folder
    augment(dataset, origin, inputs, labels) -> (inputs, labels)   the variants that `origin` asks of base examples;
                                          not where num_aug is always 0
    canonical(dataset, boards)            equal for two boards exactly when a symmetry maps one on the other
    blanks(dataset, inputs)               bool [n, seq_len]: the cells that the solver has to fill
    is_valid(dataset, inputs, predictions)  bool [n]: the prediction keeps the givens and obeys every rule
    draw(dataset, inputs, prediction, label) -> Drawing   one board; prediction and label may be None
    read(dataset, text)                   [n, seq_len] the puzzle that `text` holds in the form its players write it in,
                                          which the docstring tells; raises BadInput where it is none, or unsolvable

and, where there is something to say:

    metrics(dataset, inputs, predictions, labels) -> dict   further figures by name: bool [n], or float [n] of 0 and 1
                                                            with nan for the rows that a figure leaves out
    places(dataset)                       [seq_len, 2] column and row of each cell in `draw`, nan for one without a
                                          place; not where cells stand in a square, row after row
    difficulty(dataset, inputs, labels) -> dict   measures of how hard an example is, by name: integers [n]
    variants(dataset, group, variant) -> Symmetries   those of `augment`, which test-time scaling undoes in an answer
    several_answers(dataset, inputs)      bool [n]: more than one prediction would be valid
    VALID: str                            what is_valid asks, where it is less than the rules
    RAW_HINT: str                         where to get the raw files that SOURCES does not pin
    files(dataset, raw) -> dict           further files of the dataset, by name: what they hold as JSON

and, where an example is one move of a game, so that trm/evaluation/games.py can play it to its end:

    starts(dataset)                       [g, seq_len] the first states of the test games
    advance(dataset, inputs, predictions) -> (inputs, legal)   the states after the predicted moves, bool [g]
    shortest(dataset, inputs)             [g] moves still to be made at least; 0: solved

Adding a puzzle is one such module, one experiment file and one test; nothing else names the puzzles.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np


@dataclass(frozen=True)
class Puzzles:
    """The puzzles that a split makes of its groups, in file order: groups in order, the base problem first."""

    group: np.ndarray  # [p]
    variant: np.ndarray  # [p] int64; 0 is the group's examples as they are, what others mean is the module's own
    names: list[str] | None = None  # [p] each with an embedding of its own; None: all share the blank identifier


@dataclass(frozen=True)
class Examples:
    """Base examples, one row an input/label pair; rows of a group stand together, groups 0, 1, 2, ... in order."""

    inputs: np.ndarray  # [n, seq_len] tokens
    labels: np.ndarray  # [n, seq_len] tokens; 0 where there is nothing to predict
    group: np.ndarray  # [n] the base problem: the unit of a train/test split
    puzzles: Puzzles | None = None  # None: training groups in the variants 0..num_aug, others as they are

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> "Examples":
        return Examples(self.inputs[rows], self.labels[rows], self.group[rows])


@dataclass(frozen=True)
class Origin:
    """Where n augmented examples come from."""

    group: np.ndarray  # [n] number of the base problem in its split
    variant: np.ndarray  # [n] int64, as in Puzzles; never 0
    place: np.ndarray  # [n] number of the example in its puzzle
    count: np.ndarray  # [n] examples in that puzzle

    def take(self, rows: np.ndarray) -> "Origin":
        return Origin(self.group[rows], self.variant[rows], self.place[rows], self.count[rows])


@dataclass(frozen=True)
class Source:
    """Where a raw file comes from, pinned."""

    url: str
    sha256: str


def module(name: str) -> ModuleType:
    """The module of the puzzle called `name`."""
    return importlib.import_module(f"trm.puzzles.{name}")
