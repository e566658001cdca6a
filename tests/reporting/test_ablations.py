"""The table of ablations: whom an experiment stands beside, what it says differs, and the differences."""

import json
import math
import shutil
import subprocess
import sys

import pytest

from trm.files import BadInput, read_json
from trm.reporting.ablations import ablations, read_ablations, write_ablations

ABOUT = {
    "whole": {"description": "", "published": {"exact_accuracy": 0.874, "source": "table 4"}},
    "small": {"description": "", "published": {"exact_accuracy": 0.799, "source": "table 1"}, "base": "whole"},
}


@pytest.fixture
def run(results, tmp_path):
    """Makes runs of experiments: copies of a real one with other keys, answers and seeds."""

    def make(name, accuracy, seed=0, **keys):
        folder = tmp_path / f"{name}-{seed}"
        shutil.copytree(results.runs[0], folder)
        text = (folder / "config.yaml").read_text().replace("name: tiny", f"name: {name}")
        for key, value in keys.items():
            old = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
            text = text.replace(old, f"{old.partition(':')[0]}: {value}")
        (folder / "config.yaml").write_text(text)
        for file in ("provenance.json", "evaluation.json"):
            facts = read_json(folder / file) | {"seed": seed}
            if file == "evaluation.json":
                facts["figures"]["exact_accuracy"]["value"] = accuracy
            (folder / file).write_text(json.dumps(facts))
        return folder

    return make


def test_a_row_says_what_differs_and_by_how_much(run):
    frame = ablations([run("small", 0.5, L_layers=2, lr=0.002), run("whole", 0.75)], ABOUT)
    (row,) = frame.to_dict("records")
    assert (row["experiment"], row["base"], row["figure"]) == ("small", "whole", "exact_accuracy")
    assert row["changed"] == "model.L_layers: 1 to 2; training.lr: 0.001 to 0.002"
    assert (row["value"], row["base_value"], row["difference"]) == (0.5, 0.75, -0.25)
    assert row["published_difference"] == pytest.approx(0.799 - 0.874)
    assert row["p"] == 1  # both copies solve the same puzzles


def test_of_several_seeds_the_means_are_compared(run):
    runs = [run("small", 0.5), run("small", 0.3, seed=1), run("whole", 0.7)]
    (row,) = ablations(runs, ABOUT).to_dict("records")
    assert row["value"] == pytest.approx(0.4)
    assert row["difference"] == pytest.approx(-0.3)
    assert math.isnan(row["p"])


def test_without_its_base_an_experiment_has_no_row(run):
    runs = [run("small", 0.5)]
    assert ablations(runs, ABOUT).empty
    assert ablations([*runs, run("whole", 0.7)], {}).empty


def test_its_files_hold_every_digit_and_the_readable_ones_what_people_read(run, tmp_path):
    frame = ablations([run("small", 1 / 3, L_layers=2), run("whole", 2 / 3)], ABOUT)
    write_ablations(frame, tmp_path / "ablations.csv")
    assert read_ablations(tmp_path / "ablations.csv").to_dict("records") == frame.to_dict("records")
    assert "model.L_layers: 1 to 2 | exact accuracy | 33.3 | 66.7 | −33.3 | −7.5" in (
        tmp_path / "ablations.md"
    ).read_text(encoding="utf-8")
    assert r"model.L\_layers: 1 to 2" in (tmp_path / "ablations.tex").read_text(encoding="utf-8")
    write_ablations(frame.iloc[:0], tmp_path / "none.csv")
    assert read_ablations(tmp_path / "none.csv").empty
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="has not the columns of a table of ablations"):
        read_ablations(tmp_path / "other.csv")


def test_the_command_writes_the_table(run, tmp_path):
    folders = [run("small", 0.5, L_layers=2), run("whole", 0.75)]
    out = tmp_path / "tables" / "ablations.csv"
    command = [sys.executable, "-m", "trm", "ablation-table", *map(str, folders), "--out", str(out)]
    subprocess.run([*command, "--about", json.dumps(ABOUT)], check=True)
    assert len(read_ablations(out)) == 1
