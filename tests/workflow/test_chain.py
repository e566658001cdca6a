"""A training that starts from a run of the workflow, on two datasets at once: Snakemake makes all that it needs."""

import json

import pytest

from tests.workflow.conftest import DATASETS, MODEL, TRAINING, Project

TUNED = "results/runs/tuned/seed-0/model.safetensors"


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A project with a tuned run, after a run that it started from."""
    project = Project(tmp_path_factory.mktemp("chain"))
    boards = DATASETS["tiny-sudoku"]
    project.write("base", {"name": "base", "dataset": boards, "model": MODEL, "training": TRAINING})
    training = {**TRAINING, "init": "results/runs/base/seed-0"}
    tree = {"name": "tuned", "dataset": boards, "more_datasets": [{**boards, "seed": 1}], "model": MODEL}
    project.write("tuned", {**tree, "training": training})
    project.snakemake(TUNED)
    return project


@pytest.fixture
def edited(chain):
    """The chain with experiment files to edit, restored afterwards."""
    before = {name: chain.file(name).read_text() for name in ("base", "tuned")}
    yield chain
    for name, text in before.items():
        chain.file(name).write_text(text)


def test_the_run_it_starts_from_is_trained_first(chain):
    facts = json.loads((chain.folder / "results/runs/tuned/seed-0/provenance.json").read_text())
    assert facts["init"]["run"] == "results/runs/base/seed-0"
    assert [data["name"] for data in (facts["data"], *facts["more_data"])] == sorted(
        (path.name for path in (chain.folder / "results/datasets").iterdir()),
        key=lambda name: name != facts["data"]["name"],
    )
    assert chain.planned(TUNED) == {}


def test_a_change_of_the_first_run_reaches_the_second(edited):
    edited.edit("base", "training", lr=3.0e-4)
    assert edited.planned(TUNED) == {"train": 2}


def test_logging_reruns_nothing_and_reaches_the_training(edited):
    edited.edit("tuned", "logging", project="two words", tensorboard=True)
    assert edited.planned(TUNED) == {}
    shell = edited.snakemake(TUNED, "--dry-run", "--printshellcmds", "--forcerun", "train")
    assert "--set logging.tensorboard=true" in shell
    assert """--set 'logging.project="two words"'""" in shell


def test_a_first_run_that_failed_is_not_forgotten(edited):
    """The last test of the project: it leaves it without its first run."""
    edited.edit("base", "training", lr=3.0e-4, global_batch_size=100_000)
    assert "does not fill one batch" in edited.snakemake(TUNED, check=False)
    assert edited.planned(TUNED) == {"train": 2}
