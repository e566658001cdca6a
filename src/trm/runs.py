"""A finished run: a folder with the weights, how they came about, and how the training went.

RUN/model.safetensors   the final weights
RUN/config.yaml         the resolved experiment, as far as it shapes a run
RUN/metrics.jsonl       what the training logged
RUN/provenance.json     versions, seed, data hash, device, time; written last
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from trm.config import Experiment, load
from trm.data.layout import Metadata
from trm.files import BadInput, atomic, read_json, write_json, write_text
from trm.models.trm import TRM
from trm.provenance import provenance
from trm.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class FinishedRun:
    """What `trm train` leaves behind."""

    folder: Path
    experiment: Experiment
    provenance: dict[str, Any]


def write_run(
    out: Path, experiment: Experiment, weights: dict[str, Tensor], metrics: Path, facts: dict[str, Any]
) -> None:
    """Write a finished run, each file whole, the provenance last."""
    with atomic(out / "model.safetensors") as path:
        write_tensors(path, weights, {"experiment": experiment.name, "step": facts["weights"]["step"]})
    shaping = experiment.model_dump(mode="json", include={"name", "dataset", "model", "training"})
    write_text(out / "config.yaml", yaml.safe_dump(shaping, sort_keys=False))
    with atomic(out / "metrics.jsonl") as path:
        shutil.copyfile(metrics, path)
    write_json(out / "provenance.json", provenance(**facts))


def read_run(folder: Path) -> FinishedRun:
    """Open a finished run. Raises BadInput where it is not one."""
    if not (folder / "provenance.json").is_file():
        raise BadInput(f"{folder}: no provenance.json, expected the folder of a finished run (trm train --out)")
    facts = read_json(folder / "provenance.json")
    missing = sorted({"seed", "data", "weights"} - facts.keys())
    if missing:
        raise BadInput(f"{folder}/provenance.json: no key {missing[0]}, expected what `trm train` wrote")
    return FinishedRun(folder, load(folder / "config.yaml"), facts)


def load_model(run: FinishedRun, metadata: Metadata, device: torch.device) -> TRM:
    """The run's model with its final weights, for boards as `metadata` describes them."""
    shape = (metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
    model = TRM(run.experiment.model, *shape)
    weights, _ = read_tensors(run.folder / "model.safetensors")
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise BadInput(
                f"{run.folder}/model.safetensors: {name} has shape {found.get(name)}, expected {expected.get(name)} "
                f"for its config.yaml and this dataset"
            )
    model.load_state_dict(weights)
    return model.to(device)
