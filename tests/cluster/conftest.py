"""Projects whose workflow runs on a cluster through the repository's profiles."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.cluster.slurm import Slurm, missing
from tests.training.runs_of_processes import EXPERIMENT
from tests.workflow.conftest import REPOSITORY, Project

# what a site fills in, and less waiting than a site needs
SITES = {
    "slurm": {"slurm_partition": "'cpu'", "gpu_partition": "'gpu'", "longest_runtime": 60},
    "lsf": {"lsf_project": "'puzzles'", "lsf_queue": "'short'", "gpu_queue": "'a100'", "longest_runtime": 60},
}
QUICK = {"latency-wait": 5}
SLURM_QUICK = {**QUICK, "slurm-init-seconds-before-status-checks": 2}

# two trainings of the same boards: one that lasts over three limits, which SLURM checks every 30 seconds, and a shorter
LENGTHS = {"long": 6_000, "short": 2_500}
TARGET = "results/runs/{}/seed-0/model.safetensors"


class TrainingProject(Project):
    """A project of trainings that are interrupted."""

    def train(self, name: str, resources: dict | None = None, **training: object) -> None:
        """Add an experiment, the one that the tests of trainings interrupt as well."""
        long = {"epochs": 20_000, "eval_interval": 200, "checkpoint_every": 50, "lr_min_ratio": 1.0}
        training = {**EXPERIMENT["training"], **long, "max_steps": LENGTHS.get(name), **training}
        resources = {"threads": 1, "runtime": "10m", "mem_mb": 1000, **(resources or {})}
        self.write(name, {**EXPERIMENT, "name": name, "training": training, "resources": resources})

    def training_log(self, name: str) -> str:
        path = self.folder / "results" / "logs" / "train" / f"{name}-seed-0.log"
        return path.read_text() if path.exists() else ""

    def checkpoints(self, name: str) -> list[Path]:
        folder = self.folder / "results" / "checkpoints" / name / "seed-0"
        return sorted(folder.glob("*/step-*.safetensors"))

    def newest_step(self, name: str) -> int:
        files = self.checkpoints(name)
        return int(files[-1].stem.removeprefix("step-")) if files else 0

    def results(self, name: str) -> tuple[bytes, list]:
        """The bytes of the final weights, and the metrics without the clock."""
        run = self.folder / "results" / "runs" / name / "seed-0"
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        metrics = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        return (run / "model.safetensors").read_bytes(), metrics

    def facts(self, name: str) -> dict:
        return json.loads((self.folder / "results" / "runs" / name / "seed-0" / "provenance.json").read_text())


class ClusterProject(TrainingProject):
    """A project with a copy of a profile, filled in as a site would, and the environment that reaches the cluster."""

    def __init__(self, folder: Path, scheduler: str, environment: dict[str, str], **settings: object):
        super().__init__(folder)
        profile = yaml.safe_load((REPOSITORY / "profiles" / scheduler / "config.yaml").read_text())
        profile["default-resources"] |= SITES[scheduler]
        self.profile = folder / "profile"
        self.profile.mkdir()
        (self.profile / "config.yaml").write_text(yaml.safe_dump(profile | settings))
        path = f"{Path(sys.executable).parent}:{environment['PATH']}"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | environment
        self.environment["PATH"] = path
        self.processes: list[subprocess.Popen] = []

    def stop(self) -> None:
        """End the Snakemakes that a failed test left behind."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake with its profile, in a session of its own; it says what it does in `output`."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        process = subprocess.Popen(
            [*command, "--profile", str(self.profile), *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=open(self.folder / "output", "ab"),  # noqa: SIM115
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def run(self, *arguments: str, seconds: float = 300) -> str:
        """Run Snakemake with its profile to the end; returns what it said."""
        process = self.start(*arguments)
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)
            raise AssertionError(self.output) from None
        assert status == 0, self.output
        return self.output

    def wait_for_step(self, name: str, step: int, process: subprocess.Popen, seconds: float = 120) -> None:
        """Return once a training has saved a step beyond `step`."""
        deadline = time.monotonic() + seconds
        while self.newest_step(name) <= step:
            assert process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def submitted(self, scheduler: str = "SLURM") -> list[str]:
        """The numbers of the jobs, in the order of their submission."""
        return re.findall(rf"has been submitted with {scheduler} jobid (\d+)", self.output)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    if lacking := missing():
        pytest.skip(f"no SLURM here ({', '.join(lacking)}): apt-get install slurmctld slurmd slurm-client munge")
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def baseline(tmp_path_factory):
    """A project whose trainings nothing disturbs, on this machine; it computes while the first tests run."""
    project = TrainingProject(tmp_path_factory.mktemp("undisturbed"))
    for name in LENGTHS:
        project.train(name)
    with ThreadPoolExecutor(1) as pool:
        yield project, pool.submit(project.snakemake, *(TARGET.format(name) for name in LENGTHS))


@pytest.fixture
def undisturbed(baseline):
    """Waits for the baseline, and gives the results of a training of it."""
    project, trained = baseline

    def results(name: str) -> tuple[bytes, list]:
        trained.result()
        return project.results(name)

    return results
