"""The published layout of a dataset, written in a stream and read memory-mapped.

    DATASET/identifiers.json                 identifier number -> puzzle name; entry 0 is "<blank>"
    DATASET/{train,test}/dataset.json        Metadata
    DATASET/{train,test}/all__inputs.npy     [num_examples, seq_len]
    DATASET/{train,test}/all__labels.npy     the same shape
    DATASET/{train,test}/all__puzzle_identifiers.npy   int32 [num_puzzles]
    DATASET/{train,test}/all__puzzle_indices.npy       int32 [num_puzzles + 1], first example of each puzzle
    DATASET/{train,test}/all__group_indices.npy        int32 [num_groups + 1], first puzzle of each group

An example is one input/label pair, a puzzle one variant of a base problem, a group all variants of one. A third
split, `validation`, stands beside them where a configuration sets one aside.
"""

import json
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from trm.files import BadInput, fingerprint, read_json, sha256

SPLITS = ("train", "validation", "test")
ARRAYS = ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices")


class Metadata(BaseModel):
    """dataset.json of a split."""

    pad_id: int = Field(ge=0)
    ignore_label_id: int | None
    blank_identifier_id: int = Field(ge=0)
    vocab_size: int = Field(ge=2)
    seq_len: int = Field(ge=1)
    num_puzzle_identifiers: int = Field(ge=1)
    total_groups: int = Field(ge=1)
    mean_puzzle_examples: float = Field(gt=0, allow_inf_nan=False)
    total_puzzles: int = Field(ge=1)
    sets: list[str] = Field(min_length=1, max_length=1)


