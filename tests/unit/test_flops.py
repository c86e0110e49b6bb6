"""Counting operations, against counts by hand."""

import torch
from small import SMALL_MBT

from sightsound.models.mbt import MBT
from sightsound.profile.flops import count_flops, count_parameters

SMALL = SMALL_MBT | {"depth": 3, "bottleneck_tokens": 2}


def layer(tokens: int, width: int = 8, keys: int | None = None) -> int:
    """Multiply-adds of a layer: projections, two products per pair, MLP of four times the width."""
    keys = keys or tokens
    projections = 2 * tokens * width**2 + 2 * keys * width**2
    return projections + 2 * tokens * keys * width + 8 * tokens * width**2


def test_by_hand():
    rows = {row.part: row for row in count_flops(lambda: MBT(**SMALL))}
    video, audio = 4 * 4 + 1, 4 * 2 + 1
    assert rows["encode video"].tokens == video and rows["encode audio"].tokens == audio
    assert rows["encode video"].multiply_adds == 16 * 3 * 64 * 8 + layer(video)
    assert rows["encode audio"].multiply_adds == 8 * 64 * 8 + layer(audio)
    fused = 2 * (layer(video + 2) + layer(audio + 2)) + 2 * 8 * 3
    assert rows["fuse"].multiply_adds == fused
    assert rows["total"].flops == sum(r.flops for n, r in rows.items() if n != "total")


def test_cross_attention_without_the_wasted_work():
    rows = {r.part: r for r in count_flops(lambda: MBT(**SMALL, fusion="cross_attention"))}
    video, audio = 17, 9
    both = video + audio
    fused = 2 * (layer(video, keys=both) + layer(audio, keys=both)) + 2 * 8 * 3
    assert rows["fuse"].multiply_adds == fused


def test_paper_size_without_memory():
    """437 GFLOP per clip are measured for the official code, element-wise work included."""
    arguments = dict(heads={"label": 527}, bottleneck_tokens=5, audio_channels=3)
    total = count_flops(lambda: MBT(**arguments))[-1]
    assert 4.3e11 < total.flops < 4.4e11
    assert count_parameters(lambda: MBT(**arguments)) == 173_215_247


def test_building_on_the_meta_device_leaves_the_generator_alone():
    state = torch.get_rng_state()
    count_flops(lambda: MBT(**SMALL))
    assert torch.equal(torch.get_rng_state(), state)
