"""Submissions in Kaggle's format: two attempts at each test input of each task.

    {TASK: [{"attempt_1": grid, "attempt_2": grid}, ... one for each test input, in order], ...}

A grid is a list of rows of colours 0..9. An input without any answer gets one black cell twice, so that the entries
behind it keep their places; with a single answer both attempts are that.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from trm.evaluation.voting import Votes
from trm.files import BadInput
from trm.puzzles.arc_tasks import DUMMY, read_grid, read_object, shown

ATTEMPTS = ("attempt_1", "attempt_2")

Grid = list[list[int]]
Submission = dict[str, list[dict[str, Grid]]]


def submission(votes: Votes) -> Submission:
    """The two best answers to every test input."""
    return {
        name: [_entry([grid.tolist() for grid in best]) for best in of_inputs]
        for name, of_inputs in votes.ranked(2).items()
    }


def read_submission(path: Path) -> Submission:
    """The submission in a file, every entry of it checked. Raises BadInput."""
    found = read_object(path)
    if not found:
        raise BadInput(f"{path}: no task, expected an object with tasks by name")
    for name, entries in found.items():
        where = f"{path}: task {shown(name)}"
        if not isinstance(entries, list) or not entries:
            raise BadInput(f"{where}: {shown(entries)}, expected a list with an entry for each test input")
        for i, entry in enumerate(entries, 1):
            if not isinstance(entry, dict):
                raise BadInput(f"{where}, test input {i}: {shown(entry)}, expected an object with two attempts")
            if wrong := sorted(entry.keys() ^ set(ATTEMPTS)):
                problem = "has no" if wrong[0] in ATTEMPTS else "unknown key"
                raise BadInput(
                    f"{where}, test input {i}: {problem} {shown(wrong[0])}, expected {' and '.join(ATTEMPTS)}"
                )
            for attempt in ATTEMPTS:
                read_grid(f"{where}, test input {i}, {attempt}", entry[attempt])
    return found


def merge(paths: list[Path]) -> Submission:
    """One submission of several: of each test input the two grids with the most weight.

    A submission gives its first attempt a weight of 2 and its second, where it is another grid, 1; ties go to the grid
    that comes first in the order of the files. What stands for no answer has no weight. A task need not be in all.
    """
    candidates: dict[str, list[list[tuple[Grid, int]]]] = {}  # of each test input, attempts and their weights
    for path in paths:
        for name, entries in read_submission(path).items():
            of_inputs = candidates.setdefault(name, [[] for _ in entries])
            if len(entries) != len(of_inputs):
                raise BadInput(
                    f"{path}: task {shown(name)}: {len(entries)} test inputs, expected {len(of_inputs)} as in the "
                    f"files before it"
                )
            for entry, attempts in zip(entries, of_inputs, strict=True):
                attempts += _weighted(*(entry[attempt] for attempt in ATTEMPTS))
    return {name: [_entry(_heaviest(attempts)) for attempts in of_inputs] for name, of_inputs in candidates.items()}


def _weighted(first: Grid, second: Grid) -> list[tuple[Grid, int]]:
    if first != second:
        return [(first, 2), (second, 1)]
    return [(first, 0 if first == DUMMY else 2)]


def _heaviest(attempts: list[tuple[Grid, int]]) -> list[Grid]:
    """The two grids with the most weight; of equals the one that comes first."""
    weights: dict[str, int] = {}
    for grid, weight in attempts:
        weights[str(grid)] = weights.get(str(grid), 0) + weight
    grids = {str(grid): grid for grid, _ in attempts}
    some = [text for text in weights if weights[text]] or list(weights)
    return [grids[text] for text in sorted(some, key=weights.get, reverse=True)[:2]]


def _entry(best: list[Grid]) -> dict[str, Grid]:
    """The entry of a test input with these answers, two at most."""
    first, second = (best or [DUMMY])[0], (best or [DUMMY])[-1]
    return dict(zip(ATTEMPTS, (first, second), strict=True))


def read_solutions(path: Path) -> dict[str, list[Grid]]:
    """Task -> solutions of its test inputs, from Kaggle's file of solutions or a test_puzzles.json. Raises BadInput."""
    found = read_object(path)
    if not found:
        raise BadInput(f"{path}: no task, expected an object with tasks by name")
    return {name: _solutions(f"{path}: task {shown(name)}", task) for name, task in found.items()}


def _solutions(where: str, task: Any) -> list[Grid]:
    pairs = isinstance(task, dict)
    grids = task.get("test") if pairs else task
    if not isinstance(grids, list) or not grids:
        raise BadInput(f"{where}: {shown(grids)}, expected a list of output grids, or test pairs")
    if pairs:
        for i, pair in enumerate(grids, 1):
            if not isinstance(pair, dict) or "output" not in pair:
                raise BadInput(f"{where}, test pair {i}: has no output, expected one to score by")
        grids = [pair["output"] for pair in grids]
    for i, grid in enumerate(grids, 1):
        read_grid(f"{where}, solution {i}", grid)
    return grids


def score(submitted: Path, solved: Path) -> pd.DataFrame:
    """A row a task of the solutions: its test inputs, and the share of them that attempts solve.

    pass@1 is the first attempt's, pass@2 either's. A task that was not submitted scores 0.
    """
    attempts, solutions = read_submission(submitted), read_solutions(solved)
    if unknown := [name for name in attempts if name not in solutions]:
        raise BadInput(f"{submitted}: task {shown(unknown[0])}: not in {solved}, expected tasks with a solution")
    rows = []
    for name, grids in solutions.items():
        entries = attempts.get(name)
        if entries is not None and len(entries) != len(grids):
            raise BadInput(
                f"{submitted}: task {shown(name)}: {len(entries)} test inputs, expected {len(grids)} as in {solved}"
            )
        of_inputs = list(zip(entries or [], grids, strict=False))
        first = sum(entry[ATTEMPTS[0]] == grid for entry, grid in of_inputs)
        either = sum(grid in entry.values() for entry, grid in of_inputs)
        rows.append((name, len(grids), first / len(grids), either / len(grids)))
    return pd.DataFrame(rows, columns=["task", "test_inputs", "pass@1", "pass@2"])