@dataclass(frozen=True)
class Split:
    """One split of a dataset; the examples stay on disk until their rows are taken."""

    folder: Path
    metadata: Metadata
    inputs: np.ndarray  # [num_examples, seq_len]
    labels: np.ndarray  # [num_examples, seq_len]
    puzzle_identifiers: np.ndarray  # [num_puzzles]
    puzzle_indices: np.ndarray  # [num_puzzles + 1]
    group_indices: np.ndarray  # [num_groups + 1]

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, labels (both [n, seq_len]) and puzzle identifiers ([n]) of some examples."""
        inputs, labels = self.inputs[rows], self.labels[rows]
        for name, tokens in (("inputs", inputs), ("labels", labels)):
            bad = (tokens < 0) | (tokens >= self.metadata.vocab_size)
            if name == "labels" and self.metadata.ignore_label_id is not None:
                bad &= tokens != self.metadata.ignore_label_id
            if bad.any():
                row = bad.any(axis=1).argmax()
                raise BadInput(
                    f"{self.folder}/all__{name}.npy: row {rows[row]}: token {tokens[row][bad[row]][0]}, "
                    f"expected 0..{self.metadata.vocab_size - 1}"
                )
        puzzles = np.searchsorted(self.puzzle_indices, rows, side="right") - 1
        return inputs, labels, self.puzzle_identifiers[puzzles]

    def check_tokens(self) -> None:
        """Read the whole split, and raise BadInput where a token is not of the vocabulary."""
        for start in range(0, len(self), 10_000):
            self.take(np.arange(start, min(start + 10_000, len(self))))

    def first_rows(self) -> np.ndarray:
        """The first example of each group: [num_groups]."""
        return self.puzzle_indices[self.group_indices[:-1]]

    def spread(self, n: int | None) -> np.ndarray:
        """`n` rows evenly spaced over the split; all of them where n is None or larger."""
        total = len(self)
        return np.arange(total) if n is None or n >= total else np.arange(n) * total // n


def read_split(folder: Path) -> Split:
    """Open a split and check that its parts fit each other. Raises BadInput naming the file and what is wrong."""
    try:
        metadata = Metadata.model_validate(read_json(folder / "dataset.json"))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise BadInput(f"{folder}/dataset.json: {key}: {problem['msg']}") from None
    prefix = metadata.sets[0]
    if "/" in prefix or prefix.startswith("."):
        raise BadInput(f"{folder}/dataset.json: sets: {prefix!r} is no name of a set, expected one such as 'all'")
    arrays = {name: _read_array(folder / f"{prefix}__{name}.npy") for name in ARRAYS}
    for name in ARRAYS[2:]:  # small; unsigned ones would wrap in differences
        arrays[name] = np.asarray(arrays[name], np.int64)
    split = Split(folder, metadata, **arrays)
    _check(split, prefix)
    return split


def _read_array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise BadInput(f"{path}: no such file, expected an array of the dataset")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, SyntaxError, tokenize.TokenError) as error:  # whatever NumPy's header parser meets
        raise BadInput(f"{path}: not a whole .npy array ({str(error).splitlines()[0]})") from None
    if not np.issubdtype(array.dtype, np.integer):
        raise BadInput(f"{path}: type {array.dtype}, expected integers")
    return array


def _check(split: Split, prefix: str) -> None:
    def expect(holds: bool, name: str, problem: str) -> None:
        if not holds:
            raise BadInput(f"{split.folder}/{prefix}__{name}.npy: {problem}")

    metadata = split.metadata
    shape = split.inputs.shape
    expect(split.inputs.ndim == 2 and shape[1] == metadata.seq_len, "inputs", f"shape {shape}, expected [n, seq_len]")
    expect(split.labels.shape == shape, "labels", f"shape {split.labels.shape}, expected that of inputs, {shape}")
    identifiers = split.puzzle_identifiers
    expect(identifiers.ndim == 1, "puzzle_identifiers", f"shape {identifiers.shape}, expected one dimension")
    puzzles = len(identifiers)
    for name, end, count in (("puzzle_indices", shape[0], puzzles), ("group_indices", puzzles, None)):
        indices = getattr(split, name)
        expect(
            indices.ndim == 1 and len(indices) > 1, name, f"shape {indices.shape}, expected one dimension, 2 or more"
        )
        expect(count is None or len(indices) == count + 1, name, f"{len(indices)} entries, expected {puzzles + 1}")
        expect(indices[0] == 0 and indices[-1] == end, name, f"runs {indices[0]}..{indices[-1]}, expected 0..{end}")
        expect(bool((np.diff(indices) > 0).all()), name, "not increasing, expected every part to hold something")
    groups, told = len(split.group_indices) - 1, metadata.total_groups
    expect(groups == told, "group_indices", f"{groups} groups, expected {told} as in dataset.json")
    top = metadata.num_puzzle_identifiers
    expect(
        bool((identifiers >= 0).all() and (identifiers < top).all()),
        "puzzle_identifiers",
        f"holds {identifiers.min()}..{identifiers.max()}, expected 0..{top - 1}",
    )


class SplitWriter:
    """Writes a split example by example, in file order, with memory for one chunk only."""

    def __init__(self, folder: Path, vocab_size: int, seq_len: int):
        folder.mkdir(parents=True)
        self.folder, self.vocab_size, self.seq_len = folder, vocab_size, seq_len
        self.dtype = np.min_scalar_type(vocab_size - 1)
        self.rows = 0
        self.puzzle_starts: list[np.ndarray] = []
        self.puzzle_groups: list[np.ndarray] = []
        self.files = {name: open(folder / f"all__{name}.npy", "wb") for name in ("inputs", "labels")}  # noqa: SIM115
        for file in self.files.values():
            self._header(file)

    def _header(self, file: BinaryIO) -> None:
        # NumPy pads the header so that it keeps its size when the first axis grows
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, self.seq_len)}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, inputs: np.ndarray, labels: np.ndarray, group: np.ndarray, variant: np.ndarray) -> None:
        """Add examples [n, seq_len]; rows with the same (group, variant) make a puzzle and stand together."""
        for file, tokens in zip(self.files.values(), (inputs, labels), strict=True):
            file.write(np.ascontiguousarray(tokens, self.dtype).data)
        new = np.ones(len(group), bool)
        new[1:] = (group[1:] != group[:-1]) | (variant[1:] != variant[:-1])
        self.puzzle_starts.append(self.rows + np.flatnonzero(new))
        self.puzzle_groups.append(group[new])
        self.rows += len(group)

    def close(self) -> Metadata:
        """Write the indices and dataset.json. Every puzzle has the blank identifier."""
        for file in self.files.values():
            file.seek(0)
            self._header(file)
            file.close()
        groups = np.concatenate(self.puzzle_groups)
        puzzles = len(groups)
        starts = np.append(np.concatenate(self.puzzle_starts), self.rows)
        group_starts = np.append(np.flatnonzero(np.diff(groups, prepend=groups[0] - 1)), puzzles)
        arrays = {
            "puzzle_identifiers": np.zeros(puzzles, np.int32),
            "puzzle_indices": starts.astype(np.int32),
            "group_indices": group_starts.astype(np.int32),
        }
        for name, array in arrays.items():
            np.save(self.folder / f"all__{name}.npy", array)
        metadata = Metadata(
            pad_id=0,
            ignore_label_id=0,
            blank_identifier_id=0,
            vocab_size=self.vocab_size,
            seq_len=self.seq_len,
            num_puzzle_identifiers=1,
            total_groups=len(group_starts) - 1,
            mean_puzzle_examples=self.rows / puzzles,
            total_puzzles=puzzles,
            sets=["all"],
        )
        (self.folder / "dataset.json").write_text(json.dumps(metadata.model_dump(), indent=2) + "\n")
        return metadata


def published_files(dataset: Path) -> bool | None:
    """Whether a dataset was built from the published raw files; None where it is not known, or from no files."""
    if not (dataset / "provenance.json").is_file():
        return None
    raw = read_json(dataset / "provenance.json").get("raw")
    return all(file["published"] for file in raw.values()) if raw else None


def content_hash(dataset: Path) -> str:
    """SHA-256 of what a dataset holds: its splits and identifiers, not when or how it was made."""
    files = [dataset / "identifiers.json", *(file for split in SPLITS for file in sorted((dataset / split).glob("*")))]
    return fingerprint({str(file.relative_to(dataset)): sha256(file) for file in files if file.is_file()})
