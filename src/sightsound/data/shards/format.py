"""How a clip lies in a tar file, and where its parts are.

    000000384.json       what it is: id, labels, times, lengths of everything below
    000000384.0000.jpg   the first picture, and so on
    000000384.flac       the sound

A key has no dot, so that WebDataset takes the files as one sample. The headers hold nothing that
changes from run to run. A reader needs the place of the sample and the length of its JSON; all
other places follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sightsound.media.flac import HEADER_BYTES

if TYPE_CHECKING:
    from sightsound.data.rows import Row
    from sightsound.data.shards.transcode import Transcoded

VERSION = 1
SOUND_SUFFIX = ".flac"
BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)  # two empty blocks end a tar file


@dataclass(frozen=True)
class Sample:
    """A clip in a shard, without its pictures and its sound."""

    about: dict[str, Any]  # the JSON
    json_size: int

    @property
    def pictures(self) -> dict[str, Any] | None:
        """What the JSON says about pictures; `None` if there are none."""
        return self.about["video"]

    @property
    def sound(self) -> dict[str, Any] | None:
        """What the JSON says about sound; `None` if there is none."""
        return self.about["audio"]

    @cached_property
    def picture_places(self) -> np.ndarray:
        """(N + 1,) bytes from the start of the sample to each picture; the last to the sound."""
        sizes = self.pictures["sizes"] if self.pictures else []
        steps = [
            BLOCK_BYTES + _padded(self.json_size) + BLOCK_BYTES,
            *(BLOCK_BYTES + _padded(s) for s in sizes),
        ]
        return np.cumsum(steps)

    @property
    def sound_place(self) -> int:
        """Bytes from the start of the sample to the FLAC file."""
        return int(self.picture_places[-1])

    @cached_property
    def block_places(self) -> np.ndarray:
        """(N + 1,) bytes from the start of the sample to each block of FLAC, and to their end."""
        sizes = self.sound["sizes"] if self.sound else []
        return np.cumsum([self.sound_place + HEADER_BYTES, *sizes])


def key_name(key: int) -> str:
    """What the files of a clip are called."""
    return f"{key:09d}"


def pack(key: int, about: Mapping[str, Any], transcoded: Transcoded) -> tuple[bytes, int]:
    """The bytes of a sample, and the length of its JSON."""
    pictures, sound = transcoded.pictures, transcoded.sound
    content: dict[str, Any] = {
        "version": VERSION,
        **about,
        "duration_seconds": transcoded.duration_seconds,
        "audio_duration_seconds": transcoded.audio_duration_seconds,
        "video": None,
        "audio": None,
    }
    if pictures is not None:
        content["video"] = vars(pictures) | {"sizes": list(map(len, pictures.jpegs))}
        del content["video"]["jpegs"]
    if sound is not None:
        content["audio"] = vars(sound) | {"sizes": list(map(len, sound.blocks))}
        del content["audio"]["header"], content["audio"]["blocks"]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    name = key_name(key)
    members = [(f"{name}.json", text)]
    if pictures is not None:
        members += [(f"{name}.{n:04d}.jpg", jpeg) for n, jpeg in enumerate(pictures.jpegs)]
    if sound is not None and sound.blocks:
        members.append((f"{name}{SOUND_SUFFIX}", b"".join([sound.header, *sound.blocks])))
    parts = []
    for file, data in members:
        parts += [_header(file, len(data)), data, bytes(_padded(len(data)) - len(data))]
    return b"".join(parts), len(text)


def about_row(row: Row, *, path: str, audio_path: str | None) -> dict[str, Any]:
    """What the JSON says about a row; paths as the table of clips gives them."""
    labels = row.labels if isinstance(row.labels, Mapping) else list(row.labels)
    return {
        "id": row.id,
        "labels": labels,
        "split": row.split,
        "group": row.group,
        "path": path,
        "audio_path": audio_path,
        "start_seconds": row.start_seconds,
        "end_seconds": row.end_seconds,
    }


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _header(name: str, size: int) -> bytes:
    """A header of POSIX.1-1988 (ustar): mode 644, owner 0, time 0."""
    fields = (
        name.encode().ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,  # mode, user, group
        b"%011o\0" % size,
        b"00000000000\0",  # time
        b" " * 8,  # the checksum, while it is computed
        b"0".ljust(101, b"\0"),  # a file; no link
        b"ustar\x0000",  # and no names of owners
    )
    header = b"".join(fields).ljust(BLOCK_BYTES, b"\0")
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
