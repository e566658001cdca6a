"""The layers that every model here is made of.

Weights stay float32; linear layers use a copy in the type of the activations (Linear.cast_to). No layer has a bias (but
`q_head`), no norm has a weight. Module and parameter names are those of the published checkpoints.

Shapes: B batch, L positions (puzzle embedding and tokens), D hidden_size.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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


def rms_norm(x: Tensor, axis: int = -1) -> Tensor:
    """x over its root mean square along an axis, computed in float32."""
    full = x.float()
    return (full * torch.rsqrt(full.square().mean(axis, keepdim=True) + RMS_EPS)).to(x.dtype)


class _Product(torch.autograd.Function):
    """x W^T along the last axis or, `across`, W x along the one before it, by a copy of W in the type of x.

    The gradient of each use goes to W itself in float32, as if W had been cast for that use alone.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, cast: Tensor, across: bool) -> Tensor:
        ctx.save_for_backward(x, cast)
        ctx.across = across
        return torch.bmm(cast.expand(len(x), -1, -1), x) if across else F.linear(x, cast)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, cast = ctx.saved_tensors
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            to_x = torch.bmm(cast.t().expand(len(x), -1, -1), gradient) if ctx.across else gradient @ cast
        if ctx.needs_input_grad[1] and ctx.across:
            to_weight = torch.bmm(gradient, x.transpose(1, 2)).float().sum(0)
        elif ctx.needs_input_grad[1]:
            to_weight = (gradient.flatten(0, -2).t() @ x.flatten(0, -2)).float()
        return to_x, to_weight, None, None


class Linear(nn.Module):
    """x W^T (+ b), W drawn with standard deviation 1/sqrt(fan_in)."""

    def __init__(self, fan_in: int, fan_out: int, generator: torch.Generator, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(truncated_normal(fan_out, fan_in, std=fan_in**-0.5, generator=generator))
        self.bias = nn.Parameter(torch.zeros(fan_out)) if bias else None
        self.cast = self.weight.detach()  # in the type of the activations; see cast_to

    def cast_to(self, dtype: torch.dtype) -> None:
        """Bring the copy that the products use up to date: once a step, however often the recursion uses it."""
        self.cast = self.weight.detach().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Along the last axis."""
        product = _Product.apply(x, self.weight, self.cast, False)
        return product if self.bias is None else product + self.bias.to(x.dtype)

    def across(self, x: Tensor) -> Tensor:
        """Along the middle axis, [B, fan_in, D] -> [B, fan_out, D], without transposing a board."""
        return _Product.apply(x, self.weight, self.cast, True)


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
        """Along the last axis."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)

    def across(self, x: Tensor) -> Tensor:
        """Along the middle axis."""
        gate, up = self.gate_up_proj.across(x).chunk(2, dim=1)
        return self.down_proj.across(F.silu(gate) * up)


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
    """Multi-head attention over all positions, not causal. Heads are as wide as fit into the width, all alike."""

    def __init__(self, width: int, heads: int, generator: torch.Generator):
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.qkv_proj = Linear(width, 3 * heads * self.head_dim, generator)
        self.o_proj = Linear(heads * self.head_dim, width, generator)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv_proj(x).view(batch, length, 3 * self.heads, self.head_dim)
        query, key, value = qkv.split(self.heads, dim=2)  # each [B, L, heads, head_dim]
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))


class Block(nn.Module):
    """Post-norm block: h = norm(h + mix(h)); h = norm(h + mlp(h)).

    `mix` is attention, or with `mlp_t` a SwiGLU over the positions, after which the norm is over them as well.
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
            h = rms_norm(h + self.mlp_t.across(h), axis=1)
        else:
            h = rms_norm(h + self.self_attn(h, rotary))
        return rms_norm(h + self.mlp(h))


class Stack(nn.Module):
    """Blocks one after the other, with the tables for their rotations (None: nothing is rotated)."""

    def __init__(self, blocks: Iterable[Block], rotary: tuple[Tensor, Tensor] | None):
        super().__init__()
        self.layers = nn.ModuleList(blocks)
        cos, sin = rotary or (None, None)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.recomputes = False  # keep only h for the backward pass, and run the blocks again in it

    def forward(self, h: Tensor) -> Tensor:
        if self.recomputes and torch.is_grad_enabled():
            return checkpoint(self.run, h, use_reentrant=False)
        return self.run(h)

    def run(self, h: Tensor) -> Tensor:
        rotary = None if self.cos is None else (self.cos, self.sin)
        for block in self.layers:
            h = block(h, rotary)
        return h
