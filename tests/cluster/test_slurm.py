"""The workflow on a real SLURM: what a queue does to its jobs, and what comes of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import SLURM_QUICK, TARGET, ClusterProject
from tests.workflow.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture
def project(slurm, baseline, tmp_path):
    project = ClusterProject(tmp_path, "slurm", slurm.environment, **SLURM_QUICK)
    yield project
    project.stop()
    slurm.run("scontrol", "update", "nodename=n[1-2]", "state=resume")


def running(slurm, project, name):
    """The number of the job that trains, once it does."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [job for job, comment in slurm.jobs("RUNNING").items() if comment == f"rule_train_wildcards_{name}_0"]
        if found:
            return found[0]
        time.sleep(0.2)
    raise AssertionError(project.output)


def lock_of(project, name):
    """The file that says who trains."""
    return next(project.folder.glob(f"results/checkpoints/{name}/seed-0/*/lock.json"))


def wait_until(said, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_the_whole_workflow_runs_through_the_profile(project, slurm):
    project.run("report")
    assert "tiny-queens" in (project.folder / "results" / "report.html").read_text()
    assert set(slurm.run("squeue", "-h", "-t", "all", "-o", "%P").split()) == {"cpu"}  # nothing asked for GPUs


def test_a_training_goes_on_over_three_walltimes_to_the_same_bits(project, slurm, undisturbed):
    """TERM before the limit: each job saves where it is, and the next one starts from exactly there."""
    project.train("long")
    process = project.start(TARGET.format("long"))
    reached, jobs = 0, []
    for _ in range(3):
        project.wait_for_step("long", reached, process)
        jobs.append(running(slurm, project, "long"))
        # the next look at the limits finds less left than --signal says
        end = time.strftime("%FT%T", time.localtime(time.time() + 40))
        slurm.run("scontrol", "update", f"jobid={jobs[-1]}", f"EndTime={end}")
        wait_until(lambda: "saved; run again to go on" in project.training_log("long"), project.output, 120)
        stopped = int(re.search(r"stopped at step (\d+) of 6000 \(signal SIGTERM\)", project.training_log("long"))[1])
        assert stopped == project.newest_step("long") >= reached
        reached = stopped
        # the next job goes on from the very step
        wait_until(lambda step=reached: f"from step {step}:" in project.training_log("long"), project.output, 180)
    assert process.wait(timeout=600) == 0, project.output
    assert project.facts("long")["starts"] == 4
    assert len(set(jobs)) == 3
    assert project.results("long") == undisturbed("long")


def test_cancelled_and_killed_trainings_lose_no_more_than_the_steps_since_a_checkpoint(project, slurm, undisturbed):
    """scancel sends TERM first; then KILL alone, twice, as by the kernel that runs out of memory."""
    project.train("short")
    process = project.start(TARGET.format("short"))
    reached = 0
    for how in ("cancelled", "killed", "killed"):
        project.wait_for_step("short", reached, process)
        job = running(slurm, project, "short")
        if how == "cancelled":
            slurm.run("scancel", job)
        else:
            os.kill(json.loads(lock_of(project, "short").read_text())["process"], signal.SIGKILL)
        wait_until(lambda job=job: job not in slurm.jobs("RUNNING", "COMPLETING"), "the job is still there")
        reached = project.newest_step("short")
    assert process.wait(timeout=600) == 0, project.output
    assert project.facts("short")["starts"] >= 2  # those that were killed could not note it
    assert project.results("short") == undisturbed("short")
    # each kill might have been for memory: the next job had half as much again
    memories = [slurm.job(job)["MinMemoryNode"] for job in project.submitted()[-4:]]
    assert memories == ["1000M", "1000M", "1500M", "2000M"], memories


def test_the_queue_s_other_whims(project, slurm, undisturbed):
    """A controller that restarts while a job runs, and a node that is drained and then loses its job to another."""
    project.train("short")
    process = project.start(TARGET.format("short"))
    project.wait_for_step("short", 0, process)
    slurm.stop_daemon("slurmctld")
    time.sleep(5)  # the plugin asks in vain meanwhile
    slurm.start_controller()
    job = running(slurm, project, "short")
    node = slurm.job(job)["NodeList"]
    slurm.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    before = project.newest_step("short")
    project.wait_for_step("short", before, process)  # a drained node lets its job go on
    slurm.run("scontrol", "requeue", job)  # which then goes to another, under its old number
    wait_until(lambda: slurm.job(job)["Restarts"] == "1", "not requeued")

    def elsewhere() -> bool:
        slurm.run("scontrol", "update", f"jobid={job}", "StartTime=now")  # SLURM would wait for two minutes
        now = slurm.job(job)
        return now["JobState"] == "RUNNING" and now["NodeList"] != node

    wait_until(elsewhere, "on no other node", 180)
    slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    assert process.wait(timeout=600) == 0, project.output
    assert len([line for line in project.output.splitlines() if "Trying to restart" in line]) == 0
    assert project.results("short") == undisturbed("short")


def test_a_lost_login_session_loses_nothing(project, slurm, undisturbed):
    """The jobs go on; a second Snakemake waits for the training that it does not know of, and takes what it made."""
    project.train("short")
    process = project.start(TARGET.format("short"))
    project.wait_for_step("short", 0, process)
    first = running(slurm, project, "short")
    os.killpg(process.pid, signal.SIGHUP)
    process.wait(timeout=60)
    assert first in slurm.jobs("RUNNING")
    project.run("--unlock")
    project.run(TARGET.format("short"), seconds=600)
    said = project.training_log("short")
    assert f"in job {first}, last alive" in said, said
    assert "waiting for it" in said
    assert project.results("short") == undisturbed("short")


def test_jobs_ask_for_their_gpus_and_get_them(project, slurm):
    """A training, and its evaluation."""
    project.train("two", {"gpus": 2, "threads": 2}, max_steps=300)
    process = project.start("results/runs/two/seed-0/evaluation.json")
    project.wait_for_step("two", 0, process)
    trainer = json.loads(lock_of(project, "two").read_text())["process"]
    assert b"CUDA_VISIBLE_DEVICES=0,1" in Path(f"/proc/{trainer}/environ").read_bytes().split(b"\0")
    assert process.wait(timeout=300) == 0, project.output
    for job in map(slurm.job, project.submitted()[-2:]):
        assert job["Partition"] == "gpu"
        assert "gres/gpu=2" in job["TRES"] or "gres:gpu:2" in job["TresPerJob"]
    assert (project.facts("two")["ranks"], project.facts("two")["threads"]) == (2, 1)


def test_trainings_in_one_job_share_its_gpu(project, slurm):
    """As docs/cluster.md has it for small runs: one job, in which Snakemake works as on a machine of one's own."""
    for name in ("one", "other"):
        project.train(name, max_steps=400)
    targets = " ".join(TARGET.format(name) for name in ("one", "other"))
    snakemake = f"{sys.executable} -m snakemake --snakefile {REPOSITORY / 'Snakefile'} --cores 2 {targets}"
    options = ["--wait", "--partition=gpu", "--gpus=1", "--cpus-per-task=2", "--mem=4000", f"--chdir={project.folder}"]
    command = ["sbatch", *options, "--export=ALL", "--wrap", snakemake]
    done = subprocess.run(command, env=project.environment, text=True, capture_output=True)
    said = "".join(path.read_text() for path in project.folder.glob("slurm-*.out"))
    assert done.returncode == 0, done.stderr + said
    started = [said.index(f"output: results/runs/{name}/") for name in ("one", "other")]
    finished = [match.start() for match in re.finditer("Finished jobid: .* \\(Rule: train\\)", said)]
    assert max(started) < min(finished)  # the second did not wait for the first to end


def test_two_trainings_share_a_node_and_two_nodes_share_a_training(project, slurm):
    """Two of two ranks each at once, and one of a rank on each of two nodes: no port, no folder is in another's way."""
    for name in ("one", "other"):
        project.train(name, {"gpus": 1, "nodes": 2}, max_steps=20)
    targets = [TARGET.format(name) for name in ("one", "other")]
    project.run(*targets)
    assert project.results("one")[1] == project.results("other")[1]
    assert project.facts("one")["ranks"] == 2
