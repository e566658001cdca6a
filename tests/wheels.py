"""The package as its users have it: a wheel, in a virtual environment of its own, away from the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_wheel(folder: Path) -> Path:
    """The wheel of the package as it stands, made in a copy, since setuptools leaves its works where it runs."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src/trm", source / "src/trm", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True)
    shutil.rmtree(source)
    [wheel] = folder.glob("*.whl")
    return wheel


def fresh_environment(folder: Path) -> Path:
    """A new virtual environment that has the packages of this one, but for trm; returns its folder of commands.

    They are linked, for the sake of time, and pip sees them there as installed.
    """
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    # Python 3.11 brings an old one along, which would stand before that of the lock
    subprocess.run([folder / "venv/bin/pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True)
    packages = folder / "packages"
    packages.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("trm-", "__editable__", "pip", "__pycache__")):
            (packages / path.name).symlink_to(path)
    [site] = (folder / "venv/lib").glob("python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n")
    return folder / "venv/bin"


def environment(commands: Path) -> dict[str, str]:
    """Variables for processes in a fresh environment, without what leads back to this one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "TRM_"))}
    return kept | {"PATH": f"{commands}:/usr/bin:/bin"}
