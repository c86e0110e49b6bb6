"""A data set examined: every clip, then what only all of them together tell."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from sightsound.data.rows import Row
from sightsound.doctor.clips import clip_findings, shorter_than_others
from sightsound.doctor.duplicates import (
    duplicate_findings,
    excluded_copies,
    find_duplicates,
)
from sightsound.doctor.gather import Clips
from sightsound.doctor.issue_types import ISSUE_TYPES, ORDER, SEVERITIES, Finding
from sightsound.doctor.labels import label_findings
from sightsound.media.decode_pool import DecodePool, Failure, Progress
from sightsound.media.examine import Health, examine

# Clips that cannot be trained on at all; copies are added to them. The user decides about what
# merely hurts: a set of photographs with sound is still a set.
EXCLUDED_ISSUES = ("missing_file", "unreadable", "outside_file")


@dataclass(frozen=True)
class Checkup:
    """Everything that was found."""

    clips: Clips
    healths: tuple[Health | Failure, ...]  # of each row
    findings: tuple[Finding, ...]  # in the order of ISSUE_TYPES, then of the rows
    excluded: dict[str, str]  # {id: reason}

    @cached_property
    def by_issue(self) -> dict[str, list[Finding]]:
        """Findings of each type that was found, in order."""
        found: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            found[finding.issue].append(finding)
        return dict(found)

    @cached_property
    def by_id(self) -> dict[str, list[Finding]]:
        """Findings of each clip that has any."""
        found: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            if finding.id:
                found[finding.id].append(finding)
        return dict(found)

    @property
    def hurts(self) -> bool:
        """Whether anything is more than worth knowing."""
        return any(
            ISSUE_TYPES[finding.issue].severity in SEVERITIES[:2] for finding in self.findings
        )

    @property
    def seconds(self) -> float:
        """Length of all clips together."""
        lengths = (h.end_seconds - h.start_seconds for h in self.healths if isinstance(h, Health))
        return math.fsum(max(0.0, length) for length in lengths)


def check(clips: Clips, workers: DecodePool, progress: Progress) -> Checkup:
    """Examines all clips of a set; files that crash or hang the decoder are findings, too."""
    others = [Row(path.name, path, ()) for path in clips.others]
    asked = [*clips.rows, *others]
    names = ("path", "start_seconds", "end_seconds", "audio_path")
    requests = ({name: getattr(row, name) for name in names} for row in asked)
    examined: list[Health | Failure] = []
    for health in workers.map(examine, requests):
        examined.append(health)
        progress("clips", len(examined), len(asked))
    rows, healths = clips.rows, examined[: len(clips.rows)]
    findings = [Finding("refused", clips.refusal)] if clips.refusal else []
    for row, health in zip(rows, healths, strict=True):
        findings += clip_findings(row, health)
    findings += shorter_than_others(rows, healths)
    findings += label_findings(rows, task=clips.task, source=clips.source)
    groups = find_duplicates(rows, healths, workers=workers, progress=progress)
    findings += duplicate_findings(rows, groups)
    for path, health in zip(clips.others, examined[len(rows) :], strict=True):
        if isinstance(health, Health):
            findings.append(Finding("overlooked", path.relative_to(clips.source).as_posix()))
    findings.sort(key=lambda finding: ORDER[finding.issue])
    excluded = dict(excluded_copies(rows, groups)) | {
        finding.id: f"{ISSUE_TYPES[finding.issue].title}: {finding.detail}"
        for finding in findings
        if finding.issue in EXCLUDED_ISSUES
    }
    return Checkup(clips, tuple(healths), tuple(findings), excluded)
