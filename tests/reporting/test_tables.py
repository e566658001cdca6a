"""The table of results: rows, means, verdicts, files."""

import json
import shutil

import pandas as pd
import pytest

from tests.reporting.conftest import ABOUT
from trm.files import BadInput, read_json
from trm.reporting.tables import MEAN, read_table, results_table, verdict, write_table
from trm.reporting.texts import duration, listing, percent, points, short


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
        assert row.exact_accuracy == figures["exact_accuracy"]["value"]
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


def test_a_single_run_has_no_mean(results):
    frame = results_table(results.runs[:1], {"tiny": {"published": None}})
    assert frame["seed"].tolist() == ["0"]
    assert frame["verdict"].tolist() == ["no published figure"]


def test_no_runs_make_an_empty_table(tmp_path):
    write_table(results_table([], ABOUT), tmp_path / "results.csv")
    assert len(read_table(tmp_path / "results.csv")) == 0


def test_the_same_results_give_the_same_files(results, tmp_path):
    write_table(results_table(results.runs[::-1], ABOUT), tmp_path / "results.csv")
    for suffix in (".csv", ".md"):
        again, first = tmp_path / "results", results.table
        assert again.with_suffix(suffix).read_bytes() == first.with_suffix(suffix).read_bytes()


def test_markdown_has_percentages_with_one_decimal_and_intervals(results):
    header, rule, *rows = results.table.with_suffix(".md").read_text().splitlines()
    assert header.startswith("| experiment | seed | exact accuracy, % |")
    assert {line.count("|") for line in (header, rule, *rows)} == {16}
    row = results_table(results.runs, ABOUT).iloc[0]
    shares = [f"{100 * row[key]:.1f}" for key in ("exact_accuracy", "low", "high")]
    assert "{} ({} to {}, n = 20)".format(*shares) in rows[0]
    assert "87.4" in rows[0]


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
    assert [duration(s) for s in (42.4, 85, 3 * 3600 + 300, 2 * 86400 + 4 * 3600)] == [
        "42 s",
        "1 min 25 s",
        "3 h 05 min",
        "2 d 04 h",
    ]
    assert [short("0123456789abcdef-dirty"), short(None)] == ["0123456789ab-dirty", "–"]
    assert [listing(["1"]), listing(["1", "2"]), listing(["1", "2", "3"])] == ["1", "1 and 2", "1, 2 and 3"]
