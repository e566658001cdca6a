"""One look for all pictures, and the same bytes each time they are drawn from the same results."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from trm.files import atomic

STYLE = Path(__file__).with_name("trm.mplstyle")
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


@contextmanager
def look() -> Iterator[None]:
    """Within it figures are made and saved in our style, whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def save(figure: Figure, out: Path) -> None:
    """Write a figure in the format that the suffix of `out` names, without a date."""
    kind = out.suffix.removeprefix(".")
    with atomic(out) as path:
        figure.savefig(path, format=kind, metadata=METADATA[kind])
