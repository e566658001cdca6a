"""One optimiser step, and all that it changes.

A step is one supervision step of every row of the carry: refill the rows that halted, recurse, take the loss's
gradient, update. Every random draw is a function of (seed, step, row). What else a step may do is in recipes.py.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trm import draws
from trm.config import Training
from trm.distribution import World
from trm.models import act, lora
from trm.models.hardware import out_of_memory, sent
from trm.models.losses import CONTINUE_METRICS, METRICS, loss_and_metrics
from trm.models.network import Network
from trm.models.noise import Noise
from trm.training import recipes
from trm.training.optimizers import EMA, AdamATan2, SignSGD, learning_rate

FLOAT16_SCALE = 2.0**14  # of the loss: its gradients would vanish in float16; a power of two rounds nothing
EXPLORE, LEAST = 3, 4  # streams of the halting draws, apart from other uses of the same seed


@dataclass(frozen=True)
class Outputs:
    """What a step computed."""

    logits: list[Tensor]  # of each micro-batch [rows, seq_len, vocab_size]
    q: list[Tensor]  # of each micro-batch [rows, 2]
    loss: Tensor  # sum over rows
    metrics: Tensor  # [len(Trainer.metric_names)] sums over rows
    lr: float


@dataclass(frozen=True)
class Part:
    """What a step computed for some of its rows, and where they stand after it."""

    carry: act.Carry
    logits: Tensor
    q: Tensor
    loss: Tensor
    metrics: Tensor
    puzzle_gradients: Tensor | None  # of the rows' puzzle embeddings [B, puzzle_emb_ndim]


class Trainer:
    """Model, optimisers, averages and carry of a run."""

    def __init__(self, model: Network, config: Training, total_steps: int, world: World | None = None, seed: int = 0):
        self.model, self.config, self.total_steps, self.seed = model, config, total_steps, seed
        self.world = world or World(0, 1, torch.device("cpu"))
        self.metric_names = CONTINUE_METRICS if model.learns_to_continue else METRICS
        if config.trained == "lora":
            lora.attach(model, config.lora_rank, config.lora_alpha, int(draws.hashed(seed, recipes.ADAPTERS)[0]))
        elif config.trained == "puzzle_emb" and config.freeze_weights_epochs is None:
            model.requires_grad_(False)
        self.frozen_steps = recipes.frozen_steps(config, total_steps)
        self.names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.adam = AdamATan2(self.parameters, config.beta1, config.beta2, config.weight_decay)
        self.sign = None
        if model.puzzle_emb is not None:
            self.sign = SignSGD(model.puzzle_emb, config.puzzle_emb_weight_decay)
        self.ema = EMA(self.parameters, config.ema_rate) if config.ema else None
        self.scale = FLOAT16_SCALE if model.dtype == torch.float16 else 1.0
        self.carry: act.Carry | None = None
        local = config.global_batch_size // self.world.size
        self.micro_batch = min(local, config.micro_batch) if isinstance(config.micro_batch, int) else local

    def step(self, t: int, batch: act.Batch, exploration: tuple[Tensor, Tensor]) -> Outputs:
        """Optimiser step `t`, counted from 1: one supervision step of every row of the carry.

        `exploration` says which rows [B] explore, and the least steps [B] of those that do (act.advance).
        """
        config, world = self.config, self.world
        learning = bool(self.parameters) and t > self.frozen_steps
        before = self.carry or act.start(self.model, batch, self._noise(recipes.STATES, t))
        parts = self._parts(t, before, batch, exploration, learning)
        carry = self.carry = act.join([part.carry for part in parts])
        metrics = sum(part.metrics for part in parts)

        world.sum([metrics])
        if self.sign is not None:
            rows = torch.cat([part.puzzle_gradients for part in parts])
            identifiers, gradients = world.gather(carry.batch.puzzle_identifiers), world.gather(rows)
            self.sign.step(identifiers, gradients, self._rate(config.puzzle_emb_lr, t))
        lr = self._rate(config.lr, t)
        if learning:
            gradients = [parameter.grad for parameter in self.parameters]
            world.sum(gradients)
            if self.scale != 1:
                torch._foreach_mul_(gradients, 1 / self.scale)
            self.adam.step(t - self.frozen_steps, lr)
            if self.ema is not None:
                self.ema.update()
        loss = sum(part.loss for part in parts)
        return Outputs([part.logits for part in parts], [part.q for part in parts], loss, metrics, lr)

    def _parts(
        self, t: int, carry: act.Carry, batch: act.Batch, exploration: tuple[Tensor, Tensor], learning: bool
    ) -> list[Part]:
        """The carry's rows a micro-batch at a time, with the weights' gradients of all of them.

        Where memory runs out, the micro-batch is halved for good and the step taken again from its beginning.
        """
        while True:
            for parameter in self.parameters:
                parameter.grad = None
                parameter.requires_grad_(learning)
            starts = range(0, len(carry.steps), self.micro_batch)
            try:
                return [self._part(t, slice(i, i + self.micro_batch), carry, batch, exploration) for i in starts]
            except RuntimeError as error:
                if self.config.micro_batch != "auto" or self.micro_batch == 1 or not out_of_memory(error):
                    raise
            self.micro_batch = -(-self.micro_batch // 2)
            print(f"out of memory: going on with micro-batches of {self.micro_batch} rows", file=sys.stderr)
            if self.world.device.type != "cpu":
                getattr(torch, self.world.device.type).empty_cache()

    def _part(
        self, t: int, rows: slice, carry: act.Carry, batch: act.Batch, exploration: tuple[Tensor, Tensor]
    ) -> Part:
        """Refill, recurse and take the loss's gradient, for some rows; nothing but gradients is changed."""
        model, config = self.model, self.config
        carry, batch = carry[rows], batch[rows]
        if config.input_noise:
            vocab_size = len(model.embed_tokens.embedding_weight)
            batch = recipes.replace_tokens(batch, config.input_noise, vocab_size, self._noise(recipes.TOKENS, t, rows))
        noise = self._noise(recipes.STATES, t, rows) if model.is_random else None
        carry = act.refill(model, carry, batch, noise)
        puzzle_rows = used_rows = model.puzzle_rows(carry.batch.puzzle_identifiers)
        if config.puzzle_emb_dropout:
            dropping = self._noise(recipes.EMBEDDINGS, t, rows)
            used_rows = recipes.drop_embeddings(puzzle_rows, config.puzzle_emb_dropout, dropping)
        depth = recipes.depth(config, model.config, t, self.total_steps)

        state, logits, q = model(carry.state, carry.batch.inputs, used_rows, depth, noise)
        carry = act.advance(model, carry, state, q.detach(), *(each[rows] for each in exploration))
        target = act.continue_target(model, carry, used_rows, depth) if model.learns_to_continue else None
        weights = None
        if config.supervision_decay < 1:
            most = model.config.halt_max_steps
            weights = recipes.supervision_weights(carry.steps, config.supervision_decay, most)
        loss, metrics = loss_and_metrics(
            model.config.loss_type, logits, q, carry.batch.labels, carry.halted, carry.steps, target, weights
        )
        (loss * self.scale / config.global_batch_size).backward()
        gradients = None if puzzle_rows is None else puzzle_rows.grad
        return Part(carry, logits.detach(), q.detach(), loss.detach(), metrics, gradients)

    def _noise(self, stream: int, t: int, rows: slice = slice(None)) -> Noise:
        return Noise(sent(draws.hashed(self.seed, stream, t, self._rows[rows]).view(np.int64), self.world.device))

    @property
    def _rows(self) -> np.ndarray:
        """This rank's rows, by their place in the global batch."""
        size = self.config.global_batch_size
        return np.arange(size)[self.world.rows(size)]

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
        """Put `tensors()` back, on any number of ranks, whatever the type of the activations was."""
        device, rows = self.world.device, self.world.rows(self.config.global_batch_size)
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        for name, tensor in self._optimizer_state().items():
            tensor.copy_(tensors[name])

        def local(name: str) -> Tensor:
            return tensors[f"carry.{name}"][rows].to(device)

        self.carry = act.Carry(
            state=tuple(local(f"state.{i}").to(self.model.dtype) for i in range(len(self.model.STARTS))),
            steps=local("steps"),
            halted=local("halted"),
            batch=act.Batch(local("inputs"), local("labels"), local("puzzle_identifiers")),
        )

    def exploration(self, t: int) -> tuple[Tensor, Tensor]:
        """Which rows explore at step `t`, and their least number of steps; the same for any number of ranks."""
        config = self.model.config
        exploring = draws.uniform(self.seed, EXPLORE, t, self._rows) < config.halt_exploration_prob
        least = draws.integers(2, config.halt_max_steps + 1, self.seed, LEAST, t, self._rows)
        return sent(exploring, self.world.device), sent(least, self.world.device)
