"""The container's definition is built where Apptainer or Docker is at hand; its steps run here in any case.

They run as they stand in envs/trm.def, in a throw-away copy of this machine: an overlay over its root whose changes
stay in memory, with a fresh virtual environment in the place of the image's Python. What they installed then has to
build a dataset and train on it, without a network.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY

REPOSITORY = Path(__file__).parents[2]
DEFINITION = (REPOSITORY / "envs" / "trm.def").read_text()
DOCKERFILE = (REPOSITORY / "envs" / "Dockerfile").read_text()

# what the definition's files and steps run in: $1 is a folder of this machine, seen inside too
CHROOT = """
set -eu
mount -t tmpfs tmpfs "$1/copy"
mkdir "$1/copy/upper" "$1/copy/work" "$1/copy/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/copy/upper,workdir=$1/copy/work" "$1/copy/root"
mount -t proc proc "$1/copy/root/proc"
mount --rbind /dev "$1/copy/root/dev"
chroot "$1/copy/root" /bin/sh "$1/outside.sh"
unshare --net chroot "$1/copy/root" /bin/sh "$1/inside.sh"
"""


def section(name: str) -> str:
    """The text of a section of the definition."""
    return re.search(rf"(?ms)^%{name}\n(.*?)(?=^%|\Z)", DEFINITION)[1]


def files() -> list[tuple[str, str]]:
    """What the definition copies, from where to where."""
    return [tuple(line.split()) for line in section("files").splitlines() if line.strip()]


def commands(text: str) -> list[str]:
    """The commands of a shell script, comments and `set` apart, those joined by && one by one."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    parts = [part.partition("  #")[0].strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part and not part.startswith(("set ", "#"))]


def overlays() -> bool:
    """Whether an overlay can be mounted here."""
    mounted = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t "
               "overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"]  # fmt: skip
    return shutil.which("unshare") is not None and subprocess.run(mounted, capture_output=True).returncode == 0


def test_both_definitions_take_the_same_steps():
    image = re.search(r"(?m)^From: (.+)$", DEFINITION)[1]
    assert f"FROM {image}\n" in DOCKERFILE
    runs = re.findall(r"(?ms)^RUN (.*?[^\\])\n", DOCKERFILE)
    ours = [command for command in commands(section("post")) if not command.startswith("cd ")]
    assert [command for run in runs for command in commands(run)] == ours
    copied = [name for line in re.findall(r"(?m)^COPY (.+) \S+$", DOCKERFILE) for name in line.split()]
    assert sorted(copied) == sorted(source for source, _ in files())
    assert all((REPOSITORY / name).exists() for name in copied)
    for variable in re.findall(r"export (\S+)", section("environment")):
        assert variable in DOCKERFILE


@pytest.mark.slow
@pytest.mark.skipif(not overlays(), reason="no overlay can be mounted here: not root")
def test_its_steps_install_what_trains_without_a_network(tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    copies = "\n".join(f"mkdir -p $(dirname {to}); cp -r {REPOSITORY / source} {to}" for source, to in files())
    fresh = "export PATH=/opt/image/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=\n"
    (tmp_path / "post.sh").write_text(section("post"))
    (tmp_path / "outside.sh").write_text(
        f"set -eu\npython3 -m venv /opt/image\n{fresh}{copies}\nsh {tmp_path}/post.sh\n".replace(
            "python3", shutil.which("python3.11") or shutil.which("python3"), 1
        )
    )
    (tmp_path / "inside.sh").write_text(
        f"set -eu\n{fresh}{section('environment')}\nset -x\n{section('test')}\ncd {tmp_path}\ntrm --help\n"
        "python -c 'import trm; print(trm.__file__)'\n"
        "trm build tiny.yaml --out data\ntrm train tiny.yaml --data data --out run\n"
        "trm evaluate run --data data --out run\n"
    )
    (tmp_path / "enter.sh").write_text(CHROOT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}
    done = subprocess.run(
        ["unshare", "--mount", "sh", str(tmp_path / "enter.sh"), str(tmp_path)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "/opt/image/lib" in done.stdout
    assert "exact_accuracy" in done.stdout
    assert not Path("/opt/image").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apptainer") is None, reason="no apptainer on PATH")
def test_apptainer_builds_it(tmp_path):
    image = tmp_path / "trm.sif"
    subprocess.run(["apptainer", "build", str(image), "envs/trm.def"], cwd=REPOSITORY, check=True)
    said = subprocess.run(["apptainer", "run", str(image), "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"[\d.]+\n", said.stdout)


def docker_answers() -> bool:
    return (
        shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not docker_answers(), reason="no Docker that answers")
def test_docker_builds_it():
    build = ["docker", "build", "--tag", "trm-test", "--file", "envs/Dockerfile", "."]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    said = subprocess.run(["docker", "run", "--rm", "trm-test", "trm", "--version"], capture_output=True, text=True)
    assert re.fullmatch(r"[\d.]+\n", said.stdout)
