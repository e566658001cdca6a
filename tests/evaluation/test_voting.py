"""Votes are those of a slow, obvious count, whatever the model says and however its answers are cut up."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.puzzles.test_arc import TRANSFORMS as DO
from trm.data.build import build, materialize
from trm.data.layout import read_split
from trm.evaluation import voting
from trm.evaluation.submission import submission
from trm.evaluation.voting import KS, Votes, read_test_tasks, read_variants
from trm.files import BadInput
from trm.puzzles import arc
from trm.puzzles.arc_variants import SHIFTED, decode

UNDO = [DO[0], DO[3], DO[2], DO[1], *DO[4:]]

# Grids of inputs, solutions and answers: small ones, that are each other's variants, and the largest
GRIDS = [
    np.array(cells)
    for cells in (
        [[0]],
        [[1]],
        [[0, 1]],
        [[0], [1]],
        [[1, 0]],
        [[1, 2], [3, 4]],
        [[1, 2, 3, 4]],
        [[0, 0, 0], [0, 0, 0]],
        [[0, 0], [0, 0], [0, 0]],
        (np.arange(900) % 7).reshape(30, 30).tolist(),
        (np.arange(90) % 10).reshape(3, 30).tolist(),
    )
]


def canvas(grid):
    """A grid at the top left of its canvas [900], with marks."""
    board = np.zeros((31, 31), int)
    rows, columns = grid.shape
    board[:rows, :columns] = grid + 2
    board[rows, :columns] = board[:rows, columns] = 1
    return board[:30, :30].ravel()


def junk():
    """Boards that no grid makes: nothing, marks only, an L of colours, no marks, tokens that are none, noise."""
    nothing, marks, ell, full, odd = (np.full((30, 30), fill) for fill in (0, 1, 0, 5, 4))
    ell[0, :6] = ell[:6, 0] = 3  # 1x6 and 6x1 are equally large
    odd[2:, 3:] = 77
    odd[1, 1] = -5
    off_corner = np.zeros((30, 30), int)
    off_corner[1:3, 1:3] = 6
    noise = np.random.default_rng(0).integers(-2, 14, (30, 30))
    noise[0, 0] = 2
    return [board.ravel() for board in (nothing, marks, ell, full, odd, off_corner, noise)]


JUNK = junk()
LOGITS = [-3.0, -1.25, 0.5, 2.0, 40.0, -90.0]


def slow_crop(board):
    """The largest rectangle of colours from the top left; among equals the one with fewest rows."""
    square, best = board.reshape(30, 30), (0, 0)
    width = 30
    for row in range(30):
        column = 0
        while column < width and 2 <= square[row, column] <= 11:
            column += 1
        width = column
        if (row + 1) * width > best[0] * best[1]:
            best = row + 1, width
    return square[: best[0], : best[1]] - 2


def slow_undo(grid, code):
    transform, permutation = decode(np.array([code]))
    color_of = {int(new): old for old, new in enumerate(permutation[0])}
    return tuple(tuple(color_of[int(cell)] for cell in row) for row in UNDO[transform[0]](grid))


def frozen(grid):
    return tuple(map(tuple, np.asarray(grid).tolist()))


class Slow:
    """SPEC by SPEC: dicts, loops, one prediction at a time."""

    def __init__(self, tasks, predictions):
        self.tasks, self.foreign, self.empty = tasks, 0, 0
        names = list(tasks)
        votes = {
            name: {frozen(pair["input"]): {} for pair in task["test"]} for name, task in tasks.items()
        }  # task -> input -> answer -> [(sigmoid, order)]
        for task, code, given_, answer, q, order in predictions:
            asked = votes[names[task]].get(slow_undo(slow_crop(given_), code))
            grid = slow_crop(answer)
            if asked is None:
                self.foreign += 1
            elif grid.size == 0:
                self.empty += 1
            else:
                asked.setdefault(slow_undo(grid, code), []).append((1 / (1 + math.exp(-q)), order))
        self.votes = votes
        self.best = {
            name: {
                asked: sorted(found, key=lambda grid, found=found: self.key(found[grid])) for asked, found in of.items()
            }
            for name, of in votes.items()
        }

    @staticmethod
    def key(said):
        mean = math.fsum(sigmoid for sigmoid, _ in said) / len(said)
        return -len(said), -round(mean, 9), min(order for _, order in said)

    def ranked(self, k):
        return {
            name: [self.best[name][frozen(pair["input"])][:k] for pair in task["test"]]
            for name, task in self.tasks.items()
        }

    def pass_at(self, k):
        shares = []
        for name, task in self.tasks.items():
            hits = [frozen(pair["output"]) in self.best[name][frozen(pair["input"])][:k] for pair in task["test"]]
            shares.append(sum(hits) / len(hits))
        return shares

    def submission(self):
        entries = {}
        for name, of_inputs in self.ranked(2).items():
            entries[name] = []
            for best in of_inputs:
                first = best[0] if len(best) > 0 else ((0,),)
                second = best[1] if len(best) > 1 else first
                entries[name].append({"attempt_1": [*map(list, first)], "attempt_2": [*map(list, second)]})
        return entries

    def table(self):
        return [
            [
                name,
                len(task["test"]),
                sum(len(said) for found in self.votes[name].values() for said in found.values()),
                sum(len(found) for found in self.votes[name].values()),
            ]
            for name, task in self.tasks.items()
        ]


some_grid = st.integers(0, len(GRIDS) - 1)
tests = st.lists(st.tuples(some_grid, some_grid), min_size=1, max_size=3)
tasks_of_tests = st.lists(tests, min_size=1, max_size=3).map(
    lambda tasks: {
        f"task{i}": {"test": [{"input": GRIDS[a].tolist(), "output": GRIDS[b].tolist()} for a, b in pairs]}
        for i, pairs in enumerate(tasks)
    }
)
codes = st.one_of(st.sampled_from([0, 8 * 5039]), st.integers(0, 7), st.integers(0, SHIFTED - 1))


@st.composite
def cases(draw):
    """Tasks and predictions, many of which ask for a test input and say one of few things."""
    tasks = draw(tasks_of_tests)
    predictions = []
    for order in range(draw(st.integers(0, 40))):
        task = draw(st.integers(0, len(tasks) - 1))
        asked = [np.array(pair["input"]) for pair in tasks[f"task{task}"]["test"]]
        given_ = draw(st.one_of(st.sampled_from(asked), st.sampled_from([*asked, *GRIDS, None])))
        code = draw(codes)
        said = draw(st.one_of(st.sampled_from(GRIDS[:4]), st.sampled_from([*GRIDS, *JUNK])))
        board = JUNK[draw(st.integers(0, 1))] if given_ is None else variant(given_, code)
        answer = said if said.ndim == 1 else variant(said, code)
        predictions.append((task, code, board, answer, draw(st.sampled_from(LOGITS)), order))
    return tasks, predictions


def variant(grid, code):
    transform, permutation = decode(np.array([code]))
    return canvas(permutation[0].astype(int)[DO[transform[0]](grid)])


def add(votes, predictions):
    task, code, given_, answer, q, order = zip(*predictions, strict=True)
    transform, permutation = decode(np.array(code))
    boards = np.array(given_, np.int32), np.array(answer, np.int64)
    votes.add(np.array(task), transform, permutation, *boards, np.array(q, np.float32), np.array(order))


def counted(tasks, *parts):
    votes = Votes(tasks)
    for part in parts:
        if part:
            add(votes, part)
    return votes


def plain(ranked):
    return {name: [[frozen(grid) for grid in best] for best in of_inputs] for name, of_inputs in ranked.items()}


def state(votes):
    """Everything that was counted, in an order that does not depend on how."""
    arrays = votes.arrays()
    answers = np.sort(arrays["answers"], order="key").tolist()
    return answers, arrays["counts"].tolist(), plain(votes.ranked(99)), submission(votes)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_votes_are_those_of_a_slow_count(case):
    tasks, predictions = case
    votes, slow = counted(tasks, predictions), Slow(tasks, predictions)
    assert (votes.foreign, votes.empty) == (slow.foreign, slow.empty)
    for k in (1, 2, 99):
        assert plain(votes.ranked(k)) == slow.ranked(k)
    found = votes.pass_at()
    assert list(found) == list(KS)
    for k, shares in found.items():
        assert shares.tolist() == slow.pass_at(k)
    assert submission(votes) == slow.submission()
    table = votes.table()
    assert table.iloc[:, :4].to_numpy().tolist() == slow.table()
    assert table["pass@2"].tolist() == slow.pass_at(2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_votes_on_random_boards_are_those_of_a_slow_count(seed):
    """Many tasks, random grids of any size, answers mostly near the solution; more than fits a table of the start."""
    rng = np.random.default_rng(seed)

    def grid(most):
        return rng.integers(0, 10, rng.integers(1, most + 1, 2))

    tasks = {
        f"task{i}": {
            "test": [{"input": grid(30).tolist(), "output": grid(6).tolist()} for _ in range(rng.integers(1, 4))]
        }
        for i in range(8)
    }
    predictions = []
    for order in range(200):
        task, code = int(rng.integers(8)), int(rng.integers(SHIFTED))
        pair = tasks[f"task{task}"]["test"][rng.integers(len(tasks[f"task{task}"]["test"]))]
        said = np.array(pair["output"])
        if rng.random() < 0.7:
            said[rng.integers(said.shape[0]), rng.integers(said.shape[1])] = rng.integers(3)
        board = variant(said, code)
        if rng.random() < 0.2:
            board[rng.integers(900, size=5)] = rng.integers(0, 12, 5)
        predictions.append((task, code, variant(np.array(pair["input"]), code), board, float(rng.normal()), order))
    votes, slow = counted(tasks, predictions[:20], predictions[20:]), Slow(tasks, predictions)
    assert plain(votes.ranked(99)) == slow.ranked(99)
    assert [votes.pass_at()[k].tolist() for k in KS] == [slow.pass_at(k) for k in KS]
    assert submission(votes) == slow.submission()


@settings(max_examples=60, deadline=None)
@given(cases(), st.data())
def test_neither_order_nor_batches_nor_ranks_change_the_votes(case, data):
    tasks, predictions = case
    whole = state(counted(tasks, predictions))
    shuffled = data.draw(st.permutations(predictions))
    assert state(counted(tasks, shuffled)) == whole
    assert state(counted(tasks, *[[one] for one in shuffled])) == whole
    cut = data.draw(st.integers(0, len(shuffled)))
    ranks = [counted(tasks, part) for part in (shuffled[:cut], shuffled[cut:], [])]
    for order in itertools.permutations(ranks):
        pooled = Votes(tasks)
        for rank in order:
            pooled.merge(rank.arrays())
        assert state(pooled) == whole


def test_checkpoints_are_pooled_to_the_same_votes_in_any_order():
    """Even where their answers tie in all that ranks them, order numbers included."""
    tasks = {"a": {"test": [{"input": [[9, 9]]}]}}
    parts = [
        counted(tasks, [(0, 0, canvas(np.array([[9, 9]])), canvas(np.array([[cell]])), 0.0, 7)]) for cell in (1, 2, 3)
    ]
    found = []
    for order in itertools.permutations(parts):
        pooled = Votes(tasks)
        for part in order:
            pooled.merge(part.arrays())
        found.append(state(pooled))
    assert len(plain(pooled.ranked(9))["a"][0]) == 3
    assert all(one == found[0] for one in found)


def test_a_merge_in_parts_keeps_every_grid(monkeypatch):
    tasks = {"a": {"test": [{"input": [[1, 2]]}]}}
    predictions = [
        (0, 0, canvas(np.array([[1, 2]])), canvas(np.array([[i, j]] * (1 + i))), 0.0, 10 * i + j)
        for i in range(10)
        for j in range(10)
    ]
    monkeypatch.setattr(voting, "CHUNK", 7)
    pooled = counted(tasks, predictions[50:])
    pooled.merge(counted(tasks, predictions[:70]).arrays())
    assert sorted(plain(pooled.ranked(200))["a"][0]) == sorted(
        ((i, j),) * (1 + i) for i in range(10) for j in range(10)
    )


def test_arrays_are_saved_and_loaded_without_pickle(tmp_path):
    tasks = {"a": {"test": [{"input": [[1, 2]], "output": [[3]]}]}}
    votes = counted(tasks, [(0, 0, canvas(np.array([[1, 2]])), canvas(np.array([[3]])), 1.0, 4)])
    np.savez(tmp_path / "votes.npz", **votes.arrays())
    loaded = Votes(tasks)
    with np.load(tmp_path / "votes.npz", allow_pickle=False) as arrays:
        loaded.merge(dict(arrays))
    assert state(loaded) == state(votes)
    assert loaded.pass_at([1])[1].tolist() == [1.0]


def test_votes_for_other_tasks_are_not_merged():
    of = [
        Votes({name: {"test": [{"input": [[1]]}]}, "b": {"test": [{"input": [[cell]]}]}})
        for name, cell in (("a", 1), ("a", 2))
    ]
    with pytest.raises(BadInput, match="votes to merge: of other test inputs"):
        of[0].merge(of[1].arrays())


def test_what_stays_in_memory_grows_with_distinct_answers_alone():
    tasks = {"a": {"test": [{"input": [[1, 2]], "output": [[3]]}]}}
    batch = [(0, code, variant(np.array([[1, 2]]), code), variant(GRIDS[9], code), 1.0, code) for code in range(300)]
    votes = Votes(tasks)
    sizes = []
    for _ in range(20):
        add(votes, batch)
        sizes.append(sum(array.nbytes for array in votes.arrays().values()))
    assert len(set(sizes)) == 1
    assert votes.table()["votes"].tolist() == [6000]


def test_ranks_go_by_votes_then_by_mean_confidence_then_by_first_seen():
    tasks = {"a": {"test": [{"input": [[9, 9]]}]}}

    def say(grid, q, order):
        return (0, 0, canvas(np.array([[9, 9]])), canvas(np.array([[grid]])), q, order)

    said = [say(1, 9.0, 0), say(2, -1.0, 1), say(2, -1.0, 2), say(3, 0.0, 6), say(3, 0.0, 5), say(4, 0.0, 4)]
    said += [say(4, 0.0, 7), say(5, math.nan, 8), say(5, 3.0, 9), say(6, -math.inf, 3), say(6, math.inf, 10)]
    best = plain(counted(tasks, said).ranked(9))["a"][0]
    # 6 is as sure as 3 and 4, and seen first; 5's nan is no confidence at all, which leaves half of sigmoid(3)
    assert best == [((6,),), ((4,),), ((3,),), ((5,),), ((2,),), ((1,),)]


def test_a_test_input_that_stands_twice_gets_its_votes_at_both_places():
    pairs = [{"input": [[1, 2]], "output": [[cell]]} for cell in (3, 4)] + [{"input": [[5]], "output": [[3]]}]
    votes = counted({"a": {"test": pairs}}, [(0, 0, canvas(np.array([[1, 2]])), canvas(np.array([[3]])), 0.0, 0)])
    assert plain(votes.ranked(2))["a"] == [[((3,),)], [((3,),)], []]
    assert votes.pass_at([1])[1].tolist() == [pytest.approx(1 / 3)]
    assert votes.table()[["test_inputs", "votes", "answers"]].to_numpy().tolist() == [[3, 1, 1]]
    assert submission(votes)["a"] == [
        {"attempt_1": [[3]], "attempt_2": [[3]]},
        {"attempt_1": [[3]], "attempt_2": [[3]]},
        {"attempt_1": [[0]], "attempt_2": [[0]]},
    ]


def test_the_same_input_in_two_tasks_votes_in_its_own():
    tasks = {name: {"test": [{"input": [[1, 2]], "output": [[3]]}]} for name in "ab"}
    votes = counted(tasks, [(1, 0, canvas(np.array([[1, 2]])), canvas(np.array([[3]])), 0.0, 0)])
    assert votes.pass_at([1])[1].tolist() == [0.0, 1.0]


# ---- on a dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two test sets of several test pairs each, which share a task, in 30 variants; and a set of training tasks."""
    folder = tmp_path_factory.mktemp("arc")
    rng = np.random.default_rng(3)

    def grid():
        return rng.integers(0, 10, rng.integers(1, 8, 2)).tolist()

    def task(tests):
        return {
            "train": [{"input": grid(), "output": grid()} for _ in range(2)],
            "test": [{"input": grid(), "output": grid()} for _ in range(tests)],
        }

    sets = {name: {f"{name}{i}": task(i) for i in range(1, 4)} for name in "abc"}
    sets["c"]["b2"] = sets["b"]["b2"]
    for name, tasks in sets.items():
        (folder / "raw" / name).mkdir(parents=True)
        for key, value in tasks.items():
            (folder / "raw" / name / f"{key}.json").write_text(json.dumps(value))
    build(
        arc.Dataset(puzzle="arc", raw=folder / "raw", num_aug=30, subsets=["a", "b", "c"], test_sets=["b", "c"]),
        folder / "data",
    )
    return folder / "data"


