"""The table of results: rows, means, verdicts, files."""

import json
import shutil

import pandas as pd
import pytest

from tests.reporting.conftest import ABOUT
from trm.files import BadInput, read_json
from trm.reporting.tables import MEAN, compute, latex, read_table, results_table, verdict, write_table
from trm.reporting.texts import duration, listing, p_value, percent, points, short


@pytest.mark.parametrize(
    ("high", "examples", "value", "published", "expected"),
    [
        (0.88, 1000, 0.86, 0.874, "reproduced"),  # inside the interval
        (0.874, 1000, 0.86, 0.874, "reproduced"),  # at its end
        (0.99, 1000, 0.98, 0.874, "reproduced"),  # above the published figure
        (0.86, 1000, 0.84, 0.874, "short by 3.4 points"),
        (0.86, 1000, 0.84, None, "no published figure"),
        (0.88, 256, 0.86, 0.874, "not comparable: scored on 256 of 1,000 examples"),
        (0.88, 256, 0.86, None, "no published figure"),
    ],
)
def test_verdicts(high, examples, value, published, expected):
    assert verdict(high, examples, 1000, value, published) == expected


def test_figures_on_other_raw_files_are_not_compared():
    said = verdict(0.88, 1000, 1000, 0.86, 0.874, same_files=False)
    assert said == "not comparable: other raw files than the published ones"
    assert verdict(0.88, 1000, 1000, 0.86, 0.874, same_files=True) == "reproduced"


def test_one_row_a_run_and_one_for_their_mean(results):
    frame = results_table(results.runs, ABOUT)
    assert frame["seed"].tolist() == ["0", "1", MEAN]
    assert (frame["experiment"] == "tiny").all()
    for row, run in zip(frame.itertuples(), results.runs, strict=False):
        figures = read_json(run / "evaluation.json")["figures"]
        assert row.figure == "exact_accuracy"
        assert row.value == row.exact_accuracy == figures["exact_accuracy"]["value"]
        assert (row.low, row.high) == (figures["exact_accuracy"]["low"], figures["exact_accuracy"]["high"])
        assert row.valid == figures["valid"]["value"]
        assert (row.count, row.of, row.steps) == (20, 20, 12)
        assert row.difference == pytest.approx(row.exact_accuracy - 0.874)


def with_accuracy(run, folder, seed, **figure):
    """A copy of a run with another score."""
    shutil.copytree(run, folder)
    for name in ("provenance.json", "evaluation.json"):
        facts = read_json(folder / name) | {"seed": seed}
        if name == "evaluation.json":
            facts["figures"]["exact_accuracy"] |= figure
        (folder / name).write_text(json.dumps(facts))
    return folder


def test_mean_and_spread_of_seeds(results, tmp_path):
    scores = [(0.80, 0.77, 0.83), (0.86, 0.83, 0.89)]
    runs = [
        with_accuracy(results.runs[0], tmp_path / str(seed), seed, value=value, low=low, high=high)
        for seed, (value, low, high) in enumerate(scores)
    ]
    mean = results_table(runs, {}).iloc[-1]
    assert mean["exact_accuracy"] == pytest.approx(0.83)
    assert mean["spread"] == pytest.approx(0.03 * 2**0.5)
    # a run's own 3 points and 1.96 standard errors of the seeds' mean, 3 points each, at right angles
    assert mean["high"] - 0.83 == pytest.approx((0.03**2 + (1.96 * 0.03) ** 2) ** 0.5, abs=1e-5)
    assert mean["verdict"] == "no published figure"


def voted(run, folder, seed, *shares):
    """A copy of a run that says that 400 of ARC's tasks were voted on, in many variants each."""
    shutil.copytree(run, folder)
    for name in ("provenance.json", "evaluation.json"):
        facts = read_json(folder / name) | {"seed": seed}
        if name == "evaluation.json":
            facts |= {"examples": 409_000, "of": 409_000}
            for figure, value in zip(("pass@1", "pass@2"), shares, strict=True):
                facts["figures"][figure] = {"value": value, "count": 400, "low": value - 0.04, "high": value + 0.04}
        (folder / name).write_text(json.dumps(facts))
    return folder


