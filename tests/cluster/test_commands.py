"""What jobs run and ask for, as a dry run shows it: the numbers come from the experiment, the site from the profile."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.iocontainers import ResourceList
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from tests.cluster.conftest import TARGET, TrainingProject
from tests.workflow.conftest import REPOSITORY

# GPUs on each node, nodes
SIZES = {"none": (0, 1), "one": (1, 1), "four": (4, 1), "eight": (8, 1), "sixteen": (8, 2)}
SITES = {
    "slurm": {"slurm_partition": "'cpu'", "gpu_partition": "'gpu'", "gpu_type": "'a100'"},
    "lsf": {"lsf_queue": "'short'", "gpu_queue": "'long'", "gpu_options": "'j_exclusive=yes:gmodel=NVIDIAA100'"},
}
STEP = "env -u SLURM_JOB_NODELIST srun --overlap --nodes={0} --ntasks={0} --cpus-per-task=16 --cpu-bind=none --wait=60"
RANKS = "env OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads} python -m trm.torchrun"
RANKS += " --nnodes {nodes} --nproc-per-node {gpus} -m trm"
# trainings that were killed: how often as noted, whether a lock is left behind, MB asked for then
KILLED = {"none": (0, False, 32000), "one": (0, True, 48000), "four": (1, False, 48000), "eight": (1, True, 64000)}
KILLED |= {"sixteen": (9, True, 96000)}
LAUNCHERS = {
    "none": "trm",
    "one": "trm",
    "four": RANKS.format(nodes=1, gpus=4, threads=4),
    "eight": RANKS.format(nodes=1, gpus=8, threads=2),
    "sixteen": RANKS.format(nodes=2, gpus=8, threads=2),
}


def planned(project: TrainingProject, *arguments: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Of all trainings the shell command, without the experiment written out, and the resources."""
    targets = map(TARGET.format, SIZES)
    output = project.snakemake(*targets, "--dry-run", "--printshellcmds", "--cores", "16", *arguments)
    jobs = {}
    for about in output.split("\nrule train:")[1:]:
        name = re.search(r"experiment=(\w+)", about)[1]
        command = re.sub(r"'\{.*?\}' --data", "EXPERIMENT --data", re.search(r"Shell command: (.*)", about)[1])
        resources = re.search(r"resources: (.*)", about)[1]
        jobs[name] = command, dict(re.findall(r"(\w+)=(.*?)(?:, |$)", resources))
    return jobs


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = TrainingProject(tmp_path_factory.mktemp("commands"))
    for name, (gpus, nodes) in SIZES.items():
        project.train(name, {"gpus": gpus, "nodes": nodes, "threads": 16, "runtime": "3d", "mem_mb": 32000})
    for name, (killed, locked, _) in KILLED.items():
        folder = project.folder / "results" / "checkpoints" / name / "seed-0" / "0123456789abcdef"
        folder.mkdir(parents=True)
        (folder / "starts.json").write_text(json.dumps({"step": 0, "idle": 0, "killed": killed}))
        if locked:
            (folder / "lock.json").touch()
    return project


