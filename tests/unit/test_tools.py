"""The tools for developers: figures of a source tree, and mutants."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"

FIRST = '''\
"""A module."""

import other.second


def public(x: int) -> int:
    """What it gives."""
    # why
    return _once(x) + _twice(x) + _twice(x)


def _once(x: int) -> int:
    return x


def _twice(x: int) -> int:
    return _itself(x)


def _itself(x: int) -> int:
    return _itself(x - 1) if x else 0


class Thing:
    value: int
    """Said of the field."""

    def _method(self) -> None:
        def inner() -> None: ...

        self._used_elsewhere()
        self._used_elsewhere()

    def _used_elsewhere(self) -> None: ...
'''
SECOND = """\
from typing import TYPE_CHECKING

from other.third import _borrowed

if TYPE_CHECKING:
    from other import first


def use(thing: "first.Thing") -> None:
    thing._method()
    _borrowed()
"""
THIRD = """\
def _borrowed() -> None:
    from other.second import use

    use(None)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "other"
    package.mkdir(parents=True)
    texts = {"__init__": "", "first": FIRST, "second": SECOND, "third": THIRD}
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    return tmp_path


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    import measure

    return measure


def test_lines_without_blank_ones_comments_and_docstrings(tree: Path, measure: ModuleType):
    figures = measure.text_figures(tree)
    assert figures["files"] == 4
    assert figures["source lines"] == 20 + 7 + 3
    assert figures["code lines"] == 20 - 4 + 7 + 3
    assert figures["functions"] == 9
    assert figures["test lines"] == 0


def test_helpers_called_once(tree: Path, measure: ModuleType):
    listed = measure.helper_list(tree)
    names = [line.split()[-1] for line in listed.splitlines() if line.startswith(" ")]
    assert names == ["_once", "_itself", "Thing._method", "_borrowed"]
    assert "src/other/first.py: 3, short 3" in listed
    figures = measure.text_figures(tree)
    assert figures["helpers called once"] == 4
    assert figures["helpers called once, share"] == round(4 / 9, 4)


def test_circles_of_imports(tree: Path, measure: ModuleType):
    figures = measure.text_figures(tree)
    assert figures["import circles"] == []
    assert figures["import circles, also in functions"] == [["other.second", "other.third"]]
    assert figures["import circles, also of types"] == [
        ["other.first", "other.second", "other.third"]
    ]


def test_table_shows_figures_before(tree: Path, measure: ModuleType):
    figures = measure.text_figures(tree)
    line = measure.table(figures, before=figures | {"files": 7}).splitlines()[0]
    assert line.split() == ["files", "7", "4"]


def test_a_tree_without_source_is_told(tmp_path: Path, measure: ModuleType):
    with pytest.raises(SystemExit, match="holds no folder 'src'; give a checkout with --root"):
        measure.main(["--root", str(tmp_path)])


def test_trace_counts_functions_below_the_one_that_opens(tree: Path, measure: ModuleType):
    import behaviours

    source = tree / "src" / "other" / "first.py"
    space: dict = {}
    text = FIRST.replace("import other.second", "")
    exec(compile(text, str(source), "exec"), space)
    opens = [None, lambda frame: frame.f_code.co_name == "_twice"]
    found = []
    for choice in opens:
        with behaviours.traced(behaviours.Trace(source.parent, choice)) as trace:
            [space["public"](x) for x in range(1)]
        found.append(trace.figures())
    assert [f["functions"] for f in found] == [4, 2]
    assert [f["depth"] for f in found] == [3, 2]
    assert found[1]["deepest"] == ["first.py:16 _twice", "first.py:20 _itself"]
    assert sys.getprofile() is None


# --- mutants ------------------------------------------------------------------------------------

