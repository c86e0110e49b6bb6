"""The command `prepare`: decodes a data set once, to shards."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, DATA, EXCLUDE, require_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import DataSettings, ShardSettings
    from sightsound.data.shards.prepare import Summary
    from sightsound.media.front_end import FrontEnd

_MOST_CAUSES = 5  # of what went wrong, shown


def prepare(argv: Sequence[str]) -> None:
    """Decode a data set once, to shards that training reads ten times faster."""
    from sightsound.config.settings import DataSettings, ShardSettings

    argv, recipe = _parted(argv)
    asked = None  # what a recipe asks of shards
    if recipe:
        from sightsound.build import build_front_end
        from sightsound.config.load import parse_run, settings_parser

        config, _ = parse_run(settings_parser("sightsound prepare", shown=False), recipe)
        asked = build_front_end(config.front_end), config.data
    options = _prepare_parser(asked).parse_args(argv)
    require_data(options.path)
    data = DataSettings(
        path=options.path,
        columns=options.columns or "",
        exclude=options.exclude,
        task=options.task,
        time_limit_seconds=options.time_limit_seconds,
    )
    names = [field.name for field in dataclasses.fields(ShardSettings)]
    settings = ShardSettings(**{name: getattr(options, name) for name in names})
    if asked is not None:
        from sightsound.data.shards.demand import check_settings

        check_settings(settings, *asked)

    from sightsound.data.shards.prepare import prepare as write_shards

    with _bar() as progress:
        summary = write_shards(
            data,
            options.output,
            settings,
            num_workers=options.num_workers,
            ray_address=options.ray,
            progress=progress,
        )
    say(_told(summary, settings, options.output, recipe=recipe))


def _parted(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of this command, and those that say how a run reads clips."""
    own: list[str] = []
    recipe: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        name, equals, _ = token.partition("=")
        if name == "--config" or (name.startswith("--") and "." in name):
            recipe += [token] if equals else [token, *islice(tokens, 1)]
        else:
            own.append(token)
    return own, recipe


def _prepare_parser(asked: tuple[FrontEnd, DataSettings] | None) -> Parser:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import DataSettings, ShardSettings

    parser = Parser(
        prog="sightsound prepare",
        usage="sightsound prepare DATA --output SHARDS [--config RECIPE] [options]",
        description=f"{prepare.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("path", metavar="DATA", help=DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--output", required=True, metavar="SHARDS", help="New folder, or one to be completed.")
    add("--config", metavar="RECIPE", help=_CONFIG)
    parser.add_class_arguments(ShardSettings)
    add("--num_workers", type=int, default=2, help="Decoding processes.")
    add("--ray", metavar="ADDRESS", help=_RAY)
    add("--exclude", default="", metavar="FILE", help=EXCLUDE + ".")
    add("--task", choices=_TASKS, default="auto", help=_TASK)
    limit = DataSettings.time_limit_seconds
    add("--time_limit_seconds", type=float, default=limit, help=_LIMIT)
    if asked is not None:
        from sightsound.data.shards.demand import settings_for

        parser.set_defaults({**vars(settings_for(*asked)), "task": asked[1].task})
    return parser


_TEXT = """
Writes WebDataset tar files (JPEG, FLAC, JSON) and index.parquet. With --config RECIPE, what train,
evaluate and the other commands read from them is what they would read from the files: the same
windows, crops and frames, pixels nearly so, sound to 16 bits. Without it, or with smaller numbers,
they need less room: a frame may then be one shown 1 / frames_per_second earlier. Shards too poor
for a front end are refused with the command that makes better ones.
Clips that cannot be read go to quarantine.csv and never stop the run. When it is interrupted, the
same command goes on."""

_CONFIG = (
    "Keep what this recipe or run reads: every frame, sides for its crops, its rate of sound, its "
    "task. Its settings may be changed as in train (--front_end.video.height 128)."
)
_RAY = "Work on this Ray cluster (extra `dist`); `local` starts one here, of --num_workers CPUs."
_TASKS = ["auto", "single", "multi", "heads", "none"]
_TASK = (
    "One label per clip, several, or verb and noun; `auto` reads it off the manifest; `none`: "
    "clips without labels, for pretrain."
)
_LIMIT = "A clip that takes longer goes to quarantine; 0: no limit, and a crash ends the run."

_EXAMPLES = """Examples:
  sightsound prepare videos/ --output shards/ --config first
  sightsound train shards/ --config first --output runs/a
  sightsound prepare clips.csv --output small/ --short_side 128 --frames_per_second 4
  sightsound prepare clips.csv --output /cluster/shards --ray auto"""


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar with clips per second, where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.completed}/{task.total} clips"),
        TextColumn("{task.fields[speed]} clips/s"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("clips", total=None, speed="-")

        def show(done: int, total: int) -> None:
            speed = progress.tasks[0].speed
            text = f"{speed:.1f}" if speed else "-"
            progress.update(task, completed=done, total=total, speed=text)

        yield show


def _told(summary: Summary, settings: ShardSettings, output: str, *, recipe: Sequence[str]) -> str:
    """What was written, what is missing and why, and what to do next."""
    from sightsound.data.shards.demand import latest_seconds

    clips, shards = _number(summary.num_clips, "clip"), _number(summary.num_shards, "shard")
    lines = [f"{clips} in {shards}, {_size(summary.num_bytes)}"]
    if summary.num_left_out:
        poorer, seconds = _number(summary.num_left_out, "clip"), latest_seconds(settings)
        lines.append(_LEFT_OUT.format(poorer, seconds))
    actions = Counter(fault.action for fault in summary.faults)
    texts = {
        "dropped": ("clip", "left out: nothing of it could be read"),
        "masked": ("clip", "without one of its streams, which could not be read"),
        "partial": ("stream", "damaged and stored as far as it could be read"),
    }
    for action, (noun, text) in texts.items():
        if actions[action]:
            lines.append(f"{_number(actions[action], noun)} {text}")
    causes = Counter(fault.cause for fault in summary.faults)
    lines += [f"  {number} x {cause}" for cause, number in causes.most_common(_MOST_CAUSES)]
    if summary.faults:
        lines.append(f"All of them, with reasons: {Path(output) / 'quarantine.csv'}")
    how = shlex.join(recipe or ["--config", "first"])
    lines += ["Train on them:", f"  sightsound train {output} {how} --output runs/a"]
    return "\n".join(lines)


_LEFT_OUT = (
    "{} without some of their frames: what is shown may be {:.2g} s old; --config RECIPE stores "
    "what a recipe reads"
)


def _size(num_bytes: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
