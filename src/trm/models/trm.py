"""The Tiny Recursive Model (arXiv 2510.04871, section 4 and figure 1).

One small network f, two blocks deep, improves an answer y with the help of a latent z (z_H and z_L in the published
code). A supervision step, from (y, z) and the embedded puzzle x:

    H_cycles times:                  all but the last without gradient
        L_cycles times: z = f(z + y + x)
        y = f(y + z)

The answer is read off y at the token positions; q_halt, whether to stop, at position 0 (models/network.py).

Three ablations of the paper's table 1 are keys of the model: a network of its own for y (H_layers), HRM's gradient
through the last two updates alone (one_step_gradient), HRM's halting (no_ACT_continue: false). With all three of them
the network is HRM.
"""

import torch
from torch import Tensor

from trm.models.layers import Stack
from trm.models.network import Depth, Network, State
from trm.models.noise import Noise


class TRM(Network):
    """The state is (y, z); f is `L_level`, for both levels unless y has an `H_level`."""

    STARTS = ("H_init", "L_init")

    def recurse(self, state: State, x: Tensor, depth: Depth, noise: Noise | None) -> State:
        last = depth.L_cycles  # updates of the latent with a gradient
        with torch.no_grad():
            for _ in range(depth.H_cycles - 1):
                state = self.cycle(state, x, depth.L_cycles, noise)
            if self.config.one_step_gradient:
                y, z = state
                state, last = (y, self.think(y, z, x, depth.L_cycles - 1, noise)), 1
        return self.cycle(state, x, last, noise)

    def cycle(self, state: State, x: Tensor, L_cycles: int, noise: Noise | None) -> State:
        """L_cycles updates of the latent, then one of the answer."""
        y, z = state
        z = self.think(y, z, x, L_cycles, noise)
        return self.update(self.H_level if self.config.H_layers else self.L_level, y, z, noise), z

    def think(self, y: Tensor, z: Tensor, x: Tensor, updates: int, noise: Noise | None) -> Tensor:
        """The latent after some updates."""
        for _ in range(updates):
            z = self.update(self.L_level, z, y + x, noise)
        return z

    def update(self, f: Stack, h: Tensor, given: Tensor, noise: Noise | None) -> Tensor:
        """f(h + given). In an equilibrium reasoner, most of the way there and a little beside (arXiv 2605.21488)."""
        new = f(h + given)
        if self.config.relaxation < 1:
            new = torch.lerp(h, new, self.config.relaxation)
        if self.config.state_noise:
            new = new + self.config.state_noise * noise.normal(*new.shape[1:]).to(new.dtype)
        return new

    @property
    def learns_to_continue(self) -> bool:
        return not self.config.no_ACT_continue

    def halts(self, q: Tensor) -> Tensor:
        return super().halts(q) if self.learns_to_continue else q[:, 0] > 0  # where q_continue means nothing
