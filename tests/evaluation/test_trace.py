"""Following a network: the answers of the evaluation, with the probability of each token."""

from functools import partial

import numpy as np
import pytest
import torch

from trm import draws
from trm.data.layout import read_split
from trm.evaluation import trace as module
from trm.evaluation.inference import STREAM, answers, to_batch
from trm.evaluation.trace import Trace, trace
from trm.models import build_model
from trm.models.losses import TOKEN_LOSSES, confidence
from trm.reporting.results import read_predictions
from trm.runs import load_model, read_run

CPU = torch.device("cpu")


def follow(run, data, steps: int = 2, n: int = 20) -> Trace:
    split = read_split(data / "test")
    model = load_model(read_run(run), split.metadata, CPU)
    rows = np.arange(n)
    inputs, _, identifiers = split.take(rows)
    return trace(model, inputs, identifiers, draws.hashed(STREAM, rows), steps, CPU)


def test_a_trace_says_what_the_evaluation_says(tiny_run, tiny_data):
    found = follow(tiny_run, tiny_data)
    table = read_predictions(tiny_run, ("labels", "asked", "predictions", "exact", "q_halt"))
    np.testing.assert_array_equal(found.answers[:, -1], table["predictions"])
    right = (found.answers == table["labels"][:, None]) | ~table["asked"][:, None]
    np.testing.assert_array_equal(right.all(-1), table["exact"])
    np.testing.assert_allclose(found.q_halt, table["q_halt"], rtol=1e-5)


def test_it_does_not_depend_on_how_many_boards_go_at_once(tiny_run, tiny_data, monkeypatch):
    whole = follow(tiny_run, tiny_data)
    monkeypatch.setattr(module, "AT_ONCE", 3)
    parts = follow(tiny_run, tiny_data)
    np.testing.assert_array_equal(parts.answers, whole.answers)
    np.testing.assert_allclose(parts.confidence, whole.confidence, rtol=1e-5)


def test_more_steps_go_on_from_the_same_first_ones(tiny_run, tiny_data):
    short, long = follow(tiny_run, tiny_data), follow(tiny_run, tiny_data, steps=5)
    assert long.answers.shape == long.confidence.shape == (20, 5, 16)
    np.testing.assert_array_equal(long.answers[:, :2], short.answers)
    np.testing.assert_array_equal(long.confidence[:, :2], short.confidence)


def test_a_network_with_noise_goes_the_way_of_the_evaluation(tiny_data, tiny_experiment):
    split, rows = read_split(tiny_data / "test"), np.arange(20)
    config = tiny_experiment.model.model_copy(update={"random_starts": True, "state_noise": 0.5})
    metadata = split.metadata
    model = build_model(config, metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers, seed=1)
    model.requires_grad_(False)
    torch.nn.init.normal_(model.q_head.weight)  # which is zero before any training
    [expected] = answers(model, partial(to_batch, split, device=CPU), rows, 20)
    inputs, _, identifiers = split.take(rows)
    found = trace(model, inputs, identifiers, draws.hashed(STREAM, rows), config.halt_max_steps, CPU)
    np.testing.assert_array_equal(found.answers[:, -1], expected.predictions)
    np.testing.assert_allclose(found.q_halt, expected.q_halt, rtol=1e-4, atol=1e-5)
    other = trace(model, inputs, identifiers, draws.hashed(STREAM, rows + 1), config.halt_max_steps, CPU)
    assert abs(other.q_halt - expected.q_halt).max() > 0.01


@pytest.mark.parametrize("loss_type", TOKEN_LOSSES)
def test_confidence_is_the_probability_that_the_loss_is_of(loss_type):
    logits = 4 * torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    sure, tokens = confidence(loss_type, logits)
    np.testing.assert_array_equal(tokens, logits.argmax(-1))
    losses = TOKEN_LOSSES[loss_type](logits, tokens)
    np.testing.assert_allclose(sure, torch.exp(-losses), rtol=1e-5)
    assert sure.dtype == torch.float32
