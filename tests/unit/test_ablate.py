"""Ablations: which cells a study has, what becomes of results, what is run and what is not."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import re
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread
from stand_in_encoders import stand_in

from sightsound import cli
from sightsound.ablate import ablation as series
from sightsound.ablate import cells
from sightsound.ablate import plan as plans
from sightsound.ablate.figure import draw, make_figure
from sightsound.ablate.plan import (
    Cell,
    Plan,
    Point,
    cell_name,
    config_hash,
    idle_arguments,
    make_cell,
    make_plan,
    settings_of,
)
from sightsound.ablate.report import make_rows, summarise
from sightsound.ablate.studies import (
    STUDIES,
    choose_studies,
    own_study,
    parse_axis,
    parse_seeds,
    restrict,
)
from sightsound.config.load import changed, load_config
from sightsound.config.parser import UsageError
from sightsound.config.settings import RunConfig
from sightsound.data.rows import Manifest, Row
from sightsound.flops import made_up_manifest

MANIFEST = made_up_manifest({"label": 4})
SMALL = {"model.width": 8, "model.num_heads": 2, "model.mlp_width": 16}


def base(**overrides: object) -> RunConfig:
    """The demonstration's model of three layers, narrower."""
    return load_config("demo", overrides=SMALL | overrides)


@pytest.fixture
def unsized(monkeypatch):
    """Cells without their work, which takes longer to count than everything else."""
    monkeypatch.setattr(plans, "_size", lambda *sections: (10**9, 1))


def points(name: str, config: RunConfig, *axes: str) -> dict[tuple, str]:
    """{values: name of the cell} of a study."""
    (study,) = restrict([STUDIES[name]], axes)
    return {point.values: point.cell.name for point in make_plan(study, config, MANIFEST).points}


# ---------------------------------------------------------------------------- studies


@pytest.mark.parametrize(
    ("depth", "layers"),
    [
        (3, (0, 1, 2, 3)),
        (6, (0, 1, 2, 3, 4, 5, 6)),
        (8, (0, 1, 3, 4, 5, 7, 8)),
        (12, (0, 2, 4, 6, 8, 10, 12)),
        (24, (0, 4, 8, 12, 16, 20, 24)),
    ],
)
def test_fusion_layers_follow_the_depth(depth, layers):
    config = base(**{"model.depth": depth})
    assert STUDIES["fusion"].x.values(config) == layers


def test_fusion_at_depth_three(unsized):
    found = points("fusion", base())
    assert len(found) == 3 * 4
    assert len(set(found.values())) == 3 * 3 + 1, "late fusion is one model"
    assert found[1, "bottleneck"] == "base", "the recipe fuses at layer 1"
    assert found[2, "bottleneck"] == "model.fusion_layer=2"
    cross = "model.fusion=cross_attention,model.fusion_layer=0"
    assert found[0, "cross_attention"] == cross
    late = {found[3, name] for name in ("bottleneck", "cross_attention", "self_attention")}
    assert late == {"model.fusion_layer=3"}


def test_fusion_at_depth_twelve(unsized):
    config = base(**{"model.depth": 12, "model.fusion_layer": 8})
    found = points("fusion", config, "model.fusion=bottleneck,cross_attention")
    assert [layer for layer, _ in found] == [0, 2, 4, 6, 8, 10, 12] * 2
    assert len(set(found.values())) == 2 * 6 + 1
    assert found[8, "bottleneck"] == "base"
    assert found[12, "bottleneck"] == found[12, "cross_attention"] == "model.fusion_layer=12"


def test_work_at_the_size_of_figure_3():
    """4 s, ViT-B: bottlenecks cost what late fusion does, cross-attention more at every layer."""
    config = load_config(
        overrides={"front_end.audio.num_frames": 400, "front_end.video.window_seconds": 4.0}
    )
    axes = ["model.fusion=bottleneck,cross_attention", "model.fusion_layer=0,12"]
    (study,) = restrict([STUDIES["fusion"]], axes)
    plan = make_plan(study, config, made_up_manifest({"label": 527}))
    giga = {point.values: point.cell.flops / 1e9 for point in plan.points}
    late = giga[12, "bottleneck"]
    assert late == giga[12, "cross_attention"] == pytest.approx(398, abs=3)
    assert giga[0, "bottleneck"] < 1.01 * late
    assert giga[0, "cross_attention"] > 1.15 * late


def test_shared_weights_are_strategy_one(unsized):
    (study,) = restrict([STUDIES["weights"]], ["model.fusion_layer=1,3"])
    plan = make_plan(study, base(), MANIFEST)
    models = {point.values: point.cell.config.model for point in plan.points}
    shared, separate = models[1, "shared"], models[1, "separate"]
    assert (shared["fusion"], shared["share_weights"]) == ("self_attention", True)
    assert (separate["fusion"], separate["share_weights"]) == ("cross_attention", False)
    assert len({point.cell.name for point in plan.points}) == 4, "late fusion differs, too"


def test_window_sets_both_streams(unsized):
    (study,) = restrict([STUDIES["window"]], ["modalities=audio+video"])
    configs = [point.cell.config for point in make_plan(study, base(), MANIFEST).points]
    assert [config.front_end["audio"]["num_frames"] for config in configs] == [200, 400, 600, 800]
    assert [config.front_end["video"]["window_seconds"] for config in configs] == [2, 4, 6, 8]


def test_single_streams_are_models_of_their_own(unsized):
    (study,) = restrict([STUDIES["window"]], ["window=4"])
    models = [point.cell.config.model for point in make_plan(study, base(), MANIFEST).points]
    assert [model["modalities"] for model in models] == [["audio", "video"], ["audio"], ["video"]]


