"""Running a model on examples: up to halt_max_steps supervision steps each, all of them as published.

Examples do not affect each other, so an answer depends neither on the batch size nor on what else is in the batch. A
short last batch needs no padding, and with early exit an example that is done makes room for the next one.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from trm import draws
from trm.config import Evaluation
from trm.data.layout import Split
from trm.files import Fault
from trm.models.act import Batch
from trm.models.hardware import out_of_memory, sent
from trm.models.losses import IGNORE
from trm.models.network import Network
from trm.models.noise import Noise
from trm.puzzles.symmetry import Symmetries

STREAM = 9  # of the noise, apart from other uses of the same row


@dataclass(frozen=True)
class Answers:
    """What a model says to n examples; S = halt_max_steps. Who left early goes on saying what he said last."""

    rows: np.ndarray  # [n] the numbers of the examples, in the order in which they were done
    inputs: np.ndarray  # [n, seq_len] tokens
    labels: np.ndarray  # [n, seq_len] tokens
    asked: np.ndarray  # [n, seq_len] bool, the tokens that have a label
    predictions: np.ndarray  # [n, seq_len] tokens after the last step
    q_halt: np.ndarray  # [n, S] float32 logits
    exact: np.ndarray  # [n, S] bool, whether the answer after each step is right
    rank: np.ndarray  # [n] tokens that the last step scores above the label, where the first label is asked
    steps: np.ndarray  # [n] supervision steps taken


@dataclass(frozen=True)
class Rollout:
    """One of several runs of a model on the same examples; number 0 is the plain one."""

    number: int = 0
    latent_noise: float = 0.0  # deviation of the noise on the latent before every step (PTRM, arXiv 2605.19943)


def batch_size_of(config: Evaluation, device: torch.device) -> int:
    """Examples at a time, as configured or as suits the device."""
    return config.batch_size or (64 if device.type == "cpu" else 512)


def to_batch(split: Split, rows: np.ndarray, device: torch.device, twins: Symmetries | None = None) -> Batch:
    """Examples of a split on the device, or what symmetries [n] make of them."""
    inputs, labels, identifiers = split.take(rows)
    if twins is not None:
        inputs, labels = twins.apply(inputs), twins.apply(labels)
    labels = labels.astype(np.int64)
    if split.metadata.ignore_label_id is not None:
        labels[labels == split.metadata.ignore_label_id] = IGNORE
    return Batch(
        inputs=sent(inputs.astype(np.int32), device),
        labels=sent(labels, device),
        puzzle_identifiers=sent(identifiers.astype(np.int64), device),
    )


@torch.inference_mode()
def answers(
    model: Network,
    load: Callable[[np.ndarray], Batch],
    rows: np.ndarray,
    batch_size: int,
    early_exit: float | None = None,
    rollout: Rollout = Rollout(),
) -> Iterator[Answers]:
    """Answers to the examples `rows`, as they get done; `load` makes batches of some of them.

    With `early_exit` an example whose halting probability reaches it is done; without, all take every step. Where
    memory runs out, those at work start over, half as many at a time. Raises Fault where not even one fits.
    """
    threshold = None if early_exit is None else math.log(early_exit / (1 - early_exit))
    at_once = model.config.halt_max_steps if threshold is None else 1
    batch_size, waiting, seats = min(batch_size, len(rows)), rows, {}
    while len(waiting) or seats:
        free = batch_size - len(seats["rows"]) if seats else batch_size
        try:
            if len(new := waiting[:free]):
                seats = _join(seats, _seated(model, load(new), new, rollout))
                waiting = waiting[free:]
            for _ in range(at_once):
                _step(model, seats, rollout)
            done = seats["steps"] == model.config.halt_max_steps
            if threshold is not None:
                done |= seats["q_halt"][:, -1] >= threshold
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if batch_size == 1:
                raise Fault("out of memory with one example at a time, expected room for that at least") from None
            done = None
        if done is None:  # out of the handler, since an error keeps the tensors of what failed
            if seats:
                waiting, seats = np.concatenate((seats["rows"].cpu().numpy(), waiting)), {}
            batch_size = -(-batch_size // 2)
            print(f"out of memory: going on with {batch_size} examples at a time", file=sys.stderr)
            continue
        if done.all():
            yield _answers(seats)
            seats = {}
        elif done.any():
            yield _answers({name: tensor[done] for name, tensor in seats.items()})
            seats = {name: tensor[~done] for name, tensor in seats.items()}


def predict(
    model: Network, inputs: np.ndarray, numbers: np.ndarray, batch_size: int, device: torch.device
) -> np.ndarray:
    """The model's answers to boards [n, seq_len] that come from no dataset, with the blank identifier.

    `numbers` [n], ascending, tell the boards apart where there is noise.
    """

    def load(some: np.ndarray) -> Batch:
        tokens = sent(inputs[np.searchsorted(numbers, some)].astype(np.int32), device)
        nothing = torch.full_like(tokens, IGNORE, dtype=torch.int64)
        return Batch(tokens, nothing, torch.zeros(len(some), dtype=torch.int64, device=device))

    return np.concatenate([found.predictions for found in answers(model, load, numbers, batch_size)]).astype(
        inputs.dtype
    )


Seats = dict[str, Tensor]  # what is known of the examples being worked on, a row each


def _seated(model: Network, batch: Batch, rows: np.ndarray, rollout: Rollout) -> Seats:
    """Examples that wait for their first step."""
    n, steps, device = len(rows), model.config.halt_max_steps, batch.inputs.device
    seats = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    if model.puzzle_emb is not None:
        seats["puzzle_rows"] = model.puzzle_rows(batch.puzzle_identifiers)
    noise = None
    if model.is_random or rollout.latent_noise:
        own = () if rollout.number == 0 else (rollout.number,)
        noise = Noise(draws.hashed(STREAM, rows, *own), device)
    state = model.initial_state(n, noise)
    seats |= {f"state{i}": tensor for i, tensor in enumerate(state)}
    if noise is not None:
        seats["noise"] = noise.states
    return seats | {
        "rows": torch.from_numpy(rows).to(device),
        "steps": torch.zeros(n, dtype=torch.int64, device=device),
        "q_halt": torch.zeros(n, steps, device=device),
        "exact": torch.zeros(n, steps, dtype=torch.bool, device=device),
    }


def _step(model: Network, seats: Seats, rollout: Rollout) -> None:
    """One supervision step for all."""
    state = tuple(seats[f"state{i}"] for i in range(len(model.STARTS)))
    noise = Noise(seats["noise"]) if "noise" in seats else None
    if rollout.latent_noise:
        *first, latent = state
        disturbance = noise.normal(*latent.shape[1:]).mul_(rollout.latent_noise)
        state = (*first, latent + disturbance.to(latent.dtype))
    state, logits, q = model(state, seats["inputs"], seats.get("puzzle_rows"), noise=noise)
    seats |= {f"state{i}": tensor for i, tensor in enumerate(state)}
    if noise is not None:
        seats["noise"] = noise.states
    labels = seats["labels"]
    predictions, asked = logits.argmax(-1), labels != IGNORE
    exact = ((predictions == labels) | ~asked).all(-1)
    later = torch.arange(model.config.halt_max_steps, device=labels.device) >= seats["steps"][:, None]  # or now
    seats["q_halt"] = torch.where(later, q[:, :1], seats["q_halt"])
    seats["exact"] = torch.where(later, exact[:, None], seats["exact"])
    row, first = torch.arange(len(labels), device=labels.device), asked.int().argmax(1)
    scores, label = logits[row, first], labels[row, first].clamp(min=0)
    seats["rank"] = (scores > scores.gather(1, label[:, None])).sum(1)
    seats["predictions"] = predictions
    seats["steps"] = seats["steps"] + 1


def _join(seats: Seats, new: Seats) -> Seats:
    """The new ones behind those who are at work."""
    if not seats:
        return new
    fresh = {"predictions": torch.zeros_like(new["labels"]), "rank": torch.zeros_like(new["rows"])} | new
    return {name: torch.cat((tensor, fresh[name])) for name, tensor in seats.items()}


def _answers(seats: Seats) -> Answers:
    seats = {**seats, "asked": seats["labels"] != IGNORE}
    return Answers(**{field.name: seats[field.name].cpu().numpy() for field in fields(Answers)})
