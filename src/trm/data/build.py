"""From a puzzle's base examples to a dataset on disk: split, augmented, in a stream of bounded memory."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from trm import draws, puzzles
from trm.config import Dataset, dataset_section
from trm.data.layout import SPLITS, content_hash, read_split, write_split
from trm.data.split import Metadata, Split
from trm.files import BadInput, atomic_folder, fingerprint, read_json, sha256, write_json
from trm.provenance import provenance
from trm.puzzles import Examples, Puzzles

STREAM = 2
OURS = (*SPLITS, "identifiers.json", "test_puzzles.json", "provenance.json", "audit.json", "preview.png")


def build(dataset: Dataset, out: Path) -> dict[str, Any]:
    """Build a dataset in the folder `out` and return its provenance, sizes included.

    Raises BadInput on malformed raw data, and where `out` holds anything that is not a dataset's.
    """
    check_folder(out)
    puzzle = puzzles.module(dataset.puzzle)
    raw = raw_folder(dataset, puzzle)
    tables = puzzle.examples(dataset, raw)
    train, validation = _set_aside(tables["train"], dataset)
    tables = {"train": train, **({"validation": validation} if dataset.validation else {}), "test": tables["test"]}
    chosen = {name: table.puzzles or _all_puzzles(name, table, dataset) for name, table in tables.items()}
    identifiers = _number([puzzle.names or [] for puzzle in chosen.values()])
    online = dataset if dataset.augmentation == "online" else None
    sizes = {}
    with atomic_folder(out) as folder:
        for name, table in tables.items():
            split = _in_memory(folder / name, table, chosen[name], identifiers, dataset, puzzle)
            write_split(split, folder / name, online)
            sizes[name] = _sizes(split)
        write_json(folder / "identifiers.json", list(identifiers), indent=None)
        for name, content in getattr(puzzle, "files", lambda *_: {})(dataset, raw).items():
            write_json(folder / name, content, indent=None)
        facts = provenance(
            dataset=dataset.model_dump(mode="json"),
            raw=_raw_hashes(dataset, puzzle, raw),
            splits=sizes,
            content_sha256=content_hash(folder),
        )
        write_json(folder / "provenance.json", facts)
    return facts


def materialize(data: Path, out: Path) -> dict[str, Any]:
    """Write the dataset in `data` the other way: online for stored, stored for online. Returns its provenance.

    Raises BadInput where a stored dataset does not hold each base problem as its first puzzle.
    """
    check_folder(out)
    facts = read_json(data / "provenance.json")
    dataset = built_section(data, facts)
    stored = dataset.augmentation == "stored"
    other = dataset.model_copy(update={"augmentation": "online" if stored else "stored"})
    with atomic_folder(out) as folder:
        for name in facts["splits"]:
            split = read_split(data / name)
            if stored and (split.variants is None or split.variants[split.group_indices[:-1]].any()):
                raise BadInput(
                    f"{data / name}: its groups do not begin with their base problem, expected them to; build it "
                    "again with dataset.augmentation=online"
                )
            write_split(split, folder / name, other if stored else None)
        for path in sorted(data.glob("*.json")):
            if path.name not in ("provenance.json", "audit.json"):
                (folder / path.name).write_bytes(path.read_bytes())
        kept = {key: facts[key] for key in ("raw", "splits")}
        section = other.model_dump(mode="json")
        facts = provenance(dataset=section, **kept, content_sha256=content_hash(folder))
        write_json(folder / "provenance.json", facts)
    return facts


def built_section(data: Path, facts: dict[str, Any]) -> Dataset:
    """The `dataset:` section that the dataset in `data` was built from, as its provenance tells."""
    try:
        section = facts["dataset"]
        return dataset_section(section["puzzle"]).model_validate(section)
    except (KeyError, TypeError, ValueError) as error:  # pydantic's error is a ValueError
        raise BadInput(f"{data}/provenance.json: not as `trm build` wrote it ({error})") from None


def check_folder(out: Path) -> None:
    """Raise BadInput where `out` holds anything that is not a dataset's: it is going to be replaced."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: a file, expected a folder")
    foreign = sorted({path.name for path in out.iterdir()} - set(OURS)) if out.is_dir() else []
    if foreign:
        raise BadInput(f"{out}: holds {foreign[0]}, expected an empty folder or an earlier build of a dataset")


