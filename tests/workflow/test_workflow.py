"""The workflow runs what has changed and nothing else. The tests share one finished project and put it back."""

import copy
import html
import os
import shutil
import subprocess
import sys
import time
import zipfile

import psutil
import pytest

from tests.workflow.conftest import REPOSITORY, WAYS
from trm.files import read_json
from trm.reporting.figures import FIGURES, OF_VOTES, SCALING, caption
from trm.reporting.scaling import read_scaling_table

TABLES = {
    f"{name}.{suffix}" for name in ("results", "comparisons", "scaling", "audit") for suffix in ("csv", "md", "tex")
}
SUDOKU = [kind for kind in FIGURES if kind not in OF_VOTES]
QUEENS = [kind for kind in SUDOKU if kind != SCALING]  # of an experiment without test-time scaling


@pytest.fixture
def edited(project):
    """An experiment file to edit, restored afterwards."""
    before = project.file("tiny-sudoku").read_text()
    yield project
    project.file("tiny-sudoku").write_text(before)


def test_a_clean_run_makes_everything_under_results(project):
    results = project.folder / "results"
    for name, kinds, more in (("tiny-sudoku", SUDOKU, {"scaling.json"}), ("tiny-queens", QUEENS, set())):
        run = results / "runs" / name / "seed-0"
        expected = {"model.safetensors", "config.yaml", "metrics.jsonl", "provenance.json"}
        assert expected | {"evaluation.json", "predictions.npz"} | more == {path.name for path in run.iterdir()}
        names = {f"{name}-{kind}.{suffix}" for kind in kinds for suffix in ("svg", "pdf", "png", "csv")}
        assert names == {path.name for path in (results / "figures").glob(f"{name}-*") if path.stat().st_size}
    assert {path.name for path in (results / "tables").iterdir()} == TABLES
    report = (results / "report.html").read_text()
    assert "tiny-queens" in report
    for name in ("tiny-sudoku", "tiny-queens"):
        assert f"<title>{name}: step by step</title>" in (results / "explorer" / f"{name}.html").read_text()
        assert f'href="explorer/{name}.html"' in report
    assert {path.name for path in project.folder.iterdir()} == {"config", "results", ".snakemake"}


def test_every_rule_logs_and_benchmarks(project):
    results = project.folder / "results"
    for rule in (
        "build",
        "audit",
        "preview",
        "train",
        "evaluate",
        "scale",
        "figure",
        "table",
        "comparison",
        "scaling_table",
        "audit_table",
        "explore",
        "report",
    ):
        assert list((results / "logs" / rule).glob("*.log")), rule
        assert list((results / "benchmarks" / rule).glob("*.tsv")), rule


@pytest.mark.parametrize("target", ["report", "figures", "datasets", "tiny-sudoku", "nqueens"])
def test_a_finished_target_runs_nothing_again(project, target):
    assert "Nothing to be done" in project.snakemake(target)


def test_a_changed_experiment_reruns_alone(edited):
    edited.edit("tiny-sudoku", "training", lr=3.0e-4)
    assert edited.planned("figures") == {"train": 1, "evaluate": 1, "scale": 1, "figure": len(SUDOKU), "figures": 1}
    assert "tiny-queens" not in edited.snakemake("figures", "--dry-run", "--quiet", "rules")


def test_a_changed_dataset_is_built_beside_the_old_one(edited):
    edited.edit("tiny-sudoku", "dataset", num_aug=2)
    planned = edited.planned("figures")
    assert planned == {"build": 1, "train": 1, "evaluate": 1, "scale": 1, "figure": len(SUDOKU), "figures": 1}


def test_a_changed_evaluation_trains_nothing(edited):
    edited.edit("tiny-sudoku", "evaluation", subset=5)
    assert edited.planned("figures") == {"evaluate": 1, "scale": 1, "figure": len(SUDOKU), "figures": 1}


