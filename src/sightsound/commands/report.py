"""The command `report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, require_data
from sightsound.commands.terminal import complain, say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def report(argv: Sequence[str]) -> None:
    """Write one page about a run: scores, classes, clips, figures, provenance."""
    argv = list(argv)
    options = _report_parser().parse_args(argv)
    if options.path:
        require_data(options.path)
    if options.num_workers < 0:
        raise ValueError(f"--num_workers is {options.num_workers}; accepted: 0 or more")

    from sightsound.report.page import report as write_report

    path = write_report(
        options.model,
        options.path,
        late=options.late,
        columns=options.columns,
        output=options.output,
        figures=options.figures,
        players=options.players,
        num_workers=options.num_workers,
        seed=options.seed,
        command=argv,
        say=lambda text: complain("sightsound report", text),
    )
    say(f"The page: {path}")
    if options.figures:
        say(f"Figures as PNG and SVG: {options.figures}")


def _report_parser() -> Parser:
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound report",
        usage="sightsound report RUN [DATA] [--late AUDIO_MODEL VIDEO_MODEL] [options]",
        description=f"{report.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("model", metavar="RUN", help="A run, a model directory, or hf:owner/name.")
    add("path", nargs="?", metavar="DATA", help=_DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--late", nargs=2, metavar=("AUDIO_MODEL", "VIDEO_MODEL"), help=_LATE)
    add("--output", metavar="FILE", help="The page (default: RUN/report.html).")
    add("--figures", metavar="DIR", help="Folder for every figure as PNG and SVG.")
    add("--players", action="store_true", help="Embed the clips shown: small, at most 12 MB.")
    add("--num_workers", type=int, default=2, help="Decoding processes.")
    add("--seed", type=int, default=0, help="Seed of the bootstrap.")
    return parser


_TEXT = """
What it says comes from RUN/evaluation, as 'sightsound evaluate' writes it; without one the run
is evaluated first, with its own settings. The page is one file that needs no network, for
screen, phone and paper. What lies in RUN/explanation, RUN/probe and RUN/timeline is shown, too."""
_DATA = "Folder or manifest (default: that of the evaluation, or the run's own)."
_LATE = "Evaluate again, beside two models of one stream each and their average."
_EXAMPLES = """Examples:
  sightsound report runs/a
  sightsound report runs/a --players --output page.html
  sightsound report runs/a --late runs/audio runs/video --figures figures"""
