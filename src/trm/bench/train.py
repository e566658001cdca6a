"""How fast training is, and how near it comes to the time that its matrix products take alone.

The products of a step are the floor (trm/bench/products.py). Steps and floor take turns, so that whatever else the
machine does slows both, and their ratio is the median over the pairs. All of it is the trainer's own step on the
batches of its own plan.
"""

import itertools
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from trm.bench.products import Call, Recorder, is_product, replayed, timed, wait
from trm.config import Experiment, Model, check, load
from trm.data.build import build
from trm.distribution import join, pick_device
from trm.evaluation.inference import to_batch
from trm.files import BadInput, Fault, read_json
from trm.models.hardware import suited
from trm.models.layers import Stack
from trm.training.loop import Run
from trm.training.stopping import Stopper

WARM_UP = 3  # steps; the second is compiled anew where the carry of the first has other strides
TURN = 10  # steps that the training loop and bare steps take in turn
LISTED = 10  # operations, the longest

SUDOKU = {"puzzle": "sudoku", "blanks": [30, 45], "subsample_size": 20, "test_size": 1}
MAZE = {"puzzle": "maze", "walls": [0.3, 0.4], "min_path": 40, "subsample_size": 20, "test_size": 1}
ARC = {"puzzle": "arc", "subsets": ["training"], "test_sets": ["training"], "num_aug": 1}
# networks of the published sizes, on small datasets with boards of the published size
CASES = {
    "sudoku-mlp": {"dataset": SUDOKU, "model": {"L_cycles": 6, "mlp_t": True, "pos_encodings": "none"}},
    "sudoku-attention": {"dataset": SUDOKU, "model": {"L_cycles": 6}},
    "maze": {"dataset": MAZE, "model": {"L_cycles": 4}},
    "arc": {"dataset": ARC, "model": {"L_cycles": 4}},
}
GPU_BATCH = 768  # rows, as published
CPU_BATCH = {"sudoku-mlp": 16, "sudoku-attention": 16, "maze": 1, "arc": 1}  # a step takes seconds


@dataclass(frozen=True)
class Measurement:
    """A case in one type and mode. Times are medians, in seconds; bytes are the most at any time."""

    name: str
    dtype: str
    mode: str  # eager or compiled
    batch: int  # rows of a step
    seconds: float  # of a step
    floor: float  # seconds of its products alone
    share: float  # floor over step
    flops: int  # of the products of a step
    step_bytes: int  # of the tensors that a step makes, when not compiled
    peak_bytes: int  # CUDA: of all tensors; else of the process
    parts: dict[str, float] = field(default_factory=dict)  # seconds of a step by its parts
    operations: dict[str, float] = field(default_factory=dict)  # seconds of a step by operation, products first
    loop: float | None = None  # speed of the training loop over that of bare steps
    without_prefix: tuple[float, float] | None = None  # time and FLOPs of a step without the puzzle embedding over both


def bench_train(
    cases: Sequence[str],
    experiment: Path | None,
    data: Path | None,
    dtypes: Sequence[str],
    modes: Sequence[str],
    batch: int | None,
    device: str,
    overrides: Sequence[str],
    **how: Any,
) -> Iterator[Measurement]:
    """Measure `cases` (all of CASES where empty), or an experiment file on its dataset in `data`.

    In each of `dtypes` that the device computes in, or what it computes in instead, and in each of `modes`, every time
    in a process of its own; `how` goes to `measure`.
    """
    if unknown := sorted(set(cases) - set(CASES)):
        raise BadInput(f"trm bench train: no case {unknown[0]}, expected one of {', '.join(CASES)}")
    if (experiment is None) != (data is None) or (experiment and cases):
        raise BadInput("trm bench train: expected names of cases, or --experiment with --data, its built dataset")
    where = pick_device(device)
    dtypes = list(dict.fromkeys(suited(Model(forward_dtype=dtype), where).forward_dtype for dtype in dtypes))
    on_cpu = where.type == "cpu"
    with tempfile.TemporaryDirectory() as folder:
        for name in [None] if experiment else cases or CASES:
            for dtype, mode in itertools.product(dtypes, modes):
                keys = [f"model.forward_dtype={dtype}", f"training.compile={str(mode == 'compiled').lower()}"]
                keys += [f"training.global_batch_size={batch}"] if batch else []
                keys += overrides
                if experiment:
                    yield in_process(measure, load(experiment, keys), data, device, **how)
                    continue
                training = {"global_batch_size": CPU_BATCH[name] if on_cpu else GPU_BATCH, "micro_batch": "auto"}
                case = check({"name": name, **CASES[name], "training": training}, name, keys)
                if not (built := Path(folder, case.dataset.name)).exists():
                    build(case.dataset, built)
                yield in_process(measure, case, built, device, **how)


