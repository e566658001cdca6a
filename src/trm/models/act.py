"""Adaptive computation time: which puzzle a row of the batch is at, for how many steps, and when it makes room.

A row keeps its puzzle for up to halt_max_steps supervision steps and hands its state on from one to the next. Once it
has halted, the next batch's row takes its place, with a fresh state (arXiv 2510.04871, section 2.3; HRM's ACT).
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from trm.models.network import Depth, Network, State
from trm.models.noise import Noise


@dataclass(frozen=True)
class Batch:
    """Rows of a dataset on the device."""

    inputs: Tensor  # [B, seq_len] int32
    labels: Tensor  # [B, seq_len] int64, IGNORE where there is nothing to predict
    puzzle_identifiers: Tensor  # [B] int64

    def __getitem__(self, rows: slice) -> "Batch":
        return Batch(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Carry:
    """What goes from one supervision step to the next."""

    state: State  # each [B, L, D]
    steps: Tensor  # [B] int32, supervision steps on this puzzle so far
    halted: Tensor  # [B] bool, to be replaced before the next step
    batch: Batch  # the puzzles being worked on

    def __getitem__(self, rows: slice) -> "Carry":
        return Carry(tuple(s[rows] for s in self.state), self.steps[rows], self.halted[rows], self.batch[rows])


def join(carries: list[Carry]) -> Carry:
    """Carries of some rows each as one."""
    if len(carries) == 1:
        return carries[0]
    batches = [carry.batch for carry in carries]
    return Carry(
        state=tuple(map(torch.cat, zip(*(carry.state for carry in carries), strict=True))),
        steps=torch.cat([carry.steps for carry in carries]),
        halted=torch.cat([carry.halted for carry in carries]),
        batch=Batch(*(torch.cat([getattr(batch, field.name) for batch in batches]) for field in fields(Batch))),
    )


def start(model: Network, batch: Batch, noise: Noise | None = None) -> Carry:
    """A carry whose rows all wait for a puzzle."""
    size, device = len(batch.inputs), batch.inputs.device
    return Carry(
        state=model.initial_state(size, noise),
        steps=torch.zeros(size, dtype=torch.int32, device=device),
        halted=torch.ones(size, dtype=torch.bool, device=device),
        batch=batch,
    )


def refill(model: Network, carry: Carry, batch: Batch, noise: Noise | None = None) -> Carry:
    """Replace the halted rows by those of `batch`, with the initial state and no steps taken."""

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(carry.halted.view(-1, *[1] * (old.dim() - 1)), new, old)

    initial = model.initial_state(len(carry.steps), noise)
    return Carry(
        state=tuple(choose(new, old) for new, old in zip(initial, carry.state, strict=True)),
        steps=carry.steps.masked_fill(carry.halted, 0),
        halted=torch.zeros_like(carry.halted),
        batch=Batch(*(choose(getattr(batch, f.name), getattr(carry.batch, f.name)) for f in fields(Batch))),
    )


def advance(model: Network, carry: Carry, state: State, q: Tensor, exploring: Tensor, least_steps: Tensor) -> Carry:
    """The carry after a training step: one more step taken, and the rows halted that may.

    A row halts when the network says so by q [B, 2] or its steps are used up. An exploring row [B] (bool) may not
    halt by q before its `least_steps` [B].
    """
    most = model.config.halt_max_steps
    steps = carry.steps + 1
    halted = steps >= most
    if most > 1:
        halted = (halted | model.halts(q)) & (steps >= least_steps * exploring)
    return replace(carry, state=state, steps=steps, halted=halted)


@torch.no_grad()
def continue_target(model: Network, carry: Carry, puzzle_rows: Tensor | None, depth: Depth | None = None) -> Tensor:
    """What q_continue should have said [B], for the `carry` after the step: the value of the step to come.

    It is the better of stopping and going on as the network will see them then, and stopping's alone where no
    further step may come: Q-learning, the network being its own target (arXiv 2506.21734).
    """
    _, _, q = model(carry.state, carry.batch.inputs, puzzle_rows, depth)
    last = carry.steps >= model.config.halt_max_steps
    return torch.where(last, q[:, 0], q.amax(-1)).sigmoid()