CODE = '''\
"""Says 1 < 2."""
from typing import TYPE_CHECKING

LIMIT: int = 3


def grows(x: int, *, by: int = 2) -> bool:
    """True if 1 < x."""
    if not x < LIMIT and by is not None:
        raise ValueError(f"{x + 1} is 2 too many")
    return min(x + by, "é" in "é+") >= -x
'''


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    import mutants

    return mutants


def test_mutants_change_one_token_of_code(tmp_path: Path, mutants: ModuleType):
    (tmp_path / "grows.py").write_text(CODE)
    found = mutants.mutants_of(tmp_path, Path("grows.py"))
    assert [(m.line, m.old, m.new) for m in found] == [
        (4, "3", "2"),
        (4, "3", "4"),
        (7, "2", "1"),
        (7, "2", "3"),
        (9, "not ", ""),
        (9, "<", "<="),
        (9, "and", "or"),
        (9, "is not", "is"),
        (11, 'min(x + by, "é" in "é+") >= -x', "None"),
        (11, "min", "max"),
        (11, "+", "-"),
        (11, "in", "not in"),
        (11, ">=", ">"),
        (11, "-", "+"),
    ]
    for mutant in found:
        lines = mutants.changed(CODE, mutant).splitlines()
        differ = [
            n for n, (a, b) in enumerate(zip(lines, CODE.splitlines(), strict=True), 1) if a != b
        ]
        assert differ == [mutant.line]
    assert mutants.changed(CODE, found[-3]).splitlines()[-1].endswith('"é" not in "é+") >= -x')


def test_a_mutant_is_caught_by_the_nearest_test_or_survives(
    tree: Path,
    mutants: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    package, tests = tree / "src" / "other", tree / "tests"
    (package / "sums.py").write_text("def negative(x):\n    return -x\n\n\nLOOSE = True\n")
    (package / "uses.py").write_text("from other.sums import negative\n")
    tests.mkdir()
    near = "import other.sums\n\n\ndef test_broken(): assert False\n\n\n"
    near += "def test_negative(): assert other.sums.negative(1) == -1\n"
    (tests / "test_near.py").write_text(near)
    (tests / "test_far.py").write_text("import other.uses\n\n\ndef test_nothing(): pass\n")
    (tests / "test_apart.py").write_text("def test_nothing(): pass\n")
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    subprocess.run(["git", "add", "."], cwd=tree, check=True)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # twice as fast
    nearest = mutants.Suite(tree, limit=60).nearest("src/other/sums.py")
    assert nearest == ["tests/test_near.py", "tests/test_far.py"]
    monkeypatch.setattr(mutants.random.Random, "sample", lambda self, every, number: every[1:])
    mutants.main(["--root", str(tree), "--quick", "--within=sums.py"])
    caught, survived, *rest = capsys.readouterr().out.splitlines()
    assert "1/2 src/other/sums.py:2:12  -x -> None  caught by tests/test_near.py::test_" in caught
    assert "2/2 src/other/sums.py:5:9  True -> False  SURVIVED" in survived
    assert rest == [
        "caught 1 of 2: 50%",
        "survived: src/other/sums.py:5:9  True -> False",
        "    LOOSE = True",
        "left out, since they fail without a change: tests/test_near.py::test_broken",
    ]


def test_mutants_are_drawn_by_the_seed(
    tree: Path, mutants: ModuleType, capsys: pytest.CaptureFixture[str]
):
    drawn = []
    for arguments in (["--seed=1"], ["--seed=1"], ["--seed=2"], ["--within=first.py"]):
        mutants.main(["--root", str(tree), "--list", "--number=3", *arguments])
        drawn.append(capsys.readouterr().out.splitlines())
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(line.startswith("src/other/first.py:") for line in drawn[3])
    with pytest.raises(SystemExit, match="nothing to change within no; name folders of the pack"):
        mutants.main(["--root", str(tree), "--within=no"])
    with pytest.raises(SystemExit, match="nothing to change at src/other/first.py:1; give FILE:"):
        mutants.main(["--root", str(tree), "--only=src/other/first.py:1"])
