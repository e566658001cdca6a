"""Tiny Recursive Models, from raw puzzles to a report.

`trm.library` says what a script or a notebook can do with it. Nothing is imported before it is used, so that the
command line starts at once.

Imports run one way: cli -> reporting -> training -> evaluation -> models, data -> puzzles -> config -> files.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm import puzzles
    from trm.library import (
        BadInput,
        Dataset,
        Experiment,
        Fault,
        Figure,
        FinishedRun,
        Solution,
        as_text,
        build,
        evaluate,
        experiment,
        load_run,
        solve,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "Dataset",
    "Experiment",
    "Fault",
    "Figure",
    "FinishedRun",
    "Solution",
    "as_text",
    "build",
    "evaluate",
    "experiment",
    "load_run",
    "puzzles",
    "solve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "puzzles":
        return importlib.import_module("trm.puzzles")
    if name in __all__:
        return getattr(importlib.import_module("trm.library"), name)
    raise AttributeError(f"module 'trm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
