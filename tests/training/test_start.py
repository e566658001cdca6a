"""A training that starts from the weights of a finished run."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import TINY
from tests.training.runs_of_processes import Training, assert_same_bits, results
from tests.training.test_resume import wait_for_progress
from trm.config import Experiment, check
from trm.files import BadInput
from trm.models import build_model
from trm.tensors import read_tensors, write_tensors
from trm.training.loop import train
from trm.training.start import start_from


def experiment(**training: object) -> Experiment:
    return check({**TINY, "training": {**TINY["training"], **training}}, "tiny")


def network(rows: int, seed: int = 1, **model: object) -> torch.nn.Module:
    """A network for boards of 16 cells with `rows` puzzle identifiers."""
    return build_model(check({**TINY, "model": {**TINY["model"], **model}}, "tiny").model, 6, 16, rows, seed)


@pytest.fixture
def run(tmp_path):
    """What is read of a finished run, with a puzzle embedding of 50 random rows."""
    weights = network(50).state_dict()
    weights["puzzle_emb.weights"] = 3 + torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    write_tensors(tmp_path / "model.safetensors", weights, {})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path


def loaded(run):
    return read_tensors(run / "model.safetensors")[0]


def started(run, rows, how=None, seed=0):
    model = network(rows, seed=2)
    start_from(run, model, how, seed)
    return model.state_dict()


@pytest.mark.parametrize(("rows", "how"), [(50, None), (50, "keep")])
def test_where_all_fits_all_is_taken(run, rows, how):
    found, expected = started(run, rows, how), loaded(run)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("rows", "how"), [(7, None), (80, None), (7, "mean"), (50, "mean")])
def test_every_row_becomes_the_mean_of_the_loaded_ones(run, rows, how):
    found, expected = started(run, rows, how), loaded(run)
    table = found.pop("puzzle_emb.weights")
    mean = expected.pop("puzzle_emb.weights").double().mean(0)
    assert table.shape == (rows, 16)
    torch.testing.assert_close(table.double(), mean.expand(rows, 16))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_normal_rows_have_the_mean_and_deviation_of_the_loaded_ones(run):
    table = started(run, 20_000, "normal")["puzzle_emb.weights"].double()
    old = loaded(run)["puzzle_emb.weights"].double()
    torch.testing.assert_close(table.mean(0), old.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(table.std(0), old.std(0, correction=0), atol=0.05, rtol=0)
    assert len(table.unique(dim=0)) == 20_000


def test_normal_rows_depend_on_the_seed_alone(run):
    tables = [started(run, 9, "normal", seed)["puzzle_emb.weights"] for seed in (0, 0, 1)]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        ({"hidden_size": 32}, None, r"H_init has shape \(16,\), expected \(32,\)"),
        ({"L_layers": 2}, None, r"L_level\.layers\.1\.\S+ has shape None, expected \(\d+, \d+\)"),
        ({"puzzle_emb_ndim": 8}, None, r"puzzle_emb\.weights has shape \(50, 16\), expected \(7, 8\)"),
        ({}, "keep", r"puzzle_emb\.weights has shape \(50, 16\), expected \(7, 16\)"),
        ({"pos_encodings": "rope"}, None, r"config\.yaml: model\.pos_encodings is none, expected rope"),
        ({"num_heads": 4}, None, r"config\.yaml: model\.num_heads is 8, expected 4"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(run, model, how, message):
    changed = {**TINY["model"], "puzzle_emb_len": 1, **model}
    with pytest.raises(BadInput, match=message) as error:
        start_from(run, network(7, **changed), how, 0)
    assert "training.init" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_weights_is_refused_before_anything_is_written(tiny_data, tmp_path):
    message = r"nowhere/model\.safetensors: no such file, expected the weights of a finished run \(training\.init\)"
    with pytest.raises(BadInput, match=message):
        train(experiment(init="nowhere"), tiny_data, tmp_path / "run", None, 0, None, "cpu")
    assert list(tmp_path.iterdir()) == []


def test_how_to_fill_an_embedding_needs_a_run_to_fill_it_from():
    with pytest.raises(BadInput, match="init_puzzle_emb mean needs init"):
        experiment(init_puzzle_emb="mean")


def test_the_average_starts_from_the_loaded_weights(tiny_data, tiny_run, tmp_path):
    """At a rate of 0 nothing moves, so that what is published is what was loaded."""
    still = experiment(init=str(tiny_run), lr=0.0, puzzle_emb_lr=0.0)
    assert train(still, tiny_data, tmp_path / "run", None, 0, None, "cpu") == 0
    ours, theirs = (read_tensors(folder / "model.safetensors")[0] for folder in (tmp_path / "run", tiny_run))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=0)
    facts = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert facts["init"]["run"] == str(tiny_run)
    assert len(facts["init"]["weights_sha256"]) == 64


def test_a_run_belongs_to_the_weights_it_started_from_wherever_they_lie(tiny_data, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, tmp_path / "here")
    shutil.copytree(tiny_run, tmp_path / "there")
    weights, state = read_tensors(tiny_run / "model.safetensors")
    shutil.copytree(tiny_run, tmp_path / "changed")
    write_tensors(
        tmp_path / "changed/model.safetensors", {**weights, "lm_head.weight": weights["lm_head.weight"] + 1}, state
    )
    for init in ("here", str(tmp_path / "there"), "changed"):
        assert train(experiment(init=init), tiny_data, tmp_path / "run", tmp_path / "c", 0, None, "cpu") == 0
    assert len(list((tmp_path / "c").iterdir())) == 2


def numbered(folder, target, puzzles):
    """A copy of a dataset whose puzzles have identifiers of their own: 1 to `puzzles`, again and again."""
    shutil.copytree(folder, target)
    for split in ("train", "validation", "test"):
        facts = json.loads((target / split / "dataset.json").read_text())
        (target / split / "dataset.json").write_text(json.dumps({**facts, "num_puzzle_identifiers": puzzles + 1}))
        path = target / split / "all__puzzle_identifiers.npy"
        np.save(path, (1 + np.arange(len(np.load(path))) % puzzles).astype(np.int32))
    return target


def test_kills_leave_no_trace_on_a_continued_training_on_two_datasets(data, undisturbed, tmp_path):
    two = [numbered(data, tmp_path / name, count) for name, count in (("a", 3), ("b", 5))]
    options = {
        **{"init": str(undisturbed.folder / "run"), "init_puzzle_emb": "normal", "max_steps": 60},
        **{"more_datasets": [{**yaml.safe_load((undisturbed.folder / "tiny.yaml").read_text())["dataset"], "seed": 1}]},
    }
    whole, killed = (Training(tmp_path / name, two, **options) for name in ("whole", "killed"))
    assert whole.run() == 0, whole.log
    for _ in range(3):
        killed.start()
        wait_for_progress(killed)
        killed.kill()
    assert killed.newest_step() < 60
    assert killed.run() == 0, killed.log
    assert_same_bits(killed, whole)
    state, weights, metrics = results(whole)
    assert weights["puzzle_emb.weights"].shape == (1 + 3 + 5, 16)
    worked_on = set(state["carry.puzzle_identifiers"].tolist())
    assert worked_on & {1, 2, 3}
    assert worked_on & {4, 5, 6, 7, 8}
    datasets = [line.get("dataset") for line in metrics if line.get("split") == "test"]
    assert len(set(datasets)) == 2
    assert None in datasets
