"""The command `demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def demo(argv: Sequence[str]) -> None:
    """Generate clips, train, evaluate and predict: everything once, in three minutes."""
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound demo",
        usage="sightsound demo [--output DIR] [--seed N]",
        description=demo.__doc__,
        epilog="Example:\n  sightsound demo --output demo",
    )
    parser.add_argument("--output", default="demo", help="Folder for clips, model and pictures.")
    parser.add_argument("--seed", type=int, default=0, help="Other clips and another start.")
    options = parser.parse_args(list(argv))

    from sightsound.demo import run_demo

    run_demo(Path(options.output), seed=options.seed)