def vote_right(data, tasks, sure=True):
    """Every example of the test split votes, for its solution or, but for one variant, for its input."""
    split, variants = read_split(data / "test"), read_variants(data, list(tasks))
    votes = Votes(tasks)
    for rows in np.array_split(np.arange(len(split)), 5):
        inputs, labels, _ = split.take(rows)
        bare = np.isin(rows, split.base_rows())
        votes.add(
            *variants.take(rows), inputs, labels if sure else np.where(bare[:, None], labels, inputs), rows * 0.0, rows
        )
    return votes, split


def test_labels_of_all_variants_vote_for_the_solutions(data, tmp_path):
    materialize(data, tmp_path / "stored")
    (tmp_path / "stored/test/all__variants.npy").unlink()  # as published
    for folder in (data, tmp_path / "stored"):
        tasks = read_test_tasks(folder)
        votes, split = vote_right(folder, tasks)
        assert (votes.foreign, votes.empty) == (0, 0)
        table = votes.table()
        assert set(table["task"]) == {"b1", "b2", "b3", "c1", "c2", "c3"}
        assert (table["answers"] == table["test_inputs"]).all()
        assert (table[["pass@1", "pass@1000"]] == 1).all(axis=None)
        assert table["votes"].sum() == len(split)
        found = dict(zip(table["task"], table["votes"], strict=True))
        assert found["b2"] == 2 * found["c2"] == 2 * 2 * 31  # the task of both sets is one, and votes twice


