"""ARC's answers by vote: what a model says to all variants of a test input, brought back to the bare task and counted.

Each prediction is cropped, its variant undone on input and answer, and it votes for its grid under the test input's.
Answers rank by votes, then by the mean of sigmoid(q_halt), then by which was seen first. Predictions stream through:
what stays is one row and one grid of each distinct answer. Sums are kept in integers, so that votes are the same in
whatever batches, in whatever order and on however many ranks they were counted.

An empty crop is no answer here, and does not vote; as published it is one like any other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numba import njit

from trm import draws
from trm.data.layout import read_split
from trm.files import BadInput, read_json
from trm.puzzles.arc_boards import CELLS, hashes, undo
from trm.puzzles.arc_tasks import read_grid, read_object, shown
from trm.puzzles.arc_variants import parse_names

KS = (1, 2, 5, 10, 100, 1000)  # of pass@k, as published
UNIT = 2.0**40  # parts of a confidence of 1: 8 million votes fit in 64 bits
CHUNK = 10_000  # answers merged at a time
BLOCK = 1 << 26  # cells that get their memory at once: in pieces among other arrays they would take a tenth more

# an answer to a test input and its votes; also one vote
ANSWER = np.dtype(
    [
        ("key", "u8"),  # hash of test input and grid
        ("votes", "i8"),
        ("confidence", "i8"),  # sum of sigmoid(q_halt), in UNITs
        ("first", "i8"),  # smallest order number
        ("input", "i4"),  # number of the distinct test input
        ("rows", "u2"),
        ("columns", "u2"),
    ]
)


@dataclass(frozen=True)
class Variants:
    """Which variant of which test task the examples of a test split are."""

    puzzle_indices: np.ndarray  # [p + 1] first example of each puzzle
    task: np.ndarray  # [p] place of the task in test_puzzles.json
    transform: np.ndarray  # [p]
    permutation: np.ndarray  # [p, 10]

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Task, transform (both [n]) and permutation [n, 10] of some examples."""
        puzzle = np.searchsorted(self.puzzle_indices, rows, side="right") - 1
        return self.task[puzzle], self.transform[puzzle], self.permutation[puzzle]


def read_test_tasks(data: Path) -> dict[str, Any]:
    """The raw test tasks of the ARC dataset in `data`, by name: what `Votes` counts for."""
    tasks = read_object(data / "test_puzzles.json")
    if not tasks:
        raise BadInput(f"{data}/test_puzzles.json: no task, expected an object with tasks by name")
    return tasks


def read_variants(data: Path, tasks: Sequence[str]) -> Variants:
    """What the names of the test split's puzzles say; the same task in two test sets is one. Raises BadInput.

    Read from the dataset itself: a split that is renumbered for a network of several datasets has other identifiers.
    """
    split, names = read_split(data / "test"), read_json(data / "identifiers.json", list)
    identifiers = split.puzzle_identifiers
    if identifiers.max() >= len(names):
        raise BadInput(f"{data}/identifiers.json: {len(names)} names, expected one of identifier {identifiers.max()}")
    chosen = [names[identifier] for identifier in identifiers.tolist()]
    if wrong := [name for name in chosen if not isinstance(name, str)]:
        raise BadInput(f"{data}/identifiers.json: {shown(wrong[0])}, expected names")
    of_puzzle, transform, permutation = parse_names(chosen)
    places = {task: place for place, task in enumerate(tasks)}
    if unknown := [task for task in of_puzzle if task not in places]:
        raise BadInput(f"{data}/test_puzzles.json: has no task {shown(unknown[0])}, expected all of the test split")
    return Variants(split.puzzle_indices, np.array([places[task] for task in of_puzzle]), transform, permutation)


