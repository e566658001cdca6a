"""`import trm` offers the commands to a script, loads nothing until then, and tells type checkers what it has."""

import ast
import inspect
import os
import signal
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import trm
from tests.conftest import TINY
from trm import library
from trm.files import read_json
from trm.training.stopping import SIGNALS

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "train_and_solve.py"
BOARD = "12..\n..12\n2..3\n.32."


def fresh(program):
    """What a program in a process of its own prints."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_it_loads_nothing():
    loaded = fresh("import sys, trm; trm.__version__, dir(trm); print(*sys.modules)").split()
    assert [name for name in loaded if name.startswith("trm")] == ["trm"]
    assert {"torch", "numpy", "pydantic", "typer"} & set(loaded) == set()


def test_a_name_is_loaded_when_it_is_used():
    assert fresh("import trm; print(trm.puzzles.module('sudoku').__name__)") == "trm.puzzles.sudoku\n"
    assert fresh("import trm; print(trm.solve.__module__)") == "trm.library\n"
    assert not hasattr(trm, "solver")
    assert set(trm.__all__) <= set(dir(trm))


def test_type_checkers_see_every_name_that_there_is_at_run_time():
    tree = ast.parse(Path(trm.__file__).read_text())
    [block] = [node for node in tree.body if ast.unparse(node).startswith("if TYPE_CHECKING:")]
    seen = [alias.name for node in block.body for alias in node.names]
    assert sorted(seen) == sorted(trm.__all__) == sorted([*library.__all__, "puzzles"])
    assert all(getattr(trm, name) is getattr(library, name) for name in library.__all__)
    for name in library.__all__:
        function = getattr(trm, name)
        if inspect.isfunction(function):
            hints = typing.get_type_hints(function)
            assert hints.keys() == {*inspect.signature(function).parameters, "return"}, name
    assert (ROOT / "src/trm/py.typed").exists()


def test_a_run_is_loaded_scored_and_asked(tiny_run, tiny_data, tmp_path):
    run, data = trm.load_run(str(tiny_run)), trm.Dataset(str(tiny_data))
    told = read_json(tiny_run / "evaluation.json")["figures"]
    figures = trm.evaluate(run, data, tmp_path / "out")
    assert {name: figure.as_dict() for name, figure in figures.items()} == told
    assert trm.evaluate(run, data, tmp_path / "out", subset=5)["exact_accuracy"].count == 5
    assert read_json(tmp_path / "out" / "evaluation.json")["examples"] == 5
    [solution] = trm.solve(run, BOARD, steps=3)
    assert solution.answers.shape == (3, 16)
    assert len(trm.as_text(solution).splitlines()) == 7


def test_a_dataset_gives_its_examples(tiny_data):
    data = trm.Dataset(tiny_data)
    inputs, labels, identifiers = data.train.take(np.arange(8))
    assert inputs.shape == labels.shape == (8, 16)
    assert not identifiers.any()
    assert data.section.puzzle == "sudoku"
    assert data.validation is None
    puzzle = trm.puzzles.module(data.section.puzzle)
    assert puzzle.is_valid(data.section, inputs, labels).all()
    assert data.content_sha256 == read_json(tiny_data / "provenance.json")["content_sha256"]


def test_a_training_is_the_commands_and_leaves_signals_alone(tiny_run, tiny_data, tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    run = trm.train(trm.experiment(TINY), trm.Dataset(tiny_data), tmp_path / "run")
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert (run.folder / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()


def test_an_interrupted_training_says_so_and_goes_on(tiny_run, tiny_data, tmp_path, monkeypatch):
    step = library.loop.Trainer.step

    def interrupted(self, number, *arguments):
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, number, *arguments)

    monkeypatch.setattr(library.loop.Trainer, "step", interrupted)
    experiment, data = trm.experiment(TINY), trm.Dataset(tiny_data)
    with pytest.raises(trm.Fault, match="train again to go on"):
        trm.train(experiment, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = trm.train(experiment, data, tmp_path / "run")
    assert (run.folder / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()


def test_wrong_input_is_told_in_one_line(tiny_run, tmp_path):
    run = trm.load_run(tiny_run)
    for wrong, words in (
        (lambda: trm.experiment(TINY, ["training.larning_rate=1"]), "training.larning_rate: unknown key"),
        (lambda: trm.experiment(tmp_path / "no.yaml"), "no such file"),
        (lambda: trm.Dataset(tmp_path), "provenance.json: no such file"),
        (lambda: trm.load_run(tmp_path), "expected the folder of a finished run"),
        (lambda: trm.solve(run, "12"), "puzzle: "),
    ):
        with pytest.raises(trm.BadInput, match=words) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_the_example_in_the_documentation_is_the_one_that_is_run():
    code = EXAMPLE.read_text()
    text = (ROOT / "docs" / "library.md").read_text()
    assert f"```python\n{code}```" in text
    for name in trm.__all__:
        assert f"`trm.{name}" in text, name


def test_the_example_trains_and_solves(tmp_path):
    done = subprocess.run([sys.executable, EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=True)
    *_, last = done.stdout.splitlines()
    assert last == "valid"
    assert "│1 2 │3 4 │" in done.stdout
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= 20
