"""Where runs stand, from what real trainings leave and from what schedulers write."""

import json
import os
import shutil

import pytest

from tests.conftest import signals_kept
from trm.cli import app
from trm.operations.status import status
from trm.training.lock import Lock
from trm.training.loop import RESUMABLE, train


def only(place):
    (found,) = status(place.project)
    return found


def stop_early(place, *overrides):
    """Train for a step, as a job does whose time is up."""
    experiment = place.project.experiments["tiny"]
    with signals_kept():
        ended = train(experiment, place.dataset, place.run, place.checkpoints, 0, 0.0, "cpu")
    assert ended == RESUMABLE


@pytest.fixture
def stopped(begun, capsys):
    """A project whose training was stopped after a step."""
    stop_early(begun)
    begun.log(capsys.readouterr().err)
    return begun


def test_a_finished_run_is_done_with_its_figures(place):
    found = only(place)
    assert (found.experiment, found.seed, found.state, found.current) == ("tiny", 0, "done", True)
    assert (found.step, found.steps, found.handovers) == (6, 6, 0)
    scores = json.loads((place.run / "evaluation.json").read_text())["figures"]
    assert found.figures["exact_accuracy"] == scores["exact_accuracy"]["value"]
    assert found.held_by is None


def test_a_run_whose_checkpoints_were_pruned_is_still_done(place):
    shutil.rmtree(place.checkpoints)
    assert only(place).state == "done"


def test_what_is_asked_for_and_has_not_begun_is_listed(begun):
    begun.write(seeds=[3, 0])
    assert [(run.seed, run.state, run.step, run.steps) for run in status(begun.project)] == [
        (0, "not begun", 0, 6),
        (3, "not begun", 0, 6),
    ]


def test_a_run_without_dataset_has_an_unknown_length(begun):
    shutil.rmtree(begun.dataset)
    found = only(begun)
    assert (found.state, found.steps, found.fingerprint) == ("not begun", None, None)


def test_a_stopped_run_says_where_and_why(stopped):
    found = only(stopped)
    assert (found.state, found.step, found.steps) == ("stopped", 1, 6)
    assert found.ended == "time budget, saved"
    assert found.log.endswith("results/logs/train/tiny-seed-0.log")
    assert (found.handovers, found.killed) == (0, 0)


def test_starts_are_counted_as_handovers(stopped):
    stop_early(stopped)
    stop_early(stopped)
    assert (only(stopped).handovers, only(stopped).step) == (2, 3)


def test_a_held_run_is_running_whatever_its_last_job_said(stopped):
    with Lock(stopped.folder / "lock.json"):
        found = only(stopped)
    assert found.state == "running"
    assert found.ended is None
    assert f"process {os.getpid()} on {os.uname().nodename}, alive 0 s ago" in found.held_by


def test_a_lock_that_a_dead_trainer_left_holds_nothing(stopped):
    with Lock(stopped.folder / "lock.json"):
        left = json.loads((stopped.folder / "lock.json").read_text())
    (stopped.folder / "lock.json").write_text(json.dumps({**left, "started": left["started"] - 1000}))
    assert only(stopped).state == "stopped"


