"""Each fault that a doctor should see is made, and has to be found with its remedy."""

from pathlib import Path

import pytest
import torch

from trm.cli import app
from trm.operations import doctor
from trm.operations.doctor import site_key

REPOSITORY = Path(__file__).parents[2]
SITE = """default-resources:
  slurm_account: "'me'"  # SITE: the account to charge
  slurm_partition: "'cpu'"  # SITE: partition of CPU jobs
  runtime: 60
set-resources:
  train:
    slurm_partition: "''"  # SITE: partition of GPU jobs
"""


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A PATH with nothing on it but what a test writes: stand-ins for commands of a site."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name, script="exit 0"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


def by_name(findings):
    return {finding.about: finding for finding in findings}


def test_this_installation_has_the_versions_that_it_needs():
    (found,) = doctor.packages()
    assert found.state == "ok"
    assert f"torch {torch.__version__.partition('+')[0]}" in found.found


def test_wrong_and_missing_packages_are_named(monkeypatch):
    wanted = ["numpy>=99", "no-such-package>=1", "torch>=2", 'pytest>=99; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda name: wanted)
    (found,) = doctor.packages()
    assert found.state == "problem"
    assert "numpy" in found.found
    assert "expected >=99; no-such-package is missing" in found.found
    assert "pytest" not in found.found
    assert "torch" not in found.found
    assert found.remedy == "pip install -r requirements.lock"


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has Apple's GPU")
def test_a_node_without_gpu_is_noted_but_may_be_meant(commands):
    found = by_name(doctor.accelerator())
    assert found["GPU"].state == "note"
    assert "in a job" in found["GPU"].remedy


SMI = "echo '| NVIDIA-SMI 535.1   Driver Version: 535.104.05   CUDA Version: {cuda}   |'"


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_a_torch_for_cpus_beside_a_gpu_is_a_problem(commands, monkeypatch):
    commands("nvidia-smi", SMI.format(cuda="12.2"))
    monkeypatch.setattr(torch.version, "cuda", None)
    found = by_name(doctor.accelerator())
    assert found["driver"].found == "driver 535.104.05, runs CUDA up to 12.2"
    assert found["CUDA in torch"].state == "problem"
    assert "whl/cu126" in found["CUDA in torch"].remedy


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
@pytest.mark.parametrize(
    ("driver", "remedy"),
    [("12.2", "the driver knows CUDA 12.2; install torch for it"), ("13.1", "ask the scheduler for a GPU")],
)
def test_a_gpu_that_torch_does_not_see_has_a_reason(commands, monkeypatch, driver, remedy):
    commands("nvidia-smi", SMI.format(cuda=driver))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = by_name(doctor.accelerator())["CUDA in torch"]
    assert found.state == "problem"
    assert found.remedy.startswith(remedy)


def test_a_driver_that_does_not_work_counts_as_none(commands):
    commands("nvidia-smi", "echo failed to communicate with the driver; exit 9")
    assert doctor.nvidia_smi() is None


def test_room_and_the_right_to_write_are_told(begun):
    found = by_name(doctor.disk(begun.project))
    assert (found["writing"].state, "locks" in found) == ("ok", False)
    assert list(begun.results.iterdir()) == [begun.results / "datasets"]


def test_too_little_room_is_a_problem(begun, monkeypatch):
    monkeypatch.setattr(doctor, "SPACE", 1e18)
    found = by_name(doctor.disk(begun.project))["disk"]
    assert found.state == "problem"
    assert "results a link to a larger disk" in found.remedy


def test_a_place_that_takes_no_files_is_a_problem(begun):
    begun.configure(pathvars={"results": "/proc/self"})
    found = by_name(doctor.disk(begun.project))["writing"]
    assert found.state == "problem"
    assert "/proc/self" in found.found


def test_raw_data_may_be_built_there_or_missing(begun):
    begun.write("published", dataset={"blanks": None, "size": 9})
    begun.configure(experiments=["tiny", "published"])
    found = [(finding.state, finding.found) for finding in doctor.raw_data(begun.project)]
    assert [state for state, _ in found] == ["ok", "problem"]
    assert found[1][1].startswith("train.csv, test.csv not in ")
    assert list(doctor.raw_data(begun.project))[1].remedy == "snakemake download, on a login node"
    raw = begun.results / "raw" / "sudoku"
    raw.mkdir(parents=True)
    for name in ("train.csv", "test.csv"):
        (raw / name).touch()
    assert list(doctor.raw_data(begun.project))[1].state == "ok"


def test_raw_data_of_one_s_own_is_looked_for_where_it_is_said_to_be(begun, tmp_path, monkeypatch):
    begun.write("published", dataset={"blanks": None, "size": 9})
    begun.configure(experiments=["published"])
    (tmp_path / "raw" / "sudoku").mkdir(parents=True)
    monkeypatch.setenv("TRM_RAW_DATA", str(tmp_path / "raw"))
    (found,) = doctor.raw_data(begun.project)
    assert found.state == "problem"
    assert str(tmp_path / "raw" / "sudoku") in found.found
    assert "snakemake download" not in found.remedy


def test_generated_puzzles_need_no_raw_data(begun):
    begun.write("generated", dataset={"seed": 9})
    begun.configure(experiments=["generated"])
    assert list(doctor.raw_data(begun.project)) == []


def test_a_container_has_to_be_built_and_apptainer_be_there(begun, commands):
    assert list(doctor.software(begun.project)) == []
    begun.configure(container="envs/trm.sif")
    (found,) = doctor.software(begun.project)
    assert (found.state, found.remedy) == ("problem", "apptainer build envs/trm.sif envs/trm.def; or container: null")
    (begun.root / "envs").mkdir()
    (begun.root / "envs" / "trm.sif").touch()
    (found,) = doctor.software(begun.project)
    assert found.found == "envs/trm.sif, but no apptainer on PATH"
    commands("apptainer")
    (found,) = doctor.software(begun.project)
    assert found.state == "ok"


@pytest.fixture
def slurm(begun, commands):
    """A SLURM whose commands answer, and its profile."""
    for command in doctor.SCHEDULERS["slurm"]:
        commands(command)
    commands("sacct")
    commands("sinfo", 'case "$*" in *"--partition cpu"|*"--partition gpu") echo "${4:-p}";; esac')
    path = begun.root / "profiles" / "slurm" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SITE)
    return path


