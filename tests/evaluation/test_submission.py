"""Submissions are read strictly, merged and scored as a slow, obvious count does."""

import copy
import csv
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trm.cli import main
from trm.evaluation.metrics import bootstrap
from trm.evaluation.submission import merge, read_submission, score

grids = st.sampled_from([[[0]], [[1]], [[1, 2]], [[1], [2]], [[0, 0], [0, 0]]])
entries = st.fixed_dictionaries({"attempt_1": grids, "attempt_2": grids})
COUNTS = {"a": 1, "b": 2, "c": 3}  # test inputs of each task


def tasks(value, least=1):
    """Some of the tasks, with a value for each test input."""
    all_of = {name: st.lists(value, min_size=n, max_size=n) for name, n in COUNTS.items()}
    return st.fixed_dictionaries({}, optional=all_of).filter(lambda found: len(found) >= least)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("submissions")


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def slow_merge(submissions):
    merged = {}
    for name in {name: None for submission in submissions for name in submission}:
        of_task = [submission[name] for submission in submissions if name in submission]
        merged[name] = []
        for said in zip(*of_task, strict=True):
            seen, weight = [], []
            for entry in said:
                first, second = entry["attempt_1"], entry["attempt_2"]
                for grid, points in ((first, 2), (second, 1)):
                    if grid not in seen:
                        seen.append(grid)
                        weight.append(0)
                    if first == second and (points == 1 or grid == [[0]]):
                        continue
                    weight[seen.index(grid)] += points
            places = [i for i in range(len(seen)) if weight[i] > 0] or [0]
            best = max(places, key=lambda i: (weight[i], -i))
            rest = [i for i in places if i != best]
            second = max(rest, key=lambda i: (weight[i], -i)) if rest else best
            merged[name].append({"attempt_1": seen[best], "attempt_2": seen[second]})
    return merged


@settings(max_examples=200, deadline=None)
@given(st.lists(tasks(entries), min_size=1, max_size=5))
def test_merging_is_that_of_a_slow_count(folder, submissions):
    paths = [write(folder / f"{i}.json", submission) for i, submission in enumerate(submissions)]
    assert merge(paths) == slow_merge(submissions)


@given(tasks(entries))
def test_a_submission_merged_with_itself_or_nothing_is_itself(folder, submission):
    path = write(folder / "one.json", submission)
    nothing = {name: [{"attempt_1": [[0]], "attempt_2": [[0]]} for _ in range(n)] for name, n in COUNTS.items()}
    assert read_submission(path) == submission
    assert merge([path]) == submission
    assert merge([path, path, path]) == submission
    merged = merge([write(folder / "nothing.json", nothing), path])
    assert merged == nothing | submission


def test_two_second_attempts_weigh_as_much_as_a_first_and_ties_go_to_the_earlier_file(tmp_path):
    def said(first, second):
        return {"a": [{"attempt_1": [[first]], "attempt_2": [[second]]}]}

    one, two, three = (write(tmp_path / f"{i}.json", said(*of)) for i, of in enumerate(((1, 2), (3, 2), (4, 2))))
    assert merge([one, two])["a"] == said(1, 2)["a"]  # 2 each for 1, 2 and 3: in order of appearance
    assert merge([two, one])["a"] == said(3, 2)["a"]
    assert merge([one, two, three])["a"] == said(2, 1)["a"]


@settings(max_examples=100, deadline=None)
@given(tasks(grids), st.data(), st.booleans())
def test_a_score_is_that_of_a_slow_count(folder, solutions, data, as_tasks):
    submission = data.draw(tasks(entries))
    submission = {name: submission[name] for name in submission if name in solutions} or {
        name: [{"attempt_1": [[9]], "attempt_2": [[9]]} for _ in said] for name, said in solutions.items()
    }
    pairs = {name: {"train": [], "test": [{"input": [[1]], "output": g} for g in of]} for name, of in solutions.items()}
    paths = write(folder / "s.json", submission), write(folder / "t.json", pairs if as_tasks else solutions)
    table = score(*paths)
    assert table["task"].tolist() == list(solutions)
    for row in table.to_dict("records"):
        right = solutions[row["task"]]
        assert row["test_inputs"] == len(right)
        first = either = 0
        for i in range(len(right)):
            if row["task"] in submission:
                entry = submission[row["task"]][i]
                first += entry["attempt_1"] == right[i]
                either += entry["attempt_1"] == right[i] or entry["attempt_2"] == right[i]
        assert (row["pass@1"], row["pass@2"]) == (first / len(right), either / len(right))


