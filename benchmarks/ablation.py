"""A toy ablation: where and how to fuse, on the generated set `demo`.

    make benchmark-ablation       resumable; less than 20 minutes on 2 cores

Writes benchmarks/ablation.json (every run), ablation.md (the table) and ablation.png (the figure).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from runs import ROOT, environment, sightsound

from sightsound.data.synthetic import write_demo

KEPT = ("cell", "seed", "score", "rows", "gflop", "parameters", "seconds", "resumed", "failed")


def main() -> None:
    """Run what is missing, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="2", help="how many, or a list such as 0,4")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmark-runs" / "ablation")
    options = parser.parse_args()
    write_demo(options.output / "clips", num_train=480, num_val=80, num_test=240, seed=0)
    command = ("ablate", str(options.output / "clips"), "--study", "fusion")
    command += ("--config", "ablate_toy", "--seeds", options.seeds)
    sightsound(*command, "--output", str(options.output / "runs"))
    write(options.output / "runs")


def write(folder: Path) -> None:
    """Copies of what the command wrote, without the paths of this machine."""
    here = Path(__file__).parent
    runs = json.loads((folder / "results.json").read_text())
    runs = [{key: run[key] for key in KEPT if key in run} for run in runs]
    content = {"environment": environment(), "runs": runs}
    (here / "ablation.json").write_text(json.dumps(content, indent=1) + "\n")
    table = (folder / "fusion" / "table.md").read_text().splitlines()
    table = [line for line in table if not line.startswith("Command: ")]
    seconds = sum(run["seconds"] for run in runs)
    note = f"`make benchmark-ablation`: {len(runs)} runs in {seconds / 60:.0f} minutes."
    text = "\n".join([*table, note, "", "![Figure](ablation.png)", ""])
    (here / "ablation.md").write_text(text)
    shutil.copy(folder / "fusion" / "figure.png", here / "ablation.png")


if __name__ == "__main__":
    main()
