"""Trainings otherwise than as published: what learns, how deep, on what, and in what noise."""

import json

import numpy as np
import pytest
import torch
import yaml

from tests.data.datasets import write_tasks
from tests.models.test_networks import ROWS, VOCABULARY, answer, batch, build, small
from tests.training.runs_of_processes import EXPERIMENT, Training, assert_same_bits, results
from tests.training.test_ranks import largest_difference
from tests.training.test_resume import kill_again_and_again
from trm import config
from trm.config import check
from trm.data.build import build as build_dataset
from trm.data.layout import read_split
from trm.evaluation.inference import to_batch
from trm.files import BadInput
from trm.models import NETWORKS, act, build_model, lora
from trm.models.noise import Noise
from trm.tensors import read_tensors
from trm.training import recipes
from trm.training.loop import train
from trm.training.trainer import Trainer

CPU = torch.device("cpu")
LORA = {"trained": "lora", "lora_rank": 1, "lora_alpha": 16.0, "init": "base"}
EMBEDDINGS = {"trained": "puzzle_emb", "init": "base"}
CGAR = {
    "curriculum": [{"until": 0.3, "H_cycles": 1, "L_cycles": 1}, {"until": 0.6, "H_cycles": 1, "L_cycles": 2}],
    "supervision_decay": 0.7,
}
EQR = {"relaxation": 0.95, "state_noise": 0.01, "random_starts": True, "puzzle_emb_ndim": 0}


def trainer_of(model=None, total_steps=10, seed=0, **keys):
    keys = {"lr": 1e-2, "lr_warmup_steps": 0, "epochs": 10, "eval_interval": 1, **keys}
    training = config.Training(global_batch_size=ROWS, **keys)
    return Trainer(build(model or small("trm")), training, total_steps, seed=seed)


def steps(trainer, first, last):
    return [trainer.step(t, batch(t), trainer.exploration(t)) for t in range(first, last + 1)]


