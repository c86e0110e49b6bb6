"""The command `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightsound.commands.terminal import say


def compare(argv: Sequence[str]) -> None:
    """Say which of several evaluated models is better, and whether it may be chance."""
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound compare",
        usage="sightsound compare RUN RUN [RUN ...] [options]",
        description=f"{compare.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help=_RUNS)
    add("--stream", metavar="ROW", help=_STREAM)
    add("--format", choices=["table", "json", "csv"], default="table", help="What is printed.")
    add("--output", metavar="DIR", help="Folder for tables of scores, classes and clips.")
    add("--bootstrap", type=int, default=1000, metavar="N", help="Resampled sets of clips.")
    add("--seed", type=int, default=0, help="Seed of the bootstrap.")
    options = parser.parse_args(list(argv))

    from sightsound.evaluation.compare import (
        as_json,
        as_text,
        names_of,
        score_lines,
        write_comparison,
    )
    from sightsound.evaluation.compare import compare as compare_evaluations
    from sightsound.evaluation.results import read_evaluation
    from sightsound.files import csv_text

    names = names_of(options.runs)
    comparison = compare_evaluations(
        dict(zip(names, map(read_evaluation, options.runs), strict=True)),
        stream=options.stream,
        resamplings=options.bootstrap,
        seed=options.seed,
    )
    if options.output:
        write_comparison(comparison, Path(options.output))
    if options.format == "table":
        say(as_text(comparison) + (f"\nTables: {options.output}" if options.output else ""))
    else:
        say(as_json(comparison) if options.format == "json" else csv_text(score_lines(comparison)))


_TEXT = """
Reads what 'sightsound evaluate' has written and looks at the clips that all have, by id. Every
model is compared with the first: difference of each score with a paired bootstrap interval,
McNemar's test of the clips that only one gets right, the classes that gain and lose most."""
_RUNS = "A run, a model directory, or a folder of 'sightsound evaluate --output'."
_STREAM = "Row of their tables: audio, video, or its whole name (default: the whole model)."
_EXAMPLES = """Examples:
  sightsound compare runs/baseline runs/new
  sightsound compare runs/a runs/b --stream audio --output comparison"""
