"""The networks beyond their published numbers: what each takes, halts by, learns from, and remembers."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.training.runs_of_processes import EXPERIMENT, build_data
from trm.config import Model, Training, check
from trm.evaluation.inference import answers
from trm.models import NETWORKS, act, build_model
from trm.models.losses import IGNORE
from trm.tensors import read_tensors
from trm.training.loop import RESUMABLE, train
from trm.training.trainer import Trainer

VOCABULARY, CELLS, ROWS = 6, 9, 4

KEYS = {
    "trm": {"L_layers": 1, "L_cycles": 2},
    "trm_singlez": {"L_layers": 1, "L_cycles": 2},
    "trm_hier6": {"L_layers": 1, "L_cycles": 2},
    "hrm": {"L_layers": 1, "H_layers": 1, "L_cycles": 2, "puzzle_emb_len": 0},
    "transformers_baseline": {"L_layers": 0, "H_layers": 2, "H_cycles": 1, "L_cycles": 1, "puzzle_emb_len": 0},
}
SMALL = {
    "hidden_size": 16,
    "num_heads": 2,
    "H_cycles": 2,
    "puzzle_emb_ndim": 16,
    "puzzle_emb_len": 2,
    "halt_max_steps": 3,
    "forward_dtype": "float32",
}


def small(name, **keys):
    return Model(name=name, **{**SMALL, **KEYS[name], **keys})


def build(config, seed=0):
    return build_model(config, VOCABULARY, CELLS, num_puzzle_identifiers=3, seed=seed)


def batch(seed, rows=ROWS):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(VOCABULARY, (rows, CELLS), generator=generator)
    labels[:, :2] = IGNORE
    return act.Batch(
        inputs=torch.randint(VOCABULARY, (rows, CELLS), generator=generator, dtype=torch.int32),
        labels=labels,
        puzzle_identifiers=torch.randint(3, (rows,), generator=generator),
    )


def answer(model, batch, rows=None):
    """What a model says to a batch whose rows have these numbers."""
    rows = np.zeros(len(batch.inputs), np.int64) if rows is None else rows
    [found] = answers(model, lambda _: batch, rows, len(rows))
    return found


def trainer_of(config):
    training = Training(global_batch_size=ROWS, lr=1e-2, lr_warmup_steps=0, epochs=1, eval_interval=1)
    return Trainer(build(config), training, total_steps=10)


def steps(trainer, first, last):
    return [trainer.step(t, batch(t), trainer.exploration(t)) for t in range(first, last + 1)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_restored_trainer_takes_the_same_steps(name):
    config = small(name, halt_exploration_prob=0.5)
    undisturbed = trainer_of(config)
    steps(undisturbed, 1, 5)

    killed, restored = trainer_of(config), trainer_of(config)
    steps(killed, 1, 3)
    restored.restore({key: tensor.clone() for key, tensor in killed.tensors().items()})
    steps(restored, 4, 5)
    expected, found = undisturbed.tensors(), restored.tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize(
    ("name", "length"),
    [(name, length) for name in NETWORKS for length in (0, 5) if length == 0 or "puzzle_emb_len" not in KEYS[name]],
)
@pytest.mark.parametrize("loss_type", ["softmax_cross_entropy", "stablemax_cross_entropy"])
def test_without_a_puzzle_embedding_no_position_is_kept_for_it(name, length, loss_type):
    trainer = trainer_of(small(name, puzzle_emb_ndim=0, puzzle_emb_len=length, loss_type=loss_type))
    for outputs in steps(trainer, 1, 4):
        assert [logits.shape for logits in outputs.logits] == [(ROWS, CELLS, VOCABULARY)]
        assert torch.isfinite(outputs.metrics).all()
    assert all(tensor.shape == (ROWS, CELLS, 16) for tensor in trainer.carry.state)
    assert not any("puzzle_emb" in key for key in trainer.model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_goes_on_from_the_state_of_the_one_before_row_by_row(name):
    model, rows = build(small(name)), batch(0)
    embedded = model.puzzle_rows(rows.puzzle_identifiers)
    state, first, _ = model(model.initial_state(ROWS), rows.inputs, embedded)
    assert not any(tensor.requires_grad for tensor in state)
    _, second, _ = model(state, rows.inputs, embedded)
    assert not torch.allclose(first, second)
    _, alone, _ = model(tuple(tensor[2:3] for tensor in state), rows.inputs[2:3], embedded[2:3])
    torch.testing.assert_close(second[2:3], alone)


# q_halt above 0 and above q_continue, above one of them only, above none
Q = torch.tensor([[2.0, 1.0], [1.0, 2.0], [-1.0, -2.0], [-2.0, -1.0]])


@pytest.mark.parametrize(
    ("name", "halted"),
    [
        ("trm", [True, True, False, False]),
        ("trm_singlez", [True, True, False, False]),
        ("trm_hier6", [True, True, False, False]),
        ("hrm", [True, False, True, False]),
        ("transformers_baseline", [True, False, True, False]),
    ],
)
def test_rows_halt_by_the_rule_of_their_network(name, halted):
    model = build(small(name))
    nobody, everybody = torch.zeros(ROWS, dtype=torch.bool), torch.ones(ROWS, dtype=torch.bool)
    carry = act.refill(model, act.start(model, batch(0)), batch(0))
    least = torch.full((ROWS,), 2)
    assert act.advance(model, carry, carry.state, Q, nobody, least).halted.tolist() == halted
    # exploring rows stay for their least number of steps, and none stays longer than halt_max_steps
    carry = act.advance(model, carry, carry.state, Q, everybody, least)
    assert carry.halted.tolist() == [False] * ROWS
    assert act.advance(model, carry, carry.state, Q, everybody, least).halted.tolist() == halted
    carry = act.advance(model, carry, carry.state, -Q.abs(), everybody, torch.full((ROWS,), 3))
    assert act.advance(model, carry, carry.state, Q, everybody, least).halted.tolist() == [True] * ROWS


@pytest.mark.parametrize("better", ["stopping", "going on"])
def test_q_continue_learns_the_value_of_the_next_step(better):
    model, rows = build(small("hrm")), batch(0)  # of at most 3 steps
    with torch.no_grad():
        model.q_head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        model.q_head.bias.copy_(torch.tensor([3.0, -3.0] if better == "stopping" else [-3.0, 3.0]))
    embedded = model.puzzle_rows(rows.puzzle_identifiers)
    state, _, _ = model(model.initial_state(ROWS), rows.inputs, embedded)
    _, _, q = model(state, rows.inputs, embedded)
    stop, go_on = q.detach().sigmoid().unbind(-1)
    carry = act.Carry(state, torch.tensor([1, 2, 3, 3]), torch.zeros(ROWS, dtype=torch.bool), rows)
    target = act.continue_target(model, carry, embedded)
    torch.testing.assert_close(target, stop if better == "stopping" else torch.cat((go_on[:2], stop[2:])))
    assert not target.requires_grad


class Watched(torch.nn.Module):
    """A stack that notes, call by call, whether it is asked for a gradient."""

    def __init__(self, stack, calls, name):
        super().__init__()
        self.stack, self.calls, self.name = stack, calls, name

    def forward(self, h):
        self.calls.append(f"{self.name}{'+' if torch.is_grad_enabled() else '-'}")
        return self.stack(h)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "z- z- z- z- z+ z+ z+ z+"),  # one stack for both, in 2 cycles of 3 updates of z and one of y
        ({"H_layers": 1}, "z- z- z- y- z+ z+ z+ y+"),
        ({"one_step_gradient": True}, "z- z- z- z- z- z- z+ z+"),
        ({"one_step_gradient": True, "H_layers": 1}, "z- z- z- y- z- z- z+ y+"),
        ({"one_step_gradient": True, "L_cycles": 1, "H_cycles": 1}, "z+ z+"),
    ],
)
def test_the_ablations_take_a_network_or_a_gradient_from_some_updates_alone(keys, expected):
    model, rows, calls = build(small("trm", **{"L_cycles": 3, **keys})), batch(0), []
    for name, letter in (("L_level", "z"), ("H_level", "y")):
        if hasattr(model, name):
            setattr(model, name, Watched(getattr(model, name), calls, letter))
    model(model.initial_state(ROWS), rows.inputs, model.puzzle_rows(rows.puzzle_identifiers))
    assert calls == expected.split()


def test_a_gradient_of_the_last_updates_alone_is_another_one_for_the_same_answer():
    weights, answers = [], []
    for one_step in (False, True):
        model, rows = build(small("trm", L_cycles=3, one_step_gradient=one_step)), batch(0)
        _, logits, _ = model(model.initial_state(ROWS), rows.inputs, model.puzzle_rows(rows.puzzle_identifiers))
        logits.square().sum().backward()
        answers.append(logits.detach())
        weights.append(model.L_level.layers[0].mlp.down_proj.weight.grad)
    torch.testing.assert_close(*answers, rtol=0, atol=0)
    assert not torch.allclose(*weights)


def test_a_network_of_its_own_doubles_the_weights_of_the_published_trm():
    sizes = []
    for layers in (0, 2):
        model = build_model(Model(mlp_t=True, pos_encodings="none", H_layers=layers), 11, 81, 1)
        sizes.append(round(sum(parameter.numel() for parameter in model.parameters()) / 1e6))
    assert sizes == [5, 10]


def test_trm_that_learns_to_continue_halts_as_hrm():
    model = build(small("trm", no_ACT_continue=False))
    assert model.halts(Q).tolist() == [True, False, True, False]
    assert "q_continue_loss" in trainer_of(model.config).metric_names
    with pytest.raises(ValidationError, match=r"state_noise 0\.1: expected 0 with no_ACT_continue false"):
        small("trm", no_ACT_continue=False, state_noise=0.1)


@pytest.mark.parametrize(
    ("seq_len", "keys", "millions"),
    [
        (81, {}, 7),
        (81, {"mlp_t": True, "pos_encodings": "none"}, 5),
        (900, {"mlp_t": True, "pos_encodings": "none"}, 19),
        (81, {"name": "hrm", "L_layers": 4, "H_layers": 4, "H_cycles": 2, "L_cycles": 2, "puzzle_emb_len": 0}, 27),
    ],
)
def test_the_published_sizes_have_the_published_numbers_of_weights(seq_len, keys, millions):
    model = build_model(Model(**keys), 11, seq_len, 1)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


def test_the_published_transformer_has_heads_that_do_not_fill_its_width():
    config = Model(**{"name": "transformers_baseline", "num_heads": 12, **KEYS["transformers_baseline"]})
    model = build_model(config, VOCABULARY, CELLS, 1)
    attention = model.H_level.layers[0].self_attn
    assert attention.qkv_proj.weight.shape == (3 * 12 * 42, 512)
    assert attention.o_proj.weight.shape == (512, 12 * 42)
    rows = batch(0)
    _, logits, _ = model(model.initial_state(ROWS), rows.inputs, model.puzzle_rows(torch.zeros(ROWS, dtype=torch.long)))
    assert torch.isfinite(logits).all()


def test_the_configuration_names_every_network():
    assert set(get_args(Model.model_fields["name"].annotation)) == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "key", "value", "expected"),
    [
        *((name, "H_layers", 2, "0, not 2") for name in ("trm_singlez", "trm_hier6")),
        *((name, "one_step_gradient", True, "False, not True") for name in NETWORKS if name != "trm"),
        *((name, "no_ACT_continue", False, "True, not False") for name in ("hrm", "transformers_baseline")),
        *((name, "L_layers", 0, "1 or more, not 0") for name in ("trm", "trm_singlez", "trm_hier6", "hrm")),
        *((name, "H_layers", 0, "1 or more, not 0") for name in ("hrm", "transformers_baseline")),
        *((name, "puzzle_emb_len", 1, "0, not 1") for name in ("hrm", "transformers_baseline")),
        ("trm_hier6", "L_cycles", 7, "1 to 6, not 7"),
        ("transformers_baseline", "L_layers", 2, "0, not 2"),
        ("transformers_baseline", "H_cycles", 3, "1, not 3"),
        ("transformers_baseline", "L_cycles", 6, "1, not 6"),
    ],
)
def test_a_key_that_a_network_cannot_use_is_refused(name, key, value, expected):
    with pytest.raises(ValidationError, match=rf"{key}\n.*expected {expected}, with model.name {name}"):
        small(name, **{key: value})


def test_a_default_that_a_network_cannot_use_is_refused_too():
    with pytest.raises(ValidationError, match=r"H_layers\n.*expected 1 or more, not 0, with model.name hrm"):
        Model(name="hrm")


@pytest.mark.parametrize("heads", [3, 17])
def test_heads_must_have_pairs_to_rotate(heads):
    with pytest.raises(ValidationError, match="hidden_size 16 must be a multiple of 2"):
        small("transformers_baseline", num_heads=heads)


def test_hrm_logs_its_further_loss_and_resumes_with_the_same_bits(tmp_path):
    data = build_data(tmp_path / "data")
    tree = {
        **EXPERIMENT,
        "model": {**EXPERIMENT["model"], "name": "hrm", "H_layers": 1, "puzzle_emb_len": 0},
        "training": {**EXPERIMENT["training"], "max_steps": 6, "log_every": 3, "final_weights": "last"},
    }
    experiment = check(tree, "hrm")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train(experiment, data, whole, None, 0, None, "cpu") == 0
    assert train(experiment, data, stopped, None, 0, 0.0, "cpu") == RESUMABLE
    assert train(experiment, data, stopped, None, 0, None, "cpu") == 0
    (expected,), (found,) = (
        folder.parent.glob(f"{folder.name}.checkpoints/*/step-00000006.safetensors") for folder in (whole, stopped)
    )
    (expected, _), (found, _) = read_tensors(expected), read_tensors(found)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    logged = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [list(line)[-4:-1] for line in logged if "lm_loss" in line] == 2 * [
        ["lm_loss", "q_halt_loss", "q_continue_loss"]
    ]
