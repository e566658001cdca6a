"""A finished run: a folder with the weights, how they came about, and how the training went.

RUN/model.safetensors   the final weights
RUN/adapters.safetensors   those of LoRA alone, where it trained them; model.safetensors has them merged
RUN/config.yaml         the resolved experiment, as far as it shapes a run
RUN/metrics.jsonl       what the training logged
RUN/provenance.json     versions, seed, data hash, device, time; written last
"""

import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from trm.config import Dataset, Experiment, load
from trm.data.layout import content_hash, read_split
from trm.data.mixture import renumbered
from trm.data.split import Metadata, Split
from trm.files import BadInput, atomic, read_json, write_json, write_text
from trm.models import build_model
from trm.models.hardware import suited
from trm.models.network import Network
from trm.provenance import provenance
from trm.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class FinishedRun:
    """What `trm train` leaves behind."""

    folder: Path
    experiment: Experiment
    provenance: dict[str, Any]

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """What it says of the datasets that it was trained on, as `experiment.datasets` has them."""
        return [self.provenance["data"], *self.provenance.get("more_data", [])]


def write_run(
    out: Path,
    experiment: Experiment,
    weights: dict[str, Tensor],
    metrics: Path,
    facts: dict[str, Any],
    adapters: dict[str, Tensor] | None = None,
) -> None:
    """Write a finished run, each file whole, the provenance last."""
    if adapters:
        training = experiment.training
        with atomic(out / "adapters.safetensors") as path:
            write_tensors(path, adapters, {"lora_rank": training.lora_rank, "lora_alpha": training.lora_alpha})
    with atomic(out / "model.safetensors") as path:
        write_tensors(path, weights, {"experiment": experiment.name, "step": facts["weights"]["step"]})
    shaping = experiment.model_dump(mode="json", include={"name", "dataset", "more_datasets", "model", "training"})
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


def load_model(run: FinishedRun, metadata: Metadata, device: torch.device) -> Network:
    """The run's model with its final weights, for boards as `metadata` describes them."""
    shape = (metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
    model = build_model(suited(run.experiment.model, device), *shape)
    weights, _ = read_tensors(run.folder / "model.safetensors")
    check_shapes(run.folder / "model.safetensors", weights, model, "its config.yaml and this dataset")
    model.load_state_dict(weights)
    return model.to(device)


def check_shapes(
    path: Path, weights: dict[str, Tensor], model: Network, needed_by: str, apart_from: Container[str] = ()
) -> None:
    """Raises BadInput where the weights in `path` are not the model's, by name and shape."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if name not in apart_from and expected.get(name) != found.get(name):
            raise BadInput(f"{path}: {name} has shape {found.get(name)}, expected {expected.get(name)} for {needed_by}")


def read_test(run: FinishedRun, data: Path) -> tuple[Dataset, dict[str, Any], Split]:
    """The test split in `data` as the run's network numbers its puzzles, its section, and what the run says of it.

    Raises BadInput where the run was trained on several datasets and this is none of them.
    """
    split, known, place = read_split(data / "test"), run.datasets, 0
    if len(known) > 1:
        place = place_of(run, data)
        split = renumbered(split, [facts["num_puzzle_identifiers"] for facts in known], place)
    return run.experiment.datasets[place], known[place], split


def place_of(run: FinishedRun, data: Path) -> int:
    """Which of the run's datasets stands in `data`. Raises BadInput where it is none of them."""
    hashes = [facts["content_sha256"] for facts in run.datasets]
    if hashes == [None]:  # a run that was imported without its dataset
        return 0
    if (found := content_hash(data)) not in hashes:
        names = ", ".join(facts["name"] for facts in run.datasets)
        raise BadInput(f"{data}: content {found[:12]}, expected one of the datasets of {run.folder}: {names}")
    return hashes.index(found)
