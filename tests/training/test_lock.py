"""Two trainers never work on one run."""

import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.training.runs_of_processes import Training
from trm.training import lock
from trm.training.lock import Held, Lock


def test_a_second_trainer_stops_and_says_who_trains(data, tmp_path):
    first = Training(tmp_path, data, epochs=40000, max_steps=30000)
    first.start()
    while not first.checkpoints:
        time.sleep(0.02)
    process = first.process
    second = Training(tmp_path, data, epochs=40000, max_steps=30000)
    assert second.run() == 75
    assert f"being trained by process {process.pid}" in second.log
    first.kill()


def holder(**changes):
    process = psutil.Process()
    facts = {"host": lock.socket.gethostname(), "process": process.pid, "started": process.create_time()}
    return {**facts, "job": None, "beat": time.time(), "token": "other", **changes}


@pytest.mark.parametrize(
    ("changes", "lives"),
    [
        ({}, True),
        ({"started": 1.0}, False),  # the number went to another process since
        ({"process": 2**22 + 1}, False),
        ({"host": "elsewhere"}, True),
        ({"host": "elsewhere", "beat": time.time() - 1000}, False),
    ],
)
def test_a_holder_is_judged_by_its_process_here_and_its_heartbeat_elsewhere(tmp_path, changes, lives):
    path = tmp_path / "lock.json"
    path.write_text(json.dumps(holder(**changes)))
    if lives:
        with pytest.raises(Held, match="being trained by process"), Lock(path):
            pass
        assert json.loads(path.read_text())["token"] == "other"
    else:
        with Lock(path) as held:
            assert json.loads(path.read_text())["token"] == held.token
        assert not path.exists()


def test_a_killed_holder_is_followed_at_once(tmp_path):
    code = "import sys; from pathlib import Path; from trm.training.lock import Lock; "
    code += "Lock(Path(sys.argv[1])).__enter__(); print('held', flush=True); import time; time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock.json")], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(Held), Lock(tmp_path / "lock.json"):
        pass
    other.kill()
    other.wait()
    with Lock(tmp_path / "lock.json"):
        pass


def test_of_many_that_follow_a_dead_holder_one_gets_through(tmp_path):
    for _ in range(20):
        path = tmp_path / "lock.json"
        path.write_text(json.dumps(holder(process=2**22 + 1)))
        inside, most, refused = [], [], []
        gate = threading.Barrier(8)

        def contend(path=path, inside=inside, most=most, refused=refused, gate=gate):
            gate.wait()
            try:
                with Lock(path):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.01)
                    inside.pop()
            except Held:
                refused.append(1)

        threads = [threading.Thread(target=contend) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == 1
        assert len(most) + len(refused) == 8


def test_a_holder_notices_that_it_lost_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    path = tmp_path / "lock.json"
    with Lock(path) as held:
        time.sleep(0.05)
        assert json.loads(path.read_text())["token"] == held.token
        path.write_text(json.dumps(holder(process=os.getpid())))
        deadline = time.time() + 5
        while not held.lost and time.time() < deadline:
            time.sleep(0.01)
        assert held.lost
    assert json.loads(path.read_text())["token"] == "other"
