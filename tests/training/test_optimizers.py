"""The optimisers follow their formulas (SPEC: "Optimisers"), written out slowly here."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

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


@given(data=st.data())
def test_sign_sgd_is_a_loop_over_identifiers(data):
    """Gradients are whole numbers, so that their sums, zero among them, are exact in any order."""
    rows, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    identifiers = data.draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows))
    dropped = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    gradients = rng.integers(-2, 3, (rows, width)) * ~np.array(dropped)[:, None]
    embedding = PuzzleEmbedding(8, width)
    before = rng.normal(size=(8, width)).astype(np.float32)
    embedding.weights.copy_(torch.from_numpy(before))
    SignSGD(embedding, weight_decay=0.5).step(torch.tensor(identifiers), torch.tensor(gradients).float(), lr=0.1)
    expected = before.copy()
    for identifier in set(identifiers):
        total = sum(gradients[row] for row in range(rows) if identifiers[row] == identifier)
        expected[identifier] = before[identifier] * (1 - 0.1 * 0.5) - 0.1 * np.sign(total)
    np.testing.assert_allclose(embedding.weights, expected, rtol=1e-6, atol=1e-7)
    unused = [identifier for identifier in range(8) if identifier not in identifiers]
    assert (embedding.weights.numpy()[unused] == before[unused]).all()


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
