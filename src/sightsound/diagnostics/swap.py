"""Sound of one clip, pictures of another: which of the two does a decision follow?

Every clip keeps its pictures and gets the sound of a clip of another class (of several labels: of
a clip that shares none; of several heads: that differs in each). Each sound is used once, so that
the same mixed clips answer both questions: with the labels of the pictures' clips they say what
swapping the sound costs, with those of the sound's clips what swapping the pictures costs.

Chance is the score that the same decisions would have if they were dealt to the mixed clips at
random: for a class, how often it is named. A class that only the swapped stream tells falls to
chance or below it, since a model that follows the stream never hears the class's own; one that the
other stream tells stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sightsound.diagnostics.finding import Check, Finding, answer, named
from sightsound.diagnostics.trial import Trial, agreement, with_sound
from sightsound.explain.explanation import rows_of_batch
from sightsound.seeding import stable_seed
from sightsound.types import AUDIO, VIDEO, WORDS

ENOUGH = 5  # clips of a class that words are made of
HARDLY = 0.1  # of a class's score: a smaller change, not surely a loss, is called none. A guess.


def swap(trial: Trial) -> Check:
    """What the sound of another class's clip costs, and the pictures of one."""
    if not trial.two_streams:
        word = WORDS[trial.predictor.modalities[0]]
        return Check("swap", f"The model knows {word} alone: there is nothing to swap.")
    clips = trial.complete
    donors, left_out = deranged(clips.target.numpy(), seed=trial.seed)
    if len(donors) < 2:
        return Check("swap", "No two clips with sound and pictures are of different classes.")
    rows = np.array(sorted(donors))
    sounds = np.array([donors[row] for row in rows])
    seen = rows_of_batch(clips, torch.from_numpy(rows))
    mixed = trial.decide(with_sound(seen, clips, sounds))
    targets = clips.target.numpy()
    findings: list[Finding] = []
    for modality, owners in ((AUDIO, rows), (VIDEO, sounds)):  # whose labels are asked for
        what = f"{WORDS[modality]} swapped"
        findings += _compared(trial, what, trial.whole[owners], mixed, targets[owners])
    return Check("swap", _sentence(findings), tuple(findings), notes=_notes(findings, left_out))


def deranged(targets: np.ndarray, *, seed: int) -> tuple[dict[int, int], int]:
    """{clip: clip that gives its sound}, each once and with no label in common, and how many lack.

    A random order whose collisions are exchanged away; of one label per clip that always succeeds
    unless more than half of the clips are of one class. What is left over is left out.
    """
    generator = np.random.default_rng(stable_seed(seed, "swap"))
    apart = targets @ targets.T == 0  # (n, n): no label in common
    donors = generator.permutation(len(targets))
    for row in range(len(donors)):
        if not apart[row, donors[row]]:
            free = apart[row, donors] & apart[:, donors[row]]
            if free.any():
                other = generator.choice(np.flatnonzero(free))
                donors[row], donors[other] = donors[other], donors[row]
    found = {row: int(donor) for row, donor in enumerate(donors) if apart[row, donor]}
    return found, len(donors) - len(found)


def _compared(
    trial: Trial, what: str, before: np.ndarray, mixed: np.ndarray, targets: np.ndarray
) -> Iterator[Finding]:
    """Of all clips, then of each class: decisions `before` and `mixed`, labels `targets`."""
    dealt = agreement(mixed, targets)
    yield trial.compare(what, before, mixed, targets, chance=float(dealt.mean()))
    for column, label in enumerate(trial.classes):
        own = targets[:, column] > 0
        if own.any():
            chance = float(dealt[own].mean())
            parts = (before[own], mixed[own], targets[own])
            yield trial.compare(what, *parts, label=label, chance=chance)


def _sentence(findings: list[Finding]) -> str:
    sound, pictures = (finding for finding in findings if not finding.label)
    neither = 1 - sound.after - pictures.after
    return " ".join(
        [
            answer(sound, uses="sound", without="with sound of another class"),
            answer(pictures, uses="pictures", without="with pictures of another class"),
            f"Of clips mixed like this {100 * sound.after:.0f} % are given the class of the"
            f" pictures, {100 * pictures.after:.0f} % that of the sound,"
            f" {100 * neither:.0f} % another.",
        ]
    )


def _notes(findings: list[Finding], left_out: int) -> tuple[str, ...]:
    """Which classes are lost and which stay, and how many clips found no partner."""
    notes = []
    for what in dict.fromkeys(finding.what for finding in findings):
        own = [f for f in findings if f.what == what and f.label and f.num_clips >= ENOUGH]
        lost = [f.label for f in own if f.shrinks and f.chance is not None and f.after <= f.chance]
        kept = [f.label for f in own if not f.shrinks and abs(f.cost) <= HARDLY]
        if lost:
            notes.append(f"With {what}, at chance or below: {named(lost)}.")
        if kept:
            notes.append(f"With {what}, hardly moved: {named(kept)}.")
    if left_out:
        notes.append(f"Left out, for want of a clip of another class: {left_out} clips.")
    return tuple(notes)
