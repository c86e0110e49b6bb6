"""From any data set to shards: planned, written in parallel, resumable at any moment.

Which clip goes into which shard is a function of ids, splits and settings only, and every file is
written whole or not at all: however often a run is interrupted, the same command ends with the
same bytes. Clips are decoded by several processes; with Ray, by those of a cluster.
Free of torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from sightsound.config.settings import DataSettings, ShardSettings
from sightsound.data.manifest import load_manifest, row_cells
from sightsound.data.rows import Manifest, Row
from sightsound.data.shards.format import VERSION
from sightsound.data.shards.index import (
    ABOUT_NAME,
    INDEX_NAME,
    LABELS_NAME,
    is_index,
    read_about,
    write_index,
)
from sightsound.data.shards.writer import (
    PARTS_NAME,
    Fault,
    Packed,
    ShardClip,
    ShardPlan,
    finished_part,
    pack_clips,
    write_shard,
)
from sightsound.files import WRITING, csv_text, locked, write_whole
from sightsound.media.decode_pool import DecodePool
from sightsound.seeding import stable_seed

QUARANTINE_NAME = "quarantine.csv"
_UNSPLIT = "all"  # how shards of clips without a split are called
_AHEAD = 4  # clips per process that are decoded before it is their turn to be written


@dataclass(frozen=True)
class Summary:
    """What a finished folder of shards holds."""

    num_clips: int  # stored
    num_shards: int
    num_bytes: int  # of the shards
    num_left_out: int  # clips of which frames were left out
    faults: tuple[Fault, ...]


def prepare(
    data: DataSettings,
    output: str | Path,
    settings: ShardSettings,
    *,
    num_workers: int = 2,
    ray_address: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Write the clips of `data` to shards in `output`, or what is missing of them.

    Clips that cannot be read go to `quarantine.csv`; one that takes longer than
    `data.time_limit_seconds` is one of them. `progress(clips finished, clips in all)` is called
    again and again.

    Raises:
        FileNotFoundError, ValueError: `data` cannot be read; `output` holds something else, or
            shards of other clips or settings.
        OSError: a file cannot be written; nothing incomplete is left.
    """
    if num_workers < 1:
        raise ValueError(f"--num_workers is {num_workers}; accepted: at least 1")
    data = dataclasses.replace(data, bad_files="drop")  # a missing file goes to quarantine, too
    listed = load_manifest(dataclasses.replace(data, exclude=""), draw=False)
    manifest = load_manifest(data, draw=False) if data.exclude else listed
    folder, source = Path(os.path.abspath(output)), manifest.source
    if is_index(source):
        raise ValueError(
            f"{str(source.parent)!r} holds shards already; give what they were made of"
        )
    if source.is_dir() and folder.is_relative_to(source):
        raise ValueError(
            f"--output {str(folder)!r} lies among the clips of {str(source)!r}; give a folder "
            "elsewhere"
        )
    plans = plan_shards(manifest, settings.clips_per_shard)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, by="sightsound prepare"):
        _begin(folder, _about(manifest, settings), labels=manifest.labels)
        todo = [plan for plan in plans if finished_part(folder, plan.name) is None]
        total = len(manifest.rows)
        done = total - sum(len(plan.clips) for plan in todo)
        progress(done, total)

        def tell(number: int) -> None:
            nonlocal done
            done += number
            progress(done, total)

        if ray_address is None:
            write = partial(_write_here, num_workers=num_workers)
        else:
            from sightsound.data.shards.on_ray import write_on_ray

            write = partial(write_on_ray, address=ray_address, num_workers=num_workers)
        if todo:
            write(todo, folder, settings, limit_seconds=data.time_limit_seconds, tell=tell)
        return _finish(folder, plans, listed)


# --- what goes where ----------------------------------------------------------------------------


def plan_shards(manifest: Manifest, clips_per_shard: int) -> list[ShardPlan]:
    """The content of every shard: the clips of a split in an order that depends on ids only."""
    keys = count()
    plans = []
    for split in sorted({row.split for row in manifest.rows}):
        rows = [row for row in manifest.rows if row.split == split]
        rows.sort(key=lambda row: (stable_seed("shard", row.id), row.id))
        for number, start in enumerate(range(0, len(rows), clips_per_shard)):
            chosen = rows[start : start + clips_per_shard]
            cells = [row_cells(row, folder=manifest.folder) for row in chosen]
            clips = tuple(
                ShardClip(next(keys), row, cell["path"], cell.get("audio_path"))
                for row, cell in zip(chosen, cells, strict=True)
            )
            plans.append(ShardPlan(f"{split or _UNSPLIT}-{number:06d}.tar", clips))
    return plans


