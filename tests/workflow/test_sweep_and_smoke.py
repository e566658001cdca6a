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
    """A project with a sweep, a run after another one, and one whose raw files are missing."""
    project = Project(tmp_path_factory.mktemp("small"))
    project.write("deeper", SWEEP)
    tree = {"name": "tuned", "dataset": DATASETS["tiny-sudoku"], "model": MODEL}
    project.write("tuned", {**tree, "training": {**TRAINING, "init": "results/runs/tiny-sudoku/seed-0"}})
    project.write("published", {"name": "published", "dataset": {"puzzle": "sudoku"}, "model": MODEL})
    (project.folder / "config" / "smoke.yaml").write_text(yaml.safe_dump(MOST))
    return project


def test_a_smoke_run_is_planned_of_all_experiments_small_and_apart(small):
    planned = small.snakemake("smoke", "--dry-run", "--printshellcmds")
    assert "raw_data has no sudoku/train.csv: smoke run without published" in planned
    trained = set(re.findall(r"--out results/smoke/runs/(\S+)/seed-0 ", planned))
    assert trained == {"tiny-sudoku", "tiny-queens", "tuned", *COMBINATIONS}
    assert "--out results/runs" not in planned
    assert planned.count('"hidden_size": 8') == planned.count('"hidden_size"') > 0
    assert '"init": "results/smoke/runs/tiny-sudoku/seed-0"' in planned


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


# in some minutes on two cores


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The repository's own experiments, whose smoke run is done, on the real data where there is any."""
    folder = tmp_path_factory.mktemp("whole")
    project = Project(folder)
    shutil.rmtree(folder / "config")
    shutil.copytree(REPOSITORY / "config", folder / "config")
    raw = REPOSITORY.parent / "shared" / "data"
    project.options = ["--config", f"raw_data={raw}"] if raw.is_dir() else []
    project.printed = project.snakemake("smoke", *project.options)
    return project


@pytest.mark.slow
def test_every_experiment_of_the_repository_passes_its_smoke_run(whole):
    experiments = load_folder(whole.folder / "config/experiments").values()
    names = {found.name for several in experiments for found in several}
    scored = {path.parents[1].name for path in whole.folder.glob("results/smoke/runs/*/seed-0/evaluation.json")}
    left_out = {name for line in re.findall(r"smoke run without (.*)", whole.printed) for name in line.split(", ")}
    assert scored | left_out == names
    assert not left_out or not whole.options
    assert {path.name for path in (whole.folder / "results").iterdir()} == {"smoke"}


@pytest.mark.slow
def test_its_report_is_of_one_experiment_of_each_kind(whole):
    page = (whole.folder / "results/smoke/report.html").read_text()
    named = set(re.findall(r'href="explorer/([\w-]+)\.html"', page))
    kinds = []
    for name in named:
        config = yaml.safe_load((whole.folder / "results/smoke/runs" / name / "seed-0/config.yaml").read_text())
        kinds.append((config["dataset"]["puzzle"], config["model"]["name"], config["training"]["trained"]))
    assert len(set(kinds)) == len(kinds) > 8


@pytest.mark.slow
def test_a_report_of_what_is_finished_of_it_has_its_own_runs(whole):
    options = ("--dry-run", "--printshellcmds", *whole.options)
    planned = whole.snakemake("results/smoke/partial/report.html", *options)
    runs, data = (re.findall(rf"--{option} (\S+)", planned) for option in ("run", "data"))
    assert len(runs) > 8
    assert all(run.startswith("results/smoke/runs/") for run in runs)
    assert data
    assert all(folder.startswith("results/smoke/datasets/") for folder in data)


@pytest.mark.slow
def test_a_run_after_another_starts_from_its_smoke_run(whole):
    run = whole.folder / "results/smoke/runs/arc2-continued/seed-0"
    if not run.exists():
        pytest.skip("no ConceptARC at hand, which it trains on")
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["init"]["run"] == "results/smoke/runs/arc1-attention/seed-0"


@pytest.mark.slow
def test_a_second_smoke_run_does_nothing(whole):
    assert "Nothing to be done" in whole.snakemake("smoke", *whole.options)
