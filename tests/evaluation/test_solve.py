"""`trm solve`: a run's answers to puzzles written as text, by step, in the terminal and as an animation."""

import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from trm.cli import main
from trm.config import check
from trm.data.build import build
from trm.data.layout import content_hash
from trm.evaluation.solve import Puzzle, Solution, puzzle_from, solve
from trm.files import BadInput, read_json, write_json, write_text
from trm.models import build_model
from trm.puzzles import arc, hanoi, sudoku
from trm.reporting.solutions import print_solutions
from trm.runs import write_run

CPU = torch.device("cpu")


def text_of(board: np.ndarray) -> str:
    return "".join(" .1234"[token] for token in board)


@pytest.fixture(scope="module")
def evaluated(tiny_run):
    """What the evaluation says of the tiny run's 20 test boards, by another loop over the steps."""
    with np.load(tiny_run / "predictions.npz") as table:
        return dict(table)


def answers(run, *texts, data=None, steps=None) -> list[list[Solution]]:
    return [found for _, found in solve(run, [puzzle_from(text) for text in texts], data, steps, CPU)]


def test_the_last_answer_is_that_of_the_evaluation(tiny_run, evaluated):
    found = [one for [one] in answers(tiny_run, *map(text_of, evaluated["inputs"]))]
    assert len(found) == 20
    np.testing.assert_array_equal([one.inputs for one in found], evaluated["inputs"])
    np.testing.assert_array_equal([one.answers[-1] for one in found], evaluated["predictions"])
    np.testing.assert_array_equal([one.valid[-1] for one in found], evaluated["valid"])
    by_step = 1 / (1 + np.exp(-evaluated["q_halt"].astype(float)))
    np.testing.assert_allclose([one.halting for one in found], by_step, rtol=1e-5)


def test_more_steps_go_on_from_the_same_first_ones(tiny_run, evaluated):
    text = text_of(evaluated["inputs"][0])
    [[short]], [[long]] = answers(tiny_run, text), answers(tiny_run, text, steps=5)
    assert len(short.answers) == 2
    assert len(long.answers) == len(long.halting) == len(long.valid) == 5
    np.testing.assert_array_equal(long.answers[:2], short.answers)
    np.testing.assert_array_equal(long.valid, sudoku.is_valid(long.dataset, np.tile(long.inputs, (5, 1)), long.answers))


def untrained_run(folder, data: list, experiment: dict, seed: int = 0):
    """A finished run as a training of no steps would leave it, but for a puzzle embedding that is not zero."""
    experiment = check(experiment, "test")
    facts = []
    for dataset, place in zip(experiment.datasets, data, strict=True):
        metadata = read_json(place / "train/dataset.json")
        known = {"name": dataset.name, "content_sha256": content_hash(place)}
        facts.append({**known, "num_puzzle_identifiers": metadata["num_puzzle_identifiers"]})
    identifiers = 1 + sum(known["num_puzzle_identifiers"] - 1 for known in facts)
    model = build_model(experiment.model, metadata["vocab_size"], metadata["seq_len"], identifiers, seed)
    if model.puzzle_emb is not None:
        model.puzzle_emb.weights.normal_(generator=torch.Generator().manual_seed(seed))
    write_text(folder.with_name("metrics.jsonl"), "")
    about = {"data": facts[0], "more_data": facts[1:], "seed": seed, "weights": {"step": 0}}
    write_run(folder, experiment, model.state_dict(), folder.with_name("metrics.jsonl"), about)
    return model


SMALL = {
    "hidden_size": 16,
    "num_heads": 2,
    "L_layers": 1,
    "H_cycles": 1,
    "L_cycles": 1,
    "puzzle_emb_ndim": 0,
    "halt_max_steps": 3,
    "forward_dtype": "float32",
}


def test_a_model_in_noise_gives_a_puzzle_the_same_answer_wherever_it_stands(tmp_path, tiny_data, tiny_experiment):
    section = tiny_experiment.dataset.model_dump(mode="json")
    experiment = {
        "name": "noisy",
        "dataset": section,
        "model": {**SMALL, "random_starts": True, "state_noise": 0.5},
    }
    untrained_run(tmp_path / "run", [tiny_data], experiment)
    texts = ["1234341221434321", "1.34341221434321", "12343412214.4321"]
    together = answers(tmp_path / "run", *texts)
    for text, [there] in zip(texts, together, strict=True):
        [[alone]] = answers(tmp_path / "run", text)
        np.testing.assert_array_equal(alone.answers, there.answers)
        np.testing.assert_array_equal(alone.halting, there.halting)


