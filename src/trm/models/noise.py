"""Random numbers on the device without a generator state: a stream for each row of a batch, a function of its seed.

The stream of a row is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), counted out: its i-th value is the mixed
seed + i * golden. So a row sees the same numbers on every device and number of ranks, whatever else is in the batch.
"""

import math

import numpy as np
import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = (
    value - 2**64  # int64 holds the same 64 bits
    for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_BITS = 24  # of a uniform number, as many as a float32 holds


class Noise:
    """The streams of some rows, read on and on from `states` [B] int64, which start as the rows' own seeds."""

    def __init__(self, states: Tensor | np.ndarray, device: torch.device | None = None):
        """Seeds are uint64 (draws.hashed), states those that other streams have come to."""
        self.states = torch.from_numpy(states.view(np.int64)) if isinstance(states, np.ndarray) else states
        self.states = self.states.to(device)

    def bits(self, n: int) -> Tensor:
        """The next `n` values of each stream, [B, n] int64."""
        x = self.states[:, None] + torch.arange(1, n + 1, device=self.states.device) * _GOLDEN
        self.states = x[:, -1].clone()  # before the mixing, which is done in place
        x ^= (x >> 30) & (2**34 - 1)  # int64 shifts its sign in, which the mask takes out again
        x *= _FIRST
        x ^= (x >> 27) & (2**37 - 1)
        x *= _SECOND
        x ^= (x >> 31) & (2**33 - 1)
        return x

    def uniform(self, *shape: int) -> Tensor:
        """Float32 in [0, 1), [B, *shape]."""
        return _fraction(self.bits(math.prod(shape)) >> (64 - _BITS)).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 [B, *shape], two from each value (Box and Muller, 1958)."""
        n = math.prod(shape)
        bits = self.bits(-(-n // 2))
        radius = _fraction(bits >> (64 - _BITS)).add_(2.0 ** -(_BITS + 1)).log_().mul_(-2).sqrt_()
        angle = _fraction(bits).mul_(2 * math.pi)
        return torch.cat((radius * angle.cos(), radius.mul_(angle.sin_())), dim=1)[:, :n].view(-1, *shape)

    def truncated_normal(self, *shape: int) -> Tensor:
        """Float32 [B, *shape] of standard deviation 1, normal but for a cut (as layers.truncated_normal has it)."""
        cut = 2.0
        mass = math.erf(cut / math.sqrt(2))
        density = math.exp(-0.5 * cut * cut) / math.sqrt(2 * math.pi)
        scale = 1 / math.sqrt(1 - 2 * cut * density / mass)
        values = self.uniform(*shape).mul_(2).sub_(1).mul_(mass).erfinv_().mul_(math.sqrt(2) * scale)
        return values.clip_(-cut * scale, cut * scale)


def _fraction(bits: Tensor) -> Tensor:
    """The lowest bits of each value as a float32 in [0, 1)."""
    return (bits & (2**_BITS - 1)).float().mul_(2.0**-_BITS)
