"""preview.png of a built dataset: what an example of it looks like, seen before any training."""

from pathlib import Path

import numpy as np

from trm import puzzles
from trm.config import dataset_section
from trm.data.layout import read_split
from trm.files import read_json
from trm.reporting.sheet import Tile, sheet
from trm.reporting.style import look, save


def preview(data: Path, out: Path, n: int = 12) -> None:
    """Draw `n` training examples of the dataset in `data`, evenly spaced over its groups, as a PNG."""
    facts = read_json(data / "provenance.json")
    dataset = dataset_section(facts["dataset"]["puzzle"]).model_validate(facts["dataset"])
    split = read_split(data / "train")
    firsts = split.first_rows()
    rows = firsts[np.unique(np.arange(n) * len(firsts) // n)]
    inputs, labels, _ = split.take(rows)
    draw = puzzles.module(dataset.puzzle).draw
    tiles = [
        Tile(f"row {row:,}", {"input": draw(dataset, x, None, None), "label": draw(dataset, x, y, None)})
        for row, x, y in zip(rows, inputs, labels, strict=True)
    ]
    sizes = ", ".join(f"{size['examples']:,} {name}" for name, size in facts["splits"].items())
    with look():
        save(sheet(f"{dataset.name}: {sizes}", tiles, columns=3), out)
