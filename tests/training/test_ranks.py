"""Several ranks do what one rank does on the same global batches."""

import socket

import pytest
import torch

from tests.training.runs_of_processes import Training, assert_same_bits, results
from tests.training.test_resume import wait_for_progress
from trm.tensors import read_tensors


def largest_difference(a, b):
    """Over weights, averages and moments; the latent of some rows amplifies the last bit of a float32 more."""
    names = [name for name in a if not name.startswith("carry.state")]
    return max((a[name].double() - b[name].double()).abs().max().item() for name in names)


@pytest.mark.parametrize("many", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_many_ranks_agree_with_one(many, data, tmp_path):
    for steps in (1, 4):
        runs = [Training(tmp_path / f"{steps}-{ranks}", data, ranks, max_steps=steps) for ranks in (1, many)]
        for training in runs:
            assert training.run() == 0, training.log
        (alone, weights, metrics), (together, weights_together, metrics_together) = map(results, runs)
        assert alone.keys() == together.keys()
        # after one step adam_m is a tenth of the gradient
        assert largest_difference(alone, together) <= 1e-6
        assert largest_difference(weights, weights_together) <= 1e-5
        for line, line_together in zip(metrics, metrics_together, strict=True):
            assert line == pytest.approx(line_together, abs=1e-5)


def test_a_rank_on_each_of_two_nodes_does_what_two_on_one_do(data, tmp_path):
    one, two = (Training(tmp_path / name, data, 2, max_steps=4) for name in ("one", "two"))
    assert one.run() == 0, one.log
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = ("--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", port)
    processes = [two.start(nodes=(*meeting, "--node-rank", node)) for node in ("0", "1")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0], two.log
    assert_same_bits(two, one)


def test_two_ranks_resume_to_the_same_bits(data, tmp_path):
    undisturbed, killed = (Training(tmp_path / name, data, 2, max_steps=60) for name in ("undisturbed", "killed"))
    assert undisturbed.run() == 0, undisturbed.log
    for _ in range(2):
        killed.start()
        wait_for_progress(killed)
        killed.kill()
    assert killed.run() == 0, killed.log
    assert_same_bits(killed, undisturbed)


def test_a_run_of_two_ranks_goes_on_with_one(data, tmp_path):
    two = Training(tmp_path, data, 2, max_steps=60, lr_min_ratio=1.0)
    two.start()
    wait_for_progress(two)
    two.kill()
    reached = two.newest_step()
    one = Training(tmp_path, data, 1, max_steps=60, lr_min_ratio=1.0)
    assert one.run() == 0, one.log
    assert f"from step {reached}" in one.log
    assert all(torch.isfinite(tensor).all() for tensor in results(one)[1].values())


def test_a_run_goes_on_with_more_ranks_and_less_memory_each_time(data, tmp_path):
    """One rank, then two, then four, in ever smaller parts: what is sampled stays the same, bit for bit."""
    shared = {"lr_min_ratio": 1.0, "log_every": 4, "input_noise": 0.2, "final_weights": "last"}
    alone = Training(tmp_path / "alone", data, 1, max_steps=9, **shared)
    assert alone.run() == 0, alone.log
    savings = [{}, {"micro_batch": 3}, {"micro_batch": "auto", "checkpoint_activations": True}]
    for ranks, steps, saving in zip((1, 2, 4), (3, 6, 9), savings, strict=True):
        training = Training(tmp_path / "more", data, ranks, max_steps=steps, **shared, **saving)
        assert training.run() == 0, training.log
        assert f"from {'nothing' if steps == 3 else f'step {steps - 3}'}" in training.log
    assert training.checkpoints[-1].parent.name == alone.checkpoints[-1].parent.name

    (expected, weights, _), (found, weights_found, _) = results(alone), results(training)
    assert expected.keys() == found.keys()
    for name in ("inputs", "labels", "puzzle_identifiers", "steps", "halted"):
        assert torch.equal(expected[f"carry.{name}"], found[f"carry.{name}"]), name
    assert largest_difference(expected, found) <= 1e-5
    assert largest_difference(weights, weights_found) <= 1e-5
    places = [read_tensors(each.checkpoints[-1])[1] for each in (alone, training)]
    assert len({(place["step"], place["interval"], place["index"]) for place in places}) == 1
