"""The command `extract`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, DATA, recipes, require_data, take_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import RunConfig
    from sightsound.data.dataset import ClipDataset
    from sightsound.features.encoding import Encoding


def extract(argv: Sequence[str]) -> None:
    """Compute features of frozen encoders for every clip, once, and keep them on disk."""
    from sightsound.config.load import parse_run

    config, options = parse_run(_extract_parser(), ["--output", "features", *argv])
    take_data(config.data, options)
    require_data(config.data.path)
    config.front_end = _front_end(config, options)
    clips, encoding = _parts(config)

    from rich.console import Console

    from sightsound.features import extract as extraction
    from sightsound.features.cache import FeatureCache
    from sightsound.train.log import progress_bar

    cache = FeatureCache(Path(config.output), clips)
    workers = config.data.num_workers
    if options.verify:
        wrong = extraction.verify(clips, cache, encoding, num_workers=workers)
        if wrong:
            listed = "; ".join(f"{clip}: {cause}" for clip, cause in list(wrong.items())[:5])
            raise ValueError(
                f"features of {len(wrong)} of {len(clips)} clips are not right: {listed}"
            )
        say(f"the features of all {len(clips)} clips are as computed anew")
        return
    with progress_bar("features", Console(stderr=True)) as progress:
        done = extraction.extract(clips, cache, encoding, num_workers=workers, progress=progress)
    shapes = ", ".join(f"{name} {shape}" for name, shape in clips.front_end.shapes.items())
    say(f"{done.num_clips} clips, {done.num_new} of them new, in {config.output}: {shapes}")
    if done.problems:
        say(f"{len(done.problems)} problems with files, such as: {done.problems[0].cause}")
    say(f"Train on them:\n  {_next_command(config, recipe=options.config or 'mafnet/first')}")


def _front_end(config: RunConfig, options: object) -> dict:
    """The front end of the configuration, with what the short options say."""
    from sightsound.config.load import check_front_end

    names = ("video_encoder", "audio_encoder", "segments", "frames_per_segment")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    features = {**(config.front_end.get("features") or {}), **given}
    if not features:
        raise ValueError(
            "no encoder is named; give --video_encoder, --audio_encoder or both, such as "
            "'--video_encoder mobilenet_v2:FILE', or a recipe with --config"
        )
    return check_front_end({**config.front_end, "name": "features", "features": features})


def _parts(config: RunConfig) -> tuple[ClipDataset, Encoding]:
    """All clips, cut as in training, and what encodes them."""
    import torch

    from sightsound.build import build_dataset, build_front_end
    from sightsound.data.manifest import load_manifest
    from sightsound.features.encoding import Encoding

    front_end = build_front_end(config.front_end)
    manifest = load_manifest(config.data, seed=config.seed)
    modalities = tuple(name for name in ("video", "audio") if name in front_end.shapes)
    clips = build_dataset(
        config, manifest, front_end, "+".join(manifest.splits), modalities=modalities
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return clips, Encoding(front_end, device=device)


def _next_command(config: RunConfig, *, recipe: str) -> str:
    """The command that trains on these features: the same clips, encoders and cut."""
    features = config.front_end["features"]
    given = {"--config": recipe, "--data.features": config.output}
    if config.data.columns:
        given["--columns"] = config.data.columns
    encoders = {name: features.get(f"{name}_encoder", "") for name in ("video", "audio")}
    streams = [name for name, encoder in encoders.items() if encoder]
    if len(streams) == 1:  # MAFnet needs both
        given |= {"--model": "linear_probe", "--model.modalities": f"[{streams[0]}]"}
    given |= {f"--front_end.features.{name}_encoder": value for name, value in encoders.items()}
    given |= {f"--front_end.features.{name}": value for name, value in features.items()}
    options = (f"{name} {shlex.quote(str(value))}" for name, value in given.items())
    return f"sightsound train {shlex.quote(config.data.path)} {' '.join(options)}"


def _extract_parser() -> Parser:
    from sightsound.config.load import settings_parser

    parser = settings_parser(
        "sightsound extract",
        shown=False,
        usage="sightsound extract DATA --video_encoder NAME:FILE --audio_encoder NAME:FILE ...",
        description=f"{extract.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    parser.set_defaults({"data.windows": "start", "data.crop": "centre"})  # as mafnet/first
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help=DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--config", metavar="RECIPE", help="Recipe name or file. " + recipes())
    add("--video_encoder", "--video-encoder", metavar="NAME:FILE", help=_VIDEO_ENCODER)
    add("--audio_encoder", "--audio-encoder", metavar="NAME:FILE", help=_AUDIO_ENCODER)
    add("--segments", type=int, metavar="T", help="Seconds of every clip (default: 10).")
    add("--frames_per_segment", type=int, metavar="N", help="Frames of a second (default: 1).")
    add("--verify", action="store_true", help="Compute all features again and compare them.")
    return parser


_VIDEO_ENCODER = "Encoder of pictures: mobilenet_v2:FILE, densenet201:FILE, hf:owner/name."
_AUDIO_ENCODER = "Encoder of sound: yamnet:FILE, vggish:FILE, hf:owner/name."
_TEXT = """
Features are found by content: a changed file, encoder or front end is computed anew, and the same
command goes on after an interruption. 'sightsound train' does this by itself where a model reads
features."""
_EXAMPLES = """Examples:
  sightsound extract videos/ --video_encoder mobilenet_v2:mobilenet_v2.npz \\
      --audio_encoder yamnet:yamnet.npz --segments 10 --output features
  sightsound extract videos/ --config runs/a/config.yaml --output features --verify"""
