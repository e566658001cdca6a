"""Small projects on which the real workflow runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
MODEL = {
    "hidden_size": 16,
    "num_heads": 2,
    "H_cycles": 1,
    "L_cycles": 1,
    "L_layers": 1,
    "puzzle_emb_ndim": 0,
    "halt_max_steps": 2,
    "forward_dtype": "float32",
}
TRAINING = {"global_batch_size": 8, "epochs": 10, "eval_interval": 5, "max_steps": 12, "log_every": 4}
DATASETS = {
    "tiny-sudoku": {"puzzle": "sudoku", "size": 4, "blanks": [4, 8], "subsample_size": 40, "test_size": 10},
    "tiny-queens": {"puzzle": "nqueens", "size": 7, "masks": 2},
}
WAYS = {"tiny-sudoku": [{"rollouts": 2, "symmetries": True}, {"halt_max_steps": 3}]}  # of test-time scaling


class Project:
    """A folder with a configuration of its own, run by the repository's Snakefile."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "config" / "experiments").mkdir(parents=True)
        for name, dataset in DATASETS.items():
            evaluation = {"scaling": WAYS.get(name, [])}
            tree = {"name": name, "dataset": dataset, "model": MODEL, "training": TRAINING, "evaluation": evaluation}
            self.write(name, tree)
        (folder / "config" / "config.yaml").write_text(
            yaml.safe_dump({"experiments": list(DATASETS), "raw_data": None, "set": []})
        )

    def file(self, name: str) -> Path:
        return self.folder / "config" / "experiments" / f"{name}.yaml"

    def write(self, name: str, tree: dict) -> None:
        self.file(name).write_text(yaml.safe_dump(tree))

    def edit(self, name: str, section: str, **keys: object) -> None:
        tree = yaml.safe_load(self.file(name).read_text())
        tree[section] = {**tree.get(section, {}), **keys}
        self.write(name, tree)

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """Run Snakemake here; returns all it prints."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *targets: str) -> dict[str, int]:
        """The jobs that a target would run, by rule."""
        output = self.snakemake("--dry-run", *targets)
        table = output.partition("Job stats:")[2].partition("total")[0]
        return {rule: int(count) for rule, count in re.findall(r"^([\w-]+)\s+(\d+)\s*$", table, re.M)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose report has been made."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.snakemake("report")
    return project
