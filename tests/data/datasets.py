"""Splits of any structure, written and read back."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from trm.data.layout import Split, SplitWriter, read_split

# examples in each puzzle of each group
structures = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=6)


def write_structure(folder: Path, structure: list[list[int]], vocab_size: int = 11, seq_len: int = 4) -> Split:
    """A split of this structure. An example's input holds its own number in base 10, as tokens 1..10."""
    sizes = np.array([size for group in structure for size in group])
    group = np.repeat([g for g, sizes in enumerate(structure) for _ in sizes], sizes)
    variant = np.repeat([v for sizes in structure for v in range(len(sizes))], sizes)
    number = np.arange(sizes.sum())[:, None]
    inputs = number // 10 ** np.arange(seq_len) % 10 + 1
    writer = SplitWriter(folder, vocab_size, seq_len)
    writer.append(inputs, inputs[:, ::-1], group, variant)
    writer.close()
    return read_split(folder)