def test_equal_boards_of_a_puzzle_get_the_same_noise(tmp_path, tasks):
    same = task(9)
    (tmp_path / "twice.json").write_text(json.dumps({**same, "test": same["test"] * 2}), encoding="utf-8")
    experiment = {"name": "noisy", "dataset": tasks.section, "model": {**SMALL, "random_starts": True}}
    untrained_run(tmp_path / "run", tasks.data[:1], experiment)
    [[one, two]] = answers(tmp_path / "run", str(tmp_path / "twice.json"))
    np.testing.assert_array_equal(one.answers, two.answers)


# Tasks with an embedding of their own


def task(seed: int, tests: int = 1) -> dict:
    random = np.random.default_rng(seed)

    def pair() -> dict:
        return {side: random.integers(0, 10, (3, 4)).tolist() for side in ("input", "output")}

    return {"train": [pair()], "test": [pair() for _ in range(tests)]}


class Tasks:
    """Two datasets of two ARC tasks each, their task files, and a run on both."""

    def __init__(self, folder):
        self.folder, self.run = folder, folder / "run"
        self.data, sections = [], []
        for number, names in enumerate((["one", "two"], ["three", "four"])):
            raw = folder / f"raw{number}"
            (raw / "set").mkdir(parents=True)
            for name in names:
                write_json(raw / "set" / f"{name}.json", task(len(name), tests=2))
            keys = {"puzzle": "arc", "num_aug": 1, "subsets": ["set"], "test_sets": ["set"], "seed": number}
            build(arc.Dataset(**keys, raw=raw), folder / f"data{number}")
            self.data.append(folder / f"data{number}")
            sections.append(keys)
        self.section, *others = sections
        model = {**SMALL, "puzzle_emb_ndim": 16, "puzzle_emb_len": 1}
        experiment = {"name": "tasks", "dataset": self.section, "more_datasets": others, "model": model}
        self.model = untrained_run(self.run, self.data, experiment)

    def asked(self, name: str) -> str:
        """One and the same task in a file of this name."""
        path = self.folder / f"{name}.json"
        write_json(path, task(9, tests=2))
        return str(path)

    def by_identifier(self, number: int) -> np.ndarray:
        """The first answers [2, 900] to that task under an identifier of the network."""
        inputs = torch.from_numpy(arc.read(None, json.dumps(task(9, tests=2))).astype(np.int32))
        with torch.inference_mode():
            rows = self.model.puzzle_rows(torch.tensor([number, number]))
            return self.model(self.model.initial_state(2), inputs, rows)[1].argmax(-1).numpy()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return Tasks(tmp_path_factory.mktemp("tasks"))


@pytest.mark.parametrize(("place", "name"), [(0, "one"), (0, "two"), (1, "three"), (1, "four")])
def test_a_task_is_answered_by_its_own_embedding(tasks, place, name):
    number = read_json(tasks.data[place] / "identifiers.json", list).index(name)
    number += place * (len(read_json(tasks.data[0] / "identifiers.json", list)) - 1)
    [found] = answers(tasks.run, tasks.asked(name), data=tasks.data[place])
    assert len(found) == 2  # test inputs
    np.testing.assert_array_equal([one.answers[0] for one in found], tasks.by_identifier(number))
    assert (tasks.by_identifier(number) != tasks.by_identifier(0)).any()


def test_a_task_that_the_run_was_not_trained_on_is_refused_with_what_to_do(tasks):
    with pytest.raises(BadInput, match=r"five\.json: a task called 'five': TRM knows those alone that it was trained "):
        answers(tasks.run, tasks.asked("five"), data=tasks.data[0])
    with pytest.raises(BadInput, match=r"a task called 'three': .* expected one of --data; .* add it to dataset\.raw"):
        answers(tasks.run, tasks.asked("three"), data=tasks.data[0])
    with pytest.raises(BadInput, match=r"a task without a name, which a file TASK\.json has"):
        answers(tasks.run, json.dumps(task(9)), data=tasks.data[0])


def test_a_task_needs_the_dataset_that_the_run_was_trained_on(tasks, tiny_data):
    with pytest.raises(BadInput, match="run: TRM knows a task by an embedding of its own, expected --data with"):
        answers(tasks.run, tasks.asked("one"))
    with pytest.raises(BadInput, match=r"data: content [0-9a-f]{12}, expected one of the datasets of .*run: arc-"):
        answers(tasks.run, tasks.asked("one"), data=tiny_data)
    with pytest.raises(BadInput, match=r"nowhere/identifiers\.json: no such file"):
        answers(tasks.run, tasks.asked("one"), data=tasks.folder / "nowhere")


