"""What evaluation.json says follows from predictions.npz, and depends on the weights and the boards alone."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch

from tests.conftest import ALONE, TINY
from tests.data.datasets import write_structure
from trm.config import Evaluation, check
from trm.data.layout import content_hash, read_split
from trm.evaluation.evaluate import evaluate, score
from trm.files import BadInput, Fault, read_json
from trm.models.network import Network
from trm.puzzles import sudoku
from trm.runs import load_model, read_run, read_test
from trm.training.loop import train


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
        count("valid_givens_ignored", is_valid(np.ones((4, 4), int), prediction.reshape(4, 4)))
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
    result = score(tiny_experiment.dataset, half_right, {})
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
    figures = score(tiny_experiment.dataset, {**table, "asked": asked}, {})["figures"]
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
    evaluate(tiny_run, tiny_data, tmp_path, Evaluation(batch_size=batch_size), ALONE)
    again = table_of(tmp_path)
    for name in ("rows", "inputs", "labels", "predictions", "asked", "valid", "exact"):
        assert (again[name] == table[name]).all(), name
    assert again["q_halt"] == pytest.approx(table["q_halt"], abs=1e-4)


@pytest.mark.parametrize(("n", "rows"), [(5, [0, 4, 8, 12, 16]), (3, [0, 6, 13]), (1, [0]), (99, range(20))])
def test_a_subset_is_evenly_spaced_and_answers_as_in_the_whole(tiny_run, tiny_data, table, tmp_path, n, rows):
    result = evaluate(tiny_run, tiny_data, tmp_path, Evaluation(subset=n), ALONE)
    part = table_of(tmp_path)
    assert part["rows"].tolist() == list(rows)
    assert (part["predictions"] == table["predictions"][part["rows"]]).all()
    assert (result["examples"], result["of"]) == (len(rows), 20)
    assert result == json.loads((tmp_path / "evaluation.json").read_text())


def test_a_cap_on_variants_scores_the_first_of_each_problem(tmp_path):
    split = write_structure(tmp_path / "test", [[2, 1, 3], [1], [1, 1]])
    assert split.spread(None, 1).tolist() == [0, 1, 6, 7]
    assert split.spread(None, 2).tolist() == [0, 1, 2, 6, 7, 8]
    assert split.spread(3, 2).tolist() == [0, 2, 7]  # evenly spaced over what is left
    assert split.spread_groups(2).tolist() == [0, 1, 2, 3, 4, 5, 6]  # the first and the second of three
    assert split.spread_groups(2, 1).tolist() == [0, 1, 6]
    assert split.spread_groups(None).tolist() == split.spread_groups(9).tolist() == list(range(9))
    assert split.spread(None, 3).tolist() == split.spread(None).tolist() == list(range(9))


def test_a_cap_on_variants_reaches_the_evaluation(tiny_run, tiny_data, table, tmp_path):
    """The 20 test boards, regrouped as 4 problems of 5 variants."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    np.save(data / "test" / "all__group_indices.npy", np.arange(0, 21, 5, dtype=np.int32))
    facts = read_json(data / "test" / "dataset.json")
    (data / "test" / "dataset.json").write_text(json.dumps({**facts, "total_groups": 4}))
    result = evaluate(tiny_run, data, tmp_path, Evaluation(max_variants=2), ALONE)
    part = table_of(tmp_path)
    assert part["rows"].tolist() == [0, 1, 5, 6, 10, 11, 15, 16]
    assert (part["predictions"] == table["predictions"][part["rows"]]).all()
    assert (result["examples"], result["of"]) == (8, 20)


def test_more_steps_than_trained_go_on_from_the_same_answers(tiny_run, tiny_data, table, tmp_path):
    result = evaluate(tiny_run, tiny_data, tmp_path, Evaluation(halt_max_steps=5), ALONE)
    longer = table_of(tmp_path)
    assert longer["exact"].shape == (20, 5)
    assert (longer["exact"][:, :2] == table["exact"]).all()
    assert longer["q_halt"][:, :2] == pytest.approx(table["q_halt"], abs=1e-4)
    assert len(result["by_step"]["exact_accuracy"]) == 5


def numbered(folder, target, first, count):
    """A copy of a dataset with `count` identifiers after the blank; its test boards have those from `first` on."""
    shutil.copytree(folder, target)
    for split in ("train", "test"):
        facts = read_json(target / split / "dataset.json")
        (target / split / "dataset.json").write_text(json.dumps({**facts, "num_puzzle_identifiers": count + 1}))
        path = target / split / "all__puzzle_identifiers.npy"
        np.save(path, np.where(np.arange(len(np.load(path))) % 4, first, 0).astype(np.int32))
    return target


