"""What `import trm` offers a script or a notebook: the commands as functions, on folders as they write and read them.

    experiment = trm.experiment("config/experiments/sudoku-6x6.yaml", ["training.max_steps=200"])
    data = trm.build(experiment, "data")
    run = trm.train(experiment, data, "run")
    figures = trm.evaluate(run, data)
    solutions = trm.solve(run, "1.3.\n..2.\n....\n...4")

Wrong input raises `trm.BadInput`, another failure that can be told in a line `trm.Fault`; their text is that of the
command line. `trm/__init__.py` loads this when it is first asked for one of the names.
"""

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from trm import config
from trm.config import Experiment
from trm.data import build as building
from trm.data.layout import content_hash, read_split
from trm.data.split import Split
from trm.distribution import join, pick_device
from trm.evaluation import evaluate as evaluation
from trm.evaluation import solve as solving
from trm.evaluation.metrics import Figure
from trm.evaluation.solve import Puzzle, Solution
from trm.files import BadInput, Fault, read_json
from trm.reporting.solutions import drawn
from trm.reporting.terminal import to_text
from trm.runs import FinishedRun, read_run
from trm.training import loop
from trm.training.stopping import SIGNALS

Device = Literal["auto", "cpu", "cuda", "mps"]

__all__ = [
    "BadInput",
    "Dataset",
    "Experiment",
    "Fault",
    "Figure",
    "FinishedRun",
    "Solution",
    "as_text",
    "build",
    "evaluate",
    "experiment",
    "load_run",
    "solve",
    "train",
]


class Dataset:
    """A built dataset: its splits as arrays, examples taken by row (`data.train.take(numpy.arange(8))`)."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.section = building.built_section(self.folder, read_json(self.folder / "provenance.json"))
        self.train, self.test = (read_split(self.folder / name) for name in ("train", "test"))
        self.validation: Split | None = read_split(self.folder / "validation") if self.section.validation else None
        self.content_sha256 = content_hash(self.folder)


def experiment(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from its file or from a mapping like one, with `overrides` such as training.lr=1.0e-3."""
    if isinstance(source, Mapping):
        return config.check(dict(source), "experiment", list(overrides))
    return config.load(Path(source), list(overrides))


def build(experiment: Experiment, out: str | Path) -> Dataset:
    """Build the experiment's dataset in the folder `out`."""
    building.build(experiment.dataset, Path(out))
    return Dataset(out)


def train(
    experiment: Experiment, data: Dataset, out: str | Path, seed: int = 0, device: Device = "auto"
) -> FinishedRun:
    """Train, or go on with what was stopped, and write the run to the folder `out`; checkpoints go beside it.

    Interrupting saves a checkpoint and raises Fault; the same call goes on from there.
    """
    with _signals_kept():
        status = loop.train(experiment, data.folder, Path(out), None, seed, None, device)
    if status:
        raise Fault(f"{out}: the training was stopped and saved; train again to go on")
    return load_run(out)


def load_run(folder: str | Path) -> FinishedRun:
    """Open a finished run: that of `train`, of `trm train` or of `trm import`."""
    return read_run(Path(folder))


def evaluate(
    run: FinishedRun,
    data: Dataset,
    out: str | Path | None = None,
    subset: int | None = None,
    batch_size: int | None = None,
    max_variants: int | None = None,
    halt_max_steps: int | None = None,
    early_exit: float | None = None,
    device: Device = "auto",
) -> dict[str, Figure]:
    """Score a run on the test split: shares by name, with interval and count.

    The rest goes to the folder `out` (the run's own where None), as `trm evaluate` writes it, with the same options.
    """
    asked = {"subset": subset, "batch_size": batch_size, "max_variants": max_variants}
    settings = config.check_evaluation(asked | {"halt_max_steps": halt_max_steps, "early_exit": early_exit})
    folder = run.folder if out is None else Path(out)
    result = evaluation.evaluate(run.folder, data.folder, folder, settings, join(pick_device(device)))
    assert result is not None  # one process leads itself
    return {name: Figure(**figure) for name, figure in result["figures"].items()}


def solve(
    run: FinishedRun,
    puzzle: str,
    data: Dataset | None = None,
    name: str = "",
    steps: int | None = None,
    device: Device = "auto",
) -> list[Solution]:
    """A run's answers to a puzzle written as its players write it, as `trm solve --help` says: one for each board.

    ARC's tasks are known by `name`, to a run that was trained on `data`. `steps` of supervision, or the model's.
    """
    asked = [Puzzle(name, name or "puzzle", puzzle)]
    folder = None if data is None else data.folder
    [(_, solutions)] = solving.solve(run.folder, asked, folder, steps, pick_device(device))
    return solutions


def as_text(solution: Solution) -> str:
    """The last answer, drawn in characters."""
    return "\n".join(line.plain.rstrip() for line in to_text(drawn(solution)[-1]))


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """A trainer listens to signals; afterwards those who did before do again, such as a notebook's interrupt."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) != handler:
                signal.signal(number, handler)
