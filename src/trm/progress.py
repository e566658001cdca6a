"""A progress bar with the time left on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_INTERVAL = 10.0  # seconds between lines where there is no terminal


class Advance(Protocol):
    def __call__(self, steps: int = 1, note: str = "") -> None: ...


@contextmanager
def progress(description: str, total: int, done: int = 0, shown: bool = True) -> Iterator[Advance]:
    """Yield a function to call as work gets done, with an optional note such as the loss. Writes to stderr.

    Of several ranks one has it `shown`; that of the others does nothing.
    """
    if not shown:
        yield _unseen
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(description, total, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=total, completed=done, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, **({"note": note} if note else {}))

        yield advance


def _unseen(steps: int = 1, note: str = "") -> None:
    pass


def _plain(description: str, total: int, done: int) -> Advance:
    start, before = time.monotonic(), done
    last, told = start, ""

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, last, told
        done += steps
        told = note or told
        now = time.monotonic()
        finished = done >= total and now - start > 2
        if now - last < PLAIN_INTERVAL and not finished:
            return
        last = now
        left = (now - start) / max(1, done - before) * (total - done)
        end = "done" if done >= total else f"{_clock(left)} left"
        print(f"{description}: {done}/{total}, {_clock(now - start)} so far, {end} {told}".rstrip(), file=sys.stderr)

    return advance


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
