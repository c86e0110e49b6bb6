"""Official checkpoints: names, prefixes, sizes that must be guessed, and error texts."""

import json
from pathlib import Path

import numpy as np
import pytest

from sightsound.weights import load_foreign
from sightsound.weights.scenic import convert, weights_of

CASES = Path(__file__).parents[1] / "parity" / "cases" / "mbt"
INDEX = json.loads((CASES / "INDEX.json").read_text())
NAME = "model_bottleneck_L2_B4.npz"


def stored(name: str = NAME) -> dict[str, np.ndarray]:
    with np.load(CASES / name) as archive:
        return dict(archive)


def same(a, b) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(np.array_equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("prefix", ["", "params/", "param/", "sd/"])
def test_any_prefix(tmp_path, prefix: str):
    arrays = {key.replace("params/", prefix): value for key, value in stored().items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    config = INDEX[NAME]["config"]
    model = load_foreign("scenic", tmp_path / "weights.npz", config)
    assert same(model, load_foreign("scenic", CASES / NAME, config))
    assert model.info.provenance == {"dropped": [], "source": "scenic: weights.npz"}


@pytest.mark.parametrize("name", [n for n in INDEX if n.startswith("model_")])
def test_sizes_without_stored_inputs(name: str):
    """The frames are 16 x 24, the configuration says 16 x 16: the positions decide."""
    config = INDEX[name]["config"]
    model = convert(weights_of(stored(name)), config)
    known = load_foreign("scenic", CASES / name, config)
    assert model.info.arguments == known.info.arguments


def test_shapes_come_from_the_arrays():
    model = load_foreign("scenic", CASES / NAME, INDEX[NAME]["config"])
    arguments = model.info.arguments
    assert arguments["video_shape"] == [8, 16, 24] and arguments["audio_shape"] == [32, 16]
    assert arguments["bottleneck_tokens"] == 5  # "B = 4" of a model with CLS
    assert arguments["audio_channels"] == 3 and arguments["frame_sampling"] == 4
    assert model.info.task == "multi" and not model.training


def test_several_heads():
    config = json.loads(json.dumps(INDEX[NAME]["config"]))
    config["dataset_configs"] |= {"class_splits": [3, 4], "split_names": ["verb", "noun"]}
    config["model_name"] = "mbt_multihead_classification"
    model = convert(weights_of(stored()), config)
    assert model.heads == {"verb": 3, "noun": 4} and model.info.task == "heads"


def test_what_is_left_over_is_listed():
    arrays = weights_of(stored()) | {"something/else": np.zeros(3)}
    model = convert(arrays, INDEX[NAME]["config"])
    assert model.info.provenance["dropped"] == ["something/else"]


def test_errors(tmp_path):
    config = INDEX[NAME]["config"]
    with pytest.raises(ValueError, match="unknown kind of weights 'scenik'.*mean 'scenic'"):
        load_foreign("scenik", CASES / NAME, config)
    with pytest.raises(ValueError, match="needs a config: Scenic's experiment configuration"):
        load_foreign("scenic", CASES / NAME)
    with pytest.raises(ValueError, match="has no 'model' part"):
        load_foreign("scenic", CASES / NAME, {"num_heads": 4})
    with pytest.raises(FileNotFoundError, match="nothing.npz"):
        load_foreign("scenic", tmp_path / "nothing.npz", config)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="text.npz' is not an .npz archive"):
        load_foreign("scenic", tmp_path / "text.npz", config)
    arrays = weights_of(stored())
    del arrays["cls"]
    with pytest.raises(ValueError, match="the checkpoint has no 'cls', which its configuration"):
        convert(arrays, config)
    arrays = weights_of(stored()) | {"cls": np.zeros((1, 1, 31))}
    with pytest.raises(ValueError, match=r"video.cls has shape \(1, 1, 31\), but .* \(1, 1, 32\)"):
        convert(arrays, config)
    with pytest.raises(ValueError, match="holds no transformer layers"):
        convert({"cls": np.zeros(3)}, config)
