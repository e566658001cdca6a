"""The audit finds every symmetric twin of a held-out board in the training set, and files that were changed."""

import json
import shutil

import numpy as np
import pytest

from tests.data.datasets import write_boards
from trm.cli import main
from trm.config import check
from trm.data.audit import audit
from trm.data.build import build
from trm.data.layout import content_hash, read_split
from trm.files import BadInput, read_json
from trm.puzzles import sudoku


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


def rewrite(folder, split, inputs, labels):
    """Put these boards, each a group of its own, into a split; the provenance says so."""
    shutil.rmtree(folder / split)
    write_boards(folder / split, [[1]] * len(inputs), inputs, labels, sudoku.vocab_size(section()))
    facts = read_json(folder / "provenance.json")
    (folder / "provenance.json").write_text(json.dumps({**facts, "content_sha256": content_hash(folder)}))


def section():
    return sudoku.Dataset(puzzle="sudoku", size=4, blanks=(6, 11), subsample_size=60, test_size=20)


def boards(folder, split):
    whole = read_split(folder / split)
    return np.array(whole.inputs), np.array(whole.labels)


def test_a_dataset_of_ours_is_clean(data):
    result = audit(data)
    assert result["clean"] is True
    assert result["twins_in_train"]["test"]["groups"] == 20
    assert result["twins_in_train"]["test"]["inputs"] == 0
    assert result["splits"]["train"] == {
        "examples": 180,
        "puzzles": 180,
        "groups": 60,
        "base_examples": 60,
        "tokens": {"inputs": [1, 2, 3, 4, 5], "labels": [2, 3, 4, 5]},
        "twins_within": 0,
        "contradictions": 0,
        "several_answers": 0,
    }


@pytest.mark.parametrize("variant", [0, 1, 2, 3])
def test_a_symmetric_twin_of_a_test_board_in_train_is_found(data, variant):
    train, test = boards(data, "train"), boards(data, "test")
    chosen = np.array([3, 11, 17])
    symmetries = sudoku.variants(section(), chosen + 900, np.full(3, variant))
    twins = [symmetries.apply(part[chosen]) for part in test]
    rewrite(data, "train", *(np.concatenate(pair) for pair in zip(train, twins, strict=True)))
    result = audit(data)
    assert result["clean"] is False
    assert result["twins_in_train"]["test"]["inputs"] == 3
    assert result["twins_in_train"]["test"]["labels"] >= 3


def test_twins_of_the_validation_split_are_found_too(tmp_path):
    experiment = {"name": "a", "dataset": {**section().model_dump(exclude={"raw"}), "validation": 0.2}}
    build(check(experiment, "here").dataset, tmp_path / "data")
    assert audit(tmp_path / "data")["clean"] is True
    rewrite(tmp_path / "data", "train", *boards(tmp_path / "data", "validation"))
    result = audit(tmp_path / "data")
    assert result["clean"] is False
    assert result["twins_in_train"]["validation"]["inputs"] == 12


def test_twins_within_a_split_are_counted(data):
    inputs, labels = boards(data, "test")
    moves = sudoku.variants(section(), np.arange(5), np.ones(5, int))
    rewrite(
        data,
        "test",
        np.concatenate([inputs, moves.apply(inputs[:5]), inputs[:2]]),
        np.concatenate([labels, moves.apply(labels[:5]), labels[:2]]),
    )
    result = audit(data)
    assert result["splits"]["test"]["twins_within"] == 7
    assert result["clean"] is True


def test_labels_count_as_leaks_where_the_puzzle_says_so(tmp_path):
    """The published split of n queens keeps a rotation of practically every test solution in train."""
    section = {"puzzle": "nqueens", "size": 8, "split": "published"}
    build(check({"name": "a", "dataset": section}, "here").dataset, tmp_path / "leaking")
    result = audit(tmp_path / "leaking")
    assert result["twins_in_train"]["test"]["labels"] == result["twins_in_train"]["test"]["groups"] > 0
    assert (result["clean"], result["claims_clean"]) == (False, False)
    build(check({"name": "a", "dataset": {**section, "split": "orbit"}}, "here").dataset, tmp_path / "clean")
    result = audit(tmp_path / "clean")
    assert result["twins_in_train"]["test"]["labels"] == 0
    assert (result["clean"], result["claims_clean"]) == (True, True)


def test_one_input_with_two_labels_is_told(data):
    inputs, labels = boards(data, "test")
    rewrite(data, "test", np.concatenate([inputs, inputs[:3]]), np.concatenate([labels, labels[3:6]]))
    result = audit(data)["splits"]["test"]
    assert result["contradictions"] == 6
    assert result["twins_within"] == 3


def test_a_dataset_that_claims_to_be_clean_and_is_not_ends_with_a_failure(data, capsys, monkeypatch):
    rewrite(data, "train", *boards(data, "test"))
    out = data / "audit.json"
    monkeypatch.setattr("sys.argv", ["trm", "audit", str(data), "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "test problems stand in train" in capsys.readouterr().err
    assert read_json(out)["clean"] is False


@pytest.mark.parametrize("name", ["train/all__inputs.npy", "test/dataset.json", "identifiers.json"])
def test_files_other_than_those_built_are_refused(data, name):
    content = (data / name).read_bytes()
    (data / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BadInput, match=r"content .* expected .* it was built"):
        audit(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.pop("dataset"), "dataset"),
        (lambda facts: facts["dataset"].pop("puzzle"), "puzzle"),
        (lambda facts: facts["dataset"].update(puzzle="chess960"), "'chess960' is unknown"),
        (lambda facts: facts["dataset"].update(size="big"), "size"),
        (lambda facts: facts.update(dataset="sudoku"), "not as `trm build` wrote it"),
    ],
)
def test_a_damaged_provenance_is_refused(data, change, message):
    facts = read_json(data / "provenance.json")
    change(facts)
    (data / "provenance.json").write_text(json.dumps(facts))
    with pytest.raises(BadInput, match=message) as caught:
        audit(data)
    assert str(caught.value).startswith(f"{data}/provenance.json: ")
