"""A project whose one experiment has been trained and evaluated, as the workflow leaves it."""

import shutil

import pytest
import yaml

from tests.conftest import TINY
from trm.config import check
from trm.operations.project import Project

EXPERIMENT = {**TINY, "name": "tiny", "resources": {"runtime": "2h"}}


class Place:
    """A folder with a project to change."""

    def __init__(self, root):
        self.root, self.results = root, root / "results"
        self.dataset = self.results / "datasets" / check(TINY, "tiny").dataset.name
        self.run = self.results / "runs" / "tiny" / "seed-0"
        self.checkpoints = self.results / "checkpoints" / "tiny" / "seed-0"

    @property
    def project(self):
        return Project(self.root)

    @property
    def folder(self):
        """The checkpoints of the run."""
        (found,) = self.checkpoints.iterdir()
        return found

    def write(self, name="tiny", **sections):
        """Write an experiment file; sections given are put into those of the tiny one."""
        tree = {**EXPERIMENT, "name": name}
        for key, value in sections.items():
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
        (self.root / "config" / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(tree))

    def configure(self, **keys):
        (self.root / "config" / "config.yaml").write_text(yaml.safe_dump({"experiments": ["tiny"], **keys}))

    def log(self, text, place="results/logs/train/tiny-seed-0.log"):
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def begun(tmp_path, tiny_data, monkeypatch):
    """A project whose dataset is built."""
    monkeypatch.delenv("TRM_RAW_DATA", raising=False)
    place = Place(tmp_path / "project")
    (place.root / "config" / "experiments").mkdir(parents=True)
    place.configure()
    place.write()
    shutil.copytree(tiny_data, place.dataset)
    return place


@pytest.fixture
def place(begun, tiny_run):
    """A project whose experiment has run."""
    shutil.copytree(tiny_run, begun.run)
    shutil.copytree(tiny_run.with_name("run.checkpoints"), begun.checkpoints)
    return begun
