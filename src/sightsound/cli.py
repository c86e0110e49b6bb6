"""The command line: a table from command to function, and errors told in one sentence.

Heavy packages are imported inside the command that needs them, after its options are known to be
right, so that help and mistakes answer at once.
"""

from __future__ import annotations

import dataclasses
import linecache
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sightsound.options import Parser

MISTAKES = (ValueError, TypeError, LookupError, OSError, ArithmeticError, RuntimeError, ImportError)
PACKAGE = str(Path(__file__).parent)


# ---------------------------------------------------------------------------- demo


def demo(argv: Sequence[str]) -> None:
    """Generate clips, train, evaluate and predict: everything once, in three minutes."""
    from sightsound.options import Parser

    parser = Parser(
        prog="sightsound demo",
        usage="sightsound demo [--output DIR] [--seed N]",
        description=demo.__doc__,
        epilog="Example:\n  sightsound demo --output demo",
    )
    parser.add_argument("--output", default="demo", help="Folder for clips, model and pictures.")
    parser.add_argument("--seed", type=int, default=0, help="Other clips and another start.")
    options = parser.parse_args(list(argv))

    from sightsound.demo import run_demo

    run_demo(Path(options.output), seed=options.seed)


# ---------------------------------------------------------------------------- train


def train(argv: Sequence[str]) -> None:
    """Train a model on a folder of videos or a manifest."""
    from sightsound.configuration import config_text, parse_run

    config, options = parse_run(_train_parser(), _resumed(argv))
    config.data.path = options.path or config.data.path
    config.train.init = tuple(options.init or config.train.init)
    if options.overfit is not None:
        if options.overfit < 1:
            raise ValueError(f"--overfit is {options.overfit}; accepted: 1 clip or more")
        config.train.overfit = options.overfit
    if options.print_config:
        sys.stdout.write(config_text(config))
        return
    _require_data(config.data.path)
    config.data.path = str(Path(config.data.path).absolute())  # the run may be used from anywhere

    from sightsound.train.loop import train as run_training

    directory = run_training(config, resume=options.resume)
    if not config.train.overfit:
        _say(f"Score it:\n  sightsound evaluate {directory}")


def _train_parser() -> Parser:
    from sightsound.configuration import TABLES, component_arguments, settings_parser

    parser = settings_parser(
        "sightsound train",
        usage="sightsound train [DATA] [--config RECIPE] [--output DIR] [options]",
        description=train.__doc__,
        epilog=_TRAIN_EXAMPLES,
    )
    add = parser.add_argument
    add("path", nargs="?", metavar="DATA", help="Folder of class folders, CSV or Parquet manifest.")
    add("--config", metavar="RECIPE", help="Recipe name or file; may be repeated. " + _recipes())
    add("--resume", action="store_true", help="Continue the run in --output.")
    add("--overfit", type=int, metavar="N", help="Self-test: learn N clips by heart.")
    add("--init", metavar="DIR", action="append", help=_INIT)
    add("--print_config", action="store_true", help="Print the whole configuration and stop.")
    for kind, table in TABLES.items():
        for name, entry in table.items():
            arguments = component_arguments(entry)
            text = ", ".join(f"{key}={default}" for key, default in arguments.items())
            parser.add_argument_group(f"--{kind}.NAME VALUE for {kind} {name!r}", text)
    parser.add_argument_group("--front_end.audio.NAME, --front_end.video.NAME", _FRONT_END_TEXT)
    return parser


_INIT = (
    "Start from this model; what does not fit is listed. May be repeated: an audio, a video model."
)

_TRAIN_EXAMPLES = """Examples:
  sightsound train videos/ --config first --overfit 8 --output runs/check    learn 8 clips by heart
  sightsound train videos/ --config first --output runs/a                    class folders
  sightsound train clips.csv --config first --output runs/b --model.width 192
  sightsound train --output runs/a --resume             continue after an interruption

Without --config the model is MBT as published: ViT-B, 224 x 224 pixels, made for a GPU."""

_FRONT_END_TEXT = "Numbers that replace those of the front end named by --front_end (default: mbt)."


def _recipes() -> str:
    from sightsound.configuration import recipe_names

    return f"Recipes: {', '.join(recipe_names())}." if recipe_names() else ""