def copied(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


# what learns


@pytest.mark.parametrize("name", NETWORKS)
def test_post_training_of_embeddings_leaves_every_other_bit_as_it_was(name):
    trainer = trainer_of(small(name), **EMBEDDINGS)
    before = copied(trainer.model.state_dict())
    steps(trainer, 1, 4)
    assert changed(before, trainer.model.state_dict()) == {"puzzle_emb.weights"}
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert trainer.tensors().keys().isdisjoint(f"{kind}.lm_head.weight" for kind in ("adam_m", "adam_v", "ema"))


def test_the_weights_join_after_their_epochs_and_learn_as_from_a_first_step():
    trainer = trainer_of(total_steps=10, freeze_weights_epochs=4, **EMBEDDINGS)
    before = copied(state(trainer))
    steps(trainer, 1, 4)
    assert changed(before, state(trainer)) == {"model.puzzle_emb.weights"}
    steps(trainer, 5, 5)
    names = [name for name, _ in trainer.model.named_parameters()]
    assert {f"model.{name}" for name in names} < changed(before, state(trainer))
    # a first step of the optimiser goes by lr * atan2(m, sqrt(v)) / (1 - beta1), whatever came before
    head = trainer.model.lm_head.weight
    rate, gradient = trainer.config.lr, head.grad
    expected = before["model.lm_head.weight"] * (1 - rate) - rate / 0.1 * torch.atan2(0.1 * gradient, gradient.abs())
    torch.testing.assert_close(head.detach(), expected)


def state(trainer):
    """What a trainer's steps change, without its carry."""
    optimizer = trainer._optimizer_state()
    return {**{f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}, **optimizer}


@pytest.mark.parametrize("name", NETWORKS)
def test_lora_learns_in_adapters_and_embeddings_alone(name):
    trainer = trainer_of(small(name), **LORA)
    before = copied(trainer.model.state_dict())
    steps(trainer, 1, 3)
    expected = {*lora.adapters(before), "embed_tokens.embedding_weight", "puzzle_emb.weights"}
    assert changed(before, trainer.model.state_dict()) == expected
    averaged = {key.removeprefix("ema.") for key in trainer.tensors() if key.startswith("ema.")}
    assert averaged == expected - {"puzzle_emb.weights"}


# how deep


def test_the_curriculum_deepens_the_recursion_by_the_share_of_the_training_done(monkeypatch):
    trainer = trainer_of(small("trm", H_cycles=3, L_cycles=4), total_steps=10, **CGAR)
    updates = []
    update = trainer.model.update
    monkeypatch.setattr(trainer.model, "update", lambda *arguments: updates.append(1) or update(*arguments))
    depths = []
    for t in range(1, 11):
        updates.clear()
        steps(trainer, t, t)
        depths.append(len(updates))
    assert depths == 3 * [1 * (1 + 1)] + 3 * [1 * (2 + 1)] + 4 * [3 * (4 + 1)]


def test_hrm_learns_to_continue_at_the_depth_of_its_step(monkeypatch):
    trainer = trainer_of(small("hrm", H_cycles=2, L_cycles=2), **CGAR)
    updates = []
    update = trainer.model.L_level.forward
    monkeypatch.setattr(trainer.model.L_level, "forward", lambda h: updates.append(1) or update(h))
    steps(trainer, 1, 1)
    assert len(updates) == 2  # one in the step, one for q_continue's target


def test_weights_of_supervision_steps_decay_around_one():
    weights = recipes.supervision_weights(torch.arange(1, 17), 0.7, most=16)
    assert weights.mean().item() == pytest.approx(1)
    torch.testing.assert_close(weights[1:] / weights[:-1], torch.full((15,), 0.7))


def test_the_loss_of_a_step_counts_by_its_weight_and_the_figures_do_not():
    decayed, plain = (trainer_of(supervision_decay=decay, lr=0, puzzle_emb_lr=0) for decay in (0.5, 1.0))
    weights = recipes.supervision_weights(torch.tensor([1, 2, 3]), 0.5, most=3)
    for t in (1, 2, 3):  # every row at its first, second, third step: an initial model never halts by itself
        (ours,), (theirs,) = steps(decayed, t, t), steps(plain, t, t)
        assert decayed.carry.steps.tolist() == [t] * ROWS
        torch.testing.assert_close(ours.loss, theirs.loss * weights[t - 1])
        assert torch.equal(ours.metrics, theirs.metrics)


# on what


def noise(*rows):
    return Noise(np.array(rows, np.uint64), CPU)


def test_input_noise_exchanges_its_share_of_the_tokens_but_no_padding():
    inputs = torch.arange(5000).remainder(VOCABULARY).int().expand(4, -1)
    whole = act.Batch(inputs, torch.zeros(4, 5000), torch.zeros(4))
    noisy = recipes.replace_tokens(whole, 0.2, VOCABULARY, noise(1, 2, 3, 4))
    assert noisy.inputs.dtype == inputs.dtype
    assert (noisy.inputs[inputs == 0] == 0).all()
    tokens = inputs > 0
    hit = noisy.inputs != inputs
    others = 1 - 1 / (VOCABULARY - 1)  # the rest are exchanged for themselves
    assert hit[tokens].float().mean().item() == pytest.approx(0.2 * others, abs=0.01)
    counts = torch.bincount(noisy.inputs[hit].flatten(), minlength=VOCABULARY)
    assert counts[0] == 0
    assert (counts[1:] > 0.8 * counts[1:].float().mean()).all()
    assert not torch.equal(hit[0], hit[1])
    assert noisy.labels is whole.labels


def test_a_row_keeps_its_noisy_input_until_it_makes_room():
    trainer = trainer_of(input_noise=0.5)
    steps(trainer, 1, 1)
    first = trainer.carry.batch
    assert not torch.equal(first.inputs, batch(1).inputs)
    assert torch.equal(first.labels, batch(1).labels)
    steps(trainer, 2, 3)
    assert torch.equal(trainer.carry.batch.inputs, first.inputs)
    steps(trainer, 4, 4)
    assert torch.equal(trainer.carry.batch.labels, batch(4).labels)
    assert not torch.equal(trainer.carry.batch.inputs, batch(4).inputs)


def test_a_dropped_puzzle_embedding_is_zero_and_learns_nothing():
    trainer = trainer_of(puzzle_emb_dropout=0.5, puzzle_emb_weight_decay=0.0)
    trainer.model.puzzle_emb.weights.fill_(1.0)
    kept = recipes.drop_embeddings(torch.ones(400, 3), 0.25, noise(*range(400)))
    assert (kept > 0).float().mean().item() == pytest.approx(0.75, abs=0.06)
    torch.testing.assert_close(kept.unique(dim=0), torch.tensor([[0.0] * 3, [1 / 0.75] * 3]))  # so that the mean stays
    rows = torch.arange(ROWS)
    trainer.model.puzzle_emb.weights = torch.ones(ROWS, 16)
    trainer.sign.weights = trainer.model.puzzle_emb.weights
    one = act.Batch(batch(1).inputs, batch(1).labels, rows)
    trainer.step(1, one, trainer.exploration(1))
    dropped = recipes.drop_embeddings(torch.ones(ROWS, 1), 0.5, trainer._noise(recipes.EMBEDDINGS, 1))[:, 0] == 0
    assert dropped.any()
    assert (trainer.model.puzzle_emb.weights[dropped] == 1).all()
    assert (trainer.model.puzzle_emb.weights[~dropped] != 1).any(1).all()


# in what noise


def test_an_update_goes_a_part_of_the_way_and_a_little_beside():
    plain, relaxed, noisy = (build(small("trm", **keys)) for keys in ({}, {"relaxation": 0.7}, {"state_noise": 0.5}))
    h, given = torch.randn(2, ROWS, plain.length, 16, generator=torch.Generator().manual_seed(0))
    new = plain.update(plain.L_level, h, given, None)
    torch.testing.assert_close(relaxed.update(relaxed.L_level, h, given, None), 0.3 * h + 0.7 * new)
    beside = noisy.update(noisy.L_level, h, given, noise(*range(ROWS))) - new
    assert beside.std().item() == pytest.approx(0.5, rel=0.1)
    assert beside[0].ne(beside[1]).any()


def test_only_fresh_rows_start_anew_each_from_states_of_its_own():
    model = build(small("trm", random_starts=True))
    carry = act.start(model, batch(0), noise(*range(ROWS)))
    carry = act.refill(model, carry, batch(0), noise(*range(ROWS)))
    y, z = carry.state
    assert y.std().item() == pytest.approx(1, abs=0.05)
    assert y.abs().max() < 2.3
    assert len({round(value, 6) for value in [*y[:, 0, 0].tolist(), *z[:, 0, 0].tolist(), *y[0, :, 0].tolist()]}) > 12
    halted = torch.tensor([True, False, False, True])
    carry = act.Carry(carry.state, carry.steps, halted, carry.batch)
    refilled = act.refill(model, carry, batch(1), noise(*range(10, 10 + ROWS)))
    same = [torch.equal(new, old) for new, old in zip(refilled.state[0], y, strict=True)]
    assert same == (~halted).tolist()


def test_noise_differs_from_step_to_step_and_from_seed_to_seed():
    config = small("trm", **EQR)
    first, again, other = (trainer_of(config, seed=seed, lr=0.0) for seed in (0, 0, 1))
    assert torch.equal(*(steps(trainer, 1, 1)[0].logits[0] for trainer in (first, again)))
    assert not torch.equal(first.carry.state[0], steps(other, 1, 1) and other.carry.state[0])
    used = [trainer._noise(recipes.STATES, t).normal(4) for trainer, t in ((first, 1), (first, 2), (other, 1))]
    assert len({tuple(values.flatten().tolist()) for values in used}) == 3


def test_an_answer_in_noise_depends_on_the_number_of_the_row_alone():
    model = build(small("trm", **EQR))
    with torch.no_grad():
        model.q_head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    rows = np.array([7, 3, 11, 5])
    together = answer(model, batch(0), rows)
    one = batch(0)
    part = act.Batch(one.inputs[2:], one.labels[2:], one.puzzle_identifiers[2:])
    np.testing.assert_allclose(answer(model, part, rows[2:]).q_halt, together.q_halt[2:], atol=1e-5)
    assert np.abs(answer(model, one, rows + 1).q_halt - together.q_halt).max() > 1e-3


# stopped and gone on with, on any number of ranks

RECIPES = {
    "lora": ({}, LORA),
    "post-training": ({}, {**EMBEDDINGS, "freeze_weights_epochs": 40}),
    "cgar": ({}, CGAR),
    "eqr": (EQR, {"input_noise": 0.1}),
    "dropout": ({}, {"puzzle_emb_dropout": 0.3, "input_noise": 0.2}),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_restored_trainer_takes_the_same_steps(recipe):
    model, keys = RECIPES[recipe]
    keys = {**keys} | ({"freeze_weights_epochs": 3} if recipe == "post-training" else {})
    undisturbed, killed, restored = (
        trainer_of(small("trm", halt_exploration_prob=0.5, **model), total_steps=10, **keys) for _ in range(3)
    )
    steps(undisturbed, 1, 9)
    steps(killed, 1, 2)
    for t in (3, 4, 5, 6, 7):  # over every moment at which something changes
        restored.restore(copied(killed.tensors()))
        killed, restored = restored, killed
        steps(killed, t, t)
    steps(killed, 8, 9)
    expected, found = undisturbed.tensors(), killed.tensors()
    assert expected.keys() == found.keys()
    assert changed(expected, found) == set()


def process(folder, data, recipe, base, ranks=1, **keys):
    """A training of the recipe from the weights of the run `base`, in a process of its own."""
    model, training = RECIPES[recipe]
    if "init" in training:
        training = {**training, "init": str(base.folder / "run")}
    found = Training(folder, data, ranks, epochs=100, **training, **keys)  # 337 steps, of which 300 are taken
    tree = yaml.safe_load((folder / "tiny.yaml").read_text())
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**tree, "model": {**tree["model"], **model}}))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["lora", "post-training", "cgar", "eqr"])
def test_three_kills_leave_no_trace(recipe, undisturbed, data, tmp_path):
    whole, killed = (process(tmp_path / name, data, recipe, undisturbed) for name in ("whole", "killed"))
    assert whole.run() == 0, whole.log
    kill_again_and_again(killed, 3, seed=0)
    assert_same_bits(killed, whole)


