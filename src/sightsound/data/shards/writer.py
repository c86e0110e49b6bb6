"""Writes one shard: whole or not at all, the same bytes every time.

What a shard holds is noted in `parts/` before the shard gets its name, so that a shard is finished
exactly if both are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sightsound.config.settings import ShardSettings
from sightsound.data.rows import Row
from sightsound.data.shards.format import END, about_row, pack
from sightsound.data.shards.transcode import transcode
from sightsound.files import atomic_file
from sightsound.media.decode_pool import DecodePool, Failure

PARTS_NAME = "parts"


@dataclass(frozen=True)
class ShardClip:
    """A clip that goes into a shard; paths as the table of clips gives them."""

    key: int
    row: Row
    path: str
    audio_path: str | None


@dataclass(frozen=True)
class ShardPlan:
    """What goes into one shard."""

    name: str
    clips: tuple[ShardClip, ...]


@dataclass(frozen=True)
class Place:
    """Where a clip is in its shard."""

    key: int
    offset: int
    size: int
    json_size: int
    left_out: bool | None = None  # whether it has frames that are not stored; `None`: not noted
    reduced: bool | None = None  # whether its pictures are stored smaller than they were


@dataclass(frozen=True)
class Fault:
    """A clip, or a stream of one, that is not in its shard, or not wholly."""

    id: str
    path: str
    modality: str  # "video", "audio" or "clip" (both)
    cause: str
    action: str  # "dropped": not there; "masked": stream not there; "partial": what decoded is


@dataclass(frozen=True)
class Part:
    """What is in a finished shard."""

    size: int  # of the tar file
    places: tuple[Place, ...]
    faults: tuple[Fault, ...]


def write_shard(plan: ShardPlan, folder: Path, packed: Iterable[Packed]) -> None:
    """Write `plan` to `folder`; `packed` are its clips, in order."""
    places: list[Place] = []
    faults: list[Fault] = []
    with atomic_file(folder / plan.name) as file:
        for clip, parcel in zip(plan.clips, packed, strict=True):
            if parcel.sample is not None:
                size, json_size = len(parcel.sample), parcel.json_size
                place = Place(
                    clip.key, file.tell(), size, json_size, parcel.left_out, parcel.reduced
                )
                places.append(place)
                file.write(parcel.sample.data)
            faults += parcel.faults
        file.write(END)
        part = Part(file.tell(), tuple(places), tuple(faults))
        with atomic_file(_part_path(folder, plan.name)) as note:
            note.write(json.dumps(asdict(part), ensure_ascii=False).encode())


def finished_part(folder: Path, name: str) -> Part | None:
    """What is in a shard; `None` if it is not finished, or its note is damaged."""
    path = _part_path(folder, name)
    if not (path.is_file() and (folder / name).is_file()):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        part = Part(
            content["size"],
            tuple(Place(**place) for place in content["places"]),
            tuple(Fault(**fault) for fault in content["faults"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    return part if (folder / name).stat().st_size == part.size else None


def _part_path(folder: Path, name: str) -> Path:
    return folder / PARTS_NAME / f"{name}.json"


# --- one clip -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """A clip as it goes into a shard."""

    sample: np.ndarray | None  # (S,) uint8; `None` if nothing of it could be read
    json_size: int
    faults: tuple[Fault, ...]
    left_out: bool = False
    reduced: bool = False


def pack_clip(clip: ShardClip, settings: ShardSettings) -> Packed:
    """Transcode a clip and pack the result. Free of torch: runs in a `DecodeProcess`."""
    row = clip.row
    transcoded = transcode(row, settings)
    if not transcoded.has_content(row):
        causes = dict.fromkeys(cause for _, cause in transcoded.failures)
        cause = "; ".join(causes) or "no video and no audio in this stretch"
        return Packed(None, 0, (Fault(row.id, clip.path, "clip", cause, "dropped"),))
    about = about_row(row, path=clip.path, audio_path=clip.audio_path)
    sample, json_size = pack(clip.key, about, transcoded)
    faults = [_fault(clip, *failure, "masked") for failure in transcoded.failures]
    pictures = transcoded.pictures
    for modality, stream in (("video", pictures), ("audio", transcoded.sound)):
        problems = stream.problems if stream is not None else ()
        faults += [_fault(clip, modality, problem, "partial") for problem in problems]
    return Packed(
        np.frombuffer(sample, np.uint8),
        json_size,
        tuple(faults),
        left_out=pictures is not None and pictures.left_out,
        reduced=pictures is not None and min(pictures.height, pictures.width) > settings.short_side,
    )


def _fault(clip: ShardClip, modality: str, cause: str, action: str) -> Fault:
    path = clip.audio_path or clip.path if modality == "audio" else clip.path
    return Fault(clip.row.id, path, modality, cause, action)


def pack_clips(
    clips: Sequence[ShardClip], settings: ShardSettings, pool: DecodePool
) -> Iterator[Packed]:
    """`pack_clip` of each clip in a pool, in order; of a crash the fault alone."""
    requests = ({"clip": clip, "settings": settings} for clip in clips)
    for clip, packed in zip(clips, pool.map(pack_clip, requests), strict=True):
        if isinstance(packed, Failure):
            fault = Fault(clip.row.id, clip.path, "clip", packed.cause, "dropped")
            packed = Packed(None, 0, (fault,))
        yield packed
