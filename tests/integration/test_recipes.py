"""Every shipped recipe: it loads, its model can be built at full size, it trains, and what its
header says (commands, classes, cost) is true."""

from __future__ import annotations

import csv
import functools
import math
import re
import shlex
from pathlib import Path

import pytest
import yaml
from recipe_headers import commands, header
from stand_in_encoders import stand_in

from sightsound import cli
from sightsound.build import build_front_end
from sightsound.commands.ablate import _ablate_parser
from sightsound.commands.convert import _convert_parser
from sightsound.commands.evaluate import _evaluate_parser
from sightsound.commands.extract import _extract_parser
from sightsound.commands.manifest import _parser as _manifest_parser
from sightsound.commands.pretrain import _pretrain_parser
from sightsound.commands.train import _train_parser
from sightsound.config.load import config_text, load_config, parse_run, recipe_names
from sightsound.config.parser import Parser
from sightsound.config.settings import RunConfig
from sightsound.data.datasets.classes import class_names
from sightsound.data.synthetic import write_demo
from sightsound.flops import Work
from sightsound.train.loop import train

PARSERS = {
    "convert": _convert_parser,
    "evaluate": _evaluate_parser,
    "extract": _extract_parser,
    "manifest": _manifest_parser,
}
DATA_SETS = ("audioset", "as500k", "vggsound", "epic", "moments", "kinetics400", "kinetics-sounds")
MBT = [f"mbt/{kind}-{name}" for kind in ("paper", "official") for name in DATA_SETS]
MBT.append("mbt/arxiv-v1-audioset")
PUBLISHED_MAFNET = [
    f"mafnet/{name}"
    for name in ("paper-ave", "paper-ucf51", "paper-kinetics-sounds", "released-ave")
]
MAFNET = [*PUBLISHED_MAFNET, "mafnet/first", "mafnet/drone_av", "mafnet/avmnist"]
AVT_DATA = ("epic", "kinetics-sounds", "vggsound")
AVT = [f"avt/paper-{name}{frames}" for name in AVT_DATA for frames in ("", "-32")]
TOY = {
    "model.width": 16,
    "front_end.video.height": 32,
    "front_end.video.width": 32,
    "front_end.video.short_side": 40,
    "data.num_workers": 0,
    "train.batch_size": 4,
    "train.steps": 2,
    "train.evaluate_every": 1000.0,
    "train.accelerator": "cpu",
}
TOY_MBT = {
    "model.depth": 2,
    "model.num_heads": 2,
    "model.mlp_width": 32,
    "model.fusion_layer": 1,
    "front_end.audio.num_frames": 64,
    "front_end.video.num_frames": 4,
}
TOY_AVT = {
    "model.num_heads": 2,
    "model.fusion_depth": 1,
    "model.video_options": {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_width": 8},
    "model.audio_options": {"width": 16, "num_heads": 2, "depth": 1},
    "front_end.audio": {"num_frames": 64, "num_mels": 32},
    "front_end.video.num_frames": 4,
}
TOY_FEATURES = {"front_end.features.segments": 2, "front_end.features.frames_per_segment": 2}


@pytest.fixture(autouse=True)
def encoders(monkeypatch):
    """No weights of encoders are needed, only the shapes of their features."""
    stand_in(monkeypatch)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> dict[str, Path]:
    """{task: manifest} over the same eight clips, without validation."""
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=8, num_val=1, num_test=1, workers=1)
    (folder / "labels.json").unlink()  # names its own classes
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    result = {}
    for task, cells in LABELS.items():
        lines = [{"path": r["path"], "split": "train", **cells(r["label"])} for r in rows]
        result[task] = folder / f"{task}.csv"
        with result[task].open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)
    return result


LABELS = {
    "single": lambda label: {"label": label},
    "multi": lambda label: {"label": label.replace("_", "|")},
    "heads": lambda label: dict(zip(("verb", "noun"), label.split("_")[:2], strict=True)),
}


def classes(name: str) -> dict[str, int]:
    """{head: number of classes} as the header says."""
    (line,) = [line for line in header(name) if line.startswith("Classes: ")]
    heads = re.findall(r"(verb|noun) (\d+)", line)
    return {head: int(number) for head, number in heads} or {
        "label": int(re.match(r"Classes: (\d+)", line)[1])
    }