def raw_folder(dataset: Dataset, puzzle: ModuleType) -> Path | None:
    """The folder with the raw files that the dataset reads; None where it is generated."""
    names = puzzle.raw_files(dataset)
    if not names:
        return None
    if dataset.raw is None:
        needs = f"dataset.raw: {dataset.puzzle} needs {' and '.join(names)}"
        if set(names) <= set(puzzle.SOURCES):
            raise BadInput(f"{needs}; fetch them with `trm download {dataset.puzzle} --out DIR`, set dataset.raw=DIR")
        raise BadInput(f"{needs}; {puzzle.RAW_HINT}; then set dataset.raw to their folder")
    for name in names:
        if not (dataset.raw / name).exists():
            raise BadInput(f"{dataset.raw / name}: no such file, expected a raw file of {dataset.puzzle}")
    return dataset.raw


def _raw_hashes(dataset: Dataset, puzzle: ModuleType, raw: Path | None) -> dict[str, dict[str, Any]]:
    """Of each raw file its hash, and whether it is the published file (None: not known): other files, other figures."""
    hashes = {name: _sha256(raw / name) for name in puzzle.raw_files(dataset)}
    pinned = {name: source.sha256 for name, source in puzzle.SOURCES.items()}
    return {
        name: {"sha256": h, "published": h == pinned[name] if name in pinned else None} for name, h in hashes.items()
    }


def _sha256(path: Path) -> str:
    """Hash of a file, or of all files in a folder."""
    if path.is_file():
        return sha256(path)
    return fingerprint({str(file.relative_to(path)): sha256(file) for file in path.rglob("*") if file.is_file()})


def _set_aside(examples: Examples, dataset: Dataset) -> tuple[Examples, Examples]:
    """Train and validation: whole groups, chosen by the dataset's seed."""
    if not dataset.validation:
        return examples, examples.take(np.arange(0))
    groups = examples.group.max() + 1
    rank = np.argsort(np.argsort(draws.hashed(dataset.seed, STREAM, np.arange(groups))))
    chosen = (rank < round(dataset.validation * groups))[examples.group]
    return _renumbered(examples.take(~chosen)), _renumbered(examples.take(chosen))


def _renumbered(examples: Examples) -> Examples:
    return Examples(examples.inputs, examples.labels, np.unique(examples.group, return_inverse=True)[1])


def _all_puzzles(name: str, examples: Examples, dataset: Dataset) -> Puzzles:
    """Every training group in the variants 0..num_aug; groups of other splits as they are."""
    if not len(examples):
        raise BadInput(f"dataset: the {name} split is empty, expected at least one example")
    groups, variants = examples.group[-1] + 1, dataset.num_aug + 1 if name == "train" else 1
    return Puzzles(np.repeat(np.arange(groups), variants), np.tile(np.arange(variants), groups))


def _number(names: list[list[str]]) -> dict[str, int]:
    """Identifiers in the order in which names are met, split after split; 0 is for puzzles without a name."""
    numbers = {"<blank>": 0}
    for part in names:
        for name in part:
            numbers.setdefault(name, len(numbers))
    return numbers


def _in_memory(
    folder: Path, table: Examples, chosen: Puzzles, numbers: dict[str, int], dataset: Dataset, puzzle: ModuleType
) -> Split:
    """The split that `chosen` makes of base examples, as if it were read from an online dataset."""
    sizes = np.bincount(table.group)[chosen.group]  # [puzzles] examples
    puzzles = len(chosen.group)
    group_starts = np.flatnonzero(np.diff(chosen.group, prepend=-1))
    identifiers = [numbers[name] for name in chosen.names] if chosen.names else np.zeros(puzzles)
    metadata = Metadata(
        vocab_size=puzzle.vocab_size(dataset),
        seq_len=puzzle.seq_len(dataset),
        num_puzzle_identifiers=len(numbers),
        total_groups=len(group_starts),
        mean_puzzle_examples=sizes.sum() / puzzles,
        total_puzzles=puzzles,
    )
    return Split(
        folder,
        metadata,
        table.inputs,
        table.labels,
        puzzle_identifiers=np.array(identifiers, np.int32),
        puzzle_indices=np.append(0, np.cumsum(sizes)),
        group_indices=np.append(group_starts, puzzles),
        variants=chosen.variant,
        online=dataset,
    )


def _sizes(split: Split) -> dict[str, int]:
    return {
        "examples": len(split),
        "puzzles": split.metadata.total_puzzles,
        "groups": split.metadata.total_groups,
    }
