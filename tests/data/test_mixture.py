"""Several datasets are drawn from as one, and keep their puzzles apart."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.data.datasets import write_structure
from trm.data.layout import write_split
from trm.data.mixture import Mixture, mixed, read_splits
from trm.data.sampler import plan_interval, total_steps
from trm.files import BadInput

STRUCTURES = ([[2], [1, 3], [1]], [[1]] * 4, [[4, 2], [3, 3]])
IDENTIFIERS = ([1, 2, 0, 3], [0, 0, 0, 0], [1, 2, 2, 4])  # 0: blank


@pytest.fixture
def folders(tmp_path):
    """Three datasets, of 4, 1 and 5 identifiers, the tokens of each by themselves."""
    for place, (structure, identifiers) in enumerate(zip(STRUCTURES, IDENTIFIERS, strict=True)):
        split = write_structure(tmp_path / "draft" / str(place), structure)
        metadata = split.metadata.model_copy(update={"num_puzzle_identifiers": max(identifiers) + 1})
        inputs = np.where(np.arange(4) == 3, place + 1, split.inputs)  # the last token says whose it is
        split = replace(split, metadata=metadata, inputs=inputs, puzzle_identifiers=np.array(identifiers))
        write_split(split, tmp_path / str(place) / "train", online=None)
    return [tmp_path / str(place) for place in range(3)]


def test_each_row_is_one_of_a_dataset_with_its_identifier_behind_those_before(folders):
    parts = read_splits(folders, "train")
    mixture = mixed(parts)
    assert [part.metadata.num_puzzle_identifiers for part in parts] == [8, 8, 8]
    assert [part.puzzle_identifiers.tolist() for part in parts] == [[1, 2, 0, 3], [0, 0, 0, 0], [4, 5, 5, 7]]
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(mixture)), 2))
    taken = mixture.take(rows)
    expected = [np.concatenate(arrays) for arrays in zip(*(p.take(np.arange(len(p))) for p in parts), strict=True)]
    for array, whole in zip(taken, expected, strict=True):
        np.testing.assert_array_equal(array, whole[rows])


def test_a_mixture_counts_as_one_dataset(folders):
    mixture = mixed(read_splits(folders, "train"))
    metadata = mixture.metadata
    assert (metadata.total_groups, metadata.total_puzzles, len(mixture)) == (9, 12, 7 + 4 + 12)
    assert metadata.mean_puzzle_examples == pytest.approx(len(mixture) / 12)
    assert total_steps(mixture, 4, 12) == int(12 * 9 * 23 / 12 / 4)
    assert len(mixture.puzzle_indices) == 13
    assert len(mixture.group_indices) == 10


def test_an_epoch_mixes_the_groups_of_all(folders):
    mixture = mixed(read_splits(folders, "train"))
    plan = plan_interval(mixture, 2, 400, 0, 0)
    groups = np.searchsorted(mixture.group_indices, plan.puzzles, side="right") - 1
    epochs = groups.reshape(400, 9)
    assert (np.sort(epochs, axis=1) == np.arange(9)).all()
    owner = np.repeat([0, 1, 2], [3, 4, 2])[epochs]
    for place in range(9):  # every dataset is as likely at the beginning of an epoch as at its end
        np.testing.assert_allclose(np.bincount(owner[:, place]) / 400, np.array([3, 4, 2]) / 9, atol=0.12)


def test_one_dataset_is_itself(folders):
    split = mixed(read_splits(folders[:1], "train"))
    assert not isinstance(split, Mixture)
    assert split.metadata.num_puzzle_identifiers == 4


@pytest.mark.parametrize(("key", "value"), [("vocab_size", 12), ("ignore_label_id", None)])
def test_datasets_that_cannot_share_a_network_are_refused(folders, key, value):
    path = folders[1] / "train" / "dataset.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, key: value}))
    message = f"{path}: {key}: {value}, expected {facts[key]} as in {folders[0]}/train/dataset.json to train on both"
    with pytest.raises(BadInput) as error:
        read_splits(folders, "train")
    assert str(error.value) == message


def test_boards_of_another_size_are_refused(folders, tmp_path):
    write_structure(tmp_path / "longer" / "train", [[1]], seq_len=5)
    with pytest.raises(BadInput, match=r"longer/train/dataset\.json: seq_len: 5, expected 4 as in"):
        read_splits([folders[0], tmp_path / "longer"], "train")
