"""Time and peak memory of voting, on made-up predictions for the variants of made-up tasks.

Either few distinct answers stand for a task, as from a trained model, or every prediction is another grid of 30x30:
the worst case, in which each one has to be kept. Each case has a process of its own; making the predictions, a batch
at a time, is not in the time but in the peak.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trm.bench.data import run_python
from trm.evaluation.submission import submission
from trm.evaluation.voting import Votes
from trm.puzzles import arc_boards
from trm.puzzles.arc_boards import SIDE
from trm.puzzles.arc_variants import SHIFTED, decode

CASES = ("few answers", "all distinct")
FEW = 10  # answers of a task
BATCH = 512


@dataclass(frozen=True)
class Measured:
    """What voting took."""

    name: str
    predictions: int
    answers: int
    counting: float  # seconds
    ranking: float  # seconds, for pass@k and the submission
    peak_mb: float


def bench_votes(tasks: int, variants: int) -> Iterator[Measured]:
    """Count one prediction for each variant of the only test input of each task, in every case."""
    for case in CASES:
        run = ["-c", "import sys; from trm.bench.voting import vote; vote(sys.argv[1], *map(int, sys.argv[2:]))", case]
        run_python(case, [*run, "2", "2"])  # numba compiles
        printed, peak_mb = run_python(case, [*run, str(tasks), str(variants)])
        yield Measured(case, tasks * variants, **json.loads(printed), peak_mb=peak_mb)


def vote(case: str, tasks: int, variants: int) -> None:
    """Make predictions, count and rank them; prints what it took as JSON."""
    rng = np.random.default_rng(0)
    grids = rng.integers(0, 10, (tasks, 2, SIDE, SIDE), np.uint8)
    names = [f"task{i}" for i in range(tasks)]
    test = [[{"input": given.tolist(), "output": right.tolist()}] for given, right in grids]
    votes = Votes({name: {"test": pairs} for name, pairs in zip(names, test, strict=True)})
    counting = 0.0
    for start in range(0, tasks * variants, BATCH):
        rows = np.arange(start, min(start + BATCH, tasks * variants))
        task = rows // variants
        answers = grids[task, 1]
        if case == "few answers":  # the solution, up to 9 of its last rows black
            answers = np.where(np.arange(SIDE)[:, None] < SIDE - rng.integers(0, FEW, (len(rows), 1, 1)), answers, 0)
        else:
            answers = rng.integers(0, 10, answers.shape, np.uint8)
        transform, permutation = decode(rng.integers(0, SHIFTED, len(rows)))
        boards = [(grid.reshape(len(rows), -1) + arc_boards.BLACK) for grid in (grids[task, 0], answers)]
        inputs, predictions = arc_boards.apply(*boards, transform, permutation, np.zeros((len(rows), 2)))
        q_halt = rng.normal(size=len(rows)).astype(np.float32)
        begin = time.perf_counter()
        inputs, predictions = inputs.astype(np.int32), predictions.astype(np.int64)  # as they come from a model
        votes.add(task, transform, permutation, inputs, predictions, q_halt, rows)
        counting += time.perf_counter() - begin
    begin = time.perf_counter()
    votes.pass_at()
    submission(votes)
    ranking = time.perf_counter() - begin
    answers = int(votes.table()["answers"].sum())
    json.dump({"answers": answers, "counting": counting, "ranking": ranking}, sys.stdout)
