"""The table of checks, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sightsound.registry import resolve, unknown_name

if TYPE_CHECKING:
    from sightsound.diagnostics.finding import Check
    from sightsound.diagnostics.trial import Trial

CHECKS = {
    "swap": "sightsound.diagnostics.swap:swap",
    "shift": "sightsound.diagnostics.shift:shift",
    "streams": "sightsound.diagnostics.streams:streams",
    "knockout": "sightsound.diagnostics.knockout:knockout",
    "deletion": "sightsound.diagnostics.deletion:deletion",
    "randomise": "sightsound.diagnostics.randomise:randomise",
}


def check_names(names: Iterable[str]) -> list[str]:
    """`names`, all of which are known.

    Raises:
        ValueError: one is not; the message names the nearest.
    """
    names = [name.strip() for name in names]
    for name in names:
        if name not in CHECKS:
            raise unknown_name("check", name, CHECKS)
    return names


def run_check(name: str, trial: Trial) -> Check:
    """What one check finds."""
    return resolve(CHECKS, name, kind="check")(trial)
