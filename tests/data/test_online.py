"""Online and stored datasets hold the same examples, in the same rows, whatever rows are asked for."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trm.bench.data import write_positions
from trm.config import check
from trm.data.build import build, materialize
from trm.data.layout import content_hash, read_split
from trm.data.sampler import plan_interval
from trm.files import BadInput, read_json

SECTIONS = {
    "sudoku": {"size": 4, "blanks": [6, 11], "subsample_size": 40, "test_size": 10, "num_aug": 6},
    "maze": {"size": 5, "walls": [0.2, 0.4], "min_path": 5, "subsample_size": 20, "test_size": 10, "num_aug": 7},
    "nqueens": {"size": 7, "masks": 2, "num_aug": 7},
    "skyscrapers": {"size": 4, "subsample_size": 20, "test_size": 5, "num_aug": 7},
    "chess": {"file": "positions.csv", "subsample_size": 40, "test_share": 0.3, "num_aug": 1},
    "arc": {"subsets": ["mine", "other"], "test_sets": ["mine"], "num_aug": 30},
}


def write_raw(folder):
    """Raw files for the puzzles that are not generated here."""
    rng = np.random.default_rng(0)

    def pair():
        height, width = rng.integers(1, 5, 2)
        grid = rng.integers(0, 10, (height, width))
        return {"input": grid.tolist(), "output": grid[::-1].tolist()}

    for subset in ("mine", "other"):
        (folder / subset).mkdir()
        for name in ("aa", "bb", "cc"):
            task = {"train": [pair() for _ in range(3)], "test": [pair() for _ in range(2)]}
            (folder / subset / f"{subset}-{name}.json").write_text(json.dumps(task))
    write_positions(folder / "positions.csv", rows=40, seed=1)


def section(puzzle, **keys):
    return check({"name": "a", "dataset": {"puzzle": puzzle, **SECTIONS[puzzle], **keys}}, "here").dataset


@pytest.fixture(scope="module", params=SECTIONS)
def both(request, tmp_path_factory):
    """One puzzle, stored and online."""
    folder, raw = tmp_path_factory.mktemp(request.param), tmp_path_factory.mktemp("raw")
    write_raw(raw)
    keys = {"raw": str(raw)} if request.param in ("arc", "chess") else {}
    for kind in ("stored", "online"):
        build(section(request.param, augmentation=kind, **keys), folder / kind)
    return folder


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_the_same_rows_hold_the_same_examples(both, data):
    name = data.draw(st.sampled_from(["train", "test"]))
    stored, online = (read_split(both / kind / name) for kind in ("stored", "online"))
    assert len(stored) == len(online)
    rows = np.array(data.draw(st.lists(st.integers(0, len(stored) - 1), min_size=1, max_size=50)))
    for ours, theirs in zip(online.take(rows), stored.take(rows), strict=True):
        assert (ours == theirs).all()


def test_training_draws_the_same_batches(both):
    plans = [plan_interval(read_split(both / kind / "train"), 16, 3, 7, 1) for kind in ("stored", "online")]
    assert len(plans[0]) == len(plans[1]) > 0
    for step in range(len(plans[0])):
        assert (plans[0].rows(step) == plans[1].rows(step)).all()


def test_an_online_dataset_keeps_base_examples_only(both):
    stored, online = (read_split(both / kind / "train") for kind in ("stored", "online"))
    assert len(stored.inputs) == len(stored)
    assert len(online.inputs) == len(online.base_rows()) < len(online)


def test_materialize_turns_one_into_the_other(both, tmp_path):
    directions = [("online", "stored"), ("stored", "online")]
    if both.name.startswith("arc"):  # stored, its training pairs are shifted, so their base is lost
        directions.pop()
    for kind, other in directions:
        facts = materialize(both / kind, tmp_path / other)
        assert content_hash(tmp_path / other) == content_hash(both / other) == facts["content_sha256"]
        assert facts["dataset"] == read_json(both / other / "provenance.json")["dataset"]


def test_a_stored_dataset_without_its_base_problems_cannot_become_online(both, tmp_path):
    data = shutil.copytree(both / "stored", tmp_path / "stored")
    variants = data / "train/all__variants.npy"
    np.save(variants, np.load(variants) + 1)
    with pytest.raises(BadInput, match="do not begin with their base problem"):
        materialize(data, tmp_path / "online")
    assert not (tmp_path / "online").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda facts: facts["online"].update(puzzle="chess960"), "online: not a dataset section"),
        (lambda facts: facts["online"].update(size="big"), "online: not a dataset section"),
        (lambda facts: facts.update(online=[]), "online: Input should be a valid dictionary"),
    ],
)
def test_a_damaged_section_is_refused(both, tmp_path, damage, message):
    train = shutil.copytree(both / "online/train", tmp_path / "train")
    facts = read_json(train / "dataset.json")
    damage(facts)
    (train / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(BadInput, match=message):
        read_split(train)


def test_base_examples_that_do_not_fit_the_indices_are_refused(both, tmp_path):
    train = shutil.copytree(both / "online/train", tmp_path / "train")
    for name in ("inputs", "labels"):
        path = train / f"all__{name}.npy"
        np.save(path, np.load(path)[:-1])
    with pytest.raises(BadInput, match=r"all__inputs.npy: \d+ base examples, expected \d+"):
        read_split(train)
