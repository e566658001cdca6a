"""Experiments held against each other: which runs are paired, and what their rows say."""

import json
import shutil
import subprocess
import sys
from math import comb

import numpy as np
import pandas as pd
import pytest
import yaml

from trm.files import BadInput, read_json
from trm.reporting.comparisons import comparisons, read_comparisons, write_comparisons


@pytest.fixture
def run(results, tmp_path):
    """Makes runs of experiments with other answers: copies of a real one."""

    def make(name, seed, exact, rows=None, data=None, boards=None):
        folder = tmp_path / f"{name}-{seed}"
        shutil.copytree(results.runs[0], folder)
        config = (folder / "config.yaml").read_text().replace("name: tiny", f"name: {name}")
        (folder / "config.yaml").write_text(config)
        for file in ("provenance.json", "evaluation.json"):
            facts = read_json(folder / file) | {"seed": seed}
            if file == "evaluation.json" and data:
                facts["data"]["content_sha256"] = data
            (folder / file).write_text(json.dumps(facts))
        with np.load(folder / "predictions.npz") as arrays:
            table = dict(arrays)
        table["exact"] = np.stack([~np.array(exact), exact], axis=1)  # only the last step counts
        table["rows"] = np.arange(len(exact)) if rows is None else np.array(rows)
        table["inputs"], table["labels"] = (table[name][: len(exact)] for name in ("inputs", "labels"))
        if boards:
            table[boards][-1, -1] += 1
        np.savez_compressed(folder / "predictions.npz", **table)
        return folder

    return make


A = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], bool)
B = np.array([1, 1, 0, 0, 0, 0, 0, 1, 0, 0], bool)


def test_a_row_counts_what_only_one_of_the_two_solves(run):
    frame = comparisons([run("b", 0, B), run("a", 0, A)])
    row = frame.iloc[0]
    assert (row["experiment_a"], row["seed_a"], row["experiment_b"], row["seed_b"]) == ("a", 0, "b", 0)
    assert (row["count"], row["accuracy_a"], row["accuracy_b"]) == (10, 0.7, 0.3)
    assert row["difference"] == pytest.approx(-0.4)
    assert (row["only_a"], row["only_b"]) == (5, 1)
    assert row["p"] == pytest.approx(2 * (comb(6, 0) + comb(6, 1)) / 2**6)
    assert len(frame) == 1


def pairs(frame):
    return [tuple(row) for row in frame[["experiment_a", "seed_a", "experiment_b", "seed_b"]].itertuples(index=False)]


def test_runs_are_paired_by_seed_and_by_the_first_where_none_is_common(run):
    runs = [run("c", 5, A), run("a", 0, A), run("a", 1, B), run("b", 1, B), run("b", 2, A), run("c", 4, A)]
    assert pairs(comparisons(runs)) == [("a", 1, "b", 1), ("a", 0, "c", 4), ("b", 1, "c", 4)]


@pytest.mark.parametrize(
    "other", [{"rows": [*range(9), 12]}, *({"data": "f" * 64, "boards": name} for name in ("inputs", "labels"))]
)
def test_other_boards_or_other_rows_are_not_compared(run, other):
    assert len(comparisons([run("a", 0, A), run("b", 0, B, **other)])) == 0


def test_the_same_boards_are_compared_though_the_training_data_differ(run):
    runs = [run("a", 0, A), run("b", 0, B, data="f" * 64), run("c", 0, A, data="e" * 64, boards="labels")]
    frame = comparisons(runs)
    assert pairs(frame) == [("a", 0, "b", 0)]
    assert (frame["count"].item(), frame["only_a"].item(), frame["only_b"].item()) == (10, 5, 1)


def test_runs_on_different_puzzles_are_not_compared(run):
    other = run("b", 0, B, data="f" * 64)
    config = (other / "config.yaml").read_text()
    dataset = {"puzzle": "skyscrapers", "size": 4}
    (other / "config.yaml").write_text(yaml.safe_dump(yaml.safe_load(config) | {"dataset": dataset}))
    assert len(comparisons([run("a", 0, A), other])) == 0


def test_a_subset_is_not_compared_with_the_whole(run):
    assert len(comparisons([run("a", 0, A), run("b", 0, B[:9])])) == 0


def test_seeds_of_one_experiment_are_not_compared(results):
    assert len(comparisons(results.runs)) == 0
    assert results.comparisons.read_text().count("\n") == 1  # the header
    assert len(results.comparisons.with_suffix(".md").read_text().splitlines()) == 2


def test_a_table_is_read_as_it_was_written_and_the_same_each_time(run, tmp_path):
    runs = [run("a", 0, A), run("b", 0, B), run("c", 0, A)]
    for name, order in (("one", runs), ("two", runs[::-1])):
        write_comparisons(comparisons(order), tmp_path / f"{name}.csv")
    pd.testing.assert_frame_equal(read_comparisons(tmp_path / "one.csv"), comparisons(runs), check_exact=True)
    for suffix in (".csv", ".md"):
        one, two = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("one", "two"))
        assert one == two
    _, _, first, *others = (tmp_path / "one.md").read_text().splitlines()
    assert first == "| a, seed 0 | b, seed 0 | 70.0 | 30.0 | −40.0 | 10 | 5 | 1 | 0.22 |"
    assert len(others) == 2
    assert others[0].endswith("| 0 | 0 | 1 |")


def test_another_csv_is_no_table_of_comparisons(results):
    with pytest.raises(BadInput, match=r"results.csv: line 1: .* table of comparisons, expected experiment_a,seed_a"):
        read_comparisons(results.table)


def trm(*arguments):
    return subprocess.run([sys.executable, "-m", "trm", *arguments], capture_output=True, text=True, check=True).stdout


def test_the_command_prints_a_line_a_pair_or_writes_the_table(run, tmp_path):
    runs = [str(run("a", 0, A)), str(run("b", 0, B))]
    assert trm("compare", *runs) == (
        "a seed 0 70.0 %, b seed 0 30.0 %: −40.0 points; of 10 only the first solves 5, only the second 1; p = 0.22\n"
    )
    assert trm("compare", *runs, "--out", str(tmp_path / "out" / "comparisons.csv")) == ""
    assert len(read_comparisons(tmp_path / "out" / "comparisons.csv")) == 1
    assert trm("compare", runs[0]).startswith("nothing to compare")
