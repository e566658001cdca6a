"""Experiment files that extend each other, stand for several, or shrink to a smoke run."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trm import trees
from trm.config import check, load, load_folder
from trm.files import BadInput

BASE = {
    "name": "base",
    "description": "the base",
    "dataset": {"puzzle": "sudoku", "size": 9, "num_aug": 3},
    "model": {"hidden_size": 64, "L_cycles": 4, "puzzle_emb_ndim": 64},
    "training": {"epochs": 10, "eval_interval": 5, "lr": 1.0e-3},
    "evaluation": {"scaling": [{"halt_max_steps": 64}, {"rollouts": 16, "symmetries": True}]},
    "published": {"exact_accuracy": 0.5, "source": "here"},
}


@pytest.fixture
def folder(tmp_path):
    """A folder with the base; called with a name and keys, it writes a file beside it."""

    class Folder:
        path = tmp_path

        def write(self, stem: str, /, **keys: object) -> Path:
            path = tmp_path / f"{stem}.yaml"
            path.write_text(yaml.safe_dump(keys))
            return path

    place = Folder()
    place.write("base", **BASE)
    return place


def test_a_file_takes_over_what_it_does_not_say_itself(folder):
    base = load(folder.path / "base.yaml")
    found = load(folder.write("child", extends="base", model={"L_cycles": 2}, training={"lr": 1.0e-4}))
    expected = base.model_dump() | {"name": "child", "description": "", "published": None}
    expected["model"] |= {"L_cycles": 2}
    expected["training"] |= {"lr": 1.0e-4}
    assert found.model_dump() == expected


def test_chains_end_at_the_nearest_word(folder):
    folder.write("middle", extends="base", training={"lr": 3.0e-4, "beta1": 0.5})
    found = load(folder.write("last", extends="middle", training={"beta1": 0.6}, name="last"))
    assert (found.training.epochs, found.training.lr, found.training.beta1) == (10, 3.0e-4, 0.6)


def test_a_section_that_is_null_is_reset_and_a_key_that_is_null_is_null(folder):
    found = load(folder.write("child", extends="base", model=None, seeds=None, training={"eval_subset": None}))
    assert found.model.hidden_size == 512
    assert found.seeds == [0]
    assert found.training.eval_subset is None
    assert found.training.epochs == 10


def test_lists_and_the_dataset_of_another_puzzle_replace_whole(folder):
    scaling = [{"halt_max_steps": 8}]
    dataset = {"puzzle": "maze", "walls": [0.3, 0.4], "subsample_size": 9, "test_size": 9}
    found = load(folder.write("child", extends="base", dataset=dataset, evaluation={"scaling": scaling}))
    assert found.dataset == check({"name": "a", "dataset": dataset}, "a").dataset
    assert [way.halt_max_steps for way in found.evaluation.scaling] == [8]
    assert load(folder.write("same", extends="base", dataset={"puzzle": "sudoku", "seed": 1})).dataset.num_aug == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": {"extends": "bse"}}, "a.yaml: extends: 'bse' is unknown, expected a file beside it: a, base"),
        ({"a": {"extends": "../base"}}, "a.yaml: extends: '../base' is unknown"),
        ({"a": {"extends": ["base"]}}, "a.yaml: extends: ['base'] is unknown"),
        ({"a": {"extends": "a"}}, "a.yaml: extends: a, which extends this file in turn"),
        ({"a": {"extends": "b"}, "b": {"extends": "a"}}, "b.yaml: extends: a, which extends this file in turn"),
        ({"a": {"extends": "b"}, "b": {"extends": "base", "model": {"L_cycle": 2}}}, "b.yaml: model.L_cycle: unknown"),
        ({"a": {"extends": "b", "model": {"L_cycle": 2}}, "b": {"extends": "base"}}, "a.yaml: model.L_cycle: unknown"),
        ({"a": {"extends": "base", "training": {"epochs": 9}}}, "a.yaml: training: eval_interval 5 must divide"),
        ({"a": {"extends": "base", "model": [1]}}, "a.yaml: model: "),
        ({"a": {"extends": "base", "extend": "base"}}, "a.yaml: extend: unknown key, did you mean extends?"),
    ],
)
def test_an_error_names_the_file_and_the_key(folder, files, message):
    for name, keys in files.items():
        folder.write(name, **keys)
    with pytest.raises(BadInput) as caught:
        load(folder.path / "a.yaml")
    assert str(caught.value).removeprefix(f"{folder.path}/").startswith(message)
    assert "\n" not in str(caught.value)


SWEEP = {"model.H_cycles": [1, 2], "training.lr": [1.0e-3, 0.00001]}


def test_a_sweep_stands_for_each_combination_by_a_name_of_its_own(folder):
    folder.write("depth", extends="base", sweep=SWEEP)
    found = load_folder(folder.path)
    assert [experiment.name for experiment in found["base"]] == ["base"]
    assert {(each.name, each.model.H_cycles, each.training.lr) for each in found["depth"]} == {
        ("depth-h-cycles-1-lr-0p001", 1, 1e-3),
        ("depth-h-cycles-1-lr-1e-05", 1, 1e-5),
        ("depth-h-cycles-2-lr-0p001", 2, 1e-3),
        ("depth-h-cycles-2-lr-1e-05", 2, 1e-5),
    }
    assert {each.model.hidden_size for each in found["depth"]} == {64}


def test_keys_that_end_alike_are_named_in_full(folder):
    folder.write("a", extends="base", sweep={"dataset.seed": [1], "evaluation.halt_max_steps": [4, None]})
    folder.write("b", extends="base", sweep={"evaluation.halt_max_steps": [4], "model.halt_max_steps": [2]})
    names = [experiment.name for found in load_folder(folder.path).values() for experiment in found]
    assert names[:2] == ["a-seed-1-halt-max-steps-4", "a-seed-1-halt-max-steps-none"]
    assert "b-evaluation-halt-max-steps-4-model-halt-max-steps-2" in names


def test_a_sweep_is_not_handed_on(folder):
    folder.write("a", extends="base", sweep=SWEEP)
    assert load(folder.write("b", extends="a")).name == "b"


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, "sweep: {}, expected lists of values by key"),
        ([1], "sweep: [1], expected lists"),
        ({"model.L_cycles": 3}, "sweep: model.L_cycles: 3, expected a list of values"),
        ({"model.L_cycles": []}, "sweep: model.L_cycles: [], expected a list of values"),
        ({"model": [{"L_cycles": 1}]}, "sweep: model: expected a key of dataset, model, training, evaluation"),
        ({"seeds": [1, 2]}, "sweep: seeds: expected a key of"),
        ({"model.L_cycle": [1, 2]}, "model.L_cycle: unknown key, did you mean L_cycles?"),
        ({"model.L_cycles": [1, 0]}, "model.L_cycles: expected greater than or equal to 1, not 0"),
        ({"model.L_cycles": [1, 1]}, "sweep: makes a-l-cycles-1 twice"),
        ({"name.first.x": [1]}, "sweep: name.first.x: expected a key of"),
    ],
)
def test_a_wrong_sweep_is_told_with_its_key(folder, sweep, message):
    path = folder.write("a", extends="base", sweep=sweep)
    with pytest.raises(BadInput) as caught:
        load_folder(folder.path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_one_experiment_is_asked_of_a_sweep_in_vain(folder):
    path = folder.write("a", extends="base", sweep={"model.L_cycles": [1, 2]})
    with pytest.raises(BadInput, match=r"a.yaml: sweep: stands for a-l-cycles-1, a-l-cycles-2, expected one exp"):
        load(path)


def test_names_are_those_of_the_files_and_stand_once(folder):
    folder.write("a", extends="base", sweep={"model.L_cycles": [1, 2]})
    taken = folder.write("a-l-cycles-1", extends="base")
    with pytest.raises(BadInput, match=r"a.yaml: stands for a-l-cycles-1, as .*a-l-cycles-1.yaml does"):
        load_folder(folder.path)
    taken.unlink()
    wrong = folder.write("b", **{**BASE, "name": "c"})
    with pytest.raises(BadInput, match=rf"{wrong}: name: c, expected b"):
        load_folder(folder.path)


MOST = {
    "dataset": {"num_aug": 1, "subsample_size": 16, "test_size": 8, "masks": 1},
    "model": {"hidden_size": 32, "puzzle_emb_ndim": 32},
    "training": {"epochs": 4, "eval_interval": 2, "max_steps": 3, "lr_warmup_steps": 10_000},
    "evaluation": {"scaling": {"halt_max_steps": 4, "rollouts": 2}},
    "seeds": [0],
}


def test_a_smoke_run_lowers_numbers_and_keeps_the_rest(folder):
    smoke = folder.path.parent / "smoke.yaml"
    smoke.write_text(yaml.safe_dump(MOST))
    folder.write("child", extends="base", seeds=[3, 4], smoke={"model": {"L_cycles": 1}})
    full, small = load_folder(folder.path), load_folder(folder.path, smoke=smoke)
    [base], [child] = small["base"], small["child"]
    assert (base.dataset.num_aug, base.dataset.subsample_size, base.dataset.test_size) == (1, 16, 8)
    assert (base.model.hidden_size, base.model.L_cycles, child.model.L_cycles) == (32, 4, 1)
    assert (base.training.max_steps, base.training.lr_warmup_steps, base.training.lr) == (3, 2000, 1e-3)
    assert [(way.halt_max_steps, way.rollouts) for way in base.evaluation.scaling] == [(4, 1), (4, 2)]
    assert child.seeds == [0]
    assert base.published == full["base"][0].published


@pytest.mark.parametrize(
    ("most", "key"), [({"model": {"hidden": 1}}, "model.hidden"), ({"models": {}}, "models"), ({"name": "x"}, "name")]
)
def test_a_key_of_the_smoke_file_that_no_experiment_has_is_an_error(folder, most, key):
    smoke = folder.path.parent / "smoke.yaml"
    smoke.write_text(yaml.safe_dump(most))
    with pytest.raises(BadInput, match=rf"smoke.yaml: {key}: unknown key"):
        load_folder(folder.path, smoke=smoke)


def test_a_smoke_section_that_does_not_fit_names_its_file(folder):
    smoke = folder.path.parent / "smoke.yaml"
    smoke.write_text("{}")
    folder.write("a", extends="base", smoke={"model": {"L_cycle": 1}})
    with pytest.raises(BadInput, match=r"a.yaml: smoke: model.L_cycle: unknown key"):
        load_folder(folder.path, smoke=smoke)


values = st.none() | st.booleans() | st.integers(-9, 9) | st.lists(st.integers(0, 3), max_size=2)
sections = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
files = st.dictionaries(st.sampled_from(["model", "training", "seeds"]), sections | values, max_size=3)


@given(files, files)
def test_what_a_file_says_itself_stands(below, above):
    found = trees.merged(below, above)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            assert found[key] == below[key] | value
        else:
            assert found.get(key) == value
    assert {key: found[key] for key in below.keys() - above.keys()} == {
        key: below[key] for key in below.keys() - above.keys()
    }


most = st.dictionaries(
    st.sampled_from(["model", "training"]), st.dictionaries(st.sampled_from("abc"), st.integers(0, 5))
)


@given(st.fixed_dictionaries({"model": sections, "training": sections}), most)
def test_nothing_stays_above_the_most(tree, most):
    found = trees.lowered(tree, most)
    assert trees.lowered(found, most) == found
    for section, keys in most.items():
        for key in keys.keys() & tree[section].keys():
            assert found[section][key] == (
                min(tree[section][key], keys[key]) if trees.is_number(tree[section][key]) else keys[key]
            )
        assert {k: v for k, v in found[section].items() if k not in keys} == {
            k: v for k, v in tree[section].items() if k not in keys
        }