def test_window_of_frames_with_a_stride(unsized):
    config = base(**{"front_end.video.stride_seconds": 0.1})
    (study,) = restrict([STUDIES["window"]], ["window=8", "modalities=audio+video"])
    (point,) = make_plan(study, config, MANIFEST).points
    video = point.cell.config.front_end["video"]
    assert video["stride_seconds"] == 8 / 4, "four frames over 8 s"


@pytest.mark.parametrize("study", ["window", "synchronous"])
def test_views_cover_a_clip(unsized, study):
    """Four windows of 2 s leave 2 s of AudioSet's 10 s unseen."""
    plan = make_plan(STUDIES[study], load_config("mbt/paper-audioset"), MANIFEST)
    views = {p.values[0]: p.cell.config.evaluate.views for p in plan.points}
    assert views == {2: 5, 4: 4, 6: 4, 8: 4}


def test_views_cover_the_longest_clip_that_is_scored(unsized, monkeypatch):
    monkeypatch.setattr("sightsound.data.dataset.ClipDataset._file_seconds", lambda *_, **__: 31.0)
    rows = [Row(str(n), Path("a"), ("0",), end_seconds=end, split="test") for n, end in [(0, 7.0)]]
    rows += [Row("long", Path("b"), ("0",), split="train"), Row("c", Path("c"), ("1",), 1, 13.0)]
    rows[-1] = dataclasses.replace(rows[-1], split="test")
    manifest = dataclasses.replace(MANIFEST, rows=tuple(rows))
    assert plans.clip_seconds(base(), manifest) == 12.0
    config = base(**{"evaluate.views": 2})
    (study,) = restrict([STUDIES["window"]], ["window=1,4,6.1", "modalities=audio+video"])
    found = [p.cell.config.evaluate.views for p in make_plan(study, config, manifest).points]
    assert found == [12, 3, 2]


def test_mixup_takes_the_recipes_alpha(unsized):
    for given, alpha in ((0.0, 0.3), (0.5, 0.5)):
        plan = make_plan(STUDIES["mixup"], base(**{"augment.mixup_alpha": given}), MANIFEST)
        found = {point.values[0]: point.cell.config.augment for point in plan.points}
        pairs = {name: (a.mixup_alpha, a.modality_mixup) for name, a in found.items()}
        assert pairs == {"none": (0, False), "same": (alpha, False), "modality": (alpha, True)}


def test_values_of_the_paper():
    values = {name: [axis.values for axis in study.axes] for name, study in STUDIES.items()}
    streams = ("audio+video", "audio", "video")
    assert values["bottlenecks"] == [(4, 36, 64, 256, 1024)]
    assert values["update"] == [("averaged", "sequential")]
    assert values["window"] == [(2, 4, 6, 8), streams]
    assert values["synchronous"] == [(2, 4, 6, 8), (True, False)]
    assert values["train_fraction"] == [(0.1, 0.25, 0.5, 0.75, 1.0), streams]
    assert values["size"] == [("tiny", "small", "base", "large")]


def test_data_studies(unsized):
    both = "modalities=audio+video"
    fractions = points("train_fraction", base(), both, "data.train_fraction=.5,1")
    assert list(fractions.values()) == ["data.train_fraction=0.5", "base"]
    windows = base(**{"data.windows": "random"})
    together = points("synchronous", windows, "window=2")
    assert list(together.values()) == [
        "evaluate.views=5",
        "data.synchronous=false,evaluate.views=5",
    ]


def test_size_clears_the_numbers_of_the_recipe():
    plan = make_plan(restrict([STUDIES["size"]], ["size=tiny"])[0], base(), MANIFEST)
    model = plan.points[0].cell.config.model
    assert model["size"] == "tiny" and model["width"] is None and model["depth"] is None
    assert plan.points[0].cell.parameters == pytest.approx(10.8e6, rel=0.01)


def test_inits(tmp_path, unsized):
    (tmp_path / "vit.npz").touch()
    source = f"vit:{tmp_path / 'vit.npz'}"
    (study,) = choose_studies(["init"], inits=["scratch", source, "hf:a/b"])
    plan = make_plan(study, base(), MANIFEST)
    assert [p.cell.config.train.init for p in plan.points] == [(), (source,), ("hf:a/b",)]


def test_axes_are_replaced(unsized):
    found = points("fusion", base(), "model.fusion_layer=0,3", "model.fusion=bottleneck")
    assert list(found) == [(0, "bottleneck"), (3, "bottleneck")]


def test_a_study_of_ones_own(unsized):
    study = own_study(["train.learning_rate=1e-3,.01", "model.stem=linear,convolution"])
    assert study.name == "train.learning_rate+model.stem" and study.x.scale == "linear"
    plan = make_plan(study, base(**{"model.video_patch": [1, 16, 16]}), MANIFEST)
    rates = [point.cell.config.train.learning_rate for point in plan.points]
    assert rates == [0.001, 0.01, 0.001, 0.01]
    assert own_study(["train.learning_rate=.0001,.1"]).x.scale == "log"


def test_values_may_be_lists():
    assert parse_axis("--vary", "a.b=[1,2],true,x,null") == ("a.b", ([1, 2], True, "x", None))


@pytest.mark.parametrize(("text", "seeds"), [("2", [5, 6]), ("0,4", [0, 4]), ("7,", [7])])
def test_seeds(text, seeds):
    assert parse_seeds(text, first=5) == seeds


