"""TensorBoard and Weights & Biases get the lines of metrics.jsonl, each once, under the published names."""

import contextlib
import json

import pytest

from tests.conftest import TINY
from trm.config import Logging, check
from trm.files import BadInput
from trm.training import trackers
from trm.training.loop import RESUMABLE, train
from trm.training.trackers import check_installed, figures, tracking

STEPS = {"step": 10, "lr": 1e-4, "count": 3, "accuracy": 0.5, "exact_accuracy": 0.25, "q_halt_accuracy": 0.75}
STEPS |= {"steps": 4.0, "lm_loss": 1.5, "q_halt_loss": 0.5, "seconds": 2.5}
SCORES = {"exact_accuracy": 0.25, "token_accuracy": 0.5, "q_halt_accuracy": 0.75, "seconds": 2.5}


def test_figures_of_steps_have_the_published_names():
    assert figures(STEPS) == {
        "train/lr": 1e-4,
        "train/count": 3,
        "train/accuracy": 0.5,
        "train/exact_accuracy": 0.25,
        "train/q_halt_accuracy": 0.75,
        "train/steps": 4.0,
        "train/lm_loss": 1.5,
        "train/q_halt_loss": 0.5,
    }


@pytest.mark.parametrize(
    ("about", "place"),
    [
        ({"split": "test"}, "all"),
        ({"split": "validation"}, "validation"),
        ({"split": "test", "dataset": "maze-12345678"}, "maze-12345678"),
    ],
)
def test_figures_of_evaluations_have_the_published_names(about, place):
    assert figures({"step": 10, **about, "examples": 5, "of": 9, **SCORES}) == {
        f"{place}/exact_accuracy": 0.25,
        f"{place}/accuracy": 0.5,
        f"{place}/q_halt_accuracy": 0.75,
    }


def test_figures_of_votes_are_arcs_or_their_datasets():
    line = {"step": 10, "split": "test", "exact_accuracy": 0.25, "pass@2": 0.5}
    assert figures(line) == {"all/exact_accuracy": 0.25, "ARC/pass@2": 0.5}
    assert figures({**line, "dataset": "arc-1234"}) == {"arc-1234/exact_accuracy": 0.25, "arc-1234/pass@2": 0.5}


def test_a_figure_of_no_rows_is_left_out():
    assert figures({"step": 1, "lm_loss": 2.0, "accuracy": None}) == {"train/lm_loss": 2.0}


@pytest.mark.parametrize(
    ("asked", "package"), [({"tensorboard": True}, "tensorboard"), ({"wandb": "offline"}, "wandb")]
)
def test_a_tracker_that_is_not_installed_is_named_before_anything_is_written(
    tiny_data, tmp_path, monkeypatch, asked, package
):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    message = rf"logging\.{package}: {package} is not installed, expected it: pip install 'trm\[{package}\]'"
    with pytest.raises(BadInput, match=message):
        train(check({**TINY, "logging": asked}, "tiny"), tiny_data, tmp_path / "run", None, 0, None, "cpu")
    assert list(tmp_path.iterdir()) == []
    check_installed(Logging())  # nothing asked for, nothing missed


def test_a_start_sends_the_lines_it_has_kept_and_then_those_to_come(tiny_data, tmp_path, monkeypatch):
    """Of a training that is stopped after its first step, and goes on."""
    starts = []

    @contextlib.contextmanager
    def recorder(folder):
        starts.append([])
        yield starts[-1].append

    monkeypatch.setattr(trackers, "_tensorboard", recorder)
    monkeypatch.setattr(trackers, "check_installed", lambda config: None)
    monkeypatch.setattr("trm.training.loop.check_installed", lambda config: None)
    experiment = check(
        {**TINY, "training": {**TINY["training"], "log_every": 1}, "logging": {"tensorboard": True}}, "tiny"
    )
    assert train(experiment, tiny_data, tmp_path / "run", None, 0, 0.0, "cpu") == RESUMABLE
    assert train(experiment, tiny_data, tmp_path / "run", None, 0, None, "cpu") == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    sent = [[(line["step"], figures(line)) for line in start] for start in starts]
    assert sent == [[(1, figures(lines[0]))], [(line["step"], figures(line)) for line in lines]]


def test_tracking_shapes_nothing(tiny_data, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "_tensorboard", lambda folder: contextlib.nullcontext(lambda line: None))
    monkeypatch.setattr("trm.training.loop.check_installed", lambda config: None)
    tracked = check({**TINY, "logging": {"tensorboard": True, "project": "another"}}, "tiny")
    assert train(tracked, tiny_data, tmp_path / "run", None, 0, None, "cpu") == 0
    for file in ("model.safetensors", "config.yaml"):
        assert (tmp_path / "run" / file).read_bytes() == (tiny_run / file).read_bytes()
    ours, theirs = (json.loads((folder / "provenance.json").read_text()) for folder in (tmp_path / "run", tiny_run))
    assert ours["fingerprint"] == theirs["fingerprint"]


def test_off_without_quotes_is_off():
    assert check({**TINY, "logging": {"wandb": False}}, "tiny").logging.wandb == "off"  # YAML's bare off
    with pytest.raises(BadInput, match=r"logging\.wandb: expected 'off', 'offline' or 'online', not True"):
        check({**TINY, "logging": {"wandb": True}}, "tiny")


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def lines_of(*steps):
    return [{**STEPS, "step": step, "lm_loss": step / 7} for step in steps]


def follow(config, metrics, kept, new):
    """A start that has kept some lines and writes new ones."""
    write(metrics, kept)
    with tracking(config, metrics, "tiny-seed-0", "0123456789abcdef", TINY) as send:
        for line in new:
            send(line)


def test_tensorboard_shows_each_step_once_after_a_kill(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config, metrics = Logging(tensorboard=True), tmp_path / "metrics.jsonl"
    follow(config, metrics, [], lines_of(10, 20, 30, 40))
    follow(config, metrics, lines_of(10, 20), lines_of(30))  # cut back to step 20, then killed once more
    follow(config, metrics, lines_of(10, 20), lines_of(30, 40, 50))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("train/lm_loss")]
    assert shown == [(step, pytest.approx(step / 7)) for step in (10, 20, 30, 40, 50)]


def test_weights_and_biases_writes_files_offline(tmp_path):
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    config, metrics = Logging(wandb="offline"), tmp_path / "metrics.jsonl"
    follow(config, metrics, [], lines_of(10, 20))
    written = list((tmp_path / "wandb").glob("offline-run-*/run-0123456789abcdef.wandb"))
    assert len(written) == 1
    assert b"train/lm_loss" in written[0].read_bytes()
