"""Commands of a benchmark: each is run once; what is finished is kept, what was killed resumes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def sightsound(*arguments: str) -> None:
    """Run one command of the package, echoed first."""
    print("sightsound", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "sightsound", *arguments], check=True)


def train(directory: Path, data: Path, recipe: str, *, seed: int, options: tuple = ()) -> None:
    """A finished run in `directory`; training seconds go to `seconds.json`."""
    if (directory / "seconds.json").is_file():
        return
    resume = ("--resume",) if (directory / "config.yaml").is_file() else ()
    started = time.perf_counter()
    command = ("train", str(data), "--config", recipe, "--output", str(directory))
    sightsound(*command, "--seed", str(seed), *options, *resume)
    content = {"seconds": time.perf_counter() - started, "resumed": bool(resume)}
    (directory / "seconds.json").write_text(json.dumps(content))


def evaluate(directory: Path, data: Path, *options: str, name: str = "evaluation") -> dict:
    """The summary of `sightsound evaluate`, computed once."""
    summary = directory / name / "summary.json"
    if not summary.is_file():
        command = ("evaluate", str(directory), str(data), "--output", str(summary.parent))
        sightsound(*command, *options)
    return json.loads(summary.read_text())


def seconds(directory: Path) -> float:
    """Wall seconds of the training in `directory`."""
    return json.loads((directory / "seconds.json").read_text())["seconds"]


def merge(file: Path, results: list[dict], *, keys: tuple[str, str]) -> list[dict]:
    """`results` with those that `file` already held for other `keys`; written to `file`."""
    old = json.loads(file.read_text()) if file.is_file() else []
    found = {tuple(result[key] for key in keys): result for result in [*old, *results]}
    merged = [found[key] for key in sorted(found)]
    file.write_text(json.dumps(merged, indent=1) + "\n")
    return merged


def environments(results: list[dict]) -> str:
    """Where the results come from: each different environment once."""
    return "; ".join(dict.fromkeys(result["environment"] for result in results))


def environment() -> str:
    """One line: commit, hardware, versions."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"commit {commit or 'unknown'}; {_processor()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )


def mean_and_each(values: list[float]) -> str:
    """`.912 (.905 .910 .921)`."""
    each = " ".join(f"{value:.3f}" for value in values)
    return f"**{sum(values) / len(values):.3f}** ({each})"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
