"""The command `evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, EXCLUDE, require_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def evaluate(argv: Sequence[str]) -> None:
    """Score a model with both streams, sound alone and pictures alone."""
    options = _evaluate_parser().parse_args(list(argv))
    if options.path:
        require_data(options.path)

    from sightsound.evaluation.evaluate import evaluate_saved

    given = {name: getattr(options, name) for name in _evaluate_settings()}
    evaluation = evaluate_saved(
        options.model,
        options.path,
        changes={name: value for name, value in given.items() if value is not None},
        late=options.late,
        output=options.output,
        num_workers=options.num_workers,
        bad_files=options.bad_files,
        exclude=options.exclude,
        columns=options.columns,
        seed=options.seed,
    )
    say(evaluation.text())


def _evaluate_parser() -> Parser:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import EvaluateSettings

    parser = Parser(
        prog="sightsound evaluate",
        usage="sightsound evaluate MODEL [DATA] [--late AUDIO_MODEL VIDEO_MODEL] [options]",
        description=evaluate.__doc__,
        epilog="Views, batch size, resamplings and split are those of the run unless given.\n\n"
        "Examples:\n  sightsound evaluate runs/a\n"
        "  sightsound evaluate runs/a clips.csv --late runs/audio runs/video --split val+test",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="A run, a model directory, or hf:owner/name.")
    add("path", nargs="?", metavar="DATA", help="Folder or manifest (default: the run's own).")
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--late", nargs=2, metavar=("AUDIO_MODEL", "VIDEO_MODEL"), help=_LATE)
    add("--exclude", metavar="FILE", help=EXCLUDE + " (default: the run's own list).")
    add("--output", metavar="DIR", help="Folder for tables (default: RUN/evaluation).")
    add("--num_workers", type=int, default=2, help="Decoding processes.")
    add("--bad_files", choices=["error", "drop", "mask"], default="error", help=_BAD_FILES)
    add("--seed", type=int, default=0, help="Seed of the bootstrap.")
    parser.add_class_arguments(EvaluateSettings)
    parser.set_defaults({name: None for name in _evaluate_settings()})
    return parser


def _evaluate_settings() -> list[str]:
    from sightsound.config.settings import EvaluateSettings

    return [field.name for field in dataclasses.fields(EvaluateSettings)]


_LATE = "Two models of one stream each: also score them, and the average of their logits."
_BAD_FILES = "A file that cannot be decoded: stop, leave it out, or count it as absent stream."
