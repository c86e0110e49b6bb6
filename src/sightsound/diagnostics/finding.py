"""What a check finds: numbers with their intervals over clips, and sentences about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightsound.metrics.scores import mean_interval
from sightsound.metrics.statistics import paired_bootstrap

RESAMPLINGS = 1000
SMALL = 0.03  # of a score: a change surely below this counts as none. A guess.
NONE_SEEN = 3  # of n clips: 3 / n is the 95 % bound on what none of them did (rule of three)


@dataclass(frozen=True)
class Finding:
    """A number before and after something was done to the clips or the model.

    `low` to `high` and `cost_low` to `cost_high` are 95 % intervals over clips, of `after` and of
    `cost` = before - after on the same clips.
    """

    what: str  # what was done, such as "sound swapped"
    num_clips: int
    before: float
    after: float
    low: float
    high: float
    cost: float
    cost_low: float
    cost_high: float
    label: str = ""  # of one class only; empty: of all clips
    chance: float | None = None  # what `after` would be by chance, where that is known
    same: float | None = None  # share of clips whose decision is the one before

    @property
    def shrinks(self) -> bool:
        """Whether `after` is below `before` for more than chance."""
        return self.cost_low > 0

    @property
    def negligible(self) -> bool:
        """Whether the change is surely small; the bootstrap is too sure where no clip changes."""
        seen = self.cost_low > -SMALL and self.cost_high < SMALL
        return seen and NONE_SEEN / self.num_clips < SMALL


@dataclass(frozen=True)
class Curve:
    """A mean over clips along x, with its 95 % interval."""

    name: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Check:
    """One check: its answer in words, and what it rests on."""

    name: str
    sentence: str
    findings: tuple[Finding, ...] = ()
    measure: str = "score"  # of which `before` and `after` are
    notes: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def overall(self) -> list[Finding]:
        """Findings on all clips, not on one class."""
        return [finding for finding in self.findings if not finding.label]


def compare(
    what: str,
    before: np.ndarray,
    after: np.ndarray,
    *,
    seed: int,
    label: str = "",
    chance: float | None = None,
    same: float | None = None,
) -> Finding:
    """The finding that the per-clip values `before` and `after` (n,) make."""
    low, high = mean_interval(after, resamplings=RESAMPLINGS, seed=seed)
    cost = paired_bootstrap(before, after, resamplings=RESAMPLINGS, seed=seed)
    return Finding(
        what,
        len(after),
        float(before.mean()),
        float(after.mean()),
        low,
        high,
        cost.difference,
        cost.low,
        cost.high,
        label=label,
        chance=chance,
        same=same,
    )


def curve(name: str, x: np.ndarray, values: np.ndarray, *, seed: int) -> Curve:
    """The mean of `values` (n, len(x)) over clips."""
    how = {"resamplings": RESAMPLINGS, "seed": seed}
    low, high = zip(*(mean_interval(column, **how) for column in values.T), strict=True)
    return Curve(name, tuple(x.tolist()), tuple(values.mean(0).tolist()), low, high)


def through(name: str, x: Sequence[float], findings: Sequence[Finding]) -> Curve:
    """From what was before, at 0, through what `findings` say is after, at each `x`."""
    before = findings[0].before
    return Curve(
        name,
        (0.0, *x),
        (before, *(finding.after for finding in findings)),
        (before, *(finding.low for finding in findings)),
        (before, *(finding.high for finding in findings)),
    )


# --- in words -----------------------------------------------------------------------------------


def verdict(finding: Finding, *, uses: str) -> str:
    """The beginning of a sentence: whether the model uses something, such as "sound"."""
    if finding.shrinks:
        return f"The model uses {uses}"
    if finding.negligible:
        return f"The model does not use {uses}"
    return f"Whether the model uses {uses} cannot be told from {finding.num_clips} clips"


def answer(finding: Finding, *, uses: str, without: str) -> str:
    """A sentence: whether the model uses something, and what it loses without.

    `uses` such as "sound", `without` such as "with sound of another class".
    """
    scores = f"from {100 * finding.before:.1f} to {100 * finding.after:.1f} %"
    return f"{verdict(finding, uses=uses)}: {without} it loses {loss(finding)}, {scores}."


def loss(finding: Finding) -> str:
    """What is lost, in points, and its interval."""
    low, high = 100 * finding.cost_low, 100 * finding.cost_high
    return f"{100 * finding.cost:z.1f} points (95 % interval {low:z.1f} to {high:z.1f})"


def named(names: Sequence[str], *, most: int = 8) -> str:
    """The first names in a row, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
