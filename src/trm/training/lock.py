"""One trainer at a time on a run, across nodes.

A file in the checkpoint folder says who trains: host, process, job, and when it was last alive. flock may not hold
between nodes of a shared file system, so the file's content decides: a holder on this host is alive while its process
is; one elsewhere while its heartbeat is fresh.
"""

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path

import psutil

from trm.files import Fault

BEAT = 10.0  # seconds between heartbeats
STALE = 90.0  # seconds without one after which a holder on another host counts as dead
JOB_VARIABLES = ("SLURM_JOB_ID", "LSB_JOBID")


class Held(Fault):
    """Another trainer is at work on this run; a later try may succeed."""

    status = 75


class Lock:
    """Hold `path` while the `with` block runs. Raises Held when another trainer is alive."""

    def __init__(self, path: Path):
        self.path = path
        self.token = uuid.uuid4().hex
        self.lost = False  # another trainer took over, for instance after a long suspension
        self._done = threading.Event()

    def __enter__(self) -> "Lock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while not self._create():
            holder = self._holder()
            if holder is not None and alive(holder):
                raise Held(
                    f"{self.path.parent}: being trained by process {holder['process']} on {holder['host']}"
                    f"{' in job ' + holder['job'] if holder['job'] else ''}, last alive "
                    f"{time.time() - holder['beat']:.0f} s ago; wait for it, or stop it first"
                )
            self._clear(holder)
        self._beater = threading.Thread(target=self._beat, daemon=True)
        self._beater.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._beater.join()
        holder = self._holder()
        if holder is not None and holder["token"] == self.token:
            self.path.unlink(missing_ok=True)

    def _content(self) -> str:
        process = psutil.Process()
        job = next((os.environ[name] for name in JOB_VARIABLES if name in os.environ), None)
        facts = {"host": socket.gethostname(), "process": process.pid, "started": process.create_time(), "job": job}
        return json.dumps({**facts, "beat": time.time(), "token": self.token})

    def _create(self) -> bool:
        """Create the file with its content, or not at all: a link fails where the name is taken."""
        draft = self.path.with_name(f".{self.path.name}.{self.token}")
        draft.write_text(self._content())
        try:
            os.link(draft, self.path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def _holder(self) -> dict | None:
        try:
            return json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _clear(self, holder: dict | None) -> None:
        """Move a dead holder's file away. Of two that try, the rename lets one through; the other looks again."""
        aside = self.path.with_name(f".{self.path.name}.{self.token}.dead")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        try:
            moved = json.loads(aside.read_text())
        except ValueError:
            moved = None
        if moved is not None and (holder is None or moved["token"] != holder["token"]):
            # somebody took over between the look and the rename: give it back
            os.link(aside, self.path)
        aside.unlink()

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            holder = self._holder()
            if holder is None or holder["token"] != self.token:
                self.lost = True
                return
            draft = self.path.with_name(f".{self.path.name}.{self.token}")
            draft.write_text(self._content())
            draft.replace(self.path)


def alive(holder: dict) -> bool:
    """Whether the holder of a lock still runs."""
    if holder["host"] != socket.gethostname():
        return time.time() - holder["beat"] < STALE
    try:
        process = psutil.Process(holder["process"])
        return abs(process.create_time() - holder["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
