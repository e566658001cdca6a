"""A sweep is a run for each combination; the smoke target runs all experiments, small and in a folder apart."""

import json
import re
import shutil

import pytest
import yaml

from tests.workflow.conftest import DATASETS, MODEL, REPOSITORY, TRAINING, Project
from trm.config import load_folder

SWEEP = {"extends": "tiny-sudoku", "sweep": {"model.L_cycles": [1, 2]}, "evaluation": None}
COMBINATIONS = ("deeper-l-cycles-1", "deeper-l-cycles-2")
MOST = {
    "dataset": {"subsample_size": 16, "test_size": 8},
    "model": {"hidden_size": 8},
    "training": {"global_batch_size": 4, "max_steps": 2},
    "evaluation": {"scaling": {"rollouts": 2}},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A project with a sweep, a run after another one, and one whose raw files are missing; its smoke run is done."""
    project = Project(tmp_path_factory.mktemp("small"))
    project.write("deeper", SWEEP)
    tree = {"name": "tuned", "dataset": DATASETS["tiny-sudoku"], "model": MODEL}
    project.write("tuned", {**tree, "training": {**TRAINING, "init": "results/runs/tiny-sudoku/seed-0"}})
    project.write("published", {"name": "published", "dataset": {"puzzle": "sudoku"}, "model": MODEL})
    (project.folder / "config" / "smoke.yaml").write_text(yaml.safe_dump(MOST))
    project.printed = project.snakemake("smoke")
    return project


def test_the_smoke_run_trains_all_experiments_small_and_apart(small):
    assert {path.name for path in (small.folder / "results").iterdir()} == {"smoke"}
    runs = small.folder / "results" / "smoke" / "runs"
    assert {path.name for path in runs.iterdir()} == {"tiny-sudoku", "tiny-queens", "tuned", *COMBINATIONS}
    for run in runs.glob("*/seed-0"):
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert (config["model"]["hidden_size"], config["training"]["max_steps"]) == (8, 2)
        assert json.loads((run / "evaluation.json").read_text())["figures"]


def test_its_report_is_of_one_experiment_of_each_kind(small):
    page = (small.folder / "results" / "smoke" / "report.html").read_text()
    assert "deeper-l-cycles-1" in page
    assert "tiny-queens" in page
    assert "deeper-l-cycles-2" not in page


def test_a_report_of_what_is_finished_of_it_has_its_own_runs(small):
    planned = small.snakemake("--dry-run", "--printshellcmds", "results/smoke/partial/report.html")
    assert "--run results/smoke/runs/deeper-l-cycles-1/seed-0" in planned
    assert "--data results/smoke/datasets/" in planned


def test_a_run_after_another_starts_from_its_smoke_run(small):
    facts = json.loads((small.folder / "results/smoke/runs/tuned/seed-0/provenance.json").read_text())
    assert facts["init"]["run"] == "results/smoke/runs/tiny-sudoku/seed-0"


def test_what_is_left_out_is_said(small):
    assert "raw_data has no sudoku/train.csv: smoke run without published" in small.printed


def test_a_second_smoke_run_does_nothing(small):
    assert "Nothing to be done" in small.snakemake("smoke")


def test_the_name_of_a_sweep_stands_for_all_of_it(small):
    for target in ("deeper", "deeper-l-cycles-2"):
        output = small.snakemake("--dry-run", "--printshellcmds", target)
        found = {name for name in COMBINATIONS if f"results/runs/{name}/seed-0" in output}
        assert found == (set(COMBINATIONS) if target == "deeper" else {target})
    chosen = small.planned("report", "--config", "experiments=[deeper]")
    assert (chosen["train"], chosen["evaluate"]) == (2, 2)
    assert "trm" not in chosen


@pytest.mark.parametrize(
    ("experiments", "bases"),
    [
        ("tiny-sudoku,tuned", {}),
        ("tiny-sudoku,deeper", dict.fromkeys(COMBINATIONS, "tiny-sudoku")),
        ("deeper", {COMBINATIONS[1]: COMBINATIONS[0]}),
    ],
)
def test_ablations_stand_beside_what_their_file_extends_or_the_first_of_their_sweep(small, experiments, bases):
    arguments = "--dry-run", "--printshellcmds", "report", "--config", f"experiments=[{experiments}]"
    commands = re.findall(r"trm ablation-table .*--about=(\{.*\})' --out", small.snakemake(*arguments))
    assert len(commands) == (1 if bases else 0)
    for about in commands:
        assert {name: said["base"] for name, said in json.loads(about).items() if said["base"]} == bases


def test_an_unknown_name_is_told_with_those_that_are_known(small):
    output = small.snakemake("report", "--dry-run", "--config", "experiments=[deep]", check=False)
    assert "config: experiments: deep is unknown, expected one of" in output
    assert "deeper-l-cycles-1" in output


@pytest.mark.slow
def test_every_experiment_of_the_repository_passes_its_smoke_run(tmp_path):
    """In some minutes on two cores; a second call does nothing."""
    project = Project(tmp_path)
    shutil.rmtree(tmp_path / "config")
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    raw = REPOSITORY.parent / "shared" / "data"
    options = ["--config", f"raw_data={raw}"] if raw.is_dir() else []
    printed = project.snakemake("smoke", *options)
    names = {found.name for several in load_folder(tmp_path / "config/experiments").values() for found in several}
    scored = {path.parents[1].name for path in (tmp_path / "results/smoke/runs").glob("*/seed-0/evaluation.json")}
    left_out = re.findall(r"smoke run without (.*)", printed)
    assert scored | {name for line in left_out for name in line.split(", ")} == names
    assert scored == names or not raw.is_dir()
    assert (tmp_path / "results/smoke/report.html").is_file()
    assert "Nothing to be done" in project.snakemake("smoke", *options)
