"""`make quickstart` on a fresh clone: installation, three trainings from nothing, the report."""

import json
import subprocess

import pytest
from tests.workflow.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone") / "trm"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    subprocess.run(["make", "quickstart"], cwd=folder, check=True)
    return folder


def figures(clone, experiment):
    return json.loads((clone / "results" / "runs" / experiment / "seed-0" / "evaluation.json").read_text())["figures"]


def test_it_ends_with_a_report_of_three_experiments(clone):
    page = (clone / "results" / "report.html").read_text()
    for experiment in ("sudoku-6x6", "maze-", "nqueens-"):
        assert experiment in page


def test_sudoku_6x6_is_solved(clone):
    assert figures(clone, "sudoku-6x6")["exact_accuracy"]["value"] >= 0.97