def test_an_imported_run_that_knows_no_dataset_takes_one_of_its_size(tmp_path, tasks):
    model = {**SMALL, "puzzle_emb_ndim": 16, "puzzle_emb_len": 1}
    untrained_run(tmp_path / "run", tasks.data[:1], {"name": "imported", "dataset": tasks.section, "model": model})
    facts = read_json(tmp_path / "run/provenance.json")
    facts["data"] = {"name": "arc", "content_sha256": None}
    write_json(tmp_path / "run/provenance.json", facts)
    assert len(answers(tmp_path / "run", tasks.asked("two"), data=tasks.data[0])[0]) == 2
    other = tmp_path / "data"
    other.mkdir()
    write_json(other / "identifiers.json", ["<blank>", "two"])
    with pytest.raises(BadInput, match=r"identifiers\.json: 2 puzzles, expected the 5 of"):
        answers(tmp_path / "run", tasks.asked("two"), data=other)


# Where puzzles come from


def test_an_argument_is_a_file_where_there_is_one_and_else_the_puzzle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.txt").write_text("1...\n", encoding="utf-8")
    assert puzzle_from("board.txt") == Puzzle("board", "board.txt", "1...\n")
    assert puzzle_from("other.txt") == Puzzle("", "puzzle 'other.txt' (not a file)", "other.txt")
    assert puzzle_from("." * 5000).text == "." * 5000
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("é1\n".encode())))
    assert puzzle_from("-") == Puzzle("", "standard input", "é1\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"12\xff")))
    with pytest.raises(BadInput, match="standard input: byte 2 is not UTF-8"):
        puzzle_from("-")


# The command


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `trm solve` in this process; returns status, stdout and stderr."""

    def run(*arguments, stdin: bytes = b""):
        monkeypatch.setattr("sys.argv", ["trm", "solve", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def digits(lines: list[str]) -> list[int]:
    """The cells of a 4x4 board as the terminal shows it; 0 for what is no digit."""
    cells = [re.sub("[│ ]", "", line) for line in lines if "│" in line]
    return [int(cell) if cell.isdigit() else 0 for row in cells for cell in row]


def shown(solution: Solution, step: int) -> list[int]:
    """The same of a solution, givens kept."""
    said = np.where(solution.inputs > 1, solution.inputs, solution.answers[step])
    return [int(token) - 1 if 1 < token < 6 else 0 for token in said]


def summary(solution: Solution) -> list[str]:
    steps = " ".join(f"{100 * probability:.0f}" for probability in solution.halting)
    valid = "yes" if solution.valid[-1] else "no"
    return [f"valid: {valid}", f"steps: {len(solution.halting)}, halting probability by step: {steps} %"]


def test_the_answer_is_drawn_with_whether_it_is_valid_and_when_it_would_halt(command, tiny_run, evaluated):
    for board in evaluated["inputs"][:3]:
        [[solution]] = answers(tiny_run, text_of(board))
        status, out, err = command(tiny_run, text_of(board), "--device", "cpu")
        assert (status, err) == (0, "")
        assert digits(out.splitlines()) == shown(solution, -1)
        assert out.splitlines()[-2:] == summary(solution)


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input_is_read_where_no_puzzle_is_given(command, tiny_run, evaluated, arguments):
    board = evaluated["inputs"][4]
    status, out, _ = command(tiny_run, *arguments, stdin=text_of(board).encode())
    assert status == 0
    assert digits(out.splitlines()) == shown(answers(tiny_run, text_of(board))[0][0], -1)


def test_the_trace_draws_the_answer_after_every_step(command, tiny_run, evaluated):
    text = text_of(evaluated["inputs"][0])
    [[solution]] = answers(tiny_run, text, steps=4)
    out = command(tiny_run, text, "--trace", "--steps", 4)[1]
    _, *blocks = re.split(r"^step (\d+) of 4, halting probability (\d+) %$", out, flags=re.MULTILINE)
    assert blocks[::3] == ["1", "2", "3", "4"]
    assert blocks[1::3] == [f"{100 * probability:.0f}" for probability in solution.halting]
    for step, block in enumerate(blocks[2::3]):
        assert digits(block.splitlines()) == shown(solution, step)
    assert out.splitlines()[-2:] == summary(solution)


def test_several_puzzles_are_answered_one_after_the_other_under_their_names(command, tiny_run, evaluated, tmp_path):
    first, second = map(text_of, evaluated["inputs"][:2])
    (tmp_path / "second.txt").write_text(f"\ufeff{second}\r\n", encoding="utf-8")  # as some editors write it
    status, out, _ = command(tiny_run, first, tmp_path / "second.txt")
    assert status == 0
    lines = out.splitlines()
    middle = lines.index(str(tmp_path / "second.txt"))
    assert lines[0] == f"puzzle '{first}' (not a file)"
    for text, part in ((first, lines[1:middle]), (second, lines[middle + 1 :])):
        [[solution]] = answers(tiny_run, text)
        assert digits(part) == shown(solution, -1)
        assert part[-2:] == summary(solution)


def test_the_animation_has_a_frame_for_every_step(command, tiny_run, evaluated, tmp_path):
    text, out = text_of(evaluated["inputs"][0]), tmp_path / "new" / "steps.gif"
    assert command(tiny_run, text, "--steps", 3, "--gif", out)[0] == 0
    with Image.open(out) as picture:
        assert picture.format == "GIF"
        assert picture.n_frames == 3
    before = out.read_bytes()
    command(tiny_run, text, "--steps", 3, "--gif", out)
    assert out.read_bytes() == before


def test_a_task_with_two_test_inputs_is_answered_board_by_board(command, tasks, tmp_path):
    out = tmp_path / "task.gif"
    status, printed, _ = command(tasks.run, tasks.asked("two"), "--data", tasks.data[0], "--gif", out)
    assert status == 0
    assert re.findall(r"^board \d of 2$", printed, re.MULTILINE) == ["board 1 of 2", "board 2 of 2"]
    assert len(re.findall(r"^reads as one grid: (?:yes|no)$", printed, re.MULTILINE)) == 2
    with Image.open(out) as picture:
        assert picture.n_frames == 2 * 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1234"], "puzzle '1234' (not a file): 4 cells, expected 16: 4 rows of 4"),
        (["x" * 5000], "puzzle 'xxxx"),
        (["no.txt"], "puzzle 'no.txt' (not a file): line 1, character 1: 'n', expected a digit 1 to 4"),
        (["11" + "." * 14], "the digit 1 stands twice in row 1, expected once"),
        (["123....4........"], "the board has no solution, expected one"),
        (["." * 16], "the board has several solutions, expected one"),
        (["bad.txt"], "bad.txt: line 2, character 1: '?'"),
        (["bytes.txt"], "bytes.txt: byte 0 is not UTF-8"),
        (["-"], "standard input: 0 cells, expected 16"),
        (["1234341221434321", "12"], "puzzle '12' (not a file): 2 cells"),
        (["1234341221434321", "1234341221434321", "--gif", "a.gif"], "--gif: 2 puzzles given, expected one"),
        (["1234341221434321", "--gif", "a.png"], "--gif a.png: expected a name that ends in .gif"),
        (["1234", "--gif", "a.gif"], "4 cells, expected 16"),
        (["1234341221434321", "--steps", "0"], "--steps"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(command, tiny_run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.txt").write_text("1234\n?...\n", encoding="utf-8")
    (tmp_path / "bytes.txt").write_bytes(b"\xff")
    status, out, err = command(tiny_run, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("trm: ")
    assert words in err
    assert err.count("\n") == 1
    assert len(err) < 250
    assert {path.name for path in tmp_path.iterdir()} == {"bad.txt", "bytes.txt"}


def test_a_folder_without_a_run_is_refused(command, tmp_path):
    status, _, err = command(tmp_path, "1234341221434321")
    assert status == 2
    assert "no provenance.json, expected the folder of a finished run" in err


def test_a_run_whose_weights_are_not_whole_is_refused(command, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:100])
    status, out, err = command(run, "1234341221434321")
    assert (status, out) == (2, "")
    assert "model.safetensors: not a whole safetensors file" in err
    assert err.count("\n") == 1


def test_a_wide_board_is_neither_cut_nor_wrapped(capsys):
    dataset = hanoi.Dataset(puzzle="hanoi")
    inputs = hanoi.read(dataset, "111111111>3")[0]  # 9 disks: 53 cells, 106 columns
    solution = Solution(dataset, inputs, np.tile(inputs, (2, 1)), np.array([True, False]), np.array([0.5, 0.996]))
    print_solutions(Puzzle("", "tower", ""), [solution], trace=False, named=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["valid: no", "steps: 2, halting probability by step: 50 100 %"]  # of the last answer
    floor = [line for line in lines if "─" in line]
    assert len(floor) == 1
    assert len(floor[0]) == 106
