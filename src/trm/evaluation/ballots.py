"""ARC's part in an evaluation: all variants of a test task vote on its answers.

What fewer variants would have voted is counted from the same predictions: of the first 1, 2, 4, ... of each task.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trm import draws
from trm.config import Evaluation
from trm.data.split import Split
from trm.distribution import World
from trm.evaluation.inference import Answers
from trm.evaluation.metrics import bootstrap
from trm.evaluation.submission import submission
from trm.evaluation.voting import KS, Votes, read_test_tasks, read_variants
from trm.files import write_json, write_text

PAIRS = 10_000  # of embeddings compared within tasks, and as many across
BINS = 40  # of their cosines, from -1 to 1

_WITHIN, _ACROSS = 51, 52  # purposes of draws, part of their keys


def is_arc(data: Path) -> bool:
    """Whether a dataset is scored by votes: it has the test tasks as they were before augmentation."""
    return (data / "test_puzzles.json").is_file()


class Ballots:
    """The examples of a test split that vote, and their votes."""

    def __init__(self, data: Path, split: Split, config: Evaluation):
        """All examples of `subset` tasks in up to `max_variants` variants."""
        tasks = read_test_tasks(data)
        names = list(tasks)
        self.rows = split.spread_groups(config.subset, config.max_variants)
        self._base = split.base_rows()
        self.variants = read_variants(data, names)
        self._places = np.unique(self.variants.take(self.rows)[0])  # of the tasks that are scored, among all
        self.tasks = {names[place]: tasks[names[place]] for place in self._places.tolist()}
        self._numbers = split.variant_numbers(self.rows)  # [rows] 0 for the bare task
        most = int(self._numbers.max()) + 1
        caps = 2 ** np.arange((most - 1).bit_length())  # together they count about as often again, at most
        self.votes = Votes(self.tasks)
        self.fewer = {int(cap): Votes(self.tasks, keeps_grids=False) for cap in caps}
        self.most = most
        scored = np.flatnonzero(np.isin(self.variants.task, self._places))
        identifiers, first = np.unique(split.puzzle_identifiers[scored], return_index=True)
        self._embedded = identifiers.astype(np.int64), self.variants.task[scored][first]  # both [embeddings]

    def count(self, part: Answers) -> np.ndarray:
        """Count the votes of some answers; which of them [n] are to a task as it is, without a variant."""
        _, transform, permutation = self.variants.take(part.rows)
        confidence = part.q_halt[:, -1]
        task, number = self._task(part.rows), self._numbers[np.searchsorted(self.rows, part.rows)]
        columns = (task, transform, permutation, part.inputs, part.predictions, confidence, part.rows)
        self.votes.add(*columns)
        for cap, votes in self.fewer.items():
            chosen = number < cap
            if chosen.any():
                votes.add(*(column[chosen] for column in columns))
        return np.isin(part.rows, self._base)

    def pool(self, world: World) -> None:
        """The votes of all ranks as each one's."""
        if world.size == 1:
            return
        self.votes = self._pooled(self.votes, world)
        self.fewer = {cap: self._pooled(votes, world) for cap, votes in self.fewer.items()}

    def _pooled(self, votes: Votes, world: World) -> Votes:
        own, found = votes.arrays(), Votes(self.tasks, votes.keeps_grids)
        for rank in range(world.size):
            found.merge({name: world.broadcast(array, rank) for name, array in own.items()})
        return found

    def difficulty(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The number of demonstrations that the task of each example has."""
        demonstrations = np.array([len(task.get("train", [])) for task in self.tasks.values()])
        return {"demonstrations": demonstrations[self._task(rows)]}

    def write(self, out: Path) -> dict[str, Any]:
        """Write the submission and the tasks' results; the figures pass@k, with intervals for another draw of tasks."""
        write_json(out / "submission.json", submission(self.votes))
        write_text(out / "tasks.csv", self.votes.table().to_csv(index=False, lineterminator="\n"))
        return _pass_at(self.votes)

    def by_variants(self) -> list[dict[str, Any]]:
        """pass@1 and pass@2 by the votes of the first 1, 2, 4, ... and of all variants of each task."""
        counted = {**self.fewer, self.most: self.votes}
        return [{"variants": cap, **_pass_at(votes, (1, 2))} for cap, votes in counted.items()]

    def embedding_cosine(self, weights: Tensor) -> dict[str, Any]:
        """How alike the embeddings of tasks' variants are, of one task and of two: see `cosines`; weights [ids, D]."""
        identifiers, task = self._embedded

        def take(places: np.ndarray) -> np.ndarray:
            rows = torch.from_numpy(identifiers[places]).to(weights.device)
            return weights[rows].float().cpu().numpy().astype(np.float64)

        return cosines(take, task)

    def _task(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._places, self.variants.take(rows)[0])


def cosines(take: Callable[[np.ndarray], np.ndarray], task: np.ndarray) -> dict[str, Any]:
    """Cosines of pairs of vectors of the same task, and of different ones; always the same random pairs.

    `task` [n] is that of each vector, and `take` gives vectors [k, D] by their places [k]. Pairs with a vector that is
    all zero, as an embedding is that was never trained, have no cosine and are left out.
    """
    by_task, pair = np.argsort(task, kind="stable"), np.arange(PAIRS)
    first, last = (np.searchsorted(task, task[by_task], side, by_task) for side in ("left", "right"))
    size, n = last - first, len(task)
    found: dict[str, Any] = {}
    for kind, purpose, others in (("within", _WITHIN, size - 1), ("across", _ACROSS, n - size)):
        pool = np.flatnonzero(others)  # vectors that have another one to go with
        a = pool[draws.integers(0, len(pool), purpose, 0, pair)] if len(pool) else pool
        step = (draws.uniform(purpose, 1, pair[: len(a)]) * others[a]).astype(np.int64)
        b = first[a] + (a - first[a] + 1 + step) % size[a] if kind == "within" else (last[a] + step) % n
        x, y = take(by_task[a]), take(by_task[b])
        norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        cosine = (np.einsum("pd,pd->p", x, y)[norms > 0] / norms[norms > 0]).clip(-1, 1)
        counts, edges = np.histogram(cosine, BINS, (-1, 1))
        found |= {"edges": edges.round(6).tolist()}
        found[kind] = {
            "pairs": len(cosine),
            "mean": float(cosine.mean()) if len(cosine) else None,
            "counts": counts.tolist(),
        }
    return found


def _pass_at(votes: Votes, ks: Sequence[int] = KS) -> dict[str, Any]:
    return {f"pass@{k}": bootstrap(shares).as_dict() for k, shares in votes.pass_at(ks).items()}
