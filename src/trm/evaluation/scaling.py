"""Test-time scaling: what further steps, or several runs to choose from, make of the same weights, and at what cost.

A way to scale (config.Scaling) is run once, with all its steps and rollouts; what fewer of them would have given
follows from that. OUT/scaling.json says for each number of them the figures of the answers chosen, the paired
comparison with the plain run, and the cost.

How to choose among the rollouts of an example:

    q_halt   the highest halting probability (PTRM, arXiv 2605.19943)
    vote     the most frequent answer, of equally frequent ones that with the higher mean probability
    valid    the first that obeys the puzzle's rules, which needs no label
    any      one that is right, if there is one: no choice, but what a perfect one would reach
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from trm import draws, puzzles
from trm.config import Dataset, Evaluation, Scaling
from trm.data.split import Split
from trm.evaluation.inference import Answers, Rollout, answers, batch_size_of, to_batch
from trm.evaluation.metrics import halting_probability, mcnemar, share
from trm.files import BadInput, write_json
from trm.models.act import Batch
from trm.models.network import Network
from trm.progress import progress
from trm.puzzles.symmetry import Symmetries
from trm.runs import load_model, read_run, read_test

CHOICES = ("q_halt", "vote", "valid", "any")
PLAIN = Scaling.model_construct()  # a single run, as deep as the evaluation says


@dataclass(frozen=True)
class Rollouts:
    """The last answers of K runs of n examples; of a single run those after each of its S steps besides."""

    exact: np.ndarray  # [n, K] bool
    valid: np.ndarray  # [n, K] bool, whether the puzzle's rules are obeyed
    q_halt: np.ndarray  # [n, K] float32 logits
    answer: np.ndarray  # [n, K] uint64, equal for equal answers
    steps: np.ndarray  # [n, K] supervision steps taken
    seconds: np.ndarray  # [K] that a run of all examples took
    exact_by_step: np.ndarray | None = None  # [n, S] bool, of a single run


def scale(folder: Path, data: Path, out: Path, config: Evaluation, device: torch.device) -> dict[str, Any]:
    """Run the ways of `config.scaling` on the test split of `data`; returns what scaling.json says."""
    run = read_run(folder)
    dataset, scored, split = read_test(run, data)
    puzzle = puzzles.module(dataset.puzzle)
    for way in config.scaling:
        _check(dataset, puzzle, way)
    model = load_model(run, split.metadata, device)
    rows = split.spread(config.subset, config.max_variants)
    plain = _run(model, dataset, split, rows, PLAIN, config)
    found = scores(PLAIN, plain, plain)
    for way in config.scaling:
        found += scores(way, _run(model, dataset, split, rows, way, config), plain)
    result = {
        "experiment": run.experiment.name,
        "seed": run.provenance["seed"],
        "data": scored,
        "examples": len(rows),
        "of": len(split),
        "scores": found,
    }
    write_json(out / "scaling.json", result)
    return result


def _check(dataset: Dataset, puzzle: ModuleType, way: Scaling) -> None:
    """Raises BadInput where the puzzle has not the symmetries that a way asks for."""
    if not way.symmetries:
        return
    if not hasattr(puzzle, "variants"):
        raise BadInput(f"scaling: symmetries: {dataset.puzzle} has none to undo in an answer, expected false")
    try:
        puzzle.variants(dataset, np.zeros(1, np.int64), np.array([way.rollouts - 1]))
    except IndexError:
        raise BadInput(f"scaling: rollouts {way.rollouts}: {dataset.puzzle} has fewer symmetries") from None


def _run(
    model: Network, dataset: Dataset, split: Split, rows: np.ndarray, way: Scaling, config: Evaluation
) -> Rollouts:
    """All rollouts of the examples `rows`."""
    n, own, is_valid = len(rows), model.config, puzzles.module(dataset.puzzle).is_valid
    steps = way.halt_max_steps or config.halt_max_steps or own.halt_max_steps
    place = np.empty(len(split), np.int64)
    place[rows] = np.arange(n)
    table = {
        name: np.empty((n, way.rollouts), dtype)
        for name, dtype in (("exact", bool), ("valid", bool), ("q_halt", "f4"), ("answer", "u8"), ("steps", "i4"))
    }
    weights = draws.hashed(np.arange(split.metadata.seq_len)) | np.uint64(1)
    seconds, by_step = np.zeros(way.rollouts), np.empty((n, steps), bool)
    with progress(way.name or "plain", n * way.rollouts) as advance:
        for k in range(way.rollouts):
            begin = time.monotonic()
            random = own.random_starts or (way.random_starts and k > 0)
            model.config = own.model_copy(update={"halt_max_steps": steps, "random_starts": random})
            for part, turned_back in _rollout(model, dataset, split, rows, way, k, config):
                where = place[part.rows]
                table["exact"][where, k] = part.exact[:, -1]
                table["valid"][where, k] = is_valid(dataset, part.inputs, part.predictions)
                table["q_halt"][where, k] = part.q_halt[:, -1]
                table["answer"][where, k] = turned_back.astype(np.uint64) @ weights
                table["steps"][where, k] = part.steps
                by_step[where] = part.exact
                advance(len(where))
            seconds[k] = time.monotonic() - begin
    model.config = own
    return Rollouts(**table, seconds=seconds, exact_by_step=by_step if way.rollouts == 1 else None)


def _rollout(
    model: Network, dataset: Dataset, split: Split, rows: np.ndarray, way: Scaling, k: int, config: Evaluation
) -> Iterator[tuple[Answers, np.ndarray]]:
    """The answers of rollout `k`, where it is one by symmetry to the examples' twins, and as answers to themselves."""
    device = next(model.parameters()).device
    variants = puzzles.module(dataset.puzzle).variants if way.symmetries and k else None

    def twins(some: np.ndarray) -> Symmetries | None:
        return variants(dataset, some, np.full_like(some, k)) if variants else None

    def load(some: np.ndarray) -> Batch:
        return to_batch(split, some, device, twins(some))

    rollout = Rollout(k, way.latent_noise if k else 0.0)
    for part in answers(model, load, rows, batch_size_of(config, device), config.early_exit, rollout):
        yield part, twins(part.rows).inverse().apply(part.predictions) if variants else part.predictions


