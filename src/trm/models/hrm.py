"""The Hierarchical Reasoning Model (arXiv 2506.21734), TRM's ancestor: one network for each level.

f_L updates the latent z often, f_H the answer y after every L_cycles updates of z:

    H_cycles times:
        L_cycles times: z = f_L(z + y + x)
        y = f_H(y + z)

Only the very last update of z and of y have a gradient, where TRM has one through its whole last cycle. A row halts
when going on promises less than stopping, so q_continue is learned too (act.continue_target).
"""

import torch
from torch import Tensor

from trm.models.network import Depth, Network, State
from trm.models.noise import Noise


class HRM(Network):
    """The state is (y, z); f_L is `L_level`, f_H is `H_level`."""

    STARTS = ("H_init", "L_init")

    @property
    def learns_to_continue(self) -> bool:
        return True

    def recurse(self, state: State, x: Tensor, depth: Depth, noise: Noise | None) -> State:
        y, z = state
        with torch.no_grad():
            for update in range(1, depth.H_cycles * depth.L_cycles):
                z = self.L_level(z + (y + x))
                if update % depth.L_cycles == 0:
                    y = self.H_level(y + z)
        z = self.L_level(z + (y + x))
        return self.H_level(y + z), z