# ---------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "axes", "overrides", "sentence"),
    [
        ("fusion", ["model.fusion_layer=0,5"], {}, "'fusion', model.fusion_layer 5, model.fusion"),
        ("fusion", ["model.fusion_layer=5"], {}, "of 3 layers, so 0 (early fusion) to 3 (late fu"),
        (
            "fusion",
            ["model.fusion=x"],
            {},
            "unknown fusion 'x'; known: bottleneck, cross_att",
        ),
        ("fusion", [], {"model.modalities": ["audio"]}, "but model.modalities is [audio]; leave"),
        ("update", [], {"model.fusion_layer": 3}, "no difference here, since fusion layer 3 is l"),
        ("bottlenecks", [], {"model.fusion": "self_attention"}, "since model.fusion is self_atte"),
        ("synchronous", [], {}, "only with data.windows random, but it is centre; add --data.win"),
        ("window", ["window=0"], {}, "window cannot be 0: expected a number above 0"),
        ("mixup", ["mixup=nope"], {}, "unknown mixup 'nope'; known: modality, none, same. Did"),
        ("size", ["size=bse"], {}, "unknown size 'bse'; known: base, large, small, tiny. Did you"),
        ("weights", ["weights=x"], {}, "unknown weights 'x'; known: separate, shared."),
        ("window", ["modalities=x"], {}, "unknown modalities 'x'; known: audio, audio+video, vid"),
        ("init", [], {}, "name what to start from, such as --inits scratch runs/audio/model"),
        (
            "mafnet_film",
            [],
            {},
            "it varies mafnet, but model is mbt; give a recipe of mafnet with --",
        ),
    ],
)
def test_a_study_that_does_not_fit(name, axes, overrides, sentence):
    with pytest.raises(UsageError) as caught:
        points(name, base(**overrides), *axes)
    assert sentence in str(caught.value) and f"study {name!r}" in str(caught.value)


# ---------------------------------------------------------------------------- MAFnet


@pytest.fixture
def mafnet(monkeypatch, unsized) -> RunConfig:
    stand_in(monkeypatch)
    return load_config("mafnet/paper-ave")


def varied(name: str, config: RunConfig) -> dict:
    """{value: (modalities, film, residual, attention, fusion, rate of skipping)} of a study."""
    plan = make_plan(STUDIES[name], config, MANIFEST)
    names = ("modalities", "film", "residual", "attention", "fusion")
    found = {}
    for point in plan.points:
        model, train = point.cell.config.model, point.cell.config.train
        found[point.values[0]] = (*(model[name] for name in names), train.skip_video)
    assert len({point.cell.name for point in plan.points}) == len(plan.points)
    return found


BOTH = ["video", "audio"]


def test_table_2_of_mafnet(mafnet):
    """Idle arguments are those of the base: without two streams FiLM means nothing."""
    found = varied("mafnet_fusion", mafnet)
    assert found.pop("video") == (["video"], "audio", "none", "joint", "concatenation", 0.0)
    assert found.pop("audio") == (["audio"], "audio", "none", "joint", "concatenation", 0.0)
    names = ("addition", "concatenation", "mcb", "dmr")
    assert found == {name: (BOTH, "none", "none", "joint", name, 0.1) for name in names}


def test_table_3_of_mafnet(mafnet):
    assert varied("mafnet_attention", mafnet) == {
        name: (BOTH, "none", "none", name, "concatenation", 0.1)
        for name in ("none", "temporal", "modality", "joint")
    }


def test_table_4_of_mafnet(mafnet):
    blocks = {"none": "none", "residual": "both"}
    assert varied("mafnet_film", mafnet) == {
        name: (
            BOTH,
            "none" if name in blocks else name,
            blocks.get(name, "none"),
            "joint",
            "concatenation",
            0.1,
        )
        for name in ("none", "residual", "both", "audio", "video")
    }
    for point in make_plan(STUDIES["mafnet_film"], mafnet, MANIFEST).points:
        features = point.cell.config.front_end["features"]
        assert features["video_maps"] and features["audio_maps"], "3 x 3 convolutions need maps"


def test_figure_6_of_mafnet(mafnet):
    rates = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)
    expected = {p: (BOTH, "audio", "none", "joint", "concatenation", p) for p in rates}
    assert varied("mafnet_skip", mafnet) == expected
    assert STUDIES["mafnet_skip"].x.scale == "linear"


