"""The command `subset`: a more balanced part of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

from sightsound.commands.arguments import EXCLUDE, require_data
from sightsound.commands.terminal import say


def subset(argv: Sequence[str]) -> None:
    """Choose a more balanced part of a manifest's training clips, such as AS-500K."""
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound subset",
        usage="sightsound subset MANIFEST --output FILE [--clips N] [--per_class N] [options]",
        description=subset.__doc__,
        epilog="Clips are visited in random order; one is taken unless a class of it is full.\n\n"
        "Example:\n  sightsound subset audioset.csv --output as500k.csv --clips 500000 "
        "--per_class 200000",
    )
    add = parser.add_argument
    add("manifest", metavar="MANIFEST", help="CSV or Parquet manifest with path and label.")
    add("--output", required=True, metavar="FILE", help="The new manifest, in the same folder.")
    add("--clips", type=int, metavar="N", help="Number of training clips; other splits are kept.")
    add("--per_class", type=int, metavar="N", help=_PER_CLASS)
    add("--exclude", metavar="FILE", help=f"{EXCLUDE}.")
    add("--seed", type=int, default=0, help="Another order, so another choice.")
    options = parser.parse_args(list(argv))
    require_data(options.manifest)

    from sightsound.data.subset import build_subset

    chosen = build_subset(
        options.manifest,
        options.output,
        clips=options.clips,
        per_class=options.per_class,
        exclude=options.exclude,
        seed=options.seed,
    )
    say(chosen.text())


_PER_CLASS = "Most clips of a class (default: the least that leaves --clips)."
