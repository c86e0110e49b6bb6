"""Sound that comes late: does it matter that sound and pictures are in step?

The sound of every clip goes round by some seconds: what leaves the window at its end comes back at
its start. So the model hears the very same sound, only at another time; silence in place of what
left would take sound away. Only clips with at least twice as much sound as the longest shift are
used: no moment is then nearer to its own pictures than by the shift.

A sound gone round is odd by itself: it may start in its middle, at once. So the same is done to
clips that were never in step, with the sound of another clip of their class. Synchrony is what the
clip's own sound has over such a sound, and loses when it is late; what both lose is not synchrony.

Spectrogram frames go round, not samples: that is the spectrogram of the sound gone round, but for
the frames that straddle the seam and the end, about two each. Features go round by whole segments,
which are seconds.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sightsound.diagnostics.finding import Check, Finding, compare, loss, through, verdict
from sightsound.diagnostics.trial import Trial, hits, with_sound
from sightsound.explain.explanation import rows_of_batch
from sightsound.media.front_end import FrontEnd
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, WORDS, Batch

OWN, OTHER = "own sound", "another's sound"
SHARES = (1 / 16, 1 / 8, 1 / 4)  # of the sound's median length, the default shifts


def shift(trial: Trial) -> Check:
    """What it costs when the sound comes late."""
    if not trial.two_streams:
        word = WORDS[trial.predictor.modalities[0]]
        return Check("shift", f"The model knows {word} alone: there is nothing to be in step with.")
    clips, step = trial.complete, step_seconds(trial.clips, trial.predictor.front_end)
    median = float(clips.valid[AUDIO].sum(1).float().median()) if len(clips) else 0.0
    frames = [seconds / step for seconds in trial.shifts] or [share * median for share in SHARES]
    steps = sorted({max(1, round(number)) for number in frames})
    long = (clips.valid[AUDIO].sum(1) >= 2 * max(steps)).nonzero().flatten()
    clips = rows_of_batch(clips, long)
    rows = others = np.zeros(0, int)
    if len(long):
        rows, others = partners(clips.target.numpy(), seed=trial.seed)
    if not len(rows):
        return Check(
            "shift",
            "No two clips of one class have sound and pictures, and sound for twice the longest "
            f"shift, {max(steps) * step:g} s (--shifts gives others).",
        )
    own = rows_of_batch(clips, torch.from_numpy(rows))
    foreign = with_sound(own, clips, others)
    shifts = {count * step: count for count in steps}
    check = _tried(trial, own, foreign, shifts, before=trial.whole[long.numpy()][rows])
    left_out = len(trial.complete) - len(rows)
    if not left_out:
        return check
    note = f"Left out, for want of sound that long or of another clip of the class: {left_out}."
    return dataclasses.replace(check, notes=(note,))


def step_seconds(batch: Batch, front_end: FrontEnd) -> float:
    """How far apart frames of the spectrogram, or the segments of features, are."""
    return 1.0 if batch.encoded else front_end.audio.hop_samples / front_end.audio.rate_hz


def shifted(batch: Batch, steps: int) -> Batch:
    """`batch` with the sound of each clip later by `steps` frames, going round."""
    axis, rolled = 0 if batch.encoded else 1, []
    assert batch.audio is not None
    for clip, valid in zip(batch.audio, batch.valid[AUDIO], strict=True):
        order = torch.arange(len(valid))  # frames of padding stay
        frames = valid.nonzero().flatten()
        order[frames] = frames.roll(steps)
        rolled.append(clip.index_select(axis, order))
    return dataclasses.replace(batch, audio=torch.stack(rolled))


def partners(targets: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips (m,) and for each another one (m,) of its class, drawn by `seed`.

    Of several labels or heads, one of those that share most, |both| / |either|. Clips that share
    none with any other are left out.
    """
    generator = np.random.default_rng(stable_seed(seed, "partners"))
    both, count = targets @ targets.T, targets.sum(1)
    alike = both / (count[:, None] + count - both)
    np.fill_diagonal(alike, 0.0)
    drawn = (alike + 1e-6 * generator.random(alike.shape) * (alike > 0)).argmax(1)
    rows = np.flatnonzero(alike.max(1, initial=0.0) > 0)
    return rows, drawn[rows]


def _tried(
    trial: Trial, own: Batch, foreign: Batch, shifts: dict[float, int], *, before: np.ndarray
) -> Check:
    """`shifts` {seconds: frames}; `before`, the decisions on `own`."""
    targets, other = own.target.numpy(), trial.decide(foreign)
    losses: dict[str, list[Finding]] = {OWN: [], OTHER: []}
    advantages = []
    for seconds, steps in shifts.items():
        late, other_late = (trial.decide(shifted(batch, steps)) for batch in (own, foreign))
        for whose, in_time, after in ((OWN, before, late), (OTHER, other, other_late)):
            what = f"{whose} {seconds:.3g} s late"
            losses[whose].append(trial.compare(what, in_time, after, targets))
        advantages.append(hits(late, targets) - hits(other_late, targets))
    in_step = hits(before, targets) - hits(other, targets)
    synchrony = compare(
        "own over another's, late", in_step, np.mean(advantages, axis=0), seed=trial.seed
    )
    findings = (
        trial.compare("sound of another clip of the class", before, other, targets),
        *losses[OWN],
        *losses[OTHER],
        synchrony,
    )
    curves = tuple(through(whose, list(shifts), losses[whose]) for whose in losses)
    return Check("shift", _sentence(losses, synchrony, list(shifts)), findings, curves=curves)


def _sentence(losses: dict[str, list[Finding]], synchrony: Finding, seconds: list[float]) -> str:
    """About the mean over all shifts, so that none is picked."""
    own, other = (100 * np.mean([finding.cost for finding in found]) for found in losses.values())
    until = f" to {seconds[-1]:.3g}" if len(seconds) > 1 else ""
    return (
        f"{verdict(synchrony, uses='synchrony')}: {seconds[0]:.3g}{until} s late, a clip's own "
        f"sound costs {own:z.1f} points, another's of the same class {other:z.1f}; a difference of "
        f"{loss(synchrony)}."
    )
