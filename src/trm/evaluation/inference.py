"""Running a model on examples: halt_max_steps supervision steps each, as published.

Rows do not affect each other, so the answers depend neither on the batch size nor on what else is in a batch; a
short last batch needs no padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from trm import draws
from trm.data.layout import Split
from trm.models.act import Batch
from trm.models.losses import IGNORE
from trm.models.network import Network
from trm.models.noise import Noise

STREAM = 9  # of the noise, apart from other uses of the same row


@dataclass(frozen=True)
class Answers:
    """What a model says to n examples of a split; S = halt_max_steps."""

    inputs: np.ndarray  # [n, seq_len] tokens
    labels: np.ndarray  # [n, seq_len] tokens
    asked: np.ndarray  # [n, seq_len] bool, the tokens that have a label
    predictions: np.ndarray  # [n, seq_len] tokens after the last step
    q_halt: np.ndarray  # [n, S] float32 logits
    exact: np.ndarray  # [n, S] bool, whether the answer after each step is right
    rank: np.ndarray  # [n] tokens that the last step scores above the label, where the first label is asked


def to_batch(split: Split, rows: np.ndarray, device: torch.device) -> Batch:
    """Examples of a split on the device."""
    inputs, labels, identifiers = split.take(rows)
    labels = torch.from_numpy(labels.astype(np.int64))
    if split.metadata.ignore_label_id is not None:
        labels.masked_fill_(labels == split.metadata.ignore_label_id, IGNORE)
    return Batch(
        inputs=torch.from_numpy(inputs.astype(np.int32)).to(device),
        labels=labels.to(device),
        puzzle_identifiers=torch.from_numpy(identifiers.astype(np.int64)).to(device),
    )


@torch.inference_mode()
def answer(model: Network, batch: Batch, rows: np.ndarray | None = None) -> Answers:
    """The model's answers to a batch.

    A model that runs in noise has one of its own for each row, by the numbers `rows` of the batch in their split; None:
    the same for all.
    """
    asked = batch.labels != IGNORE
    puzzle_rows = model.puzzle_rows(batch.puzzle_identifiers)
    noise = None
    if model.is_random:
        rows = np.zeros(len(batch.inputs), np.int64) if rows is None else rows
        noise = Noise(draws.hashed(STREAM, rows), batch.inputs.device)
    state = model.initial_state(len(batch.inputs), noise)
    q_halt, exact = [], []
    for _ in range(model.config.halt_max_steps):
        state, logits, q = model(state, batch.inputs, puzzle_rows, noise=noise)
        predictions = logits.argmax(-1)
        q_halt.append(q[:, 0])
        exact.append(((predictions == batch.labels) | ~asked).all(-1))
    row, first = torch.arange(len(asked), device=asked.device), asked.int().argmax(1)
    scores, label = logits[row, first], batch.labels[row, first].clamp(min=0)
    rank = (scores > scores.gather(1, label[:, None])).sum(1)
    return Answers(
        inputs=batch.inputs.cpu().numpy(),
        labels=batch.labels.cpu().numpy(),
        asked=asked.cpu().numpy(),
        predictions=predictions.cpu().numpy(),
        q_halt=torch.stack(q_halt, 1).cpu().numpy(),
        exact=torch.stack(exact, 1).cpu().numpy(),
        rank=rank.cpu().numpy(),
    )


def answers(model: Network, split: Split, rows: np.ndarray, batch_size: int, device: torch.device) -> Iterator[Answers]:
    """Answers to the examples `rows` of a split, a batch at a time."""
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        yield answer(model, to_batch(split, part, device), part)


def predict(model: Network, inputs: np.ndarray, device: torch.device) -> np.ndarray:
    """The model's answer to boards [n, seq_len] that come from no dataset, with the blank identifier."""
    n = len(inputs)
    batch = Batch(
        inputs=torch.from_numpy(inputs.astype(np.int32)).to(device),
        labels=torch.full(inputs.shape, IGNORE, device=device),
        puzzle_identifiers=torch.zeros(n, dtype=torch.int64, device=device),
    )
    return answer(model, batch).predictions.astype(inputs.dtype)