class Votes:
    """Votes for the answers to the test inputs of tasks, a batch at a time."""

    def __init__(self, tasks: dict[str, Any], keeps_grids: bool = True) -> None:
        """`tasks` as in test_puzzles.json: name -> {"test": [{"input": grid, "output": grid}, ...]}.

        Without the answers' grids, which take most of the memory, there is no `ranked`, but all else.
        """
        self.tasks, self.keeps_grids = list(tasks), keeps_grids
        pairs = [_test_pairs(name, task) for name, task in tasks.items()]
        self.owner = np.repeat(np.arange(len(pairs)), [*map(len, pairs)])  # [t] the task of each test input
        self.solutions = [solution for part in pairs for _, solution in part]  # [t] None where it is not told
        grids = [grid for part in pairs for grid, _ in part]
        # Equal test inputs of a task are one; each of them gets its votes
        self.inputs, self.input = np.unique(draws.hashed(self.owner) + _hashes(grids), return_inverse=True)
        self.foreign = 0  # predictions whose input is no test input of their task
        self.empty = 0  # predictions without any grid
        self._answers, self._count = np.empty(0, ANSWER), 0  # in the order in which they came
        self._places = np.empty(0, np.int64)  # a table that finds an answer by its key
        self._grids: list[np.ndarray] = []  # the answers' grids, flat, one after the other
        self._room = np.empty(0, np.uint8)  # for more of them

    def add(
        self,
        task: np.ndarray,
        transform: np.ndarray,
        permutation: np.ndarray,
        inputs: np.ndarray,
        predictions: np.ndarray,
        q_halt: np.ndarray,
        first: np.ndarray,
    ) -> None:
        """Count the predictions [b, 900] for variants of inputs [b, 900], tokens both.

        Of each its task's place [b], its transform [b] and permutation [b, 10], q_halt [b] as logits, and its order
        number [b], such as its row in the split.
        """
        code = draws.hashed(task) + hashes(*undo(inputs, transform, permutation))
        asked = np.minimum(np.searchsorted(self.inputs, code), len(self.inputs) - 1)
        known = self.inputs[asked] == code
        grids, sizes = undo(predictions, transform, permutation)
        some = sizes[:, 0] > 0
        kept = known & some
        self.foreign += int((~known).sum())
        self.empty += int((known & ~some).sum())
        grids, sizes, asked = grids[kept], sizes[kept], asked[kept]
        votes = np.empty(len(grids), ANSWER)
        votes["key"] = self._keys(asked, hashes(grids, sizes))
        votes["votes"] = 1
        votes["confidence"] = _confidences(q_halt[kept].astype(np.float64))
        votes["first"] = first[kept]
        votes["input"] = asked
        votes["rows"], votes["columns"] = sizes.T
        self._pool(votes, grids[np.arange(CELLS) < sizes.prod(axis=1)[:, None]])

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was counted, for `merge`: of another rank or, when asked to pool them, of another checkpoint."""
        self._grids = [np.concatenate([np.empty(0, np.uint8), *self._grids])]
        counts = np.array([self.foreign, self.empty])
        return {"inputs": self.inputs, "counts": counts, "answers": self._seen, "grids": self._grids[0]}

    def merge(self, arrays: dict[str, np.ndarray]) -> None:
        """Add what was counted elsewhere for the same tasks."""
        if not np.array_equal(arrays["inputs"], self.inputs):
            raise BadInput("votes to merge: of other test inputs, expected votes for the same test_puzzles.json")
        self.foreign += int(arrays["counts"][0])
        self.empty += int(arrays["counts"][1])
        answers = arrays["answers"]
        ends = np.append(0, np.cumsum(_cells(answers)))
        for start in range(0, len(answers), CHUNK):
            part = answers[start : start + CHUNK]
            self._pool(part, arrays["grids"][ends[start] : ends[start + len(part)]])

    def ranked(self, k: int) -> dict[str, list[list[np.ndarray]]]:
        """Task -> for each test input, in order, up to `k` grids, uint8 [rows, columns] of colours, best first."""
        order, starts = self._order()
        ends = np.append(0, np.cumsum(_cells(self._seen)))
        chunks = np.append(0, np.cumsum([len(chunk) for chunk in self._grids]))

        def grid(answer: int) -> np.ndarray:
            chunk = int(np.searchsorted(chunks, ends[answer], side="right")) - 1
            flat = self._grids[chunk][ends[answer] - chunks[chunk] : ends[answer + 1] - chunks[chunk]]
            return flat.reshape(self._seen["rows"][answer], self._seen["columns"][answer])

        found: dict[str, list[list[np.ndarray]]] = {name: [] for name in self.tasks}
        for owner, number in zip(self.owner.tolist(), self.input.tolist(), strict=True):
            best = order[starts[number] : min(starts[number] + k, starts[number + 1])]
            found[self.tasks[owner]].append([grid(answer) for answer in best.tolist()])
        return found

    def pass_at(self, ks: Sequence[int] = KS) -> dict[int, np.ndarray]:
        """Of each k and each task [tasks], the share of its test inputs whose k best answers hold the solution."""
        rank = self._ranks()
        count = np.bincount(self.owner)
        return {k: np.bincount(self.owner, rank < k) / count for k in ks}

    def table(self, ks: Sequence[int] = KS) -> pd.DataFrame:
        """A row a task: its test inputs, the votes and the distinct answers for them, and its share in pass@k."""
        of_input = np.empty(len(self.inputs), np.int64)
        of_input[self.input] = self.owner
        owner, tasks = of_input[self._seen["input"]], len(self.tasks)
        columns = {
            "task": self.tasks,
            "test_inputs": np.bincount(self.owner),
            "votes": np.bincount(owner, self._seen["votes"], tasks).astype(np.int64),
            "answers": np.bincount(owner, minlength=tasks),
        }
        return pd.DataFrame(columns | {f"pass@{k}": share for k, share in self.pass_at(ks).items()})

    @property
    def _seen(self) -> np.ndarray:
        return self._answers[: self._count]

    def _keys(self, asked: np.ndarray, grids: np.ndarray) -> np.ndarray:
        """Hashes of answers, of the numbers of their test inputs and the hashes of their grids."""
        return draws.hashed(asked) + grids

    def _pool(self, votes: np.ndarray, grids: np.ndarray) -> None:
        """Add votes [n]; of their grids, flat one after the other, those of new answers are kept."""
        if self._count + len(votes) > len(self._answers):
            old, size = self._seen, 2 * (self._count + len(votes))
            self._answers = np.empty(size, ANSWER)
            self._places = np.full(1 << (2 * size).bit_length(), -1)
            _insert(self._answers, 0, self._places, old)
        new = _insert(self._answers, self._count, self._places, votes)
        self._count += int(new.sum())
        if self.keeps_grids and new.any():
            self._keep(grids[np.repeat(new, _cells(votes))])

    def _keep(self, grids: np.ndarray) -> None:
        if len(grids) > len(self._room):
            self._room = np.empty(max(BLOCK, len(grids)), np.uint8)
        kept, self._room = np.split(self._room, [len(grids)])
        kept[:] = grids
        self._grids.append(kept)

    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """The answers by test input and rank, and where those of each test input start: [inputs + 1].

        Of answers with as many votes, the larger sum is the larger mean. The key decides only where votes of several
        checkpoints are pooled, whose order numbers are the same.
        """
        seen = self._seen
        order = np.lexsort((seen["key"], seen["first"], -seen["confidence"], -seen["votes"], seen["input"]))
        return order, np.searchsorted(seen["input"][order], np.arange(len(self.inputs) + 1))

    def _ranks(self) -> np.ndarray:
        """How many answers stand before the solution of each test input: [t]; infinity where it is not among them."""
        for owner, solution in zip(self.owner, self.solutions, strict=True):
            if solution is None:
                name = shown(self.tasks[owner])
                raise BadInput(f"test_puzzles.json: task {name}: a test pair has no output, expected one to score by")
        order, starts = self._order()
        rank = np.empty(self._count + 1)
        rank[order] = np.arange(self._count) - starts[self._seen["input"][order]]
        rank[-1] = math.inf
        right = self._keys(self.input, _hashes(self.solutions))
        by_key = np.argsort(self._seen["key"])
        place = np.append(by_key, -1)[np.searchsorted(self._seen["key"], right, sorter=by_key)]
        return rank[np.where(np.append(self._seen["key"], 0)[place] == right, place, -1)]


def _test_pairs(name: str, task: Any) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Test inputs and their solutions, as far as they are told."""
    where = f"test_puzzles.json: task {shown(name)}"
    pairs = task.get("test") if isinstance(task, dict) else None
    if not isinstance(pairs, list) or not pairs or not all(isinstance(p, dict) and "input" in p for p in pairs):
        raise BadInput(f"{where}: not a task, expected test pairs, each with an input")
    return [
        (
            read_grid(f"{where}, test pair {i}, input", pair["input"]),
            read_grid(f"{where}, test pair {i}, output", pair["output"]) if "output" in pair else None,
        )
        for i, pair in enumerate(pairs, 1)
    ]


