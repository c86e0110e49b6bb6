"""The command `train`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.commands.arguments import (
    COLUMNS,
    DATA,
    anchor,
    list_components,
    recipes,
    require_data,
    take_data,
)
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def train(argv: Sequence[str]) -> None:
    """Train a model on a folder of videos or a manifest."""
    from sightsound.config.load import config_text, parse_run

    config, options = parse_run(_train_parser(), started(resumed(argv)))
    take_data(config.data, options)
    config.train.init = tuple(options.init or config.train.init)
    if options.overfit is not None:
        if options.overfit < 1:
            raise ValueError(f"--overfit is {options.overfit}; accepted: 1 clip or more")
        config.train.overfit = options.overfit
    if options.print_config:
        sys.stdout.write(config_text(config))
        return
    require_data(config.data.path)
    anchor(config.data)
    if config.data.task == "none":
        raise ValueError(
            "training needs labels, but --data.task is none: learn without them by 'sightsound "
            "pretrain', or leave it out"
        )

    from sightsound.train import baselines
    from sightsound.train.loop import train as run_training

    if options.baselines:
        baselines.check(config)
    directory = run_training(config, resume=options.resume)
    if options.baselines:
        say(f"{baselines.run(config).text()}\nThis table: {directory / 'baselines.md'}")
    elif not config.train.overfit:
        say(f"Score it:\n  sightsound evaluate {directory}")


def _train_parser() -> Parser:
    from sightsound.config.load import TABLES, settings_parser

    parser = settings_parser(
        "sightsound train",
        usage="sightsound train [DATA] [--config RECIPE] [--output DIR] [options]",
        description=train.__doc__,
        epilog=_TRAIN_EXAMPLES,
    )
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help=DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--config", metavar="RECIPE", help="Recipe name or file; may be repeated. " + recipes())
    add("--resume", action="store_true", help="Continue the run in --output.")
    add("--overfit", type=int, metavar="N", help="Self-test: learn N clips by heart.")
    add("--baselines", action="store_true", help=_BASELINES)
    add("--init", metavar="DIR", action="append", help=_INIT)
    add("--print_config", action="store_true", help="Print the whole configuration and stop.")
    list_components(parser, *TABLES)
    return parser


_INIT = (
    "Start from this model: a directory, hf:owner/name, or an image ViT as vit:FILE or "
    "vit:hf:owner/name; what does not fit is listed. May be repeated: an audio, a video model."
)

_BASELINES = (
    "Then train each stream alone and, of features, a linear probe with the same recipe, and score "
    "all in one table."
)

_TRAIN_EXAMPLES = """Examples:
  sightsound train videos/ --config first --overfit 8 --output runs/check    learn 8 clips by heart
  sightsound train videos/ --config first --output runs/a                    class folders
  sightsound train clips.csv --config first --output runs/b --model.width 192
  sightsound train videos/ --config mafnet/first --baselines --output runs/c
  sightsound train --output runs/a --resume             continue after an interruption
  sightsound train videos/ --init runs/pre --train.head_only true            linear probe

Without --config the model is MBT as published: ViT-B, 224 x 224 pixels, made for a GPU."""


def resumed(argv: Sequence[str]) -> list[str]:
    """`argv`; with `--resume` and no `--config`, the configuration of the run in `--output`."""
    argv = list(argv)
    if "--resume" not in argv or _option_value(argv, "--config"):
        return argv
    from sightsound.config.settings import RunConfig
    from sightsound.registry import nearest_path

    saved = Path(_option_value(argv, "--output") or RunConfig.output) / "config.yaml"
    if not saved.is_file():
        raise FileNotFoundError(
            f"nothing to resume in {str(saved.parent)!r}: it has no config.yaml; name the run with "
            f"--output, or leave out --resume.{nearest_path(saved.parent)}"
        )
    return ["--config", str(saved), *argv]


def started(argv: list[str]) -> list[str]:
    """`argv`; with `--init` and nothing said about the model, that of the first model named."""
    init = _option_value(argv, "--init")
    said = any(token.startswith(("--config", "--model")) for token in argv)
    if said or not init:
        return argv
    from sightsound.build import model_source

    directory = model_source(init)
    if not (Path(directory) / "config.json").is_file():
        return argv
    return ["--config", str(directory), *argv]


def _option_value(argv: list[str], option: str) -> str | None:
    for index, token in enumerate(argv):
        if token.startswith(f"{option}="):
            return token.split("=", 1)[1]
        if token == option and index + 1 < len(argv):
            return argv[index + 1]
    return None