def test_empty_keys_of_a_profile_are_named_by_line(slurm, begun):
    found = [finding for finding in doctor.scheduler("slurm", begun.root) if finding.about == "profiles/slurm"]
    assert [finding.state for finding in found] == ["note", "ok"]
    assert found[0].found == "empty: slurm_partition (line 7)"
    assert found[1].found == "slurm_account me, slurm_partition cpu"


def test_a_partition_that_the_site_has_not_is_a_problem(slurm, begun):
    slurm.write_text(SITE.replace("'cpu'", "'fast'").replace("\"''\"", "\"'gpu'\""))
    found = [finding for finding in doctor.scheduler("slurm", begun.root) if finding.about == "profiles/slurm"]
    assert [(finding.state, finding.found) for finding in found] == [
        ("problem", "the scheduler knows no slurm_partition fast (line 3)")
    ]
    assert "sinfo -s" in found[0].remedy


def test_a_slurm_without_accounting_is_a_problem(slurm, begun, commands):
    assert "slurm accounting" not in by_name(doctor.scheduler("slurm", begun.root))
    commands("sacct", "echo Slurm accounting storage is disabled >&2; exit 1")
    found = by_name(doctor.scheduler("slurm", begun.root))["slurm accounting"]
    assert found.state == "problem"
    assert "slurm-status-command: squeue" in found.remedy
    slurm.write_text("slurm-status-command: squeue\n" + SITE)
    assert "slurm accounting" not in by_name(doctor.scheduler("slurm", begun.root))


def test_missing_commands_of_a_scheduler_are_named(begun, commands):
    for command in ("bsub", "bjobs", "bkill"):
        commands(command)
    found = by_name(doctor.scheduler("lsf", begun.root))
    assert found["lsf"].found == "no badmin, lsclusters on PATH"
    assert "no such file" in found["profiles/lsf"].found


def test_the_profiles_of_the_repository_have_keys_to_fill_in():
    for name, (ending, _) in doctor.QUEUES.items():
        lines = (REPOSITORY / "profiles" / name / "config.yaml").read_text().splitlines()
        keys = [key for key, _ in map(site_key, lines) if key]
        assert sum(key.endswith(ending) for key in keys) == 2  # with and without GPUs
        assert {"slurm": "slurm_account", "lsf": "lsf_project"}[name] in keys


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  slurm_account: \"'me'\"  # SITE: x", ("slurm_account", "me")),
        ("  slurm_account: \"''\"  # SITE: x", ("slurm_account", "")),
        ("    lsf_queue: gpu # SITE", ("lsf_queue", "gpu")),
        ("  slurm_account:  # SITE", ("slurm_account", "")),
        ("  - slurm_account: me  # SITE", ("slurm_account", "me")),
        ("  runtime: 60  # minutes", (None, "")),
        ("# Lines marked SITE", (None, "")),
        ("# SITE: a comment alone", (None, "")),
    ],
)
def test_site_keys_are_read_as_snakemake_reads_them(line, expected):
    assert site_key(line) == expected


def test_the_command_ends_with_1_where_there_is_a_problem(begun, monkeypatch, capsys, commands):
    monkeypatch.chdir(begun.root)
    monkeypatch.setattr(doctor, "SPACE", 0)
    assert app(["doctor"], standalone_mode=False) == 0
    told = capsys.readouterr().out
    assert "snakemake runs everything on this machine" in told
    begun.configure(container="envs/trm.sif")
    assert app(["doctor"], standalone_mode=False) == 1
    assert "\ncontainer: envs/trm.sif: no such file\n    apptainer build" in capsys.readouterr().out
