"""What docs/cluster.md has a user do besides Snakemake, on a real SLURM: doctor, status, Ctrl-C, going on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cluster.conftest import SLURM_QUICK, TARGET, ClusterProject

pytestmark = pytest.mark.slow


@pytest.fixture
def project(slurm, tmp_path):
    project = ClusterProject(tmp_path, "slurm", slurm.environment, **SLURM_QUICK)
    (tmp_path / "profiles").mkdir()
    shutil.copytree(project.profile, tmp_path / "profiles" / "slurm")
    project.train("long")
    yield project
    project.stop()


def trm(project, *arguments, status=0):
    command = [sys.executable, "-m", "trm", *arguments]
    done = subprocess.run(command, cwd=project.folder, env=project.environment, text=True, capture_output=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def state_of(project, name="long"):
    (run,) = [run for run in json.loads(trm(project, "status", "--json")) if run["experiment"] == name]
    return run


def wait_for(said, project, seconds=90):
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, project.output
        time.sleep(0.5)


def test_a_run_is_followed_killed_stopped_and_gone_on_with(project, slurm):
    problems = [line for line in trm(project, "doctor").splitlines() if line.startswith("problem")]
    assert problems == []

    process = project.start(TARGET.format("long"))
    project.wait_for_step("long", 0, process)
    before = project.submitted()  # to build the dataset, and to train
    job = before[-1]
    first = state_of(project)
    assert (first["state"], first["handovers"]) == ("running", 0)
    assert first["held_by"].startswith(f"job {job}, process ")

    slurm.run("scancel", job)  # it saves, and the next job goes on
    wait_for(lambda: len(project.submitted()) > len(before), project)
    project.wait_for_step("long", first["step"], process)
    wait_for(lambda: state_of(project)["handovers"] == 1, project)
    assert state_of(project)["held_by"].startswith(f"job {project.submitted()[-1]}, ")

    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    process.wait(timeout=120)
    wait_for(lambda: slurm.jobs("PENDING", "RUNNING", "COMPLETING") == {}, project)
    stopped = state_of(project)
    assert stopped["state"] == "stopped"
    assert stopped["ended"] == "signal SIGTERM, saved"
    assert stopped["step"] == project.newest_step("long")

    project.start(TARGET.format("long"))
    wait_for(lambda: state_of(project)["state"] == "running", project)
    wait_for(lambda: state_of(project)["step"] > stopped["step"], project)
