"""The training loop, top to bottom: read a batch, take a step, log, evaluate, save, stop when told to.

    CHECKPOINTS/metrics.jsonl                  one line per `log_every` steps, one per evaluation
    CHECKPOINTS/step-00001000.safetensors      the newest two
    CHECKPOINTS/best.safetensors               weights of the best validation so far, where there is one

A run that was killed goes on from its newest checkpoint, cuts metrics.jsonl back to it, and ends with the same bits.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from trm.config import Experiment, Training
from trm.data.layout import Split, content_hash, published_files, read_split
from trm.data.sampler import plan_interval, total_steps
from trm.evaluation.inference import answer, to_batch
from trm.files import BadInput, Fault, atomic
from trm.models.losses import METRICS
from trm.models.trm import TRM
from trm.progress import Advance, progress
from trm.runs import write_run
from trm.tensors import read_tensors, write_tensors
from trm.training import checkpoints
from trm.training.distribution import World, join, leave, pick_device
from trm.training.lock import Held, Lock
from trm.training.stopping import Stopper
from trm.training.trainer import Outputs, Trainer

RESUMABLE = 75  # exit status of a run that stopped early and goes on when started again


class NotFinite(Fault):
    """The loss is infinite or not a number."""


@dataclass
class Position:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0  # optimiser steps done
    interval: int = 0  # of the plan
    index: int = 0  # the next batch in it
    logged: int = 0  # the step of the last line of metrics
    due: bool = False  # an evaluation is due after `step`
    metrics_bytes: int = 0  # length of metrics.jsonl
    best: dict | None = None  # step and figures of the best validation so far
    seconds: float = 0.0  # spent training, over all starts
    starts: int = 0


def batches(split: Split, config: Training, seed: int, interval: int, index: int) -> Iterator[tuple]:
    """The training from a position on: (interval, index, rows [global_batch_size], whether the interval ends)."""
    for i in range(interval, config.epochs // config.eval_interval):
        plan = plan_interval(split, config.global_batch_size, config.eval_interval, seed, i)
        for k in range(index, len(plan)):
            yield i, k, plan.rows(k), k + 1 == len(plan)
        index = 0


class Run:
    """One training: an experiment on the dataset in `data` with one seed, checkpoints in `folder`."""

    def __init__(self, experiment: Experiment, seed: int, data: Path, folder: Path, world: World, stopper: Stopper):
        self.config, self.seed, self.folder = experiment.training, seed, folder
        self.world, self.stopper = world, stopper
        self.train = read_split(data / "train")
        self.evaluations = {"test": read_split(data / "test")}
        if experiment.dataset.validation:
            self.evaluations = {"validation": read_split(data / "validation"), **self.evaluations}
        for split in self.evaluations.values():
            split.check_tokens()  # those of the training split are checked batch by batch
        metadata, batch_size = self.train.metadata, self.config.global_batch_size
        if batch_size % world.size:
            raise BadInput(f"training.global_batch_size: {batch_size} rows do not divide among {world.size} ranks")
        total = total_steps(self.train, batch_size, self.config.epochs)
        if not len(plan_interval(self.train, batch_size, self.config.eval_interval, seed, 0)):
            raise BadInput(
                f"training.global_batch_size: {batch_size} rows, but an interval of {self.config.eval_interval} epochs "
                f"over {metadata.total_groups} groups does not fill one batch"
            )
        self.max_steps = min(total, self.config.max_steps or total)
        model = TRM(experiment.model, metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers, seed)
        self.trainer = Trainer(model.to(world.device), self.config, total, world)
        self.sums = torch.zeros(len(METRICS), dtype=torch.float64, device=world.device)  # since the last line
        self.at = Position()

    def resume(self) -> None:
        """Go back to the newest checkpoint, where there is one."""
        found = checkpoints.load(self.folder, at_most=self.max_steps)
        if found is not None:
            tensors, state = found
            self.at = Position(**state)
            self.trainer.restore(tensors)
            self.sums.copy_(tensors["sums"])
        self.at.starts += 1
        self.began = time.monotonic() - self.at.seconds
        if self.world.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.metrics, "ab") as file:
                file.truncate(self.at.metrics_bytes)

    def announce(self, name: str) -> None:
        """Say what is about to run, where, and from which step."""
        config, model = self.config, self.trainer.model.config
        start = f"from step {self.at.step}" if self.at.step else "from nothing"
        self._say(
            f"training {name}, seed {self.seed}, {start}: {self.parameters():,} weights, {self.max_steps} steps of "
            f"{config.global_batch_size} rows, {model.forward_dtype} on {self.world.size} x {self.device_name()}; "
            f"checkpoints in {self.folder}"
        )

    def parameters(self) -> int:
        """Trained weights, puzzle embeddings apart."""
        return sum(parameter.numel() for parameter in self.trainer.parameters)

    def device_name(self) -> str:
        device = self.world.device
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        return f"{device.type} ({torch.get_num_threads()} threads)"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def go(self, check: Callable[[], None] = lambda: None) -> bool:
        """Train to the end and return True, or stop early, saved, and return False.

        `check` is called after every step and may raise to end the run without saving.
        """
        at = self.at
        with progress("training", self.max_steps, at.logged) as advance:
            if at.due and not self._evaluate():
                return self._stop()
            for interval, index, rows, ends in batches(self.train, self.config, self.seed, at.interval, at.index):
                if at.step >= self.max_steps:
                    break
                begin = time.monotonic()
                batch = to_batch(self.train, rows[self.world.rows(len(rows))], self.world.device)
                outputs = self.trainer.step(at.step + 1, batch, self.trainer.exploration(self.seed, at.step + 1))
                self.sums += outputs.metrics
                at.step, at.interval, at.index = at.step + 1, interval, index + 1
                check()
                at.due = ends or at.step == self.max_steps
                if at.due or at.step % self.config.log_every == 0:
                    self._log(outputs, advance)
                self.stopper.took("step", time.monotonic() - begin)
                if at.due and not self._evaluate():
                    return self._stop()
                if at.step % self.config.checkpoint_every == 0:
                    self.save()
                if at.step < self.max_steps and self.world.any(self.stopper.asked()):
                    return self._stop()
        self.save()
        return True

    def _stop(self) -> bool:
        self.save()
        self._say(
            f"stopped at step {self.at.step} of {self.max_steps} ({self.stopper.reason}), saved; run again to go on"
        )
        return False

    def _say(self, message: str) -> None:
        if self.world.leads:
            print(message, file=sys.stderr, flush=True)

    def _log(self, outputs: Outputs, advance: Advance) -> None:
        """Write the figures of the steps since the last line: shares of the rows that halted, losses per row."""
        self._check_finite()
        figures = dict(zip(METRICS, self.sums.tolist(), strict=True))
        steps = self.at.step - self.at.logged
        rows = steps * self.config.global_batch_size
        count = figures["count"]
        halted = {name: figures[name] / count if count else None for name in METRICS[1:5]}
        losses = {name: figures[name] / rows for name in METRICS[5:]}
        self._write({"step": self.at.step, "lr": outputs.lr, "count": int(count), **halted, **losses})
        self.sums.zero_()
        self.at.logged = self.at.step
        accuracy = "" if halted["exact_accuracy"] is None else f", exact {halted['exact_accuracy']:.1%}"
        advance(steps, f"loss {losses['lm_loss']:.3f}{accuracy}")

    def _check_finite(self) -> None:
        if not torch.isfinite(self.sums).all():
            raise NotFinite(
                f"the loss is not finite between steps {self.at.logged + 1} and {self.at.step}; lower training.lr "
                f"({self.config.lr}) or use model.forward_dtype float32. Checkpoints in {self.folder} are from before"
            )

    def _write(self, line: dict) -> None:
        """Append a line to metrics.jsonl."""
        self.at.seconds = time.monotonic() - self.began
        if self.world.leads:
            with open(self.metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "seconds": round(self.at.seconds, 3)}) + "\n")
            self.at.metrics_bytes = self.metrics.stat().st_size

    def _evaluate(self) -> bool:
        """Evaluate the averaged weights as they stand now; False when asked to stop meanwhile."""
        for name, split in self.evaluations.items():
            rows = split.spread(self.config.eval_subset if name == "test" else None)
            figures = self._score(split, rows)
            if figures is None:
                return False
            self._write({"step": self.at.step, "split": name, "examples": len(rows), "of": len(split), **figures})
            best = self.at.best or {"exact_accuracy": -1.0}
            if name == "validation" and figures["exact_accuracy"] > best["exact_accuracy"]:
                self.at.best = {"step": self.at.step, **figures}
                if self.world.leads:
                    with atomic(self.folder / "best.safetensors") as path:
                        write_tensors(path, self.weights(), {"step": self.at.step})
        self.at.due = False
        return True

    def _score(self, split: Split, rows: np.ndarray) -> dict[str, float] | None:
        trainer, world, size = self.trainer, self.world, self.config.global_batch_size
        sums = torch.zeros(4, dtype=torch.float64, device=world.device)
        with trainer.averaged():
            for start in range(0, len(rows), size):
                if world.any(self.stopper.asked()):
                    return None
                part = np.array_split(rows[start : start + size], world.size)[world.rank]
                a = answer(trainer.model, to_batch(split, part, world.device))
                exact = a.exact[:, -1]
                right = ((a.predictions == a.labels) & a.asked).sum()
                sums += torch.tensor(
                    [exact.sum(), right, a.asked.sum(), ((a.q_halt[:, -1] >= 0) == exact).sum()], device=world.device
                )
        world.sum([sums])
        exact, right, asked, halting = sums.tolist()
        n = len(rows)
        return {"exact_accuracy": exact / n, "token_accuracy": right / asked, "q_halt_accuracy": halting / n}

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights to evaluate and publish: averaged where the configuration averages."""
        with self.trainer.averaged():
            return {name: tensor.cpu().clone() for name, tensor in self.trainer.model.state_dict().items()}

    def final_weights(self) -> tuple[dict[str, torch.Tensor], int]:
        """The weights that the configuration calls final, and their step."""
        if self.config.final_weights == "last":
            return self.weights(), self.at.step
        tensors, state = read_tensors(self.folder / "best.safetensors")
        return tensors, state["step"]

    def save(self) -> None:
        """Write a checkpoint, unless what it would hold is not finite."""
        self._check_finite()
        begin = time.monotonic()
        self.at.seconds = begin - self.began
        tensors = self.trainer.tensors() | {"sums": self.sums}
        if self.world.leads:
            checkpoints.save(self.folder, self.at.step, tensors, asdict(self.at))
        self.world.wait()
        self.stopper.took("save", time.monotonic() - begin)


