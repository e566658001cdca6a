"""What would stop a run, found before it waits a day in a queue: each finding with what to do about it.

To be run where the runs will be: the login node shows the scheduler and the disk, a GPU node shows the GPU.
"""

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
import yaml
from packaging.requirements import Requirement

from trm import puzzles
from trm.config import Dataset
from trm.distribution import compiles
from trm.files import BadInput, read_text, read_yaml
from trm.operations.columns import size
from trm.operations.project import Project

SPACE = 20e9  # bytes: ARC stored takes 7.3 GB, and three checkpoints with its table of embeddings 3 GB each
SCHEDULERS = {
    "slurm": ("sbatch", "squeue", "scontrol", "scancel", "srun"),
    "lsf": ("bsub", "bjobs", "bkill", "badmin", "lsclusters"),
}
# what keys that name a partition or queue end with, and what asks the scheduler whether it knows one: it prints the
# name, or fails
QUEUES = {
    "slurm": ("_partition", ("sinfo", "--noheader", "--format=%R", "--partition")),
    "lsf": ("_queue", ("bqueues", "-noheader", "-o", "queue_name")),
}
INSTALL_CUDA = "install torch for it: pip install torch --index-url https://download.pytorch.org/whl/cu126"


@dataclass(frozen=True)
class Finding:
    """Something that was looked at."""

    about: str
    state: Literal["ok", "note", "problem"]  # note: it may be meant
    found: str
    remedy: str = ""


def doctor(project: Project) -> Iterator[Finding]:
    """Everything that can be told from here."""
    yield from packages()
    yield from accelerator()
    yield from disk(project)
    yield from raw_data(project)
    yield from software(project)
    for name, commands in SCHEDULERS.items():
        if any(map(shutil.which, commands)):
            yield from scheduler(name, project.root)
    if not any(shutil.which(commands[0]) for commands in SCHEDULERS.values()):
        yield Finding(
            "scheduler", "note", "neither sbatch nor bsub on PATH", "snakemake runs everything on this machine"
        )


def packages() -> Iterator[Finding]:
    """Python and the packages that trm needs, against the versions that it says."""
    wanted = [Requirement(text) for text in requires("trm") or []]
    wrong = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found}, expected {requirement.specifier}")
    versions = f"trm {version('trm')}, Python {platform.python_version()}, torch {version('torch')}"
    if wrong:
        yield Finding("versions", "problem", "; ".join(wrong), "pip install -r requirements.lock")
    else:
        yield Finding("versions", "ok", versions)


def accelerator() -> Iterator[Finding]:
    """GPU, driver, the CUDA that torch was built for, compiler, NCCL."""
    driver = nvidia_smi()
    built = torch.version.cuda
    if driver is None:
        if torch.backends.mps.is_available():
            yield Finding("GPU", "ok", "Apple's, by MPS")
            return
        yield Finding("GPU", "note", "no nvidia-smi: no NVIDIA GPU here", "on a cluster ask on a GPU node, in a job")
        if built is None:
            yield Finding("CUDA in torch", "note", f"torch {torch.__version__} is built for CPUs", INSTALL_CUDA)
        return
    yield Finding("driver", "ok", driver.words)
    if built is None:
        yield Finding("CUDA in torch", "problem", f"torch {torch.__version__} is built for CPUs", INSTALL_CUDA)
        return
    if not torch.cuda.is_available():
        # a driver runs what was built for its own major version of CUDA, and for the ones before
        if driver.cuda and int(built.split(".")[0]) > int(driver.cuda.split(".")[0]):
            remedy = f"the driver knows CUDA {driver.cuda}; {INSTALL_CUDA}, or a newer driver"
        else:
            remedy = "ask the scheduler for a GPU (CUDA_VISIBLE_DEVICES is empty without), or for another node"
        yield Finding("CUDA in torch", "problem", f"torch is built for CUDA {built} and sees no GPU", remedy)
        return
    for index in range(torch.cuda.device_count()):
        yield _card(index, built)
    if dist.is_nccl_available():
        yield Finding("NCCL", "ok", ".".join(map(str, torch.cuda.nccl.version())))
    else:
        yield Finding("NCCL", "problem", "torch has none: no training on several GPUs", INSTALL_CUDA)
    try:
        compiles(True, torch.device("cuda", 0))
        yield Finding("compiled blocks", "ok", "Triton and a compiler are here")
    except BadInput as error:
        missing = str(error).removeprefix("training.compile: true needs ").partition(" on cuda")[0]
        yield Finding("compiled blocks", "note", f"eager for want of {missing}", f"slower; load or install {missing}")


