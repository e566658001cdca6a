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

# keys of a training that change neither the weights of a step nor the metrics on the way there
SHAPELESS = {"max_steps", "checkpoint_every"}


def run_fingerprint(content_sha256: str, model: dict, training: dict, seed: int) -> str:
    """Names what shapes the weights of a run: equal fingerprints, equal weights at every step.

    The length of a training shapes them only where the learning rate falls towards its end.
    """
    shapeless = SHAPELESS | ({"epochs"} if training["lr_min_ratio"] == 1 else set())
    shaping = {key: value for key, value in training.items() if key not in shapeless}
    return fingerprint([content_sha256, model, shaping, seed])[:16]


def save(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write the checkpoint of a step, then remove all but the newest two up to it."""
    with atomic(folder / f"step-{step:08}.safetensors") as path:
        write_tensors(path, tensors, state)
    for old in _newest_first(folder, step)[KEPT:]:
        old.unlink()


def load(folder: Path, at_most: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest whole checkpoint up to a step; None where there is none."""
    for path in _newest_first(folder, at_most):
        try:
            return read_tensors(path)
        except BadInput as error:
            print(f"warning: {error}; falling back to the checkpoint before", file=sys.stderr)
    return None


def _newest_first(folder: Path, at_most: int) -> list[Path]:
    found = [match for match in map(NAME.fullmatch, os.listdir(folder) if folder.is_dir() else []) if match]
    steps = sorted((int(match[1]) for match in found), reverse=True)
    return [folder / f"step-{step:08}.safetensors" for step in steps if step <= at_most]