ARC = {"tiny": {"published": {"pass@2": 0.446, "source": "arXiv 2510.04871, table 5"}}}


def test_votes_are_held_against_the_published_pass_at_2(results, tmp_path):
    runs = [voted(results.runs[0], tmp_path / str(seed), seed, *shares) for seed, shares in enumerate(VOTES)]
    frame = results_table(runs, ARC)
    assert frame["figure"].tolist() == ["pass@2"] * 3
    assert frame["value"].tolist() == frame["pass@2"].tolist() == pytest.approx([0.42, 0.32, 0.37])
    assert frame["pass@1"].tolist() == pytest.approx([0.35, 0.25, 0.30])
    assert frame["exact_accuracy"].nunique() == 1  # of the bare tasks, by itself
    assert frame["difference"].tolist() == pytest.approx([-0.026, -0.126, -0.076])
    assert frame["verdict"].tolist()[:2] == ["reproduced", "short by 12.6 points"]
    assert (frame["count"] == 400).all()
    spread = 0.05 * 2**0.5
    assert frame["spread"].iloc[-1] == pytest.approx(spread)
    assert frame["high"].iloc[-1] - 0.37 == pytest.approx((0.04**2 + (1.96 * 0.05) ** 2) ** 0.5, abs=1e-5)
    assert frame["verdict"].iloc[-1] == "reproduced"
    write_table(frame, tmp_path / "results.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "results.csv"), frame, check_dtype=False, check_exact=False)
    header, _, first, *_ = (tmp_path / "results.md").read_text().splitlines()
    assert "| pass@1, % | pass@2, % |" in header
    assert "| pass@2 | 42.0 (38.0 to 46.0, n = 400) |" in first


VOTES = [(0.35, 0.42), (0.25, 0.32)]


def test_votes_on_some_examples_are_not_comparable(results, tmp_path):
    runs = [voted(results.runs[0], tmp_path / str(seed), seed, *shares) for seed, shares in enumerate(VOTES)]
    for run in runs:
        facts = read_json(run / "evaluation.json") | {"examples": 100_000}
        (run / "evaluation.json").write_text(json.dumps(facts))
    verdicts = results_table(runs, ARC)["verdict"].tolist()
    assert verdicts == ["not comparable: scored on 100,000 of 409,000 examples"] * 3


def test_the_figure_that_heads_a_row(results, tmp_path):
    """The published one; without one the votes, where there are any."""
    run = voted(results.runs[0], tmp_path / "run", 0, 0.3, 0.4)
    assert results_table([run], {})["figure"].tolist() == ["pass@2"]
    assert results_table([run], ABOUT)["figure"].tolist() == ["exact_accuracy"]
    assert results_table(results.runs[:1], ABOUT)["pass@2"].isna().all()
    with pytest.raises(BadInput, match=r"evaluation.json: no figure pass@2, expected it, as it is published"):
        results_table(results.runs[:1], ARC)


def test_a_single_run_has_no_mean(results):
    frame = results_table(results.runs[:1], {"tiny": {"published": None}})
    assert frame["seed"].tolist() == ["0"]
    assert frame["verdict"].tolist() == ["no published figure"]


def test_no_runs_make_an_empty_table(tmp_path):
    write_table(results_table([], ABOUT), tmp_path / "results.csv")
    assert len(read_table(tmp_path / "results.csv")) == 0


def test_the_same_results_give_the_same_files(results, tmp_path):
    write_table(results_table(results.runs[::-1], ABOUT), tmp_path / "results.csv")
    for suffix in (".csv", ".md", ".tex"):
        again, first = tmp_path / "results", results.table
        assert again.with_suffix(suffix).read_bytes() == first.with_suffix(suffix).read_bytes()


def test_markdown_has_percentages_with_one_decimal_and_intervals(results):
    header, rule, *rows = results.table.with_suffix(".md").read_text().splitlines()
    assert header.startswith("| experiment | seed | figure | % | valid, % |")
    assert {line.count("|") for line in (header, rule, *rows)} == {18}
    row = results_table(results.runs, ABOUT).iloc[0]
    shares = [f"{100 * row[key]:.1f}" for key in ("exact_accuracy", "low", "high")]
    assert "| exact accuracy | {} ({} to {}, n = 20) |".format(*shares) in rows[0]
    assert "87.4" in rows[0]


def test_the_table_for_print_holds_what_fits_a_page(results):
    header = results.table.with_suffix(".tex").read_text().splitlines()[3]
    names = r"experiment & seed & figure & \% & published, \% & difference, points & verdict & compute & device \\"
    assert header == names


def with_training(run, folder, **facts):
    shutil.copytree(run, folder)
    (folder / "provenance.json").write_text(json.dumps(read_json(folder / "provenance.json") | facts))
    return results_table([folder], {}).iloc[0]


def test_compute_is_hours_of_every_gpu_or_of_every_thread(results, tmp_path):
    gpus = {"seconds": 9000, "ranks": 8, "threads": 4, "device": "NVIDIA H200"}
    row = with_training(results.runs[0], tmp_path / "gpus", **gpus)
    assert (row["hours"], row["device"], compute(row)) == (20, "8 x NVIDIA H200", "20.0 GPU hours")
    row = with_training(results.runs[0], tmp_path / "cpu", seconds=360, ranks=1, threads=4, device="cpu (4 threads)")
    assert (row["hours"], compute(row)) == (pytest.approx(0.4), "0.400 CPU hours")
    row = with_training(results.runs[0], tmp_path / "imported", seconds=None, device="not known")
    assert compute(row) == "–"


def test_a_mean_row_has_the_mean_hours(results):
    frame = results_table(results.runs, {})
    assert frame["hours"].iloc[-1] == pytest.approx(frame["hours"].iloc[:-1].mean())
    assert set(frame["hours_of"]) == {"CPU"}


def test_latex_escapes_what_has_a_meaning_and_sets_numbers_flush_right():
    text = latex(["a & b", "%"], [["50 % of x_1 {é} ~ \\", "+1.5"], ["p < 2 − 1 ± 3 #$^", "–"]])
    assert text.splitlines() == [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a \& b & \% \\",
        r"\midrule",
        r"50 \% of x\_1 \{é\} \textasciitilde{} \textbackslash{} & +1.5 \\",
        r"p $<$ 2 $-$ 1 $\pm$ 3 \#\$\textasciicircum{} & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_table_without_rows_is_a_table_in_latex_too():
    assert r"\begin{tabular}{ll}" in latex(["a", "b"], [])


def test_a_table_is_read_as_it_was_written(results):
    pd.testing.assert_frame_equal(
        read_table(results.table), results_table(results.runs, ABOUT), check_dtype=False, check_exact=False
    )


def test_another_csv_is_no_table(tmp_path):
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"results.csv: line 1: .* expected experiment,seed"):
        read_table(tmp_path / "results.csv")


def test_numbers_in_print():
    assert [percent(0.62345), percent(float("nan"))] == ["62.3", "–"]
    assert [points(-0.251), points(0.004)] == ["−25.1", "+0.4"]
    assert [p_value(p) for p in (1.0, 0.0456, 0.00021, 1e-9, 0.0)] == ["1", "0.046", "0.00021", *["< 0.0001"] * 2]
    assert [duration(s) for s in (42.4, 85, 3 * 3600 + 300, 2 * 86400 + 4 * 3600)] == [
        "42 s",
        "1 min 25 s",
        "3 h 05 min",
        "2 d 04 h",
    ]
    assert [short("0123456789abcdef-dirty"), short(None)] == ["0123456789ab-dirty", "–"]
    assert [listing(["1"]), listing(["1", "2"]), listing(["1", "2", "3"])] == ["1", "1 and 2", "1, 2 and 3"]
