"""The figures of an experiment, each with the numbers it shows.

A figure is one function from the experiment's results, one per seed, to a picture and a table.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from trm import puzzles
from trm.evaluation.metrics import halting_probability
from trm.files import BadInput, write_text
from trm.reporting.cells import framed, places
from trm.reporting.results import Result, read_experiment, read_metrics, read_predictions
from trm.reporting.scaling import PLAIN, scaling_rows
from trm.reporting.sheet import Tile, sheet
from trm.reporting.style import METADATA, look, save
from trm.reporting.texts import listing, short

GALLERY = 8  # puzzles shown
SCALING = "test-time-scaling"
OF_VOTES = {"pass-at-k": "by_variants", "embedding-cosine": "embedding_cosine"}  # what they show of evaluation.json

Picture = tuple[Figure, pd.DataFrame]


def kinds_of(results: list[Result], scaled: bool) -> list[str]:
    """The kinds of figures that an experiment has; `scaled`: whether `trm scale` has been run."""
    return [
        kind
        for kind in FIGURES
        if (kind != SCALING or scaled)
        and (kind not in OF_VOTES or all(OF_VOTES[kind] in result.evaluation for result in results))
    ]


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
    elif kind == "embedding-cosine":
        text += " Of several seeds all pairs are taken together." if len(seeds) > 1 else ""
    elif len(seeds) > 1:
        text += " Thin lines are seeds, the thick one is their mean."
        text += " The dots on the columns are seeds." if kind == "steps-used" else ""
        if kind == "learning-curve" and len(seeds) >= BAND:
            text += " Bands reach from the lowest seed to the highest."
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
                label = "train (rows that halted)" if split == "train" else split
                _range_of_seeds(axes, rows, "step", "value", color)
                _seeds_and_mean(axes, rows, "step", "value", label, color=color, linestyle=line, marker=marker)
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
    loss.set(title="Training loss", ylabel="cross entropy per token (nats)", yscale="log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    accuracy.set(title="Exact accuracy", ylabel="share of puzzles solved")
    _shares(accuracy)
    if accuracy.lines:  # an imported run has no curve
        accuracy.legend()
    return figure, numbers


def time_to_accuracy(results: list[Result]) -> Picture:
    """Exact accuracy of the evaluations while training, over the time that the training took until then."""
    rows = [
        (result.name, result.seed, line["split"], line["step"], line["seconds"], line["exact_accuracy"])
        for result in results
        for line in read_metrics(result)[1]
        if line["exact_accuracy"] is not None and "seconds" in line
    ]
    numbers = pd.DataFrame(rows, columns=["experiment", "seed", "split", "step", "seconds", "value"])
    unit, seconds = next((each for each in UNITS if numbers["seconds"].max() >= each[1]), UNITS[-1])
    scaled = numbers.assign(time=numbers["seconds"] / seconds)
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.subplots()
    for split, (color, line, marker) in LEARNING_STYLE.items():
        own = scaled[scaled["split"] == split]
        if len(own):
            _seeds_and_mean(axes, own, "time", "value", split, "step", color=color, linestyle=line, marker=marker)
    axes.set(title="Time to accuracy", xlabel=f"training time ({unit})", ylabel="share of puzzles solved")
    axes.set_xlim(left=0)
    _shares(axes)
    if axes.lines:  # an imported run has no curve
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no evaluation while training", ha="center", va="center", transform=axes.transAxes)
    return figure, numbers


UNITS = [("hours", 3600), ("minutes", 60), ("seconds", 1)]
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
        _seeds_and_mean(axes, own, "supervision_step", "value", label, color=color, linestyle=line, marker=marker)
    axes.set(title="After each supervision step", xlabel="supervision step", ylabel="share of test puzzles")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _shares(axes)
    axes.legend()
    return figure, numbers


BY_STEP_STYLE = {
    "exact_accuracy": ("solved exactly", "C0", "-", "o"),
    "q_halt_accuracy": ("q_halt is right", "C1", "--", "s"),
}


def steps_used(results: list[Result]) -> Picture:
    """Left the steps of each puzzle if q_halt is obeyed, right what it costs in accuracy to stop early."""
    rows = []
    for result in results:
        run, evaluation = (result.name, result.seed), result.evaluation
        halted, every = evaluation["halting"]["rows"], evaluation["by_step"]["exact_accuracy"]
        n = sum(halted)
        rows += [(*run, "halted", None, step, used / n, None, None, n) for step, used in enumerate(halted, start=1)]
        points = [("together", None, step, point) for step, point in enumerate(every, start=1)]
        points += [("early exit", point["threshold"], point["mean_steps"], point) for point in evaluation["early_exit"]]
        rows += [(*run, *place, *(point[key] for key in ("value", "low", "high", "count"))) for *place, point in points]
    columns = ["experiment", "seed", "curve", "threshold", "steps", "value", "low", "high", "count"]
    numbers = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("threshold", "low", "high"), float))
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    histogram, trade = figure.subplots(1, 2)
    halted = numbers[numbers["curve"] == "halted"]
    share = halted.groupby("steps")["value"].mean()
    histogram.bar(share.index, share, **BARS)
    if len(results) > 1:
        histogram.plot(halted["steps"], halted["value"], **SEEDS_ON_BARS)
    mean = np.mean([result.evaluation["halting"]["mean_steps"] for result in results])
    histogram.set(title=f"Steps if q_halt is obeyed: mean {mean:.1f}", ylabel="share of test puzzles")
    for curve, (label, color, line, marker, by) in TRADE_STYLE.items():
        own = numbers[numbers["curve"] == curve]
        _intervals(trade, own, "steps", color)
        _seeds_and_mean(trade, own, "steps", "value", label, by, color=color, linestyle=line, marker=marker)
    trade.set(title="Accuracy against steps", ylabel="share of test puzzles solved")
    trade.legend()
    for axes in (histogram, trade):
        axes.set_xlabel("supervision steps" if axes is histogram else "supervision steps, mean over puzzles")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    histogram.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    _shares(trade)
    return figure, numbers


TRADE_STYLE = {
    "together": ("all puzzles stop together", "C0", "-", "o", "steps"),
    "early exit": ("each stops when it is sure enough", "C1", "--", "s", "threshold"),
}


def calibration(results: list[Result]) -> Picture:
    """How often the model is right when it says so with some probability, and how often it says that."""
    columns = ["from", "to", "probability", "value", "low", "high", "count"]
    errors = [result.evaluation["calibration"]["expected_calibration_error"] for result in results]
    rows = [
        (result.name, result.seed, *(part[column] for column in columns), error)
        for result, error in zip(results, errors, strict=True)
        for part in result.evaluation["calibration"]["bins"]
    ]
    numbers = pd.DataFrame(rows, columns=["experiment", "seed", *columns, "expected_calibration_error"])
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="as often as it says")
    _intervals(axes, numbers, "probability", "C0")
    style = {"color": "C0", "linestyle": "-", "marker": "o"}
    _seeds_and_mean(axes, numbers, "probability", "value", "solved exactly", "from", **style)
    axes.set(title=f"Calibration: expected error {100 * np.mean(errors):.1f} points", ylabel="share of test puzzles")
    axes.legend()
    _shares(axes)
    bins = numbers.groupby(["from", "to"], as_index=False)["count"].sum()
    below.bar(bins["from"], bins["count"] / bins["count"].sum(), bins["to"] - bins["from"], align="edge", **BARS)
    below.set(xlabel="probability of being right, by q_halt", ylabel="share", xlim=(-0.02, 1.02))
    below.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    _shares(below)
    return figure, numbers


BARS = {"color": "C0", "alpha": 0.6, "edgecolor": "white", "linewidth": 0.5}
SEEDS_ON_BARS = {"color": "#222222", "linestyle": "", "marker": "o", "markersize": 2.5, "markeredgewidth": 0}


def accuracy_by_difficulty(results: list[Result]) -> Picture:
    """Share of test puzzles solved against each measure of how hard they are."""
    columns = ["from", "to", "value", "low", "high", "count"]
    rows = [
        (result.name, result.seed, measure, *(part[column] for column in columns))
        for result in results
        for measure, parts in result.evaluation["by_difficulty"].items()
        for part in parts
    ]
    numbers = pd.DataFrame(rows, columns=["experiment", "seed", "measure", *columns])
    measures = list(dict.fromkeys(numbers["measure"]))
    figure = Figure(figsize=(max(3.5 * len(measures), 4.6), 2.8), layout="constrained")
    panels = figure.subplots(1, max(len(measures), 1), squeeze=False)[0]
    if not measures:
        panels[0].set_axis_off()
        panels[0].text(0.5, 0.5, "no measure of difficulty for this puzzle", ha="center", va="center")
    for axes, measure in zip(panels, measures, strict=False):
        own = numbers[numbers["measure"] == measure]
        ends = list(zip(own["from"], own["to"], strict=True))
        ranges = sorted(set(ends))
        own = own.assign(place=[ranges.index(each) for each in ends])
        _intervals(axes, own, "place", "C0")
        _seeds_and_mean(axes, own, "place", "value", "solved exactly", color="C0", linestyle="-", marker="o")
        labels = [f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in ranges]
        axes.set_xticks(range(len(ranges)), labels, **(SLANTED if len("".join(labels)) > UPRIGHT else {}))
        name = measure.replace("_", " ")
        axes.set(title=f"By {name}", xlabel=name, ylabel="share of test puzzles solved")
        _shares(axes)
    return figure, numbers


UPRIGHT = 28  # letters of all labels of an axis that fit side by side
SLANTED = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}


def scaling_curves(results: list[Result]) -> Picture:
    """Exact accuracy against the supervision steps that an example takes, for each way to scale and each choice."""
    numbers = scaling_rows(results)
    plain, scaled = (numbers[(numbers["way"] == PLAIN) == whether] for whether in (True, False))
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(plain["exact_accuracy"].mean(), color=PLAIN_COLOR, linestyle=":", linewidth=1)
    frontier = _frontier(numbers[numbers["choice"] != "any"])
    axes.step(*zip(*frontier, strict=True), where="post", label="best at its cost", **FRONTIER)
    for i, (way, of_way) in enumerate(scaled.groupby("way", sort=False)):
        for choice, own in of_way.groupby("choice", sort=False):
            label, line, marker = CHOICE_STYLE[choice]
            color = f"C{i % COLORS}"
            by = "steps" if choice == "last" else "rollouts"
            style = {"color": color, "linestyle": line, "marker": marker}
            for _, run in own.groupby("seed"):
                band = run["steps_per_example"], run["low"], run["high"]
                axes.fill_between(*band, color=color, alpha=0.08 / len(results), linewidth=0)
            _seeds_and_mean(axes, own, "steps_per_example", "exact_accuracy", f"{way}{label}", by, **style)
    _intervals(axes, plain, "steps_per_example", PLAIN_COLOR)
    style = {"color": PLAIN_COLOR, "linestyle": "", "marker": "D", "zorder": 3}
    _seeds_and_mean(axes, plain, "steps_per_example", "exact_accuracy", PLAIN, "rollouts", **style)
    axes.set(title="Test-time scaling", xlabel="supervision steps per puzzle", ylabel="share of test puzzles solved")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    _shares(axes)
    lowest = numbers["low"].min()
    axes.set_ylim(bottom=math.floor(10 * lowest) / 10 if lowest >= 0.1 else None)  # what is gained is in the upper part
    figure.legend(loc="outside right upper")
    return figure, numbers


def _frontier(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Steps per example and exact accuracy, means over the seeds, of what nothing as cheap is better than."""
    points = rows.groupby(["way", "choice", "rollouts", "steps"])[["steps_per_example", "exact_accuracy"]]
    means = points.mean()[points.size() == rows["seed"].nunique()]
    ordered = means.sort_values(["steps_per_example", "exact_accuracy"], ascending=[True, False])
    best = ordered[ordered["exact_accuracy"] > ordered["exact_accuracy"].cummax().shift(fill_value=-1.0)]
    end = means["steps_per_example"].max(), best["exact_accuracy"].max()
    return [*best.itertuples(index=False, name=None), end]


