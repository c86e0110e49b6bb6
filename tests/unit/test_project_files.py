"""The files around the code: workflows, forms, hooks and release notes fit the project."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@pytest.fixture
def release_notes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield __import__("release_notes")
    sys.modules.pop("release_notes")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows(path):
    workflow = load(path)
    assert workflow.keys() >= {"name", True, "permissions", "jobs"}  # YAML reads "on" as True
    for job in workflow["jobs"].values():
        assert job.keys() >= {"runs-on", "timeout-minutes", "steps"}
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
                assert f"\n{target}:" in MAKEFILE
            for script in re.findall(r"python (\S+\.py)", step.get("run", "")):
                assert (ROOT / script).is_file()


def test_every_extra_and_python_is_tried():
    jobs = load(ROOT / ".github/workflows/ci.yml")["jobs"]
    pythons = ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == f">={pythons[0]}"
    for job in ("tests", "installs"):
        assert jobs[job]["strategy"]["matrix"]["python"] == pythons
    matrix = jobs["installs"]["strategy"]["matrix"]
    extras = PROJECT["project"]["optional-dependencies"].keys() - {"dev"}
    assert set(matrix["extra"]) == extras | {"base"}
    assert [row["extra"] for row in matrix["include"]] == matrix["extra"]


def test_tests_have_every_extra():
    extras = PROJECT["project"]["optional-dependencies"]
    (own,) = [need for need in extras["dev"] if need.startswith("sightsound[")]
    assert set(own.removeprefix("sightsound[").rstrip("]").split(",")) == extras.keys() - {"dev"}


def test_every_package_is_pinned():
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins()}
    extras = PROJECT["project"]["optional-dependencies"].values()
    for need in sum(extras, PROJECT["project"]["dependencies"]):
        name = re.match(r"[\w-]+", need)[0].lower().replace("_", "-")
        assert name in pinned | {"sightsound"}, f"constraints.txt lacks {name}"


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert not [line for line in lines if line.startswith(("torchvision", "torchaudio", "timm"))]
    return lines


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms(path):
    form = load(path)
    if path.stem == "config":
        assert form == {"blank_issues_enabled": False}
        return
    assert form.keys() == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["type"] == "textarea" for field in form["body"])
    assert all(field["attributes"]["label"] for field in form["body"])


def test_release_categories_end_with_the_rest():
    assert load(ROOT / ".github/release.yml")["changelog"]["categories"][-1]["labels"] == ["*"]


def test_hooks_are_the_tools_of_make():
    (local,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        tool = re.match(r"\.venv/bin/(ruff \w+|mypy)", hook["entry"])[1]
        assert f"$(BIN)/{tool}" in MAKEFILE and hook["language"] == "system"


def test_the_page_names_commands_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"`make ([a-z-]+)", text)) - {"benchmark-"}
    assert targets >= {"test", "format", "lint", "types", "coverage"}
    assert all(f"\n{target}:" in MAKEFILE for target in targets)


LOG = """# Changelog

## 0.2.0 (unreleased)

- later

## 0.1.1

## 0.1.0 (2027-01-31)

### Models

- AVT

[a]: b
"""


@pytest.mark.parametrize("version", ["0.1.0", "v0.1.0"])
def test_release_notes_are_the_section(release_notes, version):
    notes = release_notes.release_notes(LOG, version)
    assert notes == "### Models\n\n- AVT\n\n[a]: b"


@pytest.mark.parametrize(
    "version, message",
    [
        ("0.2.0", r"'## 0.2.0 \(unreleased\)': put the date of the release there"),
        ("0.1.1", "'## 0.1.1' says nothing"),
        ("0.1", "no section '## 0.1'; it has: 0.2.0, 0.1.1, 0.1.0"),
    ],
)
def test_what_cannot_be_released(release_notes, version, message):
    with pytest.raises(ValueError, match=message):
        release_notes.release_notes(LOG, version)


def test_the_changelog_has_a_section_of_this_version():
    assert f"\n## {PROJECT['project']['version']} " in (ROOT / "CHANGELOG.md").read_text()
