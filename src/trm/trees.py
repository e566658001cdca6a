"""Experiment files as trees of keys: what they take from each other, what they stand for, how small they can be.

    extends: NAME      the file beside it whose keys it takes over, section by section, but for those it has itself
    sweep: {KEY: [VALUE, ...], ...}     it stands for one experiment for each combination of the values
    smoke: {SECTION: {KEY: VALUE}}      what a smoke run of it needs otherwise than config/smoke.yaml says

Nothing here knows what a key means; config.py checks the trees that come out.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from trm.files import BadInput, read_yaml

# Keys that say what a file is itself: one that extends it has its own or none
OWN = ("name", "description", "published", "sweep")
SWEPT = ("dataset", "model", "training", "evaluation")


@dataclass(frozen=True)
class File:
    """An experiment file, with what it extends."""

    path: Path
    keys: dict[str, Any]  # of the experiment, or of all that the sweep makes of it
    sweep: dict[str, list]  # values by dotted key
    smoke: dict[str, Any]
    written: list[tuple[Path, dict[str, Any]]]  # what stands in each file, from this one to the last it extends

    def source(self, location: Sequence[str | int]) -> Path:
        """The file that the key at a location stands in, or the most of it; of several the nearest."""
        if any(list(location[: key.count(".") + 1]) == key.split(".") for key in self.sweep):
            return self.path
        return max(self.written, key=lambda written: _depth(written[1], location))[0]

    def combinations(self) -> dict[str, dict[str, Any]]:
        """The keys of each experiment that the file stands for, by name."""
        if not self.sweep:
            return {str(self.keys.get("name")): self.keys}
        words = _words(self.sweep)
        found = {}
        for values in product(*self.sweep.values()):
            chosen = list(zip(self.sweep, values, strict=True))
            name = "-".join([self.path.stem, *(f"{words[key]}-{_spelled(value)}" for key, value in chosen)])
            if name in found:
                raise BadInput(f"{self.path}: sweep: makes {name} twice, expected values that differ in their letters")
            keys = copy.deepcopy(self.keys)
            for key, value in chosen:
                put(keys, key, value, f"{self.path}: sweep: {key}")
            found[name] = {**keys, "name": name}
        return found


def read(path: Path) -> File:
    """Read an experiment file and those that it extends."""
    written = [(path, read_yaml(path))]
    while (parent := written[-1][1].get("extends")) is not None:
        here = written[-1][0]
        known = sorted(file.stem for file in here.parent.glob("*.yaml"))
        if parent not in known:
            raise BadInput(f"{here}: extends: {parent!r} is unknown, expected a file beside it: {', '.join(known)}")
        beside = here.with_name(f"{parent}.yaml")
        if beside in [file for file, _ in written]:
            raise BadInput(f"{here}: extends: {parent}, which extends this file in turn, expected no circle")
        written.append((beside, read_yaml(beside)))
    keys = dict(written[-1][1])
    for _, above in reversed(written[:-1]):
        keys = merged({key: value for key, value in keys.items() if key not in OWN}, above)
        keys.setdefault("name", path.stem)
    keys.pop("extends", None)
    sweep, smoke = keys.pop("sweep", None), keys.pop("smoke", None)
    return File(path, keys, _checked_sweep(path, sweep), _checked_smoke(path, smoke), written)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The keys of `below` with those of `above` over them, section by section. A section that is null starts anew.

    So does the dataset of another puzzle, whose keys are other ones.
    """
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("puzzle") in (None, old.get("puzzle")):
            found[key] = {**old, **value}
        elif value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


def lowered(tree: dict[str, Any], most: dict[str, Any]) -> dict[str, Any]:
    """A resolved experiment, no larger than `most`: numbers above it, and null for all there is, come down to it.

    A mapping is for each of a list of them too; anything else is replaced. Keys that the experiment does not have are
    passed over: each puzzle has its own.
    """
    found = dict(tree)
    for key in most.keys() & tree.keys():
        old, new = tree[key], most[key]
        if isinstance(new, dict):
            found[key] = [lowered(each, new) for each in old] if isinstance(old, list) else lowered(old, new)
        elif is_number(old) and is_number(new):
            found[key] = min(old, new)
        else:
            found[key] = new
    return found


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def override(tree: dict[str, Any], text: str) -> None:
    """Put what `section.key=value` says into the tree."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"override {text!r}: expected key=value, such as training.lr=1.0e-3")
    try:
        put(tree, key.strip(), yaml.safe_load(value), f"override {text!r}")
    except (ValueError, RecursionError, yaml.YAMLError):
        raise BadInput(f"override {text!r}: the value is not valid YAML") from None


def put(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a dotted key, in sections that are made where they are not there."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise BadInput(f"{where}: {parent} is not a section")
    tree[last] = value


def _depth(tree: Any, location: Sequence[str | int]) -> int:
    """How much of a location stands in a tree."""
    for depth, key in enumerate(location):
        if not isinstance(tree, dict) or key not in tree:
            return depth
        tree = tree[key]
    return len(location)


def _checked_sweep(path: Path, sweep: Any) -> dict[str, list]:
    if sweep is None:
        return {}
    if not isinstance(sweep, dict) or not sweep:
        raise BadInput(f"{path}: sweep: {sweep!r}, expected lists of values by key, such as model.L_cycles: [2, 4, 6]")
    for key, values in sweep.items():
        if str(key).partition(".")[0] not in SWEPT or "." not in str(key):
            raise BadInput(f"{path}: sweep: {key}: expected a key of {', '.join(SWEPT)}, such as model.L_cycles")
        if not isinstance(values, list) or not values or any(isinstance(value, dict) for value in values):
            raise BadInput(f"{path}: sweep: {key}: {values!r}, expected a list of values")
    return sweep


def _checked_smoke(path: Path, smoke: Any) -> dict[str, Any]:
    if smoke is None:
        return {}
    if not isinstance(smoke, dict):
        raise BadInput(f"{path}: smoke: {smoke!r}, expected sections with the keys of a smoke run")
    return smoke


def _words(keys: Sequence[str]) -> dict[str, str]:
    """What stands for each dotted key in a name: its last part, or all of it where two end alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    return {key: _plain(key if ends.count(end) > 1 else end) for key, end in zip(keys, ends, strict=True)}


def _spelled(value: Any) -> str:
    """A value in a name: 6, 1e-05, 0p95, true, none."""
    if is_number(value):
        return f"{value:g}".replace(".", "p").replace("+", "")
    return _plain("-".join(map(_spelled, value)) if isinstance(value, list) else str(value))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
