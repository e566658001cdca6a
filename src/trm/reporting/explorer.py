"""The explorer: one HTML page on which one steps through a network's way to its answers.

The page is a template with a small script and, packed, what it shows:

    shapes      the SVG elements of all boards, each once; boards are lists of numbers of them
    places      [seq_len] column and row of each cell on a board, null for a cell that has none
    puzzles     what `_puzzle` returns, by row
"""

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trm import draws, puzzles
from trm.config import Dataset
from trm.evaluation.inference import STREAM
from trm.evaluation.metrics import halting_probability
from trm.evaluation.trace import Trace, trace
from trm.files import BadInput, write_text
from trm.puzzles.drawing import Drawing, Rect
from trm.reporting import svg
from trm.reporting.cells import places
from trm.reporting.report import template
from trm.reporting.results import Result, read_predictions, read_results
from trm.runs import load_model, read_run, read_test

SURE = 63  # the confidence of one in steps that a page keeps
KINDS = ("solved", "solved late", "lost again", "never solved")


@dataclass(frozen=True)
class Boards:
    """n test puzzles."""

    rows: np.ndarray  # [n] numbers of the examples
    inputs: np.ndarray  # [n, seq_len] tokens
    labels: np.ndarray  # [n, seq_len] tokens
    asked: np.ndarray  # [n, seq_len] bool, the tokens that have a label


def explore(folder: Path, data: Path, out: Path, count: int, device: torch.device) -> dict[str, int]:
    """Write the page of the evaluated run in `folder` with `count` test puzzles of `data`; how many of each kind."""
    [result] = read_results([folder])
    table = read_predictions(folder, ("rows", "inputs", "labels", "asked", "exact"))
    run = read_run(folder)
    dataset, _, split = read_test(run, data)
    chosen = choose(table["exact"], count)
    boards = Boards(*(table[name][chosen] for name in ("rows", "inputs", "labels", "asked")))
    inputs, identifiers = boards.inputs, np.zeros(0)
    if boards.rows.max() < len(split):
        inputs, _, identifiers = split.take(boards.rows)
    if not len(identifiers) or not np.array_equal(inputs, boards.inputs):
        raise BadInput(f"{data}: other test puzzles than those of {folder}/predictions.npz, expected the same dataset")
    model, steps = load_model(run, split.metadata, device), table["exact"].shape[1]
    said = trace(model, boards.inputs, identifiers, draws.hashed(STREAM, boards.rows), steps, device)
    write_text(out, page(result, dataset, boards, said, len(table["rows"])))
    return dict(zip(KINDS, np.bincount(kinds(table["exact"][chosen]), minlength=len(KINDS)).tolist(), strict=True))


def kinds(exact: np.ndarray) -> np.ndarray:
    """Which of KINDS puzzles are [n], by whether the answer is right after each step [n, S].

    Solved late: not within the first half of the steps. Lost again: right at some step, but not in the end.
    """
    steps = exact.shape[1]
    late = exact.argmax(1) + 1 > steps / 2
    return np.where(exact[:, -1], np.where(late, 1, 0), np.where(exact.any(1), 2, 3))


