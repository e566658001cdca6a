"""Following a network to its answer: what it says after each supervision step, and how sure of it it is."""

from dataclasses import dataclass

import numpy as np
import torch

from trm.models.losses import confidence
from trm.models.network import Network
from trm.models.noise import Noise

AT_ONCE = 16  # boards


@dataclass(frozen=True)
class Trace:
    """What a network says to n boards after each of S steps."""

    answers: np.ndarray  # [n, S, seq_len] tokens
    confidence: np.ndarray  # [n, S, seq_len] float32, the probability of those tokens
    q_halt: np.ndarray  # [n, S] float32 logits


@torch.inference_mode()
def trace(
    model: Network,
    inputs: np.ndarray,
    identifiers: np.ndarray,
    seeds: np.ndarray,
    steps: int,
    device: torch.device,
) -> Trace:
    """Follow boards [n, seq_len] with their puzzle identifiers [n]; `seeds` [n] uint64 are those of the noise."""
    parts: list[list[np.ndarray]] = []
    for first in range(0, len(inputs), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        tokens = torch.from_numpy(inputs[some].astype(np.int32)).to(device)
        puzzle_rows = model.puzzle_rows(torch.from_numpy(identifiers[some].astype(np.int64)).to(device))
        noise = Noise(seeds[some], device) if model.is_random else None
        state = model.initial_state(len(tokens), noise)
        said = []
        for _ in range(steps):
            state, logits, q = model(state, tokens, puzzle_rows, noise=noise)
            sure, answers = confidence(model.config.loss_type, logits)
            said.append((answers.cpu(), sure.cpu(), q[:, 0].cpu()))
        parts.append([torch.stack(each, 1).numpy() for each in zip(*said, strict=True)])
    return Trace(*(np.concatenate(each) for each in zip(*parts, strict=True)))
