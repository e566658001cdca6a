"""Stand-ins for LSF's commands, as IBM documents them: no LSF can be had without a licence.

    bsub, bjobs, bkill, badmin, lsclusters, bhist     links to a script that calls `main` here, on PATH

A job is a process of its own, whose tree gets the signals that LSF would send: `-wa` at `-wt` before the run limit,
USR2 at the limit, KILL ten minutes later; INT, TERM and KILL from bkill. `minute` says how many seconds one takes.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

COMMANDS = ("bsub", "bjobs", "bkill", "badmin", "lsclusters", "bhist")
KILL_AFTER = {"run limit": 10.0, "bkill": 10 / 60}  # minutes (JOB_TERMINATE_INTERVAL of bkill: 10 seconds)


class Lsf:
    """The state of a cluster in a folder."""

    def __init__(self, state: Path):
        self.state = state

    @classmethod
    def create(cls, state: Path, minute: float = 60.0) -> "Lsf":
        for folder in ("jobs", "bin", "share/puzzles/logdir", "conf/lsbatch/puzzles/configdir"):
            (state / folder).mkdir(parents=True)
        (state / "minute").write_text(str(minute))
        (state / "share/puzzles/logdir/lsb.events").touch()
        (state / "conf/lsbatch/puzzles/configdir/lsb.params").write_text(
            "Begin Parameters\nDEFAULT_QUEUE = normal  # of all\nEnd Parameters\n"
        )
        for name in COMMANDS:
            script = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); "
            script += f"from tests.cluster.lsf import main; main({name!r}, {str(state)!r}, sys.argv[1:])"
            (state / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}" "$@"\n')
            (state / "bin" / name).chmod(0o755)
        return cls(state)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.state}/bin:{os.environ['PATH']}"}

    @property
    def minute(self) -> float:
        return float((self.state / "minute").read_text())

    def job(self, number: int) -> dict:
        return json.loads((self.state / "jobs" / f"{number}.json").read_text())

    def jobs(self) -> list[dict]:
        numbers = sorted(int(path.stem) for path in (self.state / "jobs").glob("*.json"))
        return [self.job(number) for number in numbers]

    def write(self, job: dict) -> None:
        path = self.state / "jobs" / f"{job['id']}.json"
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(job))
        draft.replace(path)

    def update(self, number: int, **changes: object) -> None:
        self.write(self.job(number) | changes)

    def lose(self, number: int, lost: bool = True) -> None:
        """Lose sight of a job's host, or find it again: the job runs on, and is UNKWN meanwhile."""
        mark = self.state / "jobs" / f"{number}.lost"
        mark.touch() if lost else mark.unlink()

    def run(self, *command: str) -> None:
        """Run a command, as a user would."""
        subprocess.run([self.state / "bin" / command[0], *command[1:]], check=True)

    def kill(self, number: int) -> None:
        """KILL to the whole tree of a job, at once."""
        send(self.job(number)["process"], signal.SIGKILL)

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of all calls of a command so far."""
        path = self.state / f"{name}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def stop(self) -> None:
        for job in self.jobs():
            for process in tree(job.get("process")):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def tree(number: int | None) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        process = psutil.Process(number) if number else None
    except psutil.NoSuchProcess:
        process = None
    return [process, *process.children(recursive=True)] if process else []


def send(number: int | None, what: int) -> None:
    for process in tree(number):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)


def main(name: str, state: str, arguments: list[str]) -> None:
    cluster = Lsf(Path(state))
    with open(cluster.state / f"{name}.calls", "a") as file:
        file.write(json.dumps(arguments) + "\n")
    sys.exit(globals()[name](cluster, arguments))


def minutes(text: str) -> int:
    hours, _, rest = text.rpartition(":")
    return 60 * int(hours or 0) + int(rest)


def bsub(cluster: Lsf, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bsub", allow_abbrev=False)
    for option in ("-J", "-o", "-e", "-env", "-P", "-q", "-gpu", "-wa", "-cwd", "-M"):
        parser.add_argument(option)
    for option in ("-W", "-wt"):
        parser.add_argument(option, type=minutes)
    parser.add_argument("-n", type=int, default=1)
    parser.add_argument("-R", action="append", default=[])
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    if (given.wa is None) != (given.wt is None):
        print("-wa and -wt must be specified together. Job not submitted.", file=sys.stderr)
        return 255
    number = len(list((cluster.state / "jobs").glob("*.json"))) + 1
    queue = given.q or "normal"
    cluster.write({"id": number, "stat": "PEND", "queue": queue, "submitted": time.time()} | vars(given))
    subprocess.Popen(
        [sys.executable, "-c", f"from tests.cluster.lsf import run; run({str(cluster.state)!r}, {number})"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=open(cluster.state / "daemon.log", "ab"),  # noqa: SIM115
        stderr=subprocess.STDOUT,
        start_new_session=True,
        close_fds=True,
    )
    print(f"Job <{number}> is submitted to queue <{queue}>.")
    return 0


def run(state: str, number: int) -> None:
    """What sbatchd does with a job on its host."""
    cluster = Lsf(Path(state))
    job, host = cluster.job(number), "host1"
    time.sleep(1)
    if cluster.job(number)["stat"] != "PEND":  # killed meanwhile
        return
    started = time.monotonic()
    with open(job["o"], "ab") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", shlex.join(job["command"]) if len(job["command"]) > 1 else job["command"][0]],
            cwd=job["cwd"],
            env={
                **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
                "LSB_JOBID": str(number),
                "LSB_QUEUE": job["queue"],
                "LSB_HOSTS": " ".join([host] * job["n"]),
                "LSB_MCPU_HOSTS": f"{host} {job['n']}",
                "LSB_JOBNAME": job["J"],
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        cluster.update(number, stat="RUN", process=process.pid, began=time.time())
        # (minutes, signal, why), in order
        plan = []
        if job["W"]:
            if job["wa"]:
                plan.append((job["W"] - job["wt"], signal.Signals[f"SIG{job['wa']}"], None))
            plan.append((job["W"], signal.SIGUSR2, "TERM_RUNLIMIT: job killed after reaching LSF run time limit."))
            plan.append((job["W"] + KILL_AFTER["run limit"], signal.SIGKILL, None))
        why = None
        while process.poll() is None:
            elapsed = (time.monotonic() - started) / cluster.minute
            if plan and elapsed >= plan[0][0]:
                _, what, reason = plan.pop(0)
                why = reason or why
                send(process.pid, what)
            time.sleep(0.05)
        for orphan in tree(process.pid)[1:]:
            orphan.kill()
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        if cluster.job(number).get("bkilled"):
            why = "TERM_OWNER: job killed by owner."
        ending = "Successfully completed." if status == 0 else f"Exited with exit code {status}."
        report = f"\n{'-' * 60}\nSender: LSF System\nSubject: Job {number}: <{job['J']}> in cluster <puzzles> "
        report += f"{'Done' if status == 0 else 'Exited'}\n\n{why or ending}\n"
        log.write(report.encode())
    cluster.update(number, stat="EXIT" if status else "DONE", status=status, ended=time.time())


def bjobs(cluster: Lsf, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bjobs", allow_abbrev=False)
    parser.add_argument("-noheader", action="store_true")
    parser.add_argument("-o", required=True)
    parser.add_argument("-aJ", default="*")  # -a and -J in one
    given = parser.parse_args(arguments)
    found = [job for job in cluster.jobs() if fnmatch.fnmatchcase(job["J"], given.aJ)]
    if not found:
        print(f"Job <{given.aJ}> is not found", file=sys.stderr)
        return 255
    for job in found:
        lost = (cluster.state / "jobs" / f"{job['id']}.lost").exists()
        values = {"jobid": job["id"], "stat": "UNKWN" if lost else job["stat"]}
        print(*(values[field] for field in given.o.split()))
    return 0


def bkill(cluster: Lsf, arguments: list[str]) -> int:
    for argument in arguments:
        job = cluster.job(int(argument))
        if job["stat"] in ("DONE", "EXIT"):
            print(f"Job <{argument}>: Job has already finished", file=sys.stderr)
            continue
        print(f"Job <{argument}> is being terminated")
        cluster.update(job["id"], bkilled=True, **({"stat": "EXIT"} if job["stat"] == "PEND" else {}))
        if job["stat"] == "PEND":
            continue
        send(job["process"], signal.SIGCONT)
        send(job["process"], signal.SIGINT)
        pause = 60 * KILL_AFTER["bkill"]
        later = f"import time; from tests.cluster.lsf import send; time.sleep({pause}); send({job['process']}, 15); "
        later += f"time.sleep({pause}); send({job['process']}, 9)"
        subprocess.Popen(
            [sys.executable, "-c", later],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return 0


def badmin(cluster: Lsf, arguments: list[str]) -> int:
    assert arguments == ["showconf", "mbd"], arguments
    print("MBD configuration at Fri Nov 20 12:00:00 2026")
    for key, value in (
        ("LSB_SHAREDIR", cluster.state / "share"),
        ("LSF_CONFDIR", cluster.state / "conf"),
        ("LSF_UNIT_FOR_LIMITS", "MB"),
    ):
        print(f"        {key} = {value}")
    return 0


def lsclusters(cluster: Lsf, arguments: list[str]) -> int:
    print("CLUSTER_NAME   STATUS   MASTER_HOST   ADMIN    HOSTS  SERVERS")
    print("puzzles        ok       host1         lsfadmin     1        1")
    return 0


def bhist(cluster: Lsf, arguments: list[str]) -> int:
    print("No matching job found", file=sys.stderr)
    return 255
