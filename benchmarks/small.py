"""Two small real data sets: audio+video, streams masked, streams trained apart, their late average.

The fused model starts from the two streams trained apart (docs/LOG.md).

    make benchmark-small          resumable; about two hours on 2 cores
    python benchmarks/small.py --data FOLDER --sets drone_av --seeds 0

Writes benchmarks/small.json (raw) and benchmarks/small.md (the table).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from runs import (
    ROOT,
    environment,
    environments,
    evaluate,
    mean_and_each,
    merge,
    seconds,
    train,
)

STREAMS = ("audio", "video", "both")
FUSED_EPOCHS = {"avmnist": "15", "drone_av": "40"}
ROWS = {
    "audio+video": "audio+video (one MBT)",
    "audio alone": "audio alone (the same MBT, pictures masked)",
    "video alone": "video alone (the same MBT, sound masked)",
    "audio model": "audio, trained apart",
    "video model": "video, trained apart",
    "average of both models": "late average of the two trained apart",
}
# One linear SVM on hand-made features, one run; val and test pooled from the separate scores.
SVM = {"avmnist": "A .41, V .415, both .57", "drone_av": "A .72, V .67, both .84"}


def main() -> None:
    """Train and score what is missing, then write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("SIGHTSOUND_TEST_DATA", ROOT.parent / "shared")) / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--sets", nargs="+", default=list(SVM), choices=list(SVM))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark-runs" / "small")
    options = parser.parse_args()
    results = []
    for seed in options.seeds:
        for name in options.sets:
            results.append(one(name, options.data / name, options.output / name, seed=seed))
            write(results)


def one(name: str, data: Path, folder: Path, *, seed: int) -> dict:
    """Three trainings and one evaluation of one set with one seed."""
    runs = {stream: folder / f"{stream}-{seed}" for stream in STREAMS}
    pair = [str(runs[stream] / "model") for stream in ("audio", "video")]
    fused = ("--train.epochs", FUSED_EPOCHS[name], "--init", pair[0], "--init", pair[1])
    for stream, run in runs.items():
        options = fused if stream == "both" else ("--model.modalities", json.dumps([stream]))
        train(run, data, f"small/{name}", seed=seed, options=options)
    late = ("--late", *pair)
    summary = evaluate(runs["both"], data, "--split", "val+test", "--views", "1", *late)
    return {
        "set": name,
        "seed": seed,
        "seconds": {stream: round(seconds(run), 1) for stream, run in runs.items()},
        "rows": summary["rows"],
        "ids": summary["ids"],
        "verdict": summary["verdict"],
        "environment": environment(),
    }


def write(results: list[dict]) -> None:
    """The raw results and the table."""
    folder = Path(__file__).parent
    results = merge(folder / "small.json", results, keys=("set", "seed"))
    lines = ["# Small real data sets", "", f"`make benchmark-small`; {environments(results)}.", ""]
    for name in dict.fromkeys(result["set"] for result in results):
        lines += table(name, [result for result in results if result["set"] == name])
    (folder / "small.md").write_text("\n".join(lines) + "\n")


def table(name: str, results: list[dict]) -> list[str]:
    """Markdown lines: top-1 on val and test pooled, mean and each seed."""
    seeds = ", ".join(str(result["seed"]) for result in results)
    number = results[0]["rows"]["audio+video"]["num_clips"]
    lines = [f"## {name}", "", f"Top-1 on {number} clips (val + test), seeds {seeds}.", ""]
    lines += ["| | mean (each seed) |", "|---|---|"]
    for row, text in ROWS.items():
        values = [result["rows"][row]["top1"] for result in results if row in result["rows"]]
        if values:
            lines.append(f"| {text} | {mean_and_each(values)} |")
    lines.append(f"| linear SVM on hand-made features | {SVM[name]} |")
    times = [(stream, s) for result in results for stream, s in result["seconds"].items()]
    times = ", ".join(f"{stream} {s:.0f} s" for stream, s in dict(sorted(times)).items())
    return [*lines, "", f"Longest training: {times}. Ids {results[0]['ids']}.", ""]


if __name__ == "__main__":
    main()
