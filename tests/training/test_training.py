"""What a training does, beside stopping and going on."""

import json

import numpy as np
import pytest
import torch
import yaml

from tests.training.runs_of_processes import EXPERIMENT, Training, assert_same_bits
from trm.config import check
from trm.data.build import build
from trm.tensors import read_tensors
from trm.training.loop import NotFinite, train


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


def test_bfloat16_trains_and_resumes_on_the_cpu(data, tmp_path):
    undisturbed, killed = (Training(tmp_path / name, data, max_steps=40) for name in ("undisturbed", "killed"))
    half = ("--set", "model.forward_dtype=bfloat16")
    assert undisturbed.run(*half) == 0, undisturbed.log
    assert killed.run(*half, "--time-budget", "0") == 75
    assert killed.run(*half) == 0
    assert_same_bits(killed, undisturbed)
    state, _ = read_tensors(killed.checkpoints[-1])
    assert state["carry.state.0"].dtype == torch.bfloat16
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
