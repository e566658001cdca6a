"""LoRA: a network with adapters starts as it was, learns in them alone, and merges into a network without."""

import pytest
import torch

from tests.models.test_networks import ROWS, batch, build, small
from trm.models import NETWORKS, lora
from trm.models.layers import Linear
from trm.models.network import Network

RANK, ALPHA = 2, 16.0
MIXERS = {"attention": {}, "mlp": {"mlp_t": True, "pos_encodings": "none"}}

every_network = pytest.mark.parametrize(
    ("name", "mixer"), [*((name, "attention") for name in NETWORKS), ("trm", "mlp"), ("hrm", "mlp")]
)


def logits(network: Network, rows=None):
    rows = rows or batch(0)
    _, logits, q = network(network.initial_state(ROWS), rows.inputs, network.puzzle_rows(rows.puzzle_identifiers))
    return logits, q


def adapted(name, mixer="attention", seed=1, learnt=True):
    """A network with adapters that have learnt something."""
    network = build(small(name, **MIXERS[mixer]))
    lora.attach(network, RANK, ALPHA, seed)
    if learnt:
        generator = torch.Generator().manual_seed(2)
        for tensor in lora.adapters(network.state_dict()).values():
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    return network


@every_network
def test_a_network_with_fresh_adapters_is_the_one_it_was(name, mixer):
    plain, fresh = build(small(name, **MIXERS[mixer])), adapted(name, mixer, learnt=False)
    for ours, theirs in zip(logits(fresh), logits(plain), strict=True):
        assert torch.equal(ours, theirs)


@every_network
def test_every_linear_layer_of_trunk_and_heads_has_an_adapter(name, mixer):
    layers = {
        path for path, module in build(small(name, **MIXERS[mixer])).named_modules() if isinstance(module, Linear)
    }
    tensors = lora.adapters(adapted(name, mixer).state_dict())
    assert tensors.keys() == {f"{layer}.lora_{matrix}" for layer in layers for matrix in "AB"}
    assert {"lm_head", "q_head"} < layers
    for layer in layers:
        assert len(tensors[f"{layer}.lora_A"]) == tensors[f"{layer}.lora_B"].shape[1] == RANK


@every_network
def test_gradients_reach_adapters_and_embeddings_alone(name, mixer):
    network = adapted(name, mixer)
    rows = batch(0)
    puzzle_rows = network.puzzle_rows(rows.puzzle_identifiers)
    _, answer, q = network(network.initial_state(ROWS), rows.inputs, puzzle_rows)
    (answer.square().sum() + q.square().sum()).backward()
    learnt = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert learnt == {*lora.adapters(network.state_dict()), "embed_tokens.embedding_weight"}
    assert puzzle_rows.grad.abs().sum() > 0


@every_network
def test_merged_weights_compute_the_same_in_a_plain_network(name, mixer):
    network, plain = adapted(name, mixer), build(small(name, **MIXERS[mixer]))
    before = logits(plain)[0]
    plain.load_state_dict(lora.merge(network.state_dict(), RANK, ALPHA))
    for ours, theirs in zip(logits(plain), logits(network), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)  # recursion amplifies the last bits
    assert (logits(plain)[0] - before).abs().max() > 0.01  # there was something to merge


def test_the_scale_is_alpha_over_rank():
    network = adapted("trm", learnt=False)
    head = network.lm_head
    with torch.no_grad():
        head.lora_A.fill_(0.5)
        head.lora_B.fill_(0.25)
    x = torch.ones(1, 16)
    expected = ALPHA / RANK * RANK * 0.5 * 16 * 0.25
    torch.testing.assert_close(head(x), x @ head.weight.T + expected)


def test_adapters_are_a_function_of_their_seed():
    one, same, other = (lora.adapters(adapted("trm", seed=seed, learnt=False).state_dict()) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if name.endswith("lora_A"))


def test_adapters_alone_carry_what_was_learnt_to_another_copy_of_the_network():
    network, copy = adapted("trm"), adapted("trm", seed=5, learnt=False)
    lora.load(copy, lora.adapters(network.state_dict()))
    assert torch.equal(logits(copy)[0], logits(network)[0])


def test_adapters_of_another_network_are_refused():
    tensors = lora.adapters(adapted("trm").state_dict())
    with pytest.raises(ValueError, match=r"H_level.*lora_A has shape None, expected \("):
        lora.load(adapted("hrm"), tensors)
    tensors["lm_head.lora_B"] = tensors["lm_head.lora_B"][:, :1]
    with pytest.raises(ValueError, match=r"lm_head.lora_B has shape \(6, 1\), expected \(6, 2\)"):
        lora.load(adapted("trm"), tensors)
