"""The optimisers follow their formulas (SPEC: "Optimisers"), written out slowly here."""

import math

import numpy as np
import torch

from trm.config import Training
from trm.models.layers import PuzzleEmbedding
from trm.training.optimizers import EMA, AdamATan2, SignSGD, learning_rate


def test_adam_atan2_follows_its_formula():
    rng = np.random.default_rng(0)
    p = rng.normal(size=(3, 4))
    parameter = torch.nn.Parameter(torch.tensor(p))
    adam = AdamATan2([parameter], 0.9, 0.95, weight_decay=0.1)
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t in range(1, 8):
        g, lr = rng.normal(size=p.shape), 0.01 * t
        parameter.grad = torch.tensor(g)
        adam.step(t, lr)
        m, v = m + 0.1 * (g - m), 0.95 * v + 0.05 * g * g
        p = p * (1 - lr * 0.1)
        p -= lr / (1 - 0.9**t) * np.arctan2(m, np.sqrt(v) / np.sqrt(1 - 0.95**t))
        np.testing.assert_allclose(parameter.detach().numpy(), p, rtol=1e-12)


def test_a_zero_gradient_moves_nothing_but_by_decay():
    parameter = torch.nn.Parameter(torch.ones(3))
    adam = AdamATan2([parameter], 0.9, 0.95, weight_decay=0.5)
    parameter.grad = torch.zeros(3)
    adam.step(1, 0.1)
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.95))


def test_sign_sgd_sums_equal_rows_and_leaves_the_others_alone():
    embedding = PuzzleEmbedding(5, 2)
    embedding.weights += torch.arange(10.0).view(5, 2)
    before = embedding.weights.clone()
    sign = SignSGD(embedding, weight_decay=0.1)
    identifiers = torch.tensor([3, 1, 3])
    gradients = torch.tensor([[2.0, -1.0], [1.0, 0.0], [-3.0, -1.0]])
    sign.step(identifiers, gradients, lr=0.5)
    expected = before.clone()
    expected[3] = before[3] * 0.95 - 0.5 * torch.tensor([-1.0, -1.0])
    expected[1] = before[1] * 0.95 - 0.5 * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(embedding.weights, expected)


def test_the_average_starts_from_the_initial_weights_and_swaps_back():
    parameter = torch.nn.Parameter(torch.ones(2))
    ema = EMA([parameter], 0.75)
    with torch.no_grad():
        parameter.fill_(5.0)
    ema.update()
    ema.swap()
    assert parameter.tolist() == [2.0, 2.0]
    ema.swap()
    assert parameter.tolist() == [5.0, 5.0]
    assert ema.shadow[0].tolist() == [2.0, 2.0]


def test_the_rate_warms_up_from_step_one_and_falls_along_a_cosine():
    config = Training(lr_warmup_steps=10, lr_min_ratio=0.1)
    rates = [learning_rate(config, 2.0, step, 110) for step in range(1, 111)]
    assert rates[0] == 0.2
    assert rates[9] == 2.0
    assert math.isclose(rates[59], 2.0 * 0.55)
    assert math.isclose(rates[109], 0.2)
    constant = Training(lr_warmup_steps=0)
    assert {learning_rate(constant, 1.0, step, 100) for step in range(1, 101)} == {1.0}
