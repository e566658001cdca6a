"""Time and peak memory of ARC's voting as an evaluation does it, on made-up predictions for made-up tasks.

The tasks' grids are of 30x30, and a dataset is built of them. Either few distinct answers stand for a task, as from a
trained model, or every prediction is another grid of 30x30: the worst case, in which each one has to be kept. Each case
has a process of its own; making the predictions, a batch at a time, is not in the time but in the peak.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trm.bench.data import run_python
from trm.config import Evaluation, check
from trm.data.build import build
from trm.data.layout import read_split
from trm.evaluation.ballots import Ballots
from trm.evaluation.inference import Answers
from trm.evaluation.voting import read_test_tasks
from trm.files import write_json
from trm.puzzles.arc_boards import BLACK, CELLS, SIDE, apply

CASES = ("few answers", "all distinct")
FEW = 10  # answers of a task
BATCH = 512


@dataclass(frozen=True)
class Measured:
    """What voting took."""

    name: str
    predictions: int
    answers: int
    counting: float  # seconds, from tokens to votes: of all variants and of the first 1, 2, 4, ...
    ranking: float  # seconds, for pass@k with its intervals and the submission
    peak_mb: float


def bench_votes(tasks: int, variants: int) -> Iterator[Measured]:
    """Count one prediction for each variant of the only test input of each task, in every case."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        write_dataset(small, 2, 2)
        write_dataset(large, tasks, variants)
        command = ["-c", "import sys; from trm.bench.voting import vote; vote(sys.argv[1], sys.argv[2])"]
        run_python("voting", [*command, CASES[0], str(small)])  # numba compiles
        for case in CASES:
            printed, peak_mb = run_python(case, [*command, case, str(large)])
            yield Measured(case, **json.loads(printed), peak_mb=peak_mb)


def write_dataset(folder: Path, tasks: int, variants: int) -> None:
    """Build tasks of random grids, with one test input each, in so many variants."""
    grids = np.random.default_rng(0).integers(0, 10, (tasks, 2, 2, SIDE, SIDE))
    for i, pairs in enumerate(grids.tolist()):
        train, test = ([{"input": given, "output": right}] for given, right in pairs)
        write_json(folder / "raw" / "made-up" / f"task{i}.json", {"train": train, "test": test})
    keys = {"puzzle": "arc", "subsets": ["made-up"], "test_sets": ["made-up"], "num_aug": variants - 1}
    build(check({"name": "votes", "dataset": {**keys, "raw": str(folder / "raw")}}, "votes").dataset, folder / "data")


def vote(case: str, folder: str) -> None:
    """Make predictions, count and rank them; prints what it took as JSON."""
    rng, data = np.random.default_rng(1), Path(folder, "data")
    split, tasks = read_split(data / "test"), read_test_tasks(data)
    ballots = Ballots(data, split, Evaluation())
    solutions = np.array([task["test"][0]["output"] for task in tasks.values()], np.uint8)
    counting = 0.0
    for start in range(0, len(ballots.rows), BATCH):
        rows = ballots.rows[start : start + BATCH]
        n, inputs = len(rows), split.take(rows)[0]
        predictions = rng.integers(BLACK, BLACK + 10, (n, CELLS))
        if case == CASES[0]:  # the solution, up to 9 of its last rows black
            task, transform, permutation = ballots.variants.take(rows)
            whole = np.arange(SIDE)[:, None] < SIDE - rng.integers(0, FEW, (n, 1, 1))
            said = np.where(whole, solutions[task], 0).reshape(n, CELLS).astype(np.uint8) + np.uint8(BLACK)
            predictions = apply(said, said, transform, permutation, np.zeros((n, 2)))[1]
        answers = Answers(  # of the types that come from a model; what no vote is made of stays zero
            rows=rows,
            inputs=inputs.astype(np.int32),
            labels=np.zeros((n, 0)),
            asked=np.zeros((n, 0)),
            predictions=predictions.astype(np.int64),
            q_halt=rng.normal(size=(n, 1)).astype(np.float32),
            exact=np.zeros((n, 1)),
            rank=np.zeros(n),
            steps=np.zeros(n),
        )
        begin = time.perf_counter()
        ballots.count(answers)
        counting += time.perf_counter() - begin
    begin = time.perf_counter()
    ballots.write(Path(folder, "out"))
    ballots.by_variants()
    ranking = time.perf_counter() - begin
    table = ballots.votes.table()
    found = {"predictions": int(table["votes"].sum()), "answers": int(table["answers"].sum())}
    json.dump({**found, "counting": counting, "ranking": ranking}, sys.stdout)