@dataclass(frozen=True)
class Driver:
    """What nvidia-smi says."""

    words: str
    cuda: str | None  # the newest that it runs


def nvidia_smi() -> Driver | None:
    """The driver of this machine; None where there is none, or none that works."""
    text = output("nvidia-smi")
    if text is None:
        return None
    versions = dict(re.findall(r"(Driver|CUDA) Version: ([\d.]+)", text))
    words = ", ".join(f"{'driver' if name == 'Driver' else 'runs CUDA up to'} {v}" for name, v in versions.items())
    return Driver(words or "nvidia-smi", versions.get("CUDA"))


def _card(index: int, built: str) -> Finding:
    facts, (major, minor) = torch.cuda.get_device_properties(index), torch.cuda.get_device_capability(index)
    words = f"{facts.name}, {size(facts.total_memory)}, capability {major}.{minor}, torch for CUDA {built}"
    try:
        ones = torch.ones(8, 8, device=f"cuda:{index}")
        works = float((ones @ ones).sum()) == 512
    except RuntimeError as error:
        return Finding(f"GPU {index}", "problem", f"{words}: {str(error).splitlines()[0]}", INSTALL_CUDA)
    if not works:
        return Finding(f"GPU {index}", "problem", f"{words}: multiplies wrongly", "tell the site; ask for another node")
    return Finding(f"GPU {index}", "ok", words)