def scores(way: Scaling, rollouts: Rollouts, plain: Rollouts) -> list[dict[str, Any]]:
    """The figures of a way: of a single run by its depth; else for 2, 4, ... of its rollouts and each choice."""
    found = []
    if rollouts.exact_by_step is not None:
        for depth in _doubling(plain.exact_by_step.shape[1], rollouts.exact_by_step.shape[1]):
            facts = {"way": way.name or "plain", "rollouts": 1, "steps": depth, "choice": "last"}
            cost = np.minimum(rollouts.steps[:, 0], depth)
            seconds = rollouts.seconds.sum() * cost.sum() / rollouts.steps.sum()
            solved = {"exact_accuracy": rollouts.exact_by_step[:, depth - 1]}
            found.append(facts | _figures(solved, plain, cost, seconds))
        return found
    for count in _doubling(2, way.rollouts):
        first = Rollouts(*(table[..., :count] for table in vars(rollouts).values() if table is not None))
        cost, seconds = first.steps.sum(axis=1), first.seconds.sum()
        for choice in CHOICES:
            facts = {"way": way.name, "rollouts": count, "steps": int(rollouts.steps.max()), "choice": choice}
            found.append(facts | _figures(chosen(first, choice), plain, cost, seconds))
    return found


def chosen(rollouts: Rollouts, choice: str) -> dict[str, np.ndarray]:
    """Whether the answer that a choice makes among the rollouts of each example is right, and valid: bool [n]."""
    if choice == "any":
        return {"exact_accuracy": rollouts.exact.any(axis=1), "valid": rollouts.valid.any(axis=1)}
    if choice == "vote":
        probability = halting_probability(rollouts.q_halt)
        votes, sums = np.zeros((2, *probability.shape))
        for k in range(rollouts.answer.shape[1]):
            same = rollouts.answer == rollouts.answer[:, k : k + 1]
            votes += same
            sums += same * probability[:, k : k + 1]
        merit = votes + sums / votes / 2  # the mean decides between equally many
    else:
        merit = rollouts.q_halt if choice == "q_halt" else rollouts.valid
    best = np.arange(len(merit)), merit.argmax(axis=1)  # the first of equals
    return {"exact_accuracy": rollouts.exact[best], "valid": rollouts.valid[best]}


def _figures(solved: dict[str, np.ndarray], plain: Rollouts, cost: np.ndarray, seconds: float) -> dict[str, Any]:
    """Shares, what changed against the plain run, and supervision steps and seconds an example."""
    exact = solved["exact_accuracy"]
    return {
        "figures": {name: share(hits).as_dict() for name, hits in solved.items()},
        "against_plain": asdict(mcnemar(exact, plain.exact[:, 0])),
        "steps_per_example": float(cost.mean()),
        "seconds_per_example": float(seconds / len(exact)),
    }


def _doubling(low: int, high: int) -> list[int]:
    """low, twice low, ... and high."""
    numbers = [low * 2**i for i in range(high.bit_length()) if low * 2**i < high]
    return [*numbers, high]
