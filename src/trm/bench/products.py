"""The matrix products of a computation, recorded as they are called and called again alone: the floor of its time.

They are those of linear layers and of attention, called again with the same shapes, strides and types.
"""

import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WHOLE = ("aten.linear.default", "aten.matmul.default")  # in inference mode these are not taken apart


class Like(NamedTuple):
    """What a product's time depends on in a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self, device: torch.device) -> Tensor:
        """A tensor of this kind with random values."""
        size = 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        flat = torch.zeros(size, dtype=self.dtype, device=device)
        return (flat.normal_() if self.dtype.is_floating_point else flat).as_strided(self.shape, self.strides)


class Call(NamedTuple):
    """A product as it was called, with what its tensors were like in their place."""

    operation: Callable
    arguments: list
    options: dict[str, Any]

    @property
    def flops(self) -> int:
        """Two for each multiplication and its addition; attention has two products, its gradient five."""
        shapes = [argument.shape for argument in self.arguments if isinstance(argument, Like)]
        if "attention" in str(self.operation):
            backward = "backward" in str(self.operation)
            query, key = shapes[1:3] if backward else shapes[:2]  # [B, heads, L, head_dim] each
            batch, heads, length, width = query
            return (5 if backward else 2) * 2 * batch * heads * length * key[2] * width
        if "linear" in str(self.operation):
            inputs, weight = shapes[:2]
            return 2 * torch.Size(inputs).numel() * weight[0]
        first, second = shapes[-2:]
        return 2 * torch.Size(first).numel() * second[-1]


class Recorder(TorchDispatchMode):
    """Takes down the products that are called, and the most bytes that tensors made meanwhile take at a time."""

    def __init__(self):
        super().__init__()
        self.products: list[Call] = []
        self.bytes = self.most_bytes = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        leaves = torch.utils._pytree.tree_leaves
        for tensor in leaves((args, kwargs)):
            self._note(tensor, made=False)
        out = operation(*args, **(kwargs or {}))
        for tensor in leaves(out):
            self._note(tensor, made=True)
        if is_product(str(operation)) or str(operation) in WHOLE:
            like = [Like(tuple(a.shape), a.stride(), a.dtype) if isinstance(a, Tensor) else a for a in args]
            self.products.append(Call(operation, like, kwargs or {}))
        return out

    def _note(self, tensor: Any, made: bool) -> None:
        if not isinstance(tensor, Tensor) or id(storage := tensor.untyped_storage()) in self.known:
            return
        size = storage.nbytes() if made else 0
        self.known.add(id(storage))
        self.bytes += size
        self.most_bytes = max(self.most_bytes, self.bytes)
        weakref.finalize(storage, self._freed, id(storage), size).atexit = False

    def _freed(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.bytes -= size


def is_product(operation: str) -> bool:
    """Whether an operation, by its name in the dispatcher or the profiler, multiplies matrices."""
    name = operation.replace("::", ".").split(".")[1:2]
    return name in (["mm"], ["bmm"], ["addmm"]) or ("scaled_dot_product" in operation and operation.startswith("aten"))


def replayed(products: list[Call], device: torch.device) -> Callable[[], None]:
    """A function that calls the products again, with one tensor for all that are alike."""
    tensors: dict[Like, Tensor] = {}

    def run() -> None:
        for operation, arguments, options in products:
            operation(*map(stand_in, arguments), **options)

    def stand_in(argument: Any) -> Any:
        if not isinstance(argument, Like):
            return argument
        if argument not in tensors:
            tensors[argument] = argument.tensor(device)
        return tensors[argument]

    return run


def timed(function: Callable[[], Any], device: torch.device) -> float:
    """Seconds until the device has done what the function asks of it."""
    wait(device)
    begin = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - begin


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
