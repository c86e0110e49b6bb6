"""`sightsound doctor`: how long 2,000 small clips take, and what it finds of planted faults.

    make benchmark-doctor    five minutes on 2 cores; most of it writes the clips

Processor seconds are those of the command and its decode processes together; where other work
shares the machine, they say more than the time on the clock.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from runs import ROOT, environment, sightsound

from sightsound.data.synthetic import write_demo

sys.path.insert(0, str(ROOT / "tests"))
from planted_faults import plant  # noqa: E402

NUM_WORKERS = 2


def main() -> None:
    """Measure, then write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--faults", type=int, default=10, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clean = write_demo(
            Path(folder) / "clean", num_train=options.clips - 400, num_val=200, num_test=200
        )
        speed = examined(clean, Path(folder) / "clean-report")
        manifest, planted = plant(Path(folder) / "planted", number=options.faults, num_clean=200)
        examined(manifest, Path(folder) / "planted-report")
        found = findings(Path(folder) / "planted-report")
    speed |= {"clips": options.clips, "workers": NUM_WORKERS}
    table = {
        kind: {
            "planted": len(planted.get(kind, ())),
            "found": len(found[kind] & planted.get(kind, set())),
            "false": len(found[kind] - planted.get(kind, set())),
        }
        for kind in [*planted, *(kind for kind in found if kind not in planted)]
    }
    write(speed, table)


def examined(manifest: Path, output: Path) -> dict:
    """Seconds on the clock and of the processors, and what was found of which kind."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    options = ("--num_workers", str(NUM_WORKERS), "--output", str(output))
    sightsound("doctor", str(manifest), *options)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    numbers = Counter({kind: len(ids) for kind, ids in findings(output).items()})
    size = (output / "report.html").stat().st_size
    return {"seconds": seconds, "processor": processor, "findings": dict(numbers), "page": size}


def findings(folder: Path) -> dict[str, set[str]]:
    """{kind: ids} of the clips; findings about the whole set are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    with (folder / "findings.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["id"]:
                found[line["finding"]].add(line["id"])
    return found


def write(speed: dict, table: dict) -> None:
    """Raw numbers, and the tables."""
    folder, where = Path(__file__).parent, environment()
    content = {"speed": speed, "planted": table, "environment": where, "load": os.getloadavg()}
    (folder / "doctor.json").write_text(json.dumps(content, indent=1) + "\n")
    alarms = sum(speed["findings"].values())
    lines = [
        "# doctor",
        "",
        f"`make benchmark-doctor`; {where}; load of the machine {os.getloadavg()[1]:.1f}.",
        "",
        f"{speed['clips']:,} clips (2 s, 64x64, generated) with {speed['workers']} workers: "
        f"**{speed['seconds']:.0f} s** on the clock, {speed['processor']:.0f} s of the processors; "
        f"{alarms} findings where there is nothing to find.",
        "",
        "Faults planted in clips beside 200 clean ones:",
        "",
        "| finding | planted | found | false alarms |",
        "|---|---|---|---|",
    ]
    lines += [f"| {k} | {n['planted']} | {n['found']} | {n['false']} |" for k, n in table.items()]
    (folder / "doctor.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
