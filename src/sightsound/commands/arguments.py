"""What several commands accept: checked, or shown in their help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightsound.config.parser import Parser
    from sightsound.config.settings import DataSettings


DATA = "Class folders, or a table (CSV, JSON lines, Parquet)."
COLUMNS = (
    "Which columns of a table are ours, where its names do not say: path=video_path,label=class; "
    "split= does without."
)
EXCLUDE = "A list of clips to leave out, such as doctor writes"


def require_data(path: str) -> None:
    """An error unless `path` names a file or folder, or a clip inside a tar or Parquet table."""
    if not path:
        raise ValueError(
            "no data given: name a folder of class folders or a manifest, "
            "such as 'sightsound train videos/ --config first'"
        )
    if not Path(path).exists():
        from sightsound.media.source import exists
        from sightsound.registry import nearest_path

        if exists(path):
            return
        raise FileNotFoundError(f"no such file or folder: {path!r}.{nearest_path(Path(path))}")


def take_data(data: DataSettings, options: Any) -> None:
    """Put what stands on the command line, the data and its columns, into `data`."""
    data.path = options.path or data.path
    data.columns = data.columns if options.columns is None else options.columns


def beside_model(model: str, name: str) -> Path:
    """The folder `name` in a model's run, beside its directory, or here for one of the hub."""
    from sightsound.build import model_source

    return Path(name) if model.startswith("hf:") else Path(model_source(model)).parent / name


def anchor(data: DataSettings) -> None:
    """Make the paths in `data` absolute: a run may be used from anywhere."""
    for name in ("path", "exclude"):
        if getattr(data, name):
            setattr(data, name, os.path.abspath(getattr(data, name)))


def recipes() -> str:
    """The names of the recipes, for a help text."""
    from sightsound.config.load import recipe_names

    return f"Recipes: {', '.join(recipe_names())}." if recipe_names() else ""


def list_components(parser: Parser, *kinds: str) -> None:
    """In the help, the arguments of every component of these kinds, and the front end's."""
    from sightsound.config.load import TABLES, component_arguments

    for kind in kinds:
        for name, entry in TABLES[kind].items():
            arguments = component_arguments(entry)
            text = ", ".join(f"{key}={default}" for key, default in arguments.items())
            parser.add_argument_group(f"--{kind}.NAME VALUE for {kind} {name!r}", text)
    parser.add_argument_group("--front_end.audio.NAME, --front_end.video.NAME", _FRONT_END_TEXT)


_FRONT_END_TEXT = "Numbers that replace those of the front end named by --front_end (default: mbt)."