def _about(manifest: Manifest, settings: ShardSettings) -> dict[str, Any]:
    """What a rerun must agree with; where the data lie does not matter."""
    cells = sorted(
        ({"id": row.id} | row_cells(row, folder=manifest.folder) for row in manifest.rows),
        key=lambda cells: cells["id"],
    )
    text = json.dumps([manifest.labels, cells], sort_keys=True)
    return {
        "version": VERSION,
        "task": manifest.task,
        "num_clips": len(manifest.rows),
        "clips": hashlib.sha256(text.encode()).hexdigest()[:12],
        "settings": asdict(settings),
    }


def _begin(folder: Path, about: dict[str, Any], *, labels: Mapping[str, Sequence[str]]) -> None:
    """A folder for these shards, new or begun before."""
    file = folder / ABOUT_NAME
    if file.is_file():
        _check_same(folder, read_about(file), about)
    elif strange := [p.name for p in folder.iterdir() if not p.name.startswith(WRITING)]:
        raise ValueError(
            f"{str(folder)!r} holds something else than shards, {strange[0]!r}; give --output a "
            "new or an empty folder"
        )
    _remove_unfinished(folder)
    for path, content in ((file, about), (folder / LABELS_NAME, labels)):
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (folder / PARTS_NAME).mkdir(exist_ok=True)


def _remove_unfinished(folder: Path) -> None:
    """What killed processes left."""
    for left in (*folder.glob(f"{WRITING}*"), *folder.glob(f"{PARTS_NAME}/{WRITING}*")):
        left.unlink()


def _check_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    settings = [
        f"--{name} {value} and not {new['settings'].get(name)}"
        for name, value in old["settings"].items()
        if value != new["settings"].get(name)
    ]
    if settings:
        raise ValueError(
            f"{str(folder)!r} holds shards that were begun with {', '.join(settings)}; give the "
            "same options, or another --output"
        )
    if old != new:
        raise ValueError(
            f"{str(folder)!r} holds shards of other clips: {old['num_clips']} clips then, "
            f"{new['num_clips']} now, or other ids, labels, splits, times or paths; give another "
            "--output"
        )


# --- writing ------------------------------------------------------------------------------------


def _write_here(
    plans: Sequence[ShardPlan],
    folder: Path,
    settings: ShardSettings,
    *,
    num_workers: int,
    limit_seconds: float,
    tell: Callable[[int], None],
) -> None:
    """One shard after the other; clips are decoded in parallel."""
    clips = [clip for plan in plans for clip in plan.clips]

    def told(packed: Iterator[Packed]) -> Iterator[Packed]:
        for parcel in packed:
            tell(1)
            yield parcel

    with DecodePool(num_workers, seconds=limit_seconds, ahead=_AHEAD) as pool:
        packed = told(pack_clips(clips, settings, pool))
        for plan in plans:
            write_shard(plan, folder, islice(packed, len(plan.clips)))


# --- when all shards are there ------------------------------------------------------------------


def _finish(folder: Path, plans: Sequence[ShardPlan], listed: Manifest) -> Summary:
    """Write the quarantine table and, last of all, the index."""
    parts = {}
    for plan in plans:
        part = finished_part(folder, plan.name)
        if part is None:
            raise ValueError(f"{plan.name!r} in {str(folder)!r} is not finished; run it again")
        parts[plan.name] = part
    faults = tuple(fault for part in parts.values() for fault in part.faults)
    columns = [field.name for field in dataclasses.fields(Fault)]
    write_whole(folder / QUARANTINE_NAME, csv_text(map(asdict, faults), columns))
    ids = {clip.key: clip.row.id for plan in plans for clip in plan.clips}
    # {id: the columns of the index that say where a clip is}
    places = {
        ids[place.key]: {"shard": name, **asdict(place)}
        for name, part in parts.items()
        for place in part.places
    }
    rows = [_entry(row, listed) | places.get(row.id, {}) for row in listed.rows]
    write_index(folder / INDEX_NAME, rows, task=listed.task)
    _remove_unfinished(folder)  # of workers that were lost on Ray
    return Summary(
        num_clips=len(places),
        num_shards=len(plans),
        num_bytes=sum(part.size for part in parts.values()),
        num_left_out=sum(bool(place["left_out"]) for place in places.values()),
        faults=faults,
    )


def _entry(row: Row, manifest: Manifest) -> dict[str, Any]:
    """The columns of the index that a table of clips has."""
    cells = {name: cell or None for name, cell in row_cells(row, folder=manifest.folder).items()}
    times = {"start_seconds": row.start_seconds, "end_seconds": row.end_seconds}
    return cells | {"id": row.id} | times
