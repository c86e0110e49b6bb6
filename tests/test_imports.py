"""The direction of imports: a module imports only from lower layers or its own sub-package."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sightsound"

LAYERS = {
    0: "files library_errors types settings seeding registry optional options",
    1: "media nn pages",
    2: "data models",
    3: "objectives weights metrics",
    3.2: "statistics",
    3.5: "encoding",
    4: "run",
    4.5: "configuration",
    5: "predict extract",
    6: "evaluate explain profile retrieval",
    6.5: "compare vggsounder probing timeline",
    7: "train",
    8: "recipes demo ablate baselines report",
    9: "commands",
    9.5: "cli",
    10: "__main__",
}
LAYER = {name: level for level, names in LAYERS.items() for name in names.split()}
APART = [{"media", "nn"}, {"data", "models"}]
SIBLINGS_APART = (
    "models/fusion",
    "models/backbones",
    "objectives",
    "data/augment",
    "data/datasets",
)

MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts != ("__init__.py",)
)


def imported(path: Path) -> list[str]:
    """Names of sightsound modules that the file imports, at any depth of nesting."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sightsound"):
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names if a.name.startswith("sightsound")]
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


@pytest.mark.parametrize("folder", SIBLINGS_APART)
def test_siblings_do_not_import_each_other(folder: str):
    prefix = "sightsound." + folder.replace("/", ".") + "."
    for path in (SOURCE / folder).glob("*.py"):
        if path.name != "__init__.py":
            assert not [n for n in imported(path) if n.startswith(prefix)], path
