"""Several ranks as one: rank r holds rows [r*local, (r+1)*local) of every global batch.

Started by torchrun, or alone; alone every function here does nothing.
"""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from trm.files import BadInput


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this rank writes files and talks."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """This rank's rows of a global batch."""
        local = batch_size // self.size
        return slice(self.rank * local, (self.rank + 1) * local)

    def sum(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks in global order: [local, ...] -> [size * local, ...]."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def concatenate(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all ranks, each with as many as it has, one rank's after the other's."""
        if self.size == 1:
            return rows
        counts = self.gather(torch.tensor([len(rows)], device=self.device)).tolist()
        padded = np.zeros((max(counts), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        flat = torch.from_numpy(padded.reshape(-1).view(np.uint8)).to(self.device)
        parts = self.gather(flat).cpu().numpy().view(rows.dtype).reshape(self.size, *padded.shape)
        return np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)])

    def broadcast(self, array: np.ndarray, rank: int) -> np.ndarray:
        """The array that `rank` has; the others' are of its type and shape but for the length."""
        return self.concatenate(array if self.rank == rank else array[:0])

    def any(self, flag: bool) -> bool:
        """Whether any rank says so; all ranks get the same answer."""
        if self.size == 1:
            return flag
        vote = torch.tensor(float(flag))  # on the CPU: the device has steps to do, which nobody waits for
        dist.all_reduce(vote, op=dist.ReduceOp.MAX)
        return bool(vote)

    def wait(self) -> None:
        """Return once every rank has come here."""
        if self.size > 1:
            dist.barrier()


def pick_device(name: str) -> torch.device:
    """The device called auto, cpu, cuda or mps (Apple's)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: this machine has no CUDA device that torch can use, expected cpu or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise BadInput("--device mps: this machine has no Apple GPU that torch can use, expected cpu or auto")
    if name == "auto":
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        name = next(device for device in available if available[device])
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0")) if name == "cuda" else None)


def compiles(wanted: bool | str, device: torch.device) -> bool:
    """Whether blocks are compiled: as the configuration says, with auto on CUDA where that works."""
    if wanted == "auto":
        return device.type == "cuda" and _missing_to_compile(device) is None
    if wanted and (missing := _missing_to_compile(device)):
        raise BadInput(f"training.compile: true needs {missing} on {device.type}, expected auto or false")
    return wanted


def _missing_to_compile(device: torch.device) -> str | None:
    """What torch.compile would need to run on a device; None: nothing."""
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) < (7, 0):
            return "a GPU of compute capability 7.0 or more"
        if find_spec("triton") is None:
            return "Triton"
        compilers = [os.environ.get("CC"), "gcc", "clang"]  # of Triton's launchers
    else:
        compilers = [os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")]
    if not any(compiler and shutil.which(compiler) for compiler in compilers):
        return f"a compiler ({' or '.join(filter(None, compilers))})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers (Python.h)"
    return None


def join(device: torch.device) -> World:
    """Join the ranks that torchrun has started, each with a device of its own."""
    if device.type == "cuda":  # the same bits every time, where CUDA has a choice
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(0, 1, device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), size, device)


def leave(world: World) -> None:
    if world.size > 1:
        dist.destroy_process_group()
