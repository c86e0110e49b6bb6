"""What the checks found: tables for a terminal, `probe.json`, `probe.csv` and `probe.png`."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path

from sightsound.diagnostics.finding import Check, Finding
from sightsound.diagnostics.picture import checks_figure
from sightsound.files import csv_text, write_whole

MANY_CLASSES = 25  # above this a table of classes is left to the file


@dataclass(frozen=True)
class Report:
    """Every check of one model on some clips."""

    model: str
    source: str
    split: str
    ids: str  # hash
    num_clips: int
    seed: int
    checks: tuple[Check, ...]

    @property
    def title(self) -> str:
        """What was tried on what."""
        return f"{self.num_clips} clips of {self.source}, split {self.split} (ids {self.ids})"


def as_tables(report: Report) -> list[str]:
    """A table for every check that has numbers."""
    return [_table(check) for check in report.checks if check.findings]


def _table(check: Check) -> str:
    """The table of one check under its name; of many classes only what holds for all clips."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    classes = {finding.label for finding in check.findings} - {""}
    shown = check.findings if len(classes) <= MANY_CLASSES else check.overall
    lines = [_cells(check, finding) for finding in shown]
    table = Table(box=None, pad_edge=False)
    columns = [name for name in lines[0] if any(line[name] for line in lines)]
    for name in columns:
        table.add_column(name, justify="right" if name != columns[0] else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(Text(line[name]) for name in columns))
    buffer = io.StringIO()
    Console(file=buffer, width=140).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _cells(check: Check, finding: Finding) -> dict[str, str]:
    """{heading: text}; shares in percent."""
    scale, digits = (100, 1) if check.measure == "score" else (1, 2)

    def number(value: float | None) -> str:
        return "" if value is None else f"{scale * value:z.{digits}f}"

    def with_interval(value: float, low: float, high: float) -> str:
        return f"{number(value)} ({number(low)} to {number(high)})"

    unit = " %" if check.measure == "score" else ""
    return {
        f"{check.name}: {check.measure}{unit}": f"  {finding.label}"
        if finding.label
        else finding.what,
        "clips": str(finding.num_clips),
        "before": number(finding.before),
        "after (95 % interval)": with_interval(finding.after, finding.low, finding.high),
        "lost (95 % interval)": with_interval(finding.cost, finding.cost_low, finding.cost_high),
        "chance": number(finding.chance),
        "same decision": number(finding.same),
    }


# --- files --------------------------------------------------------------------------------------


def as_json(report: Report) -> str:
    """Everything, as an object."""
    return json.dumps(dataclasses.asdict(report), indent=2)


def write_report(report: Report, directory: Path) -> None:
    """`probe.json`, `probe.csv` with a line per number, and `probe.png`."""
    write_whole(directory / "probe.json", f"{as_json(report)}\n")
    columns = ["check", "measure", *(field.name for field in dataclasses.fields(Finding))]
    lines = (
        {"check": check.name, "measure": check.measure} | dataclasses.asdict(finding)
        for check in report.checks
        for finding in check.findings
    )
    write_whole(directory / "probe.csv", csv_text(lines, columns))
    checks_figure(directory / "probe.png", report.checks, title=report.title)
