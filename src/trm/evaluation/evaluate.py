"""Scoring a finished run on the test set.

OUT/evaluation.json    every figure with its count and 95 % interval
OUT/predictions.npz    what the figures were computed from, and the answers for pictures:
    rows [n], inputs, labels, predictions [n, seq_len], asked [n, seq_len], valid [n],
    q_halt [n, S] (logits), exact [n, S]   after each of the S supervision steps
    rank [n]   tokens scored above the label, at the first cell that has one
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from trm import puzzles
from trm.config import Dataset, Evaluation
from trm.data.layout import content_hash, published_files
from trm.evaluation.games import play
from trm.evaluation.inference import answers, predict
from trm.evaluation.metrics import Figure, share, share_of_parts
from trm.files import atomic, write_json
from trm.progress import progress
from trm.runs import load_model, read_run, read_test

TOP = (3, 5)  # ranks reported where an answer is one token


def evaluate(folder: Path, data: Path, out: Path, config: Evaluation, device: torch.device) -> dict[str, Any]:
    """Score the run in `folder` on the test split of `data`; returns what evaluation.json says."""
    run = read_run(folder)
    dataset, scored, split = read_test(run, data)
    rows = split.spread(config.subset, config.max_variants)
    model = load_model(run, split.metadata, device)
    if config.halt_max_steps is not None:
        model.config = model.config.model_copy(update={"halt_max_steps": config.halt_max_steps})
    parts = []
    with progress(f"evaluating {run.experiment.name}", len(rows)) as advance:
        for part in answers(model, split, rows, config.batch_size, device):
            parts.append(part)
            advance(len(part.inputs))
    token = split.inputs.dtype
    table = {
        "rows": rows,
        **{name: _join(parts, name).astype(token) for name in ("inputs", "predictions")},
        "labels": np.where(_join(parts, "asked"), _join(parts, "labels"), 0).astype(token),
        **{name: _join(parts, name) for name in ("asked", "q_halt", "exact", "rank")},
    }
    puzzle = _puzzle(dataset)
    table["valid"] = puzzle.is_valid(dataset, table["inputs"], table["predictions"])
    if scored["content_sha256"] is None:  # a run that was imported without its dataset
        scored = scored | {"content_sha256": content_hash(data), "published_files": published_files(data)}
    result = {
        "experiment": run.experiment.name,
        "seed": run.provenance["seed"],
        "data": scored,
        "weights": run.provenance["weights"],
        "split": "test",
        "examples": len(rows),
        "of": len(split),
        **score(dataset, table),
    }
    if hasattr(puzzle, "starts"):  # moves of games, which are also played to their end
        games = play(puzzle, dataset, lambda boards: predict(model, boards, device), config.batch_size)
        result["figures"] |= {
            "games_solved": share(games.solved).as_dict(),
            "games_legal": share(games.legal).as_dict(),
        }
    with atomic(out / "predictions.npz") as path, open(path, "wb") as file:
        np.savez_compressed(file, **table)
    write_json(out / "evaluation.json", result)
    return result


def score(dataset: Dataset, table: dict[str, np.ndarray]) -> dict[str, Any]:
    """All figures of a table of predictions, each a share with count and interval."""
    exact = table["exact"]
    halting = (table["q_halt"] >= 0) == exact  # whether q_halt says rightly if the answer is right
    right = (table["predictions"] == table["labels"]) & table["asked"]
    blanks = table["asked"] & _puzzle(dataset).blanks(dataset, table["inputs"])
    figures = {
        "exact_accuracy": share(exact[:, -1]),
        "valid": share(table["valid"]),
        "token_accuracy": share_of_parts(right.sum(1), table["asked"].sum(1)),
        "blank_accuracy": share_of_parts((right & blanks).sum(1), blanks.sum(1)),
        "q_halt_accuracy": share(halting[:, -1]),
        **_of_puzzle(dataset, table),
    }
    if (table["asked"].sum(1) == 1).all():  # one token is the whole answer: a choice, of which the runners-up count too
        figures |= {f"top_{k}": share(table["rank"] < k) for k in TOP}
    steps = exact.shape[1]
    by_step = {
        "exact_accuracy": [share(exact[:, step]).as_dict() for step in range(steps)],
        "q_halt_accuracy": [share(halting[:, step]).as_dict() for step in range(steps)],
    }
    return {"figures": {name: figure.as_dict() for name, figure in figures.items()}, "by_step": by_step}


def _of_puzzle(dataset: Dataset, table: dict[str, np.ndarray]) -> dict[str, Figure]:
    """The figures that only the puzzle knows; rows that a figure leaves out are nan in it."""
    puzzle = _puzzle(dataset)
    if not hasattr(puzzle, "metrics"):
        return {}
    hits = puzzle.metrics(dataset, table["inputs"], table["predictions"], table["labels"])
    return {name: share(hit[~np.isnan(hit)].astype(bool)) for name, hit in hits.items()}


def headline(figure: dict[str, float] | Figure) -> str:
    """A share in print: value and interval in per cent, and its count."""
    figure = figure if isinstance(figure, Figure) else Figure(**figure)
    return f"{100 * figure.value:.1f} % ({100 * figure.low:.1f} to {100 * figure.high:.1f}, n = {figure.count:,})"


def _puzzle(dataset: Dataset) -> Any:
    return puzzles.module(dataset.puzzle)


def _join(parts: list, name: str) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in parts])
