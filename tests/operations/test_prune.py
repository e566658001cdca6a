"""Only checkpoints that no configuration asks for are deleted, and only on request."""

import shutil

import pytest

from trm.cli import app
from trm.operations import prune
from trm.training.lock import Lock

OTHER = "0123456789abcdef"


def verdicts(place):
    return {
        each.folder.relative_to(place.checkpoints.parents[1]).as_posix(): each for each in prune.find(place.project)
    }


def only(place):
    (found,) = prune.find(place.project)
    return found


def delete(place):
    return [each.folder for each in prune.delete(prune.find(place.project))]


def test_what_the_configuration_asks_for_is_kept(place):
    assert not only(place).stale
    assert delete(place) == []
    assert place.folder.is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"resources": {"gpus": 4, "runtime": "1d"}},
        {"published": {"exact_accuracy": 0.5, "source": "nowhere"}},
        {"training": {"max_steps": 5, "checkpoint_every": 2}},
        {"seeds": [0, 1]},
    ],
)
def test_a_change_that_goes_on_with_the_same_checkpoints_makes_none_stale(place, change):
    place.write(**change)
    assert not only(place).stale


@pytest.mark.parametrize(
    "change", [{"training": {"lr": 1.0e-3}}, {"model": {"L_cycles": 3}}, {"seeds": [1]}, {"training": {"ema": False}}]
)
def test_a_change_that_starts_another_run_makes_the_old_one_stale(place, change):
    place.write(**change)
    found = only(place)
    assert found.stale
    assert found.bytes == sum(path.stat().st_size for path in place.folder.rglob("*"))
    assert delete(place) == [found.folder]
    assert list(place.checkpoints.iterdir()) == []


def test_going_back_to_the_old_value_finds_the_checkpoints_again(place):
    place.write(training={"lr": 1.0e-3})
    assert only(place).stale
    place.write()
    assert not only(place).stale


def test_another_dataset_makes_the_old_run_stale_once_it_is_built(place):
    place.write(dataset={"seed": 1})
    assert not only(place).stale
    assert "is not built" in only(place).why
    assert delete(place) == []
    other = place.dataset.with_name(place.project.experiments["tiny"].dataset.name)
    shutil.copytree(place.dataset, other)
    facts = (other / "provenance.json").read_text()
    content = place.project.shaping(place.project.experiments["tiny"]).content_sha256[0]
    (other / "provenance.json").write_text(facts.replace(content, "0" * 64))
    assert only(place).stale


def test_a_dataset_that_does_not_say_what_it_holds_makes_nothing_stale(place):
    (place.dataset / "provenance.json").write_text("{}")
    assert not only(place).stale
    assert "says nothing of its content" in only(place).why


def test_an_experiment_without_file_is_stale(place):
    shutil.copytree(place.checkpoints, place.checkpoints.parents[1] / "gone" / "seed-3")
    found = verdicts(place)
    assert [each.stale for each in found.values()] == [True, False]
    assert next(iter(found)).startswith("gone/seed-3/")


def test_overrides_of_the_workflow_belong_to_the_configuration(place):
    place.configure(set=["training.lr=1.0e-3"])
    assert only(place).stale
    place.write(training={"lr": 1.0e-3})
    place.configure(set=["training.lr=1.0e-2"])
    assert not only(place).stale


def test_a_training_that_starts_from_a_run_needs_it_to_be_told(place):
    place.write(training={"init": "results/runs/parent/seed-0"})
    assert not only(place).stale
    assert "the run that it starts from" in only(place).why
    parent = place.results / "runs" / "parent" / "seed-0"
    parent.mkdir(parents=True)
    shutil.copy(place.run / "model.safetensors", parent)
    assert only(place).stale


def test_what_a_trainer_holds_is_kept(place):
    place.write(training={"lr": 1.0e-3})
    found = prune.find(place.project)
    with Lock(place.folder / "lock.json"):
        assert not only(place).stale
        assert list(prune.delete(found)) == []  # it was listed before the trainer came
    assert [each.folder for each in prune.delete(found)] == [found[0].folder]


def test_a_trainer_in_a_folder_of_a_shorter_training_holds_it_too(place):
    place.write(training={"lr": 1.0e-3})
    with Lock(place.folder / "4-steps" / "lock.json"):
        assert only(place).why == "a trainer holds it"


def test_links_are_neither_followed_nor_deleted(place, tmp_path):
    outside = tmp_path / "outside" / "seed-0" / OTHER
    outside.mkdir(parents=True)
    (outside / "step-00000001.safetensors").write_text("precious")
    checkpoints = place.checkpoints.parents[1]
    (checkpoints / "link").symlink_to(tmp_path / "outside")
    (checkpoints / "tiny" / "seed-1").symlink_to(outside.parent)
    (place.checkpoints / OTHER).symlink_to(outside)
    stale = checkpoints / "gone" / "seed-0" / OTHER
    stale.mkdir(parents=True)
    (stale / "inner").symlink_to(outside)
    assert delete(place) == [stale]
    assert (outside / "step-00000001.safetensors").read_text() == "precious"
    assert (checkpoints / "link").is_symlink()


def test_what_has_another_name_is_left_alone(place):
    for name in ("notes", OTHER + "0", OTHER[:-1] + "g", "4-steps"):
        (place.checkpoints / name).mkdir()
    (place.checkpoints / OTHER[::-1]).write_text("a file")
    (place.checkpoints.parent / "seed-x" / OTHER).mkdir(parents=True)
    place.write(training={"lr": 1.0e-3})
    (deleted,) = delete(place)
    assert not deleted.exists()
    assert len(list(place.checkpoints.iterdir())) == 5


def test_the_command_lists_first_and_deletes_on_request(place, capsys, monkeypatch):
    monkeypatch.chdir(place.root)
    place.write(training={"lr": 1.0e-3})
    folder = place.folder
    app(["prune"], standalone_mode=False)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"stale  results/checkpoints/tiny/seed-0/{folder.name}")
    assert last.startswith("1 stale, ")
    assert folder.is_dir()
    app(["prune", "--set", "training.lr=1.0e-2"], standalone_mode=False)
    assert capsys.readouterr().out.endswith("0 stale, 0 B; 1 kept\n")
    app(["prune", "--delete"], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[-1] == f"deleted results/checkpoints/tiny/seed-0/{folder.name}"
    assert not folder.exists()
