"""`--finish`: where the time budget is all there is, its end is the end of the training, and the run is written."""

import signal
import time

from tests.training.runs_of_processes import EXPERIMENT, Training, assert_same_bits
from trm.files import read_json


def test_what_there_is_at_the_end_of_the_budget_is_a_finished_run_that_can_go_on(data, tmp_path):
    whole, parts = (Training(tmp_path / name, data, final_weights="last", max_steps=20) for name in ("whole", "parts"))
    assert parts.run("--time-budget", "0", "--finish") == 0, parts.log
    facts = read_json(parts.folder / "run" / "provenance.json")
    assert (facts["steps"], facts["planned_steps"], facts["weights"]["step"]) == (1, 20, 1)
    assert parts.run() == whole.run() == 0, parts.log
    assert_same_bits(parts, whole)


def test_a_signal_is_no_end_of_the_budget(data, tmp_path):
    training = Training(tmp_path, data, final_weights="last")
    training.start("--time-budget", "10", "--finish")
    while training.newest_step() < 7 and training.process.poll() is None:
        time.sleep(0.02)
    assert training.kill(signal.SIGTERM) == 75, training.log
    assert not (tmp_path / "run").exists()


def test_without_a_validation_yet_there_is_no_best_one_to_write(data, tmp_path):
    training = Training(tmp_path, data)
    assert EXPERIMENT["training"]["final_weights"] == "best_validation"
    assert training.run("--time-budget", "0", "--finish") == 75
    assert not (tmp_path / "run").exists()


def test_finishing_needs_a_budget(data, tmp_path):
    training = Training(tmp_path, data)
    assert training.run("--finish") == 2
    assert "expected --time-budget" in training.log
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.yaml", "log"}