def train(
    experiment: Experiment, data: Path, out: Path, root: Path | None, seed: int, budget: float | None, device: str
) -> int:
    """Train an experiment on the dataset in `data` and write the run to `out`; returns the exit status.

    Checkpoints go below `root` (beside `out` where None); a run stopped early, by a signal or before its time
    `budget` (minutes) ends, returns 75 and goes on when called again.
    """
    stopper = Stopper(budget)
    root = root or out.with_name(f"{out.name}.checkpoints")
    if root.resolve().is_relative_to(out.resolve()):
        raise BadInput(f"--checkpoints {root}: inside --out, which is emptied before a retry; expected another folder")
    content = content_hash(data)
    training = experiment.training.model_dump()
    fingerprint = checkpoints.run_fingerprint(content, experiment.model.model_dump(), training, seed)
    folder = root / fingerprint
    world = join(pick_device(device))
    try:
        run = Run(experiment, seed, data, folder, world, stopper)  # checks everything, writes nothing
        with Lock(folder / "lock.json") if world.leads else contextlib.nullcontext() as lock:
            run.resume()
            run.announce(experiment.name)

            def check() -> None:
                if lock is not None and lock.lost:
                    raise Held(f"{folder}: another trainer took over; this one stops without saving")

            if not run.go(check):
                return RESUMABLE
            if world.leads:
                weights, step = run.final_weights()
                facts = {
                    "data": {
                        "name": experiment.dataset.name,
                        "content_sha256": content,
                        "published_files": published_files(data),
                    },
                    "fingerprint": fingerprint,
                    "seed": seed,
                    "device": run.device_name(),
                    "ranks": world.size,
                    "threads": torch.get_num_threads(),
                    "steps": run.at.step,
                    "weights": {"rule": experiment.training.final_weights, "step": step, "ema": run.config.ema},
                    "parameters": run.parameters(),
                    "seconds": round(run.at.seconds, 1),
                    "starts": run.at.starts,
                }
                write_run(out, experiment, weights, run.metrics, facts)
            return 0
    finally:
        leave(world)
