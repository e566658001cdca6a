"""A report of what is finished so far."""

import shutil

from tests.reporting.conftest import ABOUT, KINDS
from trm.reporting.partial import partial_report
from trm.reporting.tables import read_table


def test_a_seed_that_is_not_finished_is_named_and_the_rest_is_shown(results, tmp_path):
    about = {**ABOUT, "tiny": {**ABOUT["tiny"], "seeds": [0, 1, 2]}}
    partial_report(results.runs, [results.data], tmp_path / "report.html", about)
    page = (tmp_path / "report.html").read_text()
    assert "<strong>Not finished:</strong> far-away, tiny seed 2." in page
    assert "snakemake partial" in page
    assert {path.name for path in (tmp_path / "figures").glob("*.svg")} == {f"tiny-{kind}.svg" for kind in KINDS}
    for path in (tmp_path / "figures").iterdir():  # the same as in the report of the whole
        assert path.read_bytes() == (results.figures / path.name).read_bytes()
    for table in (results.table, results.scaling):
        assert (tmp_path / "tables" / table.name).read_bytes() == table.read_bytes()


def test_scaling_waits_for_all_seeds_of_an_experiment(results, tmp_path):
    runs = [tmp_path / run.name for run in results.runs]
    for run, copy in zip(results.runs, runs, strict=True):
        shutil.copytree(run, copy)
    (runs[1] / "scaling.json").unlink()
    partial_report(runs, [], tmp_path / "out" / "report.html", {})
    assert not (tmp_path / "out" / "tables" / "scaling.csv").exists()
    assert not (tmp_path / "out" / "figures" / "tiny-test-time-scaling.svg").exists()
    assert len(read_table(tmp_path / "out" / "tables" / "results.csv")) == 3


def test_nothing_is_finished(tmp_path):
    partial_report([], [], tmp_path / "report.html", ABOUT)
    page = (tmp_path / "report.html").read_text()
    assert "No experiment is finished yet." in page
    assert "<strong>Not finished:</strong> far-away, tiny." in page
