"""Towers of Hanoi: the next move of the shortest way to bring all disks from one of three pegs to another.

A board has the peg (tokens 1 to 3) of each disk, the smallest first, and after them the target peg; the rest
is PAD, token 0. The label has the target peg at the same place and, before it, either the next state (encoding
`state`) or the move (encoding `action`): at position 0 the disk, tokens 4, 5, ... from the smallest, and at
position 1 the peg that it goes to. All else in a label is PAD: nothing is asked there.

A group is one game, a number of disks and a source and target peg, with the states of its shortest solution in
order. The test games have other numbers of disks than the training games. From any state the shortest way is
unique, so only its first move is a valid answer; the metrics tell merely legal moves apart. The symmetries are
the 6 orders of the pegs. Every game is there in all of them, so there is nothing to augment.
"""

from itertools import permutations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from trm import config
from trm.files import BadInput
from trm.puzzles import Examples, Source
from trm.puzzles.drawing import Drawing, Line, Rect, Shape, Text
from trm.puzzles.symmetry import Symmetries, smallest_image
from trm.puzzles.texts import characters

PAD = 0
DISK = 4  # token of the smallest disk
ORDERS = np.array(list(permutations((1, 2, 3))))  # [6, 3] pegs: source, target, the third one
SOURCES: dict[str, Source] = {}
LEAKS = ("inputs",)

Disks = Annotated[int, Field(ge=2, le=16)]


class Dataset(config.Dataset):
    """Games of some numbers of disks to train on, and of others to be tested on."""

    puzzle: Literal["hanoi"]
    num_aug: Literal[0] = Field(0, description="always 0: every order of the pegs is a game of its own")
    encoding: Literal["action", "state"] = Field("action", description="what is asked: the move, or the state after it")
    train_disks: tuple[Disks, Disks] = Field((3, 6), description="fewest and most disks of the training games")
    test_disks: tuple[Disks, Disks] = Field((7, 9), description="the same of the test games; no number in both")

    @property
    def most_disks(self) -> int:
        return max(self.train_disks[1], self.test_disks[1])

    @model_validator(mode="after")
    def _fits(self) -> "Dataset":
        for key in ("train_disks", "test_disks"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} {[low, high]}: expected the smaller number first")
        if self.validation:
            raise ValueError(f"validation {self.validation}: expected 0, every game's twins on other pegs are in train")
        (low, high), (test_low, test_high) = self.train_disks, self.test_disks
        if low <= test_high and test_low <= high:
            raise ValueError(
                f"test_disks {[test_low, test_high]}: expected no number of disks that train_disks {[low, high]} has"
            )
        return self


def vocab_size(dataset: Dataset) -> int:
    """PAD, the pegs and, where moves are asked for, the disks."""
    return DISK + dataset.most_disks if dataset.encoding == "action" else DISK


