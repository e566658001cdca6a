"""What a training may do otherwise than as published, each a function of the step and its seed.

A depth that grows and losses that decay over the supervision steps (CGAR, arXiv 2511.08653), the noise that
equilibrium reasoners run in (arXiv 2605.21488), tokens of the input replaced, puzzle embeddings left out.
"""

from dataclasses import replace

import torch
from torch import Tensor

from trm.config import Model, Training
from trm.models.act import Batch
from trm.models.network import Depth
from trm.models.noise import Noise

ADAPTERS, STATES, TOKENS, EMBEDDINGS = 10, 11, 12, 13  # streams, apart from other uses of the same seed
PAD = 0  # the token outside the board


def frozen_steps(config: Training, total_steps: int) -> int:
    """How many steps the weights keep out of, before they learn beside the puzzle embeddings."""
    return (config.freeze_weights_epochs or 0) * total_steps // config.epochs


def depth(config: Training, model: Model, t: int, total_steps: int) -> Depth:
    """How deep step `t` (from 1) recurses: as the curriculum has it for the share done, then as deep as the model."""
    done = (t - 1) / total_steps
    stage = next((stage for stage in config.curriculum if done < stage.until), model)
    return Depth(stage.H_cycles, stage.L_cycles)


def supervision_weights(steps: Tensor, decay: float, most: int) -> Tensor:
    """Weight of the loss of supervision step 1..`most`, for `steps` [B]: decay^(step - 1), scaled to a mean of 1."""
    mean = sum(decay**step for step in range(most)) / most
    return decay ** (steps - 1).float() / mean


def replace_tokens(batch: Batch, share: float, vocab_size: int, noise: Noise) -> Batch:
    """The batch with about a `share` of its input tokens exchanged for random ones; padding and labels stay."""
    inputs = batch.inputs
    chosen = (noise.uniform(inputs.shape[1]) < share) & (inputs != PAD)
    tokens = 1 + (noise.uniform(inputs.shape[1]) * (vocab_size - 1)).to(inputs.dtype)
    return replace(batch, inputs=torch.where(chosen, tokens, inputs))


def drop_embeddings(puzzle_rows: Tensor, share: float, noise: Noise) -> Tensor:
    """Puzzle embeddings [B, puzzle_emb_ndim], about a `share` of the rows zero and the others scaled up for that."""
    return puzzle_rows * ((noise.uniform(1) >= share) / (1 - share))