@pytest.mark.parametrize(
    ("study", "overrides", "sentence"),
    [
        ("fusion", {}, "it varies mbt, but model is mafnet; give a recipe of mbt with --config"),
        ("window", {}, "pixels and spectrograms, but this model reads features; their number of"),
        ("mafnet_film", {"model.modalities": ["audio"]}, "but model.modalities is [audio]; leave"),
    ],
)
def test_a_study_that_does_not_fit_mafnet(mafnet, study, overrides, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        points(study, changed(mafnet, overrides))


# ---------------------------------------------------------------------------- AVT


@pytest.fixture
def avt(unsized) -> RunConfig:
    return load_config("avt/paper-vggsound")


def test_table_4_of_avt(avt):
    plan = make_plan(STUDIES["avt_losses"], avt, MANIFEST)
    configs = {point.values: point.cell.config for point in plan.points}
    names = {point.values: point.cell.name for point in plan.points}
    assert [frames for _, frames in configs] == [16] * 8 + [32] * 8
    assert names["audio", 16] == names["audio", 32], "sound does not care how many pictures"
    assert len(set(names.values())) == 15 and names["avc+avm+masegmv", 16] == "base"
    weights = ("contrastive_weight", "matching_weight", "masked_weight")
    rows = {
        value: (*(config.objective[name] for name in weights), config.objective["audio_masking"])
        for (value, frames), config in configs.items()
        if frames == 32 and config.model["name"] == "avt"
    }
    assert rows == {
        "bottleneck": (0.0, 0.0, 0.0, "segments"),
        "avc": (0.5, 0.0, 0.0, "segments"),
        "avc+avm": (0.5, 0.1, 0.0, "segments"),
        "avc+avm+mav": (0.5, 0.1, 0.01, "tokens"),
        "avc+avm+masegmv": (0.5, 0.1, 0.01, "segments"),
    }
    for value, backbone in (("audio", "ast"), ("video", "uniformer")):
        config = configs[value, 16]
        assert config.model == {
            "name": "one_stream",
            "backbone": backbone,
            "options": {"stochastic_depth": 0.3},
        }
        assert config.objective["name"] == "classification"
        assert config.objective["label_smoothing"] == 0.1
    cells = {point.values: point.cell for point in plan.points}
    for frames in (16, 32):
        parts = [cells["audio", 16].name, cells["video", frames].name]
        assert [part.name for part in cells["average", frames].mean_of] == parts
    sizes = {
        (value, frames): config.train.batch_size for (value, frames), config in configs.items()
    }
    sizes.pop(("audio", 32))  # that of 16
    assert {frames: {s for (_, f), s in sizes.items() if f == frames} for frames in (16, 32)} == {
        16: {2 * 40},
        32: {2 * 32},
    }


def test_table_4_of_avt_from_the_recipe_of_32_frames(unsized):
    config = load_config("avt/paper-vggsound-32")
    (study,) = restrict([STUDIES["avt_losses"]], ["losses=avc"])
    points = make_plan(study, config, MANIFEST).points
    sizes = {point.values: point.cell.config.train.batch_size for point in points}
    assert sizes == {("avc", 16): 80, ("avc", 32): 64}


def test_a_batch_of_ones_own_stays(avt):
    (study,) = restrict([STUDIES["avt_losses"]], ["losses=avc"])
    plan = make_plan(study, changed(avt, {"train.batch_size": 24}), MANIFEST)
    assert [point.cell.config.train.batch_size for point in plan.points] == [24, 24]


def test_table_4_of_avt_on_verbs_and_nouns(unsized):
    """The paper has 16 frames only; the labels' loss weighs alike in every row."""
    config = load_config("avt/paper-epic")
    (study,) = restrict([STUDIES["avt_losses"]], ["losses=average,bottleneck,avc+avm+masegmv"])
    plan = make_plan(study, config, made_up_manifest({"verb": 97, "noun": 300}))
    assert [point.values[1] for point in plan.points] == [16] * 3
    cells = [cell for point in plan.points for cell in (*point.cell.mean_of, point.cell)]
    weights = {
        given["average_weight"] * given.get("classification_weight", 1.0)
        for given in (cell.config.objective for cell in cells)
    }
    assert weights == {2.0}


def test_a_dry_run_names_the_classes_it_counts_with(unsized):
    for recipe, words in (
        ("avt/paper-epic", "sized for the 397 classes (verb 97, noun 300) of Epic-Kitchens-100."),
        ("avt/paper-vggsound", "sized for the 527 classes of AudioSet."),
    ):
        prepared = series.prepare(load_config(recipe), [STUDIES["avt_update"]], [0])
        assert f"No data given: {words}" in series.listing(prepared)


def test_long_names_along_x_are_slanted(avt):
    for study, rotation in (("avt_losses", 30), ("avt_update", 0)):
        plan = make_plan(STUDIES[study], avt, MANIFEST)
        panel = make_figure(plan.study, make_rows(plan, {}, seeds=()), score="top-1").axes[0]
        assert {label.get_rotation() for label in panel.get_xticklabels()} == {rotation}


def test_a_weight_that_the_recipe_switched_off_is_the_papers(avt):
    config = changed(avt, {"objective.matching_weight": 0.0, "objective.contrastive_weight": 0.2})
    plan = make_plan(STUDIES["avt_losses"], config, MANIFEST)
    (found,) = [p.cell.config.objective for p in plan.points if p.values == ("avc+avm", 16)]
    assert (found["contrastive_weight"], found["matching_weight"]) == (0.2, 0.1)


def test_table_5_of_avt(avt):
    small = {"model.audio_options": {"size": "small", "stride": [16, 16]}}
    plan = make_plan(STUDIES["avt_vit"], changed(avt, small), MANIFEST)
    configs = {point.values: point.cell.config for point in plan.points}
    assert len({point.cell.name for point in plan.points}) == len(configs) == 6
    for (losses, encoder), config in configs.items():
        assert config.model["video_backbone"] == encoder and config.evaluate.views == 1
        assert config.objective["masked_weight"] == (0.0 if losses == "bottleneck" else 0.01)
    assert configs["bottleneck", "vit"].model["video_options"] == {"size": "small"}
    assert configs["bottleneck", "uniformer"].model["video_options"] is None


def test_readings_of_avts_fusion_tokens(avt):
    assert set(points("avt_update", avt).values()) == {
        "base",
        "model.fusion_update=block_mean",
        "model.fusion_update=running_mean",
    }


@pytest.mark.parametrize(
    ("study", "overrides", "sentence"),
    [
        ("avt_losses", {"objective": {"name": "classification"}}, "but objective is classificat"),
        ("avt_update", {"model.fusion_depth": 1}, "no difference here, since model.fusion_depth i"),
        ("fusion", {}, "it varies mbt, but model is avt; give a recipe of mbt with --config"),
    ],
)
def test_a_study_that_does_not_fit_avt(avt, study, overrides, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        points(study, changed(avt, overrides))


def test_values_that_avts_studies_do_not_know(avt):
    with pytest.raises(UsageError, match="unknown losses 'avm'; known: audio, avc, avc[+]avm"):
        points("avt_losses", avt, "losses=avm")
    with pytest.raises(UsageError, match="unknown video encoder 'mvit'; known: uniformer, vit"):
        points("avt_vit", avt, "video_encoder=mvit")


def test_studies_of_any_model_cut_avt_down_to_one_stream(avt):
    (study,) = restrict([STUDIES["window"]], ["window=4"])
    plan = make_plan(study, avt, MANIFEST)
    names = [point.cell.config.model["name"] for point in plan.points]
    assert names == ["avt", "one_stream", "one_stream"]
    alone = changed(avt, {"model": {"name": "ast"}, "objective": {"name": "classification"}})
    with pytest.raises(UsageError, match=r"compares ways .* model.modalities is \[audio\]"):
        points("mixup", alone)
    with pytest.raises(UsageError, match="model ast cannot be cut down to 'video'"):
        points("window", alone, "modalities=video")


def test_another_backbone_has_options_of_its_own(avt):
    config = changed(avt, {"model.video_options": {"size": "small"}})
    assert config.model["video_options"] == {"size": "small"}
    same = changed(config, {"model.video_backbone": "uniformer"})
    assert same.model["video_options"] == {"size": "small"}
    other = changed(config, {"model.video_backbone": "vit"})
    assert other.model["video_options"] is None


def test_any_model_and_segment_may_be_varied(mafnet):
    study = own_study(["model.name=mafnet,linear_probe", "front_end.features.segments=1,10"])
    plan = make_plan(study, mafnet, MANIFEST)
    assert [p.cell.config.model["name"] for p in plan.points] == ["mafnet", "linear_probe"] * 2
    assert plan.points[0].cell.changes == {
        "front_end.features.segments": 1,
        **{
            "front_end.audio.num_frames": 100,
            "front_end.video.num_frames": 16,
            "front_end.video.window_seconds": 1.0,
        },
    }


def test_idle_arguments_of_mafnet(mafnet):
    assert idle_arguments(mafnet.model) == ("mcb_size",)
    assert idle_arguments(mafnet.model | {"attention": "none"}) == ("mcb_size", "scorer")
    assert idle_arguments(mafnet.model | {"fusion": "mcb"}) == ()
    alone = idle_arguments(mafnet.model | {"modalities": ["audio"]})
    assert alone == ("film", "fusion", "mcb_size")


def test_features_lie_in_one_place_for_all_cells(mafnet, tmp_path):
    config = changed(mafnet, {"output": str(tmp_path / "runs" / "a")})
    ablation = series.prepare(config, [STUDIES["mafnet_attention"]], [0])
    folders = {cell.config.data.features for cell in ablation.cells.values()}
    assert folders == {str(tmp_path / "runs" / "features")}
    elsewhere = changed(config, {"data.features": "elsewhere"})
    assert config_hash(elsewhere) == config_hash(config), "where they lie changes nothing"


def complaint(capsys: pytest.CaptureFixture, *argv: object) -> str:
    assert cli.main(["ablate", *map(str, argv)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--study", "fusoin"],
            "unknown study 'fusoin'; known: avt_losses, avt_update, avt_vit, bottl",
        ),
        ([], "nothing to vary: give --study with one of fusion, weights, bottlenecks, update, w"),
        (["--study", "fusion"], "no data given: name a folder of class folders or a manifest, or"),
        (["nothing", "--study", "fusion"], "no such file or folder: 'nothing'"),
        (["--study", "size", "--axis", "siez=base"], "unknown axis of these studies 'siez'; known"),
        (["--study", "size", "--axis", "size"], "--axis cannot be 'size': expected NAME=VALUE,VAL"),
        (["--study", "size", "--axis", "size=a,a"], "--axis size has the value 'a' twice"),
        (["--vary", "a.b=1", "--vary", "a.b=2"], "--vary names 'a.b' twice; give all its values"),
        (["--vary", "seed=1,2"], "--vary cannot be 'seed=1,2': expected SECTION.FIELD=V1,V2; seed"),
        (["--study", "size", "--inits", "a"], "--inits gives the values of one study; add --stud"),
        (["--study", "size", "--seeds", "0"], "--seeds is '0'; accepted: how many, such as 3, or"),
        (["--study", "size", "--seeds", "a"], "--seeds is 'a'; accepted: how many, such as 3, or"),
        (["--study", "size", "--seeds", "1,1"], "--seeds is '1,1'; accepted: how many, such as 3"),
        (
            ["--study", "update", "--dry_run", "--train.devices", "2"],
            "--train.devices is 2, but an ablation trains each cell on one device; leave it out",
        ),
        (
            ["--vary", "train.learning_rat=1,2", "--dry_run", "--config", "demo"],
            "unknown setting 'train.learning_rat'. Did you mean 'train.learning_rate'?",
        ),
        (
            ["--study", "update", "--init", "nothing", "--dry_run", "--config", "demo"],
            "no weights to start from at 'nothing'; --init takes",
        ),
        (
            ["--study", "init", "--inits", "nothing", "--dry_run", "--config", "demo"],
            "no weights to start from at 'nothing'; --init takes",
        ),
    ],
)
def test_wrong_command(capsys, options, sentence):
    assert sentence in complaint(capsys, *options)


def test_dry_run_lists_points_sizes_and_work(capsys):
    options = ["--config=demo", "--dry_run", "--seeds=2", "--model.width=16"]
    assert cli.main(["ablate", "--study", "update", *options]) == 0
    text = capsys.readouterr().out
    assert "| averaged   |" in text and "| model.update=sequential |" in text
    assert "4 runs: 2 cells x 2 seeds (0, 1)." in text
    assert "sized for the 527 classes of AudioSet" in text


def test_splits_are_checked_before_anything_is_trained(tmp_path, capsys):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            file = tmp_path / "clips" / split / name / "a.mp4"
            file.parent.mkdir(parents=True)
            file.touch()
    options = ["--config=demo", "--output", tmp_path / "out"]
    asked = [*options, "--evaluate.split=test"]
    text = complaint(capsys, tmp_path / "clips", "--study", "update", *asked)
    assert "has no clips in split 'test'; it has: train, val (choose what is scored with" in text
    assert not (tmp_path / "out").exists()


def test_interrupted_says_how_to_go_on(monkeypatch, capsys):
    def stop(argv):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "ablate", stop)
    assert cli.main(["ablate"]) == 130
    assert "interrupted; the same command goes on where it stopped" in capsys.readouterr().err