def profiled(project: TrainingProject, scheduler: str, folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """The trainings under a profile filled in as a site would, but for the executor: here may be no cluster to ask."""
    profile = yaml.safe_load((REPOSITORY / "profiles" / scheduler / "config.yaml").read_text())
    profile["default-resources"] |= SITES[scheduler]
    ours = {key: value for key, value in profile.items() if key != "executor" and not key.startswith("slurm-")}
    (folder / "config.yaml").write_text(yaml.safe_dump(ours))
    return planned(project, "--profile", str(folder))


@pytest.fixture(scope="module")
def jobs(project):
    """The trainings without a profile."""
    return planned(project)


def run_as(command: str, path: Path, **environment: str) -> list[str]:
    """The words of a rule's command after `exec`, as the shell of a job makes them, but for the experiment's."""
    command = command.replace("exec ", "echo ", 1).partition(" 2> >(")[0]
    shell = ["/bin/bash", "-euo", "pipefail", "-c", command]
    return subprocess.check_output(shell, env={"PATH": str(path), **environment}, text=True).split()


def test_the_command_has_a_rank_for_every_gpu(jobs, tmp_path):
    """In a SLURM job by a step of its own, but where there is no srun, as in a container; in a queue by a walltime."""
    (without := tmp_path / "without").mkdir()
    (having := tmp_path / "having").mkdir()
    (having / "srun").touch(mode=0o755)
    budget = ["--time-budget", "4320"]
    assert jobs.keys() == SIZES.keys()
    for name, (_, nodes) in SIZES.items():
        command, _ = jobs[name]
        step, ours = STEP.format(nodes).split(), [*LAUNCHERS[name].split(), "train", "EXPERIMENT", "--data"]
        here = run_as(command, having)
        assert here[: len(ours)] == ours, here
        assert here[-4:] == ["--checkpoints", f"results/checkpoints/{name}/seed-0", "--seed", "0"]
        assert run_as(command, having, SLURM_JOB_ID="7") == [*step, *here, *budget]
        assert run_as(command, without, SLURM_JOB_ID="7") == [*here, *budget]
        assert run_as(command, having, LSB_JOBID="7") == [*here, *budget]


def test_a_killed_training_asks_for_more_memory(jobs):
    """Half as much again for each time, up to three times as much; a lock left behind stands for one more."""
    asked = {name: int(resources["mem_mb"]) for name, (_, resources) in jobs.items()}
    assert asked == {name: memory for name, (*_, memory) in KILLED.items()}


def test_a_batch_that_the_gpus_cannot_share_is_told_before_anything_is_submitted(project):
    told = project.snakemake("--dry-run", "--config", "set=[training.global_batch_size=12]", check=False)
    assert "eight.yaml: training.global_batch_size: 12 rows do not divide among the 8 GPUs of resources" in told


def sbatch(resources: dict[str, str]) -> str:
    """What the plugin asks sbatch for, between the names of the job and its command."""
    typed = {key: int(value) if value.isdecimal() else value for key, value in resources.items()}
    job = SimpleNamespace(threads=16, resources=ResourceList(fromdict=typed))
    about = {"run_uuid": "run", "slurm_logfile": "log", "comment_str": "rule", "account": "", "workdir": ""}
    call = get_submit_command(job, {**about, "partition": f"-p {typed['slurm_partition']}"}) + set_gres_string(job)
    return " ".join(call.partition("--comment rule")[2].split())


def test_slurm_is_asked_in_its_plugin_s_words(project, tmp_path):
    jobs = profiled(project, "slurm", tmp_path)
    asked = {name: sbatch(resources) for name, (_, resources) in jobs.items()}
    cores = "--cpus-per-task=16 --signal=TERM@60"
    # a day each, the longest of the site: three days take three jobs
    assert asked == {
        "none": f"-p cpu -t 1440 --mem 32000 --nodes=1 --ntasks=1 {cores}",
        "one": f"-p gpu -t 1440 --mem 48000 --nodes=1 {cores} --gpus=a100:1",
        "four": f"-p gpu -t 1440 --mem 48000 --nodes=1 {cores} --gpus=a100:4",
        "eight": f"-p gpu -t 1440 --mem 64000 --nodes=1 {cores} --gpus=a100:8",
        "sixteen": f"-p gpu -t 1440 --mem 96000 --nodes=2 {cores} --gres=gpu:a100:8",
    }
    assert all("--time-budget 1440}" in command for command, _ in jobs.values())


def test_lsf_is_asked_in_its_plugin_s_words(project, tmp_path):
    jobs = profiled(project, "lsf", tmp_path)
    assert jobs.keys() == SIZES.keys()
    for name, (_, resources) in jobs.items():
        gpus, _ = SIZES[name]
        wanted = f" -gpu num={gpus}:j_exclusive=yes:gmodel=NVIDIAA100" if gpus else ""
        assert resources["lsf_extra"] == f"-wa TERM -wt 2{wanted}"
        assert resources["lsf_queue"] == ("long" if gpus else "short")
        assert resources["runtime"] == "1440"


@pytest.mark.parametrize("scheduler", ["slurm", "lsf"])
def test_every_key_of_a_profile_is_explained(scheduler):
    lines = (REPOSITORY / "profiles" / scheduler / "config.yaml").read_text().splitlines()
    for before, line in pairwise(lines):
        key = line and not line.lstrip().startswith("#") and not line.endswith(":")
        assert not key or "  # " in line or before.lstrip().startswith("#"), line


def test_no_rule_names_a_site():
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow").rglob("*.smk"))
    assert not re.findall(r"""(?:queue|partition|account|project|constraint)\s*=\s*["']""", rules)
