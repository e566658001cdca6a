"""The workflow through the real LSF plugin, against stand-ins of LSF's commands."""

import re
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import QUICK, TARGET, ClusterProject
from tests.cluster.lsf import Lsf

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path):
    cluster = Lsf.create(tmp_path / "lsf")
    yield cluster
    cluster.stop()


@pytest.fixture
def project(cluster, baseline, tmp_path):
    project = ClusterProject(tmp_path / "project", "lsf", cluster.environment, **QUICK)
    yield project
    project.stop()


def submissions(cluster: Lsf, rule: str) -> list[str]:
    """What bsub was called with for a rule, but for the command and the run's number."""
    lines = [call for call in cluster.calls("bsub") if f"Snakemake_rule_{rule}:" in call[1]]
    return [re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", " ".join(call[:-1])) for call in lines]


def job_of(cluster: Lsf, rule: str, stat: str = "RUN", after: int = 0, seconds: float = 90) -> dict:
    """The first job of a rule in a state, once there is one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for job in cluster.jobs():
            if job["id"] > after and f"Snakemake_rule_{rule}:" in job["J"] and job["stat"] == stat:
                return job
        time.sleep(0.1)
    raise AssertionError([(job["id"], job["J"], job["stat"]) for job in cluster.jobs()])


def test_the_whole_workflow_runs_through_the_profile(cluster, project):
    project.edit("tiny-sudoku", "resources", threads=1, mem_mb=1000)
    project.edit("tiny-queens", "resources", threads=2, mem_mb=3000, runtime="30m")
    project.run("report")
    assert "tiny-queens" in (project.folder / "results" / "report.html").read_text()
    assert {job["stat"] for job in cluster.jobs()} == {"DONE"}
    logs, cwd = project.folder / ".snakemake/lsf_logs", project.folder
    assert sorted(submissions(cluster, "train")) == [
        f"-J Snakemake_rule_train:experiment={name},seed=0___(UUID) -o {log} -e {log} -env all -P puzzles -q short "
        f"-W {minutes} -n {cores} -R rusage[mem={memory}] -R span[hosts=1] -wa TERM -wt 2 -cwd {cwd}"
        for name, minutes, cores, memory in (("tiny-queens", 30, 2, 1500.0), ("tiny-sudoku", 60, 1, 1000.0))
        for log in [logs / f"rule_train/experiment={name}..seed=0/UUID.log"]
    ]
    assert cluster.calls("bhist") == []


def test_a_training_goes_on_over_three_walltimes_to_the_same_bits(cluster, project, undisturbed):
    """-wa TERM -wt 2 on a cluster where a minute takes 3 seconds: the trainer hears of the end before LSF's USR2."""
    (cluster.state / "minute").write_text("3")
    project.train("long", {"runtime": "10m"})
    process = project.start(TARGET.format("long"))
    first = job_of(cluster, "train")
    stopped = r"stopped at step (\d+) of 6000 \(signal SIGTERM\), saved"

    def log() -> str:
        return Path(first["o"]).read_text()  # one file for all attempts

    deadline = time.monotonic() + 400
    while len(re.findall(stopped, log())) < 3:
        assert process.poll() is None, project.output
        assert time.monotonic() < deadline, log()
        time.sleep(0.5)
    (cluster.state / "minute").write_text("60")  # three are enough
    assert process.wait(timeout=600) == 0, project.output
    stops = [int(step) for step in re.findall(stopped, log())]
    starts = [int(step) for step in re.findall(r"seed 0, from step (\d+):", log())]
    assert stops == starts  # not a step was lost
    trainings = [job for job in cluster.jobs() if "rule_train:" in job["J"]]
    assert [job["stat"] for job in trainings] == ["EXIT"] * len(stops) + ["DONE"]
    assert "TERM_RUNLIMIT" not in log()  # nobody had to be killed
    assert project.results("long") == undisturbed("long")


def test_a_host_that_is_lost_from_sight_gets_no_second_trainer(cluster, project, undisturbed):
    """UNKWN counts as success, so Snakemake misses the weights and submits again: that job waits for the first."""
    project.train("long")
    process = project.start(TARGET.format("long"))
    first = job_of(cluster, "train")
    project.wait_for_step("long", 0, process)
    cluster.lose(first["id"])
    second = job_of(cluster, "train", after=first["id"])
    cluster.lose(first["id"], lost=False)
    assert process.wait(timeout=600) == 0, project.output
    log = Path(second["o"]).read_text()
    assert re.search(r"being trained by process \d+ on \S+ in job \d+, last alive \d+ s ago; waiting for it", log), log
    assert "from step 6000:" in log  # and then there was nothing left to do
    assert project.results("long") == undisturbed("long")


def test_killed_jobs_are_retried_and_lose_nothing(cluster, project, undisturbed):
    """bkill sends INT first: the trainer saves. What LSF kills outright starts from its last checkpoint."""
    project.train("short")
    process = project.start(TARGET.format("short"))
    first = job_of(cluster, "train")
    project.wait_for_step("short", 0, process)
    cluster.run("bkill", str(first["id"]))
    second = job_of(cluster, "train", after=first["id"])
    project.wait_for_step("short", project.newest_step("short"), process)
    cluster.kill(second["id"])
    assert process.wait(timeout=600) == 0, project.output
    assert "(signal SIGINT), saved; run again to go on" in Path(first["o"]).read_text()
    assert [line.split("mem=")[1].split("]")[0] for line in submissions(cluster, "train")] == ["1000.0"] * 2 + [
        "1500.0"
    ]
    assert project.results("short") == undisturbed("short")
