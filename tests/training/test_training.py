"""What a training does, beside stopping and going on."""

import itertools
import json

import numpy as np
import pytest
import torch
import yaml

from tests.training.runs_of_processes import EXPERIMENT, Training, assert_same_bits
from trm.config import check
from trm.data.build import build
from trm.data.sampler import plan_interval
from trm.models.hardware import cpu_computes_in
from trm.tensors import read_tensors
from trm.training.loop import RESUMABLE, NotFinite, train
from trm.training.stopping import Stopper


def lines(training):
    return [json.loads(line) for line in (training.folder / "run" / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_to_solve_small_sudokus(tmp_path):
    """4x4 boards never seen in training, by the published recursion in miniature."""
    tree = {
        "name": "learns",
        "dataset": {"puzzle": "sudoku", "size": 4, "blanks": [5, 8], "subsample_size": 400, "test_size": 60},
        "model": {
            **{"hidden_size": 48, "H_cycles": 2, "L_cycles": 2, "L_layers": 1, "mlp_t": True, "pos_encodings": "none"},
            **{"puzzle_emb_ndim": 0, "halt_max_steps": 4, "forward_dtype": "float32"},
        },
        "training": {
            **{"global_batch_size": 64, "epochs": 100, "eval_interval": 50, "max_steps": 220, "weight_decay": 0.1},
            **{"lr": 3e-3, "lr_warmup_steps": 20, "ema_rate": 0.95},
        },
    }
    experiment = check(tree, "learns")
    build(experiment.dataset, tmp_path / "data")
    assert train(experiment, tmp_path / "data", tmp_path / "run", None, 0, None, "cpu") == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["split"] == "test"
    assert last["exact_accuracy"] > 0.8
    assert last["q_halt_accuracy"] > 0.8


def test_the_run_says_where_it_comes_from(undisturbed):
    facts = json.loads((undisturbed.folder / "run" / "provenance.json").read_text())
    assert facts["steps"] == 300
    assert facts["weights"]["rule"] == "best_validation"
    assert facts["data"]["content_sha256"]
    assert facts["packages"]["torch"] == torch.__version__
    config = yaml.safe_load((undisturbed.folder / "run" / "config.yaml").read_text())
    assert config["training"]["max_steps"] == 300


def test_the_best_validation_names_the_final_weights(undisturbed):
    evaluations = [line for line in lines(undisturbed) if line.get("split") == "validation"]
    assert len(evaluations) > 3
    best = max(evaluations, key=lambda line: line["exact_accuracy"])  # the first of equals
    facts = json.loads((undisturbed.folder / "run" / "provenance.json").read_text())
    assert facts["weights"]["step"] == best["step"]


def test_the_last_average_is_final_as_published(data, tmp_path):
    training = Training(tmp_path, data, max_steps=20, final_weights="last")
    assert training.run() == 0, training.log
    state, _ = read_tensors(training.checkpoints[-1])
    weights, _ = read_tensors(tmp_path / "run" / "model.safetensors")
    averaged = [name.removeprefix("ema.") for name in state if name.startswith("ema.")]
    assert len(averaged) > 5
    for name, tensor in weights.items():
        assert torch.equal(tensor, state[f"ema.{name}" if name in averaged else f"model.{name}"]), name


def test_metrics_have_a_line_per_interval_and_per_evaluation(undisturbed):
    logged = [line["step"] for line in lines(undisturbed) if "lm_loss" in line]
    evaluated = sorted({line["step"] for line in lines(undisturbed) if "split" in line})
    assert set(range(10, 301, 10)) <= set(logged)
    assert logged == sorted(set(logged))
    # an interval of 20 epochs over 54 groups fills 67 batches of 16
    assert evaluated == [67, 134, 201, 268, 300]
    names = {line["split"] for line in lines(undisturbed) if "split" in line}
    assert names == {"validation", "test"}


def test_a_stop_amid_an_evaluation_leaves_no_line_twice(data, tmp_path, monkeypatch):
    """Stopped when it asks for the nth time: after a step, in the evaluation on the one split, on the other."""
    experiment = check({**EXPERIMENT, "training": {**EXPERIMENT["training"], "max_steps": 2}}, "tiny")

    def trained(name, stop_at):
        asked = itertools.count(1)
        monkeypatch.setattr(Stopper, "asked", lambda stopper: next(asked) == stop_at)
        status = train(experiment, data, tmp_path / name, None, 0, None, "cpu")
        found = (tmp_path / name / "metrics.jsonl").read_text().splitlines() if status == 0 else []
        return status, [{**json.loads(line), "seconds": None} for line in found]

    whole = trained("whole", None)
    stops = 0
    while trained(f"{stops}", stops + 1)[0] == RESUMABLE:
        assert trained(f"{stops}", None) == whole
        stops += 1
    assert stops == 1 + 1 + 2  # one step, 6 validation boards and 20 test boards, 16 at a time


def test_every_interval_is_planned_once(data, tmp_path, monkeypatch):
    planned = []

    def plan(split, batch_size, epochs, seed, interval, cap):
        planned.append(interval)
        return plan_interval(split, batch_size, epochs, seed, interval, cap)

    monkeypatch.setattr("trm.training.loop.plan_interval", plan)
    keys = {"epochs": 6, "eval_interval": 2, "max_steps": None}
    experiment = check({**EXPERIMENT, "training": {**EXPERIMENT["training"], **keys}}, "tiny")
    assert train(experiment, data, tmp_path / "run", None, 0, None, "cpu") == 0
    assert planned == [0, 1, 2]


def test_a_visit_takes_no_more_examples_of_a_puzzle_than_the_cap(tmp_path):
    """Groups of one puzzle with 4 examples: a cap of 1 makes an epoch a quarter as long."""
    base = {**EXPERIMENT, "dataset": {**EXPERIMENT["dataset"], "num_aug": 0, "validation": 0.0}}
    keys = {"epochs": 32, "eval_interval": 32, "global_batch_size": 8, "max_steps": None, "final_weights": "last"}
    base["training"] = {**base["training"], **keys}
    experiment = check(base, "tiny")
    build(experiment.dataset, tmp_path / "data")
    split, groups = tmp_path / "data" / "train", np.arange(16, dtype=np.int32)
    facts = json.loads((split / "dataset.json").read_text())
    facts |= {"total_groups": 15, "total_puzzles": 15, "mean_puzzle_examples": 4.0}
    (split / "dataset.json").write_text(json.dumps(facts))
    for name, array in (
        ("group_indices", groups),
        ("puzzle_indices", 4 * groups),
        ("puzzle_identifiers", 0 * groups[1:]),
    ):
        np.save(split / f"all__{name}.npy", array)
    (split / "all__variants.npy").unlink()
    steps = {}
    for cap in (None, 1):
        tree = {**base, "training": {**base["training"], "max_examples_per_puzzle": cap}}
        assert train(check(tree, "tiny"), tmp_path / "data", tmp_path / f"{cap}", None, 0, None, "cpu") == 0
        steps[cap] = json.loads((tmp_path / f"{cap}" / "provenance.json").read_text())["steps"]
    assert steps == {None: 32 * 15 * 4 // 8, 1: 32 * 15 // 8}


def test_bfloat16_trains_and_resumes_on_the_cpu(data, tmp_path):
    undisturbed, killed = (Training(tmp_path / name, data, max_steps=40) for name in ("undisturbed", "killed"))
    half = ("--set", "model.forward_dtype=bfloat16")
    assert undisturbed.run(*half) == 0, undisturbed.log
    assert killed.run(*half, "--time-budget", "0") == 75
    assert killed.run(*half) == 0
    assert_same_bits(killed, undisturbed)
    state, _ = read_tensors(killed.checkpoints[-1])
    assert state["carry.state.0"].dtype == (torch.bfloat16 if cpu_computes_in("bfloat16") else torch.float32)
    assert state["model.lm_head.weight"].dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_no_checkpoint(data, tmp_path):
    # weight decay of more than 1 / lr makes the weights grow without bound
    tree = {**EXPERIMENT, "training": {**EXPERIMENT["training"], "weight_decay": 1e9, "lr": 1.0, "max_steps": 60}}
    with pytest.raises(NotFinite, match=r"the loss is not finite between steps 1 and \d+; lower training\.lr"):
        train(check(tree, "tiny"), data, tmp_path / "run", None, 0, None, "cpu")
    assert not (tmp_path / "run").exists()
    for checkpoint in tmp_path.glob("run.checkpoints/*/*.safetensors"):
        state, _ = read_tensors(checkpoint)
        assert np.isfinite(state["sums"].numpy()).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_and_resumes(data, tmp_path):
    undisturbed, stopped = (Training(tmp_path / name, data, max_steps=40) for name in ("undisturbed", "stopped"))
    assert undisturbed.run("--device", "cuda") == 0, undisturbed.log
    assert stopped.run("--device", "cuda", "--time-budget", "0") == 75
    assert stopped.run("--device", "cuda") == 0
    assert_same_bits(stopped, undisturbed)
