"""A step of many rows in little memory: micro-batches, recomputed and compiled blocks change nothing but rounding."""

import json

import pytest
import torch

from tests.conftest import TINY, signals_kept
from tests.models.test_networks import batch, build, small
from tests.training.test_recipes import CGAR, EQR, LORA
from trm import config
from trm.config import check
from trm.files import Fault, read_json
from trm.models import hardware
from trm.models.network import Network
from trm.training.loop import train
from trm.training.trainer import Trainer

ROWS = 6
NETWORKS = {
    "attention": small("trm"),
    "mlp_t": small("trm", mlp_t=True, pos_encodings="none"),
    "hrm": small("hrm"),
    "singlez": small("trm_singlez"),
}
RECIPES = {
    "noise": ({}, {"input_noise": 0.3, "puzzle_emb_dropout": 0.3}),
    "eqr": (EQR, {"input_noise": 0.1}),
    "cgar": ({}, CGAR),
    "lora": ({}, LORA),
}
SAVINGS = {
    "one row at a time": {"micro_batch": 1},
    "halves": {"micro_batch": 3},
    "a last part that is smaller": {"micro_batch": 4},
    "more than all": {"micro_batch": 100},
    "recomputed": {"checkpoint_activations": True},
    "compiled": {"compile": True},
    "all of it": {"micro_batch": 4, "checkpoint_activations": True, "compile": True},
}


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch):
    """Blocks are traced and differentiated as ever, but no machine code is made of them, which takes much longer."""
    monkeypatch.setattr(hardware.torch, "compile", compile_with("aot_eager"))
    torch.compiler.reset()


def compile_with(backend, compiler=torch.compile):
    return lambda function, **options: compiler(function, backend=backend, **options)


def trainer_of(model, compile=False, **keys):
    keys = {"lr": 1e-3, "puzzle_emb_lr": 1e-3, "lr_warmup_steps": 0, "epochs": 1, "eval_interval": 1, **keys}
    training = config.Training(global_batch_size=ROWS, compile=compile, **keys)
    network = build(model.model_copy(update={"halt_exploration_prob": 0.5}))
    with torch.no_grad():  # halts now and then, by the sign of a small q, which makes no more of a latent's rounding
        network.q_head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
        network.q_head.bias.zero_()
    hardware.prepare(network, compile, training.checkpoint_activations)
    return Trainer(network, training, total_steps=6)


def step(trainer, t):
    return trainer.step(t, batch(t, ROWS), trainer.exploration(t))


def course(trainer):
    """The gradients of the first step, and all that there is after the fourth, with what the steps gave."""
    found = {}
    for t in (1, 2, 3, 4):
        outputs = step(trainer, t)
        found |= {f"{name}.{t}": torch.cat(getattr(outputs, name)) for name in ("logits", "q")}
        found |= {f"{name}.{t}": getattr(outputs, name) for name in ("loss", "metrics")}
        found[f"steps.{t}"] = trainer.carry.steps
        if t == 1:
            found |= {f"gradient.{name}": p.grad for name, p in zip(trainer.names, trainer.parameters, strict=True)}
    return found | trainer.tensors()


def assert_alike(found, expected):
    """Up to rounding, of which the recursion amplifies the last bit: a latent's about tenfold in four steps."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        tolerance = 1e-4 if name.startswith(("carry.state", "logits", "q.")) else 1e-5
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance, msg=name)
        else:
            assert torch.equal(found[name], tensor), name


@pytest.fixture(scope="module")
def plain():
    """The course of a plain trainer, by the keys it was made with; each is computed once."""
    known = {}

    def find(model, **keys):
        key = repr((model, keys))
        known[key] = known.get(key) or course(trainer_of(model, **keys))
        return known[key]

    return find


@pytest.mark.parametrize("saving", SAVINGS)
@pytest.mark.parametrize("network", NETWORKS)
def test_steps_that_save_memory_are_the_same_steps(network, saving, plain):
    expected = plain(NETWORKS[network])
    assert any(len(expected[f"steps.{t}"].unique()) > 1 for t in (2, 3, 4))  # rows come to different points
    assert_alike(course(trainer_of(NETWORKS[network], **SAVINGS[saving])), expected)


@pytest.mark.parametrize("saving", ["one row at a time", "a last part that is smaller", "recomputed", "all of it"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_draws_the_same_in_steps_that_save_memory(recipe, saving, plain):
    model, keys = RECIPES[recipe]
    model = small("trm", **model)
    assert_alike(course(trainer_of(model, **keys, **SAVINGS[saving])), plain(model, **keys))


@pytest.mark.parametrize(("micro_batch", "parts"), [(1, 6 * [1]), (4, [4, 2]), (100, [6]), (None, [6]), ("auto", [6])])
def test_a_micro_batch_is_the_most_rows_that_the_network_sees(micro_batch, parts, seen):
    step(trainer_of(NETWORKS["attention"], micro_batch=micro_batch), 1)
    assert seen == parts


@pytest.mark.parametrize("network", NETWORKS)
def test_recomputed_blocks_keep_a_fraction_for_the_backward_pass(network):
    def kept(checkpoint_activations):
        trainer = trainer_of(NETWORKS[network], checkpoint_activations=checkpoint_activations)
        numbers = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: numbers.append(x.numel()) or x, lambda x: x):
            step(trainer, 1)
        return sum(numbers)

    assert kept(True) < kept(False) / 3


# when memory runs out


class Memory:
    """Room for some rows; a network that is given more of them runs out of memory, as CUDA or Apple's GPUs say it."""

    def __init__(self, error):
        self.room, self.calls, self.fails_at, self.error = 10**9, 0, None, error

    def take(self, rows):
        self.calls += 1
        if rows > self.room or self.calls == self.fails_at:
            raise self.error


CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
APPLE = RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, max allowed: 6.80 GB)")
WORDS = "out of memory: going on with micro-batches of {} rows\n"


@pytest.fixture
def seen(monkeypatch):
    """The rows of each use of a network."""
    rows, forward = [], Network.forward

    def watched(network, state, inputs, *arguments, **keys):
        rows.append(len(inputs))
        return forward(network, state, inputs, *arguments, **keys)

    monkeypatch.setattr(Network, "forward", watched)
    return rows


@pytest.fixture(params=[CUDA, APPLE], ids=["cuda", "mps"])
def memory(request, monkeypatch):
    """Memory that runs out behind the network, where a part of the step is done already."""
    memory, forward = Memory(request.param), Network.forward

    def limited(network, state, inputs, *arguments, **keys):
        found = forward(network, state, inputs, *arguments, **keys)
        memory.take(len(inputs))
        return found

    monkeypatch.setattr(Network, "forward", limited)
    return memory


@pytest.mark.parametrize("network", NETWORKS)
def test_auto_takes_the_step_again_with_halves_and_keeps_them(network, memory, seen, capsys, plain):
    expected = plain(NETWORKS[network])
    seen.clear()
    memory.room = 2
    trainer = trainer_of(NETWORKS[network], micro_batch="auto")
    assert_alike(course(trainer), expected)
    assert capsys.readouterr().err == WORDS.format(3) + WORDS.format(2)
    assert trainer.micro_batch == 2
    assert seen[:2] == [6, 3]
    assert set(seen[2:]) == {2}


def test_a_part_that_was_done_before_memory_ran_out_does_not_count_twice(memory, capsys, plain):
    expected = plain(NETWORKS["attention"], input_noise=0.3)
    trainer = trainer_of(NETWORKS["attention"], input_noise=0.3, micro_batch="auto")
    trainer.micro_batch = 3  # as if memory had run out before
    memory.fails_at = memory.calls + 2  # the first part is through, its gradients are there
    assert_alike(course(trainer), expected)
    assert capsys.readouterr().err == WORDS.format(2)


@pytest.mark.parametrize("micro_batch", [None, 3, 1])
def test_a_fixed_micro_batch_is_not_made_smaller(micro_batch, memory):
    memory.room = 0
    with pytest.raises(RuntimeError, match="out of memory"):
        step(trainer_of(NETWORKS["attention"], micro_batch=micro_batch), 1)


def test_auto_gives_up_where_one_row_does_not_fit_and_on_every_other_error(memory, capsys):
    memory.room = 0
    trainer = trainer_of(NETWORKS["attention"], micro_batch="auto")
    with pytest.raises(RuntimeError, match="out of memory"):
        step(trainer, 1)
    assert capsys.readouterr().err.count("\n") == 3  # 3, 2, 1
    memory.error = RuntimeError("something else")
    trainer = trainer_of(NETWORKS["attention"], micro_batch="auto")
    with pytest.raises(RuntimeError, match="something else"):
        step(trainer, 1)
    assert capsys.readouterr().err == ""


@pytest.fixture
def trained(tiny_data, tmp_path):
    """Train the tiny experiment and return its metrics; signals are pytest's again afterwards."""

    def run(name, **keys):
        experiment = check({**TINY, "training": {**TINY["training"], **keys}}, "tiny")
        assert train(experiment, tiny_data, tmp_path / name, None, 0, None, "cpu") == 0
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    with signals_kept():
        yield run


def test_a_run_out_of_memory_says_what_to_change(memory, trained):
    memory.room = 3
    expected = (
        r"^out of memory with training\.micro_batch {}: use auto or a smaller number, "
        r"training\.checkpoint_activations true, or a smaller model"
    )
    for name, micro_batch, given in (("plain", None, "null"), ("fixed", 4, "4")):
        with pytest.raises(Fault, match=expected.format(given)) as caught:
            trained(name, micro_batch=micro_batch)
        assert caught.value.status == 1
        assert "\n" not in str(caught.value)
    memory.room = 0
    with pytest.raises(Fault, match=expected.format('"auto"')):
        trained("auto", micro_batch="auto")


def test_a_run_evaluates_no_more_rows_at_a_time_than_it_trains_with_and_says_how_many(memory, trained, tmp_path):
    expected = trained("plain")
    memory.room = 3  # of 8 in a batch
    for micro_batch, chosen in ((3, 3), ("auto", 2)):
        found = trained(f"{micro_batch}", micro_batch=micro_batch)
        assert read_json(tmp_path / f"{micro_batch}" / "provenance.json")["micro_batch"] == chosen
        assert len(found) == len(expected)
        for line, plain_line in zip(found, expected, strict=True):
            assert line == pytest.approx(plain_line, abs=1e-5)


def test_a_run_compiles_for_every_number_of_rows_that_it_meets(trained, monkeypatch):
    """Parts of a batch and of an evaluation's last one, with a gradient and without: more than PyTorch allows."""
    graphs = []
    monkeypatch.setattr(hardware.torch, "compile", compile_with(lambda graph, inputs: graphs.append(1) or graph))
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    expected = trained("plain", compile=False)
    assert not graphs
    found = trained("compiled", compile=True, micro_batch=3)
    assert len(graphs) > 2
    assert len(found) == len(expected)
