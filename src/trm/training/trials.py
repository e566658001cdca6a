"""What a training is evaluated on while it runs: a share of the test examples, and all of a validation split."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trm.config import Evaluation, Experiment
from trm.data.layout import read_split
from trm.data.mixture import read_splits
from trm.data.split import Split
from trm.evaluation.ballots import Ballots, is_arc
from trm.evaluation.inference import answers, to_batch
from trm.models.act import Batch
from trm.models.losses import widest
from trm.training.trainer import Trainer


@dataclass(frozen=True)
class Trial:
    """What is evaluated on while training."""

    about: dict[str, str]  # the split and, behind the first dataset, the dataset, as lines of metrics.jsonl say it
    split: Split
    rows: np.ndarray  # those that are scored
    ballots: Ballots | None = None  # ARC's, in which nobody has voted yet

    @property
    def chooses(self) -> bool:
        """Whether the best weights are chosen by it."""
        return self.about["split"] == "validation"


def trials(experiment: Experiment, data: list[Path]) -> list[Trial]:
    """The evaluations of a training: the first dataset's validation and test split, then the others' test splits."""
    found = []
    if experiment.dataset.validation:
        split = read_split(data[0] / "validation")
        found.append(Trial({"split": "validation"}, split, split.spread(None)))
    subset = experiment.training.eval_subset
    for dataset, folder, split in zip(experiment.datasets, data, read_splits(data, "test"), strict=True):
        about = {"split": "test"} | ({"dataset": dataset.name} if dataset is not experiment.dataset else {})
        ballots = Ballots(folder, split, voters(split, subset)) if is_arc(folder) else None
        found.append(Trial(about, split, split.spread(subset) if ballots is None else ballots.rows, ballots))
    return found


def voters(split: Split, n: int | None) -> Evaluation:
    """Who votes in `n` examples of ARC's test split at most: tasks in as many variants as that allows, or fewer tasks.

    A task is one example at least.
    """
    bare = len(split.base_rows())
    if n is None or n >= bare:
        return Evaluation(max_variants=n and n // bare)
    return Evaluation(subset=max(1, n * (len(split.group_indices) - 1) // bare), max_variants=1)


def score(trial: Trial, trainer: Trainer, asked: Callable[[], bool]) -> dict[str, float] | None:
    """Figures of the averaged weights, the same on all ranks; None where one of them is `asked` to stop meanwhile."""
    world, size = trainer.world, trainer.config.global_batch_size
    split, rows, ballots = trial.split, trial.rows, copy.deepcopy(trial.ballots)

    def load(rows: np.ndarray) -> Batch:
        return to_batch(split, rows, world.device)

    sums = torch.zeros(4, dtype=widest(world.device), device=world.device)
    with trainer.averaged():
        for start in range(0, len(rows), size):
            if world.any(asked()):
                return None
            part = np.array_split(rows[start : start + size], world.size)[world.rank]
            for a in answers(trainer.model, load, part, trainer.micro_batch):
                exact = a.exact[:, -1]
                right, halting = ((a.predictions == a.labels) & a.asked).sum(), (a.q_halt[:, -1] >= 0) == exact
                sums += torch.tensor([exact.sum(), right, a.asked.sum(), halting.sum()], device=world.device)
                if ballots is not None:
                    ballots.count(a)
    world.sum([sums])
    exact, right, of, halting = sums.tolist()
    n = len(rows)
    figures = {"exact_accuracy": exact / n, "token_accuracy": right / of, "q_halt_accuracy": halting / n}
    if ballots is not None:
        ballots.pool(world)
        figures |= {f"pass@{k}": float(shares.mean()) for k, shares in ballots.votes.pass_at().items()}
    return figures
