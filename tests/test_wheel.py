"""The built wheel alone is enough: installed beside the packages of the lock, it builds, trains, scores and solves."""

import subprocess
import zipfile

import pytest
import yaml

from tests.conftest import TINY
from tests.test_library import BOARD
from tests.wheels import ROOT, build_wheel, environment, fresh_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_every_file_of_the_package(wheel):
    source = ROOT / "src"
    files = {str(path.relative_to(source)) for path in (source / "trm").rglob("*") if path.is_file()}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("trm/")}
    assert packed == {name for name in files if "__pycache__" not in name}
    assert {"trm/py.typed", "trm/reporting/report.html", "trm/reporting/trm.mplstyle"} <= packed


def test_the_wheel_in_a_fresh_environment_that_links_the_locked_packages(wheel, tmp_path):
    commands = fresh_environment(tmp_path)
    place = tmp_path / "elsewhere"
    place.mkdir()

    def run(*command):
        done = subprocess.run(command, cwd=place, env=environment(commands), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(commands / "pip", "install", "--quiet", "--no-index", wheel)  # its dependencies are there, in its ranges
    where = run(commands / "python", "-c", "import trm.cli; print(trm.cli.__file__)")
    assert where.startswith(str(tmp_path / "venv"))
    assert "Tiny Recursive Models" in run("trm", "--help")
    assert run("trm", "--version").strip() in wheel.name
    (place / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    run("trm", "build", "tiny.yaml", "--out", "data")
    run("trm", "show", "data", "--out", "data.png")
    run("trm", "train", "tiny.yaml", "--data", "data", "--out", "run")
    assert "exact_accuracy" in run("trm", "evaluate", "run", "--data", "data", "--out", "run")
    assert "valid: " in run("trm", "solve", "run", BOARD)
    run("trm", "figure", "learning-curve", "run", "--out", "curve")
