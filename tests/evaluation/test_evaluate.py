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


def test_every_figure_is_that_of_a_slow_count(tiny_run, table):
    counts = {name: [0, 0] for name in ("exact_accuracy", "valid", "token", "blank", "q_halt_accuracy")}

    def count(name, right):
        counts[name][0] += bool(right)
        counts[name][1] += 1

    for board, label, prediction, q_halt in zip(
        *(table[name] for name in ("inputs", "labels", "predictions", "q_halt")), strict=True
    ):
        exact = True
        for given, wanted, found in zip(board.tolist(), label.tolist(), prediction.tolist(), strict=True):
            count("token", wanted == found)
            if given == 1:
                count("blank", wanted == found)
            exact = exact and wanted == found
        count("exact_accuracy", exact)
        count("valid", is_valid(board.reshape(4, 4), prediction.reshape(4, 4)))
        count("q_halt_accuracy", (q_halt[-1] >= 0) == exact)
    counts["token_accuracy"], counts["blank_accuracy"] = counts.pop("token"), counts.pop("blank")

    figures = read_json(tiny_run / "evaluation.json")["figures"]
    assert figures.keys() == counts.keys()
    for name, (right, total) in counts.items():
        assert figures[name]["count"] == total, name
        assert figures[name]["value"] == pytest.approx(right / total), name


def is_valid(board, answer):
    """The rules of 4x4 sudoku, cell by cell; tokens 2..5 are the digits."""
    boxes = [answer[r : r + 2, c : c + 2].ravel() for r in (0, 2) for c in (0, 2)]
    houses = [*answer, *answer.T, *boxes]
    kept = all(given == 1 or given == found for given, found in zip(board.ravel(), answer.ravel(), strict=True))
    return kept and all(set(house.tolist()) == {2, 3, 4, 5} for house in houses)


def test_right_answers_score_everything_and_a_broken_one_shows(tiny_experiment, table):
    perfect = {
        **table,
        "predictions": table["labels"],
        "exact": np.ones((20, 2), bool),
        "q_halt": np.ones((20, 2), np.float32),
    }
    perfect["valid"] = sudoku.is_valid(tiny_experiment.dataset, perfect["inputs"], perfect["predictions"])
    assert {figure["value"] for figure in score(tiny_experiment.dataset, perfect)["figures"].values()} == {1.0}
    row = int((perfect["inputs"][:, 0] == 1).argmax())  # a board whose first cell is blank
    predictions = perfect["predictions"].copy()
    predictions[row, 0] = 2 + predictions[row, 0] % 4
    broken = {**perfect, "predictions": predictions}
    blanks = int((table["inputs"] == 1).sum())
    figures = score(tiny_experiment.dataset, broken)["figures"]
    assert figures["token_accuracy"]["value"] == pytest.approx(1 - 1 / 320)
    assert figures["blank_accuracy"]["value"] == pytest.approx(1 - 1 / blanks)


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
