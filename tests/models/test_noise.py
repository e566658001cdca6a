"""Random numbers on the device: each row's stream is SplitMix64, whatever else is in the batch."""

import math

import numpy as np
import torch

from trm import draws
from trm.models.layers import truncated_normal
from trm.models.noise import Noise

CPU = torch.device("cpu")
MASK = 2**64 - 1


def splitmix64(seed, n):
    """The generator as it was published, with a state that grows."""
    for _ in range(n):
        seed = seed + 0x9E3779B97F4A7C15 & MASK
        x = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & MASK
        x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
        yield x ^ x >> 31


def noise(*rows):
    return Noise(draws.hashed(7, np.array(rows)), CPU)


def test_the_stream_of_a_row_is_splitmix64_of_its_seed():
    seeds = np.array([0, 1, 2**63 + 12345, 2**64 - 1], np.uint64)
    streams = Noise(seeds, CPU)
    read = torch.cat([streams.bits(3), streams.bits(5)], dim=1).numpy().view(np.uint64)
    assert read.tolist() == [list(splitmix64(int(seed), 8)) for seed in seeds]


def test_a_row_sees_the_same_numbers_in_every_batch():
    def read(streams):
        return torch.cat([streams.normal(3, 5), streams.uniform(3, 5), streams.truncated_normal(3, 5)], dim=1)

    together = read(noise(*range(10)))
    assert torch.equal(read(noise(3, 8)), together[[3, 8]])
    assert len(together.flatten().unique()) > 0.99 * together.numel()


def test_normal_numbers_are_normal():
    values = noise(*range(100)).normal(1001).double()
    assert values.shape == (100, 1001)
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((values**power).mean() - moment) < 0.05
    beyond = [(values.abs() > bound).double().mean().item() for bound in (1, 2, 3)]
    np.testing.assert_allclose(beyond, [math.erfc(bound / math.sqrt(2)) for bound in (1, 2, 3)], atol=4e-3)
    assert abs((values[:, :500] * values[:, 501:]).mean()) < 0.02  # the two of a pair do not go together
    assert torch.isfinite(values).all()


def test_uniform_numbers_fill_their_range():
    values = noise(*range(100)).uniform(1000)
    assert values.min() >= 0
    assert values.max() < 1
    np.testing.assert_allclose(np.histogram(values, 10, (0, 1))[0] / 1e5, 0.1, atol=5e-3)


def test_truncated_normal_numbers_are_those_of_the_layers():
    ours = noise(*range(100)).truncated_normal(1000).flatten()
    theirs = truncated_normal(100_000, std=1.0, generator=torch.Generator().manual_seed(0))
    assert abs(ours.std() - 1) < 0.01
    shares = torch.linspace(0.01, 0.99, 21)
    torch.testing.assert_close(ours.quantile(shares), theirs.quantile(shares), atol=0.03, rtol=0)
    torch.testing.assert_close(ours.abs().max(), theirs.abs().max(), atol=1e-3, rtol=0)
