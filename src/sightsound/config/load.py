"""From recipes, files and options to a `RunConfig`: every name and type is checked.

The settings dataclasses and the constructors of models and objectives are the schema; nothing is
listed twice. Every mistake is a `ValueError` of one sentence with the nearest valid name. Free of
torch until a constructor has to be read.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from sightsound.config.parser import Parser, UsageError, did_you_mean
from sightsound.config.settings import (
    AugmentSettings,
    DataSettings,
    EvaluateSettings,
    RunConfig,
    TrainSettings,
)
from sightsound.library_errors import reading
from sightsound.media.front_end import (
    AS_BEFORE,
    AudioFrontEnd,
    FeatureFrontEnd,
    VideoFrontEnd,
    as_before,
    check_features_part,
)
from sightsound.registry import MODELS, OBJECTIVES, resolve

RECIPES = Path(__file__).parents[1] / "recipes"
SETTINGS = {
    "data": DataSettings,
    "augment": AugmentSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
}
TABLES = {"model": MODELS, "objective": OBJECTIVES}
FRONT_END_PARTS = {"audio": AudioFrontEnd, "video": VideoFrontEnd, "features": FeatureFrontEnd}
FOUND = ("video_weights", "audio_weights", "video_shape", "audio_shape")  # by reading encoders
SECTIONS = ("model", "front_end", "objective")  # a `name` and what belongs to that name
MODEL_FILE = "config.json"  # beside the weights of a model
DERIVED = {"heads", "video_shape", "audio_shape", "task"}  # arguments that the data decides
# What a configuration names that is resolved, as runs save it and --print_config prints it.
_RESOLVED = {*SECTIONS, *SETTINGS, "seed", "output"}
LENGTHS = ("epochs", "steps", "examples")
BACKBONE = "backbone"  # how arguments end that name one; those that end in `options` are its own


def recipe_names() -> list[str]:
    """Names of the shipped recipes, such as `demo`."""
    files = RECIPES.rglob("*.yaml")
    return sorted(str(file.relative_to(RECIPES).with_suffix("").as_posix()) for file in files)


def find_recipe(name: str | Path) -> Path:
    """The file behind a recipe name, a file name, or the directory of a run or a model.

    Raises:
        ValueError: neither; the message names the nearest recipe.
    """
    saved = (Path(name) / file for file in ("config.yaml", MODEL_FILE))
    for candidate in (Path(name), *saved, RECIPES / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = recipe_names()
    raise UsageError(
        f"no recipe or file called {str(name)!r}; recipes: {', '.join(known) or 'none'}."
        + did_you_mean(str(name), known)
    )


def read_values(name: str | Path) -> dict[str, Any]:
    """The content of a recipe or configuration file, laid over that of the recipes in its `base`.

    `base` is a name or a list of names, the later ones replacing values of the earlier; a name is
    that of a recipe, or a file relative to the file it stands in.

    Raises:
        ValueError: no such file, not YAML, not a table of settings, or a base that leads back.
    """
    return _with_bases(find_recipe(name), ())


def _with_bases(file: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The values of `file` over those of its bases; `above` are the files that led here."""
    chain = (*above, file.resolve())
    if chain[-1] in above:
        shown = " -> ".join(path.stem for path in chain)
        raise UsageError(f"{file}: base leads back to the same file ({shown}): remove one of them")
    own = _read_yaml(file)
    names = own.pop("base", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{file}: base is {names!r}; accepted: the name of a recipe, or a list")
    values: dict[str, Any] = {}
    for name in names:
        values = overlay(values, _with_bases(_find_base(name, file), chain))
    return overlay(values, own)


def _find_base(name: str, file: Path) -> Path:
    """The file that `base: name` in `file` means: one beside it, or a shipped recipe."""
    for path in (file.parent / name, file.parent / f"{name}.yaml", RECIPES / f"{name}.yaml"):
        if path.is_file():
            return path
    known = recipe_names()
    raise UsageError(
        f"{file}: base names {name!r}, which is neither a file beside it nor a recipe; recipes: "
        f"{', '.join(known)}." + did_you_mean(name, known)
    )


def _read_yaml(file: Path) -> dict[str, Any]:
    """The table of settings in one file, as it stands there."""
    with reading(file, remedy="settings are YAML, as 'sightsound train --print_config' writes it"):
        text = file.read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UsageError(f"{file}, line {line}: not valid YAML: {error.problem}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{file}: expected sections such as 'model:' and 'train:', got {values!r}")
    values = _of_model(values) if file.name == MODEL_FILE else values
    if values.keys() >= _RESOLVED and isinstance(values["front_end"], dict):
        values["front_end"] = as_before(values["front_end"])
    return values


def _of_model(info: dict[str, Any]) -> dict[str, Any]:
    """What the `config.json` of a model says about the model to build and what it reads."""
    model = {key: value for key, value in info["model"].items() if key not in DERIVED}
    front_end = as_before(info["front_end"]) if info.get("front_end") else {}
    if features := front_end.get("features"):
        front_end["features"] = {k: v for k, v in features.items() if k not in FOUND}
        chosen = {part: {k: front_end[part][k] for k in AS_BEFORE[part]} for part in AS_BEFORE}
        front_end = {key: front_end[key] for key in ("name", "features")} | chosen
    return {"model": model} | ({"front_end": front_end} if front_end else {})


def load_config(*sources: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """The run that recipes or files describe, later ones replacing earlier values.

    Args:
        sources: recipe names, YAML files or run directories.
        overrides: dotted names and values, such as `{"train.epochs": 3, "model.width": 96}`.

    Raises:
        ValueError: an unknown name or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    for source in sources:
        values = overlay(values, read_values(source))
    return _checked(values, overrides or {})


def changed(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """A configuration like `config` but for dotted `overrides`, checked as in `load_config`."""
    return _checked(_plain(dataclasses.asdict(config)), overrides)


def _checked(values: dict[str, Any], overrides: Mapping[str, Any]) -> RunConfig:
    for name, value in overrides.items():
        values = merge(_clear_lengths(values, [name]), _nested(name, value))
    sections, settings = _split_sections(values)
    return to_config(sections, settings_parser("configuration").parse_object(settings))


def overlay(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`merge`, where a length of the run in `second` also replaces one in another unit."""
    train = second.get("train")
    names = [f"train.{name}" for name in train] if isinstance(train, dict) else []
    return merge(_clear_lengths(first, names), second)


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`first` with the values of `second`, table by table; neither is modified.

    A section that names another model, front end or objective starts afresh, and so do the options
    of another backbone.
    """
    stale = {
        key.replace(BACKBONE, "options")
        for key in second
        if key.endswith(BACKBONE) and first.get(key) != second[key]
    }
    merged = {key: value for key, value in first.items() if key not in stale}
    for key, value in second.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            renamed = "name" in value and "name" in old and value["name"] != old["name"]
            value = value if renamed else merge(old, value)
        merged[key] = value
    return merged


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` of `a.b`."""
    for key in reversed(dotted.split(".")):
        value = {key: value}
    return value


def flat(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """`{"a.b": value}` of `{"a": {"b": value}}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, prefix=f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def _clear_lengths(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """`values` without the length of a run if `names` give it in another unit."""
    given = [unit for unit in LENGTHS if f"train.{unit}" in names]
    if not given or not isinstance(values.get("train"), dict):
        return values
    kept = {key: v for key, v in values["train"].items() if key not in LENGTHS}
    return values | {"train": kept}


# ---------------------------------------------------------------------------- options


def settings_parser(prog: str, *, shown: bool = True, **kwargs: Any) -> Parser:
    """A parser for all settings that are the same for every model; torch-free.

    `shown`: list them in the help. Where not, they are accepted, since recipes hold them.
    """
    parser = Parser(prog=prog, also=component_options(), **kwargs)
    fields = {field.name: field for field in dataclasses.fields(RunConfig)}
    for name in ("seed", "output"):
        default = fields[name].default
        parser.add_argument(f"--{name}", type=type(default), default=default, help=_HELP[name])
    for name, settings in SETTINGS.items():
        parser.add_class_arguments(settings, name)
    _hide(parser, everything=not shown)
    return parser


_HELP = {
    "seed": "Every random choice follows from this number.",
    "output": "Directory of the run: log, checkpoints, model, evaluation.",
}


def _hide(parser: Parser, *, everything: bool) -> None:
    """Leave jsonargparse's `--section FILE` out of the help, or all settings."""
    files = {f"--{name}" for name in SETTINGS}
    for action in parser._actions:
        if (
            files & set(action.option_strings)
            or everything
            and "--help" not in action.option_strings
        ):
            action.help = jsonargparse.SUPPRESS
    if everything:
        parser._action_groups = [
            g
            for g in parser._action_groups
            if any(action.help != jsonargparse.SUPPRESS for action in g._group_actions)
        ]


def parse_run(parser: Parser, argv: Sequence[str]) -> tuple[RunConfig, jsonargparse.Namespace]:
    """The run that options describe, and the parser's namespace with all other options.

    `--config` may come several times; options come after every file. `--model.width 96`,
    `--front_end.audio.num_frames 200` and `--objective.x 1` are checked against what is named.
    """
    sources, section_options, rest = _split_argv(argv)
    values: dict[str, Any] = {}
    for source in sources:
        values = overlay(values, read_values(source))
    values = _clear_lengths(values, [token.split("=")[0].removeprefix("--") for token in rest])
    sections, settings = _split_sections(values)
    for name, value in section_options:
        sections = merge(sections, _nested(name, value))
    base = parser.parse_object(settings)
    namespace = parser.parse_args(rest, namespace=base)
    return to_config(sections, namespace), namespace


def _split_argv(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Values of `--config`, options of named sections, and everything else."""
    sources: list[str] = []
    options: list[tuple[str, str]] = []
    rest: list[str] = []
    tokens = iter(argv)
    for token in tokens:
        option = token.split("=", 1)[0]
        section = option.removeprefix("--").split(".")[0]
        if option == "--config":
            sources.append(_value(token, tokens))
        elif option.startswith("--") and section in SECTIONS:
            name = option.removeprefix("--")
            options.append((f"{name}.name" if name == section else name, _value(token, tokens)))
        else:
            rest.append(token)
    return sources, options, rest


def _value(token: str, tokens: Iterator[str]) -> str:
    """The value of an option, in `--x=1` or `--x 1`."""
    option, equals, value = token.partition("=")
    if not equals:
        value = next(tokens, "--")
    if not equals and value.startswith("--"):
        raise UsageError(f"option {option!r} needs a value")
    return value


def _split_sections(values: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The sections with a name, and the settings that every run has."""
    sections = {}
    for name in SECTIONS:
        section = values.get(name) or {}
        if isinstance(section, str):
            section = {"name": section}
        if not isinstance(section, dict):
            raise UsageError(f"{name}: expected a name and its arguments, got {section!r}")
        sections[name] = section
    settings = {key: value for key, value in values.items() if key not in SECTIONS}
    for name in SETTINGS:
        if not isinstance(settings.get(name, {}), dict):
            raise UsageError(f"{name}: expected a table of settings, got {settings[name]!r}")
    return sections, settings


def to_config(sections: dict[str, dict[str, Any]], settings: jsonargparse.Namespace) -> RunConfig:
    """The checked `RunConfig` of named sections and parsed settings."""
    defaults = RunConfig()
    named = {
        name: getattr(defaults, name) if not sections[name] else sections[name] for name in SECTIONS
    }
    parts = {name: cls(**vars(settings[name])) for name, cls in SETTINGS.items()}
    return RunConfig(
        model=check_component("model", named["model"]),
        objective=check_component("objective", named["objective"]),
        front_end=check_front_end(named["front_end"]),
        seed=settings.seed,
        output=settings.output,
        **parts,
    )


def resolved(config: RunConfig) -> RunConfig:
    """`config` with what it leaves open of model, objective and front end, as commands have it."""
    return dataclasses.replace(
        config,
        model=check_component("model", config.model),
        objective=check_component("objective", config.objective),
        front_end=check_front_end(config.front_end),
    )


def config_text(config: RunConfig) -> str:
    """The configuration as YAML that `--config` accepts back."""
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False)


# ---------------------------------------------------------------------------- named sections


def check_component(kind: str, section: dict[str, Any]) -> dict[str, Any]:
    """`section` with every argument of the constructor, typed and complete.

    Raises:
        ValueError: unknown name or argument, or a value of the wrong type.
    """
    defaults = getattr(RunConfig(), kind)
    name = section.get("name", defaults["name"])
    parser = _component_parser(kind, resolve(TABLES[kind], name, kind=kind))
    arguments = {key: value for key, value in section.items() if key != "name"}
    _refuse_derived(kind, arguments)
    parsed = parser.parse_object({kind: arguments})
    return {"name": name, **_plain(parsed[kind].as_dict())}


@functools.cache
def _component_parser(kind: str, component: type) -> Parser:
    """A parser for the arguments of one class; reading signature and docstring takes a while."""
    parser = Parser(prog=kind)
    parser.add_class_arguments(component, kind, skip=set(DERIVED), fail_untyped=False)
    return parser


def _refuse_derived(kind: str, arguments: dict[str, Any]) -> None:
    """A sentence about arguments that follow from the data and cannot be chosen."""
    for key in DERIVED & arguments.keys():
        raise UsageError(f"{kind}.{key} follows from the data and the front end: leave it out")


def check_front_end(section: dict[str, Any]) -> dict[str, Any]:
    """`section` with typed numbers: `name`, `audio`, `video`, `features`; only what was given.

    And what configurations from before there was a choice lack (`media.front_end.AS_BEFORE`).

    Raises:
        ValueError: unknown field or a value of the wrong type.
    """
    from sightsound.media.logmel import front_end  # torch

    section = {"name": RunConfig().front_end["name"], **section}
    parsed = _front_end_parser().parse_object({"front_end": section})["front_end"]
    checked: dict[str, Any] = {"name": parsed.name}
    for part in FRONT_END_PARTS:
        given = section.get(part) or {}
        if not isinstance(given, Mapping):
            raise UsageError(f"front_end.{part}: expected a table of numbers, got {given!r}")
        # Some always, so that a configuration without them is known to be an older one.
        if names := {**AS_BEFORE.get(part, {}), **given}:
            checked[part] = _plain({key: parsed[part][key] for key in names})
    check_features_part(checked["name"], checked.get("features"))
    if "features" not in checked:
        front_end(checked["name"])  # is there one of this name?
    return checked


@functools.cache
def _front_end_parser() -> Parser:
    parser = Parser(prog="front_end", also=[])
    parser.add_argument("--front_end.name", type=str)
    parser.add_class_arguments(AudioFrontEnd, "front_end.audio")
    parser.add_class_arguments(VideoFrontEnd, "front_end.video")
    parser.add_class_arguments(FeatureFrontEnd, "front_end.features", skip=set(FOUND))
    return parser


def _plain(value: Any) -> Any:
    """JSON values only: tuples become lists, paths become strings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def component_arguments(entry: str) -> dict[str, str]:
    """{argument: default as written} of the class behind a table entry, without importing it."""
    module, class_name = entry.split(":")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return {}
    found: dict[str, str] = {}
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    pairs = zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True)
                    found = {a.arg: ast.unparse(value) if value else "" for a, value in pairs}
    return {name: text for name, text in found.items() if name not in DERIVED}


def component_options() -> list[str]:
    """Every option of a named section, such as `--model.width`."""
    options = ["--config"] + [f"--{section}.name" for section in SECTIONS]
    for kind, table in TABLES.items():
        for entry in table.values():
            options += [f"--{kind}.{name}" for name in component_arguments(entry)]
    for part, cls in FRONT_END_PARTS.items():
        names = [field.name for field in dataclasses.fields(cls) if field.name not in FOUND]
        options += [f"--front_end.{part}.{name}" for name in names]
    return options
