"""MAFnet on frozen MobileNetV2 and YAMNet: two small real data sets and what has to be beaten.

    make benchmark-mafnet         resumable; about ten minutes on 2 cores
    python benchmarks/mafnet.py --data FOLDER --sets drone_av --seeds 0

FOLDER holds the data sets and weights/. Features are extracted once, timed, and checked. Every seed
trains MAFnet, each stream apart and a linear probe, all with one recipe. Writes
benchmarks/mafnet.json (raw) and benchmarks/mafnet.md (the tables).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import time
from pathlib import Path

from runs import ROOT, environment, environments, mean_and_each, merge, seconds, sightsound, train

ENCODERS = {
    "video": "mobilenet_v2:{weights}/mobilenet_v2_1.0_224_quant_dequant_fp32.npz",
    "audio": "yamnet:{weights}/yamnet_dequant_fp32.npz",
}
ROWS = {
    "audio+video": "audio+video (MAFnet)",
    "audio alone": "audio alone (the same MAFnet, pictures masked)",
    "video alone": "video alone (the same MAFnet, sound masked)",
    "audio model": "audio, trained apart",
    "video model": "video, trained apart",
    "average of both models": "late average of the two trained apart",
    "linear probe": "linear probe on the means of the same features",
}
# One linear SVM on hand-made features, one run: {stream: (val, test)}; pooled by number of clips.
SVM = {
    "drone_av": {"audio": (0.61, 0.80), "video": (0.75, 0.61), "both": (0.90, 0.80)},
    "avmnist": {"audio": (0.44, 0.41), "video": (0.41, 0.39), "both": (0.61, 0.53)},
}


def main() -> None:
    """Extract, train and score what is missing, then write the tables of what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("SIGHTSOUND_TEST_DATA", ROOT.parent / "shared")) / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--sets", nargs="+", default=list(SVM), choices=list(SVM))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark-runs" / "mafnet")
    options = parser.parse_args()
    results = []
    for name in options.sets:
        folder = options.output / name
        extracted = extraction(name, options.data, folder)
        for seed in options.seeds:
            result = one(name, options.data, folder, seed=seed)
            results.append(result | {"extraction": extracted})
            write(results)


def encoders(data: Path, prefix: str) -> list[str]:
    """Options that name both encoders' files."""
    names = {m: spec.format(weights=data / "weights") for m, spec in ENCODERS.items()}
    return [text for m, spec in names.items() for text in (f"--{prefix}{m}_encoder", spec)]


def extraction(name: str, data: Path, folder: Path) -> dict[str, float]:
    """Seconds for the features of all clips and for computing them again to compare."""
    file = folder / "extraction.json"
    if not file.is_file():
        command = ["extract", str(data / name), "--config", f"mafnet/{name}"]
        command += [*encoders(data, ""), "--output", str(folder / "features")]
        before = len(list((folder / "features").glob("*/*.safetensors")))
        wall, cpu = timed(*command)
        found = {"clips": len(list((folder / "features").glob("*/*.safetensors"))) - before}
        found |= {"seconds": wall, "cpu_seconds": cpu}
        found["verify_seconds"], found["verify_cpu_seconds"] = timed(*command, "--verify")
        file.write_text(json.dumps({key: round(value, 1) for key, value in found.items()}))
    return json.loads(file.read_text())


def timed(*command: str) -> tuple[float, float]:
    """Seconds and seconds of processors that a command took, its children's included."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    sightsound(*command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu


def one(name: str, data: Path, folder: Path, *, seed: int) -> dict:
    """MAFnet and its baselines on one set with one seed."""
    run = folder / f"run-{seed}"
    options = [*encoders(data, "front_end.features."), "--data.features", str(folder / "features")]
    train(run, data / name, f"mafnet/{name}", seed=seed, options=tuple(options))
    if not (run / "baselines.json").is_file():
        sightsound("train", "--output", str(run), "--resume", "--baselines")
    found = json.loads((run / "baselines.json").read_text())
    return {
        "set": name,
        "seed": seed,
        "seconds": round(seconds(run), 1),
        "rows": {row: values["top1"] for row, values in found["rows"].items()},
        "by_split": by_split(run),
        "num_clips": found["num_clips"],
        "ids": found["ids"],
        "verdict": found["verdict"],
        "environment": environment(),
    }


def by_split(run: Path) -> dict[str, dict[str, float]]:
    """{row: {split: share of right clips}}, from the predictions of a run and of its probe."""
    found = _right(run / "evaluation")
    probe = _right(run / "baselines" / "linear_probe" / "evaluation")
    return found | {"linear probe": probe["audio+video"]}


def _right(folder: Path) -> dict[str, dict[str, float]]:
    with (folder / "predictions.csv").open(newline="") as file:
        clips = list(csv.DictReader(file))
    splits = sorted({clip["id"].split("/")[0] for clip in clips})
    shares: dict[str, dict[str, float]] = {}
    for row in [row for row in ROWS if row in clips[0]]:
        for split in splits:
            hits = [c[row] == c["label"] for c in clips if c["id"].startswith(f"{split}/")]
            shares.setdefault(row, {})[split] = sum(hits) / len(hits)
    return shares


def write(results: list[dict]) -> None:
    """The raw results and the tables."""
    folder = Path(__file__).parent
    results = merge(folder / "mafnet.json", results, keys=("set", "seed"))
    lines = ["# MAFnet on small real data sets", ""]
    lines += [f"`make benchmark-mafnet`; {environments(results)}.", ""]
    for name in dict.fromkeys(result["set"] for result in results):
        lines += table(name, [result for result in results if result["set"] == name])
    (folder / "mafnet.md").write_text("\n".join(lines).rstrip() + "\n")


def table(name: str, results: list[dict]) -> list[str]:
    """Markdown lines: top-1 on val and test pooled, mean and each seed, and on either."""
    seeds = ", ".join(str(result["seed"]) for result in results)
    first = results[0]
    lines = [
        f"## {name}",
        "",
        f"Top-1 on {first['num_clips']} clips (val + test), seeds {seeds}.",
        "",
    ]
    lines += ["| | mean (each seed) | val | test |", "|---|---|---|---|"]
    for row, text in ROWS.items():
        values = [result["rows"][row] for result in results]
        parts = [mean([r["by_split"][row][split] for r in results]) for split in ("val", "test")]
        lines.append(f"| {text} | {mean_and_each(values)} | {parts[0]:.3f} | {parts[1]:.3f} |")
    for stream, (val, test) in SVM[name].items():
        lines.append(f"| linear SVM on hand-made features, {stream} | | {val:.2f} | {test:.2f} |")
    done = first["extraction"]
    speed = done["clips"] / done["seconds"]
    return [
        *lines,
        "",
        f"Training of MAFnet from features: {max(r['seconds'] for r in results):.0f} s at most. "
        f"Features of {done['clips']:.0f} clips: {done['seconds']:.0f} s, {speed:.1f} clips/s, "
        f"{done['cpu_seconds']:.0f} s of processors; computed again and found equal: "
        f"{done['verify_seconds']:.0f} s. Ids {first['ids']}.",
        "",
    ]


def mean(values: list[float]) -> float:
    """Of some numbers."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
