"""The map in docs/architecture.md: every answer names a file, and what is defined in it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "sightsound"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
_ANSWER = re.compile(
    r"^\| (?P<question>[^|]+\?) \| `(?P<file>[\w/]+\.py)`: (?P<names>.*) \|$", re.M
)
ANSWERS = {
    m["question"]: (m["file"], re.findall(r"`(\w+)`", m["names"])) for m in _ANSWER.finditer(PAGE)
}


def test_the_page_answers_ten_questions():
    assert len(ANSWERS) >= 10
    assert len(ANSWERS) == len(re.findall(r"^\| [^|]+\? \|", PAGE, re.M)), "an answer names no file"


@pytest.mark.parametrize("question", ANSWERS)
def test_what_an_answer_names_is_defined_there(question: str):
    file, names = ANSWERS[question]
    defined = set()
    for node in ast.parse((SOURCE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign):
            defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    assert names and set(names) <= defined


def test_every_folder_and_file_of_the_page_is_there():
    table = PAGE.split("## Layers")[1].split("## ")[0]
    named = re.findall(r"`([\w/]+(?:/|\.py))`", table)
    missing = [name for name in named if not any(SOURCE.rglob(name.rstrip("/")))]
    assert named and not missing


def test_the_page_names_every_folder():
    table = PAGE.split("## Layers")[1].split("## ")[0]
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"pages"}
    assert not [name for name in folders if f"`{name}/`" not in table]


def test_the_map_of_the_readme_names_every_folder_and_no_other():
    block = (ROOT / "README.md").read_text().split("## Where things are")[1].split("```")[1]
    named = set(re.findall(r"(?:^  |;  )(\w+)/", block, re.M))
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")} | {"recipes"}
    assert named - {"tools"} == folders - {"pages"}
