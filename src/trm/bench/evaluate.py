"""How fast a finished run answers test puzzles, with early exit against the plain path, and how near the floor.

Every way to answer and the matrix products of its batches alone (the floor, trm/bench/products.py) take turns over the
same examples; ratios are medians over the rounds.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from trm.bench.products import Call, Recorder, replayed, timed
from trm.config import Evaluation, Model
from trm.data.split import Split
from trm.distribution import compiles
from trm.evaluation.inference import answers, batch_size_of, to_batch
from trm.evaluation.metrics import Figure, share
from trm.models.hardware import prepare, suited
from trm.models.network import Network
from trm.runs import FinishedRun, load_model, read_run, read_test

PLAIN = "every step"


@dataclass(frozen=True)
class Measured:
    """A way to answer the examples."""

    name: str
    dtype: str
    mode: str  # eager or compiled
    rate: float  # examples a second, median
    speed: float  # over that of the first way in this type: the plain one
    floor: float  # share of the time that the matrix products of the same batches would take alone
    mean_steps: float
    exact_accuracy: Figure


def bench_evaluate(
    folder: Path,
    data: Path,
    thresholds: Sequence[float],
    dtypes: Sequence[str] | None,
    modes: Sequence[str] | None,
    subset: int | None,
    batch_size: int | None,
    rounds: int,
    device: torch.device,
) -> Iterator[Measured]:
    """Measure the run in `folder` on test examples of `data`: the plain path, then each threshold of early exit.

    In each of `dtypes` that the device computes in, or what it computes in instead; the plain path in each of `modes`,
    early exit eager as always. None: as `trm evaluate` does.
    """
    run = read_run(folder)
    _, _, split = read_test(run, data)
    rows = split.spread(subset)
    own = "compiled" if compiles(run.experiment.training.compile, device) else "eager"
    if "compiled" in (modes or ()):
        compiles(True, device)
    wanted = dtypes or [run.experiment.model.forward_dtype]
    for dtype in dict.fromkeys(suited(Model(forward_dtype=dtype), device).forward_dtype for dtype in wanted):
        ways = [(None, mode) for mode in modes or [own]] + [(threshold, "eager") for threshold in thresholds]
        yield from _measured(_in_type(run, dtype), split, rows, ways, batch_size, rounds, device)


def _in_type(run: FinishedRun, dtype: str) -> FinishedRun:
    experiment = run.experiment
    model = experiment.model.model_copy(update={"forward_dtype": dtype})
    return replace(run, experiment=experiment.model_copy(update={"model": model}))


def _measured(
    run: FinishedRun,
    split: Split,
    rows: np.ndarray,
    ways: list[tuple[float | None, str]],
    batch_size: int | None,
    rounds: int,
    device: torch.device,
) -> Iterator[Measured]:
    models = {mode: load_model(run, split.metadata, device) for mode in ("eager", *(mode for _, mode in ways))}
    if "compiled" in models:
        prepare(models["compiled"], compiled=True, recomputes=False)
    size = batch_size or batch_size_of(Evaluation(), device)
    load = partial(to_batch, split, device=device)
    exact, steps = {}, {}

    def go(way: tuple[float | None, str]) -> None:
        threshold, mode = way
        parts = list(answers(models[mode], load, rows, size, threshold))
        exact[way] = np.concatenate([part.exact[:, -1] for part in parts])
        steps[way] = np.concatenate([part.steps for part in parts])

    floors = {}
    for way in ways:  # a round to warm up
        floors[way] = replayed(_products(models["eager"], load, rows, size, way[0]), device)
        floors[way]()
        go(way)
    seconds = {way: [] for way in ways}
    alone = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            seconds[way].append(timed(partial(go, way), device))
            alone[way].append(timed(floors[way], device))
    for way in ways:
        threshold, mode = way
        yield Measured(
            name=PLAIN if threshold is None else f"early exit at {threshold:g}",
            dtype=run.experiment.model.forward_dtype,
            mode=mode,
            rate=len(rows) / statistics.median(seconds[way]),
            speed=statistics.median(a / b for a, b in zip(seconds[ways[0]], seconds[way], strict=True)),
            floor=statistics.median(a / b for a, b in zip(alone[way], seconds[way], strict=True)),
            mean_steps=float(steps[way].mean()),
            exact_accuracy=share(exact[way]),
        )


def _products(model: Network, load: partial, rows: np.ndarray, size: int, threshold: float | None) -> list[Call]:
    """The products of an evaluation, of a model that is not compiled: compiled blocks do not tell theirs."""
    with Recorder() as recorder:
        for _ in answers(model, load, rows, size, threshold):
            pass
    return recorder.products