def gflop(name: str) -> float:
    """Of one clip, forward, with 527 classes, on the meta device at full size."""
    config = load_config(name)
    return _gflop(config_text(RunConfig(model=config.model, front_end=config.front_end)))


@functools.cache  # most recipes share model and front end
def _gflop(text: str) -> float:
    values = yaml.safe_load(text)
    config = RunConfig(model=values["model"], front_end=values["front_end"])
    return Work.of(config).total.flops / 1e9


def test_the_recipes_of_the_papers_and_of_the_released_codes_are_there():
    assert set(MBT) == {n for n in recipe_names() if n.startswith("mbt/")}
    assert set(MAFNET) == {n for n in recipe_names() if n.startswith("mafnet/")}
    assert {*AVT, "avt/first"} == {n for n in recipe_names() if n.startswith("avt/")}


@pytest.mark.parametrize("name", recipe_names())
def test_the_model_can_be_built_and_run_at_full_size(name):
    """On the meta device; GFLOP of MBT, AVT: hundreds; of published MAFnets: some; of ours: < 1."""
    least, most = (
        (300, 3000) if name in MBT + AVT else (3, 10) if name in PUBLISHED_MAFNET else (0, 1)
    )
    assert least < gflop(name) < most


@pytest.mark.parametrize("name", ["demo", "demo_xor", "ablate_toy"])
def test_two_steps_at_toy_size(name, tables, tmp_path):
    """All others: test_recipe_headers.py."""
    run_toy(name, tables, tmp_path)


@pytest.mark.parametrize("name", ["mbt/official-audioset", "mbt/paper-epic"])
@pytest.mark.parametrize("modality", ["audio", "video"])
def test_two_steps_of_one_stream(name, modality, tables, tmp_path):
    run_toy(name, tables, tmp_path, {"model.modalities": [modality]})


def test_two_steps_with_the_classifier_of_the_official_configuration(tables, tmp_path):
    """The overrides that the header of mbt/official-audioset names."""
    text = " ".join(header("mbt/official-audioset"))
    said = text.partition("For gap: ")[2].partition("Classes: ")[0]
    changes = {k: yaml.safe_load(v) for k, v in re.findall(r"--([\w.]+) (\w+)", said)}
    assert changes["model.classifier"] == "gap" and len(changes) == 4
    run_toy("mbt/official-audioset", tables, tmp_path, changes)


def run_toy(name: str, tables: dict[str, Path], folder: Path, changes: dict | None = None) -> None:
    """Two optimiser steps of the real loop: all settings but the sizes are the recipe's."""
    config = toy(name, tables, folder / "run", changes or {})
    directory = train(config)
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    assert len([line for line in lines if '"kind": "step"' in line]) == 2
    assert (directory / "model" / "model.safetensors").is_file()


def toy(name: str, tables: dict[str, Path], output: Path, changes: dict) -> RunConfig:
    config = load_config(name)
    path = tables["single" if config.data.task == "auto" else config.data.task]
    places = {"data.path": str(path), "output": str(output)}
    sizes = TOY_AVT if config.model["name"] == "avt" else TOY_MBT
    small = TOY | (TOY_FEATURES if config.front_end.get("features") else sizes)
    return load_config(name, overrides=small | places | changes)


@pytest.fixture(scope="module")
def parser() -> Parser:
    return _train_parser()


@pytest.mark.parametrize("name", recipe_names())
def test_commands_of_the_header_are_accepted(name, parser, capsys):
    found = commands(name)
    for command, *argv in found:
        if command == "train":
            parse_run(parser, argv)
        elif command == "pretrain":
            parse_run(_pretrain_parser(), argv)
        elif command in PARSERS:
            PARSERS[command]().parse_args(argv)
        elif command == "subset":  # every option is known: only the data is missing
            assert cli.main(["subset", *argv]) == 2
            assert f"no such file or folder: '{argv[0]}'" in capsys.readouterr().err
        else:
            assert (command, argv) == ("demo", [])
    if name in MBT + AVT:
        check_commands(name, found)


