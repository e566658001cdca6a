"""More answers from the same weights: what is chosen among them, what each rollout is, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ALONE, TINY
from trm.config import Evaluation, Scaling, check, check_evaluation, load
from trm.data.build import build
from trm.data.layout import read_split
from trm.evaluation.evaluate import evaluate
from trm.evaluation.scaling import CHOICES, Rollouts, _run, chosen, scale, scores
from trm.files import BadInput, read_json
from trm.puzzles import sudoku
from trm.runs import load_model, read_run, read_test
from trm.training.loop import train

CPU = torch.device("cpu")


# choices


@st.composite
def rollouts(draw):
    n, k = draw(st.integers(1, 6)), draw(st.integers(2, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    answer = random.integers(0, draw(st.integers(1, 5)), (n, k)).astype(np.uint64)
    return Rollouts(
        exact=answer == 0,
        valid=random.random((n, k)) < 0.3,
        q_halt=random.choice([-2.0, 0.0, 0.5, 3.0], (n, k)).astype(np.float32),
        answer=answer,
        steps=random.integers(1, 5, (n, k)),
        seconds=np.ones(k),
    )


def chosen_slowly(table, choice, i):
    """The place of the rollout that is chosen for example i."""
    places = range(table.exact.shape[1])
    if choice == "q_halt":
        return max(places, key=lambda k: table.q_halt[i, k])  # max takes the first of equals
    if choice == "valid":
        return next((k for k in places if table.valid[i, k]), 0)
    votes = {}
    for k in places:
        votes.setdefault(int(table.answer[i, k]), []).append(1 / (1 + np.exp(-float(table.q_halt[i, k]))))
    best = max(votes, key=lambda answer: (len(votes[answer]), np.mean(votes[answer])))
    return next(k for k in places if table.answer[i, k] == best)


def ties(table, i):
    """Whether answers have equally many votes of the same mean, so that rounding decides between them."""
    merits = set()
    for answer in set(table.answer[i].tolist()):
        q = sorted(table.q_halt[i][table.answer[i] == answer].tolist())
        if (len(q), *q) in merits:
            return True
        merits.add((len(q), *q))
    return False


@settings(deadline=None, max_examples=200)
@given(rollouts())
def test_the_choice_is_that_of_a_slow_count(table):
    for choice in ("q_halt", "valid", "vote"):
        found = chosen(table, choice)
        for i in range(len(table.exact)):
            if choice == "vote" and ties(table, i):
                continue
            place = chosen_slowly(table, choice, i)
            assert found["exact_accuracy"][i] == table.exact[i, place], choice
            if choice != "vote":  # equal answers are equally right, but valid only on the same board
                assert found["valid"][i] == table.valid[i, place], choice
    found = chosen(table, "any")
    assert found["exact_accuracy"].tolist() == [any(row) for row in table.exact.tolist()]
    assert found["valid"].tolist() == [any(row) for row in table.valid.tolist()]


def test_a_vote_between_equally_many_goes_to_the_surer_ones_then_to_the_first():
    table = Rollouts(
        exact=np.array([[False, True, False, True], [True, False, True, False]]),
        valid=np.zeros((2, 4), bool),
        q_halt=np.array([[0, 1, 0, 1], [1, 1, 1, 1]], np.float32),
        answer=np.array([[7, 8, 7, 8], [7, 8, 7, 8]], np.uint64),
        steps=np.ones((2, 4)),
        seconds=np.ones(4),
    )
    assert chosen(table, "vote")["exact_accuracy"].tolist() == [True, True]


# rollouts


@pytest.fixture(scope="module")
def loaded(tiny_run, tiny_data):
    """The tiny model with a q_halt that differs from board to board, its dataset section and its test split."""
    dataset, _, split = read_test(read_run(tiny_run), tiny_data)
    model = load_model(read_run(tiny_run), split.metadata, CPU)
    with torch.no_grad():
        model.q_head.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    return model, dataset, split


def run(loaded, rows=None, **way):
    model, dataset, split = loaded
    rows = np.arange(20) if rows is None else rows
    return _run(model, dataset, split, rows, Scaling.model_construct(**way), Evaluation(batch_size=7))


def test_the_first_rollout_is_the_plain_run_whatever_the_way(loaded):
    plain = run(loaded)
    for way in ({"latent_noise": 0.5}, {"random_starts": True}, {"symmetries": True}):
        found = run(loaded, rollouts=3, **way)
        for name in ("exact", "valid", "q_halt", "answer", "steps"):
            assert (getattr(found, name)[:, :1] == getattr(plain, name)).all(), (way, name)
        assert all(np.abs(found.q_halt[:, k] - found.q_halt[:, 0]).max() > 1e-4 for k in (1, 2)), way
        assert np.abs(found.q_halt[:, 1] - found.q_halt[:, 2]).max() > 1e-4, way


def test_rollouts_are_the_row_s_own(loaded):
    whole = run(loaded, rollouts=3, latent_noise=0.5, random_starts=True, symmetries=True)
    rows = np.array([3, 11, 12])
    part = run(loaded, rows, rollouts=3, latent_noise=0.5, random_starts=True, symmetries=True)
    assert part.q_halt == pytest.approx(whole.q_halt[rows], abs=1e-4)
    assert (part.answer == whole.answer[rows]).mean() > 0.7  # but for near ties between tokens


def test_a_symmetry_is_undone_in_the_answer(loaded):
    """By hand: turn the board, answer it, turn the answer back."""
    model, dataset, split = loaded
    found = run(loaded, rollouts=3, symmetries=True)
    numbers = {}
    for k in range(3):
        symmetries = sudoku.variants(dataset, np.arange(20), np.full(20, k))
        inputs = torch.from_numpy(symmetries.apply(np.array(split.inputs)).astype(np.int32))
        state = model.initial_state(20)
        with torch.no_grad():
            for _ in range(2):
                state, logits, _ = model(state, inputs, model.puzzle_rows(torch.zeros(20, dtype=torch.long)))
        predictions = logits.argmax(-1).numpy().astype(np.uint8)
        assert (found.valid[:, k] == sudoku.is_valid(dataset, inputs.numpy(), predictions)).all()
        for i, answer in enumerate(symmetries.inverse().apply(predictions)):
            numbers.setdefault((i, answer.tobytes()), set()).add(int(found.answer[i, k]))
            assert found.exact[i, k] == (answer == split.labels[i]).all()
    assert all(len(same) == 1 for same in numbers.values())  # equal answers have one number
    boards = {}
    for (_, answer), [number] in numbers.items():
        boards.setdefault(number, set()).add(answer)
    assert all(len(same) == 1 for same in boards.values())  # and different ones have others


def test_fewer_rollouts_are_the_first_of_more(loaded):
    plain = run(loaded)
    way = {"latent_noise": 0.5, "symmetries": True}
    many = scores(Scaling(rollouts=8, **way), run(loaded, rollouts=8, **way), plain)
    few = scores(Scaling(rollouts=4, **way), run(loaded, rollouts=4, **way), plain)
    assert [(row["rollouts"], row["choice"]) for row in many] == [(k, c) for k in (2, 4, 8) for c in CHOICES]
    for ours, theirs in zip(many, few, strict=False):
        assert ours | {"seconds_per_example": 0} == theirs | {"seconds_per_example": 0}


def test_fewer_steps_are_the_first_of_more(loaded):
    plain, deep = run(loaded), run(loaded, halt_max_steps=9)
    found = scores(Scaling(halt_max_steps=9), deep, plain)
    assert [row["steps"] for row in found] == [2, 4, 8, 9]
    for row in found:
        shallow = run(loaded, halt_max_steps=row["steps"])
        assert row["figures"]["exact_accuracy"]["value"] == shallow.exact.mean()
        assert row["steps_per_example"] == row["steps"]
    assert found[0]["against_plain"]["p"] == 1.0


def test_early_exit_saves_steps_in_all_rollouts(loaded):
    model, dataset, split = loaded
    way, config = Scaling(rollouts=3, symmetries=True), Evaluation(batch_size=7)
    every = _run(model, dataset, split, np.arange(20), way, config)
    threshold = float(1 / (1 + np.exp(-np.median(every.q_halt))))
    early = _run(model, dataset, split, np.arange(20), way, config.model_copy(update={"early_exit": threshold}))
    assert early.steps.sum() < every.steps.sum() == 2 * 60
    assert (early.exact[early.steps == 2] == every.exact[early.steps == 2]).all()


# the command's result


def test_the_plain_row_is_the_evaluation_and_every_row_is_held_against_it(tiny_run, tiny_data, tmp_path):
    config = check_evaluation(
        {"batch_size": 20, "scaling": [{"halt_max_steps": 4}, {"rollouts": 2, "symmetries": True}]}
    )
    result = scale(tiny_run, tiny_data, tmp_path, config, CPU)
    assert result == read_json(tmp_path / "scaling.json")
    evaluation = evaluate(tiny_run, tiny_data, tmp_path, Evaluation(batch_size=20), ALONE)
    plain, *others = result["scores"]
    assert plain["way"] == "plain"
    assert plain["figures"]["exact_accuracy"] == evaluation["figures"]["exact_accuracy"]
    assert (result["data"], result["examples"]) == (evaluation["data"], 20)
    assert {row["way"] for row in others} == {"4 steps", "symmetries"}
    for row in others:
        paired, exact = row["against_plain"], row["figures"]["exact_accuracy"]["value"]
        assert sum(paired[name] for name in ("both", "only_first", "only_second", "neither")) == 20
        gained = paired["only_first"] - paired["only_second"]
        assert gained / 20 == pytest.approx(exact - plain["figures"]["exact_accuracy"]["value"])


def test_a_way_that_scales_nothing_is_refused():
    for way, message in (
        ({}, r"evaluation.scaling.0: this is the plain run, expected halt_max_steps or rollouts"),
        ({"rollouts": 4}, r"rollouts 4: expected latent_noise, random_starts or symmetries besides"),
        ({"symmetries": True}, r"rollouts 1: expected 2 or more to choose from"),
        ({"rolouts": 4}, r"evaluation.scaling.0.rolouts: unknown key, did you mean rollouts\?"),
    ):
        with pytest.raises(BadInput, match=message):
            check_evaluation({"scaling": [way]})


@pytest.mark.parametrize(
    ("section", "rollouts", "message"),
    [
        (
            {"puzzle": "maze", "size": 7, "walls": [0.3, 0.5], "subsample_size": 8, "test_size": 4},
            9,
            "rollouts 9: maze has fewer symmetries",
        ),
        ({"puzzle": "arithmetic", "subsample_size": 8, "test_size": 4}, 2, "arithmetic has none to undo in an answer"),
    ],
)
def test_more_symmetries_than_the_puzzle_has_are_refused(section, rollouts, message, tmp_path):
    model = TINY["model"] | {"mlp_t": False, "num_heads": 2, "puzzle_emb_ndim": 0}
    experiment = check({"name": "few", "dataset": section, "model": model, "training": TINY["training"]}, "few")
    build(experiment.dataset, tmp_path / "data")
    assert len(read_split(tmp_path / "data" / "test")) == 4
    assert train(experiment, tmp_path / "data", tmp_path / "run", None, 0, None, "cpu") == 0
    config = Evaluation(scaling=[Scaling(rollouts=rollouts, symmetries=True)])
    with pytest.raises(BadInput, match=message):
        scale(tmp_path / "run", tmp_path / "data", tmp_path / "scores", config, CPU)
    assert not (tmp_path / "scores").exists()


@pytest.mark.slow
def test_a_sudoku_model_trained_too_short_gains_by_votes(tmp_path):
    """The quickstart's sudoku for a fifth of its steps, on its 500 test boards."""
    file = Path(__file__).parents[2] / "config" / "experiments" / "sudoku-6x6.yaml"
    experiment = load(file, ["training.max_steps=250", "training.eval_subset=1"])
    build(experiment.dataset, tmp_path / "data")
    assert train(experiment, tmp_path / "data", tmp_path / "run", None, 0, None, "cpu") == 0
    config = Evaluation(scaling=[Scaling(rollouts=8, symmetries=True)])
    plain, *others = scale(tmp_path / "run", tmp_path / "data", tmp_path / "run", config, CPU)["scores"]
    [voted] = [row for row in others if (row["rollouts"], row["choice"]) == (8, "vote")]
    assert voted["against_plain"]["p"] < 0.01
    assert voted["figures"]["exact_accuracy"]["value"] > plain["figures"]["exact_accuracy"]["high"]
    assert voted["steps_per_example"] == 8 * plain["steps_per_example"]
