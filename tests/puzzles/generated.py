"""The puzzles that are generated, as small as their smoke runs have them: a new one is found by its experiment file."""

from pathlib import Path

from trm import puzzles
from trm.config import Dataset, load_folder

CONFIG = Path(__file__).parents[2] / "config"


def small_datasets() -> dict[str, Dataset]:
    """The `dataset:` section of the first experiment of each puzzle that needs no raw files, by the puzzle's name."""
    found: dict[str, Dataset] = {}
    for experiments in load_folder(CONFIG / "experiments", smoke=CONFIG / "smoke.yaml").values():
        for dataset in (dataset for experiment in experiments for dataset in experiment.datasets):
            if not puzzles.module(dataset.puzzle).raw_files(dataset):
                found.setdefault(dataset.puzzle, dataset)
    return found
