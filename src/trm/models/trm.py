"""The Tiny Recursive Model (arXiv 2510.04871, section 4 and figure 1).

One small network f, two blocks deep, improves an answer y with the help of a latent z (z_H and z_L in the published
code). A supervision step, from (y, z) and the embedded puzzle x:

    H_cycles times:                  all but the last without gradient
        L_cycles times: z = f(z + y + x)
        y = f(y + z)

The answer is read off y at the token positions; q_halt, whether to stop, at position 0 (models/network.py).
"""

import torch
from torch import Tensor

from trm.models.network import Depth, Network, State
from trm.models.noise import Noise


class TRM(Network):
    """The state is (y, z); f is `L_level`, for both levels."""

    STARTS = ("H_init", "L_init")

    def recurse(self, state: State, x: Tensor, depth: Depth, noise: Noise | None) -> State:
        with torch.no_grad():
            for _ in range(depth.H_cycles - 1):
                state = self.cycle(state, x, depth.L_cycles, noise)
        return self.cycle(state, x, depth.L_cycles, noise)

    def cycle(self, state: State, x: Tensor, L_cycles: int, noise: Noise | None) -> State:
        """L_cycles updates of the latent, then one of the answer."""
        y, z = state
        for _ in range(L_cycles):
            z = self.update(z, y + x, noise)
        return self.update(y, z, noise), z

    def update(self, h: Tensor, given: Tensor, noise: Noise | None) -> Tensor:
        """f(h + given). In an equilibrium reasoner, most of the way there and a little beside (arXiv 2605.21488)."""
        new = self.L_level(h + given)
        if self.config.relaxation < 1:
            new = torch.lerp(h, new, self.config.relaxation)
        if self.config.state_noise:
            new = new + self.config.state_noise * noise.normal(*new.shape[1:]).to(new.dtype)
        return new

    def halts(self, q: Tensor) -> Tensor:
        return q[:, 0] > 0  # q_continue is not learned
