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

import itertools
import json
import math
import time
from contextlib import ExitStack
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
from sightsound.files import write_whole
from sightsound.retrieval.scores import DIRECTIONS_IN_WORDS, score_pairs
from sightsound.train.assemble import Parts, assemble, launch, overfit, with_stored_features
from sightsound.train.batches import step_keys, timed
from sightsound.train.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    save_objective,
)
from sightsound.train.directory import (
    begin_run,
    check_resumable,
    find_run,
    owned,
    write_config,
)
from sightsound.train.distributed import average_gradients, average_statistics
from sightsound.train.log import RunLog, progress_bar
from sightsound.train.schedule import learning_rate
from sightsound.train.skipping import skip, skipped_path, skips
from sightsound.types import Batch, Problem
from sightsound.weights.hub import check_sources


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
        clips = (parts.train_clips, parts.val_clips)
        loaders = [stack.enter_context(_loader(parts, c)) if c else None for c in clips]
        state = _start(parts, checkpoint)
        log = RunLog(
            directory if fabric.is_global_zero else None,
            total=parts.total,
            first_step=state["step"],
            console=console,
            tensorboard=config.train.tensorboard,
        )
        stack.enter_context(log)
        for note in [*parts.notes, parts.describe(state["step"])]:
            log.say(note)
        _run(parts, state, *loaders, log, directory)
        log.say(_closing(parts, state, log, directory))
    return directory


def _loader(parts: Parts, clips: ClipDataset) -> Loader:
    data = parts.config.data
    return Loader(clips, num_workers=data.num_workers, cache=data.cache)


def _start(parts: Parts, checkpoint: Path | None) -> dict:
    """`step` updates done so far and the `best` score, after restoring `checkpoint`.

    The first process writes what the run's directory says about the run.
    """
    directory = Path(parts.config.output)
    state = {"step": 0, "best": None, "waited": 0}
    changes: list[str] = []
    if checkpoint is not None:
        changes = check_resumable(parts.config, checkpoint, manifest=parts.manifest)
        state |= load_checkpoint(
            checkpoint, model=parts.model, objective=parts.objective, optimizer=parts.optimizer
        )
    parts.notes.extend(changes)
    if parts.fabric.is_global_zero:
        if checkpoint is None:
            begin_run(parts.config)
        write_config(parts.config)
        write_whole(directory / "labels.json", json.dumps(parts.manifest.labels, indent=1))
    parts.fabric.barrier()
    return state


def _run(
    parts: Parts,
    state: dict,
    loader: Loader,
    val_loader: Loader | None,
    log: RunLog,
    directory: Path,
) -> None:
    """Every remaining step, with validations and checkpoints where they are due.

    One set of decoding processes serves the whole run and works on during validation.
    """
    settings = parts.config.train
    validate_every = max(1, round(settings.evaluate_every * parts.steps_per_epoch))
    batches = timed(loader.iterate(step_keys(parts, state["step"])))
    for step in range(state["step"], parts.total):
        if settings.patience and state["waited"] >= settings.patience:
            log.say(f"no better score in {settings.patience} validations: stopped early")
            return
        started = time.perf_counter()
        loaded = list(itertools.islice(batches, settings.accumulate))
        usable = _agreed(parts, [b for b, _ in loaded if b is not None and len(b)])
        log.problems(loader.problems)
        values = update(parts, usable, step)
        seconds = time.perf_counter() - started
        values["clips_per_second"] = sum(map(len, usable)) / seconds
        values["data_wait"] = sum(waited for _, waited in loaded) / seconds
        log.step(step, values)
        state["step"] = step + 1
        validates = state["step"] == parts.total or state["step"] % validate_every == 0
        every = settings.checkpoint_every
        if validates or (every and state["step"] % every == 0):
            average_statistics(parts.model, parts.fabric)
            if validates:
                _validate(parts, state, val_loader, log, directory)
            _save(parts, state, directory)


