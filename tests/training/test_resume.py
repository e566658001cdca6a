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
    for _ in range(2):
        before = training.newest_step()
        assert training.run("--time-budget", "0.02") == 75, training.log
        assert "time budget" in training.log.splitlines()[-1]
        assert training.newest_step() > before
    assert training.run("--time-budget", "5") == 0, training.log
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


def longer_by_epochs(data, folder, epochs):
    return Training(folder, data, epochs=epochs, max_steps=None, lr_min_ratio=1.0)


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_of_more_epochs_goes_on_to_what_it_would_have_been_at_once(data, tmp_path, killed):
    """Whole intervals of 67 batches: weights, best validation and metrics are those of one training."""
    assert longer_by_epochs(data, tmp_path / "a", 20).run() == 0
    longer = longer_by_epochs(data, tmp_path / "a", 60)
    assert longer.newest_step() == 67
    if killed:
        longer.start()
        wait_for_progress(longer)
        longer.kill()
        assert 67 < longer.newest_step() < 201
    assert longer.run() == 0, longer.log
    assert "from step 67" in longer.log
    at_once = longer_by_epochs(data, tmp_path / "b", 60)
    assert at_once.run() == 0
    assert_same_bits(longer, at_once)


def test_a_run_of_fewer_epochs_says_that_it_had_gone_further(data, tmp_path):
    def trained(name, epochs):
        training = longer_by_epochs(data, tmp_path / name, epochs)
        assert training.run() == 0, training.log
        _, weights, metrics = results(training)
        return training.log, weights, metrics

    _, weights, metrics = trained("a", 60)
    log, fewer_weights, fewer_metrics = trained("a", 20)
    assert "was trained to step 201 before, further than the 67 steps asked for now, which are trained anew" in log
    _, alone_weights, alone_metrics = trained("b", 20)
    assert fewer_metrics == alone_metrics
    assert all(torch.equal(tensor, alone_weights[name]) for name, tensor in fewer_weights.items())
    log, again_weights, again_metrics = trained("a", 60)  # and back: nothing is lost
    assert "from step 201" in log
    assert again_metrics == metrics
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again_weights.items())


def test_a_changed_configuration_starts_anew(data, tmp_path):
    assert Training(tmp_path, data, max_steps=20).run() == 0
    changed = Training(tmp_path, data, max_steps=20, lr=2e-3)
    assert changed.run() == 0
    assert changed.log.count("from nothing") == 2
