"""The command `predict`."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import require_data
from sightsound.commands.terminal import complain, message, say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.predict import Predictor
    from sightsound.timeline.score import Timeline
    from sightsound.types import Batch


def predict(argv: Sequence[str]) -> None:
    """Say what is to be seen and heard in a video."""
    options = _parser().parse_args(list(argv))
    for file in options.files:
        require_data(file)
    if options.window is None:
        _check_whole(options)
        _predict_files(options)
        return
    if len(options.files) > 1:
        raise ValueError(f"--window looks at one file at a time; {len(options.files)} are given")
    if options.views is not None:
        raise ValueError("--views does not go with --window: every window is one view")
    _predict_over_time(options)


def _parser() -> Parser:
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound predict",
        usage="sightsound predict FILE [FILE ...] --model MODEL [options]",
        description=predict.__doc__,
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="Video or sound files.")
    add("--model", required=True, help="A run, a model directory, or hf:owner/name.")
    add("--format", choices=FORMATS, default="table", help="What is printed.")
    add("--views", type=int, help="Temporal views, averaged as logits (default: 4).")
    add("--start_seconds", type=float, help="Look only at what comes after this time.")
    add("--end_seconds", type=float, help="Look only at what comes before this time.")
    add("--window", type=float, metavar="SECONDS", help="Scores over time: length of a window.")
    add("--hop", type=float, metavar="SECONDS", help="Between windows (default: 1, or less).")
    add("--threshold", type=float, help="Score that an event reaches (default: 0.5).")
    add("--output", metavar="DIR", help="Folder for the scores over time; see below.")
    return parser


FORMATS = ("table", "json", "csv", "srt", "vtt")
_EXAMPLES = """With --window the file, however long, is read once, and every window is scored by the
whole model and by each stream alone. --output writes, into its folder:
  timeline.csv         a line for each window and stream, while it works
  timeline.json        the same, and events: stretches of one class
  timeline.srt, .vtt   events as subtitles
  timeline.png, .html  scores over time
After an interruption the same command goes on where it stopped.

Examples:
  sightsound predict clip.mp4 --model runs/a --format json
  sightsound predict film.mp4 --model runs/a --window 10 --hop 1 --output film"""


# --- a few views of each file -------------------------------------------------------------------


def _check_whole(options: Namespace) -> None:
    """Options of windows make no sense without them."""
    given = [name for name in ("hop", "threshold", "output") if getattr(options, name) is not None]
    given += ["format " + options.format] if options.format in FORMATS[2:] else []
    if given:
        raise ValueError(
            f"--{given[0]} is for scores over time; add --window SECONDS, such as --window 10"
        )


def _predict_files(options: Namespace) -> None:
    from sightsound.media.decode import DecodeError
    from sightsound.predict import Prediction, Predictor, as_json, as_table

    predictor = Predictor(options.model)
    window = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
    views = 4 if options.views is None else options.views
    found: list[Prediction] = []
    failures: list[DecodeError] = []
    for file in options.files:
        try:
            batch = predictor.read(file, views=views, **window)
            explanation = _explanation(predictor, file, batch, window)
            prediction = predictor.predict_batch(file, batch)
            found.append(dataclasses.replace(prediction, explanation=explanation))
        except DecodeError as error:
            failures.append(error)
    if found:
        say(as_json(found) if options.format == "json" else as_table(found))
    for failure in failures[:-1]:
        complain("sightsound predict", message(failure))
    if failures:
        raise failures[-1]


def _explanation(predictor: Predictor, file: str, batch: Batch, window: dict) -> dict[str, Any]:
    """What the model attended to in a file that was read; nothing for those not explained."""
    from sightsound.explain.clips import explain_clips
    from sightsound.explain.text import record

    if not predictor.model.has_contributions:
        return {}
    clips = predictor.files([file], **window)
    (explained,) = explain_clips(
        predictor, batch, clips, method="contributions", with_shapley=False
    )
    about = record(explained)
    return {key: about[key] for key in ("sentence", "shares", "padded_share", "cells")}


# --- windows over one file ----------------------------------------------------------------------


def _predict_over_time(options: Namespace) -> None:
    from rich.console import Console

    from sightsound.predict import Predictor
    from sightsound.timeline import folder
    from sightsound.timeline.events import check_threshold
    from sightsound.timeline.score import empty_timeline, score_windows
    from sightsound.timeline.windows import plan_windows
    from sightsound.train.log import progress_bar

    threshold = 0.5 if options.threshold is None else options.threshold
    check_threshold(threshold)
    output = None if options.output is None else Path(options.output)
    predictor = Predictor(options.model)
    hop = min(1.0, options.window) if options.hop is None else options.hop
    lengths = {"window_seconds": options.window, "hop_seconds": hop}
    window = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
    plan = plan_windows(predictor, options.files[0], **lengths, **window)
    timeline = empty_timeline(predictor, plan)
    if output is not None:
        folder.resume(output, timeline, folder.settings_of(predictor, plan))
    try:
        with progress_bar("windows", Console(stderr=True)) as progress:
            for scored in score_windows(predictor, plan, first=timeline.num_windows):
                timeline.add(scored)
                if output is not None:
                    folder.append(output, timeline, number=len(scored.problems))
                progress(timeline.num_windows, plan.grid.num_windows)
        if output is not None:
            folder.write_results(output, timeline, threshold=threshold)
    except KeyboardInterrupt:
        left = _leave(timeline, output, kind=options.format, threshold=threshold)
        raise KeyboardInterrupt(left) from None
    say(_text(timeline, kind=options.format, threshold=threshold))
    if output is not None and options.format == "table":
        say(f"\nwritten to {output}: {folder.CSV}, {', '.join(folder.RESULTS)}")


def _leave(timeline: Timeline, output: Path | None, *, kind: str, threshold: float) -> str:
    """What is finished is written or shown; how to go on."""
    from sightsound.timeline import folder
    from sightsound.timeline.text import short_clock

    if output is not None:
        folder.rewrite(output, timeline)
        return f" at {short_clock(timeline.end_seconds)}; the same command goes on where it stopped"
    if not timeline.num_windows:
        return "; no window was finished"
    say(_text(timeline, kind=kind, threshold=threshold))
    start = timeline.grid.window(timeline.num_windows).start_seconds
    return (
        f"; --start_seconds {start:g} goes on from there (with --output DIR the same command does)"
    )


def _text(timeline: Timeline, *, kind: str, threshold: float) -> str:
    from sightsound.timeline import text as words

    if kind == "csv":
        return words.as_csv(timeline)
    texts = {
        "table": words.as_table,
        "json": words.as_json,
        "srt": words.as_srt,
        "vtt": words.as_vtt,
    }
    return texts[kind](timeline, threshold=threshold)