FRONTIER = {"color": "#000000", "alpha": 0.16, "linewidth": 5, "solid_capstyle": "butt", "zorder": 1}
PLAIN_COLOR, COLORS = "#444444", 6
CHOICE_STYLE = {
    "last": ("", "-", "o"),
    "q_halt": (": by q_halt", "-", "s"),
    "vote": (": by vote", "--", "^"),
    "valid": (": by the rules", "-.", "v"),
    "any": (": if any is right", ":", None),
}


def pass_at_k(results: list[Result]) -> Picture:
    """ARC's tasks solved by the k best answers of the vote, and by the best two if fewer variants vote."""
    rows = []
    for result in results:
        run, by_variants = (result.name, result.seed), _of_votes(result, "pass-at-k")
        most = by_variants[-1]["variants"]
        points = [("all variants", int(name.partition("@")[2]), most, figure) for name, figure in _passes(result)]
        points += [("fewer variants", k, part["variants"], part[f"pass@{k}"]) for k in FIRST for part in by_variants]
        rows += [(*run, *place, *(point[key] for key in ("value", "low", "high", "count"))) for *place, point in points]
    columns = ["experiment", "seed", "curve", "k", "variants", "value", "low", "high", "count"]
    numbers = pd.DataFrame(rows, columns=columns)
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    by_k, by_variants = figure.subplots(1, 2)
    own = numbers[numbers["curve"] == "all variants"]
    _intervals(by_k, own, "k", "C0")
    _seeds_and_mean(by_k, own, "k", "value", "pass@k", color="C0", linestyle="-", marker="o")
    by_k.set(title="By the k best answers", xlabel="k, answers per test input", xscale="log")
    for k, (color, line, marker) in FIRST.items():
        own = numbers[(numbers["curve"] == "fewer variants") & (numbers["k"] == k)]
        _intervals(by_variants, own, "variants", color)
        style = {"color": color, "linestyle": line, "marker": marker}
        _seeds_and_mean(by_variants, own, "variants", "value", f"pass@{k}", **style)
    by_variants.set(title="By the variants that vote", xlabel="variants per task")
    by_variants.set_xscale("log", base=2)
    by_variants.legend()
    for axes in (by_k, by_variants):
        axes.set_ylabel("share of test inputs, mean over tasks")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
        _shares(axes)
    return figure, numbers


