"""The command `explain`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import COLUMNS, require_data
from sightsound.commands.terminal import complain, say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.data.dataset import ClipDataset
    from sightsound.data.loader import Loader
    from sightsound.explain.contributions import Explanation
    from sightsound.explain.map_text import Looked
    from sightsound.features.cache import FeatureDataset
    from sightsound.predict import Predictor
    from sightsound.types import Problem

_WITHOUT_MAPS = ("leave_one_out", "shapley")
_ON_A_SHEET = 24  # clips of a split


def explain(argv: Sequence[str]) -> None:
    """Say what a decision rests on, seen and heard: when, where, which frequencies; draw it."""
    options = _explain_parser().parse_args(list(argv))
    for path in options.paths:
        require_data(path)
    files = _check(options)

    from sightsound.explain.maps import automatic
    from sightsound.predict import Predictor
    from sightsound.preview.model_inputs import named

    predictor = Predictor(options.model, columns=options.columns)
    if options.method == "auto":
        options.method = automatic(predictor.model)
    sums = options.method == "contributions"
    if sums:
        from sightsound.explain.contributions import check_explains

        check_explains(predictor.model)
    elif options.span:
        raise ValueError("--span goes with --method contributions, of mafnet")
    if options.video and options.method in _WITHOUT_MAPS:
        raise ValueError(f"--video goes with a method that makes maps, not with {options.method}")
    if options.heads != "mean" and options.method != "rollout":
        raise ValueError(f"--heads goes with --method rollout, not with {options.method}")
    few, split = (_explain_few, _explain_split) if sums else (_map_few, _map_split)
    if files:
        span = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
        few(predictor, predictor.files(files, **span), options)
    elif options.clip:
        manifest = predictor.manifest(next(iter(options.paths), None), bad_files="mask")
        rows = named(manifest.rows, options.clip, source=manifest.source)
        clips = predictor.dataset(manifest, rows, views=1, bad_files="mask")
        few(predictor, clips, options)
    else:
        split(predictor, options)


def _explain_parser() -> Parser:
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound explain",
        usage="sightsound explain MODEL FILE [FILE ...] [options]\n"
        "       sightsound explain MODEL [DATA] [--split SPLIT | --clip ID] [options]",
        description=f"{explain.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="A run, a model directory, or hf:owner/name.")
    add("paths", nargs="*", default=(), metavar="FILE | DATA", help=_PATHS)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--clip", metavar="ID", action="append", help="This clip of DATA; may be repeated.")
    add("--split", help="All clips of this split of DATA (default: the run's, or test, else val).")
    add("--method", choices=_METHODS, default="auto", help=_METHOD)
    add("--heads", choices=["mean", "min", "max"], default="mean", help=_HEADS)
    add("--class", metavar="NAME", help="Explain this class, not the likeliest.")
    add("--format", choices=["table", "json", "csv"], default="table", help=_FORMAT)
    add("--output", metavar="DIR", help=_OUTPUT)
    add("--video", action="store_true", help=_VIDEO)
    add("--span", nargs=2, type=float, metavar=("START", "END"), help=_SPAN)
    add("--start_seconds", type=float, help="Look only at what comes after this time.")
    add("--end_seconds", type=float, help="Look only at what comes before this time.")
    add("--num_workers", type=int, default=2, help="Decoding processes for a split.")
    add("--bad_files", choices=["error", "drop", "mask"], default="error", help=_BAD_FILES)
    add("--seed", type=int, default=0, help="Seed of the deletion test.")
    return parser


_METHODS = [
    "auto",
    "contributions",
    "grad_cam",
    "leave_one_out",
    "occlusion",
    "rollout",
    "shapley",
]
_TEXT = """
Of files and of --clip: how much sound and pictures count, and where each counts most: the second,
the part of the frame, the band of frequencies. With --output also pictures: frames and spectrogram
with what counts over them, and every cell as a table. Of a split, without --clip, a line for each
clip. What the methods say and do not say: docs/explanation.md.

