"""Time, peak memory and bytes on disk of every builder, each in a process of its own as a user would run it.

A small build of the same puzzle comes first, so that numba's compilation, which is kept on disk, is told apart.
"""

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chess

from trm import puzzles
from trm.config import Dataset, dataset_section
from trm.files import BadInput, Fault, read_json
from trm.progress import progress

LONGEST_GAME = 120  # half-moves of a random game of chess


@dataclass(frozen=True)
class Case:
    """A builder at a published size, and what makes it small for the first build."""

    dataset: dict[str, Any]
    small: dict[str, Any] = field(default_factory=dict)


ARC1 = {"puzzle": "arc", "subsets": ["training", "evaluation", "concept"], "test_sets": ["evaluation"]}
ARC2 = {"puzzle": "arc", "subsets": ["training2", "evaluation2", "concept"], "test_sets": ["evaluation2"]}
QUEENS = {"puzzle": "nqueens", "size": 12, "num_aug": 7}
CASES = {
    "sudoku": Case({"puzzle": "sudoku", "num_aug": 1000}, {"num_aug": 1}),
    "sudoku-easy": Case(
        {"puzzle": "sudoku", "blanks": [30, 45], "subsample_size": 100, "test_size": 1000, "num_aug": 1},
        {"subsample_size": 1, "test_size": 1},
    ),
    "maze-hard": Case({"puzzle": "maze", "num_aug": 7}),
    "arc1-online": Case({**ARC1, "augmentation": "online"}, {"num_aug": 1}),
    "arc1-stored": Case({**ARC1, "augmentation": "stored"}, {"num_aug": 1}),
    "arc2-online": Case({**ARC2, "augmentation": "online"}, {"num_aug": 1}),
    "nqueens-12-unique": Case({**QUEENS, "variant": "unique"}, {"size": 7}),
    "nqueens-12-many": Case({**QUEENS, "variant": "many"}, {"size": 7}),
    "skyscrapers": Case({"puzzle": "skyscrapers", "num_aug": 7}, {"subsample_size": 10, "test_size": 2}),
    "hanoi-action": Case({"puzzle": "hanoi", "encoding": "action"}),
    "hanoi-state": Case({"puzzle": "hanoi", "encoding": "state"}),
    "arithmetic": Case({"puzzle": "arithmetic"}, {"subsample_size": 100, "test_size": 10}),
    "chess": Case({"puzzle": "chess", "file": "positions.csv"}, {"subsample_size": 100}),
}


@dataclass(frozen=True)
class Build:
    """What a build took; bytes as they stand on disk."""

    name: str
    seconds: float
    peak_mb: float
    disk_mb: float
    examples: int


def bench_data(names: list[str], raw: Path | None) -> Iterator[Build]:
    """Build every case of CASES (those in `names` where there are any), one after the other.

    Cases whose raw files are not in the puzzle's folder in `raw` are left out and told on stderr.
    """
    unknown = sorted(set(names) - set(CASES))
    if unknown:
        raise BadInput(f"trm bench data: no case {unknown[0]}, expected one of {', '.join(CASES)}")
    for name in names or CASES:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            if name == "chess":
                write_positions(here / "positions.csv", rows=200_000, seed=0)
            source = here if name == "chess" else raw and raw / case.dataset["puzzle"]
            if missing := missing_files(case.dataset, source):
                print(f"{name}: left out, {missing} is not there; see --raw", file=sys.stderr)
                continue
            section = {**case.dataset, "raw": str(source) if source and source.is_dir() else None}
            measured(name, {**section, **case.small}, here / "small")
            yield measured(name, section, here / "data")


def missing_files(section: dict[str, Any], raw: Path | None) -> str | None:
    """The first raw file that the build would not find."""
    dataset: Dataset = dataset_section(section["puzzle"]).model_validate({**section, "raw": raw})
    names = puzzles.module(dataset.puzzle).raw_files(dataset)
    return next((name for name in names if raw is None or not (raw / name).exists()), None)


def measured(name: str, section: dict[str, Any], out: Path) -> Build:
    """Build in a process of its own, under the clock and the kernel's account. Raises Fault where it fails."""
    command = ["-m", "trm", "build", json.dumps({"name": "bench", "dataset": section}), "--out", str(out)]
    begin = time.monotonic()
    peak_mb = run_python(name, command)[1]
    seconds = time.monotonic() - begin
    disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    splits = read_json(out / "provenance.json")["splits"]
    return Build(name, seconds, peak_mb, disk / 1e6, sum(size["examples"] for size in splits.values()))


def run_python(name: str, arguments: list[str]) -> tuple[str, float]:
    """What a Python process prints, and the most memory it had, in MB. Raises Fault, `name` first, where it fails."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *arguments], stdout=printed, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        log.seek(0)
        if process.returncode:
            raise Fault(f"{name}: status {process.returncode}: {log.read().decode().strip()[-500:]}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes on a Mac, else kilobytes
        return printed.read().decode(), peak / 1e6


def write_positions(path: Path, rows: int, seed: int) -> None:
    """Legal chess positions of random games, no two alike up to colours, and a random move in each, as CSV."""
    rng = random.Random(seed)
    board, seen = chess.Board(), set()
    with open(path, "w", newline="") as file, progress("random chess positions", rows) as advance:
        writer = csv.writer(file)
        writer.writerow(["FEN", "Best_Move"])
        while len(seen) < rows:
            moves = list(board.legal_moves)
            if not moves or len(board.move_stack) >= LONGEST_GAME:
                board = chess.Board()
                continue
            position = min(board.epd(), board.mirror().epd())
            if position not in seen:
                seen.add(position)
                writer.writerow([board.fen(), rng.choice(moves).uci()])
                advance(1)
            board.push(rng.choice(moves))