def seq_len(dataset: Dataset) -> int:
    """The multiple of 16 that holds the most disks and 16 more cells, as published."""
    return -(-(dataset.most_disks + 16) // 16) * 16


def raw_files(dataset: Dataset) -> list[str]:
    return []


def examples(dataset: Dataset, raw: Path) -> dict[str, Examples]:
    """Every state but the last of every game, with what comes next."""
    return {"train": _games(dataset, dataset.train_disks), "test": _games(dataset, dataset.test_disks)}


def _games(dataset: Dataset, numbers: tuple[int, int]) -> Examples:
    low, high = numbers
    disks = np.repeat(np.arange(low, high + 1), len(ORDERS))  # [games]
    source, target, _ = np.tile(ORDERS, (high + 1 - low, 1)).T
    moves = 2**disks - 1
    game = np.repeat(np.arange(len(disks)), moves)  # [n]
    move = np.arange(len(game)) - (np.cumsum(moves) - moves)[game]
    disks, source, target = disks[game], source[game], target[game]
    now, after = (_solution(dataset, disks, source, target, move + k) for k in (0, 1))
    if dataset.encoding == "action":
        answer = np.zeros_like(now)
        disk = (now != after).argmax(axis=1)
        answer[:, 0], answer[:, 1] = DISK + disk, after[np.arange(len(disk)), disk]
    else:
        answer = after
    return Examples(*(_boards(dataset, cells, disks, target) for cells in (now, answer)), game)


def _solution(
    dataset: Dataset, disks: np.ndarray, source: np.ndarray, target: np.ndarray, move: np.ndarray
) -> np.ndarray:
    """Pegs [n, most_disks] of all disks after `move` moves of the shortest solution, PAD for disks that are not there.

    Disk d moves at move 2^d, and then at every 2^(d+1)th. It always goes round the pegs the same way: the largest
    from source to target, and each smaller one against the direction of the next.
    """
    disk = np.arange(dataset.most_disks)
    moved = (move[:, None] + (1 << disk)) >> (disk + 1)  # times
    against = (disks[:, None] - 1 - disk) % 2
    step = (target - source)[:, None] * np.where(against, -1, 1)
    return np.where(disk < disks[:, None], (source[:, None] - 1 + moved * step) % 3 + 1, PAD)


def _boards(dataset: Dataset, cells: np.ndarray, disks: np.ndarray, target: np.ndarray) -> np.ndarray:
    boards = np.zeros((len(cells), seq_len(dataset)), np.uint8)
    boards[:, : dataset.most_disks] = cells
    boards[np.arange(len(cells)), disks] = target
    return boards


def _state(dataset: Dataset, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pegs [n, most_disks] of the disks (PAD for those not there), the number of disks [n], the target peg [n]."""
    inputs = inputs.astype(np.int64)
    disks = (inputs != PAD).sum(axis=1) - 1
    there = np.arange(dataset.most_disks) < disks[:, None]
    return np.where(there, inputs[:, : dataset.most_disks], PAD), disks, inputs[np.arange(len(inputs)), disks]


def _best(dataset: Dataset, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first move of the shortest solution, disk [n] and peg [n], and its length [n]; disk -1 where solved.

    From the largest disk down: one that is not where it should be makes all smaller ones gather on the third peg
    before it moves, and costs them and itself 2^d moves from there on.
    """
    pegs, _, goal = _state(dataset, inputs)
    disk, to, length = np.full(len(pegs), -1), np.zeros_like(goal), np.zeros_like(goal)
    for d in reversed(range(dataset.most_disks)):
        away = (pegs[:, d] != goal) & (pegs[:, d] != PAD)
        disk, to = np.where(away, d, disk), np.where(away, goal, to)
        length += away * (1 << d)
        goal = np.where(away, 6 - goal - pegs[:, d], goal)
    return disk, to, length


def _predicted(
    dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The predicted moves, disk [n] and peg [n], and whether each is legal: bool [n]. Any integers will do."""
    pegs, disks, _ = _state(dataset, inputs)
    predictions = predictions.astype(np.int64)
    rows, number = np.arange(len(pegs)), np.arange(dataset.most_disks)
    if dataset.encoding == "action":
        disk, to = predictions[:, 0] - DISK, predictions[:, 1]
    else:
        after = np.where(pegs == PAD, PAD, predictions[:, : dataset.most_disks])
        changed = after != pegs
        disk = np.where(changed.sum(axis=1) == 1, changed.argmax(axis=1), -1)
        to = after[rows, disk]
    there = (disk >= 0) & (disk < disks)
    start = pegs[rows, np.where(there, disk, 0)]
    beside = (pegs == start[:, None]) | (pegs == to[:, None])
    blocked = (beside & (number < disk[:, None])).any(axis=1)  # by a smaller disk, there or here
    return disk, to, there & (to >= 1) & (to <= 3) & (to != start) & ~blocked


def canonical(dataset: Dataset, boards: np.ndarray) -> np.ndarray:
    """The lexicographically smallest board that an order of the pegs makes of each: [n, seq_len]."""
    return smallest_image(peg_orders(dataset), boards)


def peg_orders(dataset: Dataset) -> Symmetries:
    """The 6 symmetries: each gives the pegs other names; number 0 is the identity."""
    tokens = np.tile(np.arange(vocab_size(dataset), dtype=np.uint8), (len(ORDERS), 1))
    tokens[:, 1:DISK] = ORDERS
    return Symmetries(np.tile(np.arange(seq_len(dataset)), (len(ORDERS), 1)), tokens)


def blanks(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The cells of the move or of the next state, but not the target peg's, which the input has too."""
    disks = (inputs != PAD).sum(axis=1, keepdims=True) - 1
    asked = np.full_like(disks, 2) if dataset.encoding == "action" else disks
    return np.arange(seq_len(dataset)) < asked


def is_valid(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Whether the move is the next of the shortest solution, and the target peg is kept: bool [n]."""
    _, disks, target = _state(dataset, inputs)
    kept = predictions[np.arange(len(predictions)), disks] == target
    return kept & metrics(dataset, inputs, predictions, None)["optimal"]


def metrics(
    dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray, labels: np.ndarray | None
) -> dict[str, np.ndarray]:
    """legal: one disk moves, the top one of its peg, onto no smaller one; optimal: on the shortest way as well."""
    disk, to, legal = _predicted(dataset, inputs, predictions)
    best_disk, best_to, _ = _best(dataset, inputs)
    return {"legal": legal, "optimal": legal & (disk == best_disk) & (to == best_to)}


def difficulty(dataset: Dataset, inputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The disks, and the moves that are still to be made at least."""
    return {"disks": _state(dataset, inputs)[1], "moves_left": shortest(dataset, inputs)}


def several_answers(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """Never: the shortest way from any state to all disks on one peg is unique."""
    return np.zeros(len(inputs), bool)


def read(dataset: Dataset, text: str) -> np.ndarray:
    """The state PEGS>TARGET, such as 1132>3: the peg (1 to 3) of each disk from the smallest, and where all have to go.

    Spaces may stand anywhere.
    """
    spelled = "".join(characters(text, "123>", "a peg 1 to 3, or > before the target peg"))
    pegs, arrow, target = spelled.partition(">")
    if not arrow or len(target) != 1 or ">" in target:
        raise BadInput(f"{spelled[:40]!r} is no state, expected PEGS>TARGET such as 1132>3, one peg for each disk")
    if not 2 <= len(pegs) <= dataset.most_disks:
        raise BadInput(f"{len(pegs)} disks, expected 2 to {dataset.most_disks}")
    if set(pegs) == {target}:
        raise BadInput(f"all disks are on peg {target} already, expected one elsewhere at least")
    cells = np.zeros((1, dataset.most_disks), np.uint8)
    cells[0, : len(pegs)] = [*map(int, pegs)]
    return _boards(dataset, cells, np.array([len(pegs)]), np.array([int(target)]))


# Playing a game to its end


def starts(dataset: Dataset) -> np.ndarray:
    """The first states of the test games: [games, seq_len]."""
    table = _games(dataset, dataset.test_disks)
    return table.inputs[np.unique(table.group, return_index=True)[1]]


def shortest(dataset: Dataset, inputs: np.ndarray) -> np.ndarray:
    """The moves of the shortest solution of each state: [n], 0 where it is solved."""
    return _best(dataset, inputs)[2]


def advance(dataset: Dataset, inputs: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states after the predicted moves [n, seq_len], and whether these are legal [n]; others change nothing."""
    disk, to, legal = _predicted(dataset, inputs, predictions)
    after = inputs.copy()
    after[legal, disk[legal]] = to[legal]
    return after, legal


# Drawing


Board = np.ndarray  # [seq_len] tokens


def places(dataset: Dataset) -> np.ndarray:
    """Cells are disks that move; none has a place of its own in the drawing."""
    return np.full((seq_len(dataset), 2), np.nan)


def draw(dataset: Dataset, inputs: Board, prediction: Board | None, label: Board | None) -> Drawing:
    """The towers, disks numbered from the smallest, and on top what moves: predicted, missed, or ? for no move."""
    pegs = inputs[inputs != PAD].tolist()
    disks, target = len(pegs) - 1, pegs.pop()
    width, floor = 2 * disks, disks + 2  # of a tower with a gap, in cells; disk d is 2d + 1 cells wide
    height = [0, 0, 0, 0]  # disks on pegs 1 to 3

    def middle(peg: int) -> float:
        return width * (peg - 1) + disks - 0.5

    def disk(number: int, peg: int, color: str) -> list[Shape]:
        height[peg] += 1
        top = floor - height[peg]
        bar = Rect(middle(peg) - number - 0.5, top, 2 * number + 1, 0.9, color)
        return [bar, Text(middle(peg), top + 0.45, str(number + 1), "paper")]

    shapes: list[Shape] = [Line(middle(peg), 1, middle(peg), floor, "grid") for peg in (1, 2, 3)]
    shapes.append(Line(0, floor, 3 * width - 1, floor, "frame", 0.1))
    shapes.append(Rect(middle(target) - disks + 0.5, floor, width - 1, 0.8, "goal"))
    shapes.append(Text(middle(target), floor + 0.4, "goal", "given"))
    for number in reversed(range(disks)):
        shapes += disk(number, pegs[number], "wall")
    if prediction is not None:
        moves = _drawn_moves(dataset, pegs, prediction)
        wanted = moves if label is None else _drawn_moves(dataset, pegs, label)
        for number, peg in moves:
            if 0 <= number < disks and 1 <= peg <= 3:
                shapes += disk(number, peg, "answer" if (number, peg) in wanted else "error")
            else:
                shapes.append(Text(middle(2), 0.5, "?", "error"))
        for move in wanted:
            if move not in moves:
                shapes += disk(*move, "missed")
    return Drawing(3 * width - 1, floor + 1, shapes)


def _drawn_moves(dataset: Dataset, pegs: list[int], answer: Board) -> list[tuple[int, int]]:
    """The disks that an answer moves, and where to; a state may move several or none."""
    tokens = answer.tolist()
    if dataset.encoding == "action":
        return [(tokens[0] - DISK, tokens[1])]
    return [(disk, after) for disk, (peg, after) in enumerate(zip(pegs, tokens, strict=False)) if peg != after]