@pytest.mark.parametrize("recipe", ["lora", "post-training", "eqr", "dropout"])
def test_two_ranks_agree_with_one(recipe, undisturbed, data, tmp_path):
    runs = [process(tmp_path / str(ranks), data, recipe, undisturbed, ranks, max_steps=3) for ranks in (1, 2)]
    for training in runs:
        assert training.run() == 0, training.log
    (alone, weights, _), (together, weights_together, _) = map(results, runs)
    assert alone.keys() == together.keys()
    assert torch.equal(alone["carry.inputs"], together["carry.inputs"])
    assert largest_difference(alone, together) <= 1e-5
    assert largest_difference(weights, weights_together) <= 1e-5


def test_the_length_of_a_training_shapes_it_where_the_curriculum_goes_by_its_share(data, tmp_path):
    keys = {"lr_min_ratio": 1.0, "final_weights": "last", "max_steps": 4}
    for name, recipe, folders in (("plain", {}, 1), ("curriculum", CGAR, 2)):
        for epochs in (400, 800):
            training = Training(tmp_path / name, data, epochs=epochs, **keys, **recipe)
            assert training.run() == 0, training.log
        assert len(list((tmp_path / name).glob("run.checkpoints/*"))) == folders


# what comes of it


def exchange(data, digits, puzzles):
    """Two digits change their places in the answers of the `puzzles` with these identifiers."""
    for split in ("train", "test"):
        path = data / split / "all__labels.npy"
        labels, identifiers = np.load(path), np.load(data / split / "all__puzzle_identifiers.npy")
        first, second = ((labels == digit + 1) & np.isin(identifiers, puzzles)[:, None] for digit in digits)
        labels[first], labels[second] = digits[1] + 1, digits[0] + 1
        np.save(path, labels)


