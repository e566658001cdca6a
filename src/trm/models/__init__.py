"""The networks: layers, the recursion, halting and losses. No input or output, no training loop."""

from trm.config import Model
from trm.models.baselines import SingleZ, SixZ, Transformer
from trm.models.hrm import HRM
from trm.models.network import Network
from trm.models.trm import TRM

NETWORKS = {
    "trm": TRM,
    "trm_singlez": SingleZ,
    "trm_hier6": SixZ,
    "hrm": HRM,
    "transformers_baseline": Transformer,
}


def build_model(config: Model, vocab_size: int, seq_len: int, num_puzzle_identifiers: int, seed: int = 0) -> Network:
    """The network that the configuration names, for boards of `seq_len` tokens; weights drawn from `seed`."""
    return NETWORKS[config.name](config, vocab_size, seq_len, num_puzzle_identifiers, seed)