def _resumed(argv: Sequence[str]) -> list[str]:
    """`argv`; with `--resume` and no `--config`, the configuration of the run in `--output`."""
    argv = list(argv)
    if "--resume" not in argv or _option_value(argv, "--config"):
        return argv
    from sightsound.registry import nearest_path
    from sightsound.run import RunConfig

    saved = Path(_option_value(argv, "--output") or RunConfig.output) / "config.yaml"
    if not saved.is_file():
        raise FileNotFoundError(
            f"nothing to resume in {str(saved.parent)!r}: it has no config.yaml; name the run with "
            f"--output, or leave out --resume.{nearest_path(saved.parent)}"
        )
    return ["--config", str(saved), *argv]


def _option_value(argv: list[str], option: str) -> str | None:
    for index, token in enumerate(argv):
        if token.startswith(f"{option}="):
            return token.split("=", 1)[1]
        if token == option and index + 1 < len(argv):
            return argv[index + 1]
    return None


def _require_data(path: str) -> None:
    if not path:
        raise ValueError(
            "no data given: name a folder of class folders or a manifest, "
            "such as 'sightsound train videos/ --config first'"
        )
    if not Path(path).exists():
        from sightsound.registry import nearest_path

        raise FileNotFoundError(f"no such file or folder: {path!r}.{nearest_path(Path(path))}")


# ---------------------------------------------------------------------------- evaluate


def evaluate(argv: Sequence[str]) -> None:
    """Score a model with both streams, sound alone and pictures alone."""
    options = _evaluate_parser().parse_args(list(argv))
    if options.data:
        _require_data(options.data)

    from sightsound.evaluate import evaluate_saved

    given = {name: getattr(options, name) for name in _evaluate_settings()}
    evaluation = evaluate_saved(
        options.model,
        options.data,
        changes={name: value for name, value in given.items() if value is not None},
        late=options.late,
        output=options.output,
        num_workers=options.num_workers,
        bad_files=options.bad_files,
        seed=options.seed,
    )
    _say(evaluation.text())


def _evaluate_parser() -> Parser:
    from sightsound.options import Parser
    from sightsound.settings import EvaluateSettings

    parser = Parser(
        prog="sightsound evaluate",
        usage="sightsound evaluate MODEL [DATA] [--late AUDIO_MODEL VIDEO_MODEL] [options]",
        description=evaluate.__doc__,
        epilog="Views, batch size, resamplings and split are those of the run unless given.\n\n"
        "Examples:\n  sightsound evaluate runs/a\n"
        "  sightsound evaluate runs/a clips.csv --late runs/audio runs/video --split val+test",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="A run, a model directory, or hf:owner/name.")
    add("data", nargs="?", metavar="DATA", help="Folder or manifest (default: the run's own).")
    add("--late", nargs=2, metavar=("AUDIO_MODEL", "VIDEO_MODEL"), help=_LATE)
    add("--output", metavar="DIR", help="Folder for tables (default: RUN/evaluation).")
    add("--num_workers", type=int, default=2, help="Decoding processes.")
    add("--bad_files", choices=["error", "drop", "mask"], default="error", help=_BAD_FILES)
    add("--seed", type=int, default=0, help="Seed of the bootstrap.")
    parser.add_class_arguments(EvaluateSettings)
    parser.set_defaults({name: None for name in _evaluate_settings()})
    return parser


def _evaluate_settings() -> list[str]:
    from sightsound.settings import EvaluateSettings

    return [field.name for field in dataclasses.fields(EvaluateSettings)]


_LATE = "Two models of one stream each: also score them, and the average of their logits."
_BAD_FILES = "A file that cannot be decoded: stop, leave it out, or count it as absent stream."


# ---------------------------------------------------------------------------- predict


def predict(argv: Sequence[str]) -> None:
    """Say what is to be seen and heard in a video."""
    from sightsound.options import Parser

    parser = Parser(
        prog="sightsound predict",
        usage="sightsound predict FILE [FILE ...] --model MODEL [options]",
        description=predict.__doc__,
        epilog="Example:\n  sightsound predict clip.mp4 --model runs/a --format json",
    )
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="Video or sound files.")
    add("--model", required=True, help="A run, a model directory, or hf:owner/name.")
    add("--format", choices=["table", "json"], default="table", help="What is printed.")
    add("--views", type=int, default=4, help="Temporal views, averaged as logits.")
    add("--start_seconds", type=float, help="Look only at what comes after this time.")
    add("--end_seconds", type=float, help="Look only at what comes before this time.")
    options = parser.parse_args(list(argv))
    for file in options.files:
        _require_data(file)

    from sightsound.media.decode import DecodeError
    from sightsound.predict import Predictor, as_json, as_table

    predictor = Predictor(options.model)
    span = {"start_seconds": options.start_seconds, "end_seconds": options.end_seconds}
    found, failures = [], []
    for file in options.files:
        try:
            found.append(predictor.predict(file, views=options.views, **span))
        except DecodeError as error:
            failures.append(error)
    if found:
        _say(as_json(found) if options.format == "json" else as_table(found))
    for error in failures[:-1]:
        _complain("predict", _message(error))
    if failures:
        raise failures[-1]


