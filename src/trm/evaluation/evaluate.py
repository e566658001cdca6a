"""Scoring a finished run on the test set.

OUT/evaluation.json    every figure with its count and 95 % interval, and the curves behind them
OUT/predictions.npz    what the figures were computed from, and the answers for pictures:
    rows [n], inputs, labels, predictions [n, seq_len], asked [n, seq_len], valid [n],
    q_halt [n, S] (logits), exact [n, S]   after each of the S supervision steps
    rank [n]   tokens scored above the label, at the first cell that has one
    steps [n]  supervision steps taken

Where the dataset has test tasks with variants that vote (ARC), the rows are those of the bare tasks, and besides:

OUT/submission.json    the two best answers to every test input
OUT/tasks.csv          votes and pass@k of each task
"""

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trm import puzzles
from trm.config import Dataset, Evaluation
from trm.data.layout import content_hash, published_files
from trm.data.split import Split
from trm.distribution import World, compiles
from trm.evaluation import curves
from trm.evaluation.ballots import Ballots, is_arc
from trm.evaluation.games import play
from trm.evaluation.inference import Answers, answers, batch_size_of, predict, to_batch
from trm.evaluation.metrics import Figure, share, share_of_parts
from trm.files import BadInput, atomic, write_json
from trm.models.hardware import prepare
from trm.models.network import Network
from trm.progress import progress
from trm.runs import load_model, read_run, read_test

BOARDS = ("inputs", "labels", "predictions")
TOP = (3, 5)  # ranks reported where an answer is one token


def evaluate(folder: Path, data: Path, out: Path, config: Evaluation, world: World) -> dict[str, Any] | None:
    """Score the run in `folder` on the test split of `data`; the leading rank returns what evaluation.json says."""
    run = read_run(folder)
    dataset, scored, split = read_test(run, data)
    ballots = Ballots(data, split, config) if is_arc(data) else None
    rows = ballots.rows if ballots else split.spread(config.subset, config.max_variants)
    if len(rows) < world.size:
        raise BadInput(f"{len(rows)} examples on {world.size} ranks, expected one for each at least")
    model = load_model(run, split.metadata, world.device)
    if config.early_exit is None:  # batches of one size
        prepare(model, compiles(run.experiment.training.compile, world.device), recomputes=False)
    size = batch_size_of(config, world.device)
    if config.halt_max_steps is not None:
        model.config = model.config.model_copy(update={"halt_max_steps": config.halt_max_steps})
    table = _table(model, split, rows, size, config.early_exit, world, ballots, run.experiment.name)
    puzzle = puzzles.module(dataset.puzzle)
    games = None
    if hasattr(puzzle, "starts"):  # moves of games, which are also played to their end
        games = play(puzzle, dataset, partial(predict, model, batch_size=size, device=world.device))
    if not world.leads:
        return None
    table["valid"] = puzzle.is_valid(dataset, table["inputs"], table["predictions"])
    measures = ballots.difficulty(table["rows"]) if ballots else {}
    if hasattr(puzzle, "difficulty"):
        measures |= puzzle.difficulty(dataset, table["inputs"], table["labels"])
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
        **score(dataset, table, measures),
    }
    if games:
        result["figures"] |= {
            "games_solved": share(games.solved).as_dict(),
            "games_legal": share(games.legal).as_dict(),
        }
    if ballots:
        result["figures"] |= ballots.write(out)
        result["by_variants"] = ballots.by_variants()
        if model.puzzle_emb is not None:
            result["embedding_cosine"] = ballots.embedding_cosine(model.puzzle_emb.weights)
    with atomic(out / "predictions.npz") as path, open(path, "wb") as file:
        np.savez_compressed(file, **table)
    write_json(out / "evaluation.json", result)
    return result


def _table(
    model: Network,
    split: Split,
    rows: np.ndarray,
    batch_size: int,
    early_exit: float | None,
    world: World,
    ballots: Ballots | None,
    name: str,
) -> dict[str, np.ndarray]:
    """Answers to `rows`, in their order, each rank having its share of them; of ballots those to the bare tasks."""
    token, columns = split.inputs.dtype, [field.name for field in fields(Answers)]
    parts: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    with progress(f"evaluating {name}", len(rows), shown=world.leads) as advance:
        load = partial(to_batch, split, device=world.device)
        for part in answers(model, load, rows[world.rank :: world.size], batch_size, early_exit):
            kept = ballots.count(part) if ballots else slice(None)
            table = {column: getattr(part, column)[kept] for column in columns}
            table["labels"] = np.where(table["asked"], table["labels"], 0)
            for column, array in table.items():
                parts[column].append(array.astype(token) if column in BOARDS else array)
            advance(len(part.rows) * world.size)
    if ballots:
        ballots.pool(world)
    table = {column: world.concatenate(np.concatenate(parts.pop(column))) for column in columns}
    order = np.argsort(table["rows"])
    return {column: array[order] for column, array in table.items()}


def score(dataset: Dataset, table: dict[str, np.ndarray], measures: dict[str, np.ndarray]) -> dict[str, Any]:
    """All figures of a table of predictions, each a share with count and interval; `measures` [n] are of difficulty."""
    exact, q_halt = table["exact"], table["q_halt"]
    halting = (q_halt >= 0) == exact  # whether q_halt says rightly if the answer is right
    right = (table["predictions"] == table["labels"]) & table["asked"]
    blanks = table["asked"] & puzzles.module(dataset.puzzle).blanks(dataset, table["inputs"])
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
    return {
        "figures": {name: figure.as_dict() for name, figure in figures.items()},
        "mean_steps": float(table["steps"].mean()),
        "by_step": by_step,
        "by_difficulty": curves.by_difficulty(measures, exact[:, -1]),
        "calibration": curves.calibration(q_halt[:, -1], exact[:, -1]),
        "halting": curves.halting(q_halt, exact),
        "early_exit": curves.early_exit(q_halt, exact),
    }


def _of_puzzle(dataset: Dataset, table: dict[str, np.ndarray]) -> dict[str, Figure]:
    """The figures that only the puzzle knows; rows that a figure leaves out are nan in it."""
    puzzle = puzzles.module(dataset.puzzle)
    if not hasattr(puzzle, "metrics"):
        return {}
    hits = puzzle.metrics(dataset, table["inputs"], table["predictions"], table["labels"])
    return {name: share(hit[~np.isnan(hit)].astype(bool)) for name, hit in hits.items()}


def headline(figure: dict[str, float] | Figure) -> str:
    """A share in print: value and interval in per cent, and its count."""
    figure = figure if isinstance(figure, Figure) else Figure(**figure)
    return f"{100 * figure.value:.1f} % ({100 * figure.low:.1f} to {100 * figure.high:.1f}, n = {figure.count:,})"
