"""The command `pretrain`: learn from clips without labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightsound.commands.arguments import (
    COLUMNS,
    anchor,
    list_components,
    recipes,
    require_data,
    take_data,
)
from sightsound.commands.terminal import say
from sightsound.commands.train import resumed, started

if TYPE_CHECKING:
    from sightsound.config.parser import Parser

# Said after every file and before the options, so that a recipe for training does, too.
_NO_LABELS = [
    *("--data.task", "none"),
    *("--objective.name", "avt"),
    *("--objective.classification_weight", "0"),
]


def pretrain(argv: Sequence[str]) -> None:
    """Learn from videos without labels what sound and pictures have in common."""
    from sightsound.config.load import config_text, parse_run

    config, options = parse_run(_pretrain_parser(), [*_NO_LABELS, *started(resumed(argv))])
    take_data(config.data, options)
    config.train.init = tuple(options.init or config.train.init)
    if options.print_config:
        sys.stdout.write(config_text(config))
        return
    if config.data.task != "none":
        raise ValueError(
            f"--data.task is {config.data.task}, but pretrain reads no labels; leave it out, or "
            "take 'sightsound train'"
        )
    if not config.data.path:
        raise ValueError(
            "no data given: name a folder of videos or a table, such as 'sightsound pretrain "
            "videos/ --config pretrain_first'"
        )
    require_data(config.data.path)
    anchor(config.data)

    from sightsound.train.loop import train

    say(_NEXT.format(run=train(config, resume=options.resume)))


def _pretrain_parser() -> Parser:
    from sightsound.config.load import TABLES, settings_parser

    parser = settings_parser(
        "sightsound pretrain",
        usage="sightsound pretrain [DATA] [--config RECIPE] [--output DIR] [options]",
        description=f"{pretrain.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help=_DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--config", metavar="RECIPE", help="Recipe name or file; may be repeated. " + recipes())
    add("--resume", action="store_true", help="Continue the run in --output.")
    add("--init", metavar="DIR", action="append", help="Start from this model, as in train.")
    add("--print_config", action="store_true", help="Print the whole configuration and stop.")
    list_components(parser, *TABLES)
    return parser


_TEXT = """
Objective avt without classes: the streams of one clip are alike (contrastive), they belong
together (matching), and what is hidden is told from the rest (masked). Validation clips give
the losses and how often a stream finds the other one. The run is like those of train."""
_DATA = "Folder of videos in any nesting, or a table; labels are not needed and not read."
_NEXT = """Go on with labelled clips, or let sound find pictures and pictures sound:
  sightsound train DATA --init {run} --output runs/tuned
  sightsound index {run} --output index"""
_EXAMPLES = """Examples:
  sightsound pretrain videos/ --config pretrain_first --output runs/pre
  sightsound pretrain videos/ --config first --objective.masked_weight 0 --output runs/pre
  sightsound pretrain --output runs/pre --resume        continue after an interruption
  sightsound train labelled/ --config first --init runs/pre --output runs/tuned

A recipe for training does, too: its objective is replaced. Leave its drop_video and drop_audio at
0: a clip without one stream teaches nothing here.
Without --config the model is MBT as published: ViT-B, 224 x 224 pixels, made for a GPU."""
