"""The Tiny Recursive Model (arXiv 2510.04871, section 4 and figure 1).

One small network f, two blocks deep, improves an answer y with the help of a latent z (z_H and z_L in the published
code). A supervision step, from (y, z) and the embedded puzzle x:

    H_cycles times:                  all but the last without gradient
        L_cycles times: z = f(z + y + x)
        y = f(y + z)

The answer is read off y at the token positions; q_halt, whether to stop, at position 0.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.config import Model
from trm.models.layers import Block, Embedding, Linear, PuzzleEmbedding, Stack, rotary_tables, truncated_normal

State = tuple[Tensor, ...]  # (y, z), each [B, L, D]


class TRM(nn.Module):
    """TRM for boards of `seq_len` tokens out of `vocab_size`; weights drawn from `seed`."""

    def __init__(self, config: Model, vocab_size: int, seq_len: int, num_puzzle_identifiers: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        width = config.hidden_size
        length = config.prefix_len + seq_len
        self.config = config
        self.length = length
        self.dtype = getattr(torch, config.forward_dtype)

        self.embed_tokens = Embedding(vocab_size, width, generator)
        self.lm_head = Linear(width, vocab_size, generator)
        self.q_head = Linear(width, 2, generator, bias=True)
        nn.init.zeros_(self.q_head.weight)  # starts by never halting
        nn.init.constant_(self.q_head.bias, -5.0)
        self.puzzle_emb = None
        if config.puzzle_emb_ndim:
            self.puzzle_emb = PuzzleEmbedding(num_puzzle_identifiers, config.puzzle_emb_ndim)
        if config.pos_encodings == "learned":
            self.embed_pos = Embedding(length, width, generator)
        rotates = config.pos_encodings == "rope" and not config.mlp_t
        cos, sin = rotary_tables(length, width // config.num_heads) if rotates else (None, None)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        mlp_t_length = length if config.mlp_t else None
        self.L_level = Stack(
            [Block(width, config.num_heads, config.expansion, mlp_t_length, generator) for _ in range(config.L_layers)]
        )
        # the state that every puzzle starts from; not trained
        self.register_buffer("H_init", truncated_normal(width, std=1.0, generator=generator).to(self.dtype))
        self.register_buffer("L_init", truncated_normal(width, std=1.0, generator=generator).to(self.dtype))

    def initial_state(self, batch_size: int) -> State:
        """(y, z) for fresh puzzles, [B, L, D] each, without taking memory for it."""
        return tuple(v.expand(batch_size, self.length, -1) for v in (self.H_init, self.L_init))

    def puzzle_rows(self, puzzle_identifiers: Tensor) -> Tensor | None:
        """Puzzle embeddings [B, puzzle_emb_ndim] of identifiers [B]; None where the model has none."""
        return None if self.puzzle_emb is None else self.puzzle_emb.rows(puzzle_identifiers)

    def embed(self, inputs: Tensor, puzzle_rows: Tensor | None) -> Tensor:
        """Tokens [B, seq_len] and puzzle embeddings [B, puzzle_emb_ndim] -> x [B, L, D]."""
        width = self.config.hidden_size
        x = self.embed_tokens(inputs, self.dtype)
        if puzzle_rows is not None:
            room = self.config.prefix_len * width - self.config.puzzle_emb_ndim
            prefix = F.pad(puzzle_rows.to(self.dtype), (0, room)).view(-1, self.config.prefix_len, width)
            x = torch.cat((prefix, x), dim=1)
        if self.config.pos_encodings == "learned":
            x = math.sqrt(0.5) * (x + self.embed_pos.embedding_weight.to(self.dtype))
        return math.sqrt(width) * x

    def forward(self, state: State, inputs: Tensor, puzzle_rows: Tensor | None) -> tuple[State, Tensor, Tensor]:
        """One supervision step.

        Takes (y, z), tokens [B, seq_len] and puzzle embeddings [B, puzzle_emb_ndim]; returns the new state
        (detached), logits [B, seq_len, vocab_size] and q [B, 2], float32: (q_halt, q_continue).
        """
        x = self.embed(inputs, puzzle_rows)
        y, z = state
        with torch.no_grad():
            for _ in range(self.config.H_cycles - 1):
                y, z = self.cycle(y, z, x)
        y, z = self.cycle(y, z, x)
        logits = self.lm_head(y)[:, self.config.prefix_len :]
        q = self.q_head(y[:, 0]).float()
        return (y.detach(), z.detach()), logits, q

    def cycle(self, y: Tensor, z: Tensor, x: Tensor) -> State:
        """L_cycles updates of the latent, then one of the answer."""
        for _ in range(self.config.L_cycles):
            z = self.f(z + (y + x))
        return self.f(y + z), z

    def f(self, h: Tensor) -> Tensor:
        """The one network, for both levels."""
        return self.L_level(h, None if self.cos is None else (self.cos, self.sin))