# ---------------------------------------------------------------------------- cells


def test_names_are_fit_for_folders():
    assert cell_name({}) == "base"
    assert cell_name({"model.modalities": ["audio"], "model.width": None}) == (
        "model.modalities=audio,model.width=null"
    )
    one, two = (cell_name({"train.init": [f"vit:/a{mark}b"]}) for mark in "/:")
    assert one != two and "/" not in one + two
    assert len(cell_name({f"model.{'x' * 99}": 1, "model.y": 2})) < 130


@pytest.mark.parametrize(
    ("overrides", "idle"),
    [
        ({}, {"update_order"}),
        ({"model.update": "sequential"}, set()),
        ({"model.fusion": "self_attention"}, {"bottleneck_tokens", "update", "update_order"}),
        ({"model.fusion_layer": 3}, {"fusion", "bottleneck_tokens", "update", "update_order"}),
        (
            {"model.modalities": ["audio"]},
            {"fusion", "fusion_layer", "bottleneck_tokens", "update", "update_order"},
        ),
    ],
)
def test_idle_arguments_change_no_parameter(overrides, idle):
    config = base(**overrides)
    assert set(idle_arguments(config.model)) == idle
    other = {"fusion": "cross_attention", "fusion_layer": 0, "bottleneck_tokens": 9}
    other |= {"update": "sequential", "update_order": ["audio", "video"]}
    changes = {f"model.{name}": other[name] for name in idle}
    assert make_cell(changes, config, MANIFEST).name == "base"


