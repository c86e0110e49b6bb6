"""What code, recipes and pages cite of the three papers is there, and is what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.yaml"), *ROOT.glob("docs/*.md")]

# Read off the papers: headings, and the highest equation, table and figure; MBT: both versions.
SECTIONS = {
    "MBT": "1 2 3 3.1 3.2 3.2.1 3.2.2 3.2.3 3.3 3.4 4 4.1 4.2 4.3 4.3.1 4.3.2 4.4 5 "
    "6 7 7.1 7.2 8 9 9.1 9.2 10",
    "AVT": "1 2 3 3.1 3.2 3.2.1 3.3 4 4.1 5",
    "MAFnet": "1 2 2.1 2.2 2.3 2.4 3 3.1 3.2 3.3 3.4 3.5 3.6 4 4.1 4.2 4.3 4.4 4.5 5",
}
NUMBERS = {
    "MBT": {"equation": 9, "table": 7, "figure": 10},
    "AVT": {"equation": 8, "table": 5, "figure": 6},
    "MAFnet": {"equation": 12, "table": 4, "figure": 7},
}
CITED = re.compile(
    r"(MBT|AVT|MAFnet)(?:'s)?,? (section|equation|table|figure)s? "
    r"([0-9][0-9.]*)(?:(?:,| and) ([0-9][0-9.]*))?"
)


def cited() -> list[tuple[str, str, str, str]]:
    """(file, paper, kind, number) of every reference."""
    found = []
    for path in SOURCES:
        text = " ".join(line.strip("# ").strip() for line in path.read_text().splitlines())
        for paper, kind, *numbers in CITED.findall(text):
            numbers = [number.rstrip(".") for number in numbers if number]
            found += [(path.name, paper, kind, number) for number in numbers]
    return found


def test_what_is_cited_exists():
    found = cited()
    assert len(found) > 30
    for file, paper, kind, number in found:
        if kind == "section":
            assert number in SECTIONS[paper].split(), (file, paper, number)
        else:
            assert 1 <= int(number) <= NUMBERS[paper][kind], (file, paper, kind, number)


@pytest.mark.parametrize(
    ("file", "reference"),
    [
        ("objectives/audio_visual/objective.py", "paper AVT, equation 8"),  # the total loss
        ("recipes/pretrain_first.yaml", "Zhu 2024, equation 8"),
        ("objectives/audio_visual/contrastive.py", "paper AVT, section 3.1)"),
        ("objectives/audio_visual/matching.py", "paper AVT, section 3.2)"),
        ("objectives/audio_visual/masking.py", "paper AVT, section 3.2.1)"),
        ("objectives/audio_visual/segments.py", "paper AVT, section 3.2.1)"),
        ("objectives/audio_visual/reconstruction.py", "Paper AVT, section 3.2.1.)"),
        ("media/front_end.py", "paper MAFnet, sections 3.1 and 4.2"),  # seconds; their features
        ("ablate/studies.py", "NeurIPS 2021, section 4.3;"),
        ("recipes/avt/paper-epic.yaml", "(arXiv 2401.04154), sections 3 and 4;"),
    ],
)
def test_what_is_cited_is_there(file, reference):
    assert reference in (ROOT / "src" / "sightsound" / file).read_text()
