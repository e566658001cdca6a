"""Checkpoints: everything a run needs to go on to the same bits, in one safetensors file each.

    CHECKPOINTS/step-00001000.safetensors    tensors by name; where the run stands as JSON in the header

A file gets its name only when it is whole and on the disk. Two are kept: a newest one that cannot be read (a disk
that lied, a copy cut short) falls back to the one before.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from trm.files import BadInput, atomic, fingerprint
from trm.tensors import read_tensors, write_tensors

KEPT = 2
NAME = re.compile(r"step-(\d{8,})\.safetensors")

# keys of a training that change neither the weights of a step nor the metrics on the way there, rounding apart
SHAPELESS = {"max_steps", "checkpoint_every", "micro_batch", "checkpoint_activations", "compile"}


def run_fingerprint(
    content_sha256: list[str], model: dict, training: dict, seed: int, init_sha256: str | None = None
) -> str:
    """Names what shapes the weights of a run: equal fingerprints, equal weights at every step.

    It takes the hashes of the datasets, in order, and of the weights that the training starts from, wherever they lie.
    The length of a training shapes its weights only where something happens at a share of the way.
    """
    by_share = training["lr_min_ratio"] < 1 or training["curriculum"] or training["freeze_weights_epochs"]
    shapeless = SHAPELESS | (set() if by_share else {"epochs"})
    shaping = {key: value for key, value in training.items() if key not in shapeless} | {"init": init_sha256}
    return fingerprint([content_sha256, model, shaping, seed])[:16]


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write the checkpoint of a step, then remove all but the newest two up to it."""
    with atomic(_path(folder, step)) as path:
        write_tensors(path, tensors, state)
    for old in [other for other in _newest_first(folder) if other <= step][KEPT:]:
        _path(folder, old).unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest whole checkpoint; None where there is none."""
    for step in _newest_first(folder):
        path = _path(folder, step)
        try:
            return read_tensors(path)
        except BadInput as error:
            print(f"warning: {error}; falling back to the checkpoint before", file=sys.stderr)
    return None


def newest(folder: Path) -> int | None:
    """The step of the newest checkpoint, whole or not; None where there is none."""
    return next(iter(_newest_first(folder)), None)


def _newest_first(folder: Path) -> list[int]:
    found = map(NAME.fullmatch, os.listdir(folder) if folder.is_dir() else [])
    return sorted((int(match[1]) for match in found if match), reverse=True)


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08}.safetensors"
