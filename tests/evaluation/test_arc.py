"""ARC from a dataset to a scored submission: real tasks, a real model, all variants voting, on any number of ranks."""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import ALONE, signals_kept
from tests.data.datasets import write_tasks
from trm.config import Evaluation, check
from trm.data.build import build
from trm.data.layout import read_split
from trm.evaluation.ballots import BINS, PAIRS, cosines
from trm.evaluation.evaluate import evaluate
from trm.files import read_json
from trm.puzzles import arc_boards, arc_variants
from trm.tensors import read_tensors, write_tensors
from trm.training.loop import train

TASKS = ("0d3d703e", "25ff71a9", "27a28665", "794b24be")
EXPERIMENT = {
    "name": "arc",
    "dataset": {"puzzle": "arc", "subsets": ["few"], "test_sets": ["few"], "num_aug": 7},
    "model": {
        **{"hidden_size": 16, "expansion": 0.25, "mlp_t": True, "pos_encodings": "none", "L_layers": 1},
        **{"H_cycles": 1, "L_cycles": 1, "puzzle_emb_ndim": 16, "puzzle_emb_len": 1, "halt_max_steps": 2},
        "forward_dtype": "float32",
    },
    "training": {"global_batch_size": 8, "epochs": 100, "eval_interval": 100, "max_steps": 1, "eval_subset": 2},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A dataset of four tasks, and a run on it that paints what it sees: its answers are the inputs."""
    folder = tmp_path_factory.mktemp("arc")
    write_tasks(folder / "raw" / "few", TASKS)
    experiment = check({**EXPERIMENT, "dataset": {**EXPERIMENT["dataset"], "raw": str(folder / "raw")}}, "arc")
    build(experiment.dataset, folder / "data")
    assert train(experiment, folder / "data", folder / "run", None, 0, None, "cpu") == 0
    return folder


@pytest.fixture(scope="module")
def guessing(folders):
    """The run with weights that make its answers differ from variant to variant, some of them right."""
    path = folders / "run" / "model.safetensors"
    weights, facts = read_tensors(path)
    generator = torch.Generator().manual_seed(0)
    copying = weights["lm_head.weight"]
    copying.copy_(weights["embed_tokens.embedding_weight"] + 0.05 * torch.randn(copying.shape, generator=generator))
    weights["q_head.weight"].normal_(generator=generator)
    write_tensors(path, weights, facts)
    return folders


@pytest.fixture(scope="module")
def scored(guessing, tmp_path_factory):
    out = tmp_path_factory.mktemp("scored")
    return out, evaluate(guessing / "run", guessing / "data", out, Evaluation(batch_size=5), ALONE)


def tallied(folders, max_variants=None):
    """task -> test input -> grid -> (votes, sum of probabilities, first row), from predictions of every single row."""
    data = folders / "data"
    split, names = read_split(data / "test"), read_json(data / "identifiers.json", list)
    tasks = read_json(data / "test_puzzles.json")
    predictions = folders / "single"
    counts = defaultdict(lambda: defaultdict(dict))
    for row in split.spread_groups(None, max_variants):
        puzzle = int(np.searchsorted(split.puzzle_indices, row, side="right")) - 1
        name = names[split.puzzle_identifiers[puzzle]]
        task = name.split("|||")[0]
        with np.load(predictions / f"{row}.npz") as table:
            answer, q = table["prediction"], float(table["q"])
        inputs, _, _ = split.take(np.array([row]))
        _, transform, permutation = arc_variants.parse_names([name])
        grids = []
        for board in (inputs, answer[None]):
            (rows, columns) = arc_boards.crop(board)[0]
            flat, sizes = arc_boards.undo(board, transform, permutation)
            assert sizes[0].prod() == rows * columns
            grids.append(flat[0, : sizes[0].prod()].reshape(sizes[0]).tolist())
        if not grids[1]:
            continue
        known = [json.dumps(pair["input"]) for pair in tasks[task]["test"]]
        of_input = counts[task][known.index(json.dumps(grids[0]))]
        votes, total, first = of_input.get(json.dumps(grids[1]), (0, 0.0, int(row)))
        of_input[json.dumps(grids[1])] = (votes + 1, total + 1 / (1 + np.exp(-q)), min(first, int(row)))
    return tasks, counts


@pytest.fixture(scope="module")
def single(guessing):
    """What the model says to every row of the test split, by an evaluation of its own that keeps all of them."""
    from trm.evaluation.inference import answers, to_batch
    from trm.runs import load_model, read_run

    split = read_split(guessing / "data" / "test")
    model = load_model(read_run(guessing / "run"), split.metadata, ALONE.device)
    (guessing / "single").mkdir(exist_ok=True)
    for part in answers(model, lambda rows: to_batch(split, rows, ALONE.device), np.arange(len(split)), 5):
        for i, row in enumerate(part.rows):
            path = guessing / "single" / f"{row}.npz"
            np.savez(path, prediction=part.predictions[i].astype(np.uint8), q=part.q_halt[i, -1])
    return guessing


def ranked(of_input):
    return sorted(of_input, key=lambda grid: (-of_input[grid][0], -of_input[grid][1], of_input[grid][2]))


def expected_submission(tasks, counts):
    found = {}
    for task, pairs in tasks.items():
        found[task] = []
        for i in range(len(pairs["test"])):
            best = [json.loads(grid) for grid in ranked(counts[task][i])[:2]]
            best += best[:1] or [[[0]]]
            found[task].append({"attempt_1": best[0], "attempt_2": best[1] if len(best) > 1 else best[0]})
    return found


def test_the_submission_and_pass_at_k_are_those_of_a_slow_count(single, scored):
    out, result = scored
    tasks, counts = tallied(single)
    assert read_json(out / "submission.json") == expected_submission(tasks, counts)
    for k in (1, 2, 5, 10, 100, 1000):
        shares = []
        for task, pairs in tasks.items():
            hits = [json.dumps(p["output"]) in ranked(counts[task][i])[:k] for i, p in enumerate(pairs["test"])]
            shares.append(np.mean(hits))
        figure = result["figures"][f"pass@{k}"]
        assert figure["value"] == pytest.approx(np.mean(shares))
        assert figure["count"] == len(tasks) == 4
    table = pd.read_csv(out / "tasks.csv", index_col="task")
    assert table.index.tolist() == list(tasks)
    for task in tasks:
        assert table.loc[task, "votes"] == sum(votes for of in counts[task].values() for votes, *_ in of.values())
        assert table.loc[task, "answers"] == sum(map(len, counts[task].values())) > 1


def test_exact_accuracy_is_that_of_the_tasks_without_variants(single, scored):
    out, result = scored
    split = read_split(single / "data" / "test")
    with np.load(out / "predictions.npz") as table:
        assert table["rows"].tolist() == split.base_rows().tolist()
        for row, prediction in zip(table["rows"], table["predictions"], strict=True):
            assert (prediction == np.load(single / "single" / f"{row}.npz")["prediction"]).all()
    assert result["figures"]["exact_accuracy"]["count"] == len(split.base_rows())
    assert (result["examples"], result["of"]) == (len(split), len(split))
    [bins] = result["by_difficulty"].values()
    assert list(result["by_difficulty"]) == ["demonstrations"]
    assert sum(part["count"] for part in bins) == len(split.base_rows())


def test_capped_variants_and_fewer_tasks_vote_alone(single, tmp_path):
    evaluate(single / "run", single / "data", tmp_path, Evaluation(max_variants=3), ALONE)
    assert read_json(tmp_path / "submission.json") == expected_submission(*tallied(single, 3))
    result = evaluate(single / "run", single / "data", tmp_path, Evaluation(subset=2), ALONE)
    split, names = read_split(single / "data" / "test"), read_json(single / "data" / "identifiers.json", list)
    first = split.puzzle_identifiers[split.group_indices[[0, 2]]]
    assert set(read_json(tmp_path / "submission.json")) == {names[identifier] for identifier in first}
    assert result["figures"]["pass@2"]["count"] == 2


@pytest.mark.parametrize("ranks", [2, 3])
def test_several_ranks_give_the_scores_of_one(scored, guessing, tmp_path, ranks):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += ["-m", "trm", "evaluate", str(guessing / "run"), "--data", str(guessing / "data")]
    subprocess.run(
        [*command, "--out", str(tmp_path), "--batch-size", "5", "--device", "cpu"],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    out, result = scored
    assert read_json(tmp_path / "evaluation.json") == result
    for name in ("submission.json", "tasks.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()
    with np.load(tmp_path / "predictions.npz") as ours, np.load(out / "predictions.npz") as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


@pytest.mark.parametrize(("subset", "cap", "tasks"), [(23, 2, 4), (5, 1, 2)])
def test_a_training_counts_the_votes_of_its_weights(guessing, subset, cap, tasks, tmp_path):
    """Of 8 test inputs of 4 tasks, in as many variants as there is room for; nothing learns."""

    def alone():
        chosen = Evaluation(batch_size=8, max_variants=cap, subset=tasks)
        return evaluate(guessing / "run", tmp_path / "data", tmp_path / "alone", chosen, ALONE)["figures"]

    shutil.copytree(guessing / "data", tmp_path / "data")
    alone()
    told = read_json(tmp_path / "data/test_puzzles.json")
    for name, answers in read_json(tmp_path / "alone/submission.json").items():  # as if the second best were right
        for pair, attempts in zip(told[name]["test"], answers, strict=True):
            pair["output"] = attempts["attempt_2"]
    (tmp_path / "data/test_puzzles.json").write_text(json.dumps(told))
    keys = {"init": str(guessing / "run"), "lr": 0.0, "puzzle_emb_lr": 0.0, "ema": False, "eval_subset": subset}
    experiment = check({**EXPERIMENT, "training": {**EXPERIMENT["training"], **keys}}, "arc")
    with signals_kept():
        assert train(experiment, tmp_path / "data", tmp_path / "run", None, 0, None, "cpu") == 0
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["examples"] <= subset
    voted = {name: figure["value"] for name, figure in alone().items() if name.startswith("pass@")}
    assert voted == {name: value for name, value in line.items() if name.startswith("pass@")}
    assert voted["pass@2"] > 0


def test_the_votes_of_fewer_variants_are_those_of_an_evaluation_of_as_many(guessing, scored, tmp_path):
    parts = scored[1]["by_variants"]
    assert [part["variants"] for part in parts] == [1, 2, 4, 8]
    for part in parts:
        config = Evaluation(batch_size=7, max_variants=part["variants"])
        alone = evaluate(guessing / "run", guessing / "data", tmp_path / str(part["variants"]), config, ALONE)
        assert part == {"variants": part["variants"], **{k: alone["figures"][k] for k in ("pass@1", "pass@2")}}
        assert alone["by_variants"][-1] == part


def test_embeddings_are_compared_by_their_tasks(guessing, scored):
    """Of four tasks in eight variants each the training touched a few rows; all-zero ones have no cosine."""
    found = scored[1]["embedding_cosine"]
    assert len(found["edges"]) == BINS + 1
    weights, _ = read_tensors(guessing / "run" / "model.safetensors")
    trained = weights["puzzle_emb.weights"].any(dim=1).float().mean().item()
    assert 0 < trained < 1
    for kind in ("within", "across"):
        assert sum(found[kind]["counts"]) == found[kind]["pairs"] < PAIRS


def test_cosines_of_known_vectors():
    """Each task has a direction of its own; the third task has one vector, and the fourth only zeros."""
    task = np.array([0, 1, 0, 1, 2, 3, 3, 0])
    vectors = np.array(
        [[2, 0, 0], [0, 1, 0], [1, 0, 0], [0, 5, 0], [-1, -1, 0], [0, 0, 0], [0, 0, 0], [3, 0, 0]], float
    )
    asked = []

    def take(places):
        asked.append(places)
        return vectors[places]

    found = cosines(take, task)
    assert found["within"]["mean"] == pytest.approx(1)
    assert np.flatnonzero(found["within"]["counts"]).tolist() == [BINS - 1]
    inner, outer = (list(zip(*asked[i : i + 2], strict=True)) for i in (0, 2))
    assert {(task[a], task[b]) for a, b in inner} == {(0, 0), (1, 1), (3, 3)}
    assert set(inner) == {(a, b) for a in range(8) for b in range(8) if a != b and task[a] == task[b]}
    assert set(outer) == {(a, b) for a in range(8) for b in range(8) if task[a] != task[b]}
    kept = np.array([vectors[a].any() and vectors[b].any() for a, b in outer])
    assert found["across"]["pairs"] == kept.sum()
    edge = np.digitize(-(0.5**0.5), found["edges"]) - 1  # of the third task with the others; those are at right angles
    assert np.flatnonzero(found["across"]["counts"]).tolist() == [edge, BINS // 2]


def test_a_single_task_and_single_variants_leave_nothing_to_compare():
    one = cosines(lambda places: np.ones((len(places), 2)), np.zeros(5, int))
    assert (one["within"]["pairs"], one["across"]["pairs"], one["across"]["mean"]) == (PAIRS, 0, None)
    alone = cosines(lambda places: np.ones((len(places), 2)), np.arange(5))
    assert (alone["within"]["pairs"], alone["across"]["pairs"]) == (0, PAIRS)
