"""Figures, the numbers beside them, captions, the preview of a dataset."""

import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from tests.reporting.conftest import KINDS
from trm.evaluation.curves import THRESHOLDS
from trm.files import BadInput, read_json
from trm.puzzles.drawing import Drawing, Rect
from trm.reporting.cells import framed
from trm.reporting.figures import (
    _right_and_wrong,
    accuracy_by_difficulty,
    caption,
    draw_figure,
    embedding_cosine,
    kinds_of,
    learning_curve,
    pass_at_k,
    steps_used,
    time_to_accuracy,
)
from trm.reporting.preview import preview
from trm.reporting.results import read_results

OLD = b'{"data": {}, "examples": 1, "of": 1, "figures": {}, "by_step": {}}'
SUFFIXES = ("svg", "pdf", "png", "csv")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_results_give_the_same_bytes(results, tmp_path, kind):
    draw_figure(kind, results.runs[::-1], tmp_path / f"tiny-{kind}")
    for suffix in SUFFIXES:
        name = f"tiny-{kind}.{suffix}"
        assert (tmp_path / name).read_bytes() == (results.figures / name).read_bytes(), name


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_hold_no_dates(results, kind):
    assert b"<dc:date>" not in (results.figures / f"tiny-{kind}.svg").read_bytes()
    assert b"CreationDate" not in (results.figures / f"tiny-{kind}.pdf").read_bytes()


def test_the_preview_is_the_same_each_time(results, tmp_path):
    preview(results.data, tmp_path / "preview.png")
    assert (tmp_path / "preview.png").read_bytes() == (results.data / "preview.png").read_bytes()


def numbers(results, kind):
    return pd.read_csv(results.figures / f"tiny-{kind}.csv")


def test_learning_curve_holds_every_logged_value(results):
    table = numbers(results, "learning-curve")
    for seed, run in enumerate(results.runs):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        own = table[table["seed"] == seed]
        loss = [line["lm_loss"] for line in lines if "lm_loss" in line]
        assert own[own["quantity"] == "lm_loss"]["value"].tolist() == pytest.approx(loss)
        for split in ("validation", "test"):
            accuracy = [line["exact_accuracy"] for line in lines if line.get("split") == split]
            assert len(accuracy) > 0
            assert own[own["split"] == split]["value"].tolist() == pytest.approx(accuracy)


def test_accuracy_by_step_holds_every_step_with_its_interval(results):
    table = numbers(results, "accuracy-by-step")
    assert len(table) == 2 * 2 * 3  # seeds, quantities, steps
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["count"] == 20).all()
    last = table[(table["seed"] == 1) & (table["quantity"] == "exact_accuracy")].iloc[-1]
    figures = read_json(results.runs[1] / "evaluation.json")["figures"]
    assert last["value"] == pytest.approx(figures["exact_accuracy"]["value"])


def test_steps_used_hold_every_step_and_threshold(results):
    table = numbers(results, "steps-used")
    assert len(table) == 2 * (3 + 3 + len(THRESHOLDS))  # seeds; steps twice
    for seed, run in enumerate(results.runs):
        evaluation = read_json(run / "evaluation.json")
        own = dict(iter(table[table["seed"] == seed].groupby("curve")))
        assert (20 * own["halted"]["value"]).tolist() == pytest.approx(evaluation["halting"]["rows"])
        assert own["halted"]["value"].sum() == pytest.approx(1)
        assert (own["halted"]["value"] * own["halted"]["steps"]).sum() == pytest.approx(
            evaluation["halting"]["mean_steps"]
        )
        points = evaluation["by_step"]["exact_accuracy"]
        assert own["together"]["value"].tolist() == pytest.approx([point["value"] for point in points])
        assert own["early exit"]["threshold"].tolist() == list(THRESHOLDS)
        for key in ("mean_steps", "value", "low", "high"):
            found = own["early exit"]["steps" if key == "mean_steps" else key].tolist()
            assert found == pytest.approx([point[key] for point in evaluation["early_exit"]])


def test_calibration_holds_every_bin_and_the_error_of_its_run(results):
    table = numbers(results, "calibration")
    for seed, run in enumerate(results.runs):
        own, found = table[table["seed"] == seed], read_json(run / "evaluation.json")["calibration"]
        assert own["count"].sum() == 20
        for key in ("from", "to", "probability", "value", "low", "high", "count"):
            assert own[key].tolist() == pytest.approx([part[key] for part in found["bins"]])
        assert own["expected_calibration_error"].tolist() == pytest.approx(
            [found["expected_calibration_error"]] * len(own)
        )


