"""Starting a training from the weights of a finished run: continued pre-training, and all that is tuned after it.

Every tensor has to fit. Only the puzzle embedding may have another number of rows, one for each puzzle of another
dataset: then all rows become the mean of the loaded ones, or normal with their mean and deviation.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trm import draws
from trm.config import Model, load
from trm.files import BadInput, sha256
from trm.models.network import Network
from trm.runs import check_shapes
from trm.tensors import read_tensors

STREAM = 7  # keeps these draws apart from those of other uses of the same seed
TABLE = "puzzle_emb.weights"
MEANINGFUL = ("name", "pos_encodings", "num_heads")  # no tensor's shape tells, and yet the weights work with these only


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights of a finished run. Raises BadInput where it has none."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise BadInput(f"{path}: no such file, expected the weights of a finished run (training.init)")
    return sha256(path)


def start_from(folder: Path, model: Network, puzzle_emb: Literal["keep", "mean", "normal"] | None, seed: int) -> None:
    """Load the weights of the run in `folder`; `puzzle_emb` says what becomes of the puzzle embedding.

    None keeps it where it has as many rows, and takes the mean else. Raises BadInput where something does not fit.
    """
    path = folder / "model.safetensors"
    weights, _ = read_tensors(path)
    _check_meaning(folder / "config.yaml", model.config)
    table, loaded = model.state_dict().get(TABLE), weights.get(TABLE)
    apart = set()
    if table is not None and loaded is not None:
        puzzle_emb = puzzle_emb or ("keep" if len(table) == len(loaded) else "mean")
        if puzzle_emb != "keep" and table.shape[1:] == loaded.shape[1:]:
            apart = {TABLE}
    check_shapes(path, weights, model, "the model and the dataset to be trained (training.init)", apart)
    if apart:
        _fill(table, weights.pop(TABLE), puzzle_emb, seed)
    model.load_state_dict(weights, strict=False)  # the names are checked


def _check_meaning(path: Path, config: Model) -> None:
    loaded = load(path).model
    for key in MEANINGFUL:
        if getattr(loaded, key) != getattr(config, key):
            raise BadInput(
                f"{path}: model.{key} is {getattr(loaded, key)}, expected {getattr(config, key)} as in the model to "
                f"be trained (training.init)"
            )


def _fill(table: Tensor, loaded: Tensor, how: str, seed: int) -> None:
    """Fill all rows of `table` [n, width], in place, from the columns' mean and deviation in `loaded` [m, width]."""
    deviation, mean = torch.std_mean(loaded, dim=0, correction=0)
    if how == "mean":
        table.copy_(mean)
        return
    generator = torch.Generator().manual_seed(int(draws.hashed(seed, STREAM)[0] >> 1))
    table.normal_(generator=generator).mul_(deviation).add_(mean)
