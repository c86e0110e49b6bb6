"""The generated sets over three seeds: does fusion use both streams, and what can late fusion do?

    make benchmark-demo           resumable; about half an hour on 2 cores

Writes benchmarks/demo.json (raw) and benchmarks/demo.md (the table).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runs import ROOT, environment, environments, evaluate, mean_and_each, merge, train

from sightsound.data.synthetic import write_demo

NUMBERS = {"demo": (480, 80, 240), "xor": (800, 80, 240)}
RECIPES = {"demo": "demo", "xor": "demo_xor"}
# {row of the table: options of the training}
MODELS = {
    "bottleneck fusion": (),
    "late fusion in one model": ("--model.fusion_layer", "3"),
    "audio": ("--model.modalities", '["audio"]', "--augment.drop_video", "0"),
    "video": ("--model.modalities", '["video"]', "--augment.drop_audio", "0"),
}


def main() -> None:
    """Train and score what is missing, then write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(NUMBERS), choices=list(NUMBERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark-runs" / "demo")
    options = parser.parse_args()
    results = []
    for kind in options.kinds:
        for seed in options.seeds:
            results.append(one(kind, options.output, seed=seed))
            write(results)


def one(kind: str, folder: Path, *, seed: int) -> dict:
    """Every model on one generated set: test scores by row of the table."""
    clips = folder / f"clips-{kind}-{seed}"
    num_train, num_val, num_test = NUMBERS[kind]
    write_demo(clips, num_train=num_train, num_val=num_val, num_test=num_test, seed=seed, kind=kind)
    scores = {}
    for name, extra in MODELS.items():
        run = folder / f"{kind}-{name.replace(' ', '_')}-{seed}"
        train(run, clips, RECIPES[kind], seed=seed, options=extra)
        for row, values in evaluate(run, clips, "--split", "test", "--views", "1")["rows"].items():
            scores[name if len(name.split()) == 1 else f"{name}: {row}"] = values["top1"]
    pair = [str(folder / f"{kind}-{stream}-{seed}") for stream in ("audio", "video")]
    summary = evaluate(
        folder / f"{kind}-bottleneck_fusion-{seed}",
        clips,
        "--late",
        *pair,
        "--views",
        "1",
        name="late",
    )
    scores["average of the two trained apart"] = summary["rows"]["average of both models"]["top1"]
    return {"kind": kind, "seed": seed, "scores": scores, "environment": environment()}


def write(results: list[dict]) -> None:
    """The raw results and the tables."""
    folder = Path(__file__).parent
    results = merge(folder / "demo.json", results, keys=("kind", "seed"))
    lines = ["# Generated sets", "", f"`make benchmark-demo`; {environments(results)}.", ""]
    for kind in dict.fromkeys(result["kind"] for result in results):
        chosen = [result for result in results if result["kind"] == kind]
        seeds = ", ".join(str(result["seed"]) for result in chosen)
        lines += [f"## {kind}", "", f"Top-1 on {NUMBERS[kind][2]} test clips, seeds {seeds}.", ""]
        lines += ["| | mean (each seed) |", "|---|---|"]
        for row in chosen[0]["scores"]:
            values = [result["scores"][row] for result in chosen]
            lines.append(f"| {row} | {mean_and_each(values)} |")
        lines.append("")
    (folder / "demo.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
