"""The command line: a table from command to function, and errors told in one sentence.

Heavy packages are imported inside the command that needs them, after its options are known to be
right, so that help and mistakes answer at once.
"""

from __future__ import annotations

import dataclasses
import json
import linecache
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from sightsound.configuration import TABLES, settings_parser

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
    _list_components(parser, *TABLES)
    return parser


def _list_components(parser: Parser, *kinds: str) -> None:
    """In the help, the arguments of every component of these kinds, and the front end's."""
    from sightsound.configuration import TABLES, component_arguments

    for kind in kinds:
        for name, entry in TABLES[kind].items():
            arguments = component_arguments(entry)
            text = ", ".join(f"{key}={default}" for key, default in arguments.items())
            parser.add_argument_group(f"--{kind}.NAME VALUE for {kind} {name!r}", text)
    parser.add_argument_group("--front_end.audio.NAME, --front_end.video.NAME", _FRONT_END_TEXT)


_INIT = (
    "Start from this model: a directory, hf:owner/name, or an image ViT as vit:FILE or "
    "vit:hf:owner/name; what does not fit is listed. May be repeated: an audio, a video model."
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


# ---------------------------------------------------------------------------- ablate


def ablate(argv: Sequence[str]) -> None:
    """Train variants of a model with several seeds: the paper's ablations, or your own."""
    from sightsound.ablate.studies import choose_studies, parse_seeds
    from sightsound.configuration import parse_run

    config, options = parse_run(_ablate_parser(), argv)
    seeds = parse_seeds(options.seeds, first=config.seed)
    studies = choose_studies(
        options.study or [],
        vary=options.vary or [],
        axes=options.axis or [],
        inits=options.inits or [],
    )
    config.data.path = options.path or config.data.path
    config.train.init = tuple(options.init or config.train.init)
    if not config.data.path and not options.dry_run:
        raise ValueError(
            "no data given: name a folder of class folders or a manifest, or only look with "
            "--dry_run"
        )
    if config.data.path:
        _require_data(config.data.path)
        config.data.path = str(Path(config.data.path).absolute())

    from sightsound.ablate import ablation

    prepared = ablation.prepare(config, studies, seeds)
    if options.dry_run:
        _say(ablation.listing(prepared))
        return
    ablation.run(prepared, keep_models=options.keep_models)
    _say(ablation.summary(prepared))
    if prepared.failures:
        raise RuntimeError(ablation.failure_sentence(prepared))


def _ablate_parser() -> Parser:
    from sightsound.ablate.studies import STUDIES
    from sightsound.configuration import settings_parser

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
    add("path", nargs="?", metavar="DATA", help="Folder of class folders, CSV or Parquet manifest.")
    add("--study", nargs="+", metavar="NAME", help="What is varied: studies of the list above.")
    add("--config", metavar="RECIPE", help="What is not varied; may be repeated. " + _recipes())
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


# ---------------------------------------------------------------------------- subset


def subset(argv: Sequence[str]) -> None:
    """Choose a more balanced part of a manifest's training clips, such as AS-500K."""
    from sightsound.options import Parser

    parser = Parser(
        prog="sightsound subset",
        usage="sightsound subset MANIFEST --output FILE [--clips N] [--per_class N] [--seed N]",
        description=subset.__doc__,
        epilog="Clips are visited in random order; one is taken unless a class of it is full.\n\n"
        "Example:\n  sightsound subset audioset.csv --output as500k.csv --clips 500000",
    )
    add = parser.add_argument
    add("manifest", metavar="MANIFEST", help="CSV or Parquet manifest with path and label.")
    add("--output", required=True, metavar="FILE", help="The new manifest, in the same folder.")
    add("--clips", type=int, metavar="N", help="Number of training clips; other splits are kept.")
    add("--per_class", type=int, metavar="N", help=_PER_CLASS)
    add("--seed", type=int, default=0, help="Another order, so another choice.")
    options = parser.parse_args(list(argv))
    _require_data(options.manifest)

    from sightsound.data.subset import build_subset

    limits = {"clips": options.clips, "per_class": options.per_class}
    _say(build_subset(options.manifest, options.output, **limits, seed=options.seed).text())


_PER_CLASS = "Most clips of a class (default: the least that leaves --clips)."


# ---------------------------------------------------------------------------- convert, flops


def convert(argv: Sequence[str]) -> None:
    """Turn a checkpoint of another project into a model directory."""
    options = _convert_parser().parse_args(list(argv))
    for file in filter(None, [options.path, options.config, options.labels]):
        _require_data(file)
    output = Path(options.output)
    _require_place(output)
    config = _original_config(options)

    from sightsound.weights import load_foreign
    from sightsound.weights.labels import name_classes, read_labels

    names = read_labels(options.labels) if options.labels else None
    model = load_foreign(options.kind, Path(options.path), config)
    said = model.info.provenance.setdefault("inferred", [])
    said.append(name_classes(model, names, source=options.labels or ""))
    model.save_pretrained(output)
    dropped = [f"dropped: {name}" for name in model.info.provenance.get("dropped", [])]
    if len(dropped) > _MOST_LINES:
        dropped[_MOST_LINES:] = [f"dropped: {len(dropped) - _MOST_LINES} more, see its config.json"]
    source, untrained = (model.info.provenance.get(key) for key in ("source", "untrained"))
    next_step = _TRAIN_IT if "head.weight" in (untrained or []) else _USE_IT
    _say("\n".join([f"From {source}:", *said, *dropped, next_step.format(output=output)]))


def _require_place(output: Path) -> None:
    """`ValueError` if the folder holds anything but a model of ours, which may be replaced."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {str(output)!r} is a file; name a folder for the model")
    if output.is_dir() and any(output.iterdir()) and not _holds_model(output):
        raise ValueError(
            f"--output {str(output)!r} holds something else than a model; name a new folder, an "
            "empty one, or that of a model to replace"
        )


def _holds_model(directory: Path) -> bool:
    """Whether our two files are in it; Hugging Face's folders have files of the same names."""
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return False
    ours = isinstance(config, dict) and isinstance(config.get("model"), dict)
    return ours and (directory / "model.safetensors").is_file()


def _convert_parser() -> Parser:
    from sightsound.options import Parser
    from sightsound.registry import WEIGHTS

    parser = Parser(
        prog="sightsound convert",
        usage="sightsound convert KIND PATH --output DIR [--config FILE] [--fusion_layer N] "
        "[--labels FILE]",
        description=f"{convert.__doc__}\n\n{_KINDS}",
        epilog=_CONVERT_EXAMPLES,
    )
    add = parser.add_argument
    add("kind", metavar="KIND", choices=sorted(WEIGHTS), help="scenic or vit, see above.")
    add("path", metavar="PATH", help="The checkpoint as its authors wrote it.")
    add("--output", required=True, metavar="DIR", help="Directory of the new model.")
    add("--config", metavar="FILE", help=_ORIGINAL_CONFIG)
    add("--fusion_layer", type=int, metavar="N", help=_FUSION_LAYER)
    add("--labels", metavar="FILE", help=_LABELS)
    return parser


_MOST_LINES = 20
_USE_IT = """The model is in {output}. Use it, or train it further on your own videos:
  sightsound predict clip.mp4 --model {output}
  sightsound train videos/ --init {output}"""
_TRAIN_IT = """The model is in {output}. Its classifier is untrained. Train it on your own videos:
  sightsound train videos/ --init {output}"""
_KINDS = """Kinds:
  scenic  an official MBT: a file checkpoint_N, a folder of them, or .npz with its names
  vit     an image ViT of big_vision, vision_transformer, Scenic, timm or transformers: alone
          as a model of pictures, or as the start of the MBT in --config. That start is as in
          the official code, slips included; 'faithful: false' in the file leaves them out."""
_CONVERT_EXAMPLES = """Examples:
  sightsound convert scenic checkpoint_15900 --output mbt/
  sightsound convert scenic mbt.npz --config mbt.json --output mbt/
  sightsound convert vit ViT-B_16.npz --output vit/
  sightsound convert vit ViT-B_16.npz --config mbt.json --output start/"""
_ORIGINAL_CONFIG = "Scenic's configuration of the MBT, JSON or YAML; a part does for kind scenic."
_FUSION_LAYER = "Layers before fusion, which a checkpoint of kind scenic does not tell."
_LABELS = "Class names: one per line, a CSV with a column display_name, or labels.json."


def _original_config(options: Any) -> dict | None:
    """The file of `--config` with `--fusion_layer` in it; `None` without either."""
    import yaml

    config = None
    if options.config:
        try:
            config = yaml.safe_load(Path(options.config).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{options.config!r} is neither JSON nor YAML: {error}") from error
    if options.fusion_layer is None:
        return config
    if options.kind != "scenic":
        raise ValueError(f"--fusion_layer goes with kind scenic, not with {options.kind}")
    from sightsound.weights.scenic_config import unwrapped

    config = unwrapped(config) or {}
    if not isinstance(config, dict) or not isinstance(config.get("model", {}), dict):
        raise ValueError(f"{options.config!r} holds no table of settings with a part 'model'")
    return config | {"model": config.get("model", {}) | {"fusion_layer": options.fusion_layer}}


def flops(argv: Sequence[str]) -> None:
    """Count the work of one forward pass, part by part."""
    from sightsound.configuration import parse_run, settings_parser

    parser = settings_parser(
        "sightsound flops",
        shown=False,
        usage="sightsound flops [--config RECIPE] [--classes K] [--model.NAME VALUE]",
        description=flops.__doc__,
        epilog="Examples:\n  sightsound flops --config mbt/paper-audioset\n"
        "  sightsound flops --model.size small --model.fusion_layer 4 --classes 10 --format json",
    )
    add = parser.add_argument
    add("--config", metavar="RECIPE", help="Recipe name or file. " + _recipes())
    add(
        "--classes",
        type=int,
        metavar="K",
        help="Number of classes (default: 527; verb 97, noun 300).",
    )
    add("--format", choices=["table", "json"], default="table", help="What is printed.")
    _list_components(parser, "model")
    config, options = parse_run(parser, argv)
    if options.classes is not None and options.classes < 1:
        raise ValueError(f"--classes is {options.classes}; accepted: 1 or more")

    from sightsound.profile.flops import Work

    work = Work.of(config, heads={"label": options.classes} if options.classes else None)
    _say(work.json() if options.format == "json" else work.text())


# ---------------------------------------------------------------------------- main


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "ablate": ablate,
    "predict": predict,
    "subset": subset,
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
        _complain(name, "interrupted" + _GO_ON.get(name, ""))
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


_GO_ON = {
    "train": "; the same command with --resume goes on from the last checkpoint, if there is one",
    "ablate": "; the same command goes on where it stopped",
}


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
