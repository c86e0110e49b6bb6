"""The command `preview`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import COLUMNS, list_components, recipes, require_data, take_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import RunConfig
    from sightsound.data.dataset import ClipDataset
    from sightsound.data.rows import Manifest, Row
    from sightsound.preview.model_inputs import ModelInput

_MOST = 16  # clips in one picture


def preview(argv: Sequence[str]) -> None:
    """Draw what a model is given of some clips: frames, log-mel, labels, masks, times."""
    from sightsound.config.load import parse_run

    model, train, argv = _own(argv)
    # The output of a run in --config is not meant here.
    config, options = parse_run(_preview_parser(), ["--output", "preview.png", *argv])
    _check(config, options, train=train)
    if model:
        _check_alone(argv, train=train)
    take_data(config.data, options)
    if config.data.path or not model:
        require_data(config.data.path)

    from sightsound.preview.figure import preview_picture
    from sightsound.preview.model_inputs import remarks

    if model:
        clips, seen, view = _by_model(config, options, model)
    else:
        clips, seen, view = _by_config(config, options, train=train)
    name = clips.front_end.id
    preview_picture(config.output, seen, clips.front_end, title=f"{view}; front end {name}")
    count = "1 clip" if len(seen) == 1 else f"{len(seen)} clips"
    lines = [f"{config.output}: {count}, {view}"]
    for look in seen:
        found = remarks(look)
        lines += [f"  {look.row.id}"] * bool(found) + [f"    {remark}" for remark in found]
    say("\n".join(lines))


def _preview_parser() -> Parser:
    from sightsound.config.load import settings_parser

    parser = settings_parser(
        "sightsound preview",
        shown=False,
        usage="sightsound preview DATA [--config RECIPE] [--train] [--clip ID] [options]\n"
        "       sightsound preview [DATA] --model MODEL [--clip ID] [options]",
        description=f"{preview.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help=_DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--config", metavar="RECIPE", help="What you will train; may be repeated. " + recipes())
    add("--model", metavar="MODEL", help="See as this model does: a run, a directory, hf:...")
    add("--clip", metavar="ID", action="append", help="This clip; may be repeated.")
    add("--number", type=int, default=4, metavar="N", help="Else N of different classes.")
    add("--epoch", type=int, default=0, metavar="N", help="Of training, with --train.")
    parser.add_argument_group("--train", "As a step of training, with its augmentation.")
    parser.add_argument_group("--output FILE", "The picture (default: preview.png).")
    parser.add_argument_group("--seed N", "Which clips; with --train also how they are cut.")
    parser.add_argument_group("--data.NAME, --augment.NAME", "As in 'sightsound train --help'.")
    list_components(parser)
    return parser


_DATA = "Folder of class folders, manifest, or one media file; of a run, its own by default."

_TEXT = """
Pixels and log-mel are those of the model's input, after normalisation, with the masks beside
them. With --train they are those of the training step in which the clip comes: a whole batch
is read for it, so --train.batch_size counts."""

_EXAMPLES = """Examples:
  sightsound preview videos/ --config first
  sightsound preview videos/ --config first --train --augment.mixup_alpha 0.3
  sightsound preview clip.mp4 --model runs/a --output clip.png"""


def _own(argv: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    """`--model MODEL`, `--train`, and the rest: in other commands these two are sections."""
    from sightsound.config.parser import UsageError

    model, rest, tokens = None, [], iter(argv)
    for token in tokens:
        if token != "--model" and not token.startswith("--model="):
            rest.append(token)
            continue
        model = token.partition("=")[2] or next(tokens, "")
        if not model or model.startswith("--"):
            raise UsageError("option '--model' needs a value: a run, a directory, or hf:owner/name")
    return model, "--train" in rest, [token for token in rest if token != "--train"]


def _check(config: RunConfig, options: Any, *, train: bool) -> None:
    """`ValueError` for numbers out of range."""
    if not 1 <= options.number <= _MOST:
        raise ValueError(f"--number is {options.number}; accepted: 1 to {_MOST}")
    if len(options.clip or []) > _MOST:
        raise ValueError(f"--clip is given {len(options.clip)} times; accepted: up to {_MOST}")
    if options.epoch < 0:
        raise ValueError(f"--epoch is {options.epoch}; accepted: 0 or more")
    if options.epoch and not train:
        raise ValueError("--epoch goes with --train: without it nothing is random")
    if Path(config.output).suffix.lower() != ".png":
        raise ValueError(f"--output is {config.output!r}; accepted: a file name that ends in .png")


_OF_MODEL = (
    *("--config", "--front_end", "--augment", "--model.", "--epoch"),
    *("--data.crop", "--data.windows", "--data.wrap", "--data.synchronous"),
)


def _check_alone(argv: Sequence[str], *, train: bool) -> None:
    """`ValueError` if something is given beside `--model` that the model decides."""
    given = "--train" if train else next((t for t in argv if t.startswith(_OF_MODEL)), None)
    if given is not None:
        raise ValueError(
            f"{given.split('=')[0]} does not go with --model, which sees clips in its own way; for "
            "the training view of a run give its directory as --config, with --train"
        )


# --- which clips, in which view -----------------------------------------------------------------


def _by_model(
    config: RunConfig, options: Any, model: str
) -> tuple[ClipDataset, list[ModelInput], str]:
    """The data set as the model reads it, its inputs, and a name for the view."""
    from sightsound.predict import Predictor
    from sightsound.preview.model_inputs import evaluation_view

    predictor = Predictor(model)
    if not config.data.path:
        if predictor.config is None:
            raise ValueError(f"{model!r} belongs to no run that names its data; name a DATA")
        own = predictor.config.data
        config.data = dataclasses.replace(own, exclude=config.data.exclude or own.exclude)
    manifest = _manifest(config)
    rows = _rows(manifest.rows, options, config.seed, source=manifest.source)
    clips = predictor.dataset(manifest, rows, views=1, bad_files="mask")
    return clips, evaluation_view(clips), f"as {model} sees them in evaluation"


def _by_config(
    config: RunConfig, options: Any, *, train: bool
) -> tuple[ClipDataset, list[ModelInput], str]:
    """The data set of a configuration, what it gives, and a name for the view."""
    from sightsound.build import build_front_end
    from sightsound.data.dataset import ClipDataset
    from sightsound.preview.model_inputs import evaluation_view, training_view
    from sightsound.types import MODALITIES

    manifest = _manifest(config)
    if config.data.bad_files == "error":  # here a bad file is something to be seen
        config.data = dataclasses.replace(config.data, bad_files="mask")
    rows = _training_rows(manifest, config) if train else manifest.rows
    chosen = _rows(rows, options, config.seed, source=manifest.source)
    front_end = build_front_end(config.front_end)
    if train and front_end.features is not None:
        raise ValueError("--train: features are augmented, not the pixels drawn here; leave it out")
    clips = ClipDataset(
        manifest,
        rows if train else chosen,
        front_end,
        config.data,
        modalities=tuple(config.model.get("modalities", MODALITIES)),
        train=train,
        seed=config.seed,
    )
    if not train:
        return clips, evaluation_view(clips), "as in evaluation"
    ids = [row.id for row in chosen] if options.clip else []
    seen = training_view(clips, config, epoch=options.epoch, ids=ids, number=options.number)
    return clips, seen, f"as in training, epoch {options.epoch}, seed {config.seed}"


def _manifest(config: RunConfig) -> Manifest:
    """The clips of `data.path`; of a media file, itself without a label."""
    from sightsound.data.manifest import load_manifest
    from sightsound.data.rows import LABEL, Manifest, Row
    from sightsound.data.tables import is_table

    path = Path(config.data.path)
    if path.is_dir() or is_table(path):
        return load_manifest(config.data, seed=config.seed)
    row = Row(id=str(path), path=path.absolute(), labels=())
    return Manifest((row,), {LABEL: []}, "single", path)


def _training_rows(manifest: Manifest, config: RunConfig) -> list[Row]:
    """The clips that training takes."""
    from sightsound.data.subset import share_of

    rows = manifest.split("train")
    if not rows:
        raise ValueError(f"{manifest.source} has no training clips: leave out --train")
    share = config.data.train_fraction
    return share_of(rows, share=share, seed=config.seed) if share < 1 else rows


def _rows(rows: Sequence[Row], options: Any, seed: int, *, source: Path) -> list[Row]:
    """Those of `--clip`; else `--number` of different classes, another choice for each seed."""
    from sightsound.preview.model_inputs import different, named
    from sightsound.seeding import stable_seed

    if not options.clip:
        drawn = sorted(rows, key=lambda row: stable_seed(seed, "preview", row.id))
        return [drawn[position] for position in different(drawn, number=options.number)]
    return named(rows, options.clip, source=source)