def metrics(folder, steps, every, rate, loss=1.5, end=""):
    lines = [
        {"step": step, "lm_loss": loss, "exact_accuracy": 0.1, "seconds": step / rate}
        for step in range(every, steps + 1, every)
    ]
    lines.append({"step": steps, "split": "test", "exact_accuracy": 0.25, "seconds": steps / rate + 1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)


@pytest.mark.parametrize("end", ["", '{"step": 60, "lm_lo'])
def test_rate_and_time_left_come_from_the_growing_metrics(stopped, end):
    stopped.write(training={"epochs": 4000, "max_steps": 1000})
    metrics(stopped.folder, 50, 2, rate=0.5, end=end)
    with Lock(stopped.folder / "lock.json"):
        found = only(stopped)
    assert (found.step, found.steps) == (50, 1000)
    assert found.rate == pytest.approx(0.5)
    assert found.seconds_left == pytest.approx(950 / 0.5)
    assert found.figures == {"lm_loss": 1.5, "test_exact_accuracy": 0.25}


def test_the_rate_is_that_of_the_last_lines(stopped):
    lines = [{"step": s, "lm_loss": 1.0, "seconds": 10.0 * s} for s in range(1, 31)]
    lines += [{"step": s, "lm_loss": 1.0, "seconds": 300.0 + (s - 30)} for s in range(31, 61)]
    (stopped.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Lock(stopped.folder / "lock.json"):
        assert only(stopped).rate == pytest.approx(1.0)


SLURM = ".snakemake/slurm_logs/rule_train/tiny_0/17.log"
LSF = ".snakemake/lsf_logs/rule_train/experiment=tiny..seed=0/1b2c.log"
ENDINGS = [
    (SLURM, "slurmstepd: error: *** JOB 17 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO TIME LIMIT ***", "stopped",
     "killed at the time limit of its job"),
    (SLURM, "slurmstepd: error: *** STEP 17.0 ON n1 CANCELLED AT 2026-01-02T03:04:05 ***", "stopped", "cancelled"),
    (SLURM, "slurmstepd: error: *** JOB 17 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO PREEMPTION ***", "stopped",
     "preempted"),
    (SLURM, "slurmstepd: error: *** JOB 17 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO NODE FAILURE, SEE ***",
     "stopped", "its node failed"),
    (SLURM, "slurmstepd: error: Detected 1 oom_kill event in StepId=17.batch. Some of the step tasks have been OOM "
     "Killed.", "failed", "out of main memory: resources.mem_mb"),
    (SLURM, "trm: training.init: no such run", "failed", "training.init: no such run"),
    (SLURM, "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "failed",
     "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
    (LSF, "TERM_RUNLIMIT: job killed after reaching LSF run time limit.\nExited with exit code 140.", "stopped",
     "killed at the time limit of its job"),
    (LSF, "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.", "failed",
     "out of main memory: resources.mem_mb"),
    (LSF, "TERM_OWNER: job killed by owner.", "stopped", "cancelled"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "line", "state", "words"), ENDINGS)
def test_the_scheduler_s_log_says_how_a_job_ended(stopped, place, line, state, words):
    (stopped.results / "logs/train/tiny-seed-0.log").write_text("training: 1/6, 0:00:10 so far, 0:01:00 left\n")
    log = stopped.log(f"training: 1/6, 0:00:10 so far\n{line}\n[Mon Jan  2] Error in rule train:\n", place)
    found = only(stopped)
    assert (found.state, found.ended, found.log) == (state, words, str(log))


def test_what_was_said_last_counts(stopped):
    limit, saved = ENDINGS[0][1], "stopped at step 4 of 6 (signal SIGTERM), saved; run again to go on"
    stopped.log(f"{limit}\n{saved}\n", SLURM)
    assert only(stopped).ended == "signal SIGTERM, saved"
    stopped.log(f"{saved}\n{limit}\n", SLURM)
    assert only(stopped).ended == "killed at the time limit of its job"


def test_the_newest_log_counts(stopped):
    old = stopped.log("trm: an old fault\n", SLURM)
    os.utime(old, (1, 1))
    assert only(stopped).ended == "time budget, saved"
    stopped.log("trm: a new fault\n", SLURM.replace("17", "18"))
    assert only(stopped).ended == "a new fault"


def test_a_rank_s_error_is_found_below_what_torchrun_says_of_it(stopped):
    said = "ValueError: a rank fell over\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    stopped.log(said + "trm.torchrun: rank 1 was the first to end, with status 1\n", SLURM)
    assert only(stopped).ended == "ValueError: a rank fell over"


def test_a_failure_before_the_first_checkpoint_is_told(begun):
    begun.log("trm: training.global_batch_size: 8 rows do not divide among 3 ranks\n")
    found = only(begun)
    assert (found.state, found.step) == ("failed", 0)
    assert "do not divide" in found.ended


def test_runs_of_an_older_configuration_are_marked(stopped):
    stopped.write(training={"lr": 1.0e-3})
    new, old = status(stopped.project)
    assert (new.current, new.state, new.step) == (True, "not begun", 0)
    assert (old.current, old.state, old.step, old.steps) == (False, "stopped", 1, None)


def test_the_command_prints_a_table_or_json(stopped, monkeypatch, capsys):
    monkeypatch.chdir(stopped.root)
    app(["status"], standalone_mode=False)
    header, row, blank, note = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "state", "step", "steps/s", "left", "loss", "exact", "again"]
    assert row.split()[:6] == ["tiny", "seed", "0", "stopped", "1", "of"]
    assert blank == ""
    assert note == "tiny seed 0: time budget, saved (results/logs/train/tiny-seed-0.log)"
    app(["status", "--json"], standalone_mode=False)
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["state"], run["step"], run["seconds_left"]) == ("stopped", 1, None)
    app(["status", "--json", "--set", "training.max_steps=4"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)[0]["steps"] == 4
