"""The command `ablate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightsound.commands.arguments import COLUMNS, DATA, anchor, recipes, require_data, take_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def ablate(argv: Sequence[str]) -> None:
    """Train variants of a model with several seeds: the paper's ablations, or your own."""
    from sightsound.ablate.studies import choose_studies, parse_seeds
    from sightsound.config.load import parse_run

    config, options = parse_run(_ablate_parser(), argv)
    seeds = parse_seeds(options.seeds, first=config.seed)
    studies = choose_studies(
        options.study or [],
        vary=options.vary or [],
        axes=options.axis or [],
        inits=options.inits or [],
    )
    take_data(config.data, options)
    config.train.init = tuple(options.init or config.train.init)
    if not config.data.path and not options.dry_run:
        raise ValueError(
            "no data given: name a folder of class folders or a manifest, or only look with "
            "--dry_run"
        )
    if config.data.path:
        require_data(config.data.path)
        anchor(config.data)

    from sightsound.ablate import ablation

    prepared = ablation.prepare(config, studies, seeds)
    if options.dry_run:
        say(ablation.listing(prepared))
        return
    ablation.run(prepared, keep_models=options.keep_models)
    say(ablation.summary(prepared))
    if prepared.failures:
        raise RuntimeError(ablation.failure_sentence(prepared))


def _ablate_parser() -> Parser:
    from sightsound.ablate.studies import STUDIES
    from sightsound.config.load import settings_parser

    width = max(map(len, STUDIES))
    lines = [f"  {name:{width}}  {s.title} ({s.source})" for name, s in STUDIES.items()]
    parser = settings_parser(
        "sightsound ablate",
        usage="sightsound ablate [DATA] --study NAME [NAME ...] [--config RECIPE] [options]",
        description="\n".join([ablate.__doc__ or "", "", "Studies:", *lines, _ABLATE_TEXT]),
        epilog=_ABLATE_EXAMPLES,
    )
    parser.set_defaults(output="runs/ablation")
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help=DATA)
    add("--columns", metavar="OURS=YOURS", help=COLUMNS)
    add("--study", nargs="+", metavar="NAME", help="What is varied: studies of the list above.")
    add("--config", metavar="RECIPE", help="What is not varied; may be repeated. " + recipes())
    add("--seeds", default="3", help="How many, from --seed on, or a list such as 0,4.")
    add("--axis", action="append", metavar="NAME=V1,V2", help="Other values on a study's axis.")
    add("--vary", action="append", metavar="SECTION.FIELD=V1,V2", help=_VARY)
    add("--init", metavar="DIR", action="append", help="What every cell starts from: see train.")
    add("--inits", nargs="+", metavar="INIT", help="For the study init: scratch, DIR, vit:FILE.")
    add("--dry_run", action="store_true", help="List cells, sizes and GFLOP, and stop.")
    add("--keep_models", action="store_true", help="Keep models and checkpoints of every run.")
    return parser


_VARY = "A study of your own; the first --vary is the figure's x, further ones are its lines."

_ABLATE_TEXT = """
Every cell of a study is trained and scored with every seed, one after another. Give the same
command again to go on after an interruption: finished runs are kept, failed ones tried
again. What is not varied comes from the recipe and the options, as in 'sightsound train'."""

_ABLATE_EXAMPLES = """Examples:
  sightsound ablate --study fusion --dry_run          cells and GFLOP at the paper's size
  sightsound ablate videos/ --study fusion --config first --seeds 2
  sightsound ablate videos/ --study fusion --config first --axis model.fusion_layer=0,2,4
  sightsound ablate videos/ --vary train.learning_rate=1e-4,3e-4,1e-3 --vary model.width=64,128
  sightsound ablate videos/ --study init --inits scratch vit:ViT-B_16.npz --output runs/init"""