def two_tasks(data):
    """Every second board is of another task, with an identifier of its own, where 1 and 2 are exchanged."""
    for split in ("train", "test"):
        path = data / split / "all__puzzle_identifiers.npy"
        np.save(path, 1 + np.arange(len(np.load(path)), dtype=np.int32) % 2)
        path = data / split / "dataset.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "num_puzzle_identifiers": 3}))
    exchange(data, (1, 2), [2])


@pytest.mark.slow
def test_embeddings_alone_find_their_tasks_again_and_adapters_learn_a_fresh_one(tmp_path):
    tree = {
        "name": "learns",
        "dataset": {"puzzle": "sudoku", "size": 4, "blanks": [5, 8], "subsample_size": 400, "test_size": 60},
        "model": {
            **{"hidden_size": 48, "H_cycles": 2, "L_cycles": 2, "L_layers": 1, "mlp_t": True, "pos_encodings": "none"},
            **{"puzzle_emb_ndim": 48, "puzzle_emb_len": 1, "halt_max_steps": 4, "forward_dtype": "float32"},
        },
        "training": {
            **{"global_batch_size": 64, "epochs": 100, "eval_interval": 50, "max_steps": 260, "weight_decay": 0.1},
            **{"lr": 3e-3, "lr_warmup_steps": 20, "ema_rate": 0.95, "log_every": 10, "puzzle_emb_lr": 1e-2},
        },
    }

    def trained(name, **keys):
        """The losses on the way, and the share of test boards solved in the end."""
        experiment = check({**tree, "training": {**tree["training"], **keys}}, name)
        assert train(experiment, tmp_path / "data", tmp_path / name, None, 0, None, "cpu") == 0
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [line["lm_loss"] for line in lines if "lm_loss" in line], lines[-1]["exact_accuracy"]

    build_dataset(check(tree, "learns").dataset, tmp_path / "data")
    two_tasks(tmp_path / "data")
    _, together = trained("base")
    assert together > 0.7
    again = {"init": str(tmp_path / "base"), "max_steps": 80, "lr_warmup_steps": 5}

    # all that told the tasks apart is gone
    losses, found = trained("embeddings", **again, init_puzzle_emb="mean", trained="puzzle_emb", puzzle_emb_lr=2e-2)
    assert losses[-1] < 0.5 * losses[0]
    assert found > 0.7

    exchange(tmp_path / "data", (3, 4), [1, 2])
    _, frozen = trained("frozen", **{**again, "max_steps": 1}, trained="puzzle_emb", puzzle_emb_lr=0.0)
    _, adapted = trained("adapters", **again, trained="lora", lora_rank=1, lora_alpha=16.0)
    assert frozen < 0.1
    assert adapted > frozen + 0.3


