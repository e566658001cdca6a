"""LoRA: linear layers that stay as they are, each with a small product of two matrices learnt beside it.

    x W^T + alpha / rank * (x A^T) B^T        A [rank, fan_in], B [fan_out, rank] (arXiv 2106.09685, section 4.1)

B starts at zero, so a network with adapters starts out as the one it was. Every linear layer gets one, in the trunk
and in the heads; the embeddings learn as ever. A layer's adapter stands beside its weight under that layer's name
(`lm_head.weight`, `lm_head.lora_A`, `lm_head.lora_B`), so that all other names stay those of the network, and the
merged weights are those of a network that knows nothing of LoRA.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.models.layers import Linear
from trm.models.network import Network

A, B = ".lora_A", ".lora_B"


class Adapted(Linear):
    """A linear layer, frozen, with its adapter."""

    def __init__(self, linear: Linear, rank: int, alpha: float, generator: torch.Generator):
        nn.Module.__init__(self)
        self.weight, self.bias, self.cast = linear.weight, linear.bias, linear.cast
        self.requires_grad_(False)
        fan_out, fan_in = linear.weight.shape
        bound = fan_in**-0.5  # Kaiming-uniform as PyTorch starts its linear layers: a = sqrt(5)
        self.lora_A = nn.Parameter(torch.empty(rank, fan_in).uniform_(-bound, bound, generator=generator))
        self.lora_B = nn.Parameter(torch.zeros(fan_out, rank))
        self.to(linear.weight.device)
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        narrow = F.linear(x, self.lora_A.to(x.dtype))
        return super().forward(x) + self.scale * F.linear(narrow, self.lora_B.to(x.dtype))

    def across(self, x: Tensor) -> Tensor:
        narrow = self.lora_A.to(x.dtype) @ x
        return super().across(x) + self.scale * (self.lora_B.to(x.dtype) @ narrow)


def attach(network: Network, rank: int, alpha: float, seed: int) -> None:
    """Give every linear layer of the network an adapter, drawn from `seed`, and freeze the layers themselves."""
    generator = torch.Generator().manual_seed(seed)
    linears = [(name, module) for name, module in network.named_modules() if isinstance(module, Linear)]
    for name, linear in linears:
        network.set_submodule(name, Adapted(linear, rank, alpha, generator))


def adapters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The adapters alone among a network's weights (`state_dict()`)."""
    return {name: tensor for name, tensor in weights.items() if name.endswith((A, B))}


def merge(weights: dict[str, Tensor], rank: int, alpha: float) -> dict[str, Tensor]:
    """The weights of the plain network that computes the same: each adapter's product added to its layer."""
    merged = {name: tensor for name, tensor in weights.items() if not name.endswith((A, B))}
    for name in weights:
        if name.endswith(A):
            layer = name.removesuffix(A)
            product = weights[layer + B] @ weights[name]
            merged[f"{layer}.weight"] = weights[f"{layer}.weight"] + alpha / rank * product
    return merged


def load(network: Network, tensors: dict[str, Tensor]) -> None:
    """Put `adapters` into a network that they are attached to. Raises ValueError where they are not its own."""
    own = adapters(network.state_dict())
    for name in sorted(own.keys() | tensors.keys()):
        expected, found = (tuple(group[name].shape) if name in group else None for group in (own, tensors))
        if expected != found:
            raise ValueError(f"{name} has shape {found}, expected {expected}")
    network.load_state_dict(tensors, strict=False)
