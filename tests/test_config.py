"""Experiment files mean what the papers say, and every key that is set takes effect or is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trm.config import Experiment, Model, Training, Workflow, check, dataset_section, load_folder, puzzle_names
from trm.files import BadInput, read_yaml

ROOT = Path(__file__).parents[1]
FILES = load_folder(ROOT / "config/experiments")
EXPERIMENTS = [experiment for found in FILES.values() for experiment in found]

SUDOKU = {"name": "a", "dataset": {"puzzle": "sudoku"}}


@pytest.mark.parametrize("file", FILES)
def test_every_experiment_file_stands_for_its_own_name(file):
    names = [experiment.name for experiment in FILES[file]]
    assert names == [file] or (len(names) > 1 and all(name.startswith(f"{file}-") for name in names))


def test_the_workflow_file_is_valid_and_names_experiments_that_exist():
    workflow = Workflow.model_validate(read_yaml(ROOT / "config/config.yaml"))
    assert set(workflow.experiments) <= FILES.keys()


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("dataset.num_aug=3", "dataset", "num_aug", 3),
        ("dataset.size=9", "dataset", "size", 9),
        ("dataset.raw=/data", "dataset", "raw", Path("/data")),
        ("model.mlp_t=true", "model", "mlp_t", True),
        ("training.lr=1e-3", "training", "lr", 1e-3),
        ("training.max_steps=null", "training", "max_steps", None),
        ("evaluation.subset=7", "evaluation", "subset", 7),
        ("resources.runtime=90m", "resources", "runtime", "90m"),
        ("published.exact_accuracy=0.5", "published", "exact_accuracy", 0.5),
        (" training.ema = false", "training", "ema", False),
    ],
)
def test_an_override_reaches_its_section(override, section, key, value):
    overrides = ["published.source=here", override] if section == "published" else [override]
    assert getattr(getattr(check(SUDOKU, "here", overrides), section), key) == value


def test_an_override_reaches_the_top_and_replaces_whole_sections():
    experiment = check(SUDOKU, "here", ["name=b", "seeds=[3, 4]", "training={epochs: 10, eval_interval: 5}"])
    assert (experiment.name, experiment.seeds, experiment.training.epochs) == ("b", [3, 4], 10)


def test_the_last_override_wins_and_the_source_stays_as_it_was():
    tree = json.loads(json.dumps(SUDOKU))
    assert check(tree, "here", ["dataset.seed=1", "dataset.seed=2"]).dataset.seed == 2
    assert tree == SUDOKU


@pytest.mark.parametrize("kind", ["experiment", "config"])
def test_the_schema_files_are_what_trm_schema_prints(kind):
    printed = subprocess.run([sys.executable, "-m", "trm", "schema", kind], capture_output=True, text=True, check=True)
    assert (ROOT / f"workflow/schemas/{kind}.schema.json").read_text() == printed.stdout


NAMED = {"puzzle": "sudoku", "size": 6, "blanks": [14, 21], "subsample_size": 20, "test_size": 10}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 4),
        ("blanks", [14, 20]),
        ("subsample_size", 21),
        ("test_size", 11),
        ("num_aug", 1),
        ("validation", 0.1),
        ("seed", 1),
    ],
)
def test_a_dataset_is_named_after_what_shapes_its_content(key, value):
    base = {**NAMED, "blanks": [10, 14]} if key == "size" else NAMED
    section = dataset_section("sudoku")
    assert section(**base).name != section(**{**base, key: value}).name


def test_where_raw_files_lie_does_not_change_the_name_of_a_dataset():
    section = dataset_section("sudoku")
    assert section(puzzle="sudoku").name == section(puzzle="sudoku", raw="/elsewhere").name
    assert section(puzzle="sudoku").name.startswith("sudoku-")
    assert section(puzzle="sudoku", validation=0).name == section(puzzle="sudoku", validation=0.0).name


def test_every_puzzle_is_found_by_its_module():
    assert {"maze", "nqueens", "sudoku"} <= set(puzzle_names())
    for name in puzzle_names():
        with pytest.raises(ValidationError, match="puzzle"):
            dataset_section(name).model_validate({"puzzle": "another"})


def round_trip(experiment: Experiment) -> Experiment:
    return check(yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json", by_alias=True))), "round trip")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_experiments_survive_yaml(experiment):
    assert round_trip(experiment) == experiment


model_keys = st.fixed_dictionaries(
    {},
    optional={
        "hidden_size": st.sampled_from([16, 64, 512]),
        "num_heads": st.sampled_from([1, 2, 8]),
        "expansion": st.floats(0.1, 8),
        "mlp_t": st.booleans(),
        "pos_encodings": st.sampled_from(["none", "rope", "learned"]),
        "halt_exploration_prob": st.floats(0, 1),
    },
)
training_keys = st.fixed_dictionaries(
    {"epochs": st.just(100), "eval_interval": st.sampled_from([1, 10, 100])},
    optional={
        "lr": st.floats(0, 1),
        "max_steps": st.none() | st.integers(1, 10**9),
        "beta2": st.floats(0, 0.999999),
        "ema": st.booleans(),
    },
)


@given(model_keys, training_keys, st.lists(st.integers(0, 2**40), min_size=1, max_size=3), st.text(max_size=20))
def test_any_experiment_survives_yaml(model, training, seeds, description):
    model = {"puzzle_emb_ndim": 16, **model}
    tree = {**SUDOKU, "model": model, "training": training, "seeds": seeds, "description": description}
    experiment = check(tree, "here")
    assert round_trip(experiment) == experiment
    assert experiment.model.model_dump(include=set(model)) == model


@pytest.mark.parametrize(
    ("ndim", "length", "positions"), [(0, 0, 0), (0, 16, 0), (512, 16, 16), (512, 0, 1), (513, 0, 2), (100, 0, 1)]
)
def test_the_puzzle_embedding_takes_the_positions_it_needs(ndim, length, positions):
    assert Model(puzzle_emb_ndim=ndim, puzzle_emb_len=length).prefix_len == positions


def test_sections_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Training().lr = 1.0


@pytest.mark.parametrize(
    "override", ["model", "=3", "model.hidden_size.x=3", "name.x=1", "training.lr=[", "a=2024-13-01"]
)
def test_a_malformed_override_is_quoted(override):
    with pytest.raises(BadInput) as caught:
        check({**SUDOKU, "model": {"hidden_size": 64}}, "here", [override])
    assert str(caught.value).startswith(f"override {override!r}: ")


def test_each_of_several_datasets_has_the_keys_of_its_puzzle():
    experiment = check(
        {**SUDOKU, "more_datasets": [{"puzzle": "nqueens", "size": 9}, {"puzzle": "sudoku", "seed": 1}]}, "a"
    )
    assert [dataset.puzzle for dataset in experiment.datasets] == ["sudoku", "nqueens", "sudoku"]
    assert experiment.model_dump()["more_datasets"][0]["size"] == 9
    assert check(experiment.model_dump(mode="json"), "again") == experiment


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([{"puzzle": "maze", "num_augs": 1}], r"more_datasets\.0\.num_augs: unknown key, did you mean num_aug\?"),
        ([{"puzzle": "maze"}, {"puzzle": "mazes"}], r"more_datasets\.1: puzzle 'mazes' is unknown, expected one of"),
        ([{"puzzle": "sudoku"}], "more_datasets: holds a dataset twice"),
        (["maze"], r"more_datasets\.0: expected"),
    ],
)
def test_a_wrong_one_of_several_datasets_is_named(more, message):
    with pytest.raises(BadInput, match=message):
        check({**SUDOKU, "more_datasets": more}, "a")
