"""The command `vggsounder`: predictions as the VGGSounder benchmark reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def vggsounder(argv: Sequence[str]) -> None:
    """Write a run's predictions in the layout of the VGGSounder benchmark."""
    options = _vggsounder_parser().parse_args(list(argv))

    from sightsound.evaluation.results import read_evaluation
    from sightsound.evaluation.vggsounder import read_classes, vggsounder_json
    from sightsound.files import write_whole

    evaluation = read_evaluation(options.run)
    classes = None if options.classes is None else read_classes(options.classes)
    folder = evaluation.directory or Path(options.run)
    path = Path(options.output or folder / "vggsounder.json")
    write_whole(path, vggsounder_json(evaluation, classes=classes))
    what = "predictions" if classes is None else "predictions and logits"
    say(f"{what} of {len(evaluation.ids)} clips: {path}")


def _vggsounder_parser() -> Parser:
    from sightsound.config.parser import Parser

    parser = Parser(
        prog="sightsound vggsounder",
        usage="sightsound vggsounder RUN [--classes FILE] [--output FILE]",
        description=f"{vggsounder.__doc__}\n{_TEXT}",
        epilog="Example:\n  sightsound vggsounder runs/a --classes classes.csv",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="A run, or a folder of 'sightsound evaluate --output'.")
    add("--classes", metavar="FILE", help=_CLASSES)
    add(
        "--output", metavar="FILE", help="Where to write (default: RUN/evaluation/vggsounder.json)."
    )
    return parser


_TEXT = """
Reads what 'sightsound evaluate' has written. Sound alone is "a", pictures alone "v", both "av";
clips are named after their files, such as --U7joUcTCo_000000."""
_CLASSES = "VGGSounder's classes.csv: also write logits, in its order."
