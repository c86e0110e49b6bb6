"""Official checkpoints as they lie on disk, and models whose configuration is not known."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from scenic_cases import LOGITS, Case

from sightsound.nn.patch import sample_frames
from sightsound.types import AUDIO, VIDEO
from sightsound.weights import load_foreign


def checkpoint_case(cases: Path, name: str) -> Case:
    """`checkpoint_5` with `checkpoint_config.json` and `checkpoint_expected.npz` beside it."""
    (cases / "mbt" / name).stat()  # not among the cases: skipped, see conftest
    stem = cases / "mbt" / name.rpartition("_")[0]
    config = json.loads(Path(f"{stem}_config.json").read_text())
    with np.load(f"{stem}_expected.npz") as archive:
        return Case(cases / "mbt" / name, config, dict(archive))


def farthest(case: Case, path: Path, config: dict | None, inputs: dict) -> float:
    model = load_foreign("scenic", path, config)
    with torch.no_grad():
        ours = model(inputs).logits.numpy()
    return float(np.abs(ours - case.arrays["eval_logits"]).max())


def only_fusion_layer(config: dict) -> dict:
    return {"model": {"fusion_layer": config["model"]["fusion_layer"]}}


def test_stored_logits(cases: Path, mbt_checkpoint: str):
    case = checkpoint_case(cases, mbt_checkpoint)
    assert farthest(case, case.path, case.config, case.inputs) <= LOGITS


def test_folder_of_checkpoints(cases: Path, mbt_checkpoint: str, tmp_path: Path):
    case = checkpoint_case(cases, mbt_checkpoint)
    shutil.copy(case.path, tmp_path / mbt_checkpoint)
    (tmp_path / "checkpoint_0").write_bytes(b"an earlier one, which is not opened")
    assert farthest(case, tmp_path, case.config, case.inputs) <= LOGITS


def test_every_parameter_is_used(cases: Path, mbt_checkpoint: str):
    """What is left out is no parameter; it is listed."""
    case = checkpoint_case(cases, mbt_checkpoint)
    provenance = load_foreign("scenic", case.path, case.config).info.provenance
    assert provenance["step"] == int(mbt_checkpoint.rpartition("_")[2])
    assert provenance["source"] == f"scenic: {mbt_checkpoint}"
    assert "optimizer/state (not a parameter)" in provenance["dropped"]
    assert all(name.endswith(" (not a parameter)") for name in provenance["dropped"])


def test_checkpoint_without_configuration(cases: Path, mbt_checkpoint: str):
    """Shapes do not tell which frames the official model picks: it is given those, and all else."""
    case = checkpoint_case(cases, mbt_checkpoint)
    config = only_fusion_layer(case.config)
    official = load_foreign("scenic", case.path, case.config).info.arguments
    inferred = load_foreign("scenic", case.path, config).info.arguments
    untold = ("video_shape", "frame_sampling")
    assert without(inferred, *untold) == without(official, *untold)
    video = case.inputs[VIDEO]
    video = video[:, sample_frames(video.shape[1], official["frame_sampling"] or video.shape[1])]
    inputs = {VIDEO: video, AUDIO: case.inputs[AUDIO]}
    assert farthest(case, case.path, config, inputs) <= LOGITS
    sizes = {name: case.config["dataset_configs"][name] for name in ("num_frames", "crop_size")}
    known = load_foreign("scenic", case.path, config | {"dataset_configs": sizes})
    assert known.info.arguments == official


def without(arguments: dict, *names: str) -> dict:
    return {key: value for key, value in arguments.items() if key not in names}


def test_inferred_arguments(cases: Path, mbt_model: str):
    """All but the fusion layer is read off names, shapes and the shapes of the inputs."""
    case = Case.read(cases, mbt_model)
    official = load_foreign("scenic", case.path, case.config)
    inferred = load_foreign("scenic", case.path, only_fusion_layer(case.config))
    assert inferred.info.arguments == official.info.arguments
    assert inferred.info.task == official.info.task
    assert inferred.info.provenance["dropped"] == official.info.provenance["dropped"]
    with torch.no_grad():
        assert torch.equal(inferred(case.inputs).logits, official(case.inputs).logits)


def test_a_planted_error_is_noticed(cases: Path, mbt_checkpoint: str):
    case = checkpoint_case(cases, mbt_checkpoint)
    config = case.changed(fusion_layer=case.config["model"]["fusion_layer"] + 1)
    assert farthest(case, case.path, config, case.inputs) > LOGITS
