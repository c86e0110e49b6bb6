"""The command `search`."""

from __future__ import annotations

from collections.abc import Sequence

from sightsound.commands.arguments import require_data
from sightsound.commands.terminal import say


def search(argv: Sequence[str]) -> None:
    """Find the clips whose sound goes with some pictures, or whose pictures go with a sound."""
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound search",
        usage="sightsound search QUERY INDEX [options]",
        description=search.__doc__,
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("query", metavar="QUERY", help="A video or sound file.")
    add("index", metavar="INDEX", help="An index, made by 'sightsound index'.")
    add("--by", choices=["audio", "video"], help=_BY)
    add(
        "--in",
        choices=["audio", "video"],
        help="Look at this stream of the clips (default: the other).",
    )
    add("--top", type=int, default=10, help="Number of clips.")
    add("--format", choices=["table", "json", "csv"], default="table", help="What is printed.")
    add("--run", metavar="RUN", help="Where the run is now (default: where it was).")
    options = parser.parse_args(list(argv))
    require_data(options.query)
    if options.top < 1:
        raise ValueError(f"--top is {options.top}; accepted: 1 or more")

    from sightsound.retrieval import search as searching
    from sightsound.retrieval.embedding import Embedder
    from sightsound.retrieval.index import open_index

    index = open_index(options.index)
    embedder = Embedder(_run(options.run or index.about["run"], options.index))
    streams = {"by": options.by, "within": getattr(options, "in")}
    found = searching.search(index, embedder, options.query, **streams, top=options.top)
    formats = {
        "table": searching.as_table,
        "json": searching.as_json,
        "csv": searching.as_csv,
    }
    say(formats[options.format](found))


def _run(run: str, index: object) -> str:
    from pathlib import Path

    if not Path(run).is_dir():
        raise FileNotFoundError(
            f"the run that made {str(index)!r} is not at {run!r}: say with --run where it is"
        )
    return run


_BY = "Go by this stream of the query (default: its pictures if it has any, else its sound)."
_EXAMPLES = """Examples:
  sightsound search bark.wav index                     whose pictures go with this sound?
  sightsound search clip.mp4 index --top 5             whose sound goes with these pictures?
  sightsound search clip.mp4 index --by audio          whose pictures go with its sound?
  sightsound search clip.mp4 index --by audio --in audio --format json   whose sound is alike?"""
