"""Work of one clip: the compute half of MBT's figure 3, self-attention added, and AVT's numbers.

    make benchmark-flops          counted on the meta device, a minute on one core

Writes benchmarks/flops.json and flops.md, and docs/images/fusion-flops.png.
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from runs import ROOT, environment

from sightsound.config.load import load_config
from sightsound.flops import Work

RECIPE = "mbt/paper-audioset"
LAYERS = range(0, 13, 2)
AVT = "avt/paper-vggsound"
VIT = {"model.video_backbone": "vit", "front_end.video.num_frames": 8}
AVT_ROWS = {  # {row: (changes of the recipe, what is published)}
    "UniFormer-B, 8 frames": ({"model": {"name": "uniformer"}, "frames": 8}, "40.25"),
    "UniFormer-B, 16 frames": ({"model": {"name": "uniformer"}}, "96.75"),
    "UniFormer-B, 32 frames": ({"model": {"name": "uniformer"}, "frames": 32}, "259"),
    "AST-B, stride 10": ({"model": {"name": "ast"}}, "131"),
    "eight images, ViT-B": ({"model": {"name": "one_stream"}, "frames": 8}, "140"),
    "AVT, 16 frames, 3 fusion layers": ({"model.fusion_depth": 3}, "269"),
    "AVT, 16 frames, 4 fusion layers": ({}, ""),
    "AVT, 32 frames, 3 fusion layers": ({"model.fusion_depth": 3, "frames": 32}, ""),
    "AVT, 32 frames, 4 fusion layers": ({"frames": 32}, ""),
    "AST, eight images, 3 fusion layers": (VIT | {"model.fusion_depth": 3}, "348 (for MBT)"),
    "AST, eight images, 4 fusion layers": (VIT, ""),
}
STYLES = {
    "cross_attention": ("cross-attention", "#d9822b", "s"),
    "self_attention": ("self-attention", "#4c9a6a", "^"),
    "bottleneck": ("bottleneck, 4 tokens", "#3b7dd8", "o"),
}


def main() -> None:
    """Count, then write numbers, table and picture."""
    found = {fusion: {layer: gigaflops(fusion, layer) for layer in LAYERS} for fusion in STYLES}
    folder = Path(__file__).parent
    avt = {name: multiply_adds(changes) for name, (changes, _) in AVT_ROWS.items()}
    values = {"recipe": RECIPE, "gflops": found, "avt_multiply_adds": avt}
    values |= {"environment": environment()}
    (folder / "flops.json").write_text(json.dumps(values, indent=1) + "\n")
    (folder / "flops.md").write_text(table(found) + avt_table(avt))
    picture(found, ROOT / "docs" / "images" / "fusion-flops.png")


def gigaflops(fusion: str, layer: int) -> float:
    """Of one clip, forward."""
    overrides = {"model.fusion": fusion, "model.fusion_layer": layer}
    config = load_config(RECIPE, overrides=overrides)
    return Work.of(config).total.flops / 1e9


def table(found: dict[str, dict[int, float]]) -> str:
    """Markdown: a row for each strategy."""
    lines = ["# Work by fusion strategy and layer", ""]
    lines += [
        f"`make benchmark-flops`: GFLOP of one clip, recipe `{RECIPE}`, 527 classes.",
        "",
    ]
    lines += ["| fusion from layer | " + " | ".join(map(str, LAYERS)) + " |"]
    lines += ["|---" * (len(LAYERS) + 1) + "|"]
    for fusion, values in found.items():
        numbers = " | ".join(f"{value:.1f}" for value in values.values())
        lines.append(f"| {STYLES[fusion][0]} | {numbers} |")
    return "\n".join([*lines, "", "Layer 12 is late fusion, the same model for all.", ""])


def multiply_adds(changes: dict) -> float:
    """Of matrix products and convolutions, in 1e9, of one clip with 309 classes."""
    names = {"frames": "front_end.video.num_frames"}
    overrides = {names.get(name, name): value for name, value in changes.items()}
    config = load_config(AVT, overrides=overrides)
    return Work.of(config, heads={"label": 309}).total.products / 2e9


def avt_table(found: dict[str, float]) -> str:
    """Markdown: a row for each model."""
    lines = ["", "# Work of AVT", ""]
    lines += [
        "Giga multiply-adds of matrix products and convolutions, one clip, one view: recipe "
        f"`{AVT}`, 1024 x 128 log-mel, 309 classes. Published: UniFormer's authors, for one of "
        "four views; the others are table 3 of the AVT paper.",
        "",
        "| | counted | published |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {value:.1f} | {AVT_ROWS[name][1]} |" for name, value in found.items()]
    return "\n".join([*lines, ""])


def picture(found: dict[str, dict[int, float]], path: Path) -> None:
    """Layer across, GFLOP up, a line for each strategy."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for fusion, values in found.items():
        label, colour, marker = STYLES[fusion]
        axes.plot(list(values), list(values.values()), color=colour, marker=marker, label=label)
    axes.set_xticks(list(LAYERS))
    axes.set_xlabel("fusion from layer (0: early, 12: late)")
    axes.set_ylabel("GFLOP per clip")
    axes.set_ylim(0, 580)
    axes.set_title("MBT-B, 8 frames of 224 x 224 and 8 s of sound", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
