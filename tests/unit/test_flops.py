"""Counting operations, against counts by hand."""

import json

import pytest
import torch
from small import SMALL_MBT

from sightsound.config.load import load_config
from sightsound.flops import Work, count_flops
from sightsound.models.mbt import MBT

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
    assert rows["encode video"].products == 2 * (16 * 3 * 64 * 8 + layer(video))
    assert rows["encode audio"].products == 2 * (8 * 64 * 8 + layer(audio))
    fused = 2 * (layer(video + 2) + layer(audio + 2)) + 2 * 8 * 3
    assert rows["fuse"].products == 2 * fused
    assert rows["total"].flops == sum(r.flops for n, r in rows.items() if n != "total")


def test_cross_attention_without_the_wasted_work():
    rows = {r.part: r for r in count_flops(lambda: MBT(**SMALL, fusion="cross_attention"))}
    video, audio = 17, 9
    both = video + audio
    fused = 2 * (layer(video, keys=both) + layer(audio, keys=both)) + 2 * 8 * 3
    assert rows["fuse"].products == 2 * fused


def test_operations_per_element_by_hand():
    """Of a lone stream: positions, and per layer two norms, softmax, GELU, biases and two sums."""
    model = SMALL | {"modalities": ["video"], "depth": 1, "fusion_layer": 1}
    tokens, width = 17, 8
    row = count_flops(lambda: MBT(**model))[0]
    norms, softmax, gelu = 2 * 7 * tokens * width, 6 * tokens**2 * 2, 9 * tokens * 4 * width
    biases = tokens * width * (3 + 1 + 4 + 1) + (tokens - 1) * width
    sums = 3 * tokens * width
    assert row.flops - row.products == norms + softmax + gelu + biases + sums


def total(**arguments: object) -> int:
    """Of a paper-size model: ViT-B, 8 frames, 8 s, 527 classes."""
    paper = dict(heads={"label": 527}, bottleneck_tokens=4, audio_channels=3)
    return count_flops(lambda: MBT(**paper | arguments))[-1].flops


@pytest.mark.parametrize("layer", [0, 6, 10])
def test_bottleneck_fusion_costs_what_late_fusion_costs(layer: int):
    """Spec: 437 to 439 GFLOP with the official code, wherever fusion starts."""
    late = total(fusion_layer=12)
    assert 437e9 < total(fusion_layer=layer) < 439e9
    assert late < total(fusion_layer=layer) < 1.01 * late


def test_cross_attention_costs_a_quarter_more_not_twice_as_much():
    """About 538 GFLOP from layer 0; 964 with the wasted work of the official code."""
    assert 532e9 < total(fusion="cross_attention", fusion_layer=0) < 544e9


def test_parameters_of_the_official_size():
    assert Work.of(load_config("mbt/paper-audioset", overrides=FIVE)).parameters == 173_215_247


# ---------------------------------------------------------------------------- AVT


def giga(recipe: str = "avt/paper-vggsound", **changes: object) -> dict[str, float]:
    """{part: multiply-adds of products, 1e9} of one clip."""
    overrides = {name.replace("__", "."): value for name, value in changes.items()}
    work = Work.of(load_config(recipe, overrides=overrides), heads={"label": 309})
    return {row.part: row.products / 2e9 for row in work.rows}


@pytest.mark.parametrize("frames, published", [(8, 40.1), (16, 96.6), (32, 258.3)])
def test_uniformer_base_costs_what_its_authors_say(frames: int, published: float):
    model = {"name": "uniformer"}
    found = giga(model=model, front_end__video__num_frames=frames)
    assert found["total"] == pytest.approx(published, rel=0.005)


def test_uniformer_small_likewise():
    found = giga(model={"name": "uniformer", "size": "small"})
    assert found["total"] == pytest.approx(41.7, rel=0.005)


@pytest.mark.parametrize("stride, expected", [(10, 130.5), (16, 48.6)])
def test_ast_costs_what_avt_says_of_sound(stride: int, expected: float):
    model = {"name": "ast", "stride": [stride, stride]}
    assert giga(model=model)["total"] == pytest.approx(expected, rel=0.005)


VIT = {"name": "avt", "video_backbone": "vit"}


@pytest.mark.parametrize(
    "changes, total",
    [
        (dict(model__fusion_depth=3), 269.0),  # what the paper prints for AVT
        (dict(model__fusion_depth=4), 283.0),  # what it describes
        (dict(model__fusion_depth=4, front_end__video__num_frames=32), 458.8),
        # and what it prints for MBT: eight images, each on its own, joint in the extra layers
        (dict(model=VIT | {"fusion_depth": 3}, front_end__video__num_frames=8), 348.5),
    ],
)
def test_avt_and_the_mbt_that_it_is_compared_with(changes: dict, total: float):
    found = giga(**changes)
    assert found["total"] == pytest.approx(total, abs=0.06)
    assert found["encode audio"] == pytest.approx(130.5, abs=0.05)


def test_eight_images_cost_what_avt_says_of_mbts_pictures():
    model = {"name": "one_stream", "backbone": "vit"}
    assert giga(model=model, front_end__video__num_frames=8)["total"] == pytest.approx(
        140.5, abs=0.1
    )
    model |= {"options": {"attention": "joint"}}  # MBT as published
    assert giga(model=model, front_end__video__num_frames=8)["total"] == pytest.approx(179.8, abs=3)


def test_the_table_tells_multiply_adds_from_operations():
    work = Work.of(load_config("demo"), heads={"label": 8})
    head, *_, total, size, first, second = work.text().splitlines()
    assert head.split() == ["part", "tokens", "multiply-adds", "FLOPs", "share"]
    products = f"{work.total.products / 2e6:.3f} M"
    assert products in total and f"{work.total.flops / 1e6:.3f} M" in total
    assert "of matrix products and convolutions, which papers often call FLOPs" in first
    assert "two for each of these, and norms, softmax, GELU" in second
    values = json.loads(work.json())
    assert values["multiply_adds"] == sum(part["multiply_adds"] for part in values["parts"])
    assert values["multiply_adds"] == values["product_flops"] // 2 < values["total_macs"]


@pytest.mark.parametrize("name", ["mafnet", "linear_probe"])
def test_models_of_features_need_a_recipe_that_names_encoders(name: str):
    with pytest.raises(ValueError, match=f"model '{name}' reads features of frozen encoders, whi"):
        Work.of(load_config(overrides={"model": {"name": name}}))


FIVE = {"model.bottleneck_tokens": 5}  # the official "4", with CLS tokens


def test_classes_are_assumed_from_the_task():
    assert Work.of(load_config("mbt/paper-epic")).num_classes == 97 + 300
    assert Work.of(load_config("mbt/paper-audioset")).num_classes == 527


def test_building_on_the_meta_device_leaves_the_generator_alone():
    state = torch.get_rng_state()
    count_flops(lambda: MBT(**SMALL))
    assert torch.equal(torch.get_rng_state(), state)
