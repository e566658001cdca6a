"""What all networks here share: a puzzle goes in as embedded positions, an answer and a halting value come out.

In between, each network improves its state in its own way: that is its `recurse`, the one function it has to write.
Module and parameter names are those of the published checkpoints.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trm.config import Model
from trm.models.layers import Block, Embedding, Linear, PuzzleEmbedding, Stack, rotary_tables, truncated_normal
from trm.models.noise import Noise

State = tuple[Tensor, ...]  # each [B, L, D]; the answer is read off the first


class Depth(NamedTuple):
    """How often a supervision step updates its state."""

    H_cycles: int
    L_cycles: int


class Network(nn.Module):
    """A network for boards of `seq_len` tokens out of `vocab_size`; weights drawn from `seed`."""

    STARTS: tuple[str, ...]  # the vectors that the tensors of a state start from, by name

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
        rotary = rotary_tables(length, width // config.num_heads) if rotates else None
        mlp_t_length = length if config.mlp_t else None
        for level, layers in (("L_level", config.L_layers), ("H_level", config.H_layers)):
            if layers:
                blocks = (
                    Block(width, config.num_heads, config.expansion, mlp_t_length, generator) for _ in range(layers)
                )
                self.add_module(level, Stack(blocks, rotary))
        for name in self.STARTS:  # not trained
            self.register_buffer(name, truncated_normal(width, std=1.0, generator=generator).to(self.dtype))

    @property
    def linears(self) -> list[Linear]:
        return [module for module in self.modules() if isinstance(module, Linear)]

    @property
    def learns_to_continue(self) -> bool:
        """Whether q_continue has a loss of its own."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether the network is disturbed on its way, and so needs a `noise` to run."""
        return self.config.random_starts or self.config.state_noise > 0

    def initial_state(self, batch_size: int, noise: Noise | None = None) -> State:
        """The state of fresh puzzles, [B, L, D] each: views of the network's vectors, or with random_starts noise."""
        if self.config.random_starts:
            shape = (self.length, self.config.hidden_size)
            return tuple(noise.truncated_normal(*shape).to(self.dtype) for _ in self.STARTS)
        return tuple(getattr(self, name).expand(batch_size, self.length, -1) for name in self.STARTS)

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

    def forward(
        self,
        state: State,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        depth: Depth | None = None,
        noise: Noise | None = None,
    ) -> tuple[State, Tensor, Tensor]:
        """One supervision step, as deep as the configuration says unless told otherwise.

        Takes the state, tokens [B, seq_len] and puzzle embeddings [B, puzzle_emb_ndim]; returns the new state
        (detached), logits [B, seq_len, vocab_size] and q [B, 2], float32: (q_halt, q_continue).
        """
        depth = depth or Depth(self.config.H_cycles, self.config.L_cycles)
        for layer in self.linears:
            layer.cast_to(self.dtype)
        state = self.recurse(state, self.embed(inputs, puzzle_rows), depth, noise)
        answer = state[0]
        logits = self.lm_head(answer)[:, self.config.prefix_len :]
        q = self.q_head(answer[:, 0]).float()
        return tuple(tensor.detach() for tensor in state), logits, q

    def recurse(self, state: State, x: Tensor, depth: Depth, noise: Noise | None) -> State:
        """The improved state, from the state and the embedded puzzle x [B, L, D]."""
        raise NotImplementedError

    def halts(self, q: Tensor) -> Tensor:
        """Which rows [B] would rather stop than go on, by their q [B, 2]."""
        return q[:, 0] > q[:, 1]
