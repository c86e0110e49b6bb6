"""The developers' tools: figures of a source tree."""

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
