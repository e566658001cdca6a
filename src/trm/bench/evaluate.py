"""How fast a finished run answers test puzzles, with early exit against the plain path, and how near the floor.

The plain path, early exit and the plain path's matrix products alone (trm/bench/products.py) take turns over the same
examples; ratios are medians over the rounds.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from trm.bench.products import Recorder, replayed, timed
from trm.config import Evaluation
from trm.evaluation.inference import answers, batch_size_of, to_batch
from trm.evaluation.metrics import Figure, share
from trm.runs import load_model, read_run, read_test

PLAIN = "every step"


@dataclass(frozen=True)
class Measured:
    """A way to answer the examples."""

    name: str
    rate: float  # examples a second, median
    speed: float  # over that of the plain path
    floor: float  # share of the time that the matrix products of the same batches would take alone
    mean_steps: float
    exact_accuracy: Figure


def bench_evaluate(
    folder: Path,
    data: Path,
    thresholds: list[float],
    subset: int | None,
    batch_size: int | None,
    rounds: int,
    device: torch.device,
) -> Iterator[Measured]:
    """Measure the run in `folder` on test examples of `data`, plain and with each threshold of early exit."""
    run = read_run(folder)
    _, _, split = read_test(run, data)
    rows = split.spread(subset)
    model = load_model(run, split.metadata, device)
    size = batch_size or batch_size_of(Evaluation(), device)

    def go(threshold: float | None) -> None:
        parts = list(answers(model, partial(to_batch, split, device=device), rows, size, threshold))
        exact[threshold] = np.concatenate([part.exact[:, -1] for part in parts])
        steps[threshold] = np.concatenate([part.steps for part in parts])

    ways, exact, steps, floors = [None, *thresholds], {}, {}, {}
    for way in ways:  # a round to warm up, which records the products too
        with Recorder() as recorder:
            go(way)
        floors[way] = replayed(recorder.products, device)
        floors[way]()
    seconds = {way: [] for way in ways}
    alone = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            seconds[way].append(timed(partial(go, way), device))
            alone[way].append(timed(floors[way], device))
    for way in ways:
        yield Measured(
            name=PLAIN if way is None else f"early exit at {way:g}",
            rate=len(rows) / statistics.median(seconds[way]),
            speed=statistics.median(a / b for a, b in zip(seconds[None], seconds[way], strict=True)),
            floor=statistics.median(a / b for a, b in zip(alone[way], seconds[way], strict=True)),
            mean_steps=float(steps[way].mean()),
            exact_accuracy=share(exact[way]),
        )
