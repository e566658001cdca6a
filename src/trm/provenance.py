"""Where a result comes from: versions, machine, commit, command."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "numba", "safetensors", "snakemake")


def provenance(**facts: Any) -> dict[str, Any]:
    """The surroundings of this process, and `facts` after them."""
    return {
        "trm": version("trm"),
        "commit": _commit(),
        "command": " ".join(["trm", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        **facts,
    }


def _commit() -> str | None:
    """The git commit of the code, marked where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
