"""What an example of a built dataset looks like, seen before any training: as a picture, or in the terminal."""

from pathlib import Path

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.text import Text

from trm import puzzles
from trm.config import Dataset
from trm.data.build import built_section
from trm.data.layout import read_split
from trm.data.split import Split
from trm.files import BadInput, read_json
from trm.puzzles.drawing import Drawing
from trm.reporting.sheet import Tile, sheet
from trm.reporting.style import METADATA, look, save
from trm.reporting.terminal import to_text

SHOWN = 12  # examples of a preview
GAP = 4  # columns between boards in the terminal


def preview(data: Path, out: Path, name: str = "train", index: int | None = None) -> None:
    """Draw examples of a split as a picture: evenly spaced over its groups, or the one in row `index`."""
    if out.suffix.removeprefix(".") not in METADATA:
        raise BadInput(f"{out}: expected a name that ends in {', '.join(f'.{kind}' for kind in METADATA)}")
    facts = read_json(data / "provenance.json")
    dataset = built_section(data, facts)
    split = read_split(data / name)
    rows = _rows(split, name, index)
    tiles = [Tile(f"row {row:,}", boards) for row, boards in zip(rows, _boards(dataset, split, rows), strict=True)]
    sizes = ", ".join(f"{size['examples']:,} {part}" for part, size in facts["splits"].items())
    with look():
        save(sheet(f"{dataset.name}: {sizes}", tiles, columns=3), out)


def print_examples(data: Path, name: str = "train", index: int | None = None) -> None:
    """Draw the same examples in the terminal, input and label side by side."""
    dataset = built_section(data, read_json(data / "provenance.json"))
    split = read_split(data / name)
    rows = _rows(split, name, index)
    console = Console(highlight=False)
    for row, boards in zip(rows, _boards(dataset, split, rows), strict=True):
        blocks = [Text("\n").join([Text(caption), *to_text(board)]) for caption, board in boards.items()]
        console.print(f"{name} row {row:,}")
        console.print(Columns(blocks, padding=(0, GAP)))


def _rows(split: Split, name: str, index: int | None) -> np.ndarray:
    if index is None:
        firsts = split.first_rows()
        return firsts[np.unique(np.arange(SHOWN) * len(firsts) // SHOWN)]
    if index >= len(split):
        raise BadInput(f"--index {index}: the {name} split has rows 0..{len(split) - 1}")
    return np.array([index])


def _boards(dataset: Dataset, split: Split, rows: np.ndarray) -> list[dict[str, Drawing]]:
    """For each row its input, and its label as the answer to it."""
    draw = puzzles.module(dataset.puzzle).draw
    inputs, labels, _ = split.take(rows)
    return [
        {"input": draw(dataset, x, None, None), "label": draw(dataset, x, y, None)}
        for x, y in zip(inputs, labels, strict=True)
    ]
