"""The project in a folder, as the workflow sees it: its configuration, its datasets, its checkpoints.

Everything is where Snakemake puts it: config/config.yaml, config/experiments/*.yaml, and the results below the path
variable `results`.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trm.config import Dataset, Experiment, Workflow, load_folder
from trm.data.mixture import mixed, read_splits
from trm.data.sampler import total_steps
from trm.files import BadInput, read_json, read_yaml
from trm.training.checkpoints import run_fingerprint
from trm.training.lock import alive
from trm.training.start import weights_hash

SEED = re.compile(r"seed-(\d+)")
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
SHORTER = re.compile(r"\d+-steps")  # a training that ends before one that was here first: see training/loop.py


@dataclass(frozen=True)
class Checkpoints:
    """A folder checkpoints/EXPERIMENT/seed-N/FINGERPRINT."""

    folder: Path
    experiment: str
    seed: int

    @property
    def fingerprint(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Shaping:
    """What shapes the runs of an experiment besides its own keys and the seed."""

    content_sha256: list[str]  # of its datasets
    init_sha256: str | None  # of the weights it starts from


class NotKnown(Exception):
    """Something that others depend on has not been made yet; the message says what."""


@dataclass(frozen=True)
class Project:
    """The configuration in a folder, with the overrides that the workflow was given on the command line."""

    root: Path
    overrides: tuple[str, ...] = ()

    @cached_property
    def workflow(self) -> Workflow:
        path = self.root / "config" / "config.yaml"
        try:
            return Workflow.model_validate(read_yaml(path))
        except ValidationError as error:
            problem = error.errors()[0]
            raise BadInput(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None

    @cached_property
    def files(self) -> dict[str, list[Experiment]]:
        """What the files of config/experiments stand for: one experiment each or, of a sweep, several."""
        return load_folder(self.root / "config" / "experiments", [*self.workflow.set, *self.overrides])

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """All experiments, by name."""
        return {experiment.name: experiment for found in self.files.values() for experiment in found}

    @property
    def chosen(self) -> list[Experiment]:
        """Those that config.yaml names, by themselves or by their file."""
        named = {name: [experiment] for name, experiment in self.experiments.items()} | self.files
        for name in self.workflow.experiments:
            if name not in named:
                raise BadInput(
                    f"config/config.yaml: experiments: {name} is unknown, expected one of {', '.join(named)}"
                )
        found = [experiment for name in self.workflow.experiments for experiment in named[name]]
        return list({experiment.name: experiment for experiment in found}.values())

    @property
    def results(self) -> Path:
        return self.root / self.workflow.pathvars.get("results", "results")

    @property
    def raw_data(self) -> Path | None:
        """The folder with one folder of raw files per puzzle; None: they are downloaded."""
        found = self.workflow.raw_data or os.environ.get("TRM_RAW_DATA")
        return self.root / found if found else None

    def dataset_folder(self, dataset: Dataset) -> Path:
        return self.results / "datasets" / dataset.name

    def checkpoints(self) -> list[Checkpoints]:
        """All folders of checkpoints, by experiment and seed. What has another name, or is a link, is none."""
        found = []
        for experiment in subfolders(self.results / "checkpoints"):
            for seed in subfolders(experiment):
                if match := SEED.fullmatch(seed.name):
                    number = int(match[1])
                    ours = (folder for folder in subfolders(seed) if FINGERPRINT.fullmatch(folder.name))
                    found += [Checkpoints(folder, experiment.name, number) for folder in ours]
        return found

    def shaping(self, experiment: Experiment) -> Shaping:
        """What shapes the runs of an experiment, as far as it lies on disk. Raises NotKnown."""
        hashes = []
        for dataset in experiment.datasets:
            path = self.dataset_folder(dataset) / "provenance.json"
            if not path.is_file():
                raise NotKnown(f"its dataset {dataset.name} is not built")
            content = read_json(path).get("content_sha256")
            if content is None:
                raise NotKnown(f"{path} says nothing of its content")
            hashes.append(content)
        init = experiment.training.init
        if init and not (self.root / init / "model.safetensors").is_file():
            raise NotKnown(f"the run that it starts from, {init}, is not there")
        return Shaping(hashes, weights_hash(self.root / init) if init else None)

    def built(self, experiment: Experiment) -> list[Path]:
        """The folders of an experiment's datasets. Raises BadInput where one is not built."""
        folders = [self.dataset_folder(dataset) for dataset in experiment.datasets]
        for folder in folders:
            if not (folder / "provenance.json").is_file():
                raise BadInput(f"{folder}: no dataset, expected that of {experiment.name}; run `snakemake datasets`")
        return folders

    def total_steps(self, experiment: Experiment) -> int:
        """Optimiser steps of a training. Raises NotKnown where a dataset is missing."""
        self.shaping(experiment)
        return steps_of(experiment, self.built(experiment))


def steps_of(experiment: Experiment, data: list[Path]) -> int:
    """Optimiser steps of a training on the datasets in `data`."""
    training = experiment.training
    train = mixed(read_splits(data, "train"))
    total = total_steps(train, training.global_batch_size, training.epochs, training.max_examples_per_puzzle)
    return min(total, training.max_steps or total)


def fingerprint(experiment: Experiment, seed: int, shaping: Shaping) -> str:
    """The name of the folder that holds the checkpoints of a run."""
    model, training = experiment.model.model_dump(), experiment.training.model_dump()
    return run_fingerprint(shaping.content_sha256, model, training, seed, shaping.init_sha256)


def subfolders(folder: Path) -> Iterator[Path]:
    """The folders in a folder, by name; links are not followed."""
    if folder.is_dir():
        yield from sorted(Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))


def holder(folder: Path) -> dict[str, Any] | None:
    """Who trains in a folder of checkpoints: host, process, job, beat. None where nobody alive does."""
    for place in [folder, *(sub for sub in subfolders(folder) if SHORTER.fullmatch(sub.name))]:
        try:
            facts = json.loads((place / "lock.json").read_text())
            if alive(facts):
                return facts
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # what a trainer would overwrite as well
            continue
    return None
