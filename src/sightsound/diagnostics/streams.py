"""Each stream alone: what is left without sound, without pictures, and whose the score is.

Whose: the Shapley value of a stream is the mean of what it adds to nothing and of what it adds to
the other; the two add up to what both gain over nothing, which is an even guess among the classes
of each head: with several labels right as often as the classes of the clip are among all.
"""

from __future__ import annotations

import numpy as np

from sightsound.diagnostics.finding import Check, Finding, answer, compare
from sightsound.diagnostics.trial import Trial, hits
from sightsound.types import AUDIO, VIDEO, WORDS


def streams(trial: Trial) -> Check:
    """What each stream is worth where the other is there, and on average."""
    if not trial.two_streams:
        word = WORDS[trial.predictor.modalities[0]]
        return Check("streams", f"The model knows {word} alone: no stream can be left out.")
    if not len(trial.complete):
        return Check("streams", "No clip has sound and pictures: no stream can be left out.")
    targets = trial.complete.target.numpy()
    alone = {name: trial.decisions(trial.logits(trial.complete, [name])) for name in (AUDIO, VIDEO)}
    findings = [
        trial.compare(f"without {WORDS[name]}", trial.whole, alone[other], targets)
        for name, other in ((AUDIO, VIDEO), (VIDEO, AUDIO))
    ]
    both = hits(trial.whole, targets)
    nothing = np.prod([targets[:, columns].mean(1) for columns in trial.heads.values()], axis=0)
    sound, pictures = (hits(alone[name], targets) for name in (AUDIO, VIDEO))
    for name, own, other in ((AUDIO, sound, pictures), (VIDEO, pictures, sound)):
        worth = (own - nothing + both - other) / 2
        what = f"less the Shapley value of {WORDS[name]}"
        findings.append(compare(what, both, both - worth, seed=trial.seed))
    return Check("streams", _sentence(*findings), tuple(findings))


def _sentence(sound: Finding, pictures: Finding, own_sound: Finding, own_pictures: Finding) -> str:
    gain = own_sound.cost + own_pictures.cost
    parts = [
        answer(sound, uses="sound beside pictures", without="with pictures alone"),
        answer(pictures, uses="pictures beside sound", without="with sound alone"),
    ]
    if gain > 0 and min(own_sound.cost, own_pictures.cost) >= 0:
        shares = np.array([own_sound.cost, own_pictures.cost]) / gain
        parts.append(
            f"Of what it scores above an even guess, {100 * shares[0]:.0f} % is owed to sound and "
            f"{100 * shares[1]:.0f} % to pictures (Shapley)."
        )
    return " ".join(parts)
