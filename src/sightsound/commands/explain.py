"""The command `explain`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import COLUMNS, beside_model, require_data
from sightsound.commands.terminal import complain, say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.data.dataset import ClipDataset
    from sightsound.explain.clips import ClipExplanation
    from sightsound.predict import Predictor

_WITHOUT_MAPS = ("leave_one_out", "shapley")


def explain(argv: Sequence[str]) -> None:
    """Say what a decision rests on, seen and heard: when, where, which frequencies; draw it."""
    options = _explain_parser().parse_args(list(argv))
    for path in options.paths:
        require_data(path)
    files = _check(options)

    from sightsound.explain.contributions import check_has_contributions
    from sightsound.predict import Predictor
    from sightsound.preview.model_inputs import named

    predictor = Predictor(options.model, columns=options.columns)
    method = options.method
    options.method = predictor.model.default_explanation if method == "auto" else method
    if options.method == "contributions":
        check_has_contributions(predictor.model)
    elif options.span:
        raise ValueError("--span goes with --method contributions, of mafnet")
    if options.video and options.method in _WITHOUT_MAPS:
        raise ValueError(f"--video goes with a method that makes maps, not with {options.method}")
    if options.heads != "mean" and options.method != "rollout":
        raise ValueError(f"--heads goes with --method rollout, not with {options.method}")
    if files:
        part = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
        _explain_clips(predictor, predictor.files(files, **part), options)
    elif options.clip:
        manifest = predictor.manifest(next(iter(options.paths), None), bad_files="mask")
        rows = named(manifest.rows, options.clip, source=manifest.source)
        clips = predictor.dataset(manifest, rows, views=1, bad_files="mask")
        _explain_clips(predictor, clips, options)
    else:
        _explain_split(predictor, options)


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


def _ask(options: Any) -> dict[str, Any]:
    """How to explain, as arguments of `explain_batch`."""
    ask = {"method": options.method, "shown": getattr(options, "class")}
    return ask | ({"heads": options.heads} if options.method == "rollout" else {})


def _explain_clips(predictor: Predictor, clips: ClipDataset, options: Any) -> None:
    """Print the explanation of every clip; with `--output` also write and draw it.

    Raises:
        DecodeError: a clip was lost; it is told when all others have been explained.
    """
    from contextlib import closing

    from sightsound.explain.clips import explain_files
    from sightsound.explain.text import as_csv, as_json, as_table
    from sightsound.media.decode import DecodeError

    with closing(clips.reader):
        inputs, found = zip(*explain_files(predictor, clips, **_ask(options)), strict=True)
    explained = [clip for clip in found if clip is not None]
    if explained:
        say({"table": as_table, "json": as_json, "csv": as_csv}[options.format](explained))
        if options.output:
            what = _write_clips(explained, predictor, clips, options)
            if options.format == "table":
                say(f"\n{what}: {options.output}")
    problems = dict.fromkeys(problem for given in inputs for problem in given.problems)
    lost = [problem for problem in problems if problem.action == "dropped"]
    for problem in problems:
        if problem not in lost[-1:]:
            complain("sightsound explain", f"{problem.path}: {problem.cause}")
    if lost:
        raise DecodeError(lost[-1].path, 0.0, lost[-1].cause)


def _write_clips(
    explained: Sequence[ClipExplanation], predictor: Predictor, clips: ClipDataset, options: Any
) -> str:
    """Tables, a picture and, with `--video`, a film of each clip, a contact sheet of several.

    What was written, in words.
    """
    from sightsound.data.folders import FILM
    from sightsound.explain.contact_sheet import contact_sheet
    from sightsound.explain.text import as_csv, as_json
    from sightsound.explain.timeline_plot import timeline_plot
    from sightsound.files import write_whole
    from sightsound.timeline.film import write_film

    folder = Path(options.output)
    of_seconds = explained[0].explanation.seconds is not None
    name = "contributions" if of_seconds else "maps"
    write_whole(folder / f"{name}.csv", as_csv(explained))
    write_whole(folder / f"{name}.json", f"{as_json(explained)}\n")
    if options.method in _WITHOUT_MAPS:
        return "Tables"
    names = _picture_names([clip.explanation.id for clip in explained])
    for clip in explained:
        timeline_plot(folder / f"{names[clip.explanation.id]}.png", clip, event=options.span)
    if len(explained) > 1 and not of_seconds:
        contact_sheet(folder / "contact_sheet.png", explained)
    for clip in explained if options.video else ():
        write_film(folder / f"{names[clip.explanation.id]}{FILM}", predictor, clips, clip)
    return "Tables and pictures"


def _picture_names(ids: Sequence[str]) -> dict[str, str]:
    """{id: file name}: the last part of the id, or all of it where that is not unique."""
    last = {clip: Path(clip).name for clip in ids}
    names = last if len(set(last.values())) == len(ids) else {clip: clip for clip in ids}
    return {clip: re.sub(r"[^\w.#-]+", "_", name).strip("_") for clip, name in names.items()}


def _explain_split(predictor: Predictor, options: Any) -> None:
    """Write a table of the clips of a split, and print what they have in common."""
    from rich.console import Console

    from sightsound.config.settings import EvaluateSettings
    from sightsound.data.loader import Loader
    from sightsound.data.rows import id_hash
    from sightsound.evaluation.evaluate import clips_of, split_of_run, stored
    from sightsound.explain.split import (
        explain_split,
        split_csv,
        split_json,
        split_text,
        write_split,
    )
    from sightsound.train.log import progress_bar

    settings = EvaluateSettings() if predictor.config is None else predictor.config.evaluate
    bad_files, num_workers = options.bad_files, options.num_workers
    manifest = predictor.manifest(next(iter(options.paths), None), bad_files=bad_files)
    name = split_of_run(manifest, options.split, settings)
    files = predictor.dataset(manifest, clips_of(manifest, name), views=1, bad_files=bad_files)
    with progress_bar("features", Console(stderr=True)) as progress:
        clips = stored(files, predictor, num_workers=num_workers, progress=progress)
    how = _ask(options) | {"batch_size": settings.batch_size, "seed": options.seed}
    with Loader(clips, num_workers=num_workers) as loader:
        split = explain_split(predictor, loader, **how)
    folder = Path(options.output or beside_model(options.model, "explanation"))
    written = write_split(split, folder, files)
    if options.format == "table":
        ids = [line["id"] for line in split.lines]
        title = f"{len(ids)} clips of {manifest.source}, split {name} (ids {id_hash(ids)})"
        say("\n".join([title, split_text(split), *written]))
    else:
        say(split_csv(split) if options.format == "csv" else split_json(split))
