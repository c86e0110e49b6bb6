"""The command `stats`: mean and deviation of your own data, for the front end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import (
    COLUMNS,
    DATA,
    list_components,
    recipes,
    require_data,
    take_data,
)
from sightsound.commands.terminal import complain, say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import RunConfig
    from sightsound.data.stats import Statistics
    from sightsound.types import Problem

_BATCH_SIZE = 8  # clips that a decoding process hands over at once; the result is the same for all


def stats(argv: Sequence[str]) -> None:
    """Measure the mean and deviation that the front end should have for your own data."""
    from sightsound.config.load import parse_run

    # The output of a run in --config is not meant here.
    config, options = parse_run(_stats_parser(), ["--output", "", *argv])
    take_data(config.data, options)
    require_data(config.data.path)
    if options.clips is not None and options.clips < 1:
        raise ValueError(f"--clips is {options.clips}; accepted: 1 or more")
    if config.output and Path(config.output).suffix not in (".yaml", ".yml"):
        raise ValueError(f"--output is {config.output!r}; accepted: a file name that ends in .yaml")

    from sightsound.data.stats import as_json, as_table, warnings

    statistics, problems = _measured(config, split=options.split, num_clips=options.clips)
    if config.output and statistics.section():
        _write(Path(config.output), statistics, config, argv)
    if options.format == "json":
        say(as_json(statistics))
    else:
        say(f"{as_table(statistics)}\n\n{_advice(statistics, config.output)}")
    sentences = warnings(statistics)
    if problems:
        first, files = problems[0], len({problem.path for problem in problems})
        noun = "file" if files == 1 else "files"
        sentences.append(f"{files} {noun} with problems; the first: {first.path}: {first.cause}")
    for sentence in sentences:
        complain("sightsound stats", sentence)


def _stats_parser() -> Parser:
    from sightsound.config.load import settings_parser

    parser = settings_parser(
        "sightsound stats",
        shown=False,
        usage="sightsound stats DATA [--config RECIPE] [--clips N] [--output FILE] [options]",
        description=f"{stats.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help=DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--config", metavar="RECIPE", help="What you will train; may be repeated. " + recipes())
    add("--clips", type=int, metavar="N", help="Measure N clips drawn by --seed (default: all).")
    add("--split", default="train", help="Which clips: any split that the data names.")
    add("--format", choices=["table", "json"], default="table", help="What is printed.")
    parser.add_argument_group("--output FILE", _OUTPUT)
    parser.add_argument_group("--data.NAME", "Windows, crop, bad_files and so on, as in 'train'.")
    list_components(parser)
    return parser


_TEXT = """
Clips are cut as in training and not augmented; padding does not count. A model that was trained
before keeps the numbers that it was trained with: they are in its config.json."""

_OUTPUT = "Also write them to a file that --config of any command takes after the recipe."

_EXAMPLES = """Examples:
  sightsound stats videos/ --config first --output stats.yaml
  sightsound train videos/ --config first --config stats.yaml --output runs/a"""


def _measured(
    config: RunConfig, *, split: str, num_clips: int | None
) -> tuple[Statistics, list[Problem]]:
    """The statistics, and what went wrong; with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    from sightsound.build import build_dataset, build_front_end
    from sightsound.data.loader import Loader
    from sightsound.data.manifest import load_manifest
    from sightsound.data.sampling import eval_batches
    from sightsound.data.stats import measure
    from sightsound.data.subset import share_of
    from sightsound.types import MODALITIES

    front_end = build_front_end(config.front_end)
    if front_end.features is not None:
        raise ValueError("front_end features: its encoders are frozen, and so are their numbers")
    manifest = load_manifest(config.data, seed=config.seed)
    if not manifest.split(split):
        raise ValueError(
            f"{manifest.source} has no clips of split {split}; its splits are "
            f"{', '.join(manifest.splits)}: choose one with --split"
        )
    clips = build_dataset(
        config,
        manifest,
        front_end,
        split,
        modalities=tuple(config.model.get("modalities", MODALITIES)),
        train=split == "train",
    )
    if num_clips is not None and num_clips < len(clips):
        clips.rows = share_of(clips.rows, share=num_clips / len(clips), seed=config.seed)
    keys = eval_batches(len(clips), batch_size=_BATCH_SIZE)
    with Loader(clips, num_workers=config.data.num_workers) as loader:
        console = Console(stderr=True)
        batches = track(
            loader.iterate(keys),
            "reading clips",
            total=len(keys),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        return measure(batches, front_end, modalities=clips.modalities), loader.problems


def _write(path: Path, statistics: Statistics, config: RunConfig, argv: Sequence[str]) -> None:
    """The configuration file of `--output`: the whole `front_end:`, as it was but for numbers."""
    from sightsound.config.load import merge
    from sightsound.files import write_whole

    header = (
        f"# Mean and deviation of the front end, measured on {statistics.num_clips} clips.\n"
        f"# Command: sightsound stats {shlex.join(argv)}\n"
        "# Use: --config RECIPE --config THIS_FILE, with the recipe of that command.\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, header + _yaml(merge(config.front_end, statistics.section())))


def _yaml(section: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump({"front_end": section}, sort_keys=False, default_flow_style=None)


def _advice(statistics: Statistics, output: str) -> str:
    """How to train with the numbers."""
    from sightsound.data.stats import options

    if not statistics.section():
        return "Nothing here that the front end could take."
    written = f"{output} holds them: give --config {shlex.quote(output)} after the recipe."
    written = written if output else "--output FILE.yaml writes them for --config to read."
    recipe = _yaml(statistics.section())
    return f"As options:\n  {options(statistics)}\n\nIn a recipe:\n{recipe}\n{written}"
