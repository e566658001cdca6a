"""What the documents say of files, keys, experiments, tokens and weights is so."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from trm import puzzles
from trm.bench.train import CASES
from trm.config import Dataset, Experiment, dataset_section, load_folder, puzzle_names
from trm.models import build_model

ROOT = Path(__file__).parents[1]
OURS = [ROOT / "README.md", ROOT / "config/README.md", *sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("recipes/*/*.md")])]
DOCUMENTS = [*OURS, *(path for path in sorted(ROOT.glob("*.md")) if path not in OURS)]  # others may tell of what is not
FILES = load_folder(ROOT / "config/experiments")  # the experiments that each file stands for
EXPERIMENTS = {found.name: found for several in FILES.values() for found in several}
PUZZLES = (ROOT / "docs/puzzles.md").read_text()
MODEL = (ROOT / "docs/model.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PUZZLES, re.M))
DESCRIBED = [section for section in SECTIONS if section != "What is common"]  # a new puzzle may come without a section


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text, each as its rows of cells, the line below the header left out."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in row] for i, row in enumerate(table) if i != 1] for table in rows]


def table(text: str, header: str) -> list[list[str]]:
    """The rows of the one table whose first column is called `header`."""
    [found] = [rows for rows in tables(text) if rows[0][0] == header]
    return found[1:]


def facts(puzzle: str) -> dict[str, str]:
    return {row[0]: row[1] for row in table(SECTIONS[puzzle], "")}


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# All documents


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(document):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("document", OURS, ids=name)
def test_every_experiment_that_is_named_exists(document):
    known = {*FILES, *EXPERIMENTS, *CASES, *examples()}
    prefixes = {experiment.split("-")[0] for experiment in FILES}
    text = document.read_text()
    named = re.findall(r"\b(?:experiments|runs|extends:)[/ ]([a-z0-9][a-z0-9-]+)(?=\.yaml|/|\n)", text)
    named += re.findall(rf"(?<![/\w-])(?:{'|'.join(prefixes)})-[a-z0-9*-]*[a-z0-9*]", text)
    for word in set(named):
        if word.endswith("-*"):
            assert any(experiment.startswith(word[:-1]) for experiment in FILES), word
        else:
            assert word in known, word


def examples() -> list[str]:
    """Experiments that a script in examples/ defines, and a document shows."""
    return [found for path in ROOT.glob("examples/*.py") for found in re.findall(r'"name": "(.+?)"', path.read_text())]


@pytest.mark.parametrize("document", OURS, ids=name)
def test_every_configuration_key_that_is_named_exists(document):
    sections = {key: [field.annotation] for key, field in Experiment.model_fields.items()}
    sections["dataset"] = [dataset_section(puzzle) for puzzle in puzzle_names()]
    text = re.sub(r"[\w/.-]+\.(?:md|json|py|yaml|safetensors)\b", "", document.read_text())  # files
    for section, key in re.findall(r"\b(dataset|model|training|evaluation|logging|resources)\.(\w+)", text):
        assert any(key in model.model_fields for model in sections[section]), f"{section}.{key}"


# docs/puzzles.md


def module(puzzle: str) -> ModuleType:
    return puzzles.module(puzzle)


def blocks(puzzle: str) -> dict[str, str]:
    """The fenced blocks of a section by their kind: yaml, text, input, label."""
    return dict(re.findall(r"^```(\w+)\n(.*?)^```$", SECTIONS[puzzle], re.M | re.S))


def example(puzzle: str) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """The section's example: dataset; what `read` makes of the text, tokens of input and label, each [1, seq_len]."""
    found = blocks(puzzle)
    dataset = dataset_section(puzzle).model_validate(yaml.safe_load(found["yaml"]))
    boards = (tokens(found[kind], module(puzzle).seq_len(dataset)) for kind in ("input", "label"))
    return dataset, module(puzzle).read(dataset, found["text"]), *boards


def tokens(block: str, seq_len: int) -> np.ndarray:
    """A board [1, seq_len] from its tokens: rows of a square board, or one row in several lines; PAD where it ends."""
    rows = [[*map(int, line.split())] for line in block.splitlines()]
    side = round(seq_len**0.5)
    if side**2 == seq_len:
        rows = [row + [0] * (side - len(row)) for row in rows]
    board = [token for row in rows for token in row]
    return np.array([board + [0] * (seq_len - len(board))])


def test_every_section_is_of_a_puzzle_and_has_a_row_of_the_overview():
    assert set(DESCRIBED) <= set(puzzle_names())
    rows = [re.findall(r"\[(\w+)\]\(#\1\)", row[0]) for row in table(PUZZLES, "puzzle")]
    assert rows == [[puzzle] for puzzle in DESCRIBED]


def test_the_overview_has_the_sizes_of_the_experiments_that_it_names():
    for puzzle, experiment, *told in table(PUZZLES, "puzzle"):
        dataset = EXPERIMENTS[experiment].dataset
        assert f"[{dataset.puzzle}]" in puzzle
        own = module(dataset.puzzle)
        assert [*map(int, told)] == [own.vocab_size(dataset), own.seq_len(dataset), dataset.num_aug]


@pytest.mark.parametrize("puzzle", DESCRIBED)
def test_the_example_text_is_read_as_the_tokens_shown(puzzle):
    _, found, shown, _ = example(puzzle)
    np.testing.assert_array_equal(found, shown)


@pytest.mark.parametrize("puzzle", DESCRIBED)
def test_the_example_label_is_a_valid_answer(puzzle):
    dataset, inputs, _, label = example(puzzle)
    assert label.any()
    assert module(puzzle).is_valid(dataset, inputs, label).all()