def test_a_changed_scaling_scales_again_and_changes_what_shows_it_alone(edited):
    edited.edit("tiny-sudoku", "evaluation", scaling=[{"rollouts": 3, "latent_noise": 0.5}])
    shows = {"scale": 1, "figure": 1}
    assert edited.planned("figures") == {**shows, "figures": 1}
    assert edited.planned("report") == {**shows, "scaling_table": 1, "html_report": 1, "report": 1}
    edited.edit("tiny-sudoku", "evaluation", scaling=WAYS["tiny-sudoku"], scaling_subset=4)
    assert edited.planned("figures") == {**shows, "figures": 1}


def test_scaling_that_is_taken_out_leaves_the_report_alone_to_write(edited):
    edited.edit("tiny-sudoku", "evaluation", scaling=[])
    assert edited.planned("report") == {"html_report": 1, "report": 1}


def test_the_ways_reach_the_command_and_the_report(project):
    results = project.folder / "results"
    scores = read_json(results / "runs" / "tiny-sudoku" / "seed-0" / "scaling.json")["scores"]
    assert {score["way"] for score in scores} == {"plain", "symmetries", "3 steps"}
    table = read_scaling_table(results / "tables" / "scaling.csv")
    assert set(table["experiment"]) == {"tiny-sudoku"}
    assert len(table) == len(scores)
    assert "Test-time scaling in numbers" in (results / "report.html").read_text()


def test_snakemakes_own_report_has_everything_with_captions_in_categories(project, tmp_path):
    project.snakemake("--report", str(tmp_path / "report.zip"))
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
    runs = project.folder / "results" / "runs"
    for name, kinds in (("tiny-sudoku", SUDOKU), ("tiny-queens", QUEENS)):
        assert f"The way of {name} to its answers to test puzzles" in page
        for kind in kinds:
            assert f'"{name}-{kind}.svg"' in page
            said = caption(kind, [runs / name / "seed-0"])
            assert said.startswith(f"{name}, seed 0, data ")
            assert html.escape(said, quote=False) in page
    for category in ("Figures", "Tables", "Explorer", "Report"):
        assert f'"{category}"' in page
    for label in ('"table": "audit"', '"experiment": "tiny-queens", "figure": "gallery"'):
        assert label in page
    assert "Tiny Recursive Models trained on tiny-sudoku, tiny-queens" in page


def test_a_partial_report_shows_what_is_finished_and_runs_nothing_for_it(project, tmp_path):
    part = copy.copy(project)
    part.folder = tmp_path / "part"
    shutil.copytree(project.folder, part.folder)
    results = part.folder / "results"
    (results / "runs" / "tiny-queens" / "seed-0" / "evaluation.json").unlink()
    part.edit("tiny-sudoku", "training", lr=3.0e-4)  # the whole report would train again
    with part.file("tiny-sudoku").open("a") as file:
        file.write("seeds: [0, 1]\n")
    assert part.planned("partial") == {"partial_report": 1, "partial": 1}
    part.snakemake("partial")
    page = (results / "partial" / "report.html").read_text()
    assert "<strong>Not finished:</strong> tiny-queens, tiny-sudoku seed 1." in page
    figures = results / "partial" / "figures"
    assert {path.name for path in figures.glob("*.svg")} == {f"tiny-sudoku-{kind}.svg" for kind in SUDOKU}
    for path in figures.glob("*.svg"):
        assert path.read_bytes() == (results / "figures" / path.name).read_bytes()
    assert "Nothing to be done" in part.snakemake("partial")
    shutil.rmtree(results / "runs")  # a report of nothing is one too
    part.snakemake("partial")
    assert "No experiment is finished yet." in (results / "partial" / "report.html").read_text()


