"""Files that are whole or not there, hashes, and the errors that are told in one line.

Everything `trm` writes goes through `atomic` or `atomic_folder`: the data lands in a hidden neighbour first, is
flushed to the disk, and takes its name by a rename, so that a kill or a full disk never leaves half a file behind.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


class Fault(Exception):
    """Something that went wrong and is told in one line; the command line prints it and ends with `status`."""

    status = 1


class BadInput(Fault):
    """Input that a user can put right. The message says what, where (file, row, key), and what was expected."""

    status = 2


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _tell_where(error, path)
        raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it replaces `path`, on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _tell_where(error, path)
        raise


def _tell_where(error: BaseException, path: Path) -> None:
    """A write that fails does not say on which file, and NumPy's not even why."""
    if isinstance(error, OSError) and error.filename is None:
        error.strerror = error.strerror or f"cannot be written ({error})"
        error.filename = str(path)


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value; without indent on one line, without an end of line, as the published builders do."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + ("\n" if indent else ""))


def read_json(path: Path, kind: type = dict) -> Any:
    """The JSON value in `path`, which must be a `kind` (dict or list)."""
    value = _parse(path, json.loads, "JSON")
    if not isinstance(value, kind):
        raise BadInput(f"{path}: holds a {type(value).__name__}, expected a {kind.__name__}")
    return value


class _StrictLoader(yaml.SafeLoader):
    """YAML without pickles, and without keys that stand twice: the last one would win unnoticed."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.MarkedYAMLError(problem=f"key {key} stands twice", problem_mark=node.value[i][0].start_mark)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """The value in a YAML text. Raises yaml.YAMLError."""
    return yaml.load(text, _StrictLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file `path`."""
    value = _parse(path, load_yaml, "YAML")
    if not isinstance(value, dict):
        raise BadInput(f"{path}: holds a {type(value).__name__}, expected a mapping of keys")
    return value


def _parse(path: Path, parse: Any, language: str) -> Any:
    try:
        return parse(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", 1)
        problem = getattr(error, "problem", None) or getattr(error, "msg", None) or error
        raise BadInput(f"{path}: line {line}: not valid {language} ({problem})") from None


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8, expected a text file") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON-serialisable value in canonical form: equal values, equal fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
