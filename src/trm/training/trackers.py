"""Figures of a training for TensorBoard and Weights & Biases, under the published names.

What they get are the lines of metrics.jsonl and nothing else. A training that goes on sends the lines it has kept
again: TensorBoard forgets what came before them (purge_step), Weights & Biases takes only steps it does not know yet
(the run's id is its fingerprint). So nothing stands twice, nothing is lost to a kill, and either can be turned on late.
"""

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trm.config import Logging
from trm.files import BadInput

ABOUT = {"step", "split", "dataset", "examples", "of", "seconds"}  # keys of a line that are no figures
PUBLISHED = {"test": "all", "token_accuracy": "accuracy"}  # published names, where ours differ
VOTED = "pass@"  # how ARC's figures begin, which have a place of their own

Send = Callable[[dict[str, Any]], None]  # takes a line of metrics.jsonl


def check_installed(config: Logging) -> None:
    """Raises BadInput where a tracker is asked for that is not installed."""
    asked = {"tensorboard": config.tensorboard, "wandb": config.wandb != "off"}
    for package in (name for name, wanted in asked.items() if wanted):
        if importlib.util.find_spec(package) is None:
            raise BadInput(f"logging.{package}: {package} is not installed, expected it: pip install 'trm[{package}]'")


@contextlib.contextmanager
def tracking(config: Logging, metrics: Path, name: str, fingerprint: str, about: dict[str, Any]) -> Iterator[Send]:
    """Yield a function that sends a line to the trackers that are asked for; those in `metrics` are sent at once.

    Their files go beside `metrics`. `about` is the experiment, for Weights & Biases.
    """
    with contextlib.ExitStack() as stack:
        sends: list[Send] = []
        if config.tensorboard:
            sends.append(stack.enter_context(_tensorboard(metrics.parent)))
        if config.wandb != "off":
            sends.append(stack.enter_context(_wandb(config, metrics.parent, name, fingerprint, about)))

        def send(line: dict[str, Any]) -> None:
            for one in sends:
                one(line)

        if sends:
            for text in metrics.read_text(encoding="utf-8").splitlines():
                send(json.loads(text))
        yield send


def figures(line: dict[str, Any]) -> dict[str, float]:
    """The figures of a line by their published names: train/lm_loss, all/exact_accuracy, ARC/pass@2."""
    split = line.get("split", "train")

    def place(key: str) -> str:
        return line.get("dataset") or ("ARC" if key.startswith(VOTED) else PUBLISHED.get(split, split))

    return {
        f"{place(key)}/{PUBLISHED.get(key, key)}": value
        for key, value in line.items()
        if key not in ABOUT and value is not None
    }


@contextlib.contextmanager
def _tensorboard(folder: Path) -> Iterator[Send]:
    from torch.utils.tensorboard import SummaryWriter

    def send(line: dict[str, Any]) -> None:
        for name, value in figures(line).items():
            writer.add_scalar(name, value, line["step"])

    with SummaryWriter(str(folder / "tensorboard"), purge_step=0) as writer:
        yield send


@contextlib.contextmanager
def _wandb(config: Logging, folder: Path, name: str, fingerprint: str, about: dict[str, Any]) -> Iterator[Send]:
    import wandb

    try:
        run = wandb.init(
            project=config.project,
            name=name,
            id=fingerprint,
            resume="allow" if config.wandb == "online" else None,
            mode=config.wandb,
            dir=folder,
            config=about,
            settings=wandb.Settings(console="off", silent=True),
        )
    except wandb.Error as error:  # such as no key, or no way to the server
        raise BadInput(f"logging.wandb: {config.wandb}: {error}") from None
    known = run.step  # steps below stand there from an earlier start

    def send(line: dict[str, Any]) -> None:
        if line["step"] >= known:
            run.log(figures(line), step=line["step"])

    with run:
        yield send
