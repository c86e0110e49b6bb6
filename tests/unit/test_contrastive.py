"""The contrastive loss over several processes is that of one process with all pairs."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing

from sightsound.objectives.audio_visual.contrastive import Contrastive
from sightsound.types import AUDIO, VIDEO

SPLITS = (slice(0, 3), slice(3, 5))  # processes need not have equally many pairs


def loss_and_gradients(part: slice) -> tuple[Tensor, list[Tensor]]:
    """Of the same five pairs, of four sources, under the same weights, as far as in `part`."""
    torch.manual_seed(0)
    module = Contrastive({VIDEO: 4, AUDIO: 6}, embedding_width=3)
    vectors = {VIDEO: torch.randn(5, 4)[part], AUDIO: torch.randn(5, 6)[part]}
    loss = module(module.embed(vectors), torch.tensor([0, 1, 1, 2, 0])[part])
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in module.parameters()]


def process(rank: int, folder: str) -> None:
    start = functools.partial(distributed.init_process_group, "gloo", rank=rank, world_size=2)
    start(init_method=f"file://{folder}/meeting")
    loss, gradients = loss_and_gradients(SPLITS[rank])
    for gradient in gradients:  # as data-parallel training does
        distributed.all_reduce(gradient)
        gradient /= 2
    torch.save((loss, gradients), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes(tmp_path: Path):
    multiprocessing.spawn(process, args=(str(tmp_path),), nprocs=2)
    expected, wanted = loss_and_gradients(slice(None))
    for rank in range(2):
        loss, gradients = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(loss, expected)
        for ours, whole in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(ours, whole, rtol=0, atol=1e-5)
