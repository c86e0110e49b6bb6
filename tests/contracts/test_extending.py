"""The files of docs/extending.md: taken from the page, installed, checked and trained with."""

import re
import sys
from pathlib import Path

import pytest
import test_backbone_contract as backbone_contract
import test_models as model_contract
import torch
from small import RUN_FRONT_END, RUN_MODEL

from sightsound import cli, load_model
from sightsound.config.load import check_component
from sightsound.config.settings import AugmentSettings, DataSettings, RunConfig, TrainSettings
from sightsound.data.synthetic import write_demo
from sightsound.models.mbt import MBT
from sightsound.registry import BACKBONES, FUSIONS, OBJECTIVES, resolve
from sightsound.train.loop import train

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python (\w+\.py)\n(.*?)```", PAGE, re.S))
ENTRY_POINTS = re.findall(r"```toml\n(.*?)```", PAGE, re.S)[0]


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch) -> Path:
    """A folder on the path with the page's files and their entry points, as if installed."""
    folder = tmp_path / "site"
    about = folder / "my_parts-1.0.dist-info"
    about.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my_parts\nVersion: 1.0\n")
    groups = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", ENTRY_POINTS)
    (about / "entry_points.txt").write_text(groups.replace('"', ""))
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_demo(folder, num_train=4, num_val=2, num_test=2, seed=0)
    return folder


def step(path: Path, output: Path, **sections) -> torch.nn.Module:
    """The model after a step of the real loop, on the clips at `path`, as it is loaded again."""
    config = RunConfig(
        model=check_component("model", sections.get("model", RUN_MODEL)),
        objective=check_component("objective", sections.get("objective", {})),
        front_end=RUN_FRONT_END,
        data=DataSettings(path=str(path), num_workers=0),
        augment=AugmentSettings(flip=0.0),
        train=TrainSettings(steps=1, batch_size=2, evaluate_every=1.0),
        output=str(output),
    )
    return load_model(str(train(config) / "model"))


def test_every_file_is_short_and_has_its_entry_point():
    assert set(FILES) == {f"{line.split(':')[1]}.py" for line in named_modules()}
    assert all(len(text.splitlines()) <= 45 for text in FILES.values())


def named_modules() -> list[str]:
    """Lines `name:module` of the entry points on the page."""
    return [f"{a}:{b}" for a, b in re.findall(r'^(\w+) = "(\w+):', ENTRY_POINTS, re.M)]


def test_a_name_that_is_not_installed_is_an_error_with_the_nearest():
    with pytest.raises(ValueError, match="unknown fusion 'mean_exchang'.*Did you mean 'mean_exch"):
        resolve(FUSIONS, "mean_exchang", kind="fusion")
    with pytest.raises(ValueError, match="unknown fusion 'subprocess:Popen'"):
        resolve(FUSIONS, "subprocess:Popen", kind="fusion")


def test_backbone(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(
        backbone_contract.VARIANTS, "conv_video", {"x": ((4, 16, 24), {"width": 8})}
    )
    contract = backbone_contract
    contract.test_tokens_are_those_of_the_grid("conv_video", "x")
    contract.test_what_lies_in_padding_changes_nothing("conv_video", "x", float("nan"))
    contract.test_hidden_cells_are_not_seen("conv_video", "x")
    contract.test_every_parameter_gets_a_gradient("conv_video", "x")
    contract.test_checkpointing_leaves_the_numbers_alone("conv_video", "x")
    model = {"name": "one_stream", "backbone": "conv_video", "options": {"width": 8}}
    loaded = step(clips, tmp_path / "run", model=model)
    assert isinstance(loaded.video, resolve(BACKBONES, "conv_video", kind="backbone"))
    assert loaded.default_explanation == "occlusion"


def test_fusion(clips, tmp_path, monkeypatch):
    model = model_contract.SMALL_MBT | {"fusion": "mean_exchange"}
    monkeypatch.setitem(model_contract.VARIANTS["mbt"], "mean_exchange", model)
    contract, variant = model_contract, ("mbt", "mean_exchange")
    contract.test_shapes(*variant)
    contract.test_every_parameter_gets_a_gradient(*variant)
    contract.test_a_mixed_batch_gives_each_example_the_numbers_it_gets_alone(*variant)
    contract.test_what_lies_in_an_absent_stream_changes_nothing(*variant, float("nan"))
    contract.test_save_and_load_to_the_last_bit(*variant, tmp_path)
    loaded = step(clips, tmp_path / "run", model=RUN_MODEL | {"fusion": "mean_exchange"})
    assert type(loaded.fusion).__name__ == "MeanExchange"


def test_objective(clips, tmp_path):
    focal = resolve(OBJECTIVES, "focal", kind="objective")
    with pytest.raises(ValueError, match="accepts 'single'"):
        focal(task="multi", heads={"label": 3})
    objective = {"name": "focal", "gamma": 1.5}
    loaded = step(clips, tmp_path / "run", objective=objective)
    assert isinstance(loaded, MBT)
    assert "loss" in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_data_set(clips, tmp_path, capsys):
    files = sorted(clips.rglob("*.mp4"))
    parts = ["train", "train", "train", "train", "val", "val", "test", "test"]
    lines = [
        f"{file.name},{'cat' if number % 2 else 'dog'},{part}"
        for number, (file, part) in enumerate(zip(files, parts, strict=False))
    ]
    table = tmp_path / "pets.csv"
    table.write_text("\n".join(lines))
    manifest = tmp_path / "made" / "manifest.csv"
    arguments = ["manifest", "pets", str(table), "--media", str(clips), "--output", str(manifest)]
    assert cli.main(arguments) == 0
    assert "sightsound train" in capsys.readouterr().out
    loaded = step(manifest, tmp_path / "run")
    assert loaded.info.labels == {"label": ["cat", "dog"]}
    table.write_text("a.mp4,owl,train")
    with pytest.raises(ValueError, match=r"line 1: \['a.mp4', 'owl', 'train'\] is no file, animal"):
        cli.main(arguments)
