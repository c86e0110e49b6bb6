"""The command `index`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, require_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.retrieval.index import Index
    from sightsound.types import Problem


def index(argv: Sequence[str]) -> None:
    """Embed clips so that sound finds pictures and back; score how well it does."""
    options = _index_parser().parse_args(list(argv))
    if options.path:
        require_data(options.path)
    if options.views is not None and options.views < 1:
        raise ValueError(f"--views is {options.views}; accepted: 1 or more")

    from rich.console import Console

    from sightsound.retrieval.embedding import Embedder
    from sightsound.retrieval.index import build_index, indexable
    from sightsound.train.log import progress_bar

    embedder = Embedder(options.run, columns=options.columns)
    bad_files = options.bad_files
    chosen = {"split": options.split, "bad_files": bad_files}
    manifest, rows, trained = indexable(embedder, options.path, **chosen)
    views = options.views or embedder.config.evaluate.views
    clips = embedder.predictor.dataset(manifest, rows, views=views, bad_files=bad_files)
    with progress_bar("clips", Console(stderr=True)) as progress:
        made, problems = build_index(
            embedder,
            clips,
            options.output,
            source=manifest.source,
            trained=trained,
            num_workers=options.num_workers,
            progress=progress,
        )
    say(_summary(made, problems))


def _summary(made: Index, problems: list[Problem]) -> str:
    from sightsound.retrieval.scores import score_table
    from sightsound.types import AUDIO, VIDEO

    has = {name: made.clips[name].to_numpy() for name in (VIDEO, AUDIO)}
    both, either = (has[VIDEO] & has[AUDIO]).sum(), (has[VIDEO] | has[AUDIO]).sum()
    lines = [f"{either} clips in {made.directory}, {both} of them with both streams"]
    if problems:
        first = problems[0]
        lines.append(f"problems with files: {len(problems)}, such as {first.path}: {first.cause}")
    pairs = int(made.scores["num_pairs"])
    seen = "was" if made.about["trained_on_scored"] else "was not"
    lines += ["", f"Scored on {pairs} clips that the model {seen} trained on:"]
    lines += ["", score_table(made.scores)]
    return "\n".join([*lines, "", f"Search:\n  sightsound search FILE {made.directory}"])


def _index_parser() -> Parser:
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound index",
        usage="sightsound index RUN [DATA] --output INDEX [options]",
        description=f"{index.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="A run with a contrastive loss, such as pretrain makes.")
    add("path", nargs="?", metavar="DATA", help=_DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--output", metavar="INDEX", required=True, help="Directory of the index.")
    add("--split", help="Only clips of this split, such as test or val+test (default: all).")
    add("--views", type=int, help="Temporal views of a clip, averaged (default: the run's).")
    add("--num_workers", type=int, default=2, help="Decoding processes.")
    add("--bad_files", choices=["error", "drop", "mask"], default="error", help=_BAD_FILES)
    return parser


_TEXT = """
R@k: the share of clips whose other stream is among the k most similar ones of all clips, beside
chance. Only clips of files that the run was not trained on are scored, if there are any."""
_DATA = "Folder of videos in any nesting, or a table; without labels (default: the run's own)."
_BAD_FILES = "A file that cannot be decoded: stop, leave it out, or count it as absent stream."
_EXAMPLES = """Examples:
  sightsound index runs/pre --output index
  sightsound index runs/pre archive/ --output archive-index --bad_files drop"""
