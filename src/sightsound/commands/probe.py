"""The command `probe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import COLUMNS, beside_model, require_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.data.rows import Manifest
    from sightsound.diagnostics.trial import Trial
    from sightsound.predict import Predictor


def probe(argv: Sequence[str]) -> None:
    """Ask a model whether it uses sound and synchrony, and whether its maps can be trusted."""
    options = _probe_parser().parse_args(list(argv))
    if options.path:
        require_data(options.path)
    if options.clips < 2:
        raise ValueError(f"--clips is {options.clips}; accepted: 2 or more")
    wrong = [seconds for seconds in options.shifts or () if not seconds > 0]
    if wrong:
        raise ValueError(f"--shifts has {wrong[0]:g}; accepted: seconds above 0")

    from sightsound.diagnostics.checks import check_names, run_check

    names = check_names(options.checks.split(","))

    from rich.console import Console

    from sightsound.config.settings import EvaluateSettings
    from sightsound.data.rows import id_hash
    from sightsound.diagnostics.report import Report, as_json, as_tables, write_report
    from sightsound.evaluation.evaluate import split_of_run
    from sightsound.predict import Predictor
    from sightsound.train.log import progress_bar

    predictor = Predictor(options.model, columns=options.columns)
    settings = EvaluateSettings() if predictor.config is None else predictor.config.evaluate
    manifest = predictor.manifest(options.path, bad_files=options.bad_files)
    split = split_of_run(manifest, options.split, settings)
    trial, lost = _read_trial(predictor, manifest, split, options, size=settings.batch_size)
    ids, count = id_hash(trial.clips.id), len(trial.clips)
    head = (str(options.model), str(manifest.source), split, ids, count, options.seed)
    prints_table = options.format == "table"
    if prints_table:
        say(Report(*head, checks=()).title + (f"; {lost} could not be used" if lost else ""))
    checks = []
    for number, name in enumerate(names):
        with progress_bar(name, Console(stderr=True)) as progress:
            progress(number, len(names))
            checks.append(run_check(name, trial))
        if prints_table:
            say("\n".join(["", checks[-1].sentence, *checks[-1].notes]))
    report = Report(*head, checks=tuple(checks))
    folder = Path(options.output or beside_model(options.model, "probe"))
    write_report(report, folder)
    tables = [*as_tables(report), f"Tables: {folder}"]
    say("\n" + "\n\n".join(tables) if prints_table else as_json(report))


def _read_trial(
    predictor: Predictor, manifest: Manifest, split: str, options: Any, *, size: int
) -> tuple[Trial, int]:
    """The clips that are tried, read, and how many could not be used."""
    from rich.console import Console

    from sightsound.diagnostics.trial import Trial, chosen, read_clips
    from sightsound.evaluation.evaluate import clips_of, stored
    from sightsound.train.log import progress_bar

    rows = clips_of(manifest, split)
    rows = [rows[index] for index in chosen(len(rows), options.clips, seed=options.seed)]
    files = predictor.dataset(manifest, rows, views=1, bad_files=options.bad_files)
    with progress_bar("clips", Console(stderr=True)) as progress:
        how = {"num_workers": options.num_workers, "progress": progress}
        clips = stored(files, predictor, **how)
        batch, lost = read_clips(predictor, clips, batch_size=size, **how)
    return Trial(predictor, batch, size, options.seed, tuple(options.shifts or ())), lost


def _probe_parser() -> Parser:
    from sightsound.config.parser import Parser
    from sightsound.diagnostics.checks import CHECKS

    parser = Parser(
        prog="sightsound probe",
        usage="sightsound probe MODEL [DATA] [--checks swap,shift,...] [options]",
        description=f"{probe.__doc__}\n{_TEXT}",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="A run, a model directory, or hf:owner/name.")
    add("path", nargs="?", metavar="DATA", help="Folder or manifest (default: the run's own).")
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--split", help="Split of DATA (default: the run's, or test, else val).")
    add("--checks", metavar="NAMES", default=",".join(CHECKS), help="Which, joined by commas.")
    add("--clips", type=int, default=200, help="At most so many clips, drawn by the seed.")
    add("--shifts", type=float, nargs="+", metavar="SECONDS", help=_SHIFTS)
    add("--output", metavar="DIR", help="Folder for tables and picture (default: RUN/probe).")
    add("--format", choices=["table", "json"], default="table", help="What is printed.")
    add("--num_workers", type=int, default=2, help="Decoding processes.")
    add("--bad_files", choices=["error", "drop", "mask"], default="error", help=_BAD_FILES)
    add("--seed", type=int, default=0, help="Seed of the clips drawn, partners and intervals.")
    return parser


_TEXT = """
swap       sound of a clip of another class, then pictures of one
shift      sound that comes late, by a few times: does the model use synchrony?
streams    one stream left out, and what each is worth
knockout   exchange between the streams cut, layer by layer; MAFnet: without FiLM
deletion   parts that an explanation points at shown and hidden, against random parts
randomise  maps of a model whose layers are destroyed, against the trained one's"""
_SHIFTS = "How late the sound comes (default: 1/16, 1/8 and 1/4 of the clips' length)."
_BAD_FILES = "A file that cannot be decoded: stop, leave it out, or count it as absent stream."
_EXAMPLES = """Examples:
  sightsound probe runs/a
  sightsound probe runs/a clips.csv --split val --checks swap,shift --shifts 0.5 1 2"""