def test_front_end_numbers_may_be_left_out():
    written = base(**{"front_end.audio.hop_samples": 160})
    assert settings_of(written) == settings_of(base())
    assert config_hash(written) == config_hash(base())
    assert config_hash(dataclasses.replace(base(), seed=3, output="x")) == config_hash(base())


# ---------------------------------------------------------------------------- results


def result(cell: str, seed: int, score: float, **more: object) -> dict:
    """What a finished run leaves behind."""
    rows = {"audio+video": {"top1": score}, "audio alone": {"top1": 0.5}}
    versions = {"sightsound": "0", "torch": "2"}
    return {
        "cell": cell,
        "seed": seed,
        "score_name": "top1",
        "score": score,
        "rows": rows,
        "test": {"source": "clips/manifest.csv", "split": "test", "num_clips": 9, "ids": "abc"},
        "gflop": 1.0,
        "parameters": 1,
        "seconds": 10.0 * (seed + 1),
        "resumed": False,
        "clips": "h",
        "config_hash": "",
        "environment": {
            "packages": versions,
            "commit": None,
            "python": "3.11",
            "gpu": None,
            "cpu_count": 2,
            "command": ["/x/sightsound", "ablate"],
        },
        **more,
    }


def failed(cell: str, seed: int, reason: str) -> dict:
    kept = result(cell, seed, 0.0)
    return {k: v for k, v in kept.items() if k not in ("score_name", "score", "rows", "test")} | {
        "failed": reason
    }


@pytest.fixture
def update_plan(unsized):
    return make_plan(STUDIES["update"], base(), MANIFEST)


def test_mean_and_deviation():
    score = summarise([0.5, 0.7, 0.9])
    assert (score.mean, score.deviation, score.num) == (pytest.approx(0.7), pytest.approx(0.2), 3)
    assert summarise([0.5]).deviation is None


