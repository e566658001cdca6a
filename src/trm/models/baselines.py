"""What TRM was compared with, beside HRM: other numbers of latents, and no recursion (arXiv 2510.04871)."""

from torch import Tensor

from trm.models.network import Depth, Network, State
from trm.models.noise import Noise
from trm.models.trm import TRM


class SingleZ(TRM):
    """TRM whose one z is both latent and answer."""

    STARTS = ("L_init",)

    def cycle(self, state: State, x: Tensor, L_cycles: int, noise: Noise | None) -> State:
        """L_cycles updates that see the puzzle, then one that does not."""
        (z,) = state
        for _ in range(L_cycles):
            z = self.L_level(z + x)
        return (self.L_level(z),)


class SixZ(TRM):
    """TRM with a latent for each of up to six updates: the state is (y, z_1, ..., z_6)."""

    STARTS = ("H_init", "L1_init", "L2_init", "L3_init", "L4_init", "L5_init", "L6_init")

    def cycle(self, state: State, x: Tensor, L_cycles: int, noise: Noise | None) -> State:
        """Updates of the first L_cycles latents, each from the sum of all six, then one of the answer."""
        y, *z = state
        for i in range(L_cycles):
            z[i] = self.L_level(sum(z) + (y + x))
        return self.L_level(y + sum(z)), *z


class Transformer(Network):
    """A plain transformer, `H_level`, that sees its own answer y again at the next supervision step."""

    STARTS = ("H_init",)

    def recurse(self, state: State, x: Tensor, depth: Depth, noise: Noise | None) -> State:
        (y,) = state
        return (self.H_level(y + x),)
