"""The published layout of a dataset, written in a stream and read memory-mapped.

    DATASET/identifiers.json                 identifier number -> puzzle name; entry 0 is "<blank>"
    DATASET/test_puzzles.json                ARC only: the raw test tasks, for scoring
    DATASET/{train,test}/dataset.json        Metadata
    DATASET/{train,test}/all__inputs.npy     [num_examples, seq_len]
    DATASET/{train,test}/all__labels.npy     the same shape
    DATASET/{train,test}/all__puzzle_identifiers.npy   int32 [num_puzzles]
    DATASET/{train,test}/all__puzzle_indices.npy       int32 [num_puzzles + 1], first example of each puzzle
    DATASET/{train,test}/all__group_indices.npy        int32 [num_groups + 1], first puzzle of each group
    DATASET/{train,test}/all__variants.npy   ours: [num_puzzles], which variant of its group a puzzle is

An example is one input/label pair, a puzzle one variant of a base problem, a group all variants of one. A third
split, `validation`, stands beside them where a configuration sets one aside.

With `augmentation: online` the inputs and labels are those of the base problems alone, group after group. The indices
count the examples that the variants make of them, and dataset.json holds the section of the puzzle that makes them.
"""

import json
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from pydantic import ValidationError

from trm.config import Dataset, dataset_section
from trm.data.split import Metadata, Split
from trm.files import BadInput, fingerprint, read_json, sha256
from trm.progress import progress

SPLITS = ("train", "validation", "test")
ARRAYS = ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices")
CHUNK = 16 << 20  # tokens written at a time


def read_split(folder: Path) -> Split:
    """Open a split and check that its parts fit each other. Raises BadInput naming the file and what is wrong."""
    metadata = _read_metadata(folder)
    prefix = metadata.sets[0]
    if "/" in prefix or prefix.startswith("."):
        raise BadInput(f"{folder}/dataset.json: sets: {prefix!r} is no name of a set, expected one such as 'all'")
    known = metadata.online or (folder / f"{prefix}__variants.npy").is_file()
    names = (*ARRAYS, "variants") if known else ARRAYS
    arrays = {name: _read_array(folder / f"{prefix}__{name}.npy") for name in names}
    for name in names[2:]:  # small; unsigned ones would wrap in differences
        arrays[name] = np.asarray(arrays[name], np.int64)
    split = Split(folder, metadata, **arrays, online=_online(folder, metadata))
    _check(split, prefix)
    return split


def _read_metadata(folder: Path) -> Metadata:
    try:
        return Metadata.model_validate(read_json(folder / "dataset.json"))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise BadInput(f"{folder}/dataset.json: {key}: {problem['msg']}") from None


def _online(folder: Path, metadata: Metadata) -> Dataset | None:
    if metadata.online is None:
        return None
    try:
        return dataset_section(metadata.online.get("puzzle")).model_validate(metadata.online)
    except ValueError as error:  # pydantic's error is one
        raise BadInput(f"{folder}/dataset.json: online: not a dataset section ({error})") from None


def _read_array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise BadInput(f"{path}: no such file, expected an array of the dataset")
    try:
        array = npy.open_memmap(path, mode="r")
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
    examples = None if split.online else shape[0]  # online, the base examples are counted below
    for name, end, count in (("puzzle_indices", examples, puzzles), ("group_indices", puzzles, None)):
        indices = getattr(split, name)
        expect(
            indices.ndim == 1 and len(indices) > 1, name, f"shape {indices.shape}, expected one dimension, 2 or more"
        )
        expect(count is None or len(indices) == count + 1, name, f"{len(indices)} entries, expected {puzzles + 1}")
        last = indices[-1] if end is None else end
        expect(indices[0] == 0 and indices[-1] == last, name, f"runs {indices[0]}..{indices[-1]}, expected 0..{last}")
        expect(bool((np.diff(indices) > 0).all()), name, "not increasing, expected every part to hold something")
    groups, told = len(split.group_indices) - 1, metadata.total_groups
    expect(groups == told, "group_indices", f"{groups} groups, expected {told} as in dataset.json")
    top = metadata.num_puzzle_identifiers
    expect(
        bool((identifiers >= 0).all() and (identifiers < top).all()),
        "puzzle_identifiers",
        f"holds {identifiers.min()}..{identifiers.max()}, expected 0..{top - 1}",
    )
    if split.variants is not None:
        shape = split.variants.shape
        expect(shape == (puzzles,), "variants", f"shape {shape}, expected {(puzzles,)}, one for each puzzle")
    if split.online:
        sizes = np.diff(split.puzzle_indices)
        same = sizes == np.repeat(sizes[split.group_indices[:-1]], np.diff(split.group_indices))
        expect(bool(same.all()), "puzzle_indices", "puzzles of one group differ in size, expected variants of one base")
        base, found = split.base_indices[-1], len(split.inputs)
        expect(base == found, "inputs", f"{found} base examples, expected {base} as in puzzle_indices")


def write_split(split: Split, folder: Path, online: Dataset | None) -> None:
    """Write a split example by example, in file order, with memory for one chunk only.

    With `online` its base examples are written, and the section that makes its variants; else all examples.
    """
    folder.mkdir(parents=True)
    metadata = split.metadata.model_copy(update={"sets": ["all"], "online": online and online.model_dump(mode="json")})
    (folder / "dataset.json").write_text(
        json.dumps(metadata.model_dump(exclude=set() if online else {"online"}), indent=2) + "\n"
    )
    for name in ARRAYS[2:]:
        np.save(folder / f"all__{name}.npy", getattr(split, name).astype(np.int32))
    if split.variants is not None:
        variants = split.variants
        np.save(folder / "all__variants.npy", variants.astype(np.min_scalar_type(variants.max())))
    rows, take = np.arange(len(split)), split.take
    if online:  # the base examples, which a stored split holds as the first puzzle of each group
        rows, take = (np.arange(len(split.inputs)), split.on_disk) if split.online else (split.base_rows(), split.take)
    shape = (len(rows), metadata.seq_len)
    header = {"descr": np.min_scalar_type(metadata.vocab_size - 1).str, "fortran_order": False, "shape": shape}
    with (
        open(folder / "all__inputs.npy", "wb") as inputs,
        open(folder / "all__labels.npy", "wb") as labels,
        progress(f"{folder.name} examples", len(rows)) as advance,
    ):
        for file in (inputs, labels):
            npy.write_array_header_1_0(file, header)
        for part in _chunks(rows, metadata.seq_len):
            for file, tokens in zip((inputs, labels), take(part)[:2], strict=True):
                file.write(np.ascontiguousarray(tokens, header["descr"]).data)
            advance(len(part))


def _chunks(rows: np.ndarray, seq_len: int) -> Iterator[np.ndarray]:
    size = max(1, CHUNK // seq_len)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def published_files(dataset: Path) -> bool | None:
    """Whether a dataset was built from the published raw files; None where it is not known, or from no files."""
    if not (dataset / "provenance.json").is_file():
        return None
    raw = read_json(dataset / "provenance.json").get("raw") or {}
    known = {file["published"] for file in raw.values()}
    return None if None in known or not known else all(known)


def content_hash(dataset: Path) -> str:
    """SHA-256 of what a dataset holds: its splits and identifiers, not when or how it was made."""
    files = [dataset / "identifiers.json", *(file for split in SPLITS for file in sorted((dataset / split).glob("*")))]
    return fingerprint({str(file.relative_to(dataset)): sha256(file) for file in files if file.is_file()})