def choose(exact: np.ndarray, count: int) -> np.ndarray:
    """Places of `count` puzzles evenly spaced over the test set, of each kind a tenth at least where it has so many."""
    kind, least = kinds(exact), max(1, count // 10)
    chosen = np.zeros(len(exact), bool)
    for number in range(len(KINDS)):
        chosen[_spread(np.flatnonzero(kind == number), least)] = True
    others = np.flatnonzero(~chosen)
    chosen[_spread(others, count - chosen.sum())] = True
    return np.flatnonzero(chosen)


def _spread(places: np.ndarray, count: int) -> np.ndarray:
    """`count` of some places, evenly spaced, or all where they are fewer."""
    count = min(count, len(places))
    return places[np.arange(count) * len(places) // max(count, 1)]


def page(result: Result, dataset: Dataset, boards: Boards, said: Trace, of: int) -> str:
    """The page of test puzzles out of `of`, and what the network of a run says to them."""
    numbers: dict[str, int] = {}
    content = [
        _puzzle(dataset, numbers, *(array[i] for array in (*vars(boards).values(), *vars(said).values())))
        for i in range(len(boards.rows))
    ]
    packed = {
        "shapes": list(numbers),
        "places": [None if np.isnan(place).any() else place.tolist() for place in places(dataset)],
        "puzzles": content,
    }
    text = json.dumps(packed, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return template("explorer.html").render(
        result=result,
        count=len(boards.rows),
        of=of,
        steps=said.q_halt.shape[1],
        cell=svg.CELL,
        kinds=KINDS,
        sure=SURE,
        valid=getattr(puzzles.module(dataset.puzzle), "VALID", "valid"),
        board_style=svg.style(),
        data=base64.b64encode(zlib.compress(text.encode(), 9)).decode(),
    )


def _puzzle(
    dataset: Dataset,
    numbers: dict[str, int],
    row: int,
    inputs: np.ndarray,
    label: np.ndarray,
    asked: np.ndarray,
    answers: np.ndarray,
    confidence: np.ndarray,
    q_halt: np.ndarray,
) -> dict[str, Any]:
    """What the page shows of one puzzle; `answers` and `confidence` [S, seq_len], `q_halt` [S].

    Shapes go into `numbers` where they are new. Equal answers share a picture, the number of which each step has.
    """
    puzzle = puzzles.module(dataset.puzzle)
    answers = answers.astype(inputs.dtype)
    wrong = asked & (answers != label)  # [S, seq_len]
    blank = puzzle.blanks(dataset, inputs[None])[0]
    blanks, overruled = np.flatnonzero(asked & blank), np.flatnonzero(wrong.any(0) & ~blank)
    cells = np.concatenate((blanks, overruled))
    exact = ~wrong.any(1)
    _, first, picture = np.unique(answers, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # of time: each picture then packs as what it changes of the one before
    question = puzzle.draw(dataset, inputs, None, None)
    truth = puzzle.draw(dataset, inputs, label, None)
    pictures = [puzzle.draw(dataset, inputs, answer, label) for answer in answers[first[order]]]

    def shapes(drawing: Drawing, ground: bool) -> list[int]:
        """Cells are coloured above the shades that a board has as its ground, and below all else."""
        texts = (svg.to_svg(shape) for shape in drawing.shapes if _is_ground(shape) == ground)
        return [numbers.setdefault(text, len(numbers)) for text in texts]

    return {
        "row": int(row),
        "kind": int(kinds(exact[None])[0]),
        "size": _size(question, truth, *pictures),
        "size_of_truth": _size(question, truth),  # a wrong answer may need far more paper
        "question": shapes(question, True) + shapes(question, False),
        "truth": shapes(truth, True) + shapes(truth, False),
        "ground": shapes(pictures[0], True),
        "pictures": [shapes(drawing, False) for drawing in pictures],
        "picture": np.argsort(order)[picture.ravel()].tolist(),
        "exact": exact.tolist(),
        "valid": puzzle.is_valid(dataset, np.repeat(inputs[None], len(answers), axis=0), answers).tolist(),
        "halting": np.round(halting_probability(q_halt), 3).tolist(),
        "asked": int(asked.sum()),
        "right": (asked.sum() - wrong.sum(1)).tolist(),
        "cells": cells.tolist(),  # those to fill, then given ones that the network answers wrongly at some step
        # a letter a cell, which packs to half of what numbers do
        "confidence": [_letters(SURE * step) for step in confidence[:, blanks]],  # [S] of the cells to fill
        "wrong": [_letters(step) for step in wrong[:, cells]],  # [S] of the cells, 1 where wrong
    }


def _size(*drawings: Drawing) -> list[float]:
    """Width and height of the paper that holds any of some drawings."""
    return [max(drawing.width for drawing in drawings), max(drawing.height for drawing in drawings)]


def _letters(numbers: np.ndarray) -> str:
    """Numbers from 0 on, rounded, as a letter each: 0, 1, 2, ... in the order of ASCII."""
    return (np.rint(numbers) + ord("0")).astype(np.uint8).tobytes().decode("ascii")


def _is_ground(shape: Any) -> bool:
    return isinstance(shape, Rect) and shape.fill == "shade"