def test_a_run_on_several_datasets_is_scored_on_any_of_them(tiny_data, tmp_path):
    folders = [numbered(tiny_data, tmp_path / name, *n) for name, n in (("a", (1, 3)), ("b", (2, 4)))]
    tree = {**TINY, "more_datasets": [{**TINY["dataset"], "seed": 1}]}
    assert train(check(tree, "tiny"), folders[0], tmp_path / "run", None, 0, None, "cpu", folders[1:]) == 0
    run = read_run(tmp_path / "run")
    for place, (folder, identifiers) in enumerate(zip(folders, ({0, 1}, {0, 3 + 2}), strict=True)):
        dataset, facts, split = read_test(run, folder)
        assert set(split.puzzle_identifiers.tolist()) == identifiers
        assert (split.puzzle_identifiers[::4] == 0).all()  # the blank is common to all
        assert dataset == run.experiment.datasets[place]
        assert facts["content_sha256"] == content_hash(folder)
        result = evaluate(tmp_path / "run", folder, tmp_path / "scores", Evaluation(), ALONE)
        assert result["data"]["name"] == dataset.name
        last = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()][place - 2]
        assert last.get("dataset") == (dataset.name if place else None)
        assert result["figures"]["token_accuracy"]["value"] == pytest.approx(last["token_accuracy"], abs=1e-9)
    with pytest.raises(BadInput, match=r"expected one of the datasets of .*/run: sudoku-[0-9a-f]{8}, sudoku-"):
        evaluate(tmp_path / "run", tiny_data, tmp_path / "scores", Evaluation(), ALONE)


def test_a_training_wants_as_many_datasets_as_its_experiment_has(tiny_experiment, tiny_data, tmp_path):
    with pytest.raises(
        BadInput, match=r"--data: 2 given, expected 1: that of `dataset`, then those of `more_datasets`"
    ):
        train(tiny_experiment, tiny_data, tmp_path / "run", None, 0, None, "cpu", [tiny_data])


def test_answers_are_those_of_the_published_number_of_steps(tiny_run, tiny_data, table):
    """Step by step by hand: two supervision steps from the start vectors, no early halt."""
    run, split = read_run(tiny_run), read_split(tiny_data / "test")
    model = load_model(run, split.metadata, ALONE.device)
    inputs = torch.from_numpy(np.array(split.inputs, np.int32))
    state = model.initial_state(20)
    with torch.no_grad():
        for step in range(2):
            state, logits, q = model(state, inputs, model.puzzle_emb.weights[torch.zeros(20, dtype=torch.long)])
            exact = (logits.argmax(-1).numpy() == split.labels).all(1)
            assert (table["exact"][:, step] == exact).all()
            assert table["q_halt"][:, step] == pytest.approx(q[:, 0].numpy(), abs=1e-4)
    assert (table["predictions"] == logits.argmax(-1).numpy()).all()


def test_an_interrupted_evaluation_leaves_nothing_and_starts_over(tiny_run, tiny_data, table, tmp_path):
    command = [sys.executable, "-m", "trm", "evaluate", str(tiny_run), "--data", str(tiny_data), "--out", str(tmp_path)]
    process = subprocess.Popen([*command, "--halt-max-steps", "1000000", "--device", "cpu"], stderr=subprocess.PIPE)
    deadline = time.time() + 60
    while psutil.Process(process.pid).cpu_times().user < 4:  # it has begun to answer
        assert time.time() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=30) != 0
    assert list(tmp_path.iterdir()) == []
    subprocess.run([*command, "--batch-size", "20", "--device", "cpu"], check=True, capture_output=True)
    again = table_of(tmp_path)
    assert (again["predictions"] == table["predictions"]).all()
    assert read_json(tmp_path / "evaluation.json") == read_json(tiny_run / "evaluation.json")


def test_where_not_even_one_board_fits_the_evaluation_ends_in_one_line(tiny_run, tiny_data, tmp_path, monkeypatch):
    def forward(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Network, "forward", forward)
    with pytest.raises(Fault, match=r"^out of memory with one example at a time, expected room for that at least$"):
        evaluate(tiny_run, tiny_data, tmp_path, Evaluation(batch_size=7), ALONE)
    assert list(tmp_path.iterdir()) == []


def test_early_exit_saves_steps_and_says_so(tiny_run, tiny_data, table, tmp_path):
    sure = float(1 / (1 + np.exp(-np.median(table["q_halt"][:, 0]))))
    result = evaluate(tiny_run, tiny_data, tmp_path, Evaluation(early_exit=sure), ALONE)
    early = table_of(tmp_path)
    assert result["mean_steps"] == early["steps"].mean() < 2
    assert (early["rows"] == table["rows"]).all()
    for row, steps in enumerate(early["steps"]):
        assert early["exact"][row].tolist() == [
            *table["exact"][row, :steps],
            *[table["exact"][row, steps - 1]] * (2 - steps),
        ]
