"""Do the maps of `sightsound explain` lie where the events are? Trained models, randomised ones.

    make benchmark-explanations    a few minutes on 2 cores

On clips whose events have a known place and time (tests/located.py), none of them seen in training:
the part of a map's mass that lies within the event, over the event's part of the clip. A map that
is even has 1. And insertion and deletion curves against random orders.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from runs import ROOT, environment

from sightsound.explain.deletion import insertion_deletion
from sightsound.explain.explanation import explain_batch

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "unit")]

from located import draw, randomised, times_chance, trained  # noqa: E402
from test_located_events import NEW  # noqa: E402

WAYS = {
    "rollout": {},
    "rollout, heads max": {"heads": "max"},
    "rollout, heads min": {"heads": "min"},
    "grad_cam": {},
    "grad_cam, channels": {"weights": "channels"},
    "grad_cam, cells": {"weights": "cells"},
    "grad_cam, stage 4": {"stage": 4},
    "occlusion": {},
}
CLIPS, OCCLUDED, RANDOM_MODELS = 48, 16, 5


def main() -> None:
    """Train, measure, write."""
    rows = [row for name in NEW for row in measured(name)]
    here = Path(__file__).parent
    content = {"environment": environment(), "rows": rows}
    (here / "explanations.json").write_text(json.dumps(content, indent=1) + "\n")
    (here / "explanations.md").write_text(table(rows))


def measured(name: str) -> list[dict]:
    """A row for each way and stream of one model."""
    new, steps, scale = NEW[name]
    predictor = trained(new(), steps=steps, batch_size=32 if scale == 1 else 16, scale=scale)
    others = [randomised(new(), seed=seed) for seed in range(RANDOM_MODELS)]
    rows = []
    for way, options in WAYS.items():
        if way == "grad_cam, stage 4" and name != "uniformer":
            continue
        method = way.split(",")[0]
        number = OCCLUDED if method == "occlusion" else CLIPS
        batch, where = draw(number, seed=77, events_only=True, scale=scale)
        maps = explain_batch(predictor, batch, method=method, **options)
        curves = insertion_deletion(predictor, batch, maps)
        random = [explain_batch(other, batch, method=method, **options) for other in others]
        for stream in predictor.modalities:
            ratios = [times_chance(each, where, stream) for each in random]
            rows.append(
                {
                    "model": name,
                    "way": way,
                    "stream": stream,
                    "clips": number,
                    "trained": times_chance(maps, where, stream),
                    "randomised": ratios,
                    "area": float(np.mean([one.area for one in curves])),
                    "above_random": float(np.mean([one.above_random for one in curves])),
                }
            )
            print(rows[-1], flush=True)
    return rows


def table(rows: list[dict]) -> str:
    """Markdown."""
    lines = [
        "| model | method | stream | trained | randomised, mean | largest | area | above random |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mean, largest = np.mean(row["randomised"]), max(row["randomised"])
        numbers = [row["trained"], mean, largest, row["area"], row["above_random"]]
        cells = [row["model"], row["way"], row["stream"], *(f"{x:.2f}" for x in numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
