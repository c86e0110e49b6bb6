import os

import pytest
import torch
from torch import nn

from sightsound.train.checkpoint import last_checkpoint, load_checkpoint, save_checkpoint


def parts(seed: int, optimizer: str = "AdamW"):
    torch.manual_seed(seed)
    model, objective = nn.Linear(3, 2), nn.Linear(2, 1)
    parameters = [*model.parameters(), *objective.parameters()]
    extra = {"momentum": 0.9} if optimizer == "SGD" else {}
    return model, objective, getattr(torch.optim, optimizer)(parameters, lr=0.1, **extra)


def step(model, objective, optimizer):
    objective(model(torch.ones(4, 3))).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(folder, number, parts, **state):
    model, objective, optimizer = parts
    return save_checkpoint(
        folder, number, model=model, objective=objective, optimizer=optimizer, state=state
    )


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_restored_training_goes_on_bit_for_bit(tmp_path, optimizer):
    first = parts(0, optimizer)
    step(*first)
    save(tmp_path, 1, first, best=0.5)
    second = parts(1, optimizer)
    state = load_checkpoint(
        last_checkpoint(tmp_path), model=second[0], objective=second[1], optimizer=second[2]
    )
    assert state == {"step": 1, "best": 0.5}
    step(*first)
    step(*second)
    for ours, theirs in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_only_the_newest_checkpoint_stays(tmp_path):
    save(tmp_path, 1, parts(0))
    save(tmp_path, 2, parts(0))
    assert last_checkpoint(tmp_path).name == "step_2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "step_2"]


def test_death_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 1, parts(0))

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, parts(0))
    monkeypatch.undo()
    assert last_checkpoint(tmp_path).name == "step_1"
    save(tmp_path, 3, parts(0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "step_3"]


def test_no_checkpoint_yet(tmp_path):
    assert last_checkpoint(tmp_path) is None


def test_missing_directory_is_named(tmp_path):
    (tmp_path / "last").write_text("step_9")
    with pytest.raises(ValueError, match="names 'step_9', which is not there"):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"", b"ste", b"\xff\xfe"])
def test_a_damaged_pointer_says_what_may_be_written_into_it(tmp_path, content):
    save(tmp_path, 1, parts(0))
    (tmp_path / "last").write_bytes(content)
    with pytest.raises(ValueError, match="not there .*; write one of these into it: step_1"):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_file_that_a_checkpoint_misses_is_named(tmp_path, name):
    save(tmp_path, 1, parts(0))
    (tmp_path / "step_1" / name).unlink()
    model, objective, optimizer = parts(0)
    with pytest.raises(ValueError, match=f"{name}' is missing; put back a copy of this checkpo"):
        load_checkpoint(tmp_path / "step_1", model=model, objective=objective, optimizer=optimizer)
