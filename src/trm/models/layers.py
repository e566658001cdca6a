"""The layers that every model here is made of.

Weights stay float32 and are cast to the type of the activations where they are used. No layer has a bias (but
`q_head`), no norm has a weight. Module and parameter names are those of the published checkpoints.

Shapes: B batch, L positions (puzzle embedding and tokens), D hidden_size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RMS_EPS = 1e-5
ROPE_THETA = 10000.0


def truncated_normal(*shape: int, std: float, generator: torch.Generator) -> Tensor:
    """Normal values cut at two standard deviations and rescaled so that their deviation is `std` (as in JAX)."""
    cut = 2.0
    mass = math.erf(cut / math.sqrt(2))
    density = math.exp(-0.5 * cut * cut) / math.sqrt(2 * math.pi)
    scale = std / math.sqrt(1 - 2 * cut * density / mass)
    values = torch.empty(shape).uniform_(-mass, mass, generator=generator)
    return values.erfinv_().mul_(math.sqrt(2) * scale).clip_(-cut * scale, cut * scale)


def rms_norm(x: Tensor) -> Tensor:
    """x over its root mean square along the last axis, computed in float32."""
    full = x.float()
    return (full * torch.rsqrt(full.square().mean(-1, keepdim=True) + RMS_EPS)).to(x.dtype)


class Linear(nn.Module):
    """x W^T (+ b), W drawn with standard deviation 1/sqrt(fan_in)."""

    def __init__(self, fan_in: int, fan_out: int, generator: torch.Generator, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(truncated_normal(fan_out, fan_in, std=fan_in**-0.5, generator=generator))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Embedding(nn.Module):
    """A table of n vectors of width D, drawn with standard deviation 1/sqrt(D)."""

    def __init__(self, n: int, width: int, generator: torch.Generator):
        super().__init__()
        self.embedding_weight = nn.Parameter(truncated_normal(n, width, std=width**-0.5, generator=generator))

    def forward(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        return F.embedding(tokens, self.embedding_weight.to(dtype))


class PuzzleEmbedding(nn.Module):
    """One vector per puzzle identifier, zero at first.

    A training step touches only the rows of its batch, so the table is a buffer, not a parameter: `rows` hands out
    a leaf that collects the gradient, and `SignSGD` writes back (training/optimizers.py).
    """

    def __init__(self, num_puzzle_identifiers: int, width: int):
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_puzzle_identifiers, width))

    def rows(self, puzzle_identifiers: Tensor) -> Tensor:
        """[B] -> [B, puzzle_emb_ndim], a leaf of its own."""
        return self.weights[puzzle_identifiers].requires_grad_(torch.is_grad_enabled())


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)); the inner width is rounded up to a multiple of 256."""

    def __init__(self, width: int, expansion: float, generator: torch.Generator):
        super().__init__()
        inner = -(-round(expansion * width * 2 / 3) // 256) * 256
        self.gate_up_proj = Linear(width, 2 * inner, generator)
        self.down_proj = Linear(inner, width, generator)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


def rotary_tables(positions: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary position embedding, each [L, 1, head_dim], half-rotation form."""
    frequencies = 1.0 / ROPE_THETA ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies).repeat(1, 2)[:, None]
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys [B, L, heads, head_dim] turned by their position, in float32."""
    full = x.float()
    first, second = full.chunk(2, dim=-1)
    return (full * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention over all positions, not causal."""

    def __init__(self, width: int, heads: int, generator: torch.Generator):
        super().__init__()
        self.heads = heads
        self.qkv_proj = Linear(width, 3 * width, generator)
        self.o_proj = Linear(width, width, generator)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3 * self.heads, width // self.heads)
        query, key, value = qkv.split(self.heads, dim=2)  # each [B, L, heads, head_dim]
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Post-norm block: h = norm(h + mix(h)); h = norm(h + mlp(h)).

    `mix` is attention, or with `mlp_t` a SwiGLU over the positions (the block transposed to [B, D, L]).
    """

    def __init__(self, width: int, heads: int, expansion: float, mlp_t_length: int | None, generator: torch.Generator):
        super().__init__()
        if mlp_t_length is None:
            self.self_attn = Attention(width, heads, generator)
        else:
            self.mlp_t = SwiGLU(mlp_t_length, expansion, generator)
        self.mlp = SwiGLU(width, expansion, generator)

    def forward(self, h: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        if hasattr(self, "mlp_t"):
            turned = h.transpose(1, 2)
            h = rms_norm(turned + self.mlp_t(turned)).transpose(1, 2)
        else:
            h = rms_norm(h + self.self_attn(h, rotary))
        return rms_norm(h + self.mlp(h))


class Stack(nn.Module):
    """Blocks one after the other."""

    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.layers = nn.ModuleList(blocks)

    def forward(self, h: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        for block in self.layers:
            h = block(h, rotary)
        return h
