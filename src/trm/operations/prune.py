"""Checkpoints of configurations that are no longer there: a changed key leaves the old run's behind, for good.

They are listed first. What cannot be told for sure is kept: a run is compared by its fingerprint, which needs the
dataset built and the run that it starts from at hand.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trm.operations.columns import columns, duration, size
from trm.operations.project import Checkpoints, NotKnown, Project, fingerprint, holder


@dataclass(frozen=True)
class Found:
    """A folder of checkpoints, and what becomes of it."""

    checkpoints: Checkpoints
    stale: bool
    why: str  # it is stale, or is kept
    bytes: int
    age: float  # seconds since something in it changed

    @property
    def folder(self) -> Path:
        return self.checkpoints.folder


def find(project: Project) -> list[Found]:
    """All folders of checkpoints, those that are stale marked."""
    found = []
    for each in project.checkpoints():
        stale, why = _judge(project, each)
        stats = [path.lstat() for path in each.folder.rglob("*")] or [each.folder.lstat()]
        age = time.time() - max(stat.st_mtime for stat in stats)
        found.append(Found(each, stale, why, sum(stat.st_size for stat in stats), age))
    return found


def delete(found: list[Found]) -> Iterator[Found]:
    """Delete what is stale, a folder at a time, unless a trainer has come to hold it; yields what is gone."""
    for each in found:
        if each.stale and holder(each.folder) is None:
            shutil.rmtree(each.folder)  # follows no links
            yield each


def lines(found: list[Found]) -> Iterator[str]:
    """What is stale, the largest first, then what is kept."""
    stale = sorted((each for each in found if each.stale), key=lambda each: -each.bytes)
    kept = [each for each in found if not each.stale]
    if rows := [*(_row("stale", each) for each in stale), *(_row("kept", each) for each in kept)]:
        yield columns(rows)
    yield f"{len(stale)} stale, {size(sum(each.bytes for each in stale))}; {len(kept)} kept"


def _row(word: str, each: Found) -> list[str]:
    return [word, str(each.folder), size(each.bytes), f"{duration(each.age)} old", each.why]


def _judge(project: Project, each: Checkpoints) -> tuple[bool, str]:
    if holder(each.folder):
        return False, "a trainer holds it"
    experiment = project.experiments.get(each.experiment)
    if experiment is None:
        return True, "no file of config/experiments stands for it"
    if each.seed not in experiment.seeds:
        return True, f"seed {each.seed} is not among the seeds of the experiment"
    try:
        current = fingerprint(experiment, each.seed, project.shaping(experiment))
    except NotKnown as error:
        return False, f"cannot be told: {error}"
    if each.fingerprint == current:
        return False, "the configuration as it is"
    return True, f"dataset, model or training have changed: the configuration is {current} now"