def test_accuracy_by_difficulty_holds_every_measure_of_the_puzzle(results):
    table = numbers(results, "accuracy-by-difficulty")
    inputs = np.load(results.runs[0] / "predictions.npz")["inputs"]
    for _, run in table.groupby("seed"):
        assert run["measure"].unique().tolist() == ["blanks", "guesses"]
        blanks = run[run["measure"] == "blanks"]
        assert (blanks["from"] == blanks["to"]).all()
        counts = dict(zip(blanks["from"], blanks["count"], strict=True))
        assert counts == Counter((inputs == 1).sum(axis=1).tolist())


def with_evaluation(run, folder, **keys):
    """A copy of a run of which evaluation.json says something else; None: nothing."""
    shutil.copytree(run, folder)
    evaluation = read_json(folder / "evaluation.json") | keys
    evaluation = {key: value for key, value in evaluation.items() if value is not None}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


def test_a_puzzle_without_a_measure_of_difficulty_says_so(results, tmp_path):
    run = with_evaluation(results.runs[0], tmp_path / "run", by_difficulty={})
    figure, table = accuracy_by_difficulty(read_results([run]))
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == [
        "no measure of difficulty for this puzzle"
    ]
    assert len(table) == 0
    draw_figure("accuracy-by-difficulty", [run], tmp_path / "figure")
    assert (tmp_path / "figure.csv").read_text().startswith("experiment,seed,measure,from,to,value")


def drawn(axes):
    """The points of every line of axes, by the line's label."""
    return {line.get_label(): np.array(line.get_xydata()) for line in axes.lines}


def test_means_are_those_of_points_that_all_seeds_have(results, tmp_path):
    def part(low, value, count=10):
        return {"from": low, "to": low, "value": value, "low": 0.0, "high": 1.0, "count": count}

    parts = [part(4, 0.2), part(5, 0.4), part(9, 0.6)], [part(4, 0.4), part(9, 0.8), part(11, 1.0)]
    runs = [
        with_evaluation(run, tmp_path / run.name, by_difficulty={"blanks": own})
        for run, own in zip(results.runs, parts, strict=True)
    ]
    figure, _ = accuracy_by_difficulty(read_results(runs))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "5", "9", "11"]
    mean = drawn(axes)["solved exactly"]
    assert mean == pytest.approx(np.array([[0, 0.3], [2, 0.7]]))  # 4 and 9 blanks
    assert len(axes.lines) == 3


def test_early_exits_of_several_seeds_are_averaged_by_threshold(results, tmp_path):
    def exits(steps, value):
        return [{"threshold": 0.5, "mean_steps": steps, "value": value, "low": 0.0, "high": 1.0, "count": 20}]

    runs = [
        with_evaluation(run, tmp_path / run.name, early_exit=exits(*point))
        for run, point in zip(results.runs, [(1.5, 0.2), (2.5, 0.6)], strict=True)
    ]
    figure, _ = steps_used(read_results(runs))
    assert drawn(figure.axes[1])["each stops when it is sure enough"] == pytest.approx(np.array([[2.0, 0.4]]))


def test_time_to_accuracy_holds_every_evaluation_with_its_time(results):
    table = numbers(results, "time-to-accuracy")
    for seed, run in enumerate(results.runs):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        own = table[table["seed"] == seed]
        for split in ("validation", "test"):
            of_split = [line for line in lines if line.get("split") == split]
            for key, column in (("seconds", "seconds"), ("exact_accuracy", "value")):
                found = own[own["split"] == split][column].tolist()
                assert found == pytest.approx([line[key] for line in of_split])


@pytest.mark.parametrize(
    ("seconds", "unit", "factor"), [(30, "seconds", 1), (600, "minutes", 60), (9e4, "hours", 3600)]
)
def test_time_is_told_in_the_unit_that_fits(results, tmp_path, seconds, unit, factor):
    run = tmp_path / "run"
    shutil.copytree(results.runs[0], run)
    line = {"step": 6, "split": "test", "examples": 20, "exact_accuracy": 0.5, "seconds": seconds}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    figure, _ = time_to_accuracy(read_results([run]))
    (axes,) = figure.axes
    assert axes.get_xlabel() == f"training time ({unit})"
    assert drawn(axes)["test"] == pytest.approx(np.array([[seconds / factor, 0.5]]))


