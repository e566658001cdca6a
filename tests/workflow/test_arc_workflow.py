"""ARC through the workflow: from tasks to votes, a submission, and figures beside the published ones."""

import pandas as pd
import pytest

from tests.data.datasets import write_tasks
from tests.evaluation.test_arc import EXPERIMENT, TASKS
from tests.workflow.conftest import Project
from trm.files import read_json
from trm.reporting.tables import read_table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a report of a run on four tasks."""
    project = Project(tmp_path_factory.mktemp("arc"))
    raw = project.folder / "raw" / "few"
    write_tasks(raw, TASKS)
    published = {"pass@2": 0.446, "source": "arXiv 2510.04871, table 5"}
    dataset = {**EXPERIMENT["dataset"], "raw": str(raw.parent)}
    project.write("arc-few", {**EXPERIMENT, "name": "arc-few", "dataset": dataset, "published": published})
    project.snakemake("report", "--config", "experiments=[arc-few]")
    return project


@pytest.fixture
def run(project):
    return project.folder / "results" / "runs" / "arc-few" / "seed-0"


def test_a_run_leaves_a_submission_and_a_table_of_its_tasks(run):
    submission = read_json(run / "submission.json")
    assert submission.keys() == set(TASKS)
    assert all(set(attempts) == {"attempt_1", "attempt_2"} for task in submission.values() for attempts in task)
    table = pd.read_csv(run / "tasks.csv")
    assert table["task"].tolist() == list(read_json(run / "submission.json"))
    figures = read_json(run / "evaluation.json")["figures"]
    for k in (1, 2):
        assert figures[f"pass@{k}"]["value"] == pytest.approx(table[f"pass@{k}"].mean())


def test_the_table_and_the_report_hold_the_votes_against_the_published_figure(project, run):
    row = read_table(project.folder / "results" / "tables" / "results.csv").iloc[0]
    figure = read_json(run / "evaluation.json")["figures"]["pass@2"]
    assert (row["figure"], row["value"], row["published"]) == ("pass@2", figure["value"], 0.446)
    assert row["count"] == len(TASKS)
    page = (project.folder / "results" / "report.html").read_text()
    assert "<strong>pass@2</strong>" in page
    assert "44.6 %" in page


def test_votes_and_embeddings_have_their_figures(project, run):
    figures = project.folder / "results" / "figures"
    table = pd.read_csv(figures / "arc-few-pass-at-k.csv")
    fewer = table[(table["curve"] == "fewer variants") & (table["k"] == 2)]
    assert fewer["variants"].tolist() == [1, 2, 4, 8]
    assert fewer["value"].iloc[-1] == read_json(run / "evaluation.json")["figures"]["pass@2"]["value"]
    assert set(pd.read_csv(figures / "arc-few-embedding-cosine.csv")["pairs"]) == {"within", "across"}
    page = (project.folder / "results" / "report.html").read_text()
    assert 'id="arc-few-pass-at-k"' in page
    assert 'id="arc-few-embedding-cosine"' in page


def test_a_lost_submission_is_made_again(project, run):
    chosen = ("--config", "experiments=[arc-few]")
    assert "Nothing to be done" in project.snakemake("report", *chosen)
    before = (run / "submission.json").read_bytes()
    (run / "submission.json").unlink()
    assert project.planned("results/runs/arc-few/seed-0/submission.json") == {"evaluate_arc": 1}
    project.snakemake("results/runs/arc-few/seed-0/submission.json")
    assert (run / "submission.json").read_bytes() == before
