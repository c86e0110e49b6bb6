"""The checks of a probe, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sightsound.registry import resolve, unknown_name

if TYPE_CHECKING:
    from sightsound.probing.finding import Check
    from sightsound.probing.trial import Trial

CHECKS = {
    "swap": "sightsound.probing.swap:swap",
    "shift": "sightsound.probing.shift:shift",
    "streams": "sightsound.probing.streams:streams",
    "knockout": "sightsound.probing.knockout:knockout",
    "deletion": "sightsound.probing.deletion:deletion",
    "randomise": "sightsound.probing.randomise:randomise",
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
