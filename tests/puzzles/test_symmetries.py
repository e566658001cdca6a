"""What augmentation promises for every puzzle whose symmetries are exact, asked through the contract alone."""

import numpy as np
import pytest

from trm import puzzles
from trm.puzzles import Origin

SECTIONS = {
    "sudoku 4x4": {"puzzle": "sudoku", "size": 4, "blanks": (6, 11), "subsample_size": 30, "test_size": 1},
    "sudoku 6x6": {"puzzle": "sudoku", "size": 6, "blanks": (14, 24), "subsample_size": 30, "test_size": 1},
    "sudoku 9x9": {"puzzle": "sudoku", "size": 9, "blanks": (30, 52), "subsample_size": 30, "test_size": 1},
    "maze": {"puzzle": "maze", "size": 9, "walls": (0.25, 0.45), "subsample_size": 30, "test_size": 1},
    "nqueens unique": {"puzzle": "nqueens", "size": 8, "variant": "unique"},
    "nqueens many": {"puzzle": "nqueens", "size": 8, "variant": "many"},
    "skyscrapers": {"puzzle": "skyscrapers", "subsample_size": 30, "test_size": 1},
}


@pytest.fixture(scope="module", params=SECTIONS)
def section(request):
    return SECTIONS[request.param]


@pytest.fixture(scope="module")
def puzzle(section):
    return puzzles.module(section["puzzle"])


@pytest.fixture(scope="module")
def dataset(puzzle, section):
    return puzzle.Dataset(**section)


@pytest.fixture(scope="module")
def table(puzzle, dataset):
    return puzzle.examples(dataset, None)["train"].take(np.arange(30))


def origin(group: np.ndarray, variant: int | np.ndarray) -> Origin:
    n = len(group)
    return Origin(group, np.broadcast_to(variant, n), np.zeros(n, int), np.ones(n, int))


def test_a_variant_depends_on_its_origin_alone_not_on_its_neighbours(puzzle, dataset, table):
    variant = 1 + np.arange(30) % 7
    together = puzzle.augment(dataset, origin(table.group, variant), table.inputs, table.labels)
    order = np.random.default_rng(0).permutation(30)[:20]
    some = origin(table.group[order], variant[order])
    again = puzzle.augment(dataset, some, table.inputs[order], table.labels[order])
    for whole, part in zip(together, again, strict=True):
        assert (whole[order] == part).all()
        assert whole.dtype == table.inputs.dtype


@pytest.mark.parametrize("variant", range(1, 8))
def test_a_variant_keeps_right_answers_right_and_wrong_ones_wrong(puzzle, dataset, table, variant):
    def move(answers):
        return puzzle.augment(dataset, origin(table.group, variant), table.inputs, answers)

    def judge(inputs, answers):
        metrics = getattr(puzzle, "metrics", lambda *_: {})
        return {"valid": puzzle.is_valid(dataset, inputs, answers), **metrics(dataset, inputs, answers, answers)}

    inputs, labels = move(table.labels)
    assert (inputs != table.inputs).any()
    assert puzzle.is_valid(dataset, inputs, labels).all()
    assert (puzzle.several_answers(dataset, inputs) == puzzle.several_answers(dataset, table.inputs)).all()
    spoiled = table.labels.copy()
    for row, blank in zip(spoiled[::2], puzzle.blanks(dataset, table.inputs[::2]), strict=True):
        row[blank] = np.roll(row[blank], 1)
    before, after = judge(table.inputs, spoiled), judge(*move(spoiled))
    assert before["valid"][1::2].all()
    assert not before["valid"][::2].all()
    for name, figure in before.items():
        assert (after[name] == figure).all()
