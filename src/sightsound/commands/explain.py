"""The command `explain`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import require_data
from sightsound.commands.terminal import complain, say

if TYPE_CHECKING:
    from sightsound.data.dataset import ClipDataset
    from sightsound.data.features import FeatureDataset
    from sightsound.explain.contributions import Explanation
    from sightsound.options import Parser
    from sightsound.predict import Predictor

_TABLES = (".csv", ".parquet")  # every other file is taken for a clip


def explain(argv: Sequence[str]) -> None:
    """Say what a decision is made of: which seconds, seen and heard; draw it."""
    options = _explain_parser().parse_args(list(argv))
    for path in options.paths:
        require_data(path)
    files = _check(options)

    from sightsound.explain.contributions import check_explains
    from sightsound.explain.seen import named
    from sightsound.predict import Predictor

    predictor = Predictor(options.model)
    check_explains(predictor.model)
    if files:
        span = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
        _explain_few(predictor, predictor.files(files, **span), options)
    elif options.clip:
        manifest = predictor.manifest(next(iter(options.paths), None), bad_files="mask")
        rows = named(manifest.rows, options.clip, source=manifest.source)
        clips = predictor.dataset(manifest, rows, views=1, bad_files="mask")
        _explain_few(predictor, clips, options)
    else:
        _explain_split(predictor, options)


def _explain_parser() -> Parser:
    from sightsound.options import Parser

    parser = Parser(
        prog="sightsound explain",
        usage="sightsound explain MODEL FILE [FILE ...] [options]\n"
        "       sightsound explain MODEL [DATA] [--split SPLIT | --clip ID] [options]",
        description=f"{explain.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="A run, a model directory, or hf:owner/name.")
    add("paths", nargs="*", metavar="FILE | DATA", help=_PATHS)
    add("--clip", metavar="ID", action="append", help="This clip of DATA; may be repeated.")
    add("--split", help="All clips of this split of DATA (default: the run's, else test).")
    add("--class", metavar="NAME", help="Explain this class, not the likeliest.")
    add("--format", choices=["table", "json", "csv"], default="table", help=_FORMAT)
    add("--output", metavar="DIR", help=_OUTPUT)
    add("--span", nargs=2, type=float, metavar=("START", "END"), help=_SPAN)
    add("--start_seconds", type=float, help="Look only at what comes after this time.")
    add("--end_seconds", type=float, help="Look only at what comes before this time.")
    add("--num_workers", type=int, default=2, help="Decoding processes for a split.")
    add("--bad_files", choices=["error", "drop", "mask"], default="error", help=_BAD_FILES)
    add("--seed", type=int, default=0, help="Seed of the deletion test.")
    return parser


_TEXT = """
For MAFnet: attention and exact contributions of every second of each stream. Of files and of
--clip a table for each, with --output also a picture. Of a split, without --clip, the tables of
all clips, whether the contributions add up, and the deletion test: what a class loses without
the second that counts most, compared with a random one."""
_PATHS = "Video or sound files, or one folder or manifest (default: the run's own data)."
_FORMAT = "What is printed of files and --clip."
_OUTPUT = "Folder for tables and pictures (default of a split: RUN/explanation)."
_SPAN = "When the event is, in seconds of the file: marked in the picture of one clip."
_BAD_FILES = "A file of a split that cannot be decoded: stop, leave it out, or absent stream."
_EXAMPLES = """Examples:
  sightsound explain runs/a clip.mp4 --output explained
  sightsound explain runs/a --clip test/dog/1.mp4 --class cat --format json
  sightsound explain runs/a --split val"""


def _check(options: Any) -> list[str]:
    """The files among the paths; `ValueError` for options that do not go together."""
    paths = options.paths
    data = [path for path in paths if Path(path).is_dir() or Path(path).suffix in _TABLES]
    files = [path for path in paths if path not in data]
    if data and len(paths) > 1:
        raise ValueError(
            f"{data[0]!r} is a data set, but {len(paths)} paths are given; accepted: one "
            "data set, or files"
        )
    if files and (options.clip or options.split):
        raise ValueError("--clip and --split choose from a data set; files were given")
    if options.clip and options.split:
        raise ValueError("--clip and --split do not go together: ids are looked up in all splits")
    if not files and (options.start_seconds is not None or options.end_seconds is not None):
        raise ValueError("--start_seconds and --end_seconds go with files")
    if options.span and (len(files or options.clip or ()) != 1 or not options.output):
        raise ValueError("--span goes with the picture of one clip: name it, and --output")
    if options.span and options.span[0] >= options.span[1]:
        raise ValueError(f"--span is {options.span}; accepted: a start and an end after it")
    return files


# --- a few clips --------------------------------------------------------------------------------


def _explain_few(predictor: Predictor, clips: ClipDataset, options: Any) -> None:
    """Print the explanation of every clip; with `--output` also draw it."""
    from sightsound.data.loader import Loader
    from sightsound.explain.contributions import explain_loader
    from sightsound.explain.words import as_csv, as_json, as_table, cell_table
    from sightsound.media.decode import DecodeError

    with Loader(clips) as loader:
        shown = getattr(options, "class")
        found = [e for _, part in explain_loader(predictor, loader, shown=shown) for e in part]
        problems = loader.problems
    if found:
        texts = {"table": as_table, "json": as_json, "csv": lambda x: as_csv(cell_table(x))}
        say(texts[options.format](found))
    if found and options.output:
        _write_few(found, clips, options)
        if options.format == "table":
            say(f"\nTables and pictures: {options.output}")
    lost = [problem for problem in problems if problem.action == "dropped"]
    for problem in problems:
        if problem not in lost[-1:]:
            complain("sightsound explain", f"{problem.path}: {problem.cause}")
    if lost:
        raise DecodeError(lost[-1].path, 0.0, lost[-1].cause)


def _write_few(found: Sequence[Explanation], clips: ClipDataset, options: Any) -> None:
    """`contributions.csv`, `contributions.json` and a picture of each clip."""
    from sightsound.explain.seen import evaluation_view
    from sightsound.explain.split import write_whole
    from sightsound.explain.strip import strip_picture
    from sightsound.explain.words import as_csv, as_json, cell_table

    folder = Path(options.output)
    write_whole(folder / "contributions.csv", as_csv(cell_table(found)).encode())
    write_whole(folder / "contributions.json", f"{as_json(found)}\n".encode())
    names = _picture_names([explanation.id for explanation in found])
    places = {row.id: place for place, row in enumerate(clips.rows)}
    for explanation in found:
        (seen,) = evaluation_view(clips, [places[explanation.id]])
        path = folder / names[explanation.id]
        strip_picture(path, explanation, seen, clips.front_end, span=options.span)


def _picture_names(ids: Sequence[str]) -> dict[str, str]:
    """{id: file name}: the last part of the id, or all of it where that is not unique."""
    last = {clip: Path(clip).name for clip in ids}
    names = last if len(set(last.values())) == len(ids) else {clip: clip for clip in ids}
    return {
        clip: re.sub(r"[^\w.#-]+", "_", name).strip("_") + ".png" for clip, name in names.items()
    }


# --- a split ------------------------------------------------------------------------------------


def _explain_split(predictor: Predictor, options: Any) -> None:
    """Write the tables of all clips of a split and print what they say."""
    from sightsound.data.loader import Loader
    from sightsound.data.manifest import id_hash
    from sightsound.evaluate import clips_of
    from sightsound.explain.split import as_text, explain_split, split_json, write_split
    from sightsound.explain.words import as_csv
    from sightsound.settings import EvaluateSettings

    settings = EvaluateSettings() if predictor.config is None else predictor.config.evaluate
    bad_files = options.bad_files
    manifest = predictor.manifest(next(iter(options.paths), None), bad_files=bad_files)
    name = options.split or settings.split
    rows = clips_of(manifest, name)
    clips = predictor.dataset(manifest, rows, views=1, bad_files=bad_files)
    clips = _stored(predictor, clips, num_workers=options.num_workers)
    with Loader(clips, num_workers=options.num_workers) as loader:
        split = explain_split(
            predictor,
            loader,
            batch_size=settings.batch_size,
            shown=getattr(options, "class"),
            seed=options.seed,
        )
    folder = Path(options.output or _default_output(options.model))
    write_split(split, folder)
    if options.format == "table":
        ids = split.clips["id"].to_pylist()
        title = f"{len(ids)} clips of {manifest.source}, split {name} (ids {id_hash(ids)})"
        say(f"{title}\n{as_text(split)}\nTables: {folder}")
    else:
        say(as_csv(split.cells) if options.format == "csv" else split_json(split))


def _stored(
    predictor: Predictor, clips: ClipDataset, *, num_workers: int
) -> ClipDataset | FeatureDataset:
    """The clips as features from the run's folder, computed first where they are not there."""
    from rich.console import Console

    from sightsound.extract import with_features
    from sightsound.run import features_folder
    from sightsound.train.log import progress_bar

    folder = None if predictor.config is None else features_folder(predictor.config)
    if folder is None:
        return clips
    with progress_bar("features", Console(stderr=True)) as progress:
        return with_features(
            clips, folder, predictor.encoding, num_workers=num_workers, progress=progress
        )


def _default_output(model: str) -> Path:
    """`explanation/` in the run, beside the model directory, or here for a model of the hub."""
    from sightsound.run import model_source

    here = model.startswith("hf:")
    return Path("explanation") if here else Path(model_source(model)).parent / "explanation"
