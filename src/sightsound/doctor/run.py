"""Runs the doctor: gathers clips, examines them, writes the report, prints a summary."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sightsound.config.settings import DataSettings
from sightsound.data.records import TABLE_NAMES
from sightsound.doctor.checkup import Checkup, check
from sightsound.doctor.gather import gather
from sightsound.doctor.page import write_page
from sightsound.doctor.summary import terminal, write_tables
from sightsound.media.decode_pool import DecodePool


def run(
    settings: DataSettings,
    *,
    output: str | Path,
    num_workers: int = 0,
    seconds: float = 60.0,
    console: Console | None = None,
) -> Checkup:
    """Examines the clips of `settings.path` and writes the page and the tables into `output`.

    `seconds` is how long one file may take. Each file of the output appears whole.

    Raises:
        ValueError: no clip can be made out; `output` is a file.
    """
    folder, console = Path(output), console or Console()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {str(folder)!r} is a file; name a folder for the report")
    clips = gather(settings)
    source = clips.source  # a table that is called as all are goes by the name of its folder
    with DecodePool(num_workers, seconds=seconds) as workers, _bars(console) as bars:
        shown: dict[str, TaskID] = {}

        def progress(text: str, done: int, total: int) -> None:
            if text not in shown:
                shown[text] = bars.add_task(text, total=total)
            bars.update(shown[text], completed=done)

        checkup = check(clips, workers, progress)
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(checkup, folder)
        write_page(
            checkup,
            folder / "report.html",
            workers=workers,
            title=source.parent.name if source.name in TABLE_NAMES else source.name,
            progress=progress,
        )
    console.print(terminal(checkup))
    said = f"\nDetails: {folder / 'report.html'}, and findings.csv beside it"
    console.print(said, highlight=False, soft_wrap=True)
    return checkup


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal)
