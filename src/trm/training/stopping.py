"""When to stop early: asked by a signal, or before the time budget runs out.

Either way the trainer finishes its step, saves, and ends with status 75, to be started again.
"""

import signal
import threading
import time
from types import FrameType

import psutil


class Stopper:
    """Listens to TERM and INT; a second INT interrupts at once."""

    def __init__(self, budget_minutes: float | None):
        self.reason: str | None = None
        self.budget = None if budget_minutes is None else 60 * budget_minutes
        self.begin = psutil.Process().create_time()  # start-up counts too: the walltime began there
        self.longest = {"step": 0.0, "save": 1.0}  # seconds; a save takes a second until one was measured
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = f"signal {signal.Signals(number).name}"

    def took(self, what: str, seconds: float) -> None:
        """Note how long a step or a save took: the last ones have to fit into the budget."""
        self.longest[what] = max(self.longest[what], seconds)

    def asked(self) -> bool:
        """Whether to stop now."""
        if self.reason is None and self.budget is not None:
            needed = 2 * self.longest["step"] + 2 * self.longest["save"]
            if time.time() - self.begin + needed > self.budget:
                self.reason = "time budget"
        return self.reason is not None
