"""The command `predict`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import require_data
from sightsound.commands.terminal import complain, message, say

if TYPE_CHECKING:
    from sightsound.predict import Predictor
    from sightsound.types import Batch


def predict(argv: Sequence[str]) -> None:
    """Say what is to be seen and heard in a video."""
    from sightsound.options import Parser

    parser = Parser(
        prog="sightsound predict",
        usage="sightsound predict FILE [FILE ...] --model MODEL [options]",
        description=predict.__doc__,
        epilog="Example:\n  sightsound predict clip.mp4 --model runs/a --format json",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="Video or sound files.")
    add("--model", required=True, help="A run, a model directory, or hf:owner/name.")
    add("--format", choices=["table", "json"], default="table", help="What is printed.")
    add("--views", type=int, default=4, help="Temporal views, averaged as logits.")
    add("--start_seconds", type=float, help="Look only at what comes after this time.")
    add("--end_seconds", type=float, help="Look only at what comes before this time.")
    options = parser.parse_args(list(argv))
    for file in options.files:
        require_data(file)

    from sightsound.media.decode import DecodeError
    from sightsound.predict import Predictor, as_json, as_table

    predictor = Predictor(options.model)
    span = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
    found, failures = [], []
    for file in options.files:
        try:
            batch = predictor.read(file, views=options.views, **span)
            explanation = _explanation(predictor, file, batch, span)
            prediction = predictor.judge(file, batch)
            found.append(dataclasses.replace(prediction, explanation=explanation))
        except DecodeError as error:
            failures.append(error)
    if found:
        say(as_json(found) if options.format == "json" else as_table(found))
    for error in failures[:-1]:
        complain("sightsound predict", message(error))
    if failures:
        raise failures[-1]


def _explanation(predictor: Predictor, file: str, batch: Batch, span: dict) -> dict[str, Any]:
    """What the model attended to in a file that was read; nothing for those not explained."""
    from sightsound.explain.contributions import can_explain, explain_batch
    from sightsound.explain.words import record

    if not can_explain(predictor.model):
        return {}
    (explanation,) = explain_batch(predictor, batch, predictor.files([file], **span))
    about = record(explanation)
    return {key: about[key] for key in ("sentence", "shares", "padded_share", "cells")}
