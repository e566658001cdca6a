"""What the benchmarks count and print. Times are not tested, only that they belong to what was run."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from tests.conftest import TINY
from tests.training.test_memory import compile_with
from trm.bench import data as bench_data
from trm.bench import voting as bench_voting
from trm.bench.digest import digest
from trm.bench.evaluate import bench_evaluate
from trm.bench.products import Recorder, replayed
from trm.bench.train import CASES, bench_train, measure, record, start
from trm.cli import app
from trm.config import check
from trm.data.build import build, materialize
from trm.files import BadInput
from trm.models import build_model
from trm.models.act import Batch
from trm.models.hardware import cpu_computes_in
from trm.training.trainer import Trainer

CPU = torch.device("cpu")


def recorded(function):
    with Recorder() as recorder:
        function()
    return recorder


def test_products_are_counted_at_two_operations_a_multiplication():
    x, weight = torch.randn(3, 5, 7, requires_grad=True), torch.randn(11, 7)
    one_product = 2 * (3 * 5) * 7 * 11
    assert sum(call.flops for call in recorded(lambda: F.linear(x, weight)).products) == one_product
    assert (
        sum(call.flops for call in recorded(lambda: F.linear(x, weight).sum().backward()).products) == 2 * one_product
    )
    batched = recorded(lambda: torch.bmm(torch.randn(4, 2, 3), torch.randn(4, 3, 6)))
    assert sum(call.flops for call in batched.products) == 2 * 4 * 2 * 3 * 6


def test_inference_has_the_products_of_a_forward_pass():
    x, weight, bias = torch.randn(3, 5, 7), torch.randn(11, 7), torch.randn(11)
    for arguments in ((x, weight), (x, weight, bias)):
        forward = recorded(lambda arguments=arguments: F.linear(*arguments)).products
        with torch.inference_mode():
            inference = recorded(lambda arguments=arguments: F.linear(*arguments)).products
        assert sum(call.flops for call in inference) == sum(call.flops for call in forward) == 2 * 15 * 7 * 11


def test_attention_is_two_products_forward_and_five_backward():
    query, key, value = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 6, 6))
    one_product = 2 * 2 * 3 * 5 * 6 * 8
    forward, backward = recorded(lambda: F.scaled_dot_product_attention(query, key, value).sum().backward()).products
    assert (forward.flops, backward.flops) == (2 * one_product, 5 * one_product)


def test_memory_is_what_is_alive_at_once_and_new():
    old = torch.zeros(5000)

    def work():
        first = old[:1000] + 1  # 4000 bytes
        first.mul_(2).view(10, 100)  # the same memory
        second = first.exp()
        del first, second
        old.add_(1)  # was there before
        torch.ones(500)

    assert recorded(work).most_bytes == 8000


def test_memory_counts_what_is_kept_for_the_gradient():
    x = torch.zeros(1000, requires_grad=True)
    without = recorded(lambda: x.detach().exp().exp().exp().exp())
    kept = recorded(lambda: x.exp().exp().exp().exp())
    assert (without.most_bytes, kept.most_bytes) == (8000, 16000)


@pytest.fixture
def tiny_start(tiny_experiment, tiny_data, tmp_path):
    def of(*overrides):
        return start(check(TINY, "tiny", list(overrides)), tiny_data, "cpu", 1, tmp_path)

    return of


@pytest.mark.parametrize("mlp_t", ["true", "false"])
def test_the_floor_calls_the_products_of_the_step(tiny_start, mlp_t):
    products, _ = record(tiny_start(f"model.mlp_t={mlp_t}", "model.forward_dtype=bfloat16"))
    again = recorded(replayed(products, CPU)).products
    assert products
    assert [call[:2] for call in again] == [call[:2] for call in products]


def test_recomputing_and_micro_batches_take_less_memory(tiny_start):
    deep = "model.L_cycles=6"
    products, bytes_ = record(tiny_start(deep))
    more_products, fewer_bytes = record(tiny_start(deep, "training.checkpoint_activations=true"))
    _, of_parts = record(tiny_start(deep, "training.micro_batch=1"))
    assert len(more_products) > len(products)
    assert fewer_bytes < 0.7 * bytes_
    assert of_parts < 0.5 * bytes_


def test_a_step_takes_no_more_memory_for_a_larger_table_of_puzzles(tiny_experiment):
    def step_bytes(identifiers):
        trainer = Trainer(build_model(tiny_experiment.model, 6, 16, identifiers), tiny_experiment.training, 10)
        boards, puzzles = torch.ones(8, 16, dtype=torch.int64), torch.arange(8)
        batch = Batch(boards.int(), boards, puzzles)
        trainer.step(1, batch, trainer.exploration(1))
        return recorded(lambda: trainer.step(2, batch, trainer.exploration(2))).most_bytes

    assert step_bytes(100_000) == step_bytes(10)


def test_a_measurement_accounts_for_the_whole_step(tiny_experiment, tiny_data):
    found = measure(tiny_experiment, tiny_data, "cpu", 2, parts=True, loop=True, prefix=True)
    assert (found.name, found.dtype, found.mode, found.batch) == ("tiny", "float32", "eager", 8)
    assert found.flops > 0
    assert 0 < found.floor < found.seconds
    assert 0 < found.share < 1
    assert found.step_bytes < found.peak_bytes
    named = {"data", "forward without gradient", "forward with gradient", "backward", "optimiser and average", "rest"}
    assert found.parts.keys() == named
    assert min(found.parts.values()) > 0
    assert len(found.operations) == 12
    assert not any("mm" in name.split("::")[-1] for name in found.operations)
    assert found.loop > 0
    assert found.without_prefix[1] < 1


def test_the_command_prints_a_row_for_each_type_that_the_device_has(tiny_data, tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    options = ["--steps", "1", "--compile", "eager", "--batch", "4", "--threads", "1", "--parts"]
    app(["bench", "train", "--experiment", str(file), "--data", str(tiny_data), *options], standalone_mode=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    types = [name for name in ("bfloat16", "float32") if cpu_computes_in(name)]
    assert [row[:4] for row in rows if row[0] == "tiny"] == [["tiny", name, "eager", "4"] for name in types]
    assert sum(row[-1] == "backward" for row in rows) == len(types)


@pytest.mark.parametrize(
    ("cases", "file", "problem"),
    [
        (["chess"], None, "no case chess, expected one of sudoku-mlp"),
        ([], "tiny.yaml", "expected names of cases, or --experiment with --data"),
        (["maze"], "tiny.yaml", "expected names of cases, or --experiment with --data"),
    ],
)
def test_what_cannot_be_measured_is_told(cases, file, problem):
    with pytest.raises(BadInput, match=problem):
        next(bench_train(cases, file, None, ["float32"], ["eager"], None, "cpu", []))


def test_every_case_is_a_network_of_published_size_on_published_boards(tmp_path):
    for name, case in CASES.items():
        experiment = check({"name": name, **case}, name)
        build(experiment.dataset, tmp_path / name)
        run = start(experiment, tmp_path / name, "cpu", 1, tmp_path)
        assert run.trainer.model.length == (81 if name.startswith("sudoku") else 900) + 16
        assert 5e6 < run.parameters() < 7e6


def test_builders_are_measured_or_told_to_lack_their_files(monkeypatch, capsys):
    small = bench_data.Case(TINY["dataset"], {"subsample_size": 2})
    monkeypatch.setattr(bench_data, "CASES", {"tiny": small, "maze-hard": bench_data.CASES["maze-hard"]})
    (found,) = bench_data.bench_data([], None)
    assert (found.name, found.examples) == ("tiny", 60 * 3 + 20)
    assert found.seconds > 0.1
    assert found.peak_mb > 10
    assert 0.001 < found.disk_mb < 1
    assert "maze-hard: left out" in capsys.readouterr().err


def test_the_digest_of_arc_sees_colours_but_no_shifts(tmp_path):
    build(check({"name": "arc", "dataset": CASES["arc"]["dataset"]}, "arc").dataset, tmp_path / "online")
    materialize(tmp_path / "online", tmp_path / "stored")
    train = tmp_path / "stored" / "train"
    published = digest(train)
    assert digest(tmp_path / "online" / "train") == published

    boards = {name: np.load(train / f"all__{name}.npy") for name in ("inputs", "labels")}
    fits = [(board.reshape(-1, 30, 30)[:, -1] == 0).all(1) for board in boards.values()]
    row = np.flatnonzero(fits[0] & fits[1])[0]
    for name, board in boards.items():
        board[row] = np.roll(board[row], 30)  # a row down
        np.save(train / f"all__{name}.npy", board)
    assert digest(train) == published
    cell = np.flatnonzero(boards["labels"][row] >= 2)[0]
    boards["labels"][row, cell] = 2 if boards["labels"][row, cell] > 2 else 3
    np.save(train / "all__labels.npy", boards["labels"])
    assert digest(train) != published


def test_voting_is_measured_with_few_answers_and_with_as_many_as_predictions(capsys, monkeypatch):
    def in_this_process(_, arguments):  # others would spend their time on imports
        with redirect_stdout(io.StringIO()) as printed:
            bench_voting.vote(*arguments[-2:])
        return printed.getvalue(), 1.0

    monkeypatch.setattr(bench_voting, "run_python", in_this_process)
    app(["bench", "votes", "--tasks", "3", "--variants", "40"], standalone_mode=False)
    _, few, distinct = capsys.readouterr().out.splitlines()
    assert few.startswith("few answers            120       30 ")
    assert distinct.startswith("all distinct           120      120 ")
    assert all(float(figure) > 0 for figure in (few.split()[-1], distinct.split()[-1]))


def test_the_benchmark_of_evaluation_answers_as_the_evaluation_does(tiny_run, tiny_data, monkeypatch):
    with np.load(tiny_run / "predictions.npz") as table:
        exact, q_halt = table["exact"], table["q_halt"]
    sure = float(1 / (1 + np.exp(-np.median(q_halt[:, 0]))))
    graphs = []
    monkeypatch.setattr(torch, "compile", compile_with(lambda graph, inputs: graphs.append(1) or graph))
    modes = ["eager", "compiled"]
    found = list(bench_evaluate(tiny_run, tiny_data, [sure, 0.999999], None, modes, None, 7, 2, CPU))
    plain, compiled, early, never = found
    assert [each.name for each in (plain, compiled, never)] == ["every step"] * 2 + ["early exit at 0.999999"]
    assert [each.mode for each in found] == [*modes, "eager", "eager"]
    assert {each.dtype for each in found} == {"float32"}
    assert graphs
    assert plain.mean_steps == compiled.mean_steps == never.mean_steps == 2
    assert 1 < early.mean_steps < 2
    assert {each.exact_accuracy.value for each in (plain, compiled, never)} == {exact[:, -1].mean()}
    assert plain.speed == 1
    assert all(each.rate > 0 and 0 < each.floor < 1 for each in found)
