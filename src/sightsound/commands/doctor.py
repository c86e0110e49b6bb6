"""The command `doctor`: examines every clip of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, EXCLUDE, require_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def doctor(argv: Sequence[str]) -> None:
    """Examine every clip of a data set and say what will hurt."""
    options = _parser().parse_args(list(argv))
    require_data(options.path)
    if options.num_workers < 0:
        raise ValueError(f"--num_workers is {options.num_workers}; accepted: 0 or more")
    if not options.time_limit_seconds > 0:
        limit = options.time_limit_seconds
        raise ValueError(f"--time_limit_seconds is {limit:g}; accepted: above 0")

    from sightsound.config.settings import DataSettings
    from sightsound.doctor.run import run

    settings = DataSettings(
        options.path,
        columns=options.columns or "",
        exclude=options.exclude or "",
        task=options.task,
    )
    checkup = run(
        settings,
        output=options.output,
        num_workers=options.num_workers,
        seconds=options.time_limit_seconds,
    )
    if checkup.excluded:
        columns = f" --columns {options.columns}" if options.columns else ""
        say(
            f"\nLeave out what cannot be used ({len(checkup.excluded):,} in exclude.csv):\n"
            f"  sightsound train {options.path}{columns} "
            f"--data.exclude {options.output}/exclude.csv"
        )
    if options.strict and checkup.hurts:
        raise SystemExit(1)


def _parser() -> Parser:
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound doctor",
        usage="sightsound doctor DATA [--output DIR] [--num_workers N] [options]",
        description=doctor.__doc__,
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("path", metavar="DATA", help="Folder of class folders, manifest, or one media file.")
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--output", metavar="DIR", default="doctor", help="Folder for the page and the tables.")
    add("--num_workers", type=int, default=2, help="Decoding processes; 0: in this process.")
    add("--task", choices=["auto", "single", "multi", "heads"], default="auto", help=_TASK)
    add("--exclude", metavar="FILE", help=f"{EXCLUDE}.")
    add("--time_limit_seconds", type=float, default=60.0, help=_LIMIT)
    add("--strict", action="store_true", help="Exit code 1 if anything blocks training or hurts.")
    return parser


_TASK = "One label per clip, several, or verb and noun; auto reads it off the manifest."
_LIMIT = "A file that takes longer counts as unreadable."
_EXAMPLES = """It writes, into the folder --output:
  report.html   what was found, with pictures and waveforms; needs no network
  findings.csv  a row for each clip and finding
  exclude.csv   clips that cannot be trained on or are in two splits, for --data.exclude

Found are files that cannot be read or are damaged, missing or silent sound, channels that cancel
out, missing or static pictures, short clips, streams that start or end apart, variable frame
rates, copies and re-encodings, also across splits, and labels that do not fit together.

Examples:
  sightsound doctor videos/
  sightsound doctor clips.csv --output checks/clips --num_workers 8 --strict"""
