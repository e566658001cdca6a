"""One optimiser step, and all that it changes.

A step is one supervision step of every row of the carry: refill the rows that halted, recurse, take the loss's
gradient, update. Every random draw is a function of (seed, step, row).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trm import draws
from trm.config import Training
from trm.models import act
from trm.models.losses import loss_and_metrics
from trm.models.trm import TRM
from trm.training.distribution import World
from trm.training.optimizers import EMA, AdamATan2, SignSGD, learning_rate

EXPLORE, LEAST = 3, 4  # streams of the halting draws, apart from other uses of the same seed


@dataclass(frozen=True)
class Outputs:
    """What a step computed."""

    logits: Tensor  # [B, seq_len, vocab_size]
    q: Tensor  # [B, 2]
    loss: Tensor  # sum over rows
    metrics: Tensor  # [len(METRICS)] sums over rows
    lr: float


class Trainer:
    """Model, optimisers, averages and carry of a run."""

    def __init__(self, model: TRM, config: Training, total_steps: int, world: World | None = None):
        self.model, self.config, self.total_steps = model, config, total_steps
        self.world = world or World(0, 1, torch.device("cpu"))
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = list(model.parameters())
        self.adam = AdamATan2(self.parameters, config.beta1, config.beta2, config.weight_decay)
        self.sign = None
        if model.puzzle_emb is not None:
            self.sign = SignSGD(model.puzzle_emb, config.puzzle_emb_weight_decay)
        self.ema = EMA(self.parameters, config.ema_rate) if config.ema else None
        self.carry: act.Carry | None = None

    def step(self, t: int, batch: act.Batch, exploration: tuple[Tensor, Tensor]) -> Outputs:
        """Optimiser step `t`, counted from 1: one supervision step of every row of the carry.

        `exploration` says which rows [B] explore, and the least steps [B] of those that do (act.advance).
        """
        model, config, world = self.model, self.config, self.world
        carry = act.refill(model, self.carry or act.start(model, batch), batch)
        puzzle_rows = model.puzzle_rows(carry.batch.puzzle_identifiers)

        state, logits, q = model(carry.state, carry.batch.inputs, puzzle_rows)
        self.carry = act.advance(model.config, carry, state, q.detach(), *exploration)
        loss, metrics = loss_and_metrics(
            model.config.loss_type, logits, q, carry.batch.labels, self.carry.halted, self.carry.steps
        )
        for parameter in self.parameters:
            parameter.grad = None
        (loss / config.global_batch_size).backward()

        world.sum([parameter.grad for parameter in self.parameters])
        world.sum([metrics])
        if self.sign is not None:
            identifiers, gradients = world.gather(carry.batch.puzzle_identifiers), world.gather(puzzle_rows.grad)
            self.sign.step(identifiers, gradients, self._rate(config.puzzle_emb_lr, t))
        lr = self._rate(config.lr, t)
        self.adam.step(t, lr)
        if self.ema is not None:
            self.ema.update()
        return Outputs(logits, q, loss, metrics, lr)

    def _rate(self, base: float, t: int) -> float:
        return learning_rate(self.config, base, t, self.total_steps)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights in place, where it averages."""
        if self.ema is None:
            yield
            return
        self.ema.swap()
        try:
            yield
        finally:
            self.ema.swap()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, by name, rows in global order."""
        carry, gather = self.carry, self.world.gather
        return {
            **{f"model.{name}": tensor for name, tensor in self.model.state_dict().items()},
            **self._optimizer_state(),
            **{f"carry.state.{i}": gather(tensor) for i, tensor in enumerate(carry.state)},
            **{f"carry.{name}": gather(getattr(carry, name)) for name in ("steps", "halted")},
            **{f"carry.{name}": gather(tensor) for name, tensor in vars(carry.batch).items()},
        }

    def _optimizer_state(self) -> dict[str, Tensor]:
        kinds = {"adam_m": self.adam.m, "adam_v": self.adam.v}
        if self.ema is not None:
            kinds["ema"] = self.ema.shadow
        return {f"{kind}.{n}": t for kind, ts in kinds.items() for n, t in zip(self.names, ts, strict=True)}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put `tensors()` back, on any number of ranks."""
        device, rows = self.world.device, self.world.rows(self.config.global_batch_size)
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        for name, tensor in self._optimizer_state().items():
            tensor.copy_(tensors[name])

        def local(name: str) -> Tensor:
            return tensors[f"carry.{name}"][rows].to(device)

        self.carry = act.Carry(
            state=tuple(local(f"state.{i}") for i in range(len(self.model.initial_state(1)))),
            steps=local("steps"),
            halted=local("halted"),
            batch=act.Batch(local("inputs"), local("labels"), local("puzzle_identifiers")),
        )

    def exploration(self, seed: int, t: int) -> tuple[Tensor, Tensor]:
        """Which rows explore at step `t`, and their least number of steps; the same for any number of ranks."""
        config = self.model.config
        row = np.arange(self.config.global_batch_size)[self.world.rows(self.config.global_batch_size)]
        exploring = draws.uniform(seed, EXPLORE, t, row) < config.halt_exploration_prob
        least = draws.integers(2, config.halt_max_steps + 1, seed, LEAST, t, row)
        return tuple(torch.from_numpy(a).to(self.world.device, non_blocking=True) for a in (exploring, least))
