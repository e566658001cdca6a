"""The training loop, top to bottom: read a batch, take a step, log, evaluate, save, stop when told to.

    CHECKPOINTS/metrics.jsonl                  one line per `log_every` steps, one per evaluation
    CHECKPOINTS/step-00001000.safetensors      the newest two
    CHECKPOINTS/best.safetensors               weights of the best validation so far, where there is one
    CHECKPOINTS/tensorboard, CHECKPOINTS/wandb     where `logging` asks for them
    CHECKPOINTS/STEPS-steps/                   the same of a training that ends before one that was here first

A run that was killed goes on from its newest checkpoint, cuts metrics.jsonl back to it, and ends with the same bits.
"""

import contextlib
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trm.config import Dataset, Experiment
from trm.data.layout import content_hash, published_files
from trm.data.mixture import mixed, read_splits
from trm.data.sampler import Plan, plan_interval, total_steps
from trm.distribution import World, compiles, join, leave, pick_device
from trm.evaluation.inference import to_batch
from trm.files import BadInput, Fault, atomic, read_json
from trm.models import build_model, lora
from trm.models.act import Batch
from trm.models.hardware import out_of_memory, prepare, suited
from trm.models.losses import widest
from trm.progress import Advance, progress
from trm.runs import write_run
from trm.tensors import read_tensors, write_tensors
from trm.training import checkpoints, starts
from trm.training.lock import Held, Lock
from trm.training.start import start_from, weights_hash
from trm.training.stopping import OUT_OF_TIME, Stopper
from trm.training.trackers import Send, check_installed, tracking
from trm.training.trainer import Outputs, Trainer
from trm.training.trials import score, trials

# that a job waits for a trainer before it, which its queue may have lost sight of: a share of its time budget, so that
# ten jobs outlast another's walltime, and seconds at least
PATIENCE, LEAST_PATIENCE = 0.1, 300.0
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


def batches(planned: Callable[[int], Plan], intervals: int, interval: int, index: int) -> Iterator[tuple]:
    """The training from a position on: (interval, index, rows [global_batch_size], whether the interval ends).

    `planned` gives the plan of each of the `intervals`.
    """
    for i in range(interval, intervals):
        plan = planned(i)
        for k in range(index, len(plan)):
            yield i, k, plan.rows(k), k + 1 == len(plan)
        index = 0


