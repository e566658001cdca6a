"""Answers are the same whoever sits beside a puzzle, and an example that is done makes room for the next."""

import math

import numpy as np
import pytest
import torch

from tests.models.test_networks import CELLS, VOCABULARY, build, small
from trm.evaluation.inference import Rollout, answers
from trm.models import NETWORKS, act
from trm.models.losses import IGNORE

EXAMPLES = 23
FIELDS = ("inputs", "labels", "asked", "predictions", "exact", "rank", "steps")


def examples():
    random = np.random.default_rng(0)
    boards = random.integers(0, VOCABULARY, (2, EXAMPLES, CELLS))
    boards[1, :, :2] = IGNORE
    return boards, random.integers(0, 3, EXAMPLES)


def load(rows):
    (inputs, labels), identifiers = examples()
    tensors = (inputs[rows].astype(np.int32), labels[rows], identifiers[rows])
    return act.Batch(*map(torch.from_numpy, tensors))


def undecided(name, **keys):
    """A network whose q_halt differs from puzzle to puzzle and from step to step."""
    model = build(small(name, halt_max_steps=6, **keys))
    with torch.no_grad():
        model.q_head.weight.normal_(std=1.0, generator=torch.Generator().manual_seed(0))
        model.q_head.bias.zero_()
    return model


def table(model, rows=None, batch_size=5, **keys):
    """All answers, by row."""
    rows = np.arange(EXAMPLES) if rows is None else rows
    parts = list(answers(model, load, rows, batch_size, **keys))
    order = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")
    names = ("rows", "q_halt", *FIELDS)
    return {name: np.concatenate([getattr(part, name) for part in parts])[order] for name in names}


def middle(model):
    """A threshold that some examples reach with the first step, and others do not."""
    return float(1 / (1 + np.exp(-np.quantile(table(model)["q_halt"][:, 0], 0.75))))


def alone(model, row, **keys):
    """A single example's answers after each step, by hand."""
    batch = load(np.array([row]))
    state, found = model.initial_state(1), []
    with torch.no_grad():
        for _ in range(model.config.halt_max_steps):
            state, logits, q = model(state, batch.inputs, model.puzzle_rows(batch.puzzle_identifiers))
            found.append((logits[0].argmax(-1).numpy(), q[0, 0].item()))
    return found


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_an_example_leaves_after_the_first_step_that_is_sure_enough(name, batch_size):
    model = undecided(name)
    threshold = middle(model)
    found = table(model, batch_size=batch_size, early_exit=threshold)
    assert found["rows"].tolist() == list(range(EXAMPLES))
    assert 1 < found["steps"].mean() < 6
    for row in range(EXAMPLES):
        by_hand = alone(model, row)
        sure = [step for step, (_, q) in enumerate(by_hand, start=1) if q >= math.log(threshold / (1 - threshold))]
        steps = min([*sure, 6])
        assert found["steps"][row] == steps
        assert (found["predictions"][row] == by_hand[steps - 1][0]).all()
        expected = [q for _, q in by_hand[:steps]] + [by_hand[steps - 1][1]] * (6 - steps)
        assert found["q_halt"][row] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_without_early_exit_every_example_takes_every_step(name):
    model = undecided(name)
    found = table(model)
    assert (found["steps"] == 6).all()
    for row in range(0, EXAMPLES, 7):
        by_hand = alone(model, row)
        assert (found["predictions"][row] == by_hand[-1][0]).all()
        assert found["q_halt"][row] == pytest.approx([q for _, q in by_hand], abs=1e-4)


def test_without_early_exit_an_answer_has_the_bits_of_the_bare_steps():
    model, rows = undecided("trm"), np.arange(7)
    [found] = answers(model, load, rows, 7)
    batch, state, q_halt = load(rows), model.initial_state(7), []
    with torch.inference_mode():
        for _ in range(6):
            state, logits, q = model(state, batch.inputs, model.puzzle_rows(batch.puzzle_identifiers))
            q_halt.append(q[:, 0])
    assert (found.q_halt == torch.stack(q_halt, 1).numpy()).all()
    assert (found.predictions == logits.argmax(-1).numpy()).all()


def test_no_more_examples_are_at_work_than_fit_a_batch(monkeypatch):
    model, sizes = undecided("trm"), []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda state, inputs, *r, **k: sizes.append(len(inputs)) or forward(state, inputs, *r, **k)
    )
    threshold = middle(model)
    sizes.clear()
    found = table(model, batch_size=4, early_exit=threshold)
    assert max(sizes) == 4
    assert sum(sizes) == found["steps"].sum()
    assert len(sizes) < 1.5 * sum(sizes) / 4  # seats are filled again at once


@pytest.mark.parametrize("early", [False, True])
def test_where_memory_runs_out_half_as_many_give_the_same_answers(monkeypatch, capsys, early):
    """In the second forward pass, when all are under way and, with early exit, some have left."""
    model = undecided("trm")
    keys = {"early_exit": middle(model)} if early else {}
    expected, forward, calls = table(model, **keys), model.forward, []

    def short_of_memory(state, inputs, *rest, **options):
        calls.append(len(inputs))
        if len(calls) > 1 and len(inputs) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(state, inputs, *rest, **options)

    monkeypatch.setattr(model, "forward", short_of_memory)
    found = table(model, batch_size=20, **keys)
    assert capsys.readouterr().err == "".join(f"out of memory: going on with {n} examples at a time\n" for n in (10, 5))
    assert found["rows"].tolist() == list(range(EXAMPLES))
    assert found["q_halt"] == pytest.approx(expected["q_halt"], abs=1e-4)
    for name in FIELDS:
        assert (found[name] == expected[name]).all(), name


NOISY = {"relaxation": 0.95, "state_noise": 0.1, "random_starts": True}


@pytest.mark.parametrize(("keys", "noise"), [(NOISY, 0.0), ({}, 0.5), (NOISY, 0.5)])
def test_noise_is_the_row_s_own_in_any_batch_and_with_early_exit(keys, noise):
    model = undecided("trm", **keys)
    for number in (0, 3):
        rollout = Rollout(number, noise)
        whole = table(model, rollout=rollout)
        for other in (
            table(model, batch_size=EXAMPLES, rollout=rollout),
            table(model, rows=np.random.default_rng(0).permutation(EXAMPLES), batch_size=3, rollout=rollout),
        ):
            assert (other["predictions"] == whole["predictions"]).mean() > 0.99  # but for near ties
            assert other["q_halt"] == pytest.approx(whole["q_halt"], abs=1e-3)
        early = table(model, batch_size=4, early_exit=middle(model), rollout=rollout)
        for row, steps in enumerate(early["steps"]):
            assert early["q_halt"][row, :steps] == pytest.approx(whole["q_halt"][row, :steps], abs=1e-3)


def test_rollouts_in_noise_differ_from_each_other_and_the_first_of_a_noisy_network_is_the_plain_one():
    model = undecided("trm", **NOISY)
    plain, first, second = (table(model, rollout=Rollout(number))["q_halt"] for number in (0, 0, 1))
    assert (plain == first).all()
    assert np.abs(second - first).max() > 1e-2
    model = undecided("trm")
    still, shaken = table(model)["q_halt"], table(model, rollout=Rollout(1, 0.5))["q_halt"]
    assert np.abs(still - shaken).max() > 1e-2
    assert (table(model, rollout=Rollout(1))["q_halt"] == still).all()  # no noise, no difference
