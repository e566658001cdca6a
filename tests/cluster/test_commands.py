"""What jobs run and ask for, as a dry run shows it: the numbers come from the experiment, the site from the profile."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import TARGET, TrainingProject
from tests.workflow.conftest import REPOSITORY

# GPUs on each node, nodes
SIZES = {"none": (0, 1), "one": (1, 1), "four": (4, 1), "eight": (8, 1), "sixteen": (8, 2)}
SITES = {
    "slurm": {"slurm_partition": "'cpu'", "gpu_partition": "'gpu'", "gpu_type": "'a100'"},
    "lsf": {"lsf_queue": "'short'", "gpu_queue": "'long'", "gpu_options": "'j_exclusive=yes:gmodel=NVIDIAA100'"},
}
STEP = (
    "${{SLURM_JOB_ID:+env -u SLURM_JOB_NODELIST srun --overlap --nodes={0} --ntasks={0} --cpus-per-task=16 --wait=60}}"
)
RANKS = "env OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads} python -m trm.torchrun"
RANKS += " --nnodes {nodes} --nproc-per-node {gpus} -m trm"
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
    return project


def profiled(project: TrainingProject, scheduler: str, folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """The trainings under a profile filled in as a site would, but for the executor: here may be no cluster to ask."""
    profile = yaml.safe_load((REPOSITORY / "profiles" / scheduler / "config.yaml").read_text())
    profile["default-resources"] |= SITES[scheduler]
    ours = {key: value for key, value in profile.items() if key != "executor" and not key.startswith("slurm-")}
    (folder / "config.yaml").write_text(yaml.safe_dump(ours))
    return planned(project, "--profile", str(folder))


def test_the_command_has_a_rank_for_every_gpu(project):
    jobs = planned(project)
    assert jobs.keys() == SIZES.keys()
    for name, (_, nodes) in SIZES.items():
        command, resources = jobs[name]
        assert command.startswith(f"exec {STEP.format(nodes)} {LAUNCHERS[name]} train EXPERIMENT --data "), command
        assert f"--checkpoints results/checkpoints/{name}/seed-0 --seed 0 --time-budget 4320 2> >(trap" in command
        assert resources["mem_mb"] == "32000"


def test_slurm_is_asked_in_its_plugin_s_words(project, tmp_path):
    keys = ("slurm_partition", "nodes", "gpu", "gpu_model", "gres", "tasks")
    expected = {
        "none": ["cpu", "1", "0", "", "", "1"],
        "one": ["gpu", "1", "1", "a100", "", "0"],
        "four": ["gpu", "1", "4", "a100", "", "0"],
        "eight": ["gpu", "1", "8", "a100", "", "0"],
        "sixteen": ["gpu", "2", "0", "", "gpu:a100:8", "0"],
    }
    jobs = profiled(project, "slurm", tmp_path)
    assert {name: [resources.get(key) for key in keys] for name, (_, resources) in jobs.items()} == expected
    for command, resources in jobs.values():
        assert resources["slurm_extra"] == "--signal=TERM@60"
        assert resources["runtime"] == "1440"  # the longest of the site: three days take three jobs
        assert "--time-budget 1440 " in command


def test_lsf_is_asked_in_its_plugin_s_words(project, tmp_path):
    jobs = profiled(project, "lsf", tmp_path)
    assert jobs.keys() == SIZES.keys()
    for name, (_, resources) in jobs.items():
        gpus, _ = SIZES[name]
        wanted = f" -gpu num={gpus}:j_exclusive=yes:gmodel=NVIDIAA100" if gpus else ""
        assert resources["lsf_extra"] == f"-wa TERM -wt 2{wanted}"
        assert resources["lsf_queue"] == ("long" if gpus else "short")
        assert resources["runtime"] == "1440"


def test_a_killed_training_asks_for_more_memory(project):
    """Half as much again for each time, up to three times as much; a lock left behind stands for one more."""
    expected = {"none": (0, False, 32000), "one": (0, True, 48000), "four": (1, False, 48000)}
    expected |= {"eight": (1, True, 64000), "sixteen": (9, True, 96000)}
    for name, (killed, locked, _) in expected.items():
        folder = project.folder / "results" / "checkpoints" / name / "seed-0" / "0123456789abcdef"
        folder.mkdir(parents=True)
        (folder / "starts.json").write_text(json.dumps({"step": 0, "idle": 0, "killed": killed}))
        if locked:
            (folder / "lock.json").touch()
    asked = {name: int(resources["mem_mb"]) for name, (_, resources) in planned(project).items()}
    assert asked == {name: memory for name, (*_, memory) in expected.items()}


@pytest.mark.parametrize("scheduler", ["slurm", "lsf"])
def test_every_key_of_a_profile_is_explained(scheduler):
    lines = (REPOSITORY / "profiles" / scheduler / "config.yaml").read_text().splitlines()
    for before, line in pairwise(lines):
        key = line and not line.lstrip().startswith("#") and not line.endswith(":")
        assert not key or "  # " in line or before.lstrip().startswith("#"), line


def test_no_rule_names_a_site():
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow").rglob("*.smk"))
    assert not re.findall(r"""(?:queue|partition|account|project|constraint)\s*=\s*["']""", rules)