FIRST = {1: ("C1", "--", "s"), 2: ("C0", "-", "o")}  # the k of pass@k by variants


def _passes(result: Result) -> list[tuple[str, dict[str, float]]]:
    return [(name, figure) for name, figure in result.evaluation["figures"].items() if name.startswith("pass@")]


def _of_votes(result: Result, kind: str) -> Any:
    """What evaluation.json says for a kind of figure that runs on ARC have."""
    key = OF_VOTES[kind]
    if key not in result.evaluation:
        raise BadInput(f"{result.folder}/evaluation.json: no {key}, expected what `trm evaluate` writes of ARC")
    return result.evaluation[key]


def embedding_cosine(results: list[Result]) -> Picture:
    """How alike the embeddings of two variants are: of the same ARC task, and of different ones."""
    rows = []
    for result in results:
        found = _of_votes(result, "embedding-cosine")
        for kind in PAIRS_STYLE:
            bins = zip(pairwise(found["edges"]), found[kind]["counts"], strict=True)
            n = found[kind]["pairs"]
            rows += [(result.name, result.seed, kind, *ends, count, n) for ends, count in bins]
    numbers = pd.DataFrame(rows, columns=["experiment", "seed", "pairs", "from", "to", "count", "of"])
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.subplots()
    for kind, (label, color, line, fill) in PAIRS_STYLE.items():
        bins = numbers[numbers["pairs"] == kind].groupby(["from", "to"], as_index=False)[["count", "of"]].sum()
        if bins["of"].any():
            edges = [*bins["from"], bins["to"].iloc[-1]]
            style = {"color": color, "linestyle": line, "linewidth": 1.4}
            axes.stairs(bins["count"] / bins["of"], edges, label=label, **style)
            axes.stairs(bins["count"] / bins["of"], edges, fill=True, color=color, alpha=fill)
    if axes.patches:
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # the legend stands above the columns
        axes.legend(loc="upper left")
    else:
        axes.text(0.5, 0.5, "no embedding was trained", ha="center", va="center", transform=axes.transAxes)
    axes.set(title="Puzzle embeddings", xlabel="cosine of two embeddings", ylabel="share of pairs", xlim=(-1.02, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    return figure, numbers


PAIRS_STYLE = {
    "within": ("variants of one task", "C0", "-", 0.3),
    "across": ("variants of different tasks", "C1", "--", 0.15),
}


def gallery(results: list[Result]) -> Picture:
    """Test puzzles of the first seed: half of them solved, half not, where there are any of both."""
    result = results[0]
    table = read_predictions(result.folder)
    exact, dataset = table["exact"][:, -1], result.experiment.dataset
    draw, where = puzzles.module(dataset.puzzle).draw, places(dataset)
    chosen = _right_and_wrong(exact, GALLERY)
    numbers = pd.DataFrame(
        {
            "experiment": result.name,
            "seed": result.seed,
            "row": table["rows"][chosen],
            "exact": exact[chosen],
            "valid": table["valid"][chosen],
            "q_halt_probability": halting_probability(table["q_halt"][chosen, -1]),
        }
    )
    tiles = []
    for i, row in zip(chosen, numbers.itertuples(), strict=True):
        inputs, prediction, label, asked = (table[name][i] for name in ("inputs", "predictions", "labels", "asked"))
        wrong = where[asked & (prediction != label)]
        right, valid = "solved" if row.exact else "not solved", "valid" if row.valid else "not valid"
        boards = {
            "input": draw(dataset, inputs, None, None),
            "prediction": framed(draw(dataset, inputs, prediction, label), wrong),
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
    "time-to-accuracy": time_to_accuracy,
    "accuracy-by-step": accuracy_by_step,
    "steps-used": steps_used,
    "calibration": calibration,
    "accuracy-by-difficulty": accuracy_by_difficulty,
    SCALING: scaling_curves,
    "pass-at-k": pass_at_k,
    "embedding-cosine": embedding_cosine,
    "gallery": gallery,
}

CAPTIONS = {
    "learning-curve": "Training loss, and exact accuracy of the training rows that halted and of the evaluations "
    "meanwhile.",
    "time-to-accuracy": "Exact accuracy of the evaluations while training, against the time that the training had "
    "taken by then.",
    "accuracy-by-step": "Share of test puzzles solved after each supervision step, and share of those for which "
    "q_halt says rightly whether they are; bands are 95 % intervals of each seed.",
    "steps-used": "Supervision steps that test puzzles use if each stops once q_halt says so, and share solved against "
    "mean steps: with the same number for all, and if each stops once its probability of being right, by q_halt, is "
    "above a threshold, from 0.5 to 0.999. Bars at the points are 95 % intervals of each seed.",
    "calibration": "Share of test puzzles solved against the model's own probability that they are, by q_halt "
    "after the last step, in ten bins; below, the share of puzzles in each. The expected error is the mean distance of "
    "the two, over puzzles. Bars at the points are 95 % intervals of each seed.",
    "accuracy-by-difficulty": "Share of test puzzles solved by how hard they are, each value apart where there are few "
    "and about as many puzzles to a point otherwise. Bars at the points are 95 % intervals of each seed.",
    SCALING: "Share of test puzzles solved against the supervision steps that a puzzle takes in all, for further steps "
    "and for several rollouts to choose from: the one with the highest q_halt, the most frequent answer, the first "
    "that obeys the rules; dotted, what a perfect choice would reach. The dotted level is the plain run, and the broad "
    "grey line the best mean over seeds that so many steps or fewer reach, without the perfect choice. The scale "
    "begins below the lowest interval, not at 0. Bands and the bar are 95 % intervals of each seed.",
    "pass-at-k": "Share of ARC's test inputs that one of the k answers with the most votes solves, as the mean over "
    "tasks: left against k, all variants voting; right against the number of variants that vote, the bare task first, "
    "counted from the same predictions. Bars at the points are 95 % intervals of each seed for another draw of tasks.",
    "embedding-cosine": "Cosine of the learned embeddings of two variants, of the same test task and of different "
    "ones, for random pairs.",
    "gallery": "Test puzzles: input, prediction, truth. What is blue is right, what is orange or framed is wrong, and "
    "small pink marks stand where something is missing; q_halt is the model's own probability that it is done.",
}


def _seeds_and_mean(
    axes: Axes, rows: pd.DataFrame, x: str, y: str, label: str, by: str | None = None, **style: str | None
) -> None:
    """Plot y over x: a thin line for each seed, and a thick one through the means of the points that all seeds have.

    Points are the same where they have the same `by`; None: the same x.
    """
    rows = rows.dropna(subset=[x, y])
    seeds = rows["seed"].nunique()
    if seeds > 1:
        thin = {**style, "marker": None, "linewidth": 0.7, "alpha": 0.55}
        for _, own in rows.groupby("seed"):
            axes.plot(own[x], own[y], **thin)
    points = rows.groupby(by or x)
    mean = points[[x, y]].mean()[points.size() == seeds]
    axes.plot(mean[x], mean[y], label=label, **style)


def _range_of_seeds(axes: Axes, rows: pd.DataFrame, x: str, y: str, color: str) -> None:
    """A band from the lowest to the highest seed, where there are BAND seeds or more; at the x that all have."""
    seeds = rows["seed"].nunique()
    if seeds < BAND:
        return
    points = rows.groupby(x)[y]
    ends = points.agg(["min", "max"])[points.size() == seeds]
    axes.fill_between(ends.index, ends["min"], ends["max"], color=color, alpha=0.18, linewidth=0)


BAND = 3  # seeds that make a band: two are their own lines


def _intervals(axes: Axes, rows: pd.DataFrame, x: str, color: str) -> None:
    """Bars from low to high, fainter the more seeds lie over each other."""
    axes.vlines(rows[x], rows["low"], rows["high"], color=color, alpha=0.45 / rows["seed"].nunique(), linewidth=3)


def _shares(axes: Axes) -> None:
    """The whole range from 0 to 100 %, so that no difference looks larger than it is."""
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
