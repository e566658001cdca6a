"""Imports run one way, and the command line starts without what it may not need."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/trm"
MODULES = {
    ".".join(("trm", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}

# Each part may import those of the lines above it, and itself
ORDER = [
    {"files", "draws", "progress", "provenance", "torchrun"},
    {"trees"},
    {"config", "tensors", "distribution"},
    {"puzzles"},
    {"data", "models"},
    {"runs"},
    {"evaluation", "hub"},
    {"training", "huggingface"},
    {"reporting", "bench"},
    {"operations", "library"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(ORDER) for part in parts}


def imports(name: str, typing: bool = True) -> set[str]:
    """The modules of the package that a module imports, inside functions too; `typing`: for type checkers as well."""
    found = set()
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    if not typing:
        tree.body = [node for node in tree.body if ast.unparse(node).partition("\n")[0] != "if TYPE_CHECKING:"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
    return {module for module in found if module.startswith("trm.")}


def part(module: str) -> str:
    return module.split(".")[1]


def test_every_module_has_its_place():
    assert {part(name) for name in MODULES if name != "trm"} <= RANK.keys()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name):
    if name == "trm":  # all that it offers it imports when asked for it; tests/test_library.py sees to that
        assert imports(name, typing=False) == set()
        return
    wrong = {other for other in imports(name) if part(other) != part(name) and RANK[part(other)] >= RANK[part(name)]}
    assert wrong == set()


def test_no_module_imports_itself_by_detours():
    list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())


def test_models_know_neither_files_nor_puzzles():
    used = {part(other) for name in MODULES if name.startswith("trm.models") for other in imports(name)}
    assert used == {"config", "models"}


def test_the_command_line_starts_without_heavy_packages():
    program = "import sys, trm.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "trm.cli" in loaded
    assert {"torch", "matplotlib", "pandas", "numba"} & set(loaded) == set()
