"""One split of a dataset: examples in puzzles in groups, taken by the number of their row.

Stored, every example stands on disk. Online, only those of the base problems do; an example is then its base example
under the variant of its puzzle, the same one that would have been stored.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from trm import puzzles
from trm.config import Dataset
from trm.files import BadInput
from trm.puzzles import Origin


class Metadata(BaseModel):
    """dataset.json of a split."""

    pad_id: int = Field(0, ge=0)
    ignore_label_id: int | None = 0
    blank_identifier_id: int = Field(0, ge=0)
    vocab_size: int = Field(ge=2)
    seq_len: int = Field(ge=1)
    num_puzzle_identifiers: int = Field(ge=1)
    total_groups: int = Field(ge=1)
    mean_puzzle_examples: float = Field(gt=0, allow_inf_nan=False)
    total_puzzles: int = Field(ge=1)
    sets: list[str] = Field(["all"], min_length=1, max_length=1)
    online: dict[str, Any] | None = None  # the puzzle's `dataset:` section where its variants are made when taken


@dataclass(frozen=True)
class Split:
    """One split of a dataset; stored examples stay on disk until their rows are taken."""

    folder: Path
    metadata: Metadata
    inputs: np.ndarray  # [num_examples, seq_len]; online: [base examples, seq_len]
    labels: np.ndarray  # the same shape
    puzzle_identifiers: np.ndarray  # [num_puzzles]
    puzzle_indices: np.ndarray  # [num_puzzles + 1]
    group_indices: np.ndarray  # [num_groups + 1]
    variants: np.ndarray | None = None  # [num_puzzles] as in trm.puzzles.Puzzles; None: not known
    online: Dataset | None = None  # whose variants are made when taken; None: stored

    def __len__(self) -> int:
        return int(self.puzzle_indices[-1])

    @cached_property
    def base_indices(self) -> np.ndarray:
        """The first of each group among all base examples: [num_groups + 1]."""
        first = self.group_indices[:-1]
        return np.append(0, np.cumsum(self.puzzle_indices[first + 1] - self.puzzle_indices[first]))

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, labels (both [n, seq_len]) and puzzle identifiers ([n]) of some examples."""
        puzzle = np.searchsorted(self.puzzle_indices, rows, side="right") - 1
        if self.online is None:
            boards = self.on_disk(rows)
        else:
            group = np.searchsorted(self.group_indices, puzzle, side="right") - 1
            place = rows - self.puzzle_indices[puzzle]
            boards = self.on_disk(self.base_indices[group] + place)
            changed = np.flatnonzero(self.variants[puzzle])
            if len(changed):
                count = self.puzzle_indices[puzzle + 1] - self.puzzle_indices[puzzle]
                origin = Origin(group, self.variants[puzzle], place, count).take(changed)
                augment = puzzles.module(self.online.puzzle).augment
                new = augment(self.online, origin, *(board[changed] for board in boards))
                for board, part in zip(boards, new, strict=True):
                    board[changed] = part
        return *boards, self.puzzle_identifiers[puzzle]

    def on_disk(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of inputs and labels as they stand on disk (online: base examples), checked."""
        boards = self.inputs[rows], self.labels[rows]
        for name, tokens in zip(("inputs", "labels"), boards, strict=True):
            bad = tokens >= self.metadata.vocab_size
            if np.issubdtype(tokens.dtype, np.signedinteger):
                bad |= tokens < 0
            if name == "labels" and self.metadata.ignore_label_id is not None:
                bad &= tokens != self.metadata.ignore_label_id
            if bad.any():
                row = bad.any(axis=1).argmax()
                raise BadInput(
                    f"{self.folder}/all__{name}.npy: row {rows[row]}: token {tokens[row][bad[row]][0]}, "
                    f"expected 0..{self.metadata.vocab_size - 1}"
                )
        return boards

    def check_tokens(self) -> None:
        """Read all that is on disk, and raise BadInput where a token is not of the vocabulary."""
        for start in range(0, len(self.inputs), 10_000):
            self.on_disk(np.arange(start, min(start + 10_000, len(self.inputs))))

    def base_rows(self) -> np.ndarray:
        """The examples of the first puzzle of each group: its base problem."""
        base = self.base_indices
        return np.repeat(self.first_rows() - base[:-1], np.diff(base)) + np.arange(base[-1])

    def first_rows(self) -> np.ndarray:
        """The first example of each group: [num_groups]."""
        return self.puzzle_indices[self.group_indices[:-1]]

    def variant_numbers(self, rows: np.ndarray) -> np.ndarray:
        """How many puzzles of their group stand before those of some examples: [n], 0 for the bare problem."""
        puzzle = np.searchsorted(self.puzzle_indices, rows, side="right") - 1
        return puzzle - self.group_indices[np.searchsorted(self.group_indices, puzzle, side="right") - 1]

    def spread(self, n: int | None, max_variants: int | None = None) -> np.ndarray:
        """`n` rows evenly spaced over the split; all of them where n is None or larger.

        Of each group only its first `max_variants` puzzles count, the bare problem before its augmentations.
        """
        rows = self._within(max_variants)
        return rows[evenly(n, len(rows))]

    def spread_groups(self, n: int | None, max_variants: int | None = None) -> np.ndarray:
        """The rows of `n` groups evenly spaced over the split, with the first `max_variants` puzzles of each."""
        rows = self._within(max_variants)
        group = np.searchsorted(self.puzzle_indices[self.group_indices], rows, side="right") - 1
        return rows[np.isin(group, evenly(n, len(self.group_indices) - 1))]

    def _within(self, max_variants: int | None) -> np.ndarray:
        """The rows of the first `max_variants` puzzles of each group; of all for None."""
        rows = np.arange(len(self))
        return rows if max_variants is None else rows[self.variant_numbers(rows) < max_variants]


def evenly(n: int | None, total: int) -> np.ndarray:
    """`n` of the numbers 0 .. total - 1 evenly spaced; all of them where n is None or larger."""
    return np.arange(total) if n is None or n >= total else np.arange(n) * total // n
