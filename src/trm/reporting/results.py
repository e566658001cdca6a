"""What a finished and scored run left behind, read without loading the model (layout: trm/runs.py, evaluate.py)."""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from trm.config import Experiment, load
from trm.files import BadInput, read_json, read_text

PREDICTIONS = ("rows", "inputs", "labels", "asked", "predictions", "valid", "q_halt", "exact")
CURVES = ("by_difficulty", "calibration", "halting", "early_exit")


@dataclass(frozen=True)
class Result:
    """One run of an experiment and its score."""

    folder: Path
    experiment: Experiment
    provenance: dict[str, Any]
    evaluation: dict[str, Any]

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def seed(self) -> int:
        return self.provenance["seed"]

    @property
    def data(self) -> str:
        """Hash of the dataset that the run was scored on."""
        return self.evaluation["data"]["content_sha256"]


def read_results(folders: Iterable[Path]) -> list[Result]:
    """The results in some run folders, by experiment and seed. Raises BadInput where two are the same run."""
    results = sorted((_read(folder) for folder in folders), key=lambda result: (result.name, result.seed))
    for (name, seed), same in groupby(results, key=lambda result: (result.name, result.seed)):
        places = [str(result.folder) for result in same]
        if len(places) > 1:
            raise BadInput(f"{places[0]} and {places[1]}: both are {name} with seed {seed}, expected one folder a run")
    return results


def read_experiment(folders: Iterable[Path]) -> list[Result]:
    """The results of one experiment, by seed. Raises BadInput where there are none, or of several experiments."""
    results = read_results(folders)
    names = list(by_experiment(results))
    if len(names) != 1:
        raise BadInput(f"runs of {', '.join(names) or 'no experiment'}, expected those of one experiment")
    return results


def by_experiment(results: list[Result]) -> dict[str, list[Result]]:
    """The results of each experiment."""
    return {name: list(own) for name, own in groupby(results, key=lambda result: result.name)}


def read_metrics(result: Result) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of metrics.jsonl: those of the training, and those of the evaluations meanwhile.

    Of a run on several datasets the evaluations are those on the first, which is the one it is scored on.
    """
    path = result.folder / "metrics.jsonl"
    lines = []
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        try:
            lines.append(json.loads(text))
        except ValueError:
            raise BadInput(f"{path}: line {number}: not valid JSON, expected the figures of a step") from None
    evaluations = [line for line in lines if "split" in line and "dataset" not in line]
    return [line for line in lines if "lm_loss" in line], evaluations


def read_predictions(folder: Path, names: tuple[str, ...] = PREDICTIONS) -> dict[str, np.ndarray]:
    """Arrays of a run's predictions.npz; by default those that pictures need."""
    path = folder / "predictions.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: {error}, expected the predictions of `trm evaluate`") from None


def read_scaling(result: Result) -> dict[str, Any]:
    """What `trm scale` wrote for a run."""
    path = result.folder / "scaling.json"
    found = read_json(path)
    if not isinstance(found.get("scores"), list) or not found["scores"]:
        raise BadInput(f"{path}: no scores, expected what `trm scale` wrote")
    return found


def _read(folder: Path) -> Result:
    facts, score = folder / "provenance.json", folder / "evaluation.json"
    result = Result(folder, load(folder / "config.yaml"), read_json(facts), read_json(score))
    for path, found, keys in (
        (facts, result.provenance, ("seed", "weights", "steps", "seconds", "device")),
        (score, result.evaluation, ("data", "examples", "of", "figures", "by_step", *CURVES)),
    ):
        missing = [key for key in keys if key not in found]
        if missing:
            raise BadInput(f"{path}: no key {missing[0]}, expected what `trm train` and `trm evaluate` wrote")
    return result
