"""A real SLURM on this machine: two nodes with two make-believe GPUs each, on the loopback device, without accounting.

Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge
"""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "munged")
CLIENTS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo", "sacctmgr")
SEARCH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIGURATION = """
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={state}/munge.sock
CredType=cred/munge
SlurmctldPort={controller}
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/%n.log
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=5
MinJobAge=300
MpiDefault=none
GresTypes=gpu
NodeName=n[1-2] NodeHostName={host} NodeAddr=127.0.0.1 Port=[{nodes}] CPUs=4 RealMemory=20000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes=n[1-2] Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes=n[1-2] MaxTime=60 State=UP
"""


def missing() -> list[str]:
    """Programs of SLURM that are not installed here."""
    return [name for name in NEEDED if shutil.which(name, path=SEARCH) is None]


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens at."""
    for first in range(16_817, 30_000, count):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise OSError("no free ports")


class Slurm:
    """Its daemons and their state in `state`, a folder that only we may write to."""

    def __init__(self, state: Path):
        self.state = state
        self.daemons: dict[str, subprocess.Popen] = {}
        controller, *nodes = free_ports(3)
        for folder in ("controller", "n1", "n2", "bin"):
            (state / folder).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        values = {"host": host, "user": getpass.getuser(), "state": state, "controller": controller}
        values |= {"nodes": f"{nodes[0]}-{nodes[1]}", "proctrack": self.proctrack}
        (state / "slurm.conf").write_text(CONFIGURATION.format(**values))
        if self.proctrack == "cgroup":
            (state / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainCores=no\n")
        devices = "".join(f"NodeName=n[1-2] Name=gpu File=/dev/{name}\n" for name in ("null", "zero"))
        (state / "gres.conf").write_text(f"AutoDetect=off\n{devices}")
        (state / "munge.key").write_bytes(os.urandom(1024))
        (state / "munge.key").chmod(0o600)
        # the plugin takes SLURM_CONF from the environment of a job's steps
        for name in CLIENTS:
            path = shutil.which(name, path=SEARCH)
            (state / "bin" / name).write_text(f'#!/bin/sh\nSLURM_CONF={state}/slurm.conf exec {path} "$@"\n')
            (state / "bin" / name).chmod(0o755)

    @property
    def proctrack(self) -> str:
        """Control groups are the truer test of kills: signals reach the leader of a step alone. They take root."""
        return "cgroup" if os.geteuid() == 0 and Path("/sys/fs/cgroup/freezer").is_dir() else "linuxproc"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.state}/bin:{SEARCH}", "SLURM_CONF": f"{self.state}/slurm.conf"}

    def start(self) -> None:
        files = [f"--{name}-file={self.state}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={self.state}/munge.sock", *files)
        self._wait(lambda: (self.state / "munge.sock").exists(), "munge's socket")
        self.start_controller(clean=True)
        for node in ("n1", "n2"):
            self._start("slurmd", "-D", "-N", node, name=node)
        self._wait(lambda: self.run("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 4, "idle nodes")

    def start_controller(self, clean: bool = False) -> None:
        self._start("slurmctld", "-D", *(["-c"] if clean else []))
        self._wait(lambda: "UP" in self.run("scontrol", "ping"), "slurmctld")

    def _start(self, program: str, *options: str, name: str = "") -> None:
        log = open(self.state / f"{name or program}.out", "ab")  # noqa: SIM115
        self.daemons[name or program] = subprocess.Popen(
            [shutil.which(program, path=SEARCH), *options],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _wait(self, ready, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = [path.read_text()[-2000:] for path in self.state.glob("*.log")]
                raise TimeoutError("\n".join([f"no {what} after {seconds:.0f} s", *logs]))
            time.sleep(0.2)

    def stop_daemon(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.terminate()
        daemon.wait(timeout=60)

    def stop(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.run("scancel", "--user", getpass.getuser(), "--signal=KILL")
            self.run("scancel", "--user", getpass.getuser())
            self._wait(lambda: not self.run("squeue", "-h"), "empty queue", 30)
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons.values():
            daemon.wait(timeout=60)

    def run(self, *command: str) -> str:
        """What a client prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, timeout=60).stdout

    def jobs(self, *states: str) -> dict[str, str]:
        """Numbers and comments of the jobs in these states (all: any)."""
        lines = self.run("squeue", "-h", "-t", ",".join(states or ("all",)), "-o", "%i|%k").splitlines()
        return dict(line.split("|", 1) for line in lines)

    def job(self, number: str) -> dict[str, str]:
        """What scontrol knows of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "show", "job", number, "-o")))
