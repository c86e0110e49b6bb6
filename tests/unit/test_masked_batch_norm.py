"""Batch norm of clips: PyTorch's numbers, rows left out, statistics of several processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn

from sightsound.nn.masked_batch_norm import MaskedBatchNorm3d


def norm(**arguments) -> MaskedBatchNorm3d:
    module = MaskedBatchNorm3d(3, **arguments)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return module


def clips() -> Tensor:
    return 2 * torch.randn(4, 3, 5, 2, 2) + 1


@pytest.mark.parametrize("training", [False, True])
def test_masks_of_ones_give_what_pytorch_gives(training: bool):
    ours, x = norm().train(training), clips()
    theirs = nn.BatchNorm3d(3).train(training)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(2):
        found = ours(x, steps=torch.ones(4, 5, dtype=torch.bool))
        torch.testing.assert_close(found, theirs(x))
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value)


def test_what_is_left_out_changes_nothing():
    x, steps = clips(), torch.rand(4, 5) > 0.5
    states = []
    for content in (0.0, 1e3):
        torch.manual_seed(0)
        module = norm().train()
        values = x.masked_fill(~steps[:, None, :, None, None], content)
        rows = module(values, steps=steps).transpose(1, 2)[steps]
        states.append((rows, module.running_mean, module.running_var))
    for first, second in zip(*states, strict=True):
        torch.testing.assert_close(first, second)


def test_bfloat16_keeps_its_kind():
    module = norm().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(clips().bfloat16(), steps=torch.ones(4, 5, dtype=torch.bool))
    assert found.dtype == torch.bfloat16


def _one_process(rank: int, folder: str) -> None:
    """One of two processes with half of the batch; its result in a file."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    torch.manual_seed(0)
    module, x = norm(statistics="shared").train(), clips()
    half = x[[0, 1, 2]] if rank == 0 else x[[3]]
    torch.save(_step(module, half), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def _step(module: MaskedBatchNorm3d, x: Tensor) -> dict[str, Tensor]:
    """Result, gradient and running statistics of a training step with the loss sum(y ** 3)."""
    x = x.clone().requires_grad_()
    y = module(x)
    y.pow(3).sum().backward()
    return {"y": y.detach(), "grad": x.grad, "scale_grad": module.weight.grad} | module.state_dict()


def test_two_processes_share_their_statistics(tmp_path):
    """Three examples here, one there: the numbers of all four together."""
    multiprocessing.spawn(_one_process, args=(str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    module, x = norm().train(), clips()
    whole = _step(module, x)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in ("y", "grad"):
        both = torch.cat((first[name], second[name]))
        torch.testing.assert_close(both, whole[name], rtol=1e-4, atol=1e-5)
    both = first["scale_grad"] + second["scale_grad"]
    torch.testing.assert_close(both, whole["scale_grad"], rtol=1e-4, atol=1e-5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(first[name], whole[name])
        assert torch.equal(first[name], second[name])