def test_tables(update_plan, tmp_path):
    other = "model.update=sequential"
    results = {
        ("base", 0): result("base", 0, 0.5),
        ("base", 1): result("base", 1, 0.7, resumed=True),
        (other, 0): result(other, 0, 0.25),
        (other, 1): failed(other, 1, "FloatingPointError: loss nan at step 3"),
        ("not in the study", 0): result("z", 0, 0.1, score_name="map"),
    }
    series.write_tables(tmp_path, update_plan, results, seeds=[0, 1])
    text = (tmp_path / "table.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    lines = [[cell.strip() for cell in row] for row in rows]
    assert lines[0][1:7] == ["update", "top-1", "audio alone", "n", "GFLOP", "parameters (M)"]
    assert lines[2][1:5] == ["averaged", "60.0 ± 14.1", "50.0 ± 0.0", "2"]
    assert lines[3][1:5] == ["sequential", "25.0", "50.0", "1, 1 failed"]
    assert lines[2][-2] == "10", "seconds of the run that was not interrupted"
    assert "\n* model.update=sequential, seed 1: FloatingPointError: loss nan at step 3\n" in text
    assert "top-1 in % on 9 clips of clips/manifest.csv, split test (ids abc)" in text
    assert "Command: `sightsound ablate`" in text
    first, second = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    assert float(first["score_deviation"]) == pytest.approx(0.02**0.5)
    assert (second["n"], second["failed"], second["score_deviation"]) == ("1", "1", "")


def test_table_of_failed_and_missing_runs(update_plan, tmp_path):
    results = {("base", 0): failed("base", 0, "OutOfMemoryError: no memory")}
    series.write_tables(tmp_path, update_plan, results, seeds=[0])
    text = (tmp_path / "table.md").read_text()
    assert "| averaged   | failed | 0, 1 failed |" in text and "| sequential | -      | 0 " in text
    assert "* base, seed 0: OutOfMemoryError: no memory" in text


def drawn_plan(name: str) -> Plan:
    """A study whose every point is a cell of its own."""
    study, config = STUDIES[name], base()
    xs, *lines = [a.values(config) if callable(a.values) else a.values for a in study.axes]
    places = [(x, *line) for line in itertools.product(*lines) for x in xs]
    made = [Cell(f"cell {i}", config, {}, (9 + i) * 10**8, 1) for i in range(len(places))]
    return Plan(study, tuple(map(Point, places, made)))


@pytest.mark.parametrize(
    ("name", "panels", "lines"),
    [("fusion", 2, 3), ("window", 1, 3), ("bottlenecks", 1, 1), ("mixup", 1, 1), ("weights", 1, 2)],
)
def test_figures(tmp_path, name, panels, lines):
    plan = drawn_plan(name)
    names = [point.cell.name for point in plan.points]
    results = {
        (cell, seed): result(cell, seed, 0.5 + 0.01 * index + 0.02 * seed)
        for index, cell in enumerate(names[:-1])
        for seed in (0, 1)
    }
    draw(tmp_path, plan, results, seeds=[0, 1])
    assert imread(tmp_path / "figure.png").std() > 0.02
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    rows = make_rows(plan, results, seeds=[0, 1])
    figure = make_figure(plan.study, rows, score="mAP")
    assert len(figure.axes) == panels and figure.axes[0].get_ylabel() == "mAP (%)"
    assert len(figure.axes[0].containers) == lines
    assert figure.axes[0].get_xlabel() == plan.study.x.label
    shown = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert shown == list(dict.fromkeys(row.words[0] for row in rows))


def test_the_bars_are_the_deviation(update_plan):
    results = {("base", seed): result("base", seed, 0.4 + 0.2 * seed) for seed in (0, 1, 2)}
    rows = make_rows(update_plan, results, seeds=[0, 1, 2])
    (bar,) = make_figure(update_plan.study, rows, score="top-1").axes[0].containers
    (averaged, missing) = bar.lines[0].get_xydata().tolist()
    assert averaged == [0.0, pytest.approx(60)] and math.isnan(missing[1]), "a gap, no zero"
    low, high = bar.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(40), pytest.approx(80))


# ---------------------------------------------------------------------------- the series