MAFnet's contributions are exact: attention and contributions of every second of each stream; of a
split also whether they add up, and the deletion test: what a class loses without the second that
counts most, compared with a random one."""
_METHOD = (
    "How to ask (default: what suits the model). rollout: what the tokens that are classified are "
    "made of. grad_cam: what raises the class, by gradients. occlusion: what the class loses "
    "without a part. shapley, leave_one_out: what a whole stream adds. contributions: of mafnet."
)
_HEADS = "Of rollout: how the attention of a layer's heads becomes one."
_PATHS = "Video or sound files, or one folder or manifest (default: the run's own data)."
_FORMAT = "What is printed of files and --clip."
_OUTPUT = "Folder for tables and pictures (default of a split: RUN/explanation)."
_VIDEO = "With files or --clip, and --output: also a film of each clip, .mp4 with sound."
_SPAN = "When the event is, in seconds of the file: marked in the picture of one clip."
_BAD_FILES = "A file of a split that cannot be decoded: stop, leave it out, or absent stream."
_EXAMPLES = """Examples:
  sightsound explain runs/a clip.mp4 --output explained
  sightsound explain runs/a clip.mp4 --method occlusion --class dog
  sightsound explain runs/a --clip test/dog/1.mp4 --class cat --format json
  sightsound explain runs/a --split val"""


def _check(options: Any) -> list[str]:
    """The files among the paths; `ValueError` for options that do not go together."""
    from sightsound.data.tables import is_table

    paths = options.paths
    data = [path for path in paths if Path(path).is_dir() or is_table(Path(path))]
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
    if options.video and not (options.output and (files or options.clip)):
        raise ValueError("--video goes with files or --clip, and with --output")
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
    from sightsound.explain.text import as_csv, as_json, as_table, cell_table

    with Loader(clips) as loader:
        shown = getattr(options, "class")
        found = [e for _, part in explain_loader(predictor, loader, shown=shown) for e in part]
        problems = loader.problems
    if found:
        texts = {"table": as_table, "json": as_json, "csv": lambda x: as_csv(cell_table(x))}
        say(texts[options.format](found))
    if found and options.output:
        _write_few(found, clips, options)
        if options.video:
            with Loader(clips) as loader:
                looked = list(_looked(predictor, loader, options, clips=clips))
            _write_films(predictor, clips, looked, options)
        if options.format == "table":
            say(f"\nTables and pictures: {options.output}")
    _complain(problems)


def _complain(problems: Sequence[Problem]) -> None:
    """Say what could not be read; a `DecodeError` if a clip was lost."""
    from sightsound.media.decode import DecodeError

    lost = [problem for problem in problems if problem.action == "dropped"]
    for problem in problems:
        if problem not in lost[-1:]:
            complain("sightsound explain", f"{problem.path}: {problem.cause}")
    if lost:
        raise DecodeError(lost[-1].path, 0.0, lost[-1].cause)


def _write_few(found: Sequence[Explanation], clips: ClipDataset, options: Any) -> None:
    """`contributions.csv`, `contributions.json` and a picture of each clip."""
    from sightsound.explain.text import as_csv, as_json, cell_table
    from sightsound.explain.timeline_plot import strip_picture
    from sightsound.files import write_whole
    from sightsound.preview.model_inputs import evaluation_view

    folder = Path(options.output)
    write_whole(folder / "contributions.csv", as_csv(cell_table(found)))
    write_whole(folder / "contributions.json", f"{as_json(found)}\n")
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


def _map_few(predictor: Predictor, clips: ClipDataset, options: Any) -> None:
    """Print where the maps of every clip lie; with `--output` also draw them."""
    from sightsound.data.loader import Loader
    from sightsound.explain.map_text import as_json, as_table, table_lines
    from sightsound.files import csv_text

    with Loader(clips) as loader:
        found = list(_looked(predictor, loader, options, clips=clips))
        problems = loader.problems
    if found:
        texts = {"table": as_table, "json": as_json, "csv": lambda x: csv_text(table_lines(x))}
        say(texts[options.format](found))
    if found and options.output:
        _write_maps(found, options)
        if options.video:
            _write_films(predictor, clips, found, options)
        if options.format == "table":
            what = "Tables" if options.method in _WITHOUT_MAPS else "Tables and pictures"
            say(f"\n{what}: {options.output}")
    _complain(problems)


def _looked(
    predictor: Predictor, loader: Loader, options: Any, *, clips: ClipDataset | None = None
) -> Iterator[Looked]:
    """Every clip that can be read; with `clips` also what was seen of it, decoded once more."""
    from sightsound.explain.map_text import Looked
    from sightsound.explain.maps import explain_loader, explain_maps
    from sightsound.preview.model_inputs import evaluation_view

    ask = {"method": options.method, "shown": getattr(options, "class")}
    ask |= {"heads": options.heads} if options.method == "rollout" else {}
    rows = {row.id: place for place, row in enumerate(loader.dataset.rows)}
    for batch, maps in explain_loader(predictor, loader, **ask):
        shares = [None] * len(maps)
        if len(predictor.modalities) > 1:
            shares = explain_maps(predictor, batch, method="shapley", shown=ask["shown"])
        for one, shapley in zip(maps, shares, strict=True):
            place = rows[one.id]
            (seen,) = [None] if clips is None else evaluation_view(clips, [place])
            truth = " + ".join(loader.dataset.rows[place].labels)
            yield Looked(one, shapley, seen, predictor.front_end, truth)


def _write_maps(found: Sequence[Looked], options: Any) -> None:
    """`maps.json`, `maps.csv`, a picture of each clip and a contact sheet of several."""
    from sightsound.explain.contact_sheet import contact_sheet
    from sightsound.explain.map_picture import map_picture
    from sightsound.explain.map_text import as_json, table_lines
    from sightsound.files import csv_text, write_whole

    folder = Path(options.output)
    write_whole(folder / "maps.csv", csv_text(table_lines(found)))
    write_whole(folder / "maps.json", f"{as_json(found)}\n")
    found = [looked for looked in found if looked.maps.streams]
    names = _picture_names([looked.maps.id for looked in found])
    for looked in found:
        map_picture(folder / names[looked.maps.id], looked)
    if len(found) > 1:
        contact_sheet(folder / "contact_sheet.png", found)


def _write_films(
    predictor: Predictor, clips: ClipDataset, found: Sequence[Looked], options: Any
) -> None:
    """A film of each clip, named after its picture."""
    from sightsound.data.folders import FILM
    from sightsound.timeline.film import write_film

    names = _picture_names([looked.maps.id for looked in found])
    for looked in found:
        name = names[looked.maps.id].removesuffix(".png") + FILM
        write_film(Path(options.output) / name, predictor, clips, looked)


# --- a split ------------------------------------------------------------------------------------


def _explain_split(predictor: Predictor, options: Any) -> None:
    """Write the tables of all clips of a split and print what they say."""
    from sightsound.config.settings import EvaluateSettings
    from sightsound.data.loader import Loader
    from sightsound.data.rows import id_hash
    from sightsound.evaluation.evaluate import clips_of, split_of_run
    from sightsound.explain.split import as_text, explain_split, split_json, write_split
    from sightsound.explain.text import as_csv

    settings = EvaluateSettings() if predictor.config is None else predictor.config.evaluate
    bad_files = options.bad_files
    manifest = predictor.manifest(next(iter(options.paths), None), bad_files=bad_files)
    name = split_of_run(manifest, options.split, settings)
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

    from sightsound.evaluation.evaluate import stored
    from sightsound.train.log import progress_bar

    with progress_bar("features", Console(stderr=True)) as progress:
        return stored(clips, predictor, num_workers=num_workers, progress=progress)


def _default_output(model: str) -> Path:
    """`explanation/` in the run, beside the model directory, or here for a model of the hub."""
    from sightsound.build import model_source

    here = model.startswith("hf:")
    return Path("explanation") if here else Path(model_source(model)).parent / "explanation"


def _map_split(predictor: Predictor, options: Any) -> None:
    """Write a line for every clip of a split, and print what they have in common."""
    from sightsound.config.settings import EvaluateSettings
    from sightsound.data.loader import Loader
    from sightsound.data.rows import id_hash
    from sightsound.evaluation.evaluate import clips_of, split_of_run
    from sightsound.explain.map_text import as_json, clip_line, split_text
    from sightsound.files import csv_text, write_whole

    settings = EvaluateSettings() if predictor.config is None else predictor.config.evaluate
    bad_files = options.bad_files
    manifest = predictor.manifest(next(iter(options.paths), None), bad_files=bad_files)
    name = split_of_run(manifest, options.split, settings)
    files = predictor.dataset(manifest, clips_of(manifest, name), views=1, bad_files=bad_files)
    clips = _stored(predictor, files, num_workers=options.num_workers)
    with Loader(clips, num_workers=options.num_workers) as loader:
        found = list(_looked(predictor, loader, options))
        problems = loader.problems
    if not found:
        raise ValueError(f"none of the {len(clips)} clips could be read: {problems[0].cause}")
    folder = Path(options.output or _default_output(options.model))
    table = csv_text([clip_line(looked) for looked in found])
    write_whole(folder / f"{options.method}.csv", table)
    _draw_sheet(folder / f"{options.method}.png", found, files)
    if options.format == "table":
        ids = [looked.maps.id for looked in found]
        title = f"{len(ids)} clips of {manifest.source}, split {name} (ids {id_hash(ids)})"
        say(f"{title}\n{split_text(found, problems)}\nTable: {folder / options.method}.csv")
        if any(looked.maps.streams for looked in found):
            say(f"Some of them: {folder / options.method}.png")
    else:
        say(table if options.format == "csv" else as_json(found, cells=False))


def _draw_sheet(path: Path, found: Sequence[Looked], clips: ClipDataset) -> None:
    """Some of the clips on one page, chosen at random but always alike, decoded once more."""
    import numpy as np

    from sightsound.explain.contact_sheet import contact_sheet
    from sightsound.preview.model_inputs import evaluation_view

    found = [looked for looked in found if looked.maps.streams]
    if not found:
        return
    number = len(found)
    chosen = np.random.default_rng(0).permutation(len(found))[:_ON_A_SHEET]
    found = [found[index] for index in sorted(chosen)]
    places = {row.id: place for place, row in enumerate(clips.rows)}
    views = evaluation_view(clips, [places[looked.maps.id] for looked in found])
    pairs = zip(found, views, strict=True)
    found = [dataclasses.replace(looked, seen=seen) for looked, seen in pairs]
    contact_sheet(path, found, title=f"{len(found)} of {number} clips")
