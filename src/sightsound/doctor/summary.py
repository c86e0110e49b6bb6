"""What a checkup found, for the terminal and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sightsound.data.rows import splits_of
from sightsound.doctor.checkup import Checkup
from sightsound.doctor.issue_types import ISSUE_TYPES, SEVERITIES, Finding
from sightsound.doctor.labels import label_text
from sightsound.files import csv_text, write_whole

COLOURS = dict(zip(SEVERITIES, ("bold red", "yellow", "cyan"), strict=True))
FINDINGS = ("id", "path", "label", "split", "finding", "severity", "detail")
EXCLUDE = ("id", "reason")


def headline(checkup: Checkup) -> str:
    """How much was examined, and how much of it is without a finding."""
    rows, found = checkup.clips.rows, checkup.by_id
    clean = sum(row.id not in found for row in rows)
    splits = {split: sum(row.split == split for row in rows) for split in splits_of(rows)}
    parts = ", ".join(f"{split} {number:,}" for split, number in splits.items())
    return (
        f"{len(rows):,} clip{'s' * (len(rows) != 1)}{f' ({parts})' if parts else ''}, "
        f"{duration(checkup.seconds)}; "
        f"{clean:,} without a finding"
    )


def duration(seconds: float) -> str:
    """In the unit that reads best."""
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} seconds"


def number_of(findings: Sequence[Finding]) -> int:
    """How many clips they are about, or how many there are of the set as a whole."""
    return len({finding.id for finding in findings if finding.id}) or len(findings)


def terminal(checkup: Checkup) -> Group:
    """The headline and a short table."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for severity in SEVERITIES:
        found = {k: f for k, f in checkup.by_issue.items() if ISSUE_TYPES[k].severity == severity}
        if found:
            table.add_row()
            table.add_row(Text(severity.capitalize(), style=COLOURS[severity]))
        for name, findings in found.items():
            issue = ISSUE_TYPES[name]
            # The message itself, where there is only one and it says everything.
            shown = f"{findings[0].detail}\n" if name in ("refused", "imbalance") else ""
            text = Text(f"{shown}{issue.means}")
            if issue.remedy:
                text.append(f"\n{issue.remedy}", style="dim")
            table.add_row(Text(f"  {issue.title}"), f"{number_of(findings):,}", text)
    return Group(Text(headline(checkup)), table if checkup.findings else "Nothing was found.")


def write_tables(checkup: Checkup, folder: Path) -> None:
    """`findings.csv`, a row for each clip and finding, and `exclude.csv`; each appears whole."""
    rows, lines = {row.id: row for row in checkup.clips.rows}, []
    for finding in checkup.findings:
        row = rows.get(finding.id)
        of_row = ("", "", "") if row is None else (str(row.path), label_text(row), row.split)
        severity = ISSUE_TYPES[finding.issue].severity
        cells = (finding.id, *of_row, finding.issue, severity, finding.detail)
        lines.append(dict(zip(FINDINGS, cells, strict=True)))
    write_whole(folder / "findings.csv", csv_text(lines, FINDINGS))
    excluded = (dict(zip(EXCLUDE, item, strict=True)) for item in checkup.excluded.items())
    write_whole(folder / "exclude.csv", csv_text(excluded, EXCLUDE))
