"""What several folders of tests share: a tiny real dataset and a tiny finished run on it. Copy before changing them."""

import signal
from contextlib import contextmanager

import pytest
import torch

from trm.config import Evaluation, check
from trm.data.build import build
from trm.distribution import World
from trm.training.stopping import SIGNALS

for number in SIGNALS:  # whoever started the tests in the background, or by nohup, ignores some of them
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

ALONE = World(0, 1, torch.device("cpu"))  # one rank, for what can do with several

TINY = {
    "name": "tiny",
    "dataset": {"puzzle": "sudoku", "size": 4, "blanks": [6, 11], "subsample_size": 60, "test_size": 20, "num_aug": 2},
    "model": {
        "hidden_size": 16,
        "L_layers": 1,
        "H_cycles": 2,
        "L_cycles": 2,
        "mlp_t": True,
        "pos_encodings": "none",
        "puzzle_emb_ndim": 16,
        "puzzle_emb_len": 1,
        "halt_max_steps": 2,
        "forward_dtype": "float32",
    },
    "training": {
        "global_batch_size": 8,
        "epochs": 4,
        "eval_interval": 2,
        "max_steps": 6,
        "log_every": 2,
        "lr": 1.0e-2,
        "lr_warmup_steps": 2,
    },
}


@pytest.hookimpl(optionalhook=True)  # unknown without xdist
def pytest_xdist_make_scheduler(config, log):
    """A process takes whole files, and one takes all that talk to a scheduler: they share what they compare with."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "tests/cluster" if file.startswith("tests/cluster/") else file

    return Scheduling(config, log)


@contextmanager
def signals_kept():
    """A trainer in this process listens to signals; afterwards those who did before do again."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_experiment():
    return check(TINY, "tiny")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory, tiny_experiment):
    """60 training boards in 3 variants each, 20 test boards."""
    folder = tmp_path_factory.mktemp("tiny") / "data"
    build(tiny_experiment.dataset, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_data, tiny_experiment):
    """Trained for 6 steps and evaluated on all test boards."""
    from trm.evaluation.evaluate import evaluate
    from trm.training.loop import train

    run = tiny_data.with_name("run")
    with signals_kept():
        assert train(tiny_experiment, tiny_data, run, None, 0, None, "cpu") == 0
    evaluate(run, tiny_data, run, Evaluation(batch_size=20), ALONE)
    return run
