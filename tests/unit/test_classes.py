"""The class lists that ship with the package."""

import csv
import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sightsound.data.datasets.classes import LISTS, class_lists, class_names

NUMBERS = {
    "audioset": 527,
    "kinetics-sounds-31": 31,
    "kinetics-sounds-32": 32,
    "kinetics-sounds-34": 34,
}


def test_every_list_is_known_here():
    assert class_lists() == sorted(NUMBERS)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_names_are_distinct_and_numbered_without_gaps(name):
    names = class_names(name)
    assert len(names) == len(set(names)) == NUMBERS[name]
    assert all(each == each.strip() and each and "|" not in each for each in names)
    with (LISTS / f"{name}.csv").open(newline="") as file:
        assert [int(row["index"]) for row in csv.DictReader(file)] == list(range(NUMBERS[name]))
    assert f"`{name}`" in (LISTS / "README.md").read_text(), "where is it from?"


def test_audioset_is_the_published_file():
    """Of 14,675 bytes; two public copies agree on them."""
    text = (LISTS / "audioset.csv").read_text()
    assert text.splitlines()[:2] == ["index,mid,display_name", '0,/m/09x0r,"Speech"']
    with (LISTS / "audioset.csv").open(newline="") as file:
        mids = [row["mid"] for row in csv.DictReader(file)]
    assert len(set(mids)) == 527 and mids[-1] == "/m/07hvw1"
    names = class_names("audioset")
    assert (names[1], names[432], names[526]) == (
        "Male speech, man speaking",
        "Fireworks",
        "Field recording",
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "cdd1049833c4"


def test_how_the_lists_of_kinetics_sounds_differ():
    small, middle, large = (set(class_names(f"kinetics-sounds-{n}")) for n in (31, 32, 34))
    assert middle - small == {"strumming guitar"} and small < middle
    assert len(large - middle) == 7 and len(large & middle) == 27


def test_an_unknown_list_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="unknown class list 'audioste'; known: audioset, kinet"):
        class_names("audioste")
    with pytest.raises(ValueError, match="Did you mean 'audioset'?"):
        class_names("audioste")


def test_reading_a_list_does_not_import_torch():
    code = "import sys; from sightsound.data.datasets.classes import class_names"
    code += "; class_names('audioset')"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_recipes_and_lists_are_in_the_package():
    """What `pip install` copies: every file below recipes/ matches a pattern of package-data."""
    pyproject = Path(__file__).resolve().parents[2] / "pyproject.toml"
    patterns = tomllib.loads(pyproject.read_text())["tool"]["setuptools"]["package-data"]
    package = LISTS.parents[1]
    covered = {file for pattern in patterns["sightsound"] for file in package.glob(pattern)}
    assert {file for file in LISTS.parent.rglob("*") if file.is_file()} <= covered
