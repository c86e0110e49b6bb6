"""The demonstration: clips, training, scores, one prediction and two pictures, in one go.

Every part is the one that users' own data goes through; only the clips are made up.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from sightsound.config.load import load_config
from sightsound.data.synthetic import SyntheticClip, plan, write_clip, write_demo
from sightsound.evaluation.evaluate import evaluate_saved
from sightsound.evaluation.results import Evaluation
from sightsound.figures.clips import clip_picture, save_picture
from sightsound.figures.confusion import confusion_figure
from sightsound.metrics.scores import confusion
from sightsound.predict import BOTH, Prediction, Predictor, as_table
from sightsound.train.loop import train

NUM_CLIPS = {"num_train": 480, "num_val": 80, "num_test": 240}
FRESH = 7  # of the eight classes the last: a combination, which neither stream tells alone

INTRODUCTION = """\
Eight classes of short videos: two are told apart by sound alone, two by pictures
alone, four only by both together. One stream alone can reach 50 % at best."""


def run_demo(
    output: Path,
    *,
    seed: int = 0,
    numbers: dict[str, int] | None = None,
    overrides: dict[str, object] | None = None,
) -> Prediction:
    """Everything once, below `output`; says what happens and where it lies.

    An interrupted demonstration goes on where it stopped. `numbers` of clips and `overrides` of the
    recipe (dotted names) make it smaller.

    Raises:
        ValueError: `output` holds something else, or another demonstration.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(INTRODUCTION)
    _step(console, 1, f"writing clips to {output / 'clips'}")
    clips = write_clips(output / "clips", numbers or NUM_CLIPS, seed=seed, console=console)
    _step(console, 2, "training a tiny MBT")
    here = {"data.path": str(clips.absolute()), "output": str(output / "run"), "seed": seed}
    config = load_config("demo", overrides=(overrides or {}) | here)
    run = train(config, resume=(output / "run" / "config.yaml").is_file())
    _step(console, 3, "scoring the test clips: both streams, then one of them hidden")
    evaluation = evaluate_saved(run, num_workers=load_config(run).data.num_workers)
    console.print(evaluation.text(), markup=False)
    _step(console, 4, "looking at a clip that was never seen before")
    clip = fresh_clip(output, seed=seed)
    predictor = Predictor(run)
    prediction = predictor.predict(output / clip.path)
    console.print(as_table([prediction]).rstrip(), markup=False)
    right = "right" if prediction.label == clip.label else "wrong"
    console.print(f"It shows {clip.label}: the model is {right}.")
    _draw(output / "pictures", evaluation, predictor, prediction, truth=clip.label)
    console.print(closing(output), markup=False)
    return prediction


def _step(console: Console, number: int, text: str) -> None:
    console.print(f"\n[bold]{number}. {text}[/bold]")


def write_clips(folder: Path, numbers: dict[str, int], *, seed: int, console: Console) -> Path:
    """The manifest of a generated set, with a bar while it is written."""
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("clips", total=None)
        return write_demo(
            folder,
            seed=seed,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            num_train=numbers["num_train"],
            num_val=numbers["num_val"],
            num_test=numbers["num_test"],
        )


def fresh_clip(folder: Path, *, seed: int) -> SyntheticClip:
    """A new clip of a class that needs both streams, written to `folder`/new_clip.mp4."""
    clips = list(plan("demo", numbers={"new": FRESH + 1}, seed=seed + 1))
    clip = dataclasses.replace(clips[FRESH], path="new_clip.mp4")
    write_clip(clip, folder)
    return clip


def _draw(
    folder: Path,
    evaluation: Evaluation,
    predictor: Predictor,
    prediction: Prediction,
    *,
    truth: str,
) -> None:
    scored = evaluation.streams[BOTH]
    counts = confusion(scored.logits, scored.targets)
    labels = next(iter(evaluation.labels.values()))
    figure = confusion_figure(counts, labels, title="Test clips, both streams")
    save_picture(figure, folder / "confusion.png")
    clip = predictor.clips(prediction.id, views=1)[0]
    right = prediction.label == truth
    title = truth + (", recognised" if right else f", taken for {prediction.label}")
    clip_picture(folder / "clip.png", clip, predictor.front_end, prediction.scores, title=title)


def closing(output: Path) -> str:
    """Where everything lies and what to do next."""
    return f"""
Everything is in {output}:
  clips/           the generated videos and manifest.csv
  run/             configuration, log, checkpoints; run/model is the model
  run/evaluation/  scores, classes and predictions as tables
  pictures/        confusion.png: what is taken for what
                   clip.png: frames, sound and scores of new_clip.mp4

What it looks at and listens to, and everything on one page:
  sightsound explain {output / "run"} {output / "new_clip.mp4"} --output {output / "explained"}
  sightsound probe {output / "run"}
  sightsound report {output / "run"}

Your own videos, one folder per class:
  sightsound train videos/ --config first --output runs/first
  sightsound evaluate runs/first
  sightsound predict some.mp4 --model runs/first"""