def test_a_rare_right_answer_is_found_behind_the_common_ones(data):
    votes, _ = vote_right(data, read_test_tasks(data), sure=False)
    found = votes.pass_at([1, 2])
    assert found[1].tolist() == [0.0] * 6
    assert found[2].tolist() == [1.0] * 6


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("test_puzzles.json", lambda tasks: {}, "test_puzzles.json: no task"),
        ("test_puzzles.json", lambda tasks: {k: v for k, v in tasks.items() if k != "c1"}, "has no task c1"),
        ("test_puzzles.json", lambda tasks: tasks | {"c1": []}, "task c1: not a task, expected test pairs"),
        ("test_puzzles.json", lambda tasks: tasks | {"c1": {"test": [{}]}}, "task c1: not a task, expected test pairs"),
        (
            "test_puzzles.json",
            lambda tasks: tasks | {"c1": {"test": [{"input": [[1], [1, 2]]}]}},
            "task c1, test pair 1, input, row 2: 2 cells, expected 1 as in row 1",
        ),
        (
            "test_puzzles.json",
            lambda tasks: tasks | {"c1": {"test": [{"input": [[1]], "output": [[10]]}]}},
            "task c1, test pair 1, output, row 1: the cell 10, expected a colour",
        ),
        (
            "test_puzzles.json",
            lambda tasks: tasks | {"c1": {"test": [{"input": pair["input"]} for pair in tasks["c1"]["test"]]}},
            "task c1: a test pair has no output, expected one to score by",
        ),
        ("identifiers.json", lambda names: names[:50], "identifiers.json: 50 names, expected one of identifier"),
        ("identifiers.json", lambda names: [3] * len(names), "identifiers.json: 3, expected names"),
        ("identifiers.json", lambda names: ["c1|||t9|||0"] * len(names), r"puzzle c1\|\|\|t9\|\|\|0: expected TASK"),
    ],
)
def test_what_cannot_be_scored_is_told(data, tmp_path, file, change, problem):
    for name in ("test_puzzles.json", "identifiers.json"):
        content = json.loads((data / name).read_text())
        (tmp_path / name).write_text(json.dumps(change(content) if name == file else content))
    (tmp_path / "test").symlink_to(data / "test")
    with pytest.raises(BadInput, match=problem):
        vote_right(tmp_path, read_test_tasks(tmp_path))[0].pass_at()
