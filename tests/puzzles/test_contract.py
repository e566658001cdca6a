"""What trm/puzzles/__init__.py promises of every puzzle, asked of each that can be generated, new ones too."""

import numpy as np
import pytest

from tests.puzzles.generated import small_datasets
from trm import puzzles
from trm.data.audit import audit
from trm.data.build import build
from trm.data.layout import read_split
from trm.files import BadInput
from trm.puzzles import Origin
from trm.puzzles.drawing import PALETTE, Rect

DATASETS = small_datasets()
SPLITS = ("train", "test")


@pytest.fixture(scope="module", params=DATASETS)
def dataset(request):
    return DATASETS[request.param]


@pytest.fixture(scope="module")
def puzzle(dataset):
    return puzzles.module(dataset.puzzle)


@pytest.fixture(scope="module")
def tables(puzzle, dataset):
    return puzzle.examples(dataset, None)


def test_both_splits_hold_boards_in_groups_that_stand_in_order(puzzle, dataset, tables):
    assert tables.keys() == set(SPLITS)
    for table in tables.values():
        assert table.inputs.shape == table.labels.shape == (len(table.group), puzzle.seq_len(dataset))
        assert len(table) > 0
        for boards in (table.inputs, table.labels):
            assert 0 <= boards.min() <= boards.max() < puzzle.vocab_size(dataset)
        assert table.group[0] == 0
        assert set(np.diff(table.group)) <= {0, 1}


def test_the_label_is_a_valid_answer_and_nothing_is_none(puzzle, dataset, tables):
    table = tables["test"]
    blanks = puzzle.blanks(dataset, table.inputs)
    assert blanks.any(axis=1).all()
    assert puzzle.is_valid(dataset, table.inputs, table.labels).all()
    for token in (-1, 0, puzzle.vocab_size(dataset), 10**6):
        answers = np.where(blanks, token, table.labels.astype(np.int64))
        assert not puzzle.is_valid(dataset, table.inputs, answers).any()


def test_the_audit_finds_what_the_split_claims(dataset, tmp_path):
    build(dataset, tmp_path / "data")
    found = audit(tmp_path / "data")
    assert found["clean"] or not found["claims_clean"]
    assert all(part["contradictions"] == 0 for part in found["splits"].values())


def test_a_variant_is_a_twin_with_a_valid_label(puzzle, dataset, tables):
    if not hasattr(puzzle, "augment"):
        pytest.skip("it has no symmetries")
    table = tables["train"]
    n = len(table)
    origin = Origin(table.group, np.ones(n, int), np.zeros(n, int), np.ones(n, int))
    moved = puzzle.augment(dataset, origin, table.inputs, table.labels)
    assert puzzle.is_valid(dataset, *moved).all()
    for ours, theirs in zip(moved, (table.inputs, table.labels), strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours != theirs).any()
        assert (puzzle.canonical(dataset, ours) == puzzle.canonical(dataset, theirs)).all()


def test_online_and_stored_hold_the_same_examples(puzzle, dataset, tmp_path):
    if not hasattr(puzzle, "augment"):
        pytest.skip("it has no symmetries")
    taken = []
    for kind in ("stored", "online"):
        build(dataset.model_copy(update={"num_aug": 2, "augmentation": kind}), tmp_path / kind)
        split = read_split(tmp_path / kind / "train")
        taken.append(split.take(np.arange(len(split))))
    for stored, online in zip(*taken, strict=True):
        assert (stored == online).all()


def test_a_board_is_drawn_with_and_without_an_answer(puzzle, dataset, tables):
    inputs, label = tables["test"].inputs[0], tables["test"].labels[0]
    nothing = np.zeros_like(label)
    drawn = [
        puzzle.draw(dataset, inputs, prediction, truth).shapes
        for prediction, truth in ((None, None), (None, label), (label, label), (nothing, label), (nothing, None))
    ]
    assert all(shapes for shapes in drawn)
    assert drawn[2] != drawn[3]
    colors = {
        shape.fill if isinstance(shape, Rect) else getattr(shape, "color", None) for shapes in drawn for shape in shapes
    }
    assert colors - {None} <= set(PALETTE)


def test_a_text_that_is_no_puzzle_is_told_in_one_line(puzzle, dataset):
    for text in ("", "?!", "no puzzle at all"):
        with pytest.raises(BadInput) as caught:
            puzzle.read(dataset, text)
        assert str(caught.value).count("\n") == 0
