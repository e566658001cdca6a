"""`make quickstart` on a fresh clone: installation, three trainings from nothing, the report."""

import json
import subprocess

import pytest

from tests.workflow.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    clone = tmp_path_factory.mktemp("clone") / "trm"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    subprocess.run(["make", "quickstart"], cwd=clone, check=True)
    return clone / "results"


def evaluation(results, experiment):
    return json.loads((results / "runs" / experiment / "seed-0" / "evaluation.json").read_text())


def figures(results, experiment):
    return evaluation(results, experiment)["figures"]


def test_it_ends_with_a_report_of_three_experiments(results):
    page = (results / "report.html").read_text()
    for experiment in ("sudoku-6x6", "maze-7x7", "nqueens-11"):
        assert experiment in page
    assert "Not finished" not in page
    assert "Test-time scaling in numbers" in page


def test_sudokus_never_seen_are_solved(results):
    assert figures(results, "sudoku-6x6")["exact_accuracy"]["value"] >= 0.97


def test_a_sure_model_would_leave_early_and_be_as_good(results):
    every = figures(results, "sudoku-6x6")["exact_accuracy"]
    thresholds = evaluation(results, "sudoku-6x6")["early_exit"]
    best = max(part["value"] for part in thresholds if part["mean_steps"] * 1.5 <= 4)
    assert every["low"] <= best <= every["high"]


def test_mazes_never_seen_get_a_shortest_path(results):
    assert figures(results, "maze-7x7")["valid"]["value"] >= 0.9


def test_queens_are_found_on_orbits_never_seen(results):
    """Whatever the figure is, it is not the 0 % of a model that has learned its boards by heart."""
    figure = figures(results, "nqueens-11")["exact_accuracy"]
    assert figure["low"] > 0.1


def test_the_audit_finds_no_test_board_in_training(results):
    for audit in (results / "datasets").glob("*/audit.json"):
        twins = json.loads(audit.read_text())["twins_in_train"]["test"]
        assert twins["inputs"] == 0
        assert twins["groups"] >= 500
