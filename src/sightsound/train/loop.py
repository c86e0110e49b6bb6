"""The training loop: one loop for every model and objective.

One number, the optimiser step, determines everything: which clips come, how they are cut and
augmented, which branches are dropped, the learning rate. So a run that is killed and resumed
repeats an uninterrupted one bit for bit (on CPU).

How a run starts, in this order:
1. `resume`: the last checkpoint of this run;
2. `train.init`: the weights of another model, as far as they fit;
3. from scratch.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from sightsound.build import OBJECTIVE_FILE
from sightsound.config.settings import RunConfig
from sightsound.data.augment import augment
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import Loader
from sightsound.data.rows import UNLABELLED
from sightsound.data.sampling import pass_seed
from sightsound.evaluation.results import MAIN_SCORE
from sightsound.evaluation.scoring import score_clips
from sightsound.features.cache import FeatureDataset
from sightsound.retrieval.scores import DIRECTIONS_IN_WORDS, score_pairs
from sightsound.train.assemble import Parts, assemble, launch, overfit, with_stored_features
from sightsound.train.batches import step_keys
from sightsound.train.checkpoint import load_checkpoint, save_checkpoint, save_objective
from sightsound.train.directory import check_resumable, find_run, owned, write_run
from sightsound.train.distributed import average_gradients, average_statistics, over_processes
from sightsound.train.log import RunLog, progress_bar
from sightsound.train.schedule import learning_rate
from sightsound.train.skipping import skip, skipped_path, skips
from sightsound.types import Batch
from sightsound.weights.hub import check_sources


@dataclass
class State:
    """How far a run has come; with the weights, all that a checkpoint holds."""

    step: int = 0  # updates done
    best: float | None = None  # score of the best validation
    waited: int = 0  # validations since then


def train(config: RunConfig, *, resume: bool = False, console: Console | None = None) -> Path:
    """The directory of the finished run; its `model/` is what `train.keep` says.

    Raises:
        ValueError: contradictory settings, or data that does not fit them.
        DecodeError: a file cannot be read and `data.bad_files` is `error`.
        FloatingPointError: the loss is no longer finite.
    """
    config = overfit(config) if config.train.overfit else config
    directory = Path(config.output)
    fabric = launch(config.train)
    console = console or Console(stderr=True, quiet=not fabric.is_global_zero)
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(owned(directory))
        checkpoint = find_run(directory, resume=resume)
        if checkpoint is None:
            check_sources(config.train.init)
        parts = assemble(config, fabric, started=checkpoint is not None)
        with progress_bar("features", console) as progress:
            parts = with_stored_features(parts, progress=progress)

        def opened(clips: ClipDataset | FeatureDataset) -> Loader:
            data = config.data
            return stack.enter_context(
                Loader(clips, num_workers=data.num_workers, cache=data.cache)
            )

        loader = opened(parts.train_clips)
        val_loader = opened(parts.val_clips) if parts.val_clips else None
        state = _start(parts, checkpoint)
        log = RunLog(
            directory if fabric.is_global_zero else None,
            total=parts.total,
            first_step=state.step,
            console=console,
            tensorboard=config.train.tensorboard,
        )
        stack.enter_context(log)
        for note in [*parts.notes, parts.describe(state.step)]:
            log.say(note)
        _run(parts, state, loader, val_loader, log)
        log.say(_closing(parts, state, log))
    return directory


def _start(parts: Parts, checkpoint: Path | None) -> State:
    """The state of the run, after restoring `checkpoint`.

    The first process writes what the run's directory says about the run.
    """
    state = State()
    if checkpoint is not None:
        parts.notes.extend(check_resumable(parts.config, checkpoint, manifest=parts.manifest))
        saved = load_checkpoint(
            checkpoint, model=parts.model, objective=parts.objective, optimizer=parts.optimizer
        )
        state = State(saved["step"], saved["best"], saved.get("waited", 0))
    if parts.fabric.is_global_zero:
        write_run(parts.config, parts.manifest, starts=checkpoint is None)
    parts.fabric.barrier()
    return state


def _run(
    parts: Parts, state: State, loader: Loader, val_loader: Loader | None, log: RunLog
) -> None:
    """Every remaining step, with validations and checkpoints where they are due.

    One set of decoding processes serves the whole run and works on during validation.
    """
    settings = parts.config.train
    validate_every = max(1, round(settings.evaluate_every * parts.steps_per_epoch))
    batches = iter(loader.iterate(step_keys(parts, state.step)))
    for step in range(state.step, parts.total):
        if settings.patience and state.waited >= settings.patience:
            log.say(f"no better score in {settings.patience} validations: stopped early")
            return
        started = time.perf_counter()
        loaded = [next(batches) for _ in range(settings.accumulate)]
        waited = time.perf_counter() - started
        usable = [batch for batch in loaded if batch is not None and len(batch)]
        if parts.config.data.bad_files != "error":  # one with more would wait for the others
            usable = usable[: int(over_processes(len(usable), parts.fabric, by="min"))]
        log.problems(loader.problems)
        values = update(parts, usable, step)
        seconds = time.perf_counter() - started
        values["clips_per_second"] = sum(map(len, usable)) / seconds
        values["data_wait"] = waited / seconds
        log.step(step, values)
        state.step = step + 1
        validates = state.step == parts.total or state.step % validate_every == 0
        every = settings.checkpoint_every
        if validates or (every and state.step % every == 0):
            average_statistics(parts.model, parts.fabric)
            if validates and val_loader is not None:
                _validate(parts, state, val_loader, log)
            elif validates:
                _keep(parts, state)
            if parts.fabric.is_global_zero:
                save_checkpoint(
                    Path(parts.config.output) / "checkpoints",
                    state.step,
                    model=parts.model,
                    objective=parts.objective,
                    optimizer=parts.optimizer,
                    state={
                        "best": state.best,
                        "waited": state.waited,
                        "clips": parts.manifest.id_hash,
                    },
                )


def update(parts: Parts, batches: list[Batch], step: int) -> dict[str, float]:
    """Losses and norms of one optimiser step over `batches`, accumulated.

    The step follows the mean over all clips of all passes and processes, however they lie: a pass
    counts by its clips, also where a loss counts something else (the pairs of contrast and
    matching, the masked tokens), which no pass can know of the others.

    Raises:
        FloatingPointError: loss or gradient is not finite; the weights are left as they were.
    """
    settings = parts.config.train
    parts.model.train(not settings.head_only)
    if settings.head_only:  # a linear probe: no statistics of the encoders move
        parts.model.get_submodule("head").train()
    logs = _accumulate(parts, batches, step)
    groups = parts.optimizer.param_groups
    trained = [parameter for group in groups for parameter in group["params"]]
    average_gradients(trained, parts.fabric)
    # Of the mean gradient over devices and passes, so a run does not depend on how a batch is
    # split. The official MBT clips on each device before it averages, and divides by the norm,
    # torch by the norm + 1e-6.
    largest = settings.clip_norm if settings.clip_norm > 0 else math.inf
    logs["gradient_norm"] = float(torch.nn.utils.clip_grad_norm_(trained, largest))
    if not (math.isfinite(logs["loss"]) and math.isfinite(logs["gradient_norm"])):
        ids = [clip for batch in batches for clip in batch.id]
        raise FloatingPointError(
            f"loss {logs['loss']} and gradient norm {logs['gradient_norm']} at step {step} are "
            f"not finite; lower --train.learning_rate, or look at these clips: {', '.join(ids)}"
        )
    logs["learning_rate"] = learning_rate(
        step,
        peak=settings.learning_rate,
        total=parts.total,
        warmup=settings.warmup * parts.total,
        first=settings.first_learning_rate,
        final=settings.final_learning_rate,
    )
    for group in groups:
        group["lr"] = logs["learning_rate"]
    if skips(settings):
        path = skipped_path(settings, seed=parts.config.seed, step=step)
        skip(parts.model, parts.optimizer, path)
    if batches:
        parts.optimizer.step()
    parts.optimizer.zero_grad()
    return logs


def _accumulate(parts: Parts, batches: list[Batch], step: int) -> dict[str, float]:
    """Mean losses over the clips of `batches`, after adding up their gradients."""
    fabric, rank = parts.fabric, parts.fabric.global_rank
    num_clips = sum(map(len, batches))
    mean_clips: float = num_clips
    if parts.config.data.bad_files != "error":  # else every process has as many
        mean_clips = over_processes(num_clips, fabric, by="mean")
    logs: dict[str, float] = {"loss": 0.0}
    for index, batch in enumerate(batches):
        draws = {"seed": parts.config.seed, "step": step, "index": index, "rank": rank}
        generator = torch.Generator(fabric.device)
        generator.manual_seed(pass_seed(**draws, purpose="augment"))
        torch.manual_seed(pass_seed(**draws, purpose="model"))
        batch = parts.encoding(batch.to(fabric.device))
        batch = augment(
            batch,
            generator=generator,
            settings=parts.config.augment,
            front_end=parts.front_end,
        )
        with fabric.autocast():
            loss, values = parts.objective(parts.model, batch, generator=generator)
        fabric.backward(loss / (mean_clips / len(batch)))  # processes are averaged below
        for key, value in {"loss": loss, **values}.items():
            logs[key] = logs.get(key, 0.0) + float(value) / (num_clips / len(batch))
    return logs


def _validate(parts: Parts, state: State, loader: Loader, log: RunLog) -> None:
    """Score the validation clips; keep the model if it is the best so far, or the last counts."""
    config, model = parts.config, parts.model
    size = config.evaluate.batch_size
    if parts.manifest.task == UNLABELLED:
        scores, problems = score_pairs(
            model, parts.objective, loader, batch_size=size, seed=config.seed
        )
    else:
        scores, problems = score_clips(model, loader, batch_size=size)
    log.problems(problems)
    log.validation(state.step, scores)
    name = MAIN_SCORE[parts.manifest.task]
    value = -scores[name] if name == "loss" else scores[name]
    is_best = state.best is None or value > state.best
    state.waited = 0 if is_best else state.waited + 1
    if is_best:
        state.best = value
    if is_best or config.train.keep == "last":
        model.info.provenance[f"val_{name}"] = scores[name]
        _keep(parts, state)
    words = [f"{name} {scores[name]:.3f}"]
    for key, direction in DIRECTIONS_IN_WORDS.items():
        if f"{key}_r1" in scores:  # how often a stream finds the other one
            shares = f"R@1 {scores[f'{key}_r1']:.1%} R@5 {scores[f'{key}_r5']:.1%}"
            words.append(f"{direction} {shares}")
    where = "the same clips" if config.train.overfit else "validation"
    epoch = f"epoch {state.step / parts.steps_per_epoch:.4g}"
    log.say(f"{epoch}: {', '.join(words)} on {where}" + " (best)" * is_best)


def _keep(parts: Parts, state: State) -> None:
    """Save the model as the one that the run gives, and what its losses need beside it."""
    if parts.fabric.is_global_zero:
        directory = Path(parts.config.output)
        parts.model.info.provenance["step"] = state.step
        save_objective(directory / OBJECTIVE_FILE, parts.objective, step=state.step)
        parts.model.save_pretrained(directory / "model")


def _closing(parts: Parts, state: State, log: RunLog) -> str:
    directory, settings = Path(parts.config.output), parts.config.train
    lines = [f"the run is in {directory}, its {settings.keep} model in {directory / 'model'}"]
    if log.num_problems:
        lines.append(f"{log.num_problems} problems with files: {directory / 'problems.csv'}")
    if settings.overfit:
        clips = len(parts.train_clips.rows)
        verdict = "the pipeline learns" if state.best == 1 else "it should have learnt all of them"
        lines.append(f"self-test: {state.best:.0%} of {clips} clips learnt by heart: {verdict}")
    return "\n".join(lines)