def in_process(function: Callable, *arguments: Any, **options: Any) -> Any:
    """What the function returns in a process of its own, so that memory is its alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments, **options).result()
        except BrokenProcessPool:
            raise Fault("the process of the measurement was killed: out of memory? Try a smaller --batch") from None


def measure(
    experiment: Experiment,
    data: Path,
    device: str,
    steps: int,
    threads: int | None = None,
    parts: bool = False,
    loop: bool = False,
    prefix: bool = False,
) -> Measurement:
    """Measure the training of an experiment on the dataset in `data`, over `steps` steps."""
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        run = start(experiment, data, device, steps, Path(folder))
        step = stepper(run)
        for _ in range(WARM_UP):
            step()
        peak = peak_bytes(run.world.device)
        eager = start(with_training(experiment, compile=False), data, device, steps, Path(folder))
        products, step_bytes = record(eager if run.compiled else run)
        del eager
        floor = replayed(products, run.world.device)
        floor()  # makes the tensors
        pairs = [(step(), timed(floor, run.world.device)) for _ in range(steps)]
        flops = sum(call.flops for call in products)
        found = Measurement(
            name=experiment.name,
            dtype=run.trainer.model.config.forward_dtype,
            mode="compiled" if run.compiled else "eager",
            batch=experiment.training.global_batch_size,
            seconds=statistics.median(taken for taken, _ in pairs),
            floor=statistics.median(alone for _, alone in pairs),
            share=statistics.median(alone / taken for taken, alone in pairs),
            flops=flops,
            step_bytes=step_bytes,
            peak_bytes=peak,
        )
        if parts:
            found = replace(found, parts=step_parts(run, steps), operations=step_operations(run))
        if prefix:
            bare = experiment.model_copy(update={"model": experiment.model.model_copy(update={"puzzle_emb_ndim": 0})})
            other = start(bare, data, device, steps, Path(folder))
            eager = start(with_training(bare, compile=False), data, device, steps, Path(folder))
            fewer = sum(call.flops for call in record(eager)[0]) / flops
            found = replace(found, without_prefix=(time_ratio(stepper(other), step, steps), fewer))
        if loop:
            found = replace(found, loop=loop_speed(run, step))
        return found


def time_ratio(one: Callable[[], float], other: Callable[[], float], steps: int) -> float:
    """Seconds of one kind of step over another's, in turns."""
    for _ in range(WARM_UP):
        one()
    return statistics.median(one() / other() for _ in range(steps))


def with_training(experiment: Experiment, **keys: Any) -> Experiment:
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=keys)})


def start(experiment: Experiment, data: Path, device: str, steps: int, folder: Path) -> Run:
    """The training of the experiment on one dataset, from random weights, as long as the measurement needs."""
    training, groups = experiment.training, read_json(data / "train" / "dataset.json")["total_groups"]
    rows = training.global_batch_size * (WARM_UP + steps + training.log_every + 2 * TURN)
    epochs = -(-rows // groups)  # one row of each group in an epoch at least
    endless = {"epochs": epochs, "eval_interval": epochs, "max_steps": None, "checkpoint_every": sys.maxsize}
    alone = with_training(experiment, init=None, **endless).model_copy(update={"more_datasets": []})
    return Run(alone, 0, [data], folder, join(pick_device(device)), Unasked())


def stepper(run: Run) -> Callable[[], float]:
    """A function that takes the next step, its batch being ready, and returns the seconds."""
    plan, device = run.planned(0), run.world.device
    counted = itertools.count()

    def step() -> float:
        k = next(counted)
        batch = to_batch(run.train, plan.rows(k % len(plan)), device)
        exploration = run.trainer.exploration(k + 1)
        return timed(lambda: run.trainer.step(k + 1, batch, exploration), device)

    return step


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024)  # bytes on a Mac, else kilobytes


def record(run: Run) -> tuple[list[Call], int]:
    """The products of a step that is not compiled, and the bytes that its tensors take."""
    step = stepper(run)
    if run.trainer.carry is None:
        step()
    with Recorder() as recorder:
        step()
    return recorder.products, recorder.most_bytes


class Unasked(Stopper):
    """Leaves signals alone: they end the process."""

    def __init__(self) -> None:
        pass

    def took(self, what: str, seconds: float) -> None:
        pass

    def asked(self) -> bool:
        return False


