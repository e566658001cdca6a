"""Asking a finished run for its answer to puzzles written as text, and following how it comes to it.

The run alone knows the shape of its boards, so no dataset is needed. But where a network has an embedding for each
task (ARC's), it can only be asked for tasks that it was trained on, and the dataset has to say which one is which.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trm import draws, puzzles
from trm.config import Dataset
from trm.data.mixture import shift_of
from trm.data.split import Metadata
from trm.evaluation.metrics import halting_probability
from trm.evaluation.trace import trace
from trm.files import BadInput, read_json, read_text
from trm.runs import FinishedRun, load_model, place_of, read_run
from trm.tensors import read_shape

STREAM = 10  # of the noise, apart from other uses of the same row
SHOWN = 40  # characters of a puzzle in an error


@dataclass(frozen=True)
class Puzzle:
    """A puzzle as it was handed over."""

    name: str  # its file's, without folder and suffix; "" where it has none
    where: str  # for errors and headings
    text: str


@dataclass(frozen=True)
class Solution:
    """How a network answers one board: what it says after each of S supervision steps."""

    dataset: Dataset
    inputs: np.ndarray  # [seq_len] tokens
    answers: np.ndarray  # [S, seq_len] tokens
    valid: np.ndarray  # [S] bool
    halting: np.ndarray  # [S] float64, the network's probability that it is done


def puzzle_from(argument: str) -> Puzzle:
    """The puzzle in a file, on standard input (-), or in the argument itself."""
    if argument == "-":
        try:
            return Puzzle("", "standard input", sys.stdin.buffer.read().decode())
        except UnicodeDecodeError as error:
            raise BadInput(f"standard input: byte {error.start} is not UTF-8, expected text") from None
    if os.path.isfile(argument):  # unlike Path's, this one takes text of any length
        return Puzzle(Path(argument).stem, argument, read_text(Path(argument)))
    shown = argument if len(argument) <= SHOWN else f"{argument[:SHOWN]}..."
    return Puzzle("", f"puzzle {shown!r} (not a file)", argument)


def solve(
    folder: Path, asked: list[Puzzle], data: Path | None, steps: int | None, device: torch.device
) -> Iterator[tuple[Puzzle, list[Solution]]]:
    """The answers of the run in `folder` to the boards of each puzzle, one puzzle after the other; all are read first.

    `data` is the folder of the dataset that the puzzles are like, for their identifiers; `steps` None: the model's.
    """
    run = read_run(folder)
    names = None if data is None else read_json(data / "identifiers.json", list)
    place = 0 if data is None else place_of(run, data)
    dataset = run.experiment.datasets[place]
    puzzle = puzzles.module(dataset.puzzle)
    boards = [_read(dataset, each) for each in asked]
    embedded = (read_shape(folder / "model.safetensors", "puzzle_emb.weights") or (1,))[0]  # puzzles
    counts = [facts.get("num_puzzle_identifiers", embedded) for facts in run.datasets]
    if names is not None and len(names) != counts[place]:
        raise BadInput(f"{data}/identifiers.json: {len(names)} puzzles, expected the {counts[place]} of {folder}")
    numbers = [0] * len(asked)
    if embedded > 1 and counts[place] > 1:
        numbers = [_identifier(run, names, each) + shift_of(counts, place) for each in asked]
    metadata = Metadata(
        vocab_size=puzzle.vocab_size(dataset),
        seq_len=puzzle.seq_len(dataset),
        num_puzzle_identifiers=embedded,
        **{"total_groups": 1, "mean_puzzle_examples": 1, "total_puzzles": 1},  # of no dataset
    )
    model = load_model(run, metadata, device)
    for each, inputs, number in zip(asked, boards, numbers, strict=True):
        n = len(inputs)
        seeds = draws.hashed(STREAM, np.zeros(n, np.int64))
        said = trace(model, inputs, np.full(n, number), seeds, steps or model.config.halt_max_steps, device)
        solutions = []
        for board, answers, q in zip(inputs, said.answers.astype(inputs.dtype), said.q_halt, strict=True):
            valid = puzzle.is_valid(dataset, np.repeat(board[None], len(answers), axis=0), answers)
            solutions.append(Solution(dataset, board, answers, valid, halting_probability(q)))
        yield each, solutions


def _read(dataset: Dataset, asked: Puzzle) -> np.ndarray:
    """Boards [n, seq_len] of a puzzle."""
    try:
        return puzzles.module(dataset.puzzle).read(dataset, asked.text.removeprefix("\ufeff"))
    except BadInput as error:
        raise BadInput(f"{asked.where}: {error}") from None


def _identifier(run: FinishedRun, names: list[str] | None, asked: Puzzle) -> int:
    """The number of a task among the `names` of its dataset, the first of which is the blank."""
    if names is None:
        raise BadInput(
            f"{run.folder}: TRM knows a task by an embedding of its own, expected --data with the folder of the "
            "dataset that it was trained on, to look the task up"
        )
    if asked.name not in names[1:]:
        called = f"called {asked.name!r}" if asked.name else "without a name, which a file TASK.json has"
        raise BadInput(
            f"{asked.where}: a task {called}: TRM knows those alone that it was trained on, expected one of --data; "
            "for another one add it to dataset.raw, build the dataset and train"
        )
    return names.index(asked.name)