@pytest.mark.parametrize("puzzle", DESCRIBED)
def test_the_token_table_counts_the_vocabulary_of_every_experiment(puzzle):
    rows = table(SECTIONS[puzzle], "token")
    datasets = [found.dataset for found in EXPERIMENTS.values() if found.dataset.puzzle == puzzle]
    for dataset in [*datasets, example(puzzle)[0]]:
        numbers = {"N": getattr(dataset, "size", None), "D": getattr(dataset, "most_disks", None)}
        told = []
        for span, meaning in rows:
            only = re.search(r"only with `(\w+): (\w+)`", meaning)
            if only and getattr(dataset, only[1]) != only[2]:
                continue
            first, *last = (number_of(part, numbers) for part in span.split(".."))
            told += range(first, (last or [first])[0] + 1)
        assert told == [*range(module(puzzle).vocab_size(dataset))], dataset


def number_of(text: str, numbers: dict[str, int | None]) -> int:
    """The value of 7, N or N + 1."""
    return sum(numbers[part] if part in numbers else int(part) for part in text.split(" + "))


@pytest.mark.parametrize("puzzle", DESCRIBED)
def test_the_facts_of_a_puzzle_are_those_of_its_module(puzzle):
    own, told = module(puzzle), facts(puzzle)
    dataset, inputs, _, label = example(puzzle)
    assert tuple(code(told["leak"])) == own.LEAKS
    measured = {
        "difficulty": own.difficulty(dataset, inputs, label) if hasattr(own, "difficulty") else {},
        "figures": own.metrics(dataset, inputs, label, label) if hasattr(own, "metrics") else {},
    }
    for fact, found in measured.items():
        words = [word for word in code(told.get(fact, "")) if "." not in word]  # no keys
        assert set(words) <= set(found), fact
        assert {re.sub(r"\d", "", key) for key in found} == {re.sub(r"\d", "", word) for word in words}, fact


@pytest.mark.parametrize("puzzle", DESCRIBED)
def test_the_experiments_that_are_listed_are_of_the_puzzle(puzzle):
    listed = re.findall(r"[a-z0-9][a-z0-9-]*", facts(puzzle)["experiments"].replace("ablations of the paper", ""))
    assert set(listed) <= {stem for stem, several in FILES.items() if several[0].dataset.puzzle == puzzle}


@pytest.mark.parametrize("puzzle", [puzzle for puzzle in DESCRIBED if module(puzzle).SOURCES])
def test_a_link_to_raw_data_is_one_that_the_module_downloads_from(puzzle):
    """Of the pinned files: the page of the data set is the beginning of every address."""
    linked = re.findall(r"\]\((https://[^)]+)\)", facts(puzzle)["data"])
    for source in module(puzzle).SOURCES.values():
        assert any(source.url.startswith(f"{link}/resolve/") for link in linked), source.url


# docs/model.md


def test_the_names_of_the_model_stand_in_the_files_that_are_named():
    for _, names, where, keys in table(MODEL, "in the paper"):
        [(shown, path)] = re.findall(r"\[(.+)\]\((.+)\)", where)
        assert path == f"../src/trm/{shown}"
        text = (ROOT / "docs" / path).read_text()
        assert code(names)
        for word in code(names):
            identifier = re.match(r"\w+", word)[0]
            assert re.search(rf"\b{identifier}\b", text), f"{word} in {shown}"
        assert re.sub(r"`(model|training)\.\w+`|, ", "", keys) == ""


def test_a_variants_experiment_sets_the_keys_that_turn_it_on():
    variants = re.findall(r"^\*\*(.+?)\*\* \((.+?)\)\. ", MODEL, re.M | re.S)
    assert len(variants) == len(re.findall(r"^\*\*", MODEL, re.M)) > 0
    for variant, heading in variants:
        keys, experiments = re.split(r"; ", " ".join(heading.split()))
        for key in code(keys):
            section, name, value = re.fullmatch(r"(model|training)\.(\w+)(?:: (.+))?", key).groups()
            for experiment in experiments.split(", "):
                found = getattr(getattr(EXPERIMENTS[experiment], section), name)
                default = getattr(Experiment.model_fields[section].annotation(), name)
                assert found != default, f"{variant}: {key}"
                assert value is None or found == yaml.safe_load(value), f"{variant}: {key}"


def test_the_published_networks_have_as_many_weights_as_is_said():
    rows = table(MODEL, "experiment")
    for experiment, _, weights, published in rows:
        found = EXPERIMENTS[experiment]
        own, dataset = module(found.dataset.puzzle), found.dataset
        network = build_model(found.model, own.vocab_size(dataset), own.seq_len(dataset), 1)
        count = sum(parameter.numel() for parameter in network.parameters())
        assert f"{count:,}" == weights
        assert published in ("", f"{count / 1e6:.0f}M")


def test_the_numbers_of_the_recursion_are_the_published_experiments():
    model = EXPERIMENTS["sudoku-extreme-mlp"].model
    calls = model.H_cycles * (model.L_cycles + 1)
    words = " ".join(MODEL.split())
    assert f"published {model.H_cycles} H_cycles and {model.L_cycles} L_cycles" in words
    assert f"applies f {calls} times, {model.L_cycles + 1} of them with gradient" in words
    assert f"f being {model.L_layers} blocks, that is {calls * model.L_layers} blocks" in words


# docs/experiments.md


def test_what_an_experiment_is_said_to_ask_for_stands_in_its_file():
    rows = table((ROOT / "docs/experiments.md").read_text(), "experiment")
    for experiment, gpus, steps, *_ in rows:
        found = EXPERIMENTS[experiment]
        assert int(gpus) == found.resources.gpus, experiment
        assert int(steps.partition(" of ")[2]) == found.training.global_batch_size, experiment
