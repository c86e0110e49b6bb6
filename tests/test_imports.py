"""Imports point one way: to lower layers or the own wing, and no two files import each other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from sightsound import registry

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sightsound"

LAYERS = (
    "files library_errors moved optional registry seeding types",
    "media metrics nn pages",
    "config figures models",
    "data objectives",
    "doctor preview weights",
    "features",
    "build",
    "flops predict",
    "explain retrieval",
    "diagnostics evaluation timeline",
    "report train",
    "ablate demo",
    "commands",
    "cli",
    "__main__",
)
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
APART = [{"media", "nn"}, {"data", "models"}]
TABLES = [table for name, table in vars(registry).items() if name.isupper()]
SIBLINGS_APART = (
    "models/fusion",
    "models/backbones",
    "objectives",
    "data/augment",
    "data/datasets",
    "features/encoders",
)

MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts != ("__init__.py",)
)


NAMES = {
    ".".join(("sightsound", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in MODULES
}


def imported(path: Path) -> set[str]:
    """Names of the sightsound modules that the file imports, at any depth of nesting."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sightsound"):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & NAMES.keys()) or {node.module}
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names if a.name.startswith("sightsound")}
    return names


def part(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path):
    own = part(path.relative_to(SOURCE).parts)
    assert own in LAYER, f"{own} has no layer: add it to LAYERS"
    for name in imported(path):
        if name == "sightsound":
            continue
        other = name.split(".")[1]
        assert other == own or LAYER[other] < LAYER[own], f"{path.name} imports {name}"
        assert {own, other} not in APART, f"{path.name} imports {name}"


def test_no_files_import_each_other():
    graph = {name: imported(path) & NAMES.keys() for name, path in NAMES.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("folder", SIBLINGS_APART)
def test_entries_of_a_table_do_not_import_each_other(folder: str):
    prefix = "sightsound." + folder.replace("/", ".") + "."
    entries = {entry.split(":")[0] for table in TABLES for entry in table.values()}
    entries = {name for name in entries if name.startswith(prefix)}
    for name in entries:
        assert not imported(NAMES[name]) & entries, name