class Run:
    """One training: an experiment on the datasets in `data` with one seed, checkpoints in `folder`."""

    def __init__(
        self, experiment: Experiment, seed: int, data: list[Path], folder: Path, world: World, stopper: Stopper
    ):
        self.config, self.seed = experiment.training, seed
        self.world, self.stopper = world, stopper
        self.send: Send = lambda line: None  # takes the lines of metrics.jsonl elsewhere as well
        self.train = mixed(read_splits(data, "train"))
        self.trials = trials(experiment, data)
        for trial in self.trials:
            trial.split.check_tokens()  # those of the training split are checked batch by batch
        metadata, batch_size = self.train.metadata, self.config.global_batch_size
        if batch_size % world.size:
            raise BadInput(f"training.global_batch_size: {batch_size} rows do not divide among {world.size} ranks")
        cap = self.config.max_examples_per_puzzle
        total = total_steps(self.train, batch_size, self.config.epochs, cap)

        @functools.lru_cache(maxsize=1)  # the first plan is looked at here, and used below
        def planned(interval: int) -> Plan:
            return plan_interval(self.train, batch_size, self.config.eval_interval, seed, interval, cap)

        self.planned = planned
        if not len(planned(0)):
            raise BadInput(
                f"training.global_batch_size: {batch_size} rows, but an interval of {self.config.eval_interval} epochs "
                f"over {metadata.total_groups} groups does not fill one batch"
            )
        self.max_steps = min(total, self.config.max_steps or total)
        self.reached = checkpoints.newest(folder) or 0
        self.folder = folder if self.reached <= self.max_steps else folder / f"{self.max_steps}-steps"
        shape = (metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers)
        model = build_model(suited(experiment.model, world.device), *shape, seed)
        self.compiled = compiles(self.config.compile, world.device)
        prepare(model, self.compiled, self.config.checkpoint_activations)
        if self.config.init is not None:
            start_from(self.config.init, model, self.config.init_puzzle_emb, seed)
        self.trainer = Trainer(model.to(world.device), self.config, total, world, seed)
        # figures since the last line
        self.sums = torch.zeros(len(self.trainer.metric_names), dtype=widest(world.device), device=world.device)
        self.at = Position()

    def resume(self) -> None:
        """Go back to the newest checkpoint, where there is one."""
        found = checkpoints.load(self.folder)
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
        start = f"from {config.init}" if config.init else "from nothing"
        if self.at.step:
            start = f"from step {self.at.step}"
        if self.reached > self.max_steps:
            self._say(
                f"{self.folder.parent}: was trained to step {self.reached} before, further than the {self.max_steps} "
                f"steps asked for now, which are trained anew; the further ones stay"
            )
        self._say(
            f"training {name}, seed {self.seed}, {start}: {self.parameters():,} weights, {self.max_steps} steps of "
            f"{config.global_batch_size} rows, {model.forward_dtype}, {'compiled' if self.compiled else 'eager'}, on "
            f"{self.world.size} x {self.device_name()}; checkpoints in {self.folder}"
        )

    def parameters(self) -> int:
        """Weights, puzzle embeddings apart."""
        return sum(parameter.numel() for parameter in self.trainer.model.parameters())

    def device_name(self) -> str:
        device = self.world.device
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        threads = torch.get_num_threads()
        return f"{device.type} ({threads} thread{'s' * (threads > 1)})"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def go(self, check: Callable[[], None] = lambda: None) -> bool:
        """Train to the end and return True, or stop early, saved, and return False.

        `check` is called after every step and may raise to end the run without saving.
        """
        at = self.at
        with progress("training", self.max_steps, at.logged, self.world.leads) as advance:
            if at.due and not self._evaluate():
                return self._stop()
            intervals = self.config.epochs // self.config.eval_interval
            planned = batches(self.planned, intervals, at.interval, at.index)
            for interval, index, batch, ends in self._prepared(itertools.islice(planned, self.max_steps - at.step)):
                begin = time.monotonic()
                outputs = self.trainer.step(at.step + 1, batch, self.trainer.exploration(at.step + 1))
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

    def _prepared(self, planned: Iterator[tuple]) -> Iterator[tuple[int, int, Batch, bool]]:
        """What is `planned`, with this rank's examples in place of their rows: one batch ahead of the step."""

        def load(interval: int, index: int, rows: np.ndarray, ends: bool) -> tuple[int, int, Batch, bool]:
            return interval, index, to_batch(self.train, rows[self.world.rows(len(rows))], self.world.device), ends

        with ThreadPoolExecutor(1) as worker:
            ahead = None
            for step in planned:
                now, ahead = ahead, worker.submit(load, *step)
                if now is not None:
                    yield now.result()
            if ahead is not None:
                yield ahead.result()

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
        names = self.trainer.metric_names
        figures = dict(zip(names, self.sums.tolist(), strict=True))
        steps = self.at.step - self.at.logged
        rows = steps * self.config.global_batch_size
        count = figures["count"]
        halted = {name: figures[name] / count if count else None for name in names[1:5]}
        losses = {name: figures[name] / rows for name in names[5:]}
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
            self.send(line)

    def _evaluate(self) -> bool:
        """Evaluate the averaged weights as they stand now; False when asked to stop meanwhile."""
        scores = []
        for trial in self.trials:
            figures = score(trial, self.trainer, self.stopper.asked)
            if figures is None:
                return False
            scores.append(figures)
        for trial, figures in zip(self.trials, scores, strict=True):  # all or none: what was stopped is done again
            counts = {"examples": len(trial.rows), "of": len(trial.split)}
            self._write({"step": self.at.step, **trial.about, **counts, **figures})
            best = self.at.best or {"exact_accuracy": -1.0}
            if trial.chooses and figures["exact_accuracy"] > best["exact_accuracy"]:
                self.at.best = {"step": self.at.step, **figures}
                if self.world.leads:
                    with atomic(self.folder / "best.safetensors") as path:
                        write_tensors(path, self.weights(), {"step": self.at.step})
        self.at.due = False
        return True

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights to evaluate and publish: averaged where the configuration averages."""
        model = self.trainer.model
        averaged = dict(model.named_parameters())  # to be swapped back; the rest, such as embeddings, needs no copy
        with self.trainer.averaged():
            return {name: tensor.to("cpu", copy=name in averaged) for name, tensor in model.state_dict().items()}

    @property
    def has_weights(self) -> bool:
        """Whether there are weights that the configuration calls final already."""
        return self.config.final_weights == "last" or self.at.best is not None

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


def publish(run: Run, experiment: Experiment, out: Path, origins: dict[str, Any]) -> None:
    """Write the final weights, the metrics and what became of a run to `out`; `origins` says what it was made from."""
    weights, step = run.final_weights()
    adapters = lora.adapters(weights)
    if adapters:  # published folded into the layers, and by themselves
        weights = lora.merge(weights, run.config.lora_rank, run.config.lora_alpha)
    facts = {
        **origins,
        "seed": run.seed,
        "device": run.device_name(),
        "ranks": run.world.size,
        "threads": torch.get_num_threads(),
        "micro_batch": run.trainer.micro_batch,
        "steps": run.at.step,
        "planned_steps": run.max_steps,
        "weights": {"rule": run.config.final_weights, "step": step, "ema": run.config.ema},
        "parameters": run.parameters(),
        "seconds": round(run.at.seconds, 1),
        "starts": run.at.starts,
    }
    write_run(out, experiment, weights, run.metrics, facts, adapters)


def data_facts(dataset: Dataset, folder: Path, content: str) -> dict[str, Any]:
    """What a run says of a dataset that it was trained on."""
    metadata = read_json(folder / "train" / "dataset.json")
    return {
        "name": dataset.name,
        "content_sha256": content,
        "published_files": published_files(folder),
        "num_puzzle_identifiers": metadata["num_puzzle_identifiers"],
    }


def train(
    experiment: Experiment,
    data: Path,
    out: Path,
    root: Path | None,
    seed: int,
    budget: float | None,
    device: str,
    more_data: Sequence[Path] = (),
    finish: bool = False,
) -> int:
    """Train an experiment on the dataset in `data` and write the run to `out`; returns the exit status.

    `more_data` holds the datasets of its `more_datasets`, in their order. Checkpoints go below `root` (beside `out`
    where None); a run stopped early, by a signal or before its time `budget` (minutes) ends, returns 75 and goes on
    when called again. With `finish` the end of the budget is the end of the training: the run is written as it stands.
    """
    check_installed(experiment.logging)
    folders = [data, *more_data]
    if len(folders) != len(experiment.datasets):
        raise BadInput(
            f"--data: {len(folders)} given, expected {len(experiment.datasets)}: that of `dataset`, then those of "
            f"`more_datasets` in their order"
        )
    stopper = Stopper(budget)
    root = root or out.with_name(f"{out.name}.checkpoints")
    if root.resolve().is_relative_to(out.resolve()):
        raise BadInput(f"--checkpoints {root}: inside --out, which is emptied before a retry; expected another folder")
    hashes = [content_hash(folder) for folder in folders]
    init = experiment.training.init and weights_hash(experiment.training.init)
    model, training = experiment.model.model_dump(), experiment.training.model_dump()
    fingerprint = checkpoints.run_fingerprint(hashes, model, training, seed, init)
    folder = root / fingerprint
    world = join(pick_device(device))
    try:
        run = Run(experiment, seed, folders, folder, world, stopper)  # checks everything, writes nothing
        patience = 0.0 if budget is None else max(LEAST_PATIENCE, PATIENCE * stopper.budget)

        def hurry() -> bool:
            world.any(False)  # the other ranks hear every second that it goes on; a long silence would be a fault
            return stopper.reason is not None

        with Lock(run.folder / "lock.json", patience, hurry) if world.leads else contextlib.nullcontext() as lock:
            while not world.any(world.leads):  # the checkpoints are the trainer's before until the lock is ours
                pass
            run.resume()
            if world.leads and budget is not None and run.at.step < run.max_steps:
                starts.note(run.folder, run.at.step, lock.killed)
            run.announce(experiment.name)

            def check() -> None:
                if lock is not None and lock.lost:
                    raise Held(f"{run.folder}: another trainer took over; this one stops without saving")

            with contextlib.ExitStack() as stack:
                if world.leads:
                    name, about = f"{experiment.name}-seed-{seed}", experiment.model_dump(mode="json")
                    logging = tracking(experiment.logging, run.metrics, name, fingerprint, about)
                    run.send = stack.enter_context(logging)
                # no reason of its own: another rank's clock was ahead
                if not run.go(check) and not (finish and stopper.reason in (OUT_OF_TIME, None) and run.has_weights):
                    return RESUMABLE
            if world.leads:
                first, *others = map(data_facts, experiment.datasets, folders, hashes)
                origins = {
                    "data": first,
                    "more_data": others,
                    "init": init and {"run": str(experiment.training.init), "weights_sha256": init},
                    "fingerprint": fingerprint,
                }
                publish(run, experiment, out, origins)
            return 0
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        given = json.dumps(experiment.training.micro_batch)
        raise Fault(
            f"out of memory with training.micro_batch {given}: use auto or a smaller number, "
            f"training.checkpoint_activations true, or a smaller model; the run goes on from its last checkpoint"
        ) from None
    except OSError as error:
        where = Path(error.filename or folder)  # a write that fails does not know its file
        if not any(where.is_relative_to(ours) for ours in (root, out)):
            raise
        raise Fault(
            f"{where}: {error.strerror or error}; nothing but the steps since the last checkpoint is lost: free space "
            f"there, or make it writable, and run again to go on"
        ) from None
    finally:
        leave(world)
