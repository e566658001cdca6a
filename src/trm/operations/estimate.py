"""What an experiment will take, before it is submitted: FLOPs and hours, memory of a GPU, disk.

FLOPs and bytes are counted on steps of a few rows on this machine's CPU, and multiplied: a row costs the same in a
batch of any size, memory within a few percent. Hours need a speed, which is measured on the device at hand or given;
none is assumed.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from trm.bench.products import Recorder
from trm.bench.train import in_process, measure, record, start, with_training
from trm.config import Experiment
from trm.data.layout import read_split
from trm.data.mixture import mixed, read_splits
from trm.distribution import pick_device
from trm.evaluation.ballots import is_arc
from trm.evaluation.inference import answers, to_batch
from trm.files import BadInput
from trm.operations.columns import columns, duration, size
from trm.operations.project import steps_of
from trm.training.checkpoints import KEPT
from trm.training.loop import Run
from trm.training.trials import trials

MEASURED = 5  # steps
CPU_POSITIONS = 16 * 97  # of the batch that is measured on a CPU: 16 Sudokus, whose step takes seconds
UNITS = {"m": 60, "h": 3600, "d": 86400}  # of resources.runtime


@dataclass(frozen=True)
class Estimate:
    """What an experiment with one seed takes."""

    name: str
    weights: int  # besides the puzzle embeddings
    embeddings: int  # rows of the table; 0: none
    steps: int
    batch_size: int  # over all GPUs
    gpus: int
    step_flops: float  # of all rows, on average over the training
    evaluation_flops: float  # of the evaluations while training
    test_flops: float  # of `trm evaluate`, on one GPU
    memory: dict[str, float]  # bytes of a GPU, by what takes them
    dataset_bytes: int
    checkpoint_bytes: int  # of one
    run_bytes: int
    runtime: float  # seconds that a job may take

    @property
    def training_flops(self) -> float:
        return self.steps * self.step_flops + self.evaluation_flops

    @property
    def checkpoints_kept(self) -> int:
        """While the next one is being written there is one more than are kept."""
        return KEPT + 1

    def hours(self, flops_a_second: float) -> float:
        """Hours of the training, on `gpus` devices of this speed that lose no time to each other."""
        return self.training_flops / flops_a_second / self.gpus / 3600

    def jobs(self, hours: float) -> int:
        """How many jobs of `runtime` it takes; what each loses to its start and end is left out."""
        return math.ceil(hours * 3600 / self.runtime)


class Phase(NamedTuple):
    """A part of a training whose steps cost the same."""

    share: float  # of the steps
    experiment: Experiment


class Rate(NamedTuple):
    """A speed that was measured."""

    flops_a_second: float
    rows: int
    seconds: float  # of a step
    peak_bytes: int
    device: str


def estimate(experiment: Experiment, data: Sequence[Path]) -> Estimate:
    """Estimate an experiment on its built datasets."""
    experiment, data = on_cpu(experiment), list(data)
    training, gpus = experiment.training, gpus_of(experiment)
    if training.global_batch_size % gpus:
        raise BadInput(f"training.global_batch_size: {training.global_batch_size} rows do not divide among {gpus} GPUs")
    local = training.global_batch_size // gpus
    test = read_split(data[0] / "test")
    steps = steps_of(experiment, data)
    with tempfile.TemporaryDirectory() as folder:
        two = small(experiment, data, 2, 2, folder)  # a row by itself is a special case to PyTorch
        products, step_bytes = record(two)
        tensors = {name: tensor.nbytes for name, tensor in two.trainer.tensors().items()}
        row = sum(size for name, size in tensors.items() if name.startswith("carry.")) // 2
        table = two.trainer.model.puzzle_emb
        width = 0 if table is None else table.weights.shape[1]
        identifiers = mixed(read_splits(data, "train")).metadata.num_puzzle_identifiers if width else 0
        state = sum(tensors.values()) - 2 * row - (0 if table is None else table.weights.nbytes)
        answer_flops = _answer_flops(two)
        parts = phases(experiment)
        if len(parts) > 1:
            step_flops = sum(part.share * _step_flops(part.experiment, data, folder) for part in parts)
        else:
            step_flops = sum(call.flops for call in products) / 2
        step = _step_bytes(experiment, data, folder, step_bytes, row, local)
        asked = rows_asked(experiment, data, steps)
        weights = two.parameters()
    test_rows = (test.spread_groups if is_arc(data[0]) else test.spread)(
        experiment.evaluation.subset, experiment.evaluation.max_variants
    )
    most = experiment.model.halt_max_steps
    deeper = (experiment.evaluation.halt_max_steps or most) / most
    return Estimate(
        name=experiment.name,
        weights=weights,
        embeddings=identifiers,
        steps=steps,
        batch_size=training.global_batch_size,
        gpus=gpus,
        step_flops=step_flops * training.global_batch_size,
        evaluation_flops=asked * answer_flops,
        test_flops=len(test_rows) * answer_flops * deeper,
        memory={
            "weights, moments, average": state,
            "puzzle embeddings": identifiers * width * 4,
            "states of the rows": local * row,
            "a step": step,
        },
        dataset_bytes=sum(folder_bytes(folder) for folder in data),
        checkpoint_bytes=state + identifiers * width * 4 + training.global_batch_size * row,
        run_bytes=4 * (weights + identifiers * width),
        runtime=int(experiment.resources.runtime[:-1]) * UNITS[experiment.resources.runtime[-1]],
    )


def measured(experiment: Experiment, data: Path, device: str) -> Rate:
    """The speed of one device on steps of this experiment, with the rows that one GPU gets; fewer on a CPU."""
    found = pick_device(device)
    rows = experiment.training.global_batch_size // gpus_of(experiment)
    if found.type == "cpu":
        rows = min(rows, rows_on_cpu(experiment, data))
    part = with_training(phases(experiment)[-1].experiment, global_batch_size=rows)
    m = in_process(measure, part, data, device, MEASURED)
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else found.type
    return Rate(m.flops / m.seconds, rows, m.seconds, m.peak_bytes, name)


def lines(found: Estimate, rate: Rate | None, tflops: float | None) -> Iterator[str]:
    """An estimate in words, with the hours where the speed of a GPU is known."""
    table = f" and a puzzle embedding of {found.embeddings:,} rows" if found.embeddings > 1 else ""
    gpus = f" on {found.gpus} GPUs" if found.gpus > 1 else ""
    yield f"{found.name}: {found.weights:,} weights{table}; {found.steps:,} steps of {found.batch_size} rows{gpus}"
    kept = f"{found.checkpoints_kept} x {size(found.checkpoint_bytes)}"
    total = size(sum(found.memory.values()))
    yield columns(
        [
            ["a step", flops(found.step_flops), ""],
            [
                "training",
                flops(found.training_flops),
                f"with {flops(found.evaluation_flops)} of evaluations on the way",
            ],
            ["evaluation", flops(found.test_flops), "after it, by one GPU"],
            ["GPU memory", total, ", ".join(f"{name} {size(count)}" for name, count in found.memory.items())],
            ["dataset", size(found.dataset_bytes), "on disk"],
            ["checkpoints", size(found.checkpoints_kept * found.checkpoint_bytes), f"on disk, {kept}"],
            ["the run", size(found.run_bytes), "on disk, its weights"],
        ]
    )
    if rate is not None:
        yield (
            f"measured: {rate.seconds * 1e3:,.1f} ms a step of {rate.rows} rows on {rate.device}, "
            f"{rate.flops_a_second / 1e12:,.3g} TFLOP/s, at most {size(rate.peak_bytes)} of memory"
        )
    speed = rate.flops_a_second if rate is not None else tflops and tflops * 1e12
    if not speed:
        yield "GPU hours: not known without a speed; --measure takes it here, --tflops from another measurement"
        return
    hours, evaluation = found.hours(speed), duration(found.test_flops / speed)
    each = f" on each of {found.gpus} GPUs that do not wait for each other" * (found.gpus > 1)
    jobs = f"in jobs of {found.runtime / 3600:,.3g} h: {found.jobs(hours)}"
    yield f"GPU hours: {hours * found.gpus:,.2f}, which take {duration(hours * 3600)}{each}, {jobs}"
    yield f"evaluation: {evaluation} on one GPU"


def flops(count: float) -> str:
    """FLOPs in the unit that suits them, up to E for 10^18."""
    unit = min(6, int(math.log10(max(1.0, count))) // 3)
    return f"{count / 1000**unit:,.3g} {' kMGTPE'[unit].strip()}FLOP"


def gpus_of(experiment: Experiment) -> int:
    """GPUs of a training, over all its nodes."""
    return max(1, experiment.resources.gpus) * experiment.resources.nodes


def on_cpu(experiment: Experiment) -> Experiment:
    """The experiment with activations of the same size that a CPU computes in."""
    if experiment.model.forward_dtype != "float16":
        return experiment
    return experiment.model_copy(update={"model": experiment.model.model_copy(update={"forward_dtype": "bfloat16"})})


def phases(experiment: Experiment) -> list[Phase]:
    """The parts of a training: stages of a curriculum, weights frozen and not."""
    training = experiment.training
    thaws = (training.freeze_weights_epochs or 0) / training.epochs
    depths = [(stage.until, stage.model_dump(exclude={"until"})) for stage in training.curriculum]
    ends = sorted({end for end, *_ in depths} | {thaws, 1.0} - {0.0})
    found, begin = [], 0.0
    for end in ends:
        keys = next((cycles for until, cycles in depths if end <= until), {})
        model = experiment.model.model_copy(update=keys)
        changes = {"curriculum": [], "freeze_weights_epochs": None}
        if thaws and end > thaws:
            changes["trained"] = "all"
        part = with_training(experiment, **changes).model_copy(update={"model": model})
        found.append(Phase(end - begin, part))
        begin = end
    return found


def rows_asked(experiment: Experiment, data: list[Path], steps: int) -> int:
    """Rows that are answered in the evaluations while training."""
    training = experiment.training
    endless = steps_of(with_training(experiment, max_steps=None), data)
    intervals = training.epochs // training.eval_interval
    times = math.ceil(intervals * min(1.0, steps / max(1, endless)))
    return times * sum(len(trial.rows) for trial in trials(experiment, data))


def small(experiment: Experiment, data: list[Path], rows: int, micro_batch: int, folder: str) -> Run:
    """The training with batches of a few rows, on the CPU."""
    keys = {"global_batch_size": rows, "micro_batch": micro_batch, "compile": False, "eval_subset": 1}
    return start(with_training(experiment, **keys), data[0], "cpu", 1, Path(folder))


def folder_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _step_flops(experiment: Experiment, data: list[Path], folder: str) -> float:
    """FLOPs of a row in a step."""
    products, _ = record(small(experiment, data, 2, 2, folder))
    return sum(call.flops for call in products) / 2


def _answer_flops(run: Run) -> int:
    """FLOPs of the answer to a row, after all its supervision steps."""
    device = run.world.device
    with Recorder() as recorder:
        for _ in answers(run.trainer.model, lambda rows: to_batch(run.train, rows, device), np.arange(1), 1):
            pass
    return sum(call.flops for call in recorder.products)


def _step_bytes(experiment: Experiment, data: list[Path], folder: str, two: int, row: int, rows: int) -> float:
    """Bytes of the tensors that a step of `rows` rows makes; `two` those of two rows, `row` those of a row's new state.

    As in docs/performance.md: a row of the micro-batch costs its activations, a row of the batch its new state. What
    weights and gradients take is there with any number of rows, so activations are counted on as many as outweigh it.
    """
    experiment = phases(experiment)[-1].experiment  # as deep as it gets
    micro_batch = experiment.training.micro_batch
    micro_batch = min(rows, micro_batch) if isinstance(micro_batch, int) else rows
    joined = 0 if micro_batch == rows else rows * row
    update = two + (rows - 2) * row + joined  # at the end of the step, when the weights change

    def counted(batch: int, micro_batch: int) -> int:
        run = small(experiment, data, batch, micro_batch, folder)
        run.trainer.adam.step = lambda *_: None  # up to the gradients
        return record(run)[1]

    some = max(2, rows_on_cpu(experiment, data[0]))
    if rows <= 2 * some:
        return max(update, counted(rows, micro_batch))
    more = counted(2 * some, 2 * some)
    activations = (more - counted(some, some)) / some
    if micro_batch == rows:
        return max(update, more + (rows - 2 * some) * activations)
    first, second = counted(2, 1), counted(4, 1)
    return max(update, second + (rows - 4) * (second - first) / 2 + (micro_batch - 1) * activations)


def rows_on_cpu(experiment: Experiment, data: Path) -> int:
    """Rows of a batch that a CPU takes seconds for: 16 Sudokus, or fewer of larger boards."""
    length = experiment.model.prefix_len + read_split(data / "train").metadata.seq_len
    return max(1, CPU_POSITIONS // length)