KNOWN = ("0d3d703e", "25d8a9c8", "25ff71a9", "3c9b0459", "5582e5ca", "74dd1130", "a85d4709", "d037b0a7")
FRESH = ("6150a2bd", "9565186b", "ed36ccf7")


def test_embeddings_alone_lower_the_loss_on_fresh_tasks_of_arc_and_adapters_learn_them(tmp_path):
    """Demonstrations of three tasks that the frozen base has not seen; all weights but theirs stay."""
    write_tasks(tmp_path / "raw" / "known", KNOWN)
    write_tasks(tmp_path / "raw" / "fresh", FRESH)
    tree = {
        "model": {
            **{"hidden_size": 32, "expansion": 0.25, "mlp_t": True, "pos_encodings": "none", "L_layers": 1},
            **{"H_cycles": 1, "L_cycles": 1, "puzzle_emb_ndim": 512, "puzzle_emb_len": 16, "halt_max_steps": 1},
            **{"forward_dtype": "float32", "loss_type": "softmax_cross_entropy"},
        },
        "training": {
            **{"global_batch_size": 8, "epochs": 4000, "eval_interval": 4000, "max_steps": 80, "log_every": 10},
            **{"lr": 1e-2, "lr_warmup_steps": 10, "weight_decay": 0.1, "puzzle_emb_lr": 2e-2, "ema_rate": 0.9},
            **{"puzzle_emb_weight_decay": 0.1, "eval_subset": 1},
        },
    }

    def trained(name, subset, num_aug=0, **keys):
        """The experiment, and the losses on the way."""
        dataset = {"puzzle": "arc", "raw": str(tmp_path / "raw"), "subsets": [subset], "test_sets": [subset]}
        sections = {"dataset": {**dataset, "num_aug": num_aug}, "training": {**tree["training"], **keys}}
        experiment = check({**tree, "name": "arc", **sections}, name)
        if not (tmp_path / subset).exists():
            build_dataset(experiment.dataset, tmp_path / subset)
        assert train(experiment, tmp_path / subset, tmp_path / name, None, 0, None, "cpu") == 0
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return experiment, [line["lm_loss"] for line in lines if "lm_loss" in line]

    trained("base", "known", num_aug=1)
    again = {"init": str(tmp_path / "base"), "init_puzzle_emb": "mean", "lr_warmup_steps": 0, "ema": False}
    embeddings_alone = {**again, "trained": "puzzle_emb", "puzzle_emb_weight_decay": 0.0}
    _, frozen = trained("frozen", "fresh", **embeddings_alone, max_steps=10, puzzle_emb_lr=0.0)
    _, embeddings = trained("embeddings", "fresh", **embeddings_alone, max_steps=40, puzzle_emb_lr=1.0)
    lora_keys = {"trained": "lora", "lora_rank": 1, "lora_alpha": 16.0}
    experiment, adapted = trained("adapters", "fresh", **again, **lora_keys, max_steps=30)
    assert embeddings[-1] < 0.85 * frozen[0]
    assert adapted[-1] < 0.4 * frozen[0]

    # the published weights are merged: a plain model computes the same as one with the adapters
    split = read_split(tmp_path / "fresh" / "test")
    boards = to_batch(split, np.arange(len(split)), CPU)
    shape = (split.metadata.vocab_size, split.metadata.seq_len, split.metadata.num_puzzle_identifiers)
    weights, _ = read_tensors(tmp_path / "adapters" / "model.safetensors")
    base, _ = read_tensors(tmp_path / "base" / "model.safetensors")
    adapters, facts = read_tensors(tmp_path / "adapters" / "adapters.safetensors")
    assert facts == {"lora_rank": 1, "lora_alpha": 16.0}
    merged, unmerged = (build_model(experiment.model, *shape) for _ in range(2))
    merged.load_state_dict(weights)
    unmerged.load_state_dict({**base, **{name: weights[name] for name in weights if "emb" in name}})
    lora.attach(unmerged, 1, 16.0, seed=0)
    lora.load(unmerged, adapters)
    np.testing.assert_allclose(answer(merged, boards).q_halt, answer(unmerged, boards).q_halt, atol=1e-3)


