"""The table of test-time scaling and its figure, of what `trm scale` found of real runs and of figures made up."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.reporting.conftest import WAYS
from trm.files import BadInput, read_json
from trm.reporting.figures import draw_figure, scaling_curves
from trm.reporting.results import read_results
from trm.reporting.scaling import PLAIN, read_scaling_table, scaling_table, write_scaling_table


def test_a_row_for_each_score_of_each_run(results):
    frame = scaling_table(results.runs)
    for seed, run in enumerate(results.runs):
        scores, own = read_json(run / "scaling.json")["scores"], frame[frame["seed"] == seed]
        assert len(own) == len(scores)
        for row, score in zip(own.itertuples(), scores, strict=True):
            assert (row.experiment, row.way, row.rollouts) == ("tiny", score["way"], score["rollouts"])
            assert (row.steps, row.choice) == (score["steps"], score["choice"])
            exact = score["figures"]["exact_accuracy"]
            assert (row.exact_accuracy, row.low, row.high) == (exact["value"], exact["low"], exact["high"])
            assert (row.only_scaled - row.only_plain) / 20 == pytest.approx(row.gain)
            assert row.cost == pytest.approx(row.rollouts * row.steps / 3)  # no example stops early
            assert math.isnan(row.valid) == (row.choice == "last")
    assert set(frame["way"]) == {PLAIN, *(way.name for way in WAYS)}
    plain = frame[frame["way"] == PLAIN]
    assert (plain[["gain", "only_scaled", "only_plain"]] == 0).all(axis=None)
    assert (plain[["p", "cost"]] == 1).all(axis=None)


def test_it_is_read_as_it_was_written_and_the_same_each_time(results, tmp_path):
    write_scaling_table(scaling_table(results.runs[::-1]), tmp_path / "scaling.csv")
    for suffix in (".csv", ".md"):
        again, first = ((folder / "scaling").with_suffix(suffix) for folder in (tmp_path, results.scaling.parent))
        assert again.read_bytes() == first.read_bytes()
    pd.testing.assert_frame_equal(read_scaling_table(results.scaling), scaling_table(results.runs), check_exact=False)
    with pytest.raises(BadInput, match="not the columns of a table of test-time scaling, expected experiment,seed,way"):
        read_scaling_table(results.table)


def test_its_markdown_reads_in_points_and_multiples(results, tmp_path):
    run = scored(results.runs[0], tmp_path / "run", 0.5, [("noise", 2, "vote", 0.6)])
    write_scaling_table(scaling_table([run]), tmp_path / "scaling.csv")
    last = (tmp_path / "scaling.md").read_text().splitlines()[-1]
    assert last == (
        "| tiny | 0 | noise | 2 | 4 | vote | 60.0 (57.0 to 63.0, n = 100) | 70.0 | +10.0 | 12 | 2 | 0.013 "
        "| 8.0 | 1.50 | 2.0 x |"
    )


def scored(run, folder, plain, scores, steps=4.0):
    """A copy of a run whose scaling is made up: the plain accuracy, and way, rollouts, choice and accuracy of each.

    Each rollout takes `steps` on average.
    """
    shutil.copytree(run, folder)

    def score(way, rollouts, choice, value):
        exact = {"value": value, "count": 100, "low": value - 0.03, "high": value + 0.03}
        return {
            **{"way": way, "rollouts": rollouts, "steps": 4, "choice": choice},
            "figures": {"exact_accuracy": exact, "valid": exact | {"value": value + 0.1}},
            "against_plain": {"both": 48, "only_first": 12, "only_second": 2, "neither": 38, "p": 0.0129},
            **{"steps_per_example": steps * rollouts, "seconds_per_example": 0.0015},
        }

    found = {"scores": [score(PLAIN, 1, "last", plain), *(score(*each) for each in scores)]}
    (folder / "scaling.json").write_text(json.dumps(found))
    return folder


def test_a_curve_for_each_way_and_choice_over_its_cost(results, tmp_path):
    ways = [("noise", 2, "vote"), ("noise", 2, "any"), ("noise", 4, "vote"), ("noise", 4, "any")]
    shares = [(0.4, 0.5, 0.45, 0.6), (0.6, 0.7, 0.75, 0.8)]
    runs = [
        scored(run, tmp_path / run.name, 0.3, [(*way, share) for way, share in zip(ways, own, strict=True)], steps)
        for run, own, steps in zip(results.runs, shares, (4.0, 3.0), strict=True)
    ]
    figure, table = scaling_curves(read_results(runs))
    (axes,) = figure.axes
    drawn = {line.get_label(): np.array(line.get_xydata()) for line in axes.lines}
    assert drawn["noise: by vote"] == pytest.approx(np.array([[7, 0.5], [14, 0.6]]))  # means over seeds
    assert drawn["noise: if any is right"] == pytest.approx(np.array([[7, 0.6], [14, 0.7]]))
    assert drawn["plain"] == pytest.approx(np.array([[3.5, 0.3]]))
    assert drawn["best at its cost"] == pytest.approx(np.array([[3.5, 0.3], [7, 0.5], [14, 0.6], [14, 0.6]]))
    assert axes.get_xscale() == "log"
    assert len(table) == 2 * 5


def test_the_figures_of_real_runs_are_those_of_the_table(results):
    pd.testing.assert_frame_equal(
        pd.read_csv(results.figures / "tiny-test-time-scaling.csv"), read_scaling_table(results.scaling)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "scaling.json: no such file"),
        ("{}", "scaling.json: no scores, expected what `trm scale` wrote"),
        ('{"scores": []}', "scaling.json: no scores"),
        ('{"scores": [', "scaling.json: line 1: not valid JSON"),
    ],
)
def test_a_run_without_its_scaling_is_told_by_its_file(results, tmp_path, text, message):
    run = tmp_path / "run"
    shutil.copytree(results.runs[0], run)
    (run / "scaling.json").unlink()
    if text is not None:
        (run / "scaling.json").write_text(text)
    with pytest.raises(BadInput, match=message):
        scaling_table([run])
    with pytest.raises(BadInput, match=message):
        draw_figure("test-time-scaling", [run], tmp_path / "out" / "figure")
    assert not (tmp_path / "out").exists()