def _hashes(grids: list[np.ndarray]) -> np.ndarray:
    """Hashes of grids [rows, columns], as of those that `undo` returns."""
    flat = np.zeros((len(grids), CELLS), np.uint8)
    for row, grid in zip(flat, grids, strict=True):
        row[: grid.size] = grid.ravel()
    return hashes(flat, np.array([grid.shape for grid in grids]))


def _cells(answers: np.ndarray) -> np.ndarray:
    return answers["rows"].astype(np.int64) * answers["columns"]


@njit(cache=True)
def _confidences(q_halt: np.ndarray) -> np.ndarray:
    """sigmoid(q_halt) in UNITs, 0 where it is not a number: integers, whose sum no order changes."""
    found = np.zeros(len(q_halt), np.int64)
    for i in range(len(q_halt)):
        if not math.isnan(q_halt[i]):
            found[i] = round(UNIT * (0.5 + 0.5 * math.tanh(0.5 * q_halt[i])))
    return found


@njit(cache=True)
def _insert(answers: np.ndarray, count: int, places: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Add votes to the first `count` answers, new ones behind them; whether each was new: bool [n].

    places: where the answer of each key is, by open addressing; -1 where there is none. A power of two long.
    """
    new = np.zeros(len(votes), np.bool_)
    one, mask = np.uint64(1), np.uint64(len(places) - 1)
    for i in range(len(votes)):
        place = votes[i].key & mask
        while places[place] >= 0 and answers[places[place]].key != votes[i].key:
            place = (place + one) & mask
        if places[place] < 0:
            places[place] = count
            answers[count] = votes[i]
            count += 1
            new[i] = True
        else:
            answer = answers[places[place]]
            answer.votes += votes[i].votes
            answer.confidence += votes[i].confidence
            answer.first = min(answer.first, votes[i].first)
    return new