def _agreed(parts: Parts, batches: list[Batch]) -> list[Batch]:
    """As many `batches` as every process has: a process with more would wait for the others."""
    if _are_alike(parts):
        return batches
    count = torch.tensor(len(batches), device=parts.fabric.device)
    return batches[: int(parts.fabric.all_reduce(count, reduce_op="min"))]


def _mean_clips(parts: Parts, num_clips: int) -> float:
    """Clips of a step, of which this process has `num_clips`, as the mean over processes.

    Gradients are averaged over processes, so a sum over clips divided by this becomes their mean.
    """
    if _are_alike(parts):
        return num_clips
    count = torch.tensor(float(num_clips), device=parts.fabric.device)
    return float(parts.fabric.all_reduce(count, reduce_op="mean"))


def _are_alike(parts: Parts) -> bool:
    """Whether every process has as many clips as this one."""
    return parts.fabric.world_size == 1 or parts.config.data.bad_files == "error"


def update(parts: Parts, batches: list[Batch], step: int) -> dict[str, float]:
    """Losses and norms of one optimiser step over `batches`, accumulated.

    The step follows the mean over all clips of all passes and processes, however they lie: a pass
    counts by its clips, also where a loss counts something else (the pairs of contrast and
    matching, the hidden places), which no pass can know of the others.

    Raises:
        FloatingPointError: loss or gradient is not finite; the weights are left as they were.
    """
    settings, seed, rank = parts.config.train, parts.config.seed, parts.fabric.global_rank
    _set_mode(parts)
    num_clips = sum(map(len, batches))
    mean_clips = _mean_clips(parts, num_clips)
    logs: dict[str, float] = {"loss": 0.0}
    for index, batch in enumerate(batches):
        generator = torch.Generator(parts.fabric.device)
        generator.manual_seed(pass_seed(seed, step, index, purpose="augment", rank=rank))
        torch.manual_seed(pass_seed(seed, step, index, purpose="model", rank=rank))
        batch = parts.encoding(batch.to(parts.fabric.device))
        batch = augment(
            batch,
            generator=generator,
            settings=parts.config.augment,
            front_end=parts.front_end,
        )
        with parts.fabric.autocast():
            loss, values = parts.objective(parts.model, batch, generator=generator)
        parts.fabric.backward(loss / (mean_clips / len(batch)))
        for key, value in {"loss": loss, **values}.items():
            logs[key] = logs.get(key, 0.0) + float(value) / (num_clips / len(batch))
    average_gradients(_parameters(parts), parts.fabric)
    logs["gradient_norm"] = _clip(parts, settings.clip_norm)
    _check_finite(logs, batches, step)
    logs["learning_rate"] = _set_learning_rate(parts, step)
    if skips(settings):
        path = skipped_path(settings, seed=seed, step=step)
        skip(parts.model, parts.optimizer.optimizer, path)
    if batches:
        parts.optimizer.step()
    parts.optimizer.zero_grad()
    return logs


def _set_mode(parts: Parts) -> None:
    """Training mode; of a linear probe for the classifier alone, so that no statistics move."""
    parts.model.train()
    if parts.config.train.head_only:
        parts.model.eval()
        parts.model.head.train()


def _clip(parts: Parts, largest: float) -> float:
    """The global gradient norm before clipping to `largest` (0: not clipped).

    The norm is that of the mean gradient over devices and passes, so a run does not depend on how
    a batch is split. The official MBT clips on each device before it averages: with several
    devices its step is another one. It divides by the norm, torch by the norm + 1e-6.
    """
    largest = largest if largest > 0 else math.inf
    return float(torch.nn.utils.clip_grad_norm_(_parameters(parts), largest))


def _parameters(parts: Parts) -> list[torch.nn.Parameter]:
    """Everything that is trained, of the model and of the objective."""
    return [p for group in parts.optimizer.param_groups for p in group["params"]]


