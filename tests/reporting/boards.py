"""Small boards of every puzzle, and what a network might say to them."""

import chess as rules
import numpy as np

from tests.puzzles.generated import small_datasets
from trm import puzzles
from trm.config import Dataset
from trm.evaluation.trace import Trace
from trm.puzzles import arc, arc_boards, arithmetic, chess, hanoi, maze, nqueens, skyscrapers, sudoku
from trm.reporting.explorer import Boards

FEW = {"subsample_size": 8, "test_size": 5}
DATASETS: dict[str, Dataset] = {
    "sudoku": sudoku.Dataset(puzzle="sudoku", size=4, blanks=(6, 9), **FEW),
    "maze": maze.Dataset(puzzle="maze", size=7, walls=(0.3, 0.5), min_path=8, **FEW),
    "nqueens": nqueens.Dataset(puzzle="nqueens", size=7, variant="many", num_aug=0),
    "skyscrapers": skyscrapers.Dataset(puzzle="skyscrapers", size=4, given=(0.1, 0.4), **FEW),
    "hanoi-action": hanoi.Dataset(puzzle="hanoi", encoding="action", train_disks=(2, 3), test_disks=(4, 5)),
    "hanoi-state": hanoi.Dataset(puzzle="hanoi", encoding="state", train_disks=(2, 3), test_disks=(4, 5)),
    "arithmetic": arithmetic.Dataset(puzzle="arithmetic", subsample_size=20, test_size=5),
    "chess": chess.Dataset(puzzle="chess", file="rows.csv", subsample_size=None),
    "arc": arc.Dataset(puzzle="arc", num_aug=0, augmentation="stored", subsets=["few"], test_sets=["few"]),
}
KNOWN = {dataset.puzzle for dataset in DATASETS.values()}
DATASETS |= {name: dataset for name, dataset in small_datasets().items() if name not in KNOWN}  # as in a smoke run
GAME = ["e2e4", "d7d5", "e4d5", "d8d5", "b1c3"]


def boards_of(name: str) -> tuple[Dataset, Boards]:
    """The first five test examples of a puzzle; of chess a game, of ARC grids of our own."""
    dataset = DATASETS[name]
    if name == "chess":
        inputs, labels = _game(dataset)
    elif name == "arc":
        grids = [np.arange(4 * width).reshape(4, width) % 10 for width in range(3, 8)]
        inputs, labels = arc_boards.boards([(grid, grid.T) for grid in grids]).swapaxes(0, 1)
    else:
        examples = puzzles.module(dataset.puzzle).examples(dataset, None)["test"]
        inputs, labels = examples.inputs[:5], examples.labels[:5]
    return dataset, Boards(np.array([3, 5, 8, 1000, 1001]), inputs, labels, labels > 0)


def _game(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    board, rows = rules.Board(), []
    for move in GAME:
        inputs = chess.read(dataset, board.fen())[0]
        label = np.zeros_like(inputs)
        label[0] = chess.to_token(board.parse_uci(move))
        rows.append((inputs, label))
        board.push_uci(move)
    inputs, labels = map(np.stack, zip(*rows, strict=True))
    return inputs, labels


def said(dataset: Dataset, boards: Boards, exact: np.ndarray) -> Trace:
    """Answers that are right where `exact` [n, S] says so; elsewhere the first two cells to fill are not.

    The network is sure of the right cells to 90 %, of the wrong ones to 25 %, and of being done to 88 or 12 %.
    """
    blanks = puzzles.module(dataset.puzzle).blanks(dataset, boards.inputs) & boards.asked
    wrong = blanks & (blanks.cumsum(1) <= 2)
    answers = np.where(wrong[:, None] & ~exact[..., None], _other(boards.labels)[:, None], boards.labels[:, None])
    sure = np.where(answers == boards.labels[:, None], 0.9, 0.25).astype(np.float32)
    return Trace(answers, sure, np.where(exact, 2, -2).astype(np.float32))


def _other(labels: np.ndarray) -> np.ndarray:
    """Another token of the vocabulary for each."""
    return np.where(labels > 2, labels - 1, labels + 1)
