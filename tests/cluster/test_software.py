"""Where the jobs' software comes from: a container, modules; and that compute nodes need no internet for anything."""

import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.workflow.conftest import MODEL, REPOSITORY, TRAINING, Project

pytestmark = pytest.mark.slow

# what Apptainer is asked to do is written down, and done on this machine instead
APPTAINER = """#!/usr/bin/env bash
if [ "$1" = --version ]; then echo "apptainer version 1.3.4"; exit; fi
echo "$*" >> {calls}
while [ "$1" != bash ]; do shift; done
exec "$@"
"""


# as much of conda as Snakemake asks before it makes an environment
CONDA = """#!/usr/bin/env bash
case "$1" in
    info) echo '{{"conda_prefix": "{prefix}", "root_prefix": "{prefix}", "platform": "linux-64"}}' ;;
    --version) echo "conda 24.9.0" ;;
    config) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
esac
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose datasets have been built without any of it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.snakemake("datasets")
    return project


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What Apptainer was asked for."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "apptainer"
    command.write_text(APPTAINER.format(calls=tmp_path / "calls"))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    return tmp_path / "calls"


def test_jobs_run_in_the_container_that_the_configuration_names(project, calls):
    (project.folder / "trm.sif").touch()
    (preview,) = (project.folder / "results" / "datasets").glob("nqueens-*/preview.png")
    target = str(preview.relative_to(project.folder))
    options = ("--sdm", "apptainer", "--apptainer-args=--nv", "--config", "container=trm.sif")
    project.snakemake("--force", target, *options)
    (call,) = calls.read_text().splitlines()
    assert call.startswith("exec --home ")
    assert " --nv " in call
    assert " trm.sif bash -c set -euo pipefail;  trm show results/datasets/nqueens-" in call


def test_without_a_container_jobs_run_here(project, calls):
    project.snakemake("datasets", "--forcerun", "preview", "--sdm", "apptainer")
    assert not calls.exists()


def test_other_software_runs_nothing_again(project, calls):
    (project.folder / "trm.sif").touch()
    container = ("--sdm", "apptainer", "--config", "container=trm.sif")
    modules = ("--sdm", "env-modules", "--config", "modules=[gcc/12,cuda]")
    for options in (container, modules):
        assert "Nothing to be done" in project.snakemake("datasets", "--dry-run", *options)


def test_jobs_load_the_modules_that_the_configuration_names(project, tmp_path, monkeypatch):
    """Environment modules are a function of the shell; one that writes down what it is asked for stands in here."""
    said = tmp_path / "said"
    shell = tmp_path / "shell"
    shell.write_text(f'module() {{ echo "$*" >> {said}; }}\n')
    monkeypatch.setenv("BASH_ENV", str(shell))
    options = ("--sdm", "env-modules", "--config", "modules=[gcc/12,cuda]")
    project.snakemake("datasets", "--forcerun", "preview", *options)
    assert said.read_text().split() == ["purge", "load", "gcc/12", "cuda"] * 2  # for each of the two previews


def test_experiments_with_gpus_get_the_conda_environment_with_cuda(project, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "conda").write_text(CONDA.format(prefix=tmp_path))
    (tmp_path / "bin" / "conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    plan = ("results/runs/tiny-queens/seed-0/model.safetensors", "--dry-run", "--sdm", "conda")
    said = project.snakemake(*plan)
    assert "envs/cpu.yaml will be created" in said
    assert "cuda.yaml" not in said
    said = project.snakemake(*plan, "--config", 'set=["resources.gpus=1"]')
    assert "envs/cuda.yaml will be created" in said


def sudokus(rows: int, seed: int) -> str:
    """A CSV like the published one: the digits of one board renamed at random, and every third cell blank."""
    rng = np.random.default_rng(seed)
    i, j = np.divmod(np.arange(81), 9)
    board = (3 * (i % 3) + i // 3 + j) % 9
    lines = ["source,question,answer,rating"]
    for _ in range(rows):
        answer = "".join(map(str, rng.permutation(9)[board] + 1))
        question = "".join("." if k % 3 == 0 else digit for k, digit in enumerate(answer))
        lines.append(f"here,{question},{answer},0")
    return "\n".join(lines) + "\n"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """A server of this machine with raw files in place of the published ones; what points trm at it."""
    folder = tmp_path / "site"
    folder.mkdir()
    hashes = {}
    for seed, name in enumerate(("train.csv", "test.csv")):
        (folder / name).write_text(sudokus(20, seed))
        hashes[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    # Python runs a module of this name at every start, that of `trm download` in Snakemake's jobs too
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(
        "from trm.puzzles import Source, sudoku\n"
        f"url, hashes = 'http://127.0.0.1:{server.server_port}', {hashes!r}\n"
        "sudoku.SOURCES = {name: Source(f'{url}/{name}', sha256) for name, sha256 in hashes.items()}\n"
    )
    yield tmp_path / "start"
    server.shutdown()
    thread.join()
    server.server_close()


def isolated() -> bool:
    """Whether a command can be run without any network."""
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "--net", "true"]).returncode == 0


@pytest.mark.skipif(not isolated(), reason="no network namespace can be made here: not root")
def test_nothing_needs_a_network_once_the_raw_data_is_downloaded(tmp_path, site, monkeypatch):
    project = Project(tmp_path / "project")
    dataset = {"puzzle": "sudoku", "subsample_size": 10, "num_aug": 2}
    project.write("published", {"name": "published", "dataset": dataset, "model": MODEL, "training": TRAINING})
    (project.folder / "config" / "config.yaml").write_text(yaml.safe_dump({"experiments": ["published"]}))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # whatever the profile, it runs where Snakemake does: sbatch is not called
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sbatch").write_text(f"#!/bin/sh\ntouch {tmp_path}/submitted; exit 1\n")
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    project.snakemake("download", "--executor", "slurm", "--jobs", "2")
    assert not (tmp_path / "submitted").exists()
    raw = project.folder / "results" / "raw" / "sudoku"
    assert sorted(path.name for path in raw.iterdir()) == ["test.csv", "train.csv"]
    assert project.planned("download") == {}

    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    alone = subprocess.run(
        ["unshare", "--net", *command, "report"],
        cwd=project.folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert alone.returncode == 0, alone.stdout[-3000:]
    assert "raw_file" not in alone.stdout
    assert (project.folder / "results" / "report.html").is_file()
