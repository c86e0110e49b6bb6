"""One HTML file that shows what a checkup found: offline, for screen, phone and paper.

Clips with findings are shown with a picture and their sound, as many of each type as fit; the rest
is in `findings.csv`. So the page of a large set is no larger than that of a small one.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sightsound.data.rows import Row, splits_of
from sightsound.doctor.checkup import Checkup
from sightsound.doctor.issue_types import ISSUE_TYPES, ORDER, SEVERITIES
from sightsound.doctor.labels import label_text
from sightsound.doctor.summary import headline, number_of
from sightsound.media.decode_pool import DecodePool, Progress
from sightsound.media.examine import NUM_POINTS, Health, Pictures, thumbnail
from sightsound.pages import write as pages

MOST_CLIPS = 300  # with findings: a page of about 2 MB
NUM_HEALTHY = 6
MOST_LINES = 30  # of findings about the whole set, of one type
MOST_CLASSES = 1000
WIDTH, HEIGHT = 160, 120  # pixels within which a thumbnail fits
WAVE_HEIGHT = 40


def write_page(
    checkup: Checkup, path: Path, *, workers: DecodePool, title: str, progress: Progress
) -> None:
    """Write the page; it appears whole."""
    pages.write_page(
        Path(__file__).with_name("page.html"),
        path,
        title=title,
        headline=headline(checkup),
        source=str(checkup.clips.source),
        num_excluded=len(checkup.excluded),
        severities=SEVERITIES,
        findings=list(_issue_types(checkup)),
        classes=_classes(checkup),
        splits=splits_of(checkup.clips.rows),
        clips=list(_clips(checkup, workers, progress)),
        num_with_findings=sum(row.id in checkup.by_id for row in checkup.clips.rows),
        width=WIDTH,
        height=HEIGHT,
        wave_height=WAVE_HEIGHT,
        points=NUM_POINTS,
    )


def _issue_types(checkup: Checkup) -> Iterator[dict[str, Any]]:
    """A row of the table of findings each."""
    for name, findings in checkup.by_issue.items():
        issue = ISSUE_TYPES[name]
        of_set = [finding.detail for finding in findings if not finding.id]
        yield {
            "name": name,
            "title": issue.title,
            "severity": SEVERITIES.index(issue.severity),
            "number": number_of(findings),
            "means": issue.means,
            "remedy": issue.remedy,
            "lines": of_set[:MOST_LINES],
            "num_more": max(0, len(of_set) - MOST_LINES),
        }


def _classes(checkup: Checkup) -> list[dict[str, Any]]:
    """Clips and length of each class, by number."""
    numbers: dict[str, Counter] = {}
    for row, health in zip(checkup.clips.rows, checkup.healths, strict=True):
        seconds = health.end_seconds - health.start_seconds if isinstance(health, Health) else 0.0
        for name in row.labels.values() if isinstance(row.labels, dict) else row.labels:
            of_class = numbers.setdefault(name, Counter())
            of_class.update({row.split: 1, "clips": 1, "minutes": max(0.0, seconds) / 60})
    ordered = sorted(numbers.items(), key=lambda item: (-item[1]["clips"], item[0]))
    return [{"name": name, "numbers": found} for name, found in ordered[:MOST_CLASSES]]


# --- clips --------------------------------------------------------------------------------------


def _clips(checkup: Checkup, workers: DecodePool, progress: Progress) -> Iterator[dict[str, Any]]:
    """What the page says of each clip shown."""
    shown = _chosen(checkup)
    rows = [checkup.clips.rows[index] for index in shown]
    healths = [checkup.healths[index] for index in shown]
    requests = {
        index: _thumbnail_request(rows[index], health.video)
        for index, health in enumerate(healths)
        if isinstance(health, Health) and health.video is not None
    }
    answers = workers.map(thumbnail, requests.values())
    found = checkup.by_id
    pictures: dict[int, bytes] = {}
    for index, answer in zip(requests, answers, strict=True):
        pictures[index] = answer if isinstance(answer, bytes) else b""
        progress("pictures for the page", len(pictures), len(requests))
    for index, (row, health) in enumerate(zip(rows, healths, strict=True)):
        known = health if isinstance(health, Health) else Health()
        yield {
            "id": row.id,
            "label": label_text(row),
            "split": row.split,
            "seconds": max(0.0, known.end_seconds - known.start_seconds),
            "facts": "; ".join(_facts(known)),
            "picture": base64.b64encode(pictures.get(index, b"")).decode(),
            "wave": _wave(known.audio.outline) if known.audio is not None else "",
            "findings": [
                {
                    "name": finding.issue,
                    "title": ISSUE_TYPES[finding.issue].title,
                    "severity": SEVERITIES.index(ISSUE_TYPES[finding.issue].severity),
                    "detail": finding.detail,
                }
                for finding in found.get(row.id, ())
            ],
            "reason": checkup.excluded.get(row.id, ""),
        }


def _chosen(checkup: Checkup) -> list[int]:
    """Positions of the clips shown, worst first: some of every type, then a few healthy ones."""
    indices = {row.id: index for index, row in enumerate(checkup.clips.rows)}
    ids = [[f.id for f in found if f.id] for found in checkup.by_issue.values()]
    turns = (clip for turn in zip_longest(*ids) for clip in turn if clip is not None)
    found = checkup.by_id  # the worst finding of a clip comes first
    chosen = [indices[clip] for clip in list(dict.fromkeys(turns))[:MOST_CLIPS]]
    chosen.sort(key=lambda index: (ORDER[found[checkup.clips.rows[index].id][0].issue], index))
    healthy = [index for clip, index in indices.items() if clip not in found]
    return chosen + healthy[:: max(1, len(healthy) // NUM_HEALTHY)][:NUM_HEALTHY]


def _thumbnail_request(row: Row, video: Pictures) -> dict[str, Any]:
    """Arguments for a thumbnail from the middle of the clip."""
    timing = video.timing
    scale = min(WIDTH / video.width, HEIGHT / video.height)
    size = (video.height, video.width)
    return {
        "path": row.path,
        "at_seconds": (timing.start_seconds + timing.end_seconds) / 2,
        "size": tuple(max(1, round(scale * length)) for length in size),
    }


def _facts(health: Health) -> Iterator[str]:
    """What the streams are, in a few words."""
    video, audio = health.video, health.audio
    if video is not None:
        rate = f", {video.frames_per_second:.4g} fps" if video.frames_per_second else ""
        yield f"{video.codec} {video.width}x{video.height}{rate}"
    if audio is not None:
        channels = f"{len(audio.channels_db)} channel{'s' * (len(audio.channels_db) > 1)}"
        yield f"{audio.codec} {audio.rate_hz} Hz, {channels}, loudest {audio.loudest_db:.0f} dB"
    if health.unseen:
        yield f"looked at {health.unseen}"


def _wave(outline: bytes) -> str:
    """The path of an SVG: a vertical stroke for each point that is not silent."""
    middle, scale = WAVE_HEIGHT / 2, (WAVE_HEIGHT / 2 - 1) / 255
    strokes = []
    for place, peak in enumerate(outline):
        half = max(0.25, peak * scale)
        strokes.append(f"M{place} {middle - half:.1f}v{2 * half:.1f}")
    return "".join(strokes)
