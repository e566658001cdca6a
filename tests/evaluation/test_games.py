"""Games played to their end by a perfect player, random ones, and ones that make mistakes."""

import numpy as np
import pytest

from trm.evaluation.games import PATIENCE, play
from trm.puzzles import hanoi

ENCODINGS = ["action", "state"]


def dataset(encoding: str) -> hanoi.Dataset:
    return hanoi.Dataset(puzzle="hanoi", encoding=encoding, train_disks=(5, 5), test_disks=(2, 4))


def predictions(ours: hanoi.Dataset, inputs: np.ndarray, disk: int, peg: int) -> np.ndarray:
    if ours.encoding == "state":
        after = inputs.copy()
        after[:, disk] = peg
        return after
    answers = np.zeros_like(inputs)
    answers[:, :2] = hanoi.DISK + disk, peg
    return answers


def choose(ours: hanoi.Dataset, inputs: np.ndarray, figure: str, generator: np.random.Generator) -> np.ndarray:
    """For each input a random move among those that `hanoi.metrics` calls so."""
    chosen, best = np.zeros_like(inputs), np.zeros(len(inputs))
    for disk in range(4):
        for peg in (1, 2, 3):
            move = predictions(ours, inputs, disk, peg)
            lot = hanoi.metrics(ours, inputs, move, move)[figure] * generator.random(len(inputs))
            chosen[lot > best] = move[lot > best]
            best = np.maximum(best, lot)
    return chosen


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_perfect_player_solves_every_game_in_the_fewest_moves(encoding):
    ours, generator = dataset(encoding), np.random.default_rng(0)
    asked = []

    def predict(inputs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        asked.extend(numbers)
        return choose(ours, inputs, "optimal", generator)

    games = play(hanoi, ours, predict)
    assert games.solved.all()
    assert games.legal.all()
    assert games.moves.tolist() == games.shortest.tolist() == [3] * 6 + [7] * 6 + [15] * 6
    assert np.bincount(asked).tolist() == games.moves.tolist()  # nothing is asked after a game's end


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_player_who_knows_the_labels_plays_the_games_of_the_test_split(encoding, tmp_path):
    ours = dataset(encoding)
    test = hanoi.examples(ours, tmp_path)["test"]
    known = {row.tobytes(): label for row, label in zip(test.inputs, test.labels, strict=True)}
    games = play(hanoi, ours, lambda inputs, _: np.stack([known[row.tobytes()] for row in inputs]))
    assert games.solved.all()
    assert (games.moves == np.bincount(test.group)).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_random_legal_players_solve_some_games_and_are_stopped_in_others(encoding):
    ours, generator = dataset(encoding), np.random.default_rng(0)
    played = [play(hanoi, ours, lambda inputs, _: choose(ours, inputs, "legal", generator)) for _ in range(5)]
    solved, moves, shortest = (np.concatenate([getattr(g, n) for g in played]) for n in ("solved", "moves", "shortest"))
    assert all(games.legal.all() for games in played)
    assert 0 < solved.sum() < len(solved)
    assert (moves[~solved] == PATIENCE * shortest[~solved]).all()
    assert (moves >= shortest).all()
    assert (moves <= PATIENCE * shortest).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_player_who_goes_to_and_fro_runs_out_of_patience(encoding):
    ours = dataset(encoding)
    games = play(hanoi, ours, lambda inputs, _: hanoi_shuttle(ours, inputs))
    assert not games.solved.any()
    assert games.legal.all()
    assert (games.moves == PATIENCE * games.shortest).all()


def hanoi_shuttle(ours: hanoi.Dataset, inputs: np.ndarray) -> np.ndarray:
    """The smallest disk goes round the pegs for ever."""
    answers = inputs.copy()
    peg = inputs[:, 0] % 3 + 1
    if ours.encoding == "state":
        answers[:, 0] = peg
    else:
        answers[:, 0], answers[:, 1] = hanoi.DISK, peg
    return answers


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_illegal_move_ends_its_game_and_no_other(encoding):
    ours, generator = dataset(encoding), np.random.default_rng(0)

    def predict(inputs: np.ndarray, _: np.ndarray) -> np.ndarray:
        """Perfect, but for games to peg 3, from their third move on."""
        chosen = choose(ours, inputs, "optimal", generator)
        target = inputs[np.arange(len(inputs)), (inputs > 0).sum(axis=1) - 1]
        begun = np.array([len(set(row[: np.count_nonzero(row) - 1].tolist())) == 3 for row in inputs])
        chosen[(target == 3) & begun] = 0
        return chosen

    games = play(hanoi, ours, predict)
    targets = np.array([row[np.count_nonzero(row) - 1] for row in hanoi.starts(ours)])
    disks = np.log2(games.shortest + 1)
    spoiled = (targets == 3) & (disks > 2)
    assert (games.solved == games.legal).all()
    assert (games.solved[~(targets == 3)]).all()
    assert not games.solved[spoiled].any()
    assert (games.moves[spoiled] == 2).all()  # legal ones, before the illegal one


def test_a_player_of_nonsense_makes_no_move():
    ours = dataset("action")
    games = play(hanoi, ours, lambda inputs, _: np.full_like(inputs, 255))
    assert not games.solved.any()
    assert not games.legal.any()
    assert (games.moves == 0).all()
