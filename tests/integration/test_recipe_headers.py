"""The commands of recipes' headers, as printed, on data sets of that layout in small.

Lists and clips are read by the real `sightsound manifest`; what is added to a command makes model,
pictures and length small, and nothing else.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from recipe_headers import commands, header
from stand_in_encoders import stand_in
from toy_sets import TOY_SETS

from sightsound import cli
from sightsound.config.load import load_config, recipe_names
from sightsound.data.synthetic import write_demo
from sightsound.models.unimodal import ASTClassifier, UniFormerClassifier

VIT = Path(__file__).resolve().parents[1] / "parity" / "cases" / "mbt" / "vit_google_research.npz"
MBT = [f"mbt/{kind}-{name}" for kind in ("paper", "official") for name in list(TOY_SETS)[:7]]
MBT.append("mbt/arxiv-v1-audioset")
AVT = [
    f"avt/paper-{name}{frames}"
    for name in ("epic", "kinetics-sounds", "vggsound")
    for frames in ("", "-32")
]
MAFNET = ["mafnet/paper-ave", "mafnet/paper-ucf51", "mafnet/paper-kinetics-sounds"]
MAFNET.append("mafnet/released-ave")
WHOLE = ("mbt/paper-epic", "mbt/official-as500k", "avt/paper-kinetics-sounds", *MAFNET)
"""Every command of these is run: one of each family and each way to report; of others the first."""
OWN = ["first", "avt/first", "pretrain_first", "mafnet/first"]  # on folders of classes
OWN += [f"{kind}/{name}" for kind in ("small", "mafnet") for name in ("avmnist", "drone_av")]
OWN.append("small/avt_avmnist")
VAL = ("epic", "kinetics400", "kinetics-sounds", "moments")  # sets whose papers report `val`

SIZES = {
    "front_end.video.height": 32,
    "front_end.video.width": 32,
    "front_end.video.short_side": 40,
    "data.num_workers": 0,
    "train.batch_size": 4,
    "train.steps": 2,
    "train.epochs": "null",
    "train.evaluate_every": 0.5,
    "train.accelerator": "cpu",
}
SOUND = {"front_end.audio.num_frames": 64}
FRAMES = {"front_end.video.num_frames": 4}
STAGES = {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_width": 8}
LAYERS = {"width": 32, "depth": 2, "num_heads": 4, "mlp_width": 64}
AST = {"width": 16, "num_heads": 2, "depth": 1}
TOY = {
    "mbt": {f"model.{name}": value for name, value in LAYERS.items()}
    | {"model.fusion_layer": 1, **SOUND, **FRAMES},
    "avt": {"model.width": 16, "model.num_heads": 2, "model.fusion_depth": 1}
    | {"model.video_options": STAGES, "model.audio_options": AST, **SOUND, **FRAMES},
    "ast": {f"model.{name}": value for name, value in AST.items()} | SOUND | FRAMES,
    "uniformer": {f"model.{name}": value for name, value in STAGES.items()} | SOUND | FRAMES,
    "mafnet": {"model.width": 16, "front_end.features.segments": 2}
    | {"front_end.features.frames_per_segment": 2},
}


def data_set(name: str) -> str:
    found = name.partition("/")[2].partition("-")[2].removesuffix("-32")
    return "audioset" if found == "v1-audioset" else found


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, tuple[Path, list[str]]]:
    """{data set: its folder, what `sightsound manifest` is given}; runs lie there, too."""
    source = tmp_path_factory.mktemp("clips")
    write_demo(source, num_train=4, num_val=1, num_test=1, workers=1)
    clips = sorted(source.glob("train/*/*.mp4"))
    found = {}
    for name, fill in TOY_SETS.items():
        folder = tmp_path_factory.mktemp(name)
        shutil.copyfile(VIT, folder / "ViT-B_16.npz")
        UniFormerClassifier(heads={"label": 3}, video_shape=(4, 32, 32), **STAGES).save_pretrained(
            folder / "UNIFORMER"
        )
        ASTClassifier(heads={"label": 3}, audio_shape=(64, 128), **AST).save_pretrained(
            folder / "AST"
        )
        found[name] = (folder, fill(folder, clips))
    return found


def test_every_recipe_but_those_of_the_demonstration_is_tried():
    published = {n for n in recipe_names() if "Expected, as published" in "\n".join(header(n))}
    assert published == {*MBT, *AVT, *MAFNET}
    assert {*recipe_names()} - published - {*OWN} == {"demo", "demo_xor", "ablate_toy"}


@pytest.mark.parametrize("name", [*MBT, *AVT, *MAFNET])
def test_commands_of_the_header_run_as_printed(name, places, monkeypatch, capsys):
    stand_in(monkeypatch, small=True)
    folder, listing = places[data_set(name)]
    monkeypatch.chdir(folder)
    printed = commands(name)
    if not any(command == "manifest" for command, *_ in printed):
        (first,) = [a[0] for c, *a in printed if c == "subset"] or [printed[0][1]]
        run("manifest", *listing, "--output", first)
    tables = [argv for argv in printed if argv[0] in ("manifest", "subset")]
    others = [argv for argv in printed if argv not in tables]
    printed = tables + (others if name in WHOLE else others[:1])
    for argv in printed:
        run(*argv, *made_small(argv, family=name.partition("/")[0]))
    check(name, folder, printed)
    capsys.readouterr()


@pytest.fixture(scope="module")
def own_clips(tmp_path_factory) -> Path:
    """Class folders under train, val and test."""
    folder = tmp_path_factory.mktemp("own")
    write_demo(folder, num_train=8, num_val=2, num_test=2, workers=1)
    for name in ("labels.json", "manifest.csv", "truth.csv", "synthetic.json"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize("name", OWN)
def test_commands_for_folders_run_as_printed(name, own_clips, tmp_path, monkeypatch):
    stand_in(monkeypatch, small=True)
    monkeypatch.chdir(tmp_path)
    printed = commands(name)
    assert printed
    for argv in printed:
        Path(argv[1]).symlink_to(own_clips)
        run(*argv, *made_small(argv, family=load_config(name).model["name"]))
        assert Path(argv[argv.index("--output") + 1], "model", "model.safetensors").is_file()


def run(*argv: str) -> None:
    assert cli.main(list(argv)) == 0, argv


def made_small(argv: list[str], *, family: str) -> list[str]:
    """What is added to a command of the header."""
    if argv[0] in ("train", "pretrain"):
        model = argv[argv.index("--model") + 1] if "--model" in argv else family
        values = {**SIZES, **TOY[model]}
        return [part for key, value in values.items() for part in (f"--{key}", dumped(value))]
    if argv[0] == "subset":  # 8 clips of training
        return ["--clips", "6", "--per_class", "2"]
    return ["--bootstrap", "0", "--num_workers", "0"] if argv[0] == "evaluate" else []


def dumped(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def check(name: str, folder: Path, printed: list[list[str]]) -> None:
    """The model that the paper means is kept, and scored on the clips that the paper reports."""
    for argv in printed:
        if argv[0] == "train" and not name.startswith("mafnet/"):
            output = folder / argv[argv.index("--output") + 1]
            config = json.loads((output / "model" / "config.json").read_text())
            assert config["provenance"]["step"] == 2, "the last model"
        if argv[0] == "evaluate":
            found = folder / argv[1] / "evaluation" / "summary.json"
            split = json.loads(found.read_text())["settings"]["split"]
            assert split == ("val" if data_set(name) in VAL else "test")
