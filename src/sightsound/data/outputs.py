"""What this program writes, where it may lie among clips: known by its files. Free of torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

OUTPUT_MARK = ".sightsound"  # an empty file in a folder that is written to while clips are read
FILM = ".film.mp4"  # how films of `explain --video` end; the numbers behind them lie beside them
_BESIDE_FILMS = frozenset({"maps.json", "contributions.json"})
_MADE = (  # all of these files lie in a folder of that kind
    {"config.yaml", "environment.json"},  # a run
    {"config.json", "model.safetensors"},
    {"shards.json"},
    {"summary.json", "predictions.csv"},  # an evaluation
    {"findings.csv", "report.html"},  # of doctor
    {"maps.json", "maps.csv"},  # of explain
    {"contributions.csv", "contributions.json"},
    {"timeline.csv", "settings.json"},
    {"comparison.json"},
    {"probe.json"},
)
_MADE_WITH_CLIPS = (  # generated data sets
    {"synthetic.json", "truth.csv"},
    {"new_clip.mp4", "clips", "run"},  # demo
)


def is_film(name: str, beside: Collection[str]) -> bool:
    """Whether a file is a film of `explain`, given the names of the files beside it."""
    return name.endswith(FILM) and not _BESIDE_FILMS.isdisjoint(beside)


def holds_generated_clips(names: Collection[str]) -> bool:
    """Whether a folder with these entries is a generated data set, such as the demo's."""
    return any(made <= {*names} for made in _MADE_WITH_CLIPS)


def is_output(folder: Path, *, levels: int = 2) -> bool:
    """Whether this program wrote a folder, or one below it, such as `a` in `runs`."""
    entries = {path.name: path for path in folder.iterdir()}
    if OUTPUT_MARK in entries or any(
        made <= entries.keys() for made in (*_MADE, *_MADE_WITH_CLIPS)
    ):
        return True
    folders = [path for path in entries.values() if path.is_dir()] if levels else []
    return any(is_output(path, levels=levels - 1) for path in folders)