@pytest.fixture
def prepared(tmp_path, monkeypatch, unsized):
    """Makes an ablation of the study `update` in `tmp_path`; nothing real is trained."""
    row = Row("a", tmp_path / "a.mp4", ("x",), split="train")
    clips = Manifest((row,), {"label": ["x", "y"]}, "single", tmp_path)
    monkeypatch.setattr(series, "load_manifest", lambda data, seed: clips)
    monkeypatch.setattr(series, "scored_split", lambda manifest, scored: "train")

    def make(studies: tuple[str, ...] = ("update",), **overrides: object) -> series.Ablation:
        here = {"data.path": str(tmp_path), "output": str(tmp_path / "out")}
        return series.prepare(base(**here | overrides), choose_studies(studies), [0, 1])

    return make


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Names of runs that were trained, in order; `stop` among them interrupts there.

    Figures, which take longer than everything else, are not drawn.
    """
    names: list[str] = []

    def fake_train(config: RunConfig, *, resume: bool, console: object) -> Path:
        directory = Path(config.output)
        names.append(f"{directory.parent.name}/{directory.name}" + "/resumed" * resume)
        if "stop" in names:
            names.remove("stop")
            (directory / "checkpoints").mkdir(parents=True)
            (directory / "config.yaml").touch()
            raise KeyboardInterrupt
        if config.model["update"] == "sequential" and config.augment.flip:
            raise FloatingPointError("loss nan at step 3\nis not finite")
        for name in ("checkpoints", "model", "evaluation"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "checkpoints" / "last").write_text("step_1")
        (directory / "evaluation" / "summary.json").touch()
        (directory / "evaluation" / "predictions.csv").touch()
        return directory

    monkeypatch.setattr(cells, "train", fake_train)
    fixed = ("score_name", "score", "rows", "test")
    scores = {key: result("", 0, 0.5)[key] for key in fixed}
    monkeypatch.setattr(cells, "_scored", lambda config, run: scores)
    monkeypatch.setattr(series, "draw", lambda *args, **kwargs: None)
    return names


RUNS = ["base/seed_0", "model.update=sequential/seed_0"]
RUNS += ["base/seed_1", "model.update=sequential/seed_1"]


def test_everything_is_written_and_nothing_is_done_twice(
    prepared, trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(series, "draw", draw)
    series.run(prepared())
    assert trained == RUNS, "a whole picture with the first seed, then the next"
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("4 runs: 2 cells x 2 seeds; logs in ")
    assert lines[1].startswith("[1/4] base, seed 0: top-1 50.0 % in 0 s")
    assert "left" in lines[1] and "left" not in lines[4]
    out = tmp_path / "out"
    runs = json.loads((out / "results.json").read_text())
    assert [(run["cell"], run["seed"]) for run in runs] == [
        ("base", 0), ("base", 1), ("model.update=sequential", 0), ("model.update=sequential", 1)
    ]  # fmt: skip
    assert {"score", "rows", "changes", "gflop", "parameters", "seconds", "environment"} <= set(
        runs[3]
    )
    assert runs[3]["changes"] == {"model.update": "sequential"}
    written = {"table.md", "table.csv", "figure.png", "figure.svg"}
    assert {f.name for f in (out / "update").iterdir()} == written
    again = prepared()
    series.run(again)
    assert trained == RUNS and len(again.results) == 4
    assert "4 of them finished already" in capsys.readouterr().err


def test_only_results_are_kept_unless_models_are_wanted(prepared, trained, tmp_path):
    series.run(prepared())
    folder = tmp_path / "out" / "cells" / "base" / "seed_0"
    assert {f.name for f in folder.iterdir()} == {"result.json", "evaluation"}
    assert [f.name for f in (folder / "evaluation").iterdir()] == ["summary.json"]


def test_models_are_kept(prepared, trained, tmp_path):
    series.run(prepared(), keep_models=True)
    folder = tmp_path / "out" / "cells" / "base" / "seed_0"
    assert (folder / "model").is_dir() and (folder / "checkpoints").is_dir()


def test_interrupted_within_a_cell(prepared, trained, tmp_path):
    trained.append("stop")
    with pytest.raises(KeyboardInterrupt):
        series.run(prepared())
    assert trained == RUNS[:1]
    series.run(prepared())
    assert trained == [RUNS[0], RUNS[0] + "/resumed", *RUNS[1:]]


def test_interrupted_between_cells(prepared, trained, tmp_path, monkeypatch):
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(series, "write", interrupted)
        series.run(prepared())
    assert trained == RUNS[:1] and not (tmp_path / "out" / "results.json").exists()
    series.run(prepared())
    assert trained == RUNS, "the finished run is not repeated"
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 4


def test_studies_share_cells_and_results(prepared, trained, tmp_path):
    series.run(prepared())
    series.run(prepared(("mixup",)))
    assert trained[4:] == [
        f"augment.mixup_alpha=0.3{more}/seed_{seed}"
        for seed in (0, 1)
        for more in ("", ",augment.modality_mixup=true")
    ]
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 8
    assert (tmp_path / "out" / "update" / "table.md").is_file()


def test_another_configuration_in_the_same_place(prepared, trained):
    series.run(prepared())
    with pytest.raises(ValueError) as caught:
        series.run(prepared(**{"train.epochs": 7}))
    assert "holds another ablation: train.epochs is 24.0 there and 7.0 here; leave" in str(
        caught.value
    )
    assert len(trained) == 4


def test_a_run_of_another_configuration(prepared, trained, tmp_path):
    series.run(prepared())
    folder = tmp_path / "out" / "cells" / "base" / "seed_0"
    saved = yaml.safe_load((tmp_path / "out" / "base.yaml").read_text())
    saved["train"]["batch_size"] = 4
    (folder / "config.yaml").write_text(yaml.safe_dump(saved))
    content = json.loads((folder / "result.json").read_text()) | {"config_hash": "other"}
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="train.batch_size is 4 there and 16 here"):
        series.run(prepared())


def test_other_clips(prepared, trained, monkeypatch, tmp_path):
    series.run(prepared())
    (row,) = prepared().manifest.rows
    more = dataclasses.replace(prepared().manifest, rows=(dataclasses.replace(row, id="b"),))
    monkeypatch.setattr(series, "load_manifest", lambda data, seed: more)
    with pytest.raises(ValueError, match="was trained on other clips than .* holds now; restore"):
        series.run(prepared())


def test_an_output_that_holds_something_else(prepared, trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note.txt").touch()
    with pytest.raises(ValueError, match="out holds something else; give another --output"):
        series.run(prepared())


def test_a_failure_is_recorded_and_the_others_go_on(prepared, trained, tmp_path, capsys):
    ablation = prepared(**{"augment.flip": 0.5})
    series.run(ablation)
    assert len(trained) == 4 and len(ablation.failures) == 2
    reason = "FloatingPointError: loss nan at step 3 is not finite"
    assert f"seed 0: failed after 0 s: {reason}" in capsys.readouterr().err
    assert f"seed 1: {reason}" in (tmp_path / "out" / "update" / "table.md").read_text()
    assert series.failure_sentence(ablation) == (
        f"2 of 4 runs failed, the first: model.update=sequential, seed 0: {reason}; the same "
        "command tries them again"
    )
    series.run(prepared(**{"augment.flip": 0.5}))
    assert len(trained) == 6, "only what failed is tried again"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (MemoryError("no memory"), "MemoryError: no memory"),
        (ValueError("3 clips do not fill a batch"), "ValueError: 3 clips do not fill a batch"),
        (RuntimeError("CUDA out of memory. Tried"), "RuntimeError: CUDA out of memory. Tried"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "RuntimeError: Default"),
        (RuntimeError("a defect"), None),
        (IndexError("a defect"), None),
    ],
)
def test_which_errors_are_results(prepared, trained, monkeypatch, error, kept):
    def fail(config: RunConfig) -> Path:
        raise error

    monkeypatch.setattr(cells, "_train", fail)
    if kept is None:
        with pytest.raises(type(error), match="a defect"):
            series.run(prepared())
        return
    ablation = prepared()
    series.run(ablation)
    assert [r["failed"].startswith(kept) for r in ablation.failures] == [True] * 4
