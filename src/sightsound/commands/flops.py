"""The command `flops`."""

from __future__ import annotations

from collections.abc import Sequence

from sightsound.commands.arguments import list_components, recipes
from sightsound.commands.terminal import say


def flops(argv: Sequence[str]) -> None:
    """Count the work of one forward pass, part by part."""
    from sightsound.config.load import parse_run, settings_parser

    parser = settings_parser(
        "sightsound flops",
        shown=False,
        usage="sightsound flops [--config RECIPE] [--classes K] [--model.NAME VALUE]",
        description=flops.__doc__,
        epilog="Examples:\n  sightsound flops --config mbt/paper-audioset\n"
        "  sightsound flops --config avt/paper-vggsound --model.fusion_depth 3\n"
        "  sightsound flops --model.size small --model.fusion_layer 4 --classes 10 --format json",
    )
    add = parser.add_argument
    add("--config", metavar="RECIPE", help="Recipe name or file. " + recipes())
    add(
        "--classes",
        type=int,
        metavar="K",
        help="Number of classes (default: 527; verb 97, noun 300).",
    )
    add("--format", choices=["table", "json"], default="table", help="What is printed.")
    list_components(parser, "model")
    config, options = parse_run(parser, argv)
    if options.classes is not None and options.classes < 1:
        raise ValueError(f"--classes is {options.classes}; accepted: 1 or more")

    from sightsound.flops import Work

    work = Work.of(config, heads={"label": options.classes} if options.classes else None)
    say(work.json() if options.format == "json" else work.text())
