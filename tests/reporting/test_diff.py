"""Two runs side by side: what differs is shown, what does not is not, and figures stand beside each other."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from trm.files import BadInput, read_json
from trm.reporting.diff import diff


@pytest.fixture
def other(tiny_run, tmp_path):
    """A copy of the first run, to change, where runs lie in results."""
    return shutil.copytree(tiny_run, tmp_path / "results" / "runs" / "other" / "seed-0")


def edited(path, **keys):
    path.write_text(json.dumps(read_json(path) | keys))


def section(rows, name):
    """The rows under a title, by key."""
    titles = [i for i, row in enumerate(rows) if row[0].startswith(name)]
    assert len(titles) == 1
    after = rows[titles[0] + 1 :]
    end = next((i for i, row in enumerate(after) if not row[0]), len(after))
    return {key.strip(): values for key, *values in after[:end]}


def test_a_run_and_its_copy_differ_in_nothing_but_have_figures(tiny_run, other):
    rows = diff(tiny_run, other)
    assert rows[0] == ("", "tiny, seed 0", "tiny, seed 0")
    for name in ("configuration", "data", "training"):
        assert (f"{name}: the same", "", "") in rows
    figures = section(rows, "figures")
    assert figures["exact_accuracy"][0] == figures["exact_accuracy"][1]
    known = read_json(other / "evaluation.json")["figures"]
    assert known.keys() <= figures.keys()
    assert figures["exact on the same puzzles"] == ["20 puzzles", "+0.0 points, p = 1"]


def test_seeds_differ_in_their_seed_and_what_came_of_it(tiny_run, other):
    edited(other / "provenance.json", seed=1)
    rows = diff(tiny_run, other)
    assert (rows[0][1], rows[0][2]) == ("tiny, seed 0", "tiny, seed 1")
    assert section(rows, "configuration") == {}
    assert section(rows, "training") == {"seed": ["0", "1"]}


def test_keys_of_every_section_are_named(tiny_run, other):
    config = other / "config.yaml"
    text = config.read_text().replace("lr: 0.01", "lr: 0.02").replace("name: tiny", "name: other")
    config.write_text(text.replace("size: 4", "size: 6").replace("- 6\n  - 11", "- 6\n  - 9"))
    facts = read_json(other / "provenance.json")
    edited(other / "provenance.json", commit="0" * 40, device="a GPU", data={**facts["data"], "name": "sudoku-else"})
    rows = diff(tiny_run, other)
    assert rows[0][2] == "other, seed 0"
    found = section(rows, "configuration")
    assert found["training.lr"] == ["0.01", "0.02"]
    assert found["dataset.size"] == ["4", "6"]
    assert found.keys() == {"name", "training.lr", "dataset.size", "dataset.blanks"}
    assert section(rows, "data")["name"][1] == "sudoku-else"
    came_about = section(rows, "training")
    assert came_about["device"][1] == "a GPU"
    assert came_about["commit"][1] == "0" * 12


def test_rows_and_raw_files_of_datasets_that_lie_beside_the_runs(tiny_run, other):
    name = read_json(other / "provenance.json")["data"]["name"]
    folder = other.parents[2] / "datasets" / name
    folder.mkdir(parents=True)
    built = {"splits": {"train": {"examples": 54}}, "raw": {"train.csv": {"sha256": "ab" * 32}}}
    (folder / "provenance.json").write_text(json.dumps(built))
    found = section(diff(tiny_run, other), "data")
    assert found["splits.train.examples"][1] == "54"
    assert found["raw.train.csv.sha256"][1] == "abababababab"


def test_what_only_one_run_solves_tells_them_apart(tiny_run, other):
    with np.load(other / "predictions.npz") as arrays:
        table = dict(arrays)
    table["exact"][:, -1] = True
    np.savez_compressed(other / "predictions.npz", **table)
    with np.load(tiny_run / "predictions.npz") as arrays:
        wrong = int((~arrays["exact"][:, -1]).sum())
    found = section(diff(tiny_run, other), "figures")
    assert found["solved by this run alone"] == ["0", str(wrong)]
    assert found["exact on the same puzzles"][1].startswith(f"{100 * wrong / 20:+.1f} points, p = ")


def test_other_boards_are_not_paired(tiny_run, other):
    with np.load(other / "predictions.npz") as arrays:
        table = dict(arrays)
    table["rows"] = table["rows"][::-1]
    np.savez_compressed(other / "predictions.npz", **table)
    assert "exact on the same puzzles" not in section(diff(tiny_run, other), "figures")


def test_a_run_without_a_score_has_no_figures(tiny_run, other):
    (other / "evaluation.json").unlink()
    rows = diff(tiny_run, other)
    assert rows[-1][0] == f"figures: only {tiny_run} is scored"


def test_a_folder_that_is_no_run_is_told_in_a_line(tiny_run, tmp_path):
    with pytest.raises(BadInput, match=r"no provenance.json, expected the folder of a finished run"):
        diff(tiny_run, tmp_path)


def test_the_command_prints_aligned_columns(tiny_run, other):
    edited(other / "provenance.json", seed=1)
    command = [sys.executable, "-m", "trm", "diff", str(tiny_run), str(other)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (seed,) = (line for line in lines if line.split()[:1] == ["seed"])
    assert lines[0].index("tiny, seed 0") == seed.index("0")
    assert lines[0].index("tiny, seed 1") == seed.index("1")
