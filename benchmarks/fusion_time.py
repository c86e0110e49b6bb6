"""Wall time of bottleneck fusion over late fusion at ViT-B size, in pairs.

    make benchmark-fusion_time    some minutes; best on an otherwise idle machine

Each pair times both models one after the other, in alternating order; the median of the ratios
stands in benchmarks/fusion_time.md, with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from runs import environment

from sightsound.models.mbt import MBT

PAPER = dict(heads={"label": 527}, bottleneck_tokens=4, audio_channels=3)
LATE, EARLY, MID = 12, 0, 8


def main() -> None:
    """Time, then write numbers and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    late = model(LATE, options.device)
    rows = {}
    for layer in (MID, EARLY):
        fused = model(layer, options.device)
        for name, step in (("forward", forward), ("training step", training_step)):
            rows[f"{name}, fusion from layer {layer}"] = compared(
                lambda m=fused, f=step: f(m), lambda f=step: f(late), pairs=options.pairs
            )
        del fused
    write(rows, device=options.device)


def model(layer: int, device: str) -> MBT:
    """Paper size, fp32, fusion from `layer`."""
    torch.manual_seed(0)
    return MBT(**PAPER, fusion_layer=layer).to(device)


def forward(mbt: MBT) -> None:
    """One clip without gradients."""
    mbt.eval()
    with torch.inference_mode():
        mbt(mbt.example_inputs())


def training_step(mbt: MBT) -> None:
    """Forward and backward pass of one clip."""
    mbt.train()
    mbt(mbt.example_inputs()).logits.sum().backward()
    mbt.zero_grad(set_to_none=True)


def compared(
    fused: Callable[[], None], late: Callable[[], None], *, pairs: int
) -> dict[str, list[float]]:
    """Seconds of both for each pair, after one unmeasured pair."""
    seconds: dict[str, list[float]] = {"fused": [], "late": []}
    for index in range(pairs + 1):
        order = [("fused", fused), ("late", late)]
        for name, call in order if index % 2 else reversed(order):
            taken = timed(call)
            if index:
                seconds[name].append(taken)
    return seconds


def timed(call: Callable[[], None]) -> float:
    """Wall seconds of `call`, the device's work included."""
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def write(rows: dict[str, dict[str, list[float]]], *, device: str) -> None:
    """Raw seconds, and the table of ratios."""
    folder = Path(__file__).parent
    values = {"rows": rows, "device": device, "threads": torch.get_num_threads()}
    values["environment"] = environment()
    (folder / "fusion_time.json").write_text(json.dumps(values, indent=1) + "\n")
    lines = ["# Wall time of bottleneck fusion over late fusion", ""]
    setting = f"{device}, {values['threads']} threads, fp32, one clip, ViT-B, 8 frames, 8 s"
    lines += [f"`make benchmark-fusion_time`; {values['environment']}; {setting}.", ""]
    lines += ["| | bottleneck s | late s | ratio: median (quartiles) |", "|---|---|---|---|"]
    for name, seconds in rows.items():
        fused, late = (np.array(seconds[key]) for key in ("fused", "late"))
        low, middle, high = np.percentile(fused / late, (25, 50, 75))
        medians = f"{np.median(fused):.2f} | {np.median(late):.2f}"
        lines.append(f"| {name} | {medians} | **{middle:.3f}** ({low:.3f} to {high:.3f}) |")
    (folder / "fusion_time.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
