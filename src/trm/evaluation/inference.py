"""Running a model on examples: halt_max_steps supervision steps each, as published.

Rows do not affect each other, so the answers depend neither on the batch size nor on what else is in a batch; a
short last batch needs no padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from trm.data.layout import Split
from trm.models.act import Batch
from trm.models.losses import IGNORE
from trm.models.trm import TRM


@dataclass(frozen=True)
class Answers:
    """What a model says to n examples of a split; S = halt_max_steps."""

    inputs: np.ndarray  # [n, seq_len] tokens
    labels: np.ndarray  # [n, seq_len] tokens
    asked: np.ndarray  # [n, seq_len] bool, the tokens that have a label
    predictions: np.ndarray  # [n, seq_len] tokens after the last step
    q_halt: np.ndarray  # [n, S] float32 logits
    exact: np.ndarray  # [n, S] bool, whether the answer after each step is right


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
def answer(model: TRM, batch: Batch) -> Answers:
    """The model's answers to a batch."""
    asked = batch.labels != IGNORE
    puzzle_rows = model.puzzle_rows(batch.puzzle_identifiers)
    state = model.initial_state(len(batch.inputs))
    q_halt, exact = [], []
    for _ in range(model.config.halt_max_steps):
        state, logits, q = model(state, batch.inputs, puzzle_rows)
        predictions = logits.argmax(-1)
        q_halt.append(q[:, 0])
        exact.append(((predictions == batch.labels) | ~asked).all(-1))
    return Answers(
        inputs=batch.inputs.cpu().numpy(),
        labels=batch.labels.cpu().numpy(),
        asked=asked.cpu().numpy(),
        predictions=predictions.cpu().numpy(),
        q_halt=torch.stack(q_halt, 1).cpu().numpy(),
        exact=torch.stack(exact, 1).cpu().numpy(),
    )


def answers(model: TRM, split: Split, rows: np.ndarray, batch_size: int, device: torch.device) -> Iterator[Answers]:
    """Answers to the examples `rows` of a split, a batch at a time."""
    for start in range(0, len(rows), batch_size):
        yield answer(model, to_batch(split, rows[start : start + batch_size], device))
