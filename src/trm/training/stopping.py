"""When to stop early: asked by a signal, or before the time budget runs out.

Either way the trainer finishes its step, saves, and ends with status 75, to be started again.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

import psutil

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
OUT_OF_TIME = "time budget"
RESERVE = 120.0  # seconds of a budget, a tenth of it at most, that its job needed before this process began


class Stopper:
    """Listens to TERM, INT and HUP; a second INT interrupts at once."""

    def __init__(self, budget_minutes: float | None):
        self.reason: str | None = None
        self.budget = None if budget_minutes is None else 60 * budget_minutes
        self.begin = psutil.Process().create_time()  # start-up counts too: the walltime began there
        self.longest = {"step": 0.0, "save": 1.0}  # seconds; a save takes a second until one was measured
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    signal.signal(number, self._handle)
        self.terminal = sys.stderr.isatty()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        reason = f"signal {signal.Signals(number).name}"
        if number == signal.SIGINT and reason == self.reason:  # not one that comes to launcher and ranks, as from bkill
            raise KeyboardInterrupt
        if number == signal.SIGHUP and self.terminal:  # it is gone: whatever is said from now on, nobody hears
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        self.reason = reason

    def took(self, what: str, seconds: float) -> None:
        """Note how long a step or a save took: the last ones have to fit into the budget."""
        self.longest[what] = max(self.longest[what], seconds)

    def asked(self) -> bool:
        """Whether to stop now."""
        if self.reason is None and self.budget is not None:
            needed = 2 * self.longest["step"] + 2 * self.longest["save"] + min(RESERVE, self.budget / 10)
            if time.time() - self.begin + needed > self.budget:
                self.reason = OUT_OF_TIME
        return self.reason is not None