# ---- the commands

SOLUTIONS = {"a": [[[1]]], "b": [[[1, 2]], [[3]]], "c": [[[5]]], "d": [[[6]]]}
SUBMISSION = {
    "a": [{"attempt_1": [[1]], "attempt_2": [[2]]}],
    "b": [{"attempt_1": [[0]], "attempt_2": [[1, 2]]}, {"attempt_1": [[4]], "attempt_2": [[5]]}],
    "c": [{"attempt_1": [[7]], "attempt_2": [[5]]}],
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with a good submission and its solutions: status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.json", SUBMISSION)
    write(tmp_path / "solutions.json", SOLUTIONS)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["trm", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capsys.readouterr()

    return command


def test_score_prints_figures_with_their_count_and_writes_a_row_a_task(run, tmp_path):
    status, out, err = run("score", "good.json", "solutions.json", "--out", "tasks.csv")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    interval = bootstrap(score(tmp_path / "good.json", tmp_path / "solutions.json")["pass@2"].to_numpy())
    assert lines[0].startswith("pass@1           25.0 % (")
    assert lines[1] == f"pass@2           62.5 % ({100 * interval.low:.1f} to {100 * interval.high:.1f}, n = 4)"
    assert lines[2] == "solved           2 of 4 tasks"
    with open(tmp_path / "tasks.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["task", "test_inputs", "pass@1", "pass@2"]
    assert rows[1:] == [
        ["a", "1", "1.0", "1.0"],
        ["b", "2", "0.0", "0.5"],
        ["c", "1", "0.0", "1.0"],
        ["d", "1", "0.0", "0.0"],
    ]


def test_merge_writes_a_submission_that_can_be_scored(run, tmp_path):
    other = {"d": [{"attempt_1": [[6]], "attempt_2": [[6]]}]}
    write(tmp_path / "other.json", other)
    assert run("merge", "good.json", "other.json", "--out", "both.json")[0] == 0
    assert read_submission(tmp_path / "both.json") == SUBMISSION | other
    assert "solved           3 of 4 tasks" in run("score", "both.json", "solutions.json")[1]


def changed(place, value):
    """The good submission with the value at a place of it changed."""
    found = copy.deepcopy(SUBMISSION)
    *path, last = place
    part = found
    for key in path:
        part = part[key]
    part[last] = value
    return json.dumps(found)


A, B = {"attempt_1": [[1]], "attempt_2": [[1]]}, ("b", 1, "attempt_2")
WRONG = [
    ("", "line 1: not valid JSON"),
    ('{"a": [', "line 1: not valid JSON"),
    ("[]", "a list of 0, expected a JSON object"),
    ("{}", "no task, expected an object with tasks by name"),
    ('{"a": [], "a": []}', "key a stands twice"),
    (changed(["b"], {}), "task b: an object of 0, expected a list with an entry for each test input"),
    (changed(["b"], []), "task b: a list of 0, expected a list with an entry for each test input"),
    (changed(["b", 1], [[1]]), "task b, test input 2: a list of 1, expected an object with two attempts"),
    (changed(["b", 1], {"attempt_1": [[1]]}), "task b, test input 2: has no attempt_2, expected attempt_1 and"),
    (changed(["b", 1], A | {"attempt_3": [[1]]}), "task b, test input 2: unknown key attempt_3, expected attempt_1"),
    (changed(B, None), "task b, test input 2, attempt_2: None, expected 1 to 30 rows"),
    (changed(B, []), "task b, test input 2, attempt_2: 0 rows, expected 1 to 30 rows"),
    (changed(B, [[1]] * 31), "task b, test input 2, attempt_2: 31 rows, expected 1 to 30 rows"),
    (changed(B, [1]), "task b, test input 2, attempt_2, row 1: 1, expected 1 to 30 cells"),
    (changed(B, [[]]), "task b, test input 2, attempt_2, row 1: 0 cells, expected 1 to 30 cells"),
    (changed(B, [[1] * 31]), "task b, test input 2, attempt_2, row 1: 31 cells, expected 1 to 30 cells"),
    (changed(B, [[1, 2], [3]]), "task b, test input 2, attempt_2, row 2: 1 cells, expected 2 as in row 1"),
    (changed(B, [[10]]), "row 1: the cell 10, expected a colour from 0 to 9"),
    (changed(B, [[-1]]), "row 1: the cell -1, expected a colour from 0 to 9"),
    (changed(B, [[1.0]]), "row 1: the cell 1.0, expected a colour from 0 to 9"),
    (changed(B, [[True]]), "row 1: the cell True, expected a colour from 0 to 9"),
    (changed(B, [["1"]]), "row 1: the cell 1, expected a colour from 0 to 9"),
]


def refuses(run, tmp_path, words, *arguments):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    status, _, err = run(*arguments)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert err.startswith("trm: ")
    assert words in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("text", "problem"), WRONG)
def test_a_bad_submission_is_told_in_one_line(run, tmp_path, text, problem):
    (tmp_path / "bad.json").write_text(text)
    refuses(run, tmp_path, problem, "score", "bad.json", "solutions.json", "--out", "tasks.csv")
    refuses(run, tmp_path, problem, "merge", "good.json", "bad.json", "--out", "both.json")
    refuses(run, tmp_path, "bad.json: ", "merge", "good.json", "bad.json", "--out", "both.json")


@pytest.mark.parametrize(
    ("solutions", "problem"),
    [
        ({}, "solutions.json: no task"),
        ({"a": [[[1]]]}, "good.json: task b: not in solutions.json, expected tasks with a solution"),
        (SOLUTIONS | {"b": [[[1]]]}, "good.json: task b: 2 test inputs, expected 1 as in solutions.json"),
        (SOLUTIONS | {"b": 3}, "solutions.json: task b: 3, expected a list of output grids, or test pairs"),
        (SOLUTIONS | {"b": []}, "solutions.json: task b: a list of 0, expected a list of output grids"),
        (SOLUTIONS | {"b": {"train": []}}, "solutions.json: task b: None, expected a list of output grids"),
        (SOLUTIONS | {"b": [[[1]], [[1], []]]}, "solutions.json: task b, solution 2, row 2: 0 cells, expected 1 to 30"),
        (
            SOLUTIONS | {"b": {"test": [{"output": [[1]]}, {"input": [[1]]}]}},
            "solutions.json: task b, test pair 2: has no output, expected one to score by",
        ),
    ],
)
def test_solutions_that_do_not_fit_are_told_in_one_line(run, tmp_path, solutions, problem):
    write(tmp_path / "solutions.json", solutions)
    refuses(run, tmp_path, problem, "score", "good.json", "solutions.json", "--out", "tasks.csv")


def test_submissions_that_do_not_fit_each_other_are_told_in_one_line(run, tmp_path):
    write(tmp_path / "other.json", {"b": [{"attempt_1": [[1]], "attempt_2": [[1]]}]})
    problem = "other.json: task b: 1 test inputs, expected 2 as in the files before it"
    refuses(run, tmp_path, problem, "merge", "good.json", "other.json", "--out", "both.json")


def test_a_missing_submission_is_told_in_one_line(run, tmp_path):
    refuses(run, tmp_path, "none.json: no such file", "score", "none.json", "solutions.json")