class Clock:
    """Seconds by part: whatever passes between two switches belongs to the part of the first."""

    def __init__(self, device: torch.device):
        self.device, self.part, self.begin = device, "rest", time.perf_counter()
        self.seconds: dict[str, float] = defaultdict(float)

    def switch(self, part: str) -> None:
        wait(self.device)
        now = time.perf_counter()
        self.seconds[self.part] += now - self.begin
        self.part, self.begin = part, now

    def during(self, part: str, owner: Any, name: str) -> Any:
        """A context in which the owner's method of that name is the part."""
        method = getattr(owner, name)

        def measured(*arguments: Any, **options: Any) -> Any:
            self.switch(part)
            try:
                return method(*arguments, **options)
            finally:
                self.switch("rest")

        return patch.object(owner, name, measured)


def step_parts(run: Run, steps: int) -> dict[str, float]:
    """Mean seconds of a step by part; embedding, heads and loss without their gradients are the rest."""
    trainer, model = run.trainer, run.trainer.model
    clock, step = Clock(run.world.device), stepper(run)

    def entering(*_: Any) -> None:
        clock.switch("forward with gradient" if torch.is_grad_enabled() else "forward without gradient")

    with ExitStack() as stack:
        stack.enter_context(clock.during("data", sys.modules[__name__], "to_batch"))
        stack.enter_context(clock.during("backward", Tensor, "backward"))
        for optimiser in filter(None, (trainer.adam, trainer.sign)):
            stack.enter_context(clock.during("optimiser and average", optimiser, "step"))
        if trainer.ema is not None:
            stack.enter_context(clock.during("optimiser and average", trainer.ema, "update"))
        for module in model.modules():
            if isinstance(module, Stack):
                stack.enter_context(module.register_forward_pre_hook(entering))
        stack.enter_context(model.register_forward_hook(lambda *_: clock.switch("rest")))
        step()  # compiled anew where a hook appears
        clock.switch("rest")
        clock.seconds.clear()
        for _ in range(steps):
            step()
        clock.switch("rest")
    return {part: seconds / steps for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])}


def step_operations(run: Run) -> dict[str, float]:
    """Seconds of one step by operation, each without those it calls: products, the LISTED longest, all others."""
    device, step = run.world.device, stepper(run)
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiled:
        step()
    events = [event for event in profiled.key_averages() if event.device_type == DeviceType.CPU]
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        name = "kernels of compiled blocks" if "CompiledFxGraph" in event.key else event.key
        seconds[name] += (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
    longest = sorted((key for key in seconds if not is_product(key)), key=seconds.get, reverse=True)
    return {
        "matrix products": sum(taken for key, taken in seconds.items() if is_product(key)),
        **{key: seconds[key] for key in longest[:LISTED]},
        "all others": sum(seconds[key] for key in longest[LISTED:]),
    }


class Measured(Exception):
    """Ends the training loop."""


def loop_speed(run: Run, step: Callable[[], float]) -> float:
    """Speed of the training loop over that of bare steps of the same trainer, by turns.

    The loop reads its batches and goes on for as many steps as there are to a line of metrics, which it writes.
    """
    turn = min(TURN, run.config.log_every)
    looping = bare = begin = 0.0

    def check() -> None:
        nonlocal looping, bare, begin
        if run.at.step % turn:
            return
        wait(run.world.device)
        if run.at.step > turn:  # the first turn begins with the plan
            looping += time.perf_counter() - begin
        if run.at.step >= turn + run.config.log_every:
            raise Measured
        bare += sum(step() for _ in range(turn))
        begin = time.perf_counter()

    run.resume()
    try:
        run.go(check)
    except Measured:
        return bare / looping
    raise AssertionError("the training ended before it was measured")


def details(measured: Measurement) -> Iterator[str]:
    """What was asked for besides the table's row, in lines."""
    for title, seconds in (("parts", measured.parts), ("operations", measured.operations)):
        total = sum(seconds.values())
        if seconds:
            yield f"{title}, of {1e3 * total:.1f} ms:"
        yield from (f"  {taken / total:6.1%} {1e3 * taken:8.1f} ms  {name}" for name, taken in seconds.items())
    if measured.loop is not None:
        yield f"training loop: {measured.loop:.1%} of the speed of bare steps"
    if measured.without_prefix is not None:
        time, flops = measured.without_prefix
        yield f"without the puzzle embedding: {time:.1%} of the time, {flops:.1%} of the FLOPs"