# ---------------------------------------------------------------------------- convert, flops


def convert(argv: Sequence[str]) -> None:
    """Turn a checkpoint of another project into a model directory."""
    from sightsound.options import Parser
    from sightsound.registry import WEIGHTS

    parser = Parser(
        prog="sightsound convert",
        usage="sightsound convert KIND FILE --output DIR [--config FILE]",
        description=convert.__doc__,
        epilog="Example:\n  sightsound convert scenic mbt.npz --config mbt.json --output mbt/",
    )
    add = parser.add_argument
    add("kind", metavar="KIND", choices=sorted(WEIGHTS), help="Where the weights come from.")
    add("file", metavar="FILE", help="The checkpoint in its original format.")
    add("--config", metavar="FILE", help="JSON or YAML file with the original configuration.")
    add("--output", required=True, metavar="DIR", help="Directory of the new model.")
    options = parser.parse_args(list(argv))
    for file in filter(None, [options.file, options.config]):
        _require_data(file)

    import yaml

    from sightsound.weights import load_foreign

    config = yaml.safe_load(Path(options.config).read_text()) if options.config else None
    model = load_foreign(options.kind, Path(options.file), config)
    model.save_pretrained(options.output)
    _say(
        f"The model is in {options.output}. Train it further on your own videos:\n"
        f"  sightsound train videos/ --init {options.output}"
    )


def flops(argv: Sequence[str]) -> None:
    """Count the work of one forward pass, part by part."""
    from sightsound.configuration import parse_run, settings_parser

    parser = settings_parser(
        "sightsound flops",
        usage="sightsound flops [--config RECIPE] [--classes K] [--model.NAME VALUE]",
        description=flops.__doc__,
        epilog="Example:\n  sightsound flops --model.size base --classes 527",
    )
    parser.add_argument("--config", metavar="RECIPE", help="Recipe name or file. " + _recipes())
    parser.add_argument("--classes", type=int, default=10, help="Number of classes.")
    config, options = parse_run(parser, argv)
    if options.classes < 1:
        raise ValueError(f"--classes is {options.classes}; accepted: 1 or more")

    from sightsound.profile.flops import flops_table

    _say(flops_table(config, num_classes=options.classes))


# ---------------------------------------------------------------------------- main


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "convert": convert,
    "flops": flops,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 2 after a mistake, 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv[0] if argv else "--help"
    try:
        _run(name, argv[1:])
    except SystemExit as error:  # a command's --help
        return int(error.code or 0)
    except KeyboardInterrupt:
        _complain(name, "interrupted" + (_RESUME if name == "train" else ""))
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MISTAKES as error:
        if not _is_mistake(error):
            raise
        _complain(name, _message(error))
        return 2
    return 0


def _run(name: str, argv: list[str]) -> None:
    if name in ("-h", "--help"):
        _say(_overview())
    elif name == "--version":
        _say(_version())
    elif name in COMMANDS:
        COMMANDS[name](argv)
    else:
        from sightsound.registry import unknown_name

        raise unknown_name("command", name, COMMANDS)


_RESUME = "; the same command with --resume goes on from the last checkpoint, if there is one"


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {f.__doc__}" for name, f in COMMANDS.items()]
    return "\n".join(
        ["usage: sightsound COMMAND [options]", "", "Audio-visual video classification.", ""]
        + lines
        + ["", "Start with 'sightsound demo'; 'sightsound COMMAND --help' explains a command."]
    )


def _version() -> str:
    from importlib.metadata import version

    return f"sightsound {version('sightsound')}"


def _is_mistake(error: BaseException) -> bool:
    """Whether the caller can act on it: our own kind, or raised by a `raise` of this package.

    Everything else is a defect here or below and keeps its traceback.
    """
    if type(error).__module__.startswith("sightsound") or _names_a_file(error):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return False
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return line.lstrip().startswith("raise")


def _names_a_file(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.filename is not None


def _message(error: BaseException) -> str:
    """The error's text on one line."""
    if _names_a_file(error):
        return f"{error.strerror}: {error.filename!r}"
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())


def _complain(command: str, sentence: str) -> None:
    name = f"sightsound {command}" if command in COMMANDS else "sightsound"
    sys.stderr.write(f"{name}: {sentence}\n")


def _say(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()