def check_commands(name: str, found: list[list[str]]) -> None:
    """Audio and video, audio, video, and an evaluation of all three, of the recipe itself."""
    both, *alone, evaluation = [argv for argv in found if argv[0] != "subset"]
    outputs = [argv[argv.index("--output") + 1] for argv in (both, *alone)]
    assert evaluation == ["evaluate", outputs[0], "--late", *outputs[1:]]
    for argv in (both, *alone):
        assert argv[argv.index("--config") + 1] == name
    if name in MBT:
        assert [argv[-1] for argv in alone] == ['["audio"]', '["video"]']
    else:
        assert [argv[argv.index("--model") + 1] for argv in alone] == ["ast", "uniformer"]


@pytest.mark.parametrize("page", ["mbt", "mafnet", "avt"])
def test_commands_of_the_page_are_accepted(page, parser):
    page = Path(__file__).resolve().parents[2] / "docs" / f"{page}.md"
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.S))
    lines = blocks.replace("\\\n", "").splitlines()
    for program, command, *argv in (shlex.split(x, comments=True) for x in lines if x):
        assert program == "sightsound" and command in cli.COMMANDS
        if command == "train":
            parse_run(parser, argv)
        elif command == "ablate":
            parse_run(_ablate_parser(), argv)
        elif command in PARSERS:
            PARSERS[command]().parse_args(argv)


@pytest.mark.parametrize("name", [*MBT, *PUBLISHED_MAFNET, *AVT])
def test_the_header_says_what_it_should(name):
    text = "\n".join(header(name))
    for word in ("Source: ", "Classes: ", "Command, ", "Data: ", "Expected, as published, not "):
        assert f"\n{word}" in text
    listed = re.search(r"classes/([a-z0-9-]+)\.csv", text)
    assert not listed or len(class_names(listed[1])) == classes(name)["label"]


@pytest.mark.parametrize("name", [*MBT, *AVT])
def test_the_cost_of_the_header(name):
    """Counted operations, exaFLOP and hours agree with one another and with the model."""
    text = " ".join(header(name))
    pattern = (
        r"Cost, estimated: ([\d,]+) GFLOP per clip, forward, x 3 x ([\d,]+) clips x (\d+) epochs = "
        r"([\d.]+) exaFLOP; at 40 % of peak in bf16 \(312 and 989 TFLOP/s\) ([\d.]+) h on an A100 "
        r"or ([\d.]+) h on an H200"
    )
    cost = [float(number.replace(",", "")) for number in re.search(pattern, text).groups()]
    giga, clips, epochs, exa, a100, h200 = cost
    assert giga == round(gflop(name))
    assert epochs == load_config(name).train.epochs
    exact = gflop(name) * 3 * clips * epochs / 1e9
    hours = [exact * 1e18 / (0.4 * peak * 1e12) / 3600 for peak in (312, 989)]
    for said, meant in zip((exa, a100, h200), (exact, *hours), strict=True):
        assert math.isclose(said, meant, rel_tol=0.05), (said, meant)


@pytest.mark.parametrize("name", PUBLISHED_MAFNET)
def test_the_cost_of_the_header_of_mafnet(name):
    """Counted operations of MAFnet itself; those of the encoders are the literature's."""
    text = " ".join(header(name))
    pattern = (
        r"then ([\d.]+) GFLOP per clip, forward, x 3 x ([\d,]+) clips x (\d+) epochs at most = "
        r"([\d.]+) exaFLOP"
    )
    giga, clips, epochs, exa = (
        float(number.replace(",", "")) for number in re.search(pattern, text).groups()
    )
    assert giga == round(gflop(name)) and epochs == load_config(name).train.epochs
    assert math.isclose(exa, gflop(name) * 3 * clips * epochs / 1e9, rel_tol=0.05)


