"""From a puzzle's base examples to a dataset on disk: split, augmented, in a stream of bounded memory."""

import itertools
from pathlib import Path
from types import ModuleType

import numpy as np

from trm import draws, puzzles
from trm.config import Dataset
from trm.data.layout import SPLITS, SplitWriter, content_hash
from trm.files import BadInput, atomic_folder, sha256, write_json
from trm.progress import progress
from trm.provenance import provenance
from trm.puzzles import Examples

STREAM = 2
CHUNK = 50_000  # examples augmented at a time
OURS = (*SPLITS, "identifiers.json", "provenance.json", "audit.json", "preview.png")


def build(dataset: Dataset, out: Path) -> dict:
    """Build a dataset in the folder `out` and return its provenance, sizes included.

    Raises BadInput on malformed raw data, and where `out` holds anything that is not a dataset's.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: a file, expected a folder")
    foreign = sorted({path.name for path in out.iterdir()} - set(OURS)) if out.is_dir() else []
    if foreign:
        raise BadInput(f"{out}: holds {foreign[0]}, expected an empty folder or an earlier build of a dataset")
    puzzle = puzzles.module(dataset.puzzle)
    raw = raw_folder(dataset, puzzle)
    splits = puzzle.examples(dataset, raw)
    train, validation = _set_aside(splits["train"], dataset)
    with atomic_folder(out) as folder:
        sizes = {}
        for name, examples, num_aug in (
            ("train", train, dataset.num_aug),
            ("validation", validation, 0),
            ("test", splits["test"], 0),
        ):
            if name != "validation" or dataset.validation:
                sizes[name] = _write_split(folder / name, name, examples, num_aug, dataset, puzzle)
        write_json(folder / "identifiers.json", ["<blank>"])
        facts = provenance(
            dataset=dataset.model_dump(mode="json"),
            raw=_raw_hashes(dataset, puzzle, raw),
            splits=sizes,
            content_sha256=content_hash(folder),
        )
        write_json(folder / "provenance.json", facts)
    return facts


def raw_folder(dataset: Dataset, puzzle: ModuleType) -> Path | None:
    """The folder with the raw files that the dataset reads; None where it is generated."""
    names = puzzle.raw_files(dataset)
    if not names:
        return None
    if dataset.raw is None:
        raise BadInput(
            f"dataset.raw: {dataset.puzzle} needs {' and '.join(names)}; fetch them with "
            f"`trm download {dataset.puzzle} --out DIR` and set dataset.raw=DIR"
        )
    for name in names:
        if not (dataset.raw / name).is_file():
            raise BadInput(f"{dataset.raw / name}: no such file, expected a raw file of {dataset.puzzle}")
    return dataset.raw


def _raw_hashes(dataset: Dataset, puzzle: ModuleType, raw: Path | None) -> dict[str, dict]:
    """Of each raw file its hash, and whether it is the published file: other files, other figures."""
    hashes = {name: sha256(raw / name) for name in puzzle.raw_files(dataset)}
    return {name: {"sha256": h, "published": h == puzzle.SOURCES[name].sha256} for name, h in hashes.items()}


def _set_aside(examples: Examples, dataset: Dataset) -> tuple[Examples, Examples]:
    """Train and validation: whole groups, chosen by the dataset's seed."""
    groups, place = np.unique(examples.group, return_inverse=True)
    count = round(dataset.validation * len(groups))
    rank = np.argsort(np.argsort(draws.hashed(dataset.seed, STREAM, groups)))
    chosen = (rank < count)[place]
    return examples.take(~chosen), examples.take(chosen)


def _write_split(
    folder: Path, name: str, examples: Examples, num_aug: int, dataset: Dataset, puzzle: ModuleType
) -> dict[str, int]:
    """Write all variants of the examples: group by group, in each variant 0 (the base problem) first."""
    if len(examples) == 0:
        raise BadInput(f"dataset: the {name} split is empty, expected at least one example")
    writer = SplitWriter(folder, puzzle.vocab_size(dataset), puzzle.seq_len(dataset))
    # base rows come in groups; whole groups are repeated per variant, as many groups at a time as fill a chunk
    starts = np.flatnonzero(np.diff(examples.group, prepend=-1))
    ends = np.append(starts[1:], len(examples))
    chunk_of = starts * (num_aug + 1) // CHUNK
    cuts = np.append(np.flatnonzero(np.diff(chunk_of, prepend=-1)), len(starts))
    with progress(f"{name} examples", len(examples) * (num_aug + 1)) as advance:
        for first, last in itertools.pairwise(cuts):
            rows, variant = _repeat_groups(starts[first:last], ends[first:last], num_aug + 1)
            group = examples.group[rows]
            inputs, labels = examples.inputs[rows], examples.labels[rows]
            if num_aug:
                symmetries = puzzle.variants(dataset, group, variant)
                inputs, labels = symmetries.apply(inputs), symmetries.apply(labels)
            writer.append(inputs, labels, group, variant)
            advance(len(rows))
    metadata = writer.close()
    return {"examples": writer.rows, "puzzles": metadata.total_puzzles, "groups": metadata.total_groups}


def _repeat_groups(starts: np.ndarray, ends: np.ndarray, variants: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of some groups, each group `variants` times in turn, and the variant of each row."""
    starts, sizes = np.repeat(starts, variants), np.repeat(ends - starts, variants)
    variant = np.repeat(np.arange(len(starts)) % variants, sizes)
    offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts, sizes) + offset, variant