def _check_finite(logs: dict[str, float], batches: list[Batch], step: int) -> None:
    if not (math.isfinite(logs["loss"]) and math.isfinite(logs["gradient_norm"])):
        ids = [clip for batch in batches for clip in batch.id]
        raise FloatingPointError(
            f"loss {logs['loss']} and gradient norm {logs['gradient_norm']} at step {step} are "
            f"not finite; lower --train.learning_rate, or look at these clips: {', '.join(ids)}"
        )


def _set_learning_rate(parts: Parts, step: int) -> float:
    settings = parts.config.train
    rate = learning_rate(
        step,
        peak=settings.learning_rate,
        total=parts.total,
        warmup=settings.warmup * parts.total,
        first=settings.first_learning_rate,
        final=settings.final_learning_rate,
    )
    for group in parts.optimizer.param_groups:
        group["lr"] = rate
    return rate


def _validate(
    parts: Parts, state: dict, val_loader: Loader | None, log: RunLog, directory: Path
) -> None:
    """Score the validation clips; keep the model if it is the best so far, or the last counts."""
    epoch = state["step"] / parts.steps_per_epoch
    if val_loader is None:
        _keep(parts, state, directory)
        return
    scores, problems = _scores(parts, val_loader)
    log.problems(problems)
    log.validation(state["step"], scores)
    name = MAIN_SCORE[parts.manifest.task]
    value = -scores[name] if name == "loss" else scores[name]
    is_best = state["best"] is None or value > state["best"]
    state["waited"] = 0 if is_best else state["waited"] + 1
    if is_best:
        state["best"] = value
    if is_best or parts.config.train.keep == "last":
        parts.model.info.provenance[f"val_{name}"] = scores[name]
        _keep(parts, state, directory)
    where = "the same clips" if parts.config.train.overfit else "validation"
    found = ", ".join([f"{name} {scores[name]:.3f}", *_recall_words(scores)])
    log.say(f"epoch {epoch:.4g}: {found} on {where}" + " (best)" * is_best)


def _scores(parts: Parts, loader: Loader) -> tuple[dict[str, float], list[Problem]]:
    batch_size = parts.config.evaluate.batch_size
    if parts.manifest.task != UNLABELLED:
        return score_clips(parts.model, loader, batch_size=batch_size)
    seed = parts.config.seed
    return score_pairs(parts.model, parts.objective, loader, batch_size=batch_size, seed=seed)


def _recall_words(scores: dict[str, float]) -> list[str]:
    """How often a stream finds the other one, where that was looked at."""
    return [
        f"{words} R@1 {scores[f'{key}_r1']:.1%} R@5 {scores[f'{key}_r5']:.1%}"
        for key, words in DIRECTIONS_IN_WORDS.items()
        if f"{key}_r1" in scores
    ]


def _keep(parts: Parts, state: dict, directory: Path) -> None:
    """Save the model as the one that the run gives, and what its losses need beside it."""
    if parts.fabric.is_global_zero:
        parts.model.info.provenance["step"] = state["step"]
        save_objective(directory / OBJECTIVE_FILE, parts.objective, step=state["step"])
        parts.model.save_pretrained(directory / "model")


def _save(parts: Parts, state: dict, directory: Path) -> None:
    if parts.fabric.is_global_zero:
        save_checkpoint(
            directory / "checkpoints",
            state["step"],
            model=parts.model,
            objective=parts.objective,
            optimizer=parts.optimizer,
            state={
                "best": state["best"],
                "waited": state["waited"],
                "clips": parts.manifest.id_hash,
            },
        )


def _closing(parts: Parts, state: dict, log: RunLog, directory: Path) -> str:
    kept = parts.config.train.keep
    lines = [f"the run is in {directory}, its {kept} model in {directory / 'model'}"]
    if log.num_problems:
        lines.append(f"{log.num_problems} problems with files: {directory / 'problems.csv'}")
    if parts.config.train.overfit:
        learnt, clips = state["best"], len(parts.train_clips.rows)
        verdict = "the pipeline learns" if learnt == 1 else "it should have learnt all of them"
        lines.append(f"self-test: {learnt:.0%} of {clips} clips learnt by heart: {verdict}")
    return "\n".join(lines)
