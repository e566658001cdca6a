"""One trainer at a time on a run, across nodes.

A file in the checkpoint folder says who trains: host, process, job, and when it was last alive. Its content decides,
since a lock of the operating system may not hold between the nodes of a shared file system: a holder on this host is
alive while its process is, one elsewhere while its heartbeat is fresh. flock only keeps two that read and write the
file from getting in between each other; where it does not, the one that was overwritten notices at its next beat.
"""

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from trm.files import Fault

BEAT = 10.0  # seconds between heartbeats
POLL = 1.0  # seconds between looks at a lock that is waited for
STALE = 90.0  # seconds without one after which a holder on another host counts as dead
JOB_VARIABLES = ("SLURM_JOB_ID", "LSB_JOBID")


class Held(Fault):
    """Another trainer is at work on this run; a later try may succeed."""

    status = 75


class Lock:
    """Hold `path` while the `with` block runs. Raises Held when another trainer is alive, after `patience` seconds.

    `hurry` may end the waiting before.
    """

    def __init__(self, path: Path, patience: float = 0.0, hurry: Callable[[], bool] = lambda: False):
        self.path, self.patience, self.hurry = path, patience, hurry
        self.token = uuid.uuid4().hex
        self.killed = False  # the trainer before was, as it left the lock behind
        self.lost = False  # another trainer took over, for instance after a long suspension
        self._done = threading.Event()

    def __enter__(self) -> "Lock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        waiting = False
        deadline = time.monotonic() + self.patience
        while (holder := self._take()) is not None:
            if time.monotonic() >= deadline or self.hurry():
                raise Held(f"{self._about(holder)}; wait for it, or stop it first")
            if not waiting:
                print(f"{self._about(holder)}; waiting for it", file=sys.stderr, flush=True)
                waiting = True
            time.sleep(POLL)
        self._beater = threading.Thread(target=self._beat, daemon=True)
        self._beater.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._beater.join()
        with contextlib.suppress(OSError), self._alone():  # a disk that fails is told by those who need it
            if self._ours():
                self.path.unlink()

    def _take(self) -> dict | None:
        """Take the lock, or return who holds it."""
        with self._alone():
            holder = self._holder()
            if holder is not None and alive(holder):
                return holder
            self.killed = holder is not None
            self._write()
        return None

    def _about(self, holder: dict) -> str:
        job = f" in job {holder['job']}" if holder["job"] else ""
        seen = f"last alive {time.time() - holder['beat']:.0f} s ago"
        return f"{self.path.parent}: being trained by process {holder['process']} on {holder['host']}{job}, {seen}"

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            with contextlib.suppress(OSError), self._alone():  # a full disk: until the next beat
                self.lost = not self._ours()
                if self.lost:
                    return
                self._write()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self.path.with_name(f".{self.path.name}.guard"), "w") as guard:
            with contextlib.suppress(OSError):  # a file system without flock
                fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _holder(self) -> dict | None:
        try:
            return json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _ours(self) -> bool:
        return (self._holder() or {}).get("token") == self.token

    def _write(self) -> None:
        process = psutil.Process()
        job = next((os.environ[name] for name in JOB_VARIABLES if name in os.environ), None)
        facts = {"host": socket.gethostname(), "process": process.pid, "started": process.create_time(), "job": job}
        draft = self.path.with_name(f".{self.path.name}.{self.token}")
        try:
            draft.write_text(json.dumps({**facts, "beat": time.time(), "token": self.token}))
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)  # half of it, where the disk is full


def alive(holder: dict) -> bool:
    """Whether the holder of a lock still runs."""
    if holder["host"] != socket.gethostname():
        return time.time() - holder["beat"] < STALE
    try:
        process = psutil.Process(holder["process"])
        return abs(process.create_time() - holder["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
