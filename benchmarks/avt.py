"""AVT's losses on a small real data set: plain bottleneck, then one loss more at a time.

    make benchmark-avt            resumable; about forty minutes on 2 cores
    python benchmarks/avt.py --data FOLDER --rows plain all --seeds 0

One recipe, `small/avt_avmnist`; only the weights of the losses differ. Writes benchmarks/avt.json
(raw) and benchmarks/avt.md (the table).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
from runs import (
    ROOT,
    environment,
    environments,
    evaluate,
    mean_and_each,
    merge,
    train,
)

from sightsound.metrics.statistics import paired_bootstrap

LOSSES = ("contrastive", "matching", "masked")
ROWS = {
    "plain": ("plain bottleneck", ()),
    "contrastive": ("+ contrastive", LOSSES[:1]),
    "matching": ("+ contrastive + matching", LOSSES[:2]),
    "all": ("+ contrastive + matching + masked segments", LOSSES),
}
STREAMS = ("audio+video", "audio alone", "video alone")


def main() -> None:
    """Train and score what is missing, then write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("SIGHTSOUND_TEST_DATA", ROOT.parent / "shared")) / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark-runs" / "avt")
    options = parser.parse_args()
    for seed in options.seeds:
        for row in options.rows:
            write([one(row, options.data / "avmnist", options.output, seed=seed)])


def one(row: str, data: Path, folder: Path, *, seed: int) -> dict:
    """One training and its scores."""
    run, losses = folder / f"{row}-{seed}", ROWS[row][1]
    off = [f"--objective.{name}_weight" for name in LOSSES if name not in losses]
    options = ("--train.checkpoint_every", "222", *(text for name in off for text in (name, "0")))
    train(run, data, "small/avt_avmnist", seed=seed, options=options)
    summary = evaluate(run, data, "--split", "val+test", "--views", "1")
    with (run / "evaluation" / "predictions.csv").open(newline="") as file:
        clips = sorted(csv.DictReader(file), key=lambda clip: clip["id"])
    took = json.loads((run / "seconds.json").read_text())
    hits = {s: "".join(str(int(c[s] == c["label"])) for c in clips) for s in STREAMS}
    return {
        "row": row,
        "seed": seed,
        "seconds": None if took["resumed"] else round(took["seconds"], 1),
        "hits": hits,  # of each clip, in order of ids
        "num_clips": len(clips),
        "ids": summary["ids"],
        "environment": environment(),
    }


def write(results: list[dict]) -> None:
    """The raw results and the table."""
    folder = Path(__file__).parent
    results = merge(folder / "avt.json", results, keys=("row", "seed"))
    rows = {row: [r for r in results if r["row"] == row] for row in ROWS}
    scores = [table_row(ROWS[row][0], found) for row, found in rows.items() if found]
    gaps = [difference(ROWS[row][0], rows[row], rows["plain"]) for row in list(ROWS)[1:]]
    lines = [
        "# AVT's losses on avmnist",
        "",
        f"`make benchmark-avt`; {environments(results)}.",
        "",
        f"Top-1 on {results[0]['num_clips']} clips (val + test), mean (each seed); one AVT, its "
        "streams masked for the last two columns.",
        "",
        "| losses | audio+video | audio alone | video alone | training, s |",
        "|---|---|---|---|---|",
        *scores,
        "",
        "Audio+video minus the plain bottleneck, same clips and seeds: mean of the seeds, 95 % "
        "interval over clips (2000 resamplings), each seed.",
        "",
        "| losses | difference | 95 % | each seed |",
        "|---|---|---|---|",
        *(gap for gap in gaps if gap),
        "",
        f"Seconds are those of the longest training without a break. Ids {results[0]['ids']}.",
    ]
    (folder / "avt.md").write_text("\n".join(lines) + "\n")


def table_row(text: str, found: list[dict]) -> str:
    """A line of the first table."""
    scores = (mean_and_each([right(each, stream).mean() for each in found]) for stream in STREAMS)
    longest = max((each["seconds"] for each in found if each["seconds"]), default=None)
    took = "interrupted" if longest is None else f"{longest:.0f}"
    return f"| {text} | {' | '.join(scores)} | {took} |"


def difference(text: str, found: list[dict], plain: list[dict]) -> str | None:
    """A line of the second table; `None` without a seed that both have."""
    pairs = [(a, b) for a in found for b in plain if a["seed"] == b["seed"]]
    if not pairs:
        return None
    a, b = (
        np.stack([right(each, STREAMS[0]) for each in side]) for side in zip(*pairs, strict=True)
    )
    paired = paired_bootstrap(a.mean(0), b.mean(0), resamplings=2000, seed=0)
    each = " ".join(f"{value:+.3f}" for value in (a - b).mean(1))
    return (
        f"| {text} | {paired.difference:+.3f} | {paired.low:+.3f} to {paired.high:+.3f} | {each} |"
    )


def right(result: dict, stream: str) -> np.ndarray:
    """(n,) 1.0 where a clip was classified rightly."""
    return np.array([float(digit) for digit in result["hits"][stream]])


if __name__ == "__main__":
    main()
