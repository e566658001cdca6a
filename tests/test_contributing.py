"""CONTRIBUTING.md followed to the letter: in a copy of the repository its files are written and its commands run."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
GENERATED = {"workflow/schemas/experiment.schema.json", "config/README.md"}  # what `make generated` writes anew


class Recipe:
    """A section of the document: `files` by path, each in a block under its path, and `commands`, in blocks of sh."""

    def __init__(self, title: str):
        self.title = title
        text = DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        assert text, f"no section {title}"
        self.files = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", text, re.M | re.S))
        blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
        self.commands = [command for block in blocks for command in block.splitlines()]


PUZZLE, EXPERIMENT, MODEL = map(Recipe, ("Add a puzzle", "Add an experiment", "Add a model"))


class Copy:
    """The files of the repository, committed in a folder of their own, whose package is the one that is imported."""

    def __init__(self, folder: Path):
        self.folder = folder
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        names += [str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.nb[ci]")]  # numba's, a minute's work
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").mkdir()
        (folder / ".venv/installed").touch()  # `make` need not: the environment of this test has all that it would
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRM_"))}
        paths = {"PATH": path, "PYTHONPATH": str(folder / "src")}
        self.environment = {**own, **paths, "PYTEST_ADDOPTS": "-rp"}  # the tests that pass, by name
        self.run("git init --quiet && git add --all")
        self.run("git -c user.name=x -c user.email=x@x commit --quiet --message copy")

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def run(self, command: str) -> str:
        """What a command prints, which must end well."""
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def follow(self, commands: list[str]) -> dict[str, str]:
        """Run commands one after the other, and print how long each took; returns what they printed."""
        printed = {}
        for command in commands:
            begin = time.monotonic()
            printed[command] = self.run(command)
            print(f"{time.monotonic() - begin:6.1f} s  {command}")
        return printed

    def changes(self) -> dict[str, str]:
        """The files that are not as committed, each with git's letters for it: ?? new, M changed."""
        status = self.run("git status --porcelain --untracked-files=all").splitlines()
        return {line[3:]: line[:2].strip() for line in status}

    def added(self, name: str) -> tuple[int, int]:
        """Lines that were added to a committed file, and lines that were taken away."""
        added, removed, _ = self.run(f"git diff --numstat {name}").split()
        return int(added), int(removed)

    def figures(self, run: str) -> dict:
        return json.loads((self.folder / run / "evaluation.json").read_text())["figures"]


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


@pytest.fixture(scope="module")
def with_puzzle(tmp_path_factory):
    """A copy with the files of the puzzle's recipe, and what was then new or changed."""
    copy = Copy(tmp_path_factory.mktemp("copy"))
    copy.write(PUZZLE.files)
    copy.after_writing = copy.changes()
    return copy


def test_the_commands_to_set_up_exist():
    section = DOCUMENT.partition("\n## Set up\n")[2].partition("\n## ")[0]
    targets = re.findall(r"^    make (\S+)", section, re.M)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
    assert ".ci/run" in section
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_every_file_that_the_document_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", DOCUMENT)
    named = re.findall(r"`((?:src|tests|config)/[\w/.-]+)`", DOCUMENT)
    written = {*PUZZLE.files, *EXPERIMENT.files, *MODEL.files}
    assert links
    assert [name for name in {*links, *named} - written if not (ROOT / name).exists()] == []


def test_a_puzzle_is_a_module_an_experiment_and_a_test(with_puzzle):
    [name] = {Path(path).stem.removeprefix("test_") for path in PUZZLE.files}
    expected = [f"src/trm/puzzles/{name}.py", f"config/experiments/{name}.yaml", f"tests/puzzles/test_{name}.py"]
    assert with_puzzle.after_writing == dict.fromkeys(expected, "??")
    paths = " ".join(path for path in expected if path.endswith(".py"))
    with_puzzle.run(f"ruff check {paths} && ruff format --check {paths}")


@pytest.mark.slow
def test_the_tests_of_every_puzzle_find_a_new_one(with_puzzle):
    commands = [command for command in PUZZLE.commands if not command.startswith("snakemake")]
    printed = "".join(with_puzzle.follow(commands).values())
    for file in ("puzzles/test_takuzu.py", "puzzles/test_contract.py", "reporting/test_explorer.py", "test_config.py"):
        assert f"PASSED tests/{file}::" in printed, file
    with_puzzle.run("pytest tests/test_docs.py")
    assert with_puzzle.changes() == with_puzzle.after_writing | dict.fromkeys(GENERATED, "M")
    for file in GENERATED:
        assert with_puzzle.added(file) > (0, 0)
        assert with_puzzle.added(file)[1] <= 1


@pytest.mark.slow
def test_a_puzzle_runs_up_to_its_report(with_puzzle):
    dry, real = (command for command in PUZZLE.commands if command.startswith("snakemake"))
    assert re.search(r"^train +1$", with_puzzle.follow([dry, real])[dry], re.M)
    results = with_puzzle.folder / "results"
    assert with_puzzle.figures("results/runs/takuzu/seed-0")["valid"]["count"] > 500
    [audit] = results.glob("datasets/takuzu-*/audit.json")
    assert json.loads(audit.read_text())["clean"]
    assert "Takuzu on 6x6 boards" in (results / "report.html").read_text()
    assert "| takuzu | 0 |" in (results / "tables/results.md").read_text()
    assert with_puzzle.changes().keys() - GENERATED == with_puzzle.after_writing.keys()  # results are ignored


@pytest.mark.slow
def test_an_experiment_is_one_file_and_runs(copy):
    copy.write(EXPERIMENT.files)
    [path] = EXPERIMENT.files
    assert copy.changes() == {path: "??"}
    dry, smoke = EXPERIMENT.commands
    assert re.search(r"^train +1$", copy.follow([dry, smoke])[dry], re.M)
    assert copy.figures(f"results/smoke/runs/{Path(path).stem}/seed-0")["exact_accuracy"]["count"] > 0
    assert copy.changes() == {path: "??"}
    copy.run("pytest tests/test_config.py tests/test_published.py -k 'experiment_file or copy or in_the_table'")


def test_the_published_figure_that_is_shown_is_the_end_of_its_file():
    [shown] = re.findall(r"the end of `(\S+)`:\n\n```yaml\n(.*?)^```$", DOCUMENT, re.M | re.S)
    path, text = shown
    assert "published:" in text
    assert (ROOT / path).read_text().endswith(text)


@pytest.mark.slow
def test_a_model_is_a_class_a_patch_and_an_experiment_and_runs(copy):
    copy.write(MODEL.files)
    assert set(copy.changes().values()) == {"??"}
    copy.follow(MODEL.commands)
    touched = {name for name, letter in copy.changes().items() if letter == "M"} - GENERATED
    assert touched == {"src/trm/models/__init__.py", "src/trm/config.py", "tests/models/test_networks.py"}
    paths = " ".join([*touched, "src/trm/models/looped.py"])
    copy.run(f"ruff check {paths} && ruff format --check {paths}")
    run = copy.folder / "results/smoke/runs/sudoku-6x6-looped/seed-0"
    assert copy.figures(str(run))["exact_accuracy"]["count"] > 0
    assert "name: looped" in (run / "config.yaml").read_text()
