"""Two processes that train together: what one process with both batches does, and no hanging.

Exact where the paper's losses are means over clips and the draws are the same. Drawn by themselves,
wrong pairs come from the clips of one process, and what is hidden from its own generator.
"""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, multiprocessing

from sightsound.config.settings import AugmentSettings, DataSettings, RunConfig, TrainSettings
from sightsound.models.avt import AVT
from sightsound.objectives.audio_visual import masking, matching
from sightsound.objectives.audio_visual.contrastive import Contrastive
from sightsound.objectives.audio_visual.objective import AudioVisual
from sightsound.train import loop
from sightsound.train.distributed import average_gradients, average_statistics, over_processes
from sightsound.train.optim import build_optimizer
from sightsound.types import AUDIO, VIDEO, Batch

NUM_STEPS = 3
CLIPS = 16  # of two passes, of all processes
CLIP_NORM = 0.1
FIRST, SECOND = [0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]
# Clips of two passes, of each process and of both; 0 and 4, 1 and 5, ... stay together.
SHARES = {
    "even": ([[0, 2, 4, 6], [8, 10, 12, 14]], [[1, 3, 5, 7], [9, 11, 13, 15]], [FIRST, SECOND]),
    "uneven": ([[0, 1, 2, 4, 5, 6], [8, 12]], [[3, 7], [9, 13]], [FIRST, [8, 9, 12, 13]]),
}
SETTINGS = TrainSettings(
    optimizer="sgd", learning_rate=0.1, clip_norm=CLIP_NORM, batch_size=CLIPS, accumulate=2
)


def make_parts(*, statistics: str, devices: int = 1, **weights: float) -> SimpleNamespace:
    """As much of `Parts` as an optimiser step needs, for clips of which some may be lost."""
    torch.manual_seed(0)
    model = AVT(
        heads={"label": 4},
        video_shape=(2, 32, 32),
        video_options=dict(
            widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), head_width=8, statistics=statistics
        ),
        audio_shape=(32, 16),
        audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(8, 8)),
        fusion_depth=1,
        num_heads=2,
    )
    torch.nn.init.normal_(model.head.weight, std=0.1)
    objective = AudioVisual(
        task="single",
        heads={"label": 4},
        embedding_width=8,
        audio_masking="tokens",
        **{"matching_weight": 1.0, "masked_weight": 1.0} | weights,
    ).prepare(model)
    fabric = Fabric(accelerator="cpu", devices=devices)
    fabric.launch()
    return SimpleNamespace(
        config=RunConfig(
            data=DataSettings(path="x", bad_files="drop"),
            train=SETTINGS,
            augment=AugmentSettings(flip=0.0),
        ),
        fabric=fabric,
        front_end=None,
        model=model,
        objective=objective,
        optimizer=fabric.setup_optimizers(build_optimizer([model, objective], SETTINGS)),
        total=NUM_STEPS,
        encoding=lambda batch: batch,
    )


