"""Real trainings in processes of their own, to be stopped and compared."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch
import yaml

from trm.config import check
from trm.data.build import build
from trm.tensors import read_tensors

EXPERIMENT = {
    "name": "tiny",
    "dataset": {
        "puzzle": "sudoku",
        "size": 4,
        "blanks": [4, 8],
        "subsample_size": 60,
        "test_size": 20,
        "num_aug": 3,
        "validation": 0.1,
    },
    "model": {
        "hidden_size": 16,
        "num_heads": 2,
        "H_cycles": 2,
        "L_cycles": 2,
        "L_layers": 1,
        "puzzle_emb_ndim": 16,
        "puzzle_emb_len": 2,
        "halt_max_steps": 4,
        "halt_exploration_prob": 0.5,
        "forward_dtype": "float32",
    },
    "training": {
        "global_batch_size": 16,
        "epochs": 400,
        "eval_interval": 20,
        "max_steps": 300,
        "checkpoint_every": 7,
        "log_every": 10,
        "lr": 1.0e-3,
        "lr_warmup_steps": 5,
        "lr_min_ratio": 0.1,
        "final_weights": "best_validation",
    },
}


class Training:
    """A `trm train` of the tiny experiment in `folder`, on one rank or several, on one dataset or several."""

    def __init__(
        self, folder: Path, data: Path | list[Path], ranks: int = 1, more_datasets: Sequence = (), **training: object
    ):
        self.folder, self.ranks = folder, ranks
        self.data = data if isinstance(data, list) else [data]
        folder.mkdir(parents=True, exist_ok=True)
        tree = {**EXPERIMENT, "training": {**EXPERIMENT["training"], **training}, "more_datasets": list(more_datasets)}
        (folder / "tiny.yaml").write_text(yaml.safe_dump(tree))
        self.process: subprocess.Popen | None = None

    def start(self, *options: str, nodes: Sequence[str] = ("--standalone",)) -> subprocess.Popen:
        """Start it here, or with `nodes`, options of torchrun, this node's part of it."""
        launcher = [sys.executable]
        if self.ranks > 1:
            launcher += ["-m", "torch.distributed.run", *nodes]
            launcher += ["--nproc-per-node", str(self.ranks if "--standalone" in nodes else 1)]
        data = [option for folder in self.data for option in ("--data", str(folder))]
        command = [*launcher, "-m", "trm", "train", str(self.folder / "tiny.yaml"), *data]
        self.process = subprocess.Popen(
            [*command, "--out", str(self.folder / "run"), *options],
            stderr=open(self.folder / "log", "ab"),  # noqa: SIM115
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )
        return self.process

    def run(self, *options: str) -> int:
        return self.start(*options).wait(timeout=300)

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to the process and all its children (torchrun's workers lead groups of their own)."""
        family = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))]
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        return self.process.wait(timeout=60)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("run.checkpoints/*/step-*.safetensors"))

    def newest_step(self) -> int:
        return int(self.checkpoints[-1].stem.removeprefix("step-")) if self.checkpoints else 0


def results(training: Training) -> tuple[dict, dict, list]:
    """Everything a training ends with: checkpoint, final weights, metrics without the clock."""
    state, _ = read_tensors(training.checkpoints[-1])
    weights, _ = read_tensors(training.folder / "run" / "model.safetensors")
    lines = [json.loads(line) for line in (training.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return state, weights, [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_bits(ours: Training, theirs: Training) -> None:
    for a, b in zip(results(ours)[:2], results(theirs)[:2], strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name
    assert results(ours)[2] == results(theirs)[2]


def build_data(folder: Path) -> Path:
    build(check(EXPERIMENT, "tiny").dataset, folder)
    return folder