def test_three_seeds_make_a_band_from_the_lowest_to_the_highest(results, tmp_path):
    runs = []
    for seed, values in enumerate([(0.1, 0.5), (0.3, 0.4), (0.2, 0.9)]):
        runs.append(tmp_path / f"seed-{seed}")
        shutil.copytree(results.runs[0], runs[-1])
        facts = read_json(runs[-1] / "provenance.json") | {"seed": seed}
        (runs[-1] / "provenance.json").write_text(json.dumps(facts))
        lines = [
            {"step": step, "split": "test", "examples": 20, "exact_accuracy": value, "seconds": step}
            for step, value in zip((5, 10), values, strict=True)
        ]
        (runs[-1] / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figure, _ = learning_curve(read_results(runs))
    (band,) = figure.axes[1].collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.round(6).tolist()}
    assert corners == {(5, 0.1), (5, 0.3), (10, 0.4), (10, 0.9)}
    assert "Bands reach from the lowest seed to the highest." in caption("learning-curve", runs)
    assert not learning_curve(read_results(runs[:2]))[0].axes[1].collections
    assert "Bands" not in caption("learning-curve", runs[:2])


# ---- of votes


def voted(run, folder, seed, shares):
    """A copy of a run that says what the votes on ARC's tasks gave, of 1, 2 and 3 variants."""

    def figure(value):
        return {"value": value, "count": 400, "low": value - 0.04, "high": value + 0.04}

    edges = [-1.0, 0.0, 1.0]
    folder = with_evaluation(
        run,
        folder,
        figures={**read_json(run / "evaluation.json")["figures"], "pass@1": figure(0.3), "pass@100": figure(0.6)},
        by_variants=[
            {"variants": n, "pass@1": figure(share / 2), "pass@2": figure(share)} for n, share in enumerate(shares, 1)
        ],
        embedding_cosine={
            "edges": edges,
            "within": {"pairs": 10, "mean": 0.6, "counts": [1, 9]},
            "across": {"pairs": 0, "mean": None, "counts": [0, 0]},
        },
    )
    facts = read_json(folder / "provenance.json") | {"seed": seed}
    (folder / "provenance.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def votes(results, tmp_path):
    shares = [(0.2, 0.3, 0.4), (0.4, 0.5, 0.6)]
    return [voted(results.runs[0], tmp_path / str(seed), seed, own) for seed, own in enumerate(shares)]


def test_pass_at_k_is_shown_by_k_and_by_variants(votes):
    figure, table = pass_at_k(read_results(votes))
    by_k, by_variants = figure.axes
    assert drawn(by_k)["pass@k"] == pytest.approx(np.array([[1, 0.3], [100, 0.6]]))
    assert drawn(by_variants)["pass@2"] == pytest.approx(np.array([[1, 0.3], [2, 0.4], [3, 0.5]]))
    assert drawn(by_variants)["pass@1"][:, 1] == pytest.approx([0.15, 0.2, 0.25])
    assert table.groupby(["seed", "curve"]).size().tolist() == [2, 6, 2, 6]
    assert set(table["count"]) == {400}


def test_cosines_of_all_seeds_are_shares_of_their_pairs(votes):
    figure, table = embedding_cosine(read_results(votes))
    shown = {patch.get_label(): patch.get_data() for patch in figure.axes[0].patches if not patch.get_fill()}
    assert list(shown) == ["variants of one task"]  # of the other kind there is no pair
    assert shown["variants of one task"].values.tolist() == pytest.approx([0.1, 0.9])
    assert shown["variants of one task"].edges.tolist() == [-1, 0, 1]
    assert table.groupby(["seed", "pairs"])["count"].sum().tolist() == [0, 10, 0, 10]


def test_figures_of_votes_are_the_same_each_time_and_of_runs_with_votes_alone(results, votes, tmp_path):
    assert kinds_of(read_results(results.runs), scaled=True) == KINDS
    assert kinds_of(read_results(votes), scaled=False)[-3:] == ["pass-at-k", "embedding-cosine", "gallery"]
    for kind in ("pass-at-k", "embedding-cosine"):
        for order, name in ((votes, "one"), (votes[::-1], "two")):
            draw_figure(kind, order, tmp_path / f"{kind}-{name}")
        for suffix in SUFFIXES:
            one, two = (tmp_path / f"{kind}-{name}.{suffix}" for name in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()
        with pytest.raises(BadInput, match=r"evaluation.json: no \w+, expected what `trm evaluate` writes of ARC"):
            draw_figure(kind, results.runs, tmp_path / "none")


def test_frames_go_around_the_cells_that_are_on_the_paper():
    drawing = framed(Drawing(3, 2, [Rect(0, 0, 1, 1, "wall")]), np.array([[2, 1], [3, 1], [0, 2], [np.nan, np.nan]]))
    assert drawing.shapes[0].fill == "wall"
    frame = drawing.shapes[1:]
    assert len(frame) == 4
    assert all(min(side.x0, side.x1) > 2 and max(side.x0, side.x1) < 3 for side in frame)
    assert all(min(side.y0, side.y1) > 1 and max(side.y0, side.y1) < 2 for side in frame)


def test_gallery_lists_the_rows_that_it_shows(results):
    table = numbers(results, "gallery")
    with np.load(results.runs[0] / "predictions.npz") as arrays:
        place = np.searchsorted(arrays["rows"], table["row"])
        assert (arrays["exact"][place, -1] == table["exact"]).all()
        assert (arrays["valid"][place] == table["valid"]).all()
    assert len(table) == 8
    assert table["row"].is_unique
    assert table["q_halt_probability"].between(0, 1).all()


@pytest.mark.parametrize(
    ("right", "wrong", "shown"), [(50, 50, (4, 4)), (2, 50, (2, 6)), (50, 1, (7, 1)), (0, 9, (0, 8)), (3, 2, (3, 2))]
)
def test_half_of_the_gallery_is_right_where_there_are_enough(right, wrong, shown):
    exact = np.arange(right + wrong) < right
    chosen = _right_and_wrong(exact, 8)
    assert (exact[chosen].sum(), (~exact[chosen]).sum()) == shown
    assert len(np.unique(chosen)) == len(chosen)


def test_captions_name_experiment_seeds_and_data(results):
    data = read_json(results.data / "provenance.json")["content_sha256"][:12]
    assert caption("learning-curve", results.runs).startswith(f"tiny, seeds 0 and 1, data {data}. ")
    assert caption("gallery", results.runs).startswith(f"tiny, seed 0, data {data}. ")
    assert "mean" not in caption("accuracy-by-step", results.runs[:1])


# ---- what goes wrong


def test_an_unknown_kind(results, tmp_path):
    with pytest.raises(BadInput, match="figure 'pie' is unknown, expected one of learning-curve"):
        draw_figure("pie", results.runs, tmp_path / "pie")


def test_runs_of_two_experiments(results, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(results.runs[0], other)
    config = (other / "config.yaml").read_text().replace("name: tiny", "name: other")
    (other / "config.yaml").write_text(config)
    with pytest.raises(BadInput, match="runs of other, tiny, expected those of one experiment"):
        draw_figure("learning-curve", [results.runs[0], other], tmp_path / "figure")


def test_the_same_run_twice(results, tmp_path):
    with pytest.raises(BadInput, match="both are tiny with seed 0"):
        draw_figure("learning-curve", [results.runs[0]] * 2, tmp_path / "figure")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("evaluation.json", None, "evaluation.json: no such file"),
        ("evaluation.json", b"{}", "evaluation.json: no key data"),
        ("evaluation.json", OLD, "evaluation.json: no key by_difficulty, expected what `trm train` and `trm evaluate`"),
        ("metrics.jsonl", b'{"step": 1, "lm_loss": 2.0, "exact_accuracy": null, "count": 0}\n{"st', "line 2"),
        ("predictions.npz", b"PK\x03\x04 and then nothing", "predictions.npz"),
        ("predictions.npz", b"", "predictions.npz"),
    ],
)
def test_a_broken_run_is_told_by_its_file_and_leaves_no_figure(results, tmp_path, name, content, message):
    run = tmp_path / "run"
    shutil.copytree(results.runs[0], run)
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    kind = "gallery" if name == "predictions.npz" else "learning-curve"
    with pytest.raises(BadInput, match=message):
        draw_figure(kind, [run], tmp_path / "out" / "figure")
    assert not (tmp_path / "out").exists()