def make_batch(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    return Batch(
        video=torch.randn(CLIPS, 2, 3, 32, 32, generator=generator),
        audio=torch.randn(CLIPS, 1, 32, 16, generator=generator),
        present={name: torch.ones(CLIPS, dtype=torch.bool) for name in (VIDEO, AUDIO)},
        valid={VIDEO: torch.ones(CLIPS, 2).bool(), AUDIO: torch.ones(CLIPS, 32).bool()},
        target=torch.eye(4)[torch.arange(CLIPS) % 4],
        id=[f"{number}.{clip}" for clip in range(CLIPS)],
        source=[f"{number}.{clip % 7}" for clip in range(CLIPS)],  # the eighth is the first's
        view=torch.zeros(CLIPS, dtype=torch.long),
        complete=True,
    )


def part_of(batch: Batch, rows: list[int]) -> Batch:
    """The clips that one process gets."""
    masks = {
        name: {stream: mask[rows] for stream, mask in getattr(batch, name).items()}
        for name in ("present", "valid")
    }
    tensors = {name: getattr(batch, name)[rows] for name in ("video", "audio", "target", "view")}
    names = {name: [getattr(batch, name)[row] for row in rows] for name in ("id", "source")}
    return dataclasses.replace(batch, **tensors, **names, **masks)


def state(parts: SimpleNamespace) -> dict[str, Tensor]:
    """Weights and buffers of the model and of the objective."""
    named = {"model": parts.model, "objective": parts.objective}
    return {f"{k}.{n}": v.clone() for k, m in named.items() for n, v in m.state_dict().items()}


# ------------------------------------------------------------------------------- the same draws


def the_first(eligible: Tensor, *_: object, **__: object) -> Tensor:
    """In place of `drawn`: one token of each clip, always the same."""
    return eligible & (eligible.cumsum(1) == 1)


def half_way_round(similarity: Tensor, *_: object, **__: object) -> Tensor:
    """In place of `_drawn`: the clip that lies half a batch further on."""
    number = len(similarity)
    return (torch.arange(number) + number // 2) % number


def same_steps(parts: SimpleNamespace, *passes: list[int]) -> dict:
    """Steps over the same clips, and the norms of their gradients before they were cut."""
    norms = []
    for step in range(NUM_STEPS):
        batches = [part_of(make_batch(step), rows) for rows in passes]
        norms.append(loop.update(parts, batches, step)["gradient_norm"])
    return {"norms": torch.tensor(norms), **state(parts)}


def three_clips(*passes: list[int], devices: int = 1) -> dict:
    """Steps with the losses that are means over clips, with nothing shared between them."""
    weights = {"contrastive_weight": 0.0, "matching_weight": 0.0}
    return same_steps(make_parts(statistics="frozen", devices=devices, **weights), *passes)


# ----------------------------------------------------------------------------------- unlike ones


def unlike(rank: int, step: int) -> list[Batch]:
    """Batches of two processes of which one lacks a stream, or has a single source."""
    batches = [part_of(make_batch(9 + number), SHARES["even"][rank][0]) for number in range(2)]
    number = len(batches[0])
    for batch in batches:
        batch.complete = False
        if step == 0:  # nothing to compare here, nothing at all to hear there
            batch.source[:] = ["a"] * number
            batch.present[AUDIO][:] = rank == 0
        if step == 1:  # sound alone here, pictures alone there: no pair anywhere
            batch.present[(VIDEO, AUDIO)[rank]][:] = False
    return batches


def unlike_steps(rank: int) -> dict[str, Tensor]:
    parts = make_parts(statistics="own", devices=2)
    for step in range(NUM_STEPS):
        loop.update(parts, unlike(rank, step), step)
    own = state(parts)
    average_statistics(parts.model, parts.fabric)
    return {"own": own, "averaged": state(parts)}


# ------------------------------------------------------------------------------ gradients


def averaged(rank: int) -> list[list[float] | None]:
    """Mean gradients of three parameters: of one that all, that one, that no process has one of."""
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.full((2,), 1.0 + rank)
    if rank:
        parameters[1].grad = torch.full((2,), 4.0)
    average_gradients(parameters, make_parts(statistics="own", devices=2).fabric)
    return [p.grad if p.grad is None else p.grad.tolist() for p in parameters]


# ------------------------------------------------------------------------------ validation


def validated() -> Tensor:
    """The contrastive loss of clips that every process has, as in validation."""
    vectors = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    embedded = {VIDEO: vectors, AUDIO: vectors.flip(0)}
    return Contrastive({VIDEO: 8, AUDIO: 8}).eval()(embedded, torch.arange(4))


# ------------------------------------------------------------------------------ lost clips


def agreed(rank: int) -> list[str]:
    """What is left of two passes where one process lost the clips of its second."""
    parts = make_parts(statistics="own", devices=2)
    batches = [make_batch(1), make_batch(2)][: 2 - rank]
    count = over_processes(len(batches), parts.fabric, by="min")
    return [batch.id[0] for batch in batches[: int(count)]]


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),  # a hang fails
    )
    found = {"unlike": unlike_steps(rank), "agreed": agreed(rank), "validated": validated()}
    found["averaged"] = averaged(rank)
    masking.drawn, matching._drawn = the_first, half_way_round  # this process ends with them
    for name, shares in SHARES.items():
        found[name] = same_steps(make_parts(statistics="shared", devices=2), *shares[rank])
    found["three"] = three_clips([[1, 2], [3]][rank], devices=2)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of two processes came to."""
    folder: Path = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(process, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture
def same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, those of the two."""
    monkeypatch.setattr(masking, "drawn", the_first)
    monkeypatch.setattr(matching, "_drawn", half_way_round)


@pytest.mark.parametrize("shares", list(SHARES))
def test_a_part_of_the_batch_each_is_the_whole_batch(found, same_draws, shares):
    """All four losses, two passes, clipped: weights of model and objective after three steps.

    Also where files were lost, so that passes and processes hold different numbers of clips.
    """
    start = state(parts := make_parts(statistics="own"))
    wanted = same_steps(parts, *SHARES[shares][2])
    assert (wanted["norms"] > CLIP_NORM).all()
    for name, value in wanted.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[0][shares][name], value, rtol=1e-4, atol=1e-5)
            assert torch.equal(found[0][shares][name], found[1][shares][name]), name
    own = [name for name in start if name.startswith("objective.")]
    assert {name.split(".")[1] for name in own} == {"contrastive", "matching", "reconstruction"}
    assert not any(torch.equal(start[name], wanted[name]) for name in own)


def test_every_clip_weighs_alike_in_one_pass_two_passes_and_two_processes(found, same_draws):
    """[1, 2] + [3] step as the mean of three."""
    wanted = three_clips([1, 2, 3])
    for other in (three_clips([1, 2], [3]), *(each["three"] for each in found)):
        for name, value in wanted.items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def test_processes_that_lack_what_others_have_stay_together(found):
    first, second = (each["unlike"]["own"] for each in found)
    for name in first:
        assert first[name].isfinite().all(), name
        if "running" not in name and "tracked" not in name:
            assert torch.equal(first[name], second[name]), name


def test_running_statistics_are_averaged_before_they_are_used(found):
    first, second = (each["unlike"]["own"] for each in found)
    names = [name for name in first if "running" in name]
    assert names and any(not torch.equal(first[name], second[name]) for name in names)
    for name in names:
        mean = (first[name] + second[name]) / 2
        for each in found:
            torch.testing.assert_close(each["unlike"]["averaged"][name], mean)


def test_a_pass_that_one_process_lost_is_left_out_by_all(found):
    assert [each["agreed"] for each in found] == [["1.0"], ["1.0"]]


def test_the_mean_counts_what_is_missing_as_zero(found):
    """What no process has stays away: the optimiser would let its weights decay."""
    assert [each["averaged"] for each in found] == [[[1.5, 1.5], [2.0, 2.0], None]] * 2


def test_validation_counts_every_clip_once(found):
    """Each process has all of them."""
    assert [each["validated"] for each in found] == [validated()] * 2
