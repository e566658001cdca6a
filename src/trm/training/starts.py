"""What the starts of a run came to, in CHECKPOINTS/starts.json: one that gets nowhere, start after start, is stopped.

step     where the last start began
idle     starts in a row that began there after another one had
killed   trainers that were killed while they held the run: out of memory, most often
"""

from pathlib import Path
from typing import Any

from trm.files import Fault, read_json, write_json

NAME = "starts.json"
MOST_IDLE = 5


def note(folder: Path, step: int, killed: bool) -> None:
    """Note a start from a step; `killed` says whether the trainer before was. Raises Fault where it is one too many."""
    before = _read(folder / NAME)
    idle = before["idle"] + 1 if before["step"] == step else 0
    write_json(folder / NAME, {"step": step, "idle": idle, "killed": before["killed"] + killed})
    if idle >= MOST_IDLE:
        raise Fault(
            f"{folder}: {idle} starts in a row did not get beyond step {step}; give them more time or memory "
            f"(resources.runtime, resources.mem_mb) or save more often (training.checkpoint_every), then delete "
            f"{folder / NAME} and run again"
        )


def killed(root: Path) -> int:
    """How many trainers of the run in `root` were killed: of its configuration that was trained last."""
    folders = sorted((path.parent for path in root.rglob(NAME)), key=lambda folder: (folder / NAME).stat().st_mtime)
    return sum(_read(folder / NAME)["killed"] + (folder / "lock.json").exists() for folder in folders[-1:])


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {"step": None, "idle": 0, "killed": 0}
