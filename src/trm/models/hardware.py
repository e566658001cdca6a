"""What the machine can do, and how a network makes the best of it: type of the activations, compiled blocks, memory."""

import numpy as np
import torch
from torch import Tensor

from trm.config import Model
from trm.models.layers import Stack
from trm.models.network import Network

MOST_COMPILED = 100  # variants of the blocks; past PyTorch's own limit of 8 it ends the run


def suited(config: Model, device: torch.device) -> Model:
    """The configuration with activations of a type that the device computes in."""
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    native = device.type == "cpu" and cpu_computes_in(config.forward_dtype)
    dtype = suited_dtype(config.forward_dtype, device.type, capability, native)
    return config.model_copy(update={"forward_dtype": dtype})


def suited_dtype(wanted: str, device: str, capability: tuple[int, int] | None = None, native: bool = False) -> str:
    """The type for a kind of device, on CUDA by its compute capability, on a CPU by whether it has the wanted one.

    bfloat16 came with capability 8.0, fast float16 with 7.0; cards before that, such as a GTX 1080, and Apple's
    compute best in float32. So do most laptops' CPUs, which would convert every number of a half type.
    """
    if wanted == "float32" or (device == "cpu" and native):
        return wanted
    if device in ("cpu", "mps") or capability < (7, 0):
        return "float32"
    return wanted if capability >= (8, 0) else "float16"


def cpu_computes_in(dtype: str) -> bool:
    """Whether this CPU has instructions for a type, as the library of PyTorch's products on CPUs, oneDNN, finds."""
    if dtype == "float32" or not torch.backends.mkldnn.is_available():
        return dtype == "float32"
    onednn = torch.ops.mkldnn
    return (onednn._is_mkldnn_bf16_supported if dtype == "bfloat16" else onednn._is_mkldnn_fp16_supported)()


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """An array on the device. CUDA copies it when its work comes to that, and nobody waits until then."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":  # from memory that stays where it is
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def out_of_memory(error: Exception) -> bool:
    """Whether a computation failed for want of memory; Apple's GPUs and the CPU tell it in words alone."""
    words = ("MPS backend out of memory", "can't allocate memory")
    if str(error) == "could not create a primitive":  # oneDNN, where there is no room for its code
        return True
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(some in str(error) for some in words)


def prepare(network: Network, compiled: bool, recomputes: bool) -> None:
    """Compile the blocks of a network, for shapes that do not change, and let them save memory."""
    if compiled:  # for each number of rows: micro-batches and their halves, evaluations, each with a rest
        torch._dynamo.config.recompile_limit = MOST_COMPILED
    for stack in network.modules():
        if isinstance(stack, Stack):
            stack.recomputes = recomputes
            if compiled:
                stack.run = torch.compile(stack.run, dynamic=False, fullgraph=True)
