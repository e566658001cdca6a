"""Batches are made one ahead of the step: in their order, once each, and whatever goes wrong with one is told."""

import gc
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import TINY, signals_kept
from trm.config import check
from trm.data.build import build
from trm.data.layout import read_split
from trm.data.sampler import plan_interval
from trm.distribution import World
from trm.evaluation.inference import to_batch
from trm.files import BadInput
from trm.training import loop
from trm.training.loop import RESUMABLE, Run, batches, train
from trm.training.stopping import Stopper


@pytest.fixture(autouse=True)
def signals():
    with signals_kept():
        yield


@pytest.fixture(autouse=True)
def threads():
    """No test leaves a thread behind that makes batches."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")} <= before


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("start", [(0, 0), (0, 7), (1, 2)])
def test_batches_come_in_the_order_of_the_plan_each_rank_its_own(rank, start, tiny_data):
    split, world = read_split(tiny_data / "train"), World(rank, 2, torch.device("cpu"))

    def planned():
        return batches(lambda interval: plan_interval(split, 8, 2, 0, interval), 2, *start)

    prepared = list(Run._prepared(SimpleNamespace(train=split, world=world), planned()))
    expected = list(planned())
    assert len(prepared) == len(expected) > 10
    for (interval, index, batch, ends), (*place, rows, last) in zip(prepared, expected, strict=True):
        assert [interval, index, ends] == [*place, last]
        alone = to_batch(split, rows[4 * rank : 4 * rank + 4], world.device)
        assert torch.equal(batch.inputs, alone.inputs)
        assert torch.equal(batch.labels, alone.labels)
        assert torch.equal(batch.puzzle_identifiers, alone.puzzle_identifiers)


def test_no_more_than_one_batch_is_made_ahead(monkeypatch):
    made = []
    monkeypatch.setattr(loop, "to_batch", lambda split, rows, device: made.append(rows))
    world = World(0, 1, torch.device("cpu"))
    planned = ((0, k, np.arange(4), False) for k in range(10))
    for steps, _ in enumerate(Run._prepared(SimpleNamespace(train=None, world=world), planned), 1):
        time.sleep(0.01)  # enough to run ahead
        assert steps <= len(made) <= steps + 1
    assert len(made) == 10


def test_nothing_planned_is_nothing_prepared(tiny_data):
    run = SimpleNamespace(train=read_split(tiny_data / "train"), world=World(0, 1, torch.device("cpu")))
    assert list(Run._prepared(run, iter(()))) == []


@pytest.fixture
def own_data(tmp_path, tiny_experiment):
    """A dataset to spoil."""
    build(tiny_experiment.dataset, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("step", [1, 2, 6])
def test_a_bad_token_ends_the_run_in_one_line_when_its_batch_comes(step, own_data, tmp_path, tiny_experiment):
    split = read_split(own_data / "train")
    plan = plan_interval(split, 8, tiny_experiment.training.eval_interval, 0, 0)
    earlier = {row for k in range(step - 1) for row in plan.rows(k)}
    row = next(row for row in plan.rows(step - 1) if row not in earlier)
    path = own_data / "train" / "all__inputs.npy"
    inputs = np.load(path)
    inputs[row, 0] = 99
    np.save(path, inputs)
    with pytest.raises(BadInput) as caught:
        train(tiny_experiment, own_data, tmp_path / "run", None, 0, None, "cpu")
    assert str(caught.value) == f"{path}: row {row}: token 99, expected 0..{split.metadata.vocab_size - 1}"
    assert not (tmp_path / "run").exists()
    logged = [path.read_text().count("\n") for path in tmp_path.glob("run.checkpoints/*/metrics.jsonl")]
    assert logged == [(step - 1) // 2]  # a line every two steps, up to the one before
    del caught


def test_a_stop_request_leaves_no_thread_though_the_next_batch_takes_its_time(
    tiny_data, tmp_path, monkeypatch, tiny_experiment
):
    slow = []

    def load(*arguments):
        if threading.current_thread() is not threading.main_thread():
            slow.append(time.sleep(0.2))
        return to_batch(*arguments)

    monkeypatch.setattr(loop, "to_batch", load)
    monkeypatch.setattr(Stopper, "asked", lambda stopper: True)
    assert train(tiny_experiment, tiny_data, tmp_path / "run", None, 0, None, "cpu") == RESUMABLE
    assert len(slow) == 2  # that of the one step taken, and the next
    monkeypatch.undo()
    assert train(tiny_experiment, tiny_data, tmp_path / "run", None, 0, None, "cpu") == 0
    whole = check(TINY, "tiny")
    assert train(whole, tiny_data, tmp_path / "whole", None, 0, None, "cpu") == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
