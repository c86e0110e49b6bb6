"""The command `manifest`: a public data set's official files and your clips become a manifest."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.terminal import say

_KNOW_THEIR_CLIPS = ("huggingface", "huggingface-parquet", "webdataset")  # need no --media

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.data.datasets.listing import Listing
    from sightsound.data.datasets.matching import Matched


def manifest(argv: Sequence[str]) -> None:
    """Turn a public data set's official files and the clips you have into a manifest."""
    parser = _parser()
    options = parser.parse_args(list(argv))
    if not options.media and options.dataset not in _KNOW_THEIR_CLIPS:
        parser.error("the following arguments are required: --media")
    output = Path(options.output)
    if output.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--output {options.output!r} is no manifest; accepted: .csv or .parquet")

    from sightsound.data.datasets.matching import match
    from sightsound.data.datasets.media_index import MediaIndex
    from sightsound.registry import DATASETS, resolve

    read = resolve(DATASETS, options.dataset, kind="data set")
    chosen = _chosen(read, options)
    listing = read([Path(path) for path in options.annotations], **chosen)
    media = Path(options.media or Path(options.annotations[0]).absolute())
    if not options.media and not media.is_dir():  # a file that knows where its clips are
        media = media.parent
    sound = MediaIndex(Path(options.audio)) if options.audio else None
    matched = match(options.dataset, listing, MediaIndex(media), sound)
    source = {name: getattr(options, name) for name in ("annotations", "media", "audio")}
    source["options"] = chosen
    said = _write(matched, listing, output, seed=options.seed, source=source)
    trains = any(row.split in ("train", "") for row in matched.rows)
    step = (
        "Train on it:\n  sightsound train"
        if trains
        else "Score on it:\n  sightsound evaluate MODEL"
    )
    say(f"{matched.coverage.text()}\n{said}\n{step} {output}")


def _parser() -> Parser:
    from sightsound.config.parser import Parser
    from sightsound.registry import DATASETS, installed

    names = [*DATASETS, *installed("data set")]
    parser = Parser(
        prog="sightsound manifest",
        usage="sightsound manifest DATASET ANNOTATIONS [ANNOTATIONS ...] --media DIR "
        "--output FILE [options]",
        description=f"{manifest.__doc__}\n\n{_what_is_read()}",
        epilog=_TEXT,
    )
    add = parser.add_argument
    add("dataset", metavar="DATASET", choices=names, help="A name of the list above.")
    add("annotations", metavar="ANNOTATIONS", nargs="+", help="Official files, or their folders.")
    add("--media", metavar="DIR", help="Folder of the clips, searched to the end.")
    add("--audio", metavar="DIR", help="Folder of separate sound files of the same names.")
    add("--output", required=True, metavar="FILE", help="The manifest, .csv or .parquet.")
    add("--fold", type=int, choices=[1, 2, 3], help="ucf101, ucf51: the official split (1).")
    add("--test_list", type=int, choices=[402, 394], help="ave: rows of the test list (402).")
    add("--seed", type=int, default=0, help="Of clips held out (ucf) or chosen (audioset-500k).")
    return parser


def _what_is_read() -> str:
    """Every data set with its official files, from the readers' docstrings."""
    from sightsound.registry import DATASETS, installed, resolve

    names = [*DATASETS, *installed("data set")]
    width = max(map(len, names)) + 2
    lines = ["Data sets and the files they want:"]
    for name in names:
        text = inspect.getdoc(resolve(DATASETS, name, kind="data set")) or ""
        first, *others = textwrap.wrap(text, 96 - width)
        lines += [f"  {name:{width}}{first}", *(f"  {'':{width}}{line}" for line in others)]
    return "\n".join(lines)


_TEXT = """Clips are found by name, in any folder below --media, with any suffix, under the names
that are in use (<id>, <id>_<start>, <id>_<start>_<end>, Y<id>, ...). Files named after the whole
video are measured: either they hold the video and the clip's times are written, or they are cut.
Sound files beside pictures become audio_path, without pictures they are the clip. huggingface,
huggingface-parquet and webdataset need no --media: their files say where the clips are. Beside the
manifest lie labels.json (the order of classes), NAME.coverage.json and NAME.missing.csv.

Examples:
  sightsound manifest vggsound vggsound.csv --media clips/ --output vggsound/manifest.csv
  sightsound manifest audioset balanced_train_segments.csv eval_segments.csv \\
    --media video/ --audio wav/ --output audioset/manifest.csv
  sightsound manifest ucf51 ucfTrainTestlist/ --fold 2 --media UCF-101/ --output ucf51/fold2.csv"""


def _chosen(read: Callable[..., Listing], options: Any) -> dict[str, Any]:
    """The options that this reader takes.

    Raises:
        ValueError: one was given that it does not take.
    """
    takes = inspect.signature(read).parameters
    given = {"fold": options.fold, "test_list": options.test_list}
    for name, value in given.items():
        if value is not None and name not in takes:
            raise ValueError(f"--{name} does not go with {options.dataset}; leave it out")
    given["seed"] = options.seed
    return {name: value for name, value in given.items() if name in takes and value is not None}


def _write(
    matched: Matched, listing: Listing, output: Path, *, seed: int, source: dict[str, Any]
) -> str:
    """Write the manifest and what lies beside it, the manifest last; say so."""
    from sightsound.data.manifest import write_manifest
    from sightsound.files import write_whole

    coverage, order = matched.coverage, matched.labels
    content: Any = order["label"] if list(order) == ["label"] else order
    labels = output.with_name("labels.json")
    if labels.exists() and json.loads(labels.read_text(encoding="utf-8")) != content:
        raise ValueError(
            f"{str(labels)!r} holds another order of classes, and it speaks of every manifest in "
            "its folder; write --output into another folder, or remove it"
        )
    found = sum(row.split == "train" for row in matched.rows)
    if listing.num_train is not None and found < listing.num_train:
        raise ValueError(
            f"only {found} training clips were found, fewer than {listing.num_train}; {_CHOOSE}"
        )
    report = output.with_name(f"{output.stem}.coverage.json")
    missing = output.with_name(f"{output.stem}.missing.csv")
    write_whole(labels, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    chosen = ""
    if listing.num_train is None:
        write_manifest(matched.rows, output)
    else:
        chosen = _write_subset(matched, listing, output, seed=seed)
    write_whole(report, coverage.as_json(**source))
    write_whole(missing, coverage.missing_csv())
    return f"{chosen}written: {output}, {labels.name}, {report.name}, {missing.name}"


_CHOOSE = (
    "write a manifest of all of them with 'sightsound manifest audioset' and choose with "
    "'sightsound subset'"
)


def _write_subset(matched: Matched, listing: Listing, output: Path, *, seed: int) -> str:
    """Write all rows, then those of a more balanced subset in their place."""
    from sightsound.data.manifest import write_manifest
    from sightsound.data.subset import build_subset

    everything = output.with_name(f".all-{output.name}")
    try:
        write_manifest(matched.rows, everything)
        clips, per_class = listing.num_train, listing.per_class
        subset = build_subset(everything, output, clips=clips, per_class=per_class, seed=seed)
        return subset.text() + "\n"
    except ValueError as error:  # the cap leaves too few
        reason = str(error).replace(f" of {everything}", "").partition(";")[0]
        raise ValueError(f"{reason}; {_CHOOSE}") from error
    finally:
        everything.unlink(missing_ok=True)