# what is refused


@pytest.mark.parametrize(
    ("model", "training", "message"),
    [
        ({}, {"trained": "lora"}, "training: trained lora needs init, a run whose weights are worth keeping"),
        ({}, {"trained": "lora", "init": "x"}, "training: lora_rank None: expected a number with trained lora"),
        ({}, {"lora_rank": 1}, "training: lora_rank 1: expected null with trained all"),
        ({}, {"lora_alpha": 16.0}, "training: lora_alpha 16.0: expected null with trained all"),
        ({}, {"freeze_weights_epochs": 3}, "training: freeze_weights_epochs 3: expected null with trained all"),
        (
            {},
            {**EMBEDDINGS, "freeze_weights_epochs": 400},
            "training: freeze_weights_epochs 400: expected fewer than epochs 400, or null",
        ),
        ({"puzzle_emb_ndim": 0}, EMBEDDINGS, "training.trained puzzle_emb needs model.puzzle_emb_ndim above 0"),
        (
            {"puzzle_emb_ndim": 0},
            {"puzzle_emb_dropout": 0.1},
            "training.puzzle_emb_dropout needs model.puzzle_emb_ndim above 0",
        ),
        (
            {},
            {"curriculum": CGAR["curriculum"][::-1]},
            "training: curriculum: until [0.6, 0.3], expected each above the one before",
        ),
        (
            {},
            {"curriculum": [{"until": 0.5, "H_cycles": 1, "L_cycles": 3}]},
            "training.curriculum: L_cycles 3, expected at most the model's, 2",
        ),
        (
            {},
            {"curriculum": [{"until": 0.5, "H_cycle": 1, "L_cycles": 3}]},
            "training.curriculum.0.H_cycle: unknown key, did you mean H_cycles?",
        ),
        (
            {"name": "trm_singlez", "state_noise": 0.1},
            {},
            "model.state_noise: expected 0, not 0.1, with model.name trm_singlez",
        ),
        (
            {"name": "trm_hier6", "relaxation": 0.9},
            {},
            "model.relaxation: expected 1, not 0.9, with model.name trm_hier6",
        ),
    ],
)
def test_keys_that_make_no_sense_together_are_refused(model, training, message):
    tree = {
        **EXPERIMENT,
        "model": {**EXPERIMENT["model"], **model},
        "training": {**EXPERIMENT["training"], **training},
    }
    with pytest.raises(BadInput) as error:
        check(tree, "tiny")
    assert str(error.value) == f"tiny: {message}"
