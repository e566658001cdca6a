"""However a training ends early, the steps since the last checkpoint are all that is lost; the message says what to do.

KILL alone and the time budget: test_resume.py.
"""

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import signals_kept
from tests.training.runs_of_processes import Training, assert_same_bits
from tests.training.test_resume import wait_for_progress
from trm import torchrun
from trm.files import Fault
from trm.training import starts
from trm.training.stopping import Stopper


def launched(training: Training, ranks: int) -> subprocess.Popen:
    """A training under the launcher of the workflow's rule, with its pipe to a log."""
    command = [sys.executable, "-m", "trm.torchrun", "--nnodes", "1", "--nproc-per-node", str(ranks), "-m", "trm"]
    command += ["train", str(training.folder / "tiny.yaml"), "--data", str(training.data[0])]
    command += ["--out", str(training.folder / "run")]
    training.process = subprocess.Popen(
        command,
        stderr=open(training.folder / "log", "ab"),  # noqa: SIM115
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return training.process


@pytest.mark.parametrize("everyone", [False, True], ids=["launcher", "everyone"])
def test_term_reaches_the_ranks_which_save_and_end_with_75(data, tmp_path, everyone):
    """TERM to torchrun alone, as from srun, and to the whole tree, as from LSF."""
    training = Training(tmp_path, data, 2, epochs=40_000, max_steps=30_000)
    process = launched(training, 2)
    wait_for_progress(training)
    status = training.kill(signal.SIGTERM) if everyone else (process.terminate(), process.wait(timeout=60))[1]
    assert status == 75, training.log
    assert (
        f"stopped at step {training.newest_step()} of 30000 (signal SIGTERM), saved; run again to go on" in training.log
    )
    assert "Traceback" not in training.log
    launched(training, 2)
    wait_for_progress(training)
    training.kill()
    assert f"from step {training.log.split('stopped at step ')[1].split()[0]}:" in training.log


def test_int_beside_term_saves_and_a_second_int_interrupts():
    """bkill sends INT to the launcher, which hands on TERM, and to its ranks."""
    with signals_kept():
        stopper = Stopper(None)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stopper.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_nodes_that_cannot_meet_are_told(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(SystemExit, match="several nodes need a SLURM job"):
        torchrun.meeting()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "1")
    with pytest.raises(SystemExit, match="this step has one node"):
        torchrun.meeting()


def test_a_rank_that_dies_ends_the_others_and_is_told(data, tmp_path):
    training = Training(tmp_path, data, 2, epochs=40_000, max_steps=30_000)
    process = launched(training, 2)
    wait_for_progress(training)
    holder = json.loads(next(tmp_path.glob("run.checkpoints/*/lock.json")).read_text())
    os.kill(holder["process"], signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    assert "rank 0 was the first to end, with status -9" in training.log


def test_bad_input_keeps_its_status_under_the_launcher(data, tmp_path):
    training = Training(tmp_path, data, 2, global_batch_size=15)
    assert launched(training, 2).wait(timeout=60) == 2
    assert "15 rows do not divide among 2 ranks" in training.log


def test_a_lost_terminal_saves_and_ends_with_75(undisturbed, data, tmp_path):
    training = Training(tmp_path, data)
    leader, terminal = pty.openpty()
    code = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    command = ["-m", "trm", "train", str(tmp_path / "tiny.yaml"), "--data", str(data), "--out", str(tmp_path / "run")]
    training.process = subprocess.Popen(
        [sys.executable, "-c", code, str(terminal), *command],
        pass_fds=[terminal],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as the one that it is held against
    )
    os.close(terminal)
    wait_for_progress(training)
    os.close(leader)  # HUP, and from now on every write to the terminal fails
    assert training.process.wait(timeout=60) == 75
    assert 0 < training.newest_step() < 300
    assert training.run() == 0, training.log
    assert f"from step {training.log.split('from step ')[1].split(':')[0]}:" in training.log
    assert_same_bits(training, undisturbed)


def test_nohup_is_respected(data, tmp_path):
    training = Training(tmp_path, data, epochs=40_000, max_steps=30_000)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does, and children inherit
    try:
        training.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for_progress(training)
    training.process.send_signal(signal.SIGHUP)
    wait_for_progress(training, steps=20)
    assert training.process.poll() is None
    training.kill()


def limit_files():
    """As a full disk: no file may grow beyond 20 kB, which a checkpoint does and its lock does not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_full_disk_loses_nothing_and_says_what_to_do(undisturbed, data, tmp_path):
    training = Training(tmp_path, data)
    training.start()
    wait_for_progress(training)
    training.kill()
    saved = training.newest_step()
    command = [sys.executable, "-m", "trm", "train", str(tmp_path / "tiny.yaml"), "--data", str(data)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run")], preexec_fn=limit_files, text=True, capture_output=True, timeout=120
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"trm: {training.checkpoints[0].parent}/step-"), last
    assert "nothing but the steps since the last checkpoint is lost: free space there" in last
    assert training.newest_step() == saved
    assert not list(tmp_path.rglob("*.tmp"))
    assert training.run() == 0, training.log
    assert_same_bits(training, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, 2 MB large."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_and_one_that_becomes_read_only(undisturbed, data, small_disk):
    training = Training(small_disk, data)
    (small_disk / "ballast").write_bytes(bytes(10**6))
    training.start()
    wait_for_progress(training)
    free = os.statvfs(small_disk)
    (small_disk / "ballast2").write_bytes(bytes(free.f_bavail * free.f_frsize - 8192))
    assert training.process.wait(timeout=60) == 1
    saved = training.newest_step()
    assert "free space there, or make it writable, and run again to go on" in training.log.splitlines()[-1]
    for ballast in small_disk.glob("ballast*"):
        ballast.unlink()

    command = [sys.executable, "-m", "trm", "train", str(small_disk / "tiny.yaml"), "--data", str(data)]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = subprocess.run([*command, "--out", str(small_disk / "run")], text=True, capture_output=True, timeout=120)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr.splitlines()[-1]
    assert "make it writable, and run again to go on" in done.stderr.splitlines()[-1]
    assert training.newest_step() == saved
    assert training.run() == 0, training.log
    assert_same_bits(training, undisturbed)


def test_a_job_waits_for_the_trainer_before_it_and_goes_on_from_what_it_saved(undisturbed, data, tmp_path):
    """A queue that lost sight of a job starts another: they never train at once."""
    first, second = Training(tmp_path, data), Training(tmp_path, data, ranks=2)
    first.start()
    wait_for_progress(first)
    second.start("--time-budget", "60")
    while "waiting for it" not in second.log:
        assert second.process.poll() is None, second.log
        time.sleep(0.05)
    assert first.process.poll() is None, "ended before the other came; the test needs a longer training"
    assert first.process.wait(timeout=120) == 0
    assert second.process.wait(timeout=120) == 0
    assert "from step 300" in second.log
    assert_same_bits(second, undisturbed)


def test_starts_that_get_nowhere_end_with_a_message(data, tmp_path):
    """Killed before its first checkpoint again and again, as by a walltime that is too short."""
    training = Training(tmp_path, data, checkpoint_every=10**6, epochs=40_000, max_steps=30_000)
    for attempt in range(starts.MOST_IDLE):
        training.start("--time-budget", "60")
        while training.log.count("training tiny") <= attempt:
            assert training.process.poll() is None, training.log
            time.sleep(0.05)
        while not (found := list(tmp_path.glob("run.checkpoints/*/starts.json"))):
            time.sleep(0.05)
        while json.loads(found[0].read_text())["idle"] < attempt:
            time.sleep(0.05)
        training.kill()
    assert training.run("--time-budget", "60") == 1
    message = training.log.splitlines()[-1]
    assert f"{starts.MOST_IDLE} starts in a row did not get beyond step 0; give them more time or memory" in message
    assert starts.killed(tmp_path / "run.checkpoints") == starts.MOST_IDLE
    found[0].unlink()  # as the message says
    assert training.run("--time-budget", "0") == 75


def test_progress_starts_the_count_anew(tmp_path):
    for step in (0, 0, 0, 0, 0, 7, 7, 7, 7, 7):
        starts.note(tmp_path, step, killed=False)
    with pytest.raises(Fault, match="did not get beyond step 7"):
        starts.note(tmp_path, 7, killed=False)
    with pytest.raises(Fault):  # and it stays so, whoever tries again
        starts.note(tmp_path, 7, killed=False)
    starts.note(tmp_path, 8, killed=True)
    assert starts.killed(tmp_path) == 1
