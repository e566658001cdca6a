"""What evaluation.json says follows from predictions.npz, and depends on the weights and the boards alone."""

import json

import numpy as np
import pytest
import torch

from trm.config import Evaluation
from trm.data.layout import read_split
from trm.evaluation.evaluate import evaluate, score
from trm.files import read_json
from trm.puzzles import sudoku
from trm.runs import load_model, read_run

CPU = torch.device("cpu")


def table_of(folder):
    with np.load(folder / "predictions.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def table(tiny_run):
    return table_of(tiny_run)


def test_the_table_holds_the_test_boards_in_order(tiny_data, table):
    split = read_split(tiny_data / "test")
    assert table["rows"].tolist() == list(range(20))
    assert (table["inputs"] == split.inputs).all()
    assert (table["labels"] == split.labels).all()
    assert table["asked"].all()


def counted_slowly(table):
    """Right ones and total of every figure, board by board and cell by cell."""
    counts = {}

    def count(name, right):
        hits, total = counts.get(name, (0, 0))
        counts[name] = hits + bool(right), total + 1

    for board, label, prediction, q_halt in zip(
        *(table[name] for name in ("inputs", "labels", "predictions", "q_halt")), strict=True
    ):
        exact = True
        for given, wanted, found in zip(board.tolist(), label.tolist(), prediction.tolist(), strict=True):
            count("token_accuracy", wanted == found)
            if given == 1:
                count("blank_accuracy", wanted == found)
            exact = exact and wanted == found
        count("exact_accuracy", exact)
        count("valid", is_valid(board.reshape(4, 4), prediction.reshape(4, 4)))
        count("q_halt_accuracy", (q_halt[-1] >= 0) == exact)
    return counts


def assert_counted(figures, table):
    counts = counted_slowly(table)
    assert figures.keys() == counts.keys()
    for name, (right, total) in counts.items():
        assert figures[name]["count"] == total, name
        assert figures[name]["value"] == pytest.approx(right / total), name


def test_every_figure_of_a_run_is_that_of_a_slow_count(tiny_run, table):
    assert_counted(read_json(tiny_run / "evaluation.json")["figures"], table)


@pytest.fixture
def half_right(tiny_experiment, table):
    """Every other board right after the second step, none after the first; the others wrong in some cells."""
    rng = np.random.default_rng(0)
    wrong = (rng.random((20, 16)) < 0.3) & (np.arange(20) % 2 == 1)[:, None]
    predictions = np.where(wrong, rng.integers(2, 6, (20, 16)), table["labels"]).astype(np.uint8)
    exact = (predictions == table["labels"]).all(1)
    return {
        **table,
        "predictions": predictions,
        "exact": np.stack([np.zeros(20, bool), exact], 1),
        "q_halt": rng.standard_normal((20, 2)),
        "valid": sudoku.is_valid(tiny_experiment.dataset, table["inputs"], predictions),
    }


def test_every_figure_of_a_half_right_table_is_that_of_a_slow_count(tiny_experiment, half_right):
    result = score(tiny_experiment.dataset, half_right)
    assert_counted(result["figures"], half_right)
    assert 0.4 < result["figures"]["exact_accuracy"]["value"] < 0.6
    assert result["by_step"]["exact_accuracy"][0]["value"] == 0
    says_no = (half_right["q_halt"][:, 0] < 0).mean()
    assert result["by_step"]["q_halt_accuracy"][0]["value"] == pytest.approx(says_no)


def is_valid(board, answer):
    """The rules of 4x4 sudoku, cell by cell; tokens 2..5 are the digits."""
    boxes = [answer[r : r + 2, c : c + 2].ravel() for r in (0, 2) for c in (0, 2)]
    houses = [*answer, *answer.T, *boxes]
    kept = all(given == 1 or given == found for given, found in zip(board.ravel(), answer.ravel(), strict=True))
    return kept and all(set(house.tolist()) == {2, 3, 4, 5} for house in houses)


def test_labels_that_ask_nothing_count_nowhere(tiny_experiment, table):
    asked = table["asked"].copy()
    asked[:, 8:] = False
    figures = score(tiny_experiment.dataset, {**table, "asked": asked})["figures"]
    assert figures["token_accuracy"]["count"] == 160
    assert figures["blank_accuracy"]["count"] == (table["inputs"][:, :8] == 1).sum()


def test_every_figure_has_its_count_and_interval(tiny_run):
    result = read_json(tiny_run / "evaluation.json")
    by_step = [figure for figures in result["by_step"].values() for figure in figures]
    assert len(by_step) == 2 * 2  # halt_max_steps steps each
    for figure in [*result["figures"].values(), *by_step]:
        assert figure.keys() == {"value", "count", "low", "high"}
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert figure["count"] > 0


def test_the_last_step_is_the_headline(tiny_run):
    result = read_json(tiny_run / "evaluation.json")
    for name, figures in result["by_step"].items():
        assert figures[-1] == result["figures"][name]


def test_the_result_says_where_it_comes_from(tiny_run):
    result, facts = read_json(tiny_run / "evaluation.json"), read_json(tiny_run / "provenance.json")
    assert (result["experiment"], result["split"], result["examples"], result["of"]) == ("tiny", "test", 20, 20)
    assert {key: result[key] for key in ("seed", "data", "weights")} == {
        key: facts[key] for key in ("seed", "data", "weights")
    }


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_the_batch_size_does_not_change_an_answer(tiny_run, tiny_data, table, tmp_path, batch_size):
    evaluate(tiny_run, tiny_data, tmp_path, Evaluation(batch_size=batch_size), CPU)
    again = table_of(tmp_path)
    for name in ("rows", "inputs", "labels", "predictions", "asked", "valid", "exact"):
        assert (again[name] == table[name]).all(), name
    assert again["q_halt"] == pytest.approx(table["q_halt"], abs=1e-4)


@pytest.mark.parametrize(("n", "rows"), [(5, [0, 4, 8, 12, 16]), (3, [0, 6, 13]), (1, [0]), (99, range(20))])
def test_a_subset_is_evenly_spaced_and_answers_as_in_the_whole(tiny_run, tiny_data, table, tmp_path, n, rows):
    result = evaluate(tiny_run, tiny_data, tmp_path, Evaluation(subset=n), CPU)
    part = table_of(tmp_path)
    assert part["rows"].tolist() == list(rows)
    assert (part["predictions"] == table["predictions"][part["rows"]]).all()
    assert (result["examples"], result["of"]) == (len(rows), 20)
    assert result == json.loads((tmp_path / "evaluation.json").read_text())


def test_answers_are_those_of_the_published_number_of_steps(tiny_run, tiny_data, table):
    """Step by step by hand: two supervision steps from the start vectors, no early halt."""
    run, split = read_run(tiny_run), read_split(tiny_data / "test")
    model = load_model(run, split.metadata, CPU)
    inputs = torch.from_numpy(np.array(split.inputs, np.int32))
    state = model.initial_state(20)
    with torch.no_grad():
        for step in range(2):
            state, logits, q = model(state, inputs, model.puzzle_emb.weights[torch.zeros(20, dtype=torch.long)])
            exact = (logits.argmax(-1).numpy() == split.labels).all(1)
            assert (table["exact"][:, step] == exact).all()
            assert table["q_halt"][:, step] == pytest.approx(q[:, 0].numpy(), abs=1e-4)
    assert (table["predictions"] == logits.argmax(-1).numpy()).all()
