"""The figures of an experiment, each with the numbers it shows.

A figure is one function from the experiment's results, one per seed, to a picture and a table.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from trm import puzzles
from trm.files import BadInput, write_text
from trm.reporting.results import Result, read_experiment, read_metrics, read_predictions
from trm.reporting.sheet import Tile, sheet
from trm.reporting.style import METADATA, look, save
from trm.reporting.texts import listing, short

GALLERY = 8  # puzzles shown

Picture = tuple[Figure, pd.DataFrame]


def draw_figure(kind: str, runs: list[Path], out: Path) -> None:
    """Draw one of FIGURES for the runs of one experiment, as `out` with suffix .svg, .pdf and .png; numbers in .csv."""
    if kind not in FIGURES:
        raise BadInput(f"figure {kind!r} is unknown, expected one of {', '.join(FIGURES)}")
    results = read_experiment(runs)
    with look():
        figure, numbers = FIGURES[kind](results)
        for suffix in METADATA:
            save(figure, out.with_suffix(f".{suffix}"))
    write_text(out.with_suffix(".csv"), numbers.to_csv(index=False, lineterminator="\n"))


def caption(kind: str, runs: list[Path]) -> str:
    """What the figure shows, of which experiment, seeds and data."""
    results = read_experiment(runs)
    seeds = [str(result.seed) for result in results]
    text = CAPTIONS[kind]
    if kind == "gallery":
        seeds = seeds[:1]
    elif len(seeds) > 1:
        text += " Thin lines are seeds, the thick one is their mean."
    data = sorted({short(result.data) for result in results})
    return f"{results[0].name}, seed{'s' * (len(seeds) > 1)} {listing(seeds)}, data {listing(data)}. {text}"


def learning_curve(results: list[Result]) -> Picture:
    """Left the training loss, right the exact accuracy while training, over optimiser steps."""
    numbers = _learning_numbers(results)
    figure = Figure(figsize=(7.0, 2.7), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for quantity, axes in (("lm_loss", loss), ("exact_accuracy", accuracy)):
        for split, (color, line, marker) in LEARNING_STYLE.items():
            rows = numbers[(numbers["quantity"] == quantity) & (numbers["split"] == split)]
            if len(rows):
                lines = rows.pivot(index="step", columns="seed", values="value")
                label = "train (rows that halted)" if split == "train" else split
                _seeds_and_mean(axes, lines, label, color=color, linestyle=line, marker=marker)
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
    loss.set(title="Training loss", ylabel="cross entropy per token (nats)", yscale="log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    accuracy.set(title="Exact accuracy", ylabel="puzzles solved")
    _shares(accuracy)
    if accuracy.lines:  # an imported run has no curve
        accuracy.legend()
    return figure, numbers


LEARNING_STYLE = {"train": ("C0", "-", None), "validation": ("C2", "--", "s"), "test": ("C1", "-", "o")}


def _learning_numbers(results: list[Result]) -> pd.DataFrame:
    """One row per value: experiment, seed, split, step, quantity, value, examples."""
    rows = []
    for result in results:
        training, evaluations = read_metrics(result)
        run = (result.name, result.seed)
        rows += [(*run, "train", line["step"], "lm_loss", line["lm_loss"], None) for line in training]
        for line in [{"split": "train", "examples": line["count"], **line} for line in training] + evaluations:
            if line["exact_accuracy"] is not None:  # no row halted since the last line
                value = line["exact_accuracy"]
                rows.append((*run, line["split"], line["step"], "exact_accuracy", value, line["examples"]))
    columns = ["experiment", "seed", "split", "step", "quantity", "value", "examples"]
    return pd.DataFrame(rows, columns=columns).astype({"examples": "Int64"})


def accuracy_by_step(results: list[Result]) -> Picture:
    """Share of test puzzles solved after each supervision step, and how often q_halt knows whether they are."""
    rows = [
        (result.name, result.seed, quantity, step, *(figure[key] for key in ("value", "low", "high", "count")))
        for result in results
        for quantity in BY_STEP_STYLE
        for step, figure in enumerate(result.evaluation["by_step"][quantity], start=1)
    ]
    columns = ["experiment", "seed", "quantity", "supervision_step", "value", "low", "high", "count"]
    numbers = pd.DataFrame(rows, columns=columns)
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.subplots()
    for quantity, (label, color, line, marker) in BY_STEP_STYLE.items():
        own = numbers[numbers["quantity"] == quantity]
        for _, run in own.groupby("seed"):
            band = run["supervision_step"], run["low"], run["high"]
            axes.fill_between(*band, color=color, alpha=0.2 / len(results), linewidth=0)
        lines = own.pivot(index="supervision_step", columns="seed", values="value")
        _seeds_and_mean(axes, lines, label, color=color, linestyle=line, marker=marker)
    axes.set(title="After each supervision step", xlabel="supervision step", ylabel="share of test puzzles")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _shares(axes)
    axes.legend()
    return figure, numbers


BY_STEP_STYLE = {
    "exact_accuracy": ("solved exactly", "C0", "-", "o"),
    "q_halt_accuracy": ("q_halt is right", "C1", "--", "s"),
}


def gallery(results: list[Result]) -> Picture:
    """Test puzzles of the first seed: half of them solved, half not, where there are any of both."""
    result = results[0]
    table = read_predictions(result)
    exact, dataset = table["exact"][:, -1], result.experiment.dataset
    draw = puzzles.module(dataset.puzzle).draw
    chosen = _right_and_wrong(exact, GALLERY)
    numbers = pd.DataFrame(
        {
            "experiment": result.name,
            "seed": result.seed,
            "row": table["rows"][chosen],
            "exact": exact[chosen],
            "valid": table["valid"][chosen],
            "q_halt_probability": 1 / (1 + np.exp(-table["q_halt"][chosen, -1].astype(float))),
        }
    )
    tiles = []
    for i, row in zip(chosen, numbers.itertuples(), strict=True):
        inputs, prediction, label = (table[name][i] for name in ("inputs", "predictions", "labels"))
        right, valid = "solved" if row.exact else "not solved", "valid" if row.valid else "not valid"
        boards = {
            "input": draw(dataset, inputs, None, None),
            "prediction": draw(dataset, inputs, prediction, label),
            "truth": draw(dataset, inputs, label, None),
        }
        tiles.append(Tile(f"row {row.row:,}: {right}, {valid}, q_halt {100 * row.q_halt_probability:.0f} %", boards))
    return sheet(f"{result.name}, seed {result.seed}: test puzzles", tiles, columns=2), numbers


def _right_and_wrong(exact: np.ndarray, n: int) -> np.ndarray:
    """`n` rows evenly spaced among the right ones, then the wrong ones; half and half where there are enough."""
    right, wrong = np.flatnonzero(exact), np.flatnonzero(~exact)
    many = min(len(right), max(n // 2, n - len(wrong)))
    few = min(len(wrong), n - many)
    return np.concatenate([rows[np.arange(k) * len(rows) // max(k, 1)] for rows, k in ((right, many), (wrong, few))])


FIGURES: dict[str, Callable[[list[Result]], Picture]] = {
    "learning-curve": learning_curve,
    "accuracy-by-step": accuracy_by_step,
    "gallery": gallery,
}

CAPTIONS = {
    "learning-curve": "Training loss, and exact accuracy of the training rows that halted and of the evaluations "
    "meanwhile.",
    "accuracy-by-step": "Share of test puzzles solved after each supervision step, and share of those for which "
    "q_halt says rightly whether they are; bands are 95 % intervals of each seed.",
    "gallery": "Test puzzles: input, prediction, truth. Blue cells are right, orange ones wrong, small pink marks "
    "stand where something is missing; q_halt is the model's own probability that it is done.",
}


def _seeds_and_mean(axes: Axes, lines: pd.DataFrame, label: str, **style: str | None) -> None:
    """Plot columns as thin lines and their mean, where all of them have a value, as a thick one."""
    if lines.shape[1] > 1:
        thin = {**style, "marker": None, "linewidth": 0.7, "alpha": 0.55}
        for seed in lines:
            own = lines[seed].dropna()
            axes.plot(own.index, own, **thin)
    mean = lines.dropna().mean(axis=1)
    axes.plot(mean.index, mean, label=label, **style)


def _shares(axes: Axes) -> None:
    """The whole range from 0 to 100 %, so that no difference looks larger than it is."""
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
