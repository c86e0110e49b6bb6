"""Thumbnails and short players of clips, embedded in the page."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sightsound.data.rows import Row
from sightsound.media.decode import DecodeError
from sightsound.media.encode import write_video
from sightsound.media.examine import thumbnail
from sightsound.media.frames import read_frames
from sightsound.media.probe import MediaInfo, VideoStreamInfo, probe
from sightsound.media.sound import read_audio

SIDE = 208  # pixels of the longer side of a picture
PLAYER_SECONDS, PLAYER_RATE, PLAYER_RATE_HZ = 10.0, 10.0, 16000
MOST_PLAYER_BYTES = 12_000_000  # of all players together, before they are written as text


def media_of(rows: Iterable[Row], *, players: bool) -> dict[str, dict[str, str]]:
    """{id: "picture" and "player" as data URLs, empty where there is none; "problem"}.

    A clip that cannot be decoded has neither, and its problem in words. Players are made in the
    order of `rows` until they hold 12 MB together.
    """
    found, left = {}, MOST_PLAYER_BYTES
    for row in rows:
        entry = found[row.id] = {"picture": "", "player": "", "problem": ""}
        try:
            info = probe(row.path)
            picture = _picture(row, info)
            player = _player(row, info) if players and left > 0 else b""
        except DecodeError as error:
            entry["problem"] = error.cause
            continue
        entry["picture"] = _data_url("image/jpeg", picture)
        if len(player) <= left:
            left -= len(player)
            entry["player"] = _data_url("video/mp4", player)
    return found


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}" if content else ""


def _span(row: Row, info: MediaInfo) -> tuple[float, float]:
    stop = info.duration_seconds if row.end_seconds is None else row.end_seconds
    return row.start_seconds, max(row.start_seconds, min(stop, info.duration_seconds))


def _size(video: VideoStreamInfo) -> tuple[int, int]:
    """(H, W) even, the longer one `SIDE`."""
    height, width = video.shown_height, video.shown_width
    half = SIDE / max(height, width) / 2
    return max(2, 2 * round(half * height)), max(2, 2 * round(half * width))


def _picture(row: Row, info: MediaInfo) -> bytes:
    """The frame in the middle of the clip as JPEG; empty where there are none."""
    if info.video is None:
        return b""
    return thumbnail(row.path, at_seconds=sum(_span(row, info)) / 2, size=_size(info.video))


def _player(row: Row, info: MediaInfo) -> bytes:
    """The first ten seconds of the clip as a small .mp4; grey where it has no pictures."""
    start, stop = _span(row, info)
    stop = min(stop, start + PLAYER_SECONDS)
    times = start + np.arange(max(1, round((stop - start) * PLAYER_RATE))) / PLAYER_RATE
    frames = None
    if info.video is not None:
        frames = read_frames(row.path, times, _size(info.video))
    if frames is None:
        pixels = np.full((len(times), 2, 32, 3), 128, np.uint8)
    else:
        pixels = frames.pixels.transpose(0, 2, 3, 1)
    sound = read_audio(row.audio_path or row.path, start, stop, PLAYER_RATE_HZ)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(
            path,
            pixels,
            frames_per_second=PLAYER_RATE,
            waveform=None if sound is None else sound.samples,
            rate_hz=PLAYER_RATE_HZ,
            crf=30,
        )
        return path.read_bytes()
