"""A training that is stopped, in whatever way, goes on and ends with the same bits as one that was not."""

import random
import signal
import time

import pytest
import torch

from tests.training.runs_of_processes import Training, assert_same_bits, results


def wait_for_progress(training, steps=1):
    """Return once the training has saved `steps` further steps, or has ended."""
    before = training.newest_step()
    while training.newest_step() < before + steps and training.process.poll() is None:
        time.sleep(0.01)


def kill_again_and_again(training, kills, seed):
    """SIGKILL at random moments: while starting, between checkpoints, while saving, logging, evaluating."""
    moments = random.Random(seed)
    for i in range(kills):
        training.start()
        if i % 4 == 3:
            time.sleep(moments.uniform(0, 2))
        else:
            wait_for_progress(training)
            time.sleep(moments.uniform(0, 0.08))
        training.kill()
        assert training.newest_step() < 300, f"finished after {i + 1} kills, before the last one"
    assert training.run() == 0, training.log


def test_three_kills_leave_no_trace(undisturbed, data, tmp_path):
    training = Training(tmp_path, data)
    kill_again_and_again(training, 3, seed=0)
    assert_same_bits(training, undisturbed)


@pytest.mark.slow
def test_twenty_four_kills_over_its_length_leave_no_trace(undisturbed, data, tmp_path):
    training = Training(tmp_path, data)
    kill_again_and_again(training, 24, seed=1)
    assert_same_bits(training, undisturbed)


def test_term_saves_and_ends_with_75(undisturbed, data, tmp_path):
    training = Training(tmp_path, data, checkpoint_every=100000)
    for _ in range(3):
        training.start()
        while "training tiny" not in training.log.rpartition("stopped")[2]:
            time.sleep(0.02)
        time.sleep(0.2)
        assert training.kill(signal.SIGTERM) == 75, training.log
        assert "signal SIGTERM), saved; run again to go on" in training.log.splitlines()[-1]
    assert 0 < training.newest_step() < 300
    assert training.run() == 0, training.log
    assert_same_bits(training, undisturbed)


def test_the_time_budget_saves_and_ends_with_75(undisturbed, data, tmp_path):
    training = Training(tmp_path, data)
    starts = 0
    while (status := training.run("--time-budget", "0.1")) == 75:
        starts += 1
        assert "time budget" in training.log.splitlines()[-1]
        assert starts < 100
    assert status == 0, training.log
    assert starts >= 1
    assert_same_bits(training, undisturbed)


def test_a_budget_that_is_already_spent_still_makes_progress(data, tmp_path):
    training = Training(tmp_path, data)
    assert training.run("--time-budget", "0") == 75
    assert training.newest_step() == 1


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(undisturbed, data, tmp_path):
    training = Training(tmp_path, data)
    training.start()
    wait_for_progress(training, steps=14)
    training.kill()
    older, newest = training.checkpoints
    newest.write_bytes(newest.read_bytes()[:-100])
    assert training.run() == 0, training.log
    assert f"warning: {newest}: not a whole safetensors file" in training.log
    assert f"from step {int(older.stem.removeprefix('step-'))}" in training.log
    assert_same_bits(training, undisturbed)


def test_only_two_checkpoints_are_kept(undisturbed):
    assert [path.stem for path in undisturbed.checkpoints] == ["step-00000294", "step-00000300"]


def test_a_finished_run_goes_on_when_it_is_made_longer(data, tmp_path):
    options = {"lr_min_ratio": 1.0, "final_weights": "last"}
    assert Training(tmp_path / "a", data, **options, max_steps=40).run() == 0
    longer = Training(tmp_path / "a", data, **options, max_steps=80)
    assert longer.run() == 0
    assert "from step 40" in longer.log
    at_once = Training(tmp_path / "b", data, **options, max_steps=80)
    assert at_once.run() == 0
    (state, weights, _), (state_b, weights_b, _) = results(longer), results(at_once)
    assert all(torch.equal(weights[name], weights_b[name]) for name in weights)
    assert all(torch.equal(state[name], state_b[name]) for name in state)


def test_a_changed_configuration_starts_anew(data, tmp_path):
    assert Training(tmp_path, data, max_steps=20).run() == 0
    changed = Training(tmp_path, data, max_steps=20, lr=2e-3)
    assert changed.run() == 0
    assert changed.log.count("from nothing") == 2