def test_comments_resources_and_published_figures_rerun_nothing(edited):
    file = edited.file("tiny-sudoku")
    file.write_text("# a comment\n" + file.read_text())
    edited.edit("tiny-sudoku", "resources", mem_mb=9000, runtime="2d")
    edited.edit("tiny-sudoku", "published", exact_accuracy=0.5, source="nowhere")
    edited.edit("tiny-sudoku", "resources", gpus=2, threads=4)
    assert edited.planned("figures") == {}


def test_a_published_figure_changes_the_table_and_the_report_alone(edited):
    edited.edit("tiny-sudoku", "published", exact_accuracy=0.5, source="nowhere")
    assert edited.planned("report") == {"table": 1, "html_report": 1, "report": 1}


def test_a_deleted_figure_is_rebuilt_alone_and_the_same(project):
    figure = project.folder / "results" / "figures" / "tiny-queens-gallery.svg"
    before = figure.read_bytes()
    figure.unlink()
    assert project.planned("figures") == {"figure": 1, "figures": 1}
    project.snakemake("figures")
    assert figure.read_bytes() == before
    project.snakemake("report")


def test_more_seeds_train_only_the_new_ones(edited):
    tree = edited.file("tiny-sudoku").read_text()
    edited.file("tiny-sudoku").write_text(tree + "seeds: [0, 1]\n")
    assert edited.planned("figures") == {"train": 1, "evaluate": 1, "scale": 1, "figure": len(SUDOKU), "figures": 1}


def test_an_experiment_is_a_target_by_its_name_and_by_its_puzzle(project):
    shutil.rmtree(project.folder / "results" / "figures")
    assert project.planned("tiny-sudoku") == {"figure": len(SUDOKU), "tiny-sudoku": 1}
    assert project.planned("nqueens") == {"figure": len(QUEENS), "nqueens": 1}
    project.snakemake("report")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("modle: {}", "tiny-sudoku.yaml: modle: unknown key, did you mean model?"),
        ("training: {lr: fast}", "tiny-sudoku.yaml: training.lr: expected a valid number"),
        ("name: other", "tiny-sudoku.yaml: name: other, expected tiny-sudoku"),
    ],
)
def test_a_bad_experiment_file_is_named_before_anything_runs(edited, line, says):
    key = line.partition(":")[0]
    lines = edited.file("tiny-sudoku").read_text().splitlines()
    start = next((i for i, text in enumerate(lines) if text.startswith(f"{key}:")), len(lines))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    edited.file("tiny-sudoku").write_text("\n".join([*lines[:start], *lines[end:], line]) + "\n")
    assert says in edited.snakemake("--dry-run", check=False)


def test_unknown_keys_of_the_configuration_are_rejected(project):
    assert "experimnets" in project.snakemake("--dry-run", "--config", "experimnets=[tiny]", check=False)
    output = project.snakemake("--dry-run", "--config", "experiments=[absent]", check=False)
    assert "experiments: absent is unknown, expected one of tiny-queens, tiny-sudoku" in output


@pytest.mark.slow
def test_a_training_stopped_in_the_middle_goes_on_at_the_next_call(project):
    """Snakemake deletes the outputs of a failed job, and does not miss them; the checkpoints live outside them."""
    long = ("--config", 'set=["training.epochs=2000", "training.max_steps=900", "training.checkpoint_every=5"]')
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    model = "results/runs/tiny-sudoku/seed-0/model.safetensors"
    process = subprocess.Popen(
        [*command, model, *long],
        cwd=project.folder,
        env={**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = project.folder / "results" / "checkpoints" / "tiny-sudoku"
    deadline = time.time() + 60
    while not list(folder.glob("seed-0/*/step-0000[0-9][1-9]*.safetensors")):
        assert time.time() < deadline, "no checkpoint beyond step 100"
        time.sleep(0.02)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.terminate()
    assert process.wait(timeout=60) == 1
    assert not (project.folder / model).exists()
    output = project.snakemake(model, *long)
    assert "training tiny-sudoku, seed 0, from step" in output