def test_the_settings_that_tell_the_paper_mafnet_and_the_released_one_apart():
    """Section 7 of the comparison in docs/mafnet.md."""
    paper, released = (load_config(f"mafnet/{kind}-ave") for kind in ("paper", "released"))
    assert (paper.train.learning_rate, released.train.learning_rate) == (1e-3, 1e-4)
    assert (paper.model["scorer"], released.model["scorer"]) == ("paper", "released")
    assert (paper.model["logit_norm"], released.model["logit_norm"]) == (False, True)
    assert (paper.train.skip_released, released.train.skip_released) == (False, True)
    assert released.model["norm_decay"] == 0.999
    for config in (paper, released):
        assert (config.train.optimizer, config.train.skip_video) == ("adam", 0.1)
        assert config.train.weight_decay == config.train.clip_norm == config.train.warmup == 0
        assert config.train.final_learning_rate == 1 and not config.model["masked"]
        features = config.front_end["features"]
        assert (features["segments"], features["frames_per_segment"]) == (10, 16)


def test_the_settings_that_tell_paper_and_official_apart():
    paper, official = (load_config(f"mbt/{kind}-audioset") for kind in ("paper", "official"))
    for config, tokens, alpha, apart, smoothing in (
        (paper, 4, 0.3, True, 0.0),
        (official, 5, 0.5, False, 0.3),
    ):
        assert config.model["bottleneck_tokens"] == tokens
        assert (config.augment.mixup_alpha, config.augment.modality_mixup) == (alpha, apart)
        assert config.objective["label_smoothing"] == smoothing
    assert (paper.objective["average_weight"], official.objective["stream_weight"]) == (1, 1)
    assert (paper.objective["stream_weight"], official.objective["average_weight"]) == (0, 0)
    v1 = load_config("mbt/arxiv-v1-audioset")
    assert v1.model == paper.model | {"update": "sequential", "update_order": ["video", "audio"]}


@pytest.mark.parametrize("name", AVT)
def test_avts_settings_are_those_of_its_paper_and_of_uniformer(name):
    """Section 4 of the paper, and what it takes over: UniFormer's scripts."""
    config = load_config(name)
    train, data, augment = config.train, config.data, config.augment
    frames = 32 if name.endswith("-32") else 16
    epochs = {"vggsound": 50, "epic": 100}.get(name.removesuffix("-32").split("-")[-1], 300)
    assert (config.model["bottleneck_tokens"], config.model["fusion_depth"]) == (4, 4)
    assert (config.model["stochastic_depth"], config.model["fusion_stochastic_depth"]) == (0.3, 0)
    assert (train.epochs, train.batch_size) == (epochs, 80 if frames == 16 else 64)
    assert (train.optimizer, train.learning_rate, train.weight_decay) == ("adamw", 1e-4, 0.05)
    assert train.warmup * epochs == pytest.approx(10, rel=1e-5) and train.clip_norm == 20
    for share in (train.first_learning_rate, train.final_learning_rate):
        assert share * train.learning_rate == pytest.approx(1e-6)
    assert (data.repeats, data.crop, tuple(data.crop_scale)) == (2, "random", (0.08, 1.0))
    assert tuple(data.crop_ratio) == pytest.approx((3 / 4, 4 / 3))
    assert (augment.rand_augment_operations, augment.rand_augment_magnitude) == (4, 7)
    assert (augment.rand_augment_deviation, augment.flip, augment.erase) == (0.5, 0.5, 0.25)
    assert augment.mixup_alpha == augment.cutmix_alpha == augment.time_masks == 0
    weights = [config.objective[f"{name}_weight"] for name in ("contrastive", "matching", "masked")]
    assert weights == [0.5, 0.1, 0.01] and config.objective["label_smoothing"] == 0.1
    chosen = [config.objective[n] for n in ("temperature", "embedding_width", "num_segments")]
    assert chosen == [0.07, 256, 50] and config.objective["mask_share"] == 0.04
    shapes = build_front_end(config.front_end).shapes
    assert shapes == {"video": (frames, 224, 224), "audio": (1024, 128)}
    assert (config.evaluate.views, data.synchronous) == (4, False)


def test_warm_up_is_that_of_the_official_schedule():
    """318 steps an epoch: 795 of 15,900 steps."""
    settings = load_config("mbt/official-audioset").train
    steps = settings.epochs * (20361 // settings.batch_size)
    assert (steps, settings.warmup * steps) == (15900, pytest.approx(795))
