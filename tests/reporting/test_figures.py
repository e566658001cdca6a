"""Figures, the numbers beside them, captions, the preview of a dataset."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from trm.files import BadInput, read_json
from trm.reporting.figures import FIGURES, _right_and_wrong, caption, draw_figure
from trm.reporting.preview import preview

SUFFIXES = ("svg", "pdf", "png", "csv")


@pytest.mark.parametrize("kind", FIGURES)
def test_the_same_results_give_the_same_bytes(results, tmp_path, kind):
    draw_figure(kind, results.runs[::-1], tmp_path / f"tiny-{kind}")
    for suffix in SUFFIXES:
        name = f"tiny-{kind}.{suffix}"
        assert (tmp_path / name).read_bytes() == (results.figures / name).read_bytes(), name


@pytest.mark.parametrize("kind", FIGURES)
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