def disk(project: Project) -> Iterator[Finding]:
    """Room, the right to write, and locks, where the results go."""
    place = next(folder for folder in (project.results, *project.results.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < SPACE:
        remedy = f"{size(SPACE)} hold datasets and checkpoints of any experiment: make results a link to a larger disk"
        yield Finding("disk", "problem", f"{size(free)} free in {place}", remedy)
    else:
        yield Finding("disk", "ok", f"{size(free)} free in {place}")
    try:
        with tempfile.NamedTemporaryFile(dir=place) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
            yield Finding("writing", "ok", f"a file of 1 MB in {place}")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                told = f"no flock in {place} ({error.strerror})"
                yield Finding("locks", "note", told, "runs are held by heartbeats alone: start no run twice at once")
    except OSError as error:
        remedy = "free some of your quota, or make results a link to where you may write"
        yield Finding("writing", "problem", f"{place}: {error.strerror}", remedy)


def raw_data(project: Project) -> Iterator[Finding]:
    """The raw files of the datasets that config.yaml asks for."""
    datasets = {dataset.name: dataset for experiment in project.chosen for dataset in experiment.datasets}
    for dataset in datasets.values():
        if (project.dataset_folder(dataset) / "provenance.json").is_file():
            yield Finding(f"data of {dataset.puzzle}", "ok", f"{dataset.name} is built")
            continue
        finding = _raw_files(project, dataset)
        if finding is not None:
            yield finding


def _raw_files(project: Project, dataset: Dataset) -> Finding | None:
    module = puzzles.module(dataset.puzzle)
    about = f"data of {dataset.puzzle}"
    own = dataset.raw or (project.raw_data and project.raw_data / dataset.puzzle)
    place = own if own and own.is_dir() else project.results / "raw" / dataset.puzzle
    names = module.raw_files(dataset.model_copy(update={"raw": own}) if own and own.is_dir() else dataset)
    if not names:
        return None
    missing = [name for name in names if not (place / name).exists()]
    if not missing:
        return Finding(about, "ok", f"{', '.join(names)} in {place}")
    if set(missing) <= set(module.SOURCES) and place != own:
        return Finding(about, "problem", f"{', '.join(missing)} not in {place}", "snakemake download, on a login node")
    hint = getattr(module, "RAW_HINT", f"put the files into {place}")
    return Finding(
        about, "problem", f"{', '.join(missing)} not in {place}", f"{hint}; then set raw_data or dataset.raw"
    )


def software(project: Project) -> Iterator[Finding]:
    """What config.yaml says of the software of the jobs."""
    image = project.workflow.container
    if image is None or "://" in image:
        return
    if not (project.root / image).is_file():
        remedy = f"apptainer build {image} envs/trm.def; or container: null"
        yield Finding("container", "problem", f"{image}: no such file", remedy)
    elif not (shutil.which("apptainer") or shutil.which("singularity")):
        yield Finding("container", "problem", f"{image}, but no apptainer on PATH", "module load apptainer")
    else:
        yield Finding("container", "ok", image)


def scheduler(name: str, root: Path) -> Iterator[Finding]:
    """A scheduler's commands, its plugin, and the profile for it."""
    missing = [command for command in SCHEDULERS[name] if shutil.which(command) is None]
    if missing:
        yield Finding(name, "problem", f"no {', '.join(missing)} on PATH", "load the module of the scheduler")
    if importlib.util.find_spec(f"snakemake_executor_plugin_{name}") is None:
        remedy = f"pip install snakemake-executor-plugin-{name}"
        yield Finding(name, "problem", "Snakemake has no plugin for it", remedy)
    if not missing:
        yield Finding(name, "ok", ", ".join(SCHEDULERS[name]))
    path = root / "profiles" / name / "config.yaml"
    if not path.is_file():
        yield Finding(f"profiles/{name}", "problem", f"{path}: no such file", "run this in the folder of the checkout")
        return
    asks_accounting = name == "slurm" and read_yaml(path).get("slurm-status-command") != "squeue"
    if asks_accounting and not missing and output("sacct", "--noheader", "--starttime=now") is None:
        remedy = f"slurm-status-command: squeue in {path}"
        yield Finding("slurm accounting", "problem", "sacct does not answer: Snakemake sees no job end", remedy)
    yield from profile(name, path)


def profile(name: str, path: Path) -> Iterator[Finding]:
    """The keys of a profile that every site has to fill in, and whether the scheduler knows what they name."""
    about = f"profiles/{name}"
    ending, ask = QUEUES[name]
    empty, unknown, filled = [], [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        key, value = site_key(line)
        if key is None:
            continue
        if not value:
            empty.append(f"{key} (line {number})")
        elif key.endswith(ending) and shutil.which(ask[0]) and not output(*ask, value):
            unknown.append(f"{key} {value} (line {number})")
        else:
            filled.append(f"{key} {value}")
    if empty:
        remedy = f"fill in what your site asks for in {path}; leave empty what it has a default for"
        yield Finding(about, "note", f"empty: {', '.join(empty)}", remedy)
    if unknown:
        listing = "sinfo -s" if name == "slurm" else "bqueues"
        yield Finding(
            about, "problem", f"the scheduler knows no {', '.join(unknown)}", f"`{listing}` lists what it has"
        )
    if filled and not unknown:
        yield Finding(about, "ok", ", ".join(filled))


def site_key(line: str) -> tuple[str | None, str]:
    """Key and value of a line of a profile that is marked SITE; (None, "") of any other.

    A value may be quoted twice, since Snakemake evaluates strings in profiles as Python.
    """
    content, marked, _ = line.partition("# SITE")
    if not marked:
        return None, ""
    pairs = yaml.safe_load(content.strip().removeprefix("- "))
    if not isinstance(pairs, dict):
        return None, ""
    ((key, value),) = pairs.items()
    return key, "" if value is None else str(value).strip("'\"")


def output(*command: str) -> str | None:
    """What a command prints; None where it is not there, fails, or takes longer than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
