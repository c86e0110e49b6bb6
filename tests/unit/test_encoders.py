"""Frozen encoders from files: layouts of other projects, labels, hashes, and what goes wrong."""

import os
import re

import encoder_files as files
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small import SMALL_MBT

from sightsound.features.encoders.densenet201 import DenseNet
from sightsound.features.encoders.densenet201_weights import densenet201
from sightsound.features.encoders.vggish import VGGish
from sightsound.features.load import load_encoder, weights_hash
from sightsound.models.mbt import MBT

PICTURE = torch.linspace(-1, 1, 3 * 32 * 40).reshape(1, 3, 32, 40)
SOUND = torch.linspace(-5, 2, 32 * 16).reshape(1, 1, 32, 16)
DENSENET = files.densenet_tensors(files.densenet_shapes())
VGGISH = files.vggish_tensors()


def saved(folder, name: str, tensors: dict):
    """The path of a file with `tensors` in the container that the end of `name` means."""
    path = folder / name
    if path.suffix == ".npz":
        np.savez(path, **{key: np.asarray(value) for key, value in tensors.items()})
    elif path.suffix == ".safetensors":
        save_file({key: torch.as_tensor(t).contiguous() for key, t in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


# ---------------------------------------------------------------------------- layouts


@pytest.fixture(scope="module")
def densenet_logits(tmp_path_factory):
    path = saved(tmp_path_factory.mktemp("densenet"), "densenet.pth", DENSENET)
    return load_encoder(f"densenet201:{path}").logits(PICTURE)


@pytest.mark.parametrize(
    "name, tensors",
    [
        ("new.safetensors", DENSENET),
        ("old.pth", files.old_names(DENSENET)),
        ("nested.pth", {"state_dict": DENSENET, "epoch": 3}),
        ("keras.npz", files.keras_densenet(DENSENET)),
        ("keras.safetensors", files.keras_densenet(DENSENET)),
    ],
)
def test_a_densenet_is_the_same_in_every_layout(name, tensors, tmp_path, densenet_logits):
    encoder = load_encoder(f"densenet201:{saved(tmp_path, name, tensors)}")
    assert torch.allclose(encoder.logits(PICTURE), densenet_logits, atol=1e-5)
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    if "state_dict" not in tensors:
        assert sorted(encoder.dropped) == sorted(counters)


def test_keras_names_of_its_own_files(tmp_path, densenet_logits):
    """There each layer's name comes twice; newer versions write _ for / and another last layer."""
    own = {}
    for name, array in files.keras_densenet(DENSENET).items():
        layer, leaf = name.rsplit("/", 1)
        layer = layer.replace("fc1000", "predictions")
        layer = layer.replace("conv1/", "conv1_") if layer.endswith("bn") else layer
        own[f"{layer}/{layer}/{leaf}"] = array
    path = saved(tmp_path, "keras.npz", own)
    logits = load_encoder(f"densenet201:{path}").logits(PICTURE)
    assert torch.allclose(logits, densenet_logits, atol=1e-5)


def test_a_legacy_pickle_of_torchvision(tmp_path, densenet_logits):
    path = tmp_path / "densenet201-c1103571.pth"
    torch.save(files.old_names(DENSENET), path, _use_new_zipfile_serialization=False)
    assert torch.equal(load_encoder(f"densenet201:{path}").logits(PICTURE), densenet_logits)


def test_kerass_h5(tmp_path, densenet_logits):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "densenet.h5"
    with h5py.File(path, "w") as file:
        for name, array in files.keras_densenet(DENSENET).items():
            layer, leaf = name.rsplit("/", 1)
            file[f"{layer}/{layer}/{leaf}"] = array
    logits = load_encoder(f"densenet201:{path}").logits(PICTURE)
    assert torch.allclose(logits, densenet_logits, atol=1e-5)


@pytest.mark.parametrize("rename", [lambda tensors: tensors, files.keras_densenet])
def test_all_names_of_densenet_201_are_known(rename, tmp_path):
    """Its 98 layers of one channel each."""
    tensors = files.densenet_tensors(files.densenet_shapes(files.DENSENET_201, 1, 2))
    encoder = load_encoder(f"densenet201:{saved(tmp_path, 'thin.npz', rename(tensors))}")
    with torch.device("meta"):
        assert encoder.state_dict().keys() == DenseNet().state_dict().keys()
    assert all(name.endswith("num_batches_tracked") for name in encoder.dropped)


def test_a_densenet_without_classifier_has_features_only(tmp_path):
    tensors = {name: t for name, t in DENSENET.items() if not name.startswith("classifier")}
    encoder = load_encoder(f"densenet201:{saved(tmp_path, 'notop.safetensors', tensors)}")
    assert encoder(PICTURE).shape == (1, 4, 5, encoder.feature_shape[-1])
    assert encoder.num_classes == 0
    with pytest.raises(ValueError, match="the weights of this DenseNet hold no classifier"):
        encoder.logits(PICTURE)


@pytest.mark.parametrize(
    "name, tensors",
    [
        ("torchvggish.pth", VGGISH),
        (
            "torchaudio.safetensors",
            {key.replace("features.", "features_network."): t for key, t in VGGISH.items()},
        ),
        ("tensorflow.npz", files.slim_vggish(VGGISH)),
        (
            "keras.npz",
            {
                key.removeprefix("vggish/")
                .replace("weights", "kernel:0")
                .replace("biases", "bias:0"): t
                for key, t in files.slim_vggish(VGGISH).items()
            },
        ),
    ],
)
def test_a_vggish_is_the_same_in_every_layout(name, tensors, tmp_path):
    encoder = load_encoder(f"vggish:{saved(tmp_path, name, tensors)}")
    expected = VGGish(channels=files.SMALL_VGGISH)
    state = {
        f"{theirs.rsplit('/')[-1]}.{leaf}": VGGISH[f"{torch_name}.{leaf}"]
        for theirs, (torch_name, _) in files.VGGISH_CONVOLUTIONS.items()
        for leaf in ("weight", "bias")
    }
    expected.load_state_dict(state)
    assert torch.equal(encoder(SOUND), expected(SOUND))
    dropped = [name for name in tensors if "fc1" in name or "embed" in name or "pproc" in name]
    assert list(encoder.dropped) == dropped and dropped


def test_a_saved_model_of_ours_is_an_encoder_of_single_pictures(tmp_path):
    model = MBT(**SMALL_MBT).eval()
    torch.nn.init.normal_(model.head.weight)
    model.info.labels = {"label": ["a", "b", "c"]}
    model.save_pretrained(tmp_path / "model")
    encoder = load_encoder(f"vit:{tmp_path / 'model'}")
    pictures = torch.randn(2, 3, 16, 16)
    assert encoder(pictures).shape == (2, *encoder.feature_shape) == (2, 1 + 4, 8)
    output = model({"video": pictures[:, None]})
    assert torch.equal(encoder(pictures), output.tokens["video"])
    assert torch.equal(encoder.logits(pictures), output.logits)
    assert encoder.labels == ["a", "b", "c"]
    assert (encoder.front_end.num_frames, encoder.front_end.window_seconds) == (1, 1.0)
    assert (encoder.front_end.height, encoder.front_end.width) == (16, 16)


def test_a_model_without_pictures_is_no_encoder_of_pictures(tmp_path):
    MBT(**SMALL_MBT | {"modalities": ("audio",), "video_shape": None}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"the model has the modalities .*'video' is needed"):
        load_encoder(f"vit:{tmp_path}")


# ---------------------------------------------------------------------------- labels


def test_labels_beside_the_weights(tmp_path):
    path = saved(tmp_path, "densenet.safetensors", DENSENET)
    names = [
        "tench",
        "crane",
        "crane",
        "goldfish",
        "cock",
    ]  # two classes of ImageNet are called crane
    labels = tmp_path / "imagenet_labels.txt"
    assert not load_encoder(f"densenet201:{path}").labels
    labels.write_text("\n".join(["background", *names]) + "\n")
    assert load_encoder(f"densenet201:{path}").labels == names
    labels.write_text("\n".join(names) + "\n")
    assert load_encoder(f"densenet201:{path}").labels == names
    labels.write_text("one\ntwo\n")  # of other weights in the same folder
    assert not load_encoder(f"densenet201:{path}").labels


def test_labels_of_sound_are_a_table(tmp_path):
    path = files.write_yamnet(tmp_path, classes=2)
    (tmp_path / "yamnet_class_map.csv").write_text(
        'index,mid,display_name\n0,/m/1,Speech\n1,/m/2,"Child speech, kid speaking"\n'
    )
    assert load_encoder(f"yamnet:{path}").labels == ["Speech", "Child speech, kid speaking"]


# ---------------------------------------------------------------------------- hashes


def test_the_hash_is_of_the_content(tmp_path):
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    one.write_bytes(b"weights")
    other.write_bytes(b"weights")
    assert weights_hash(one) == weights_hash(str(other))
    assert re.fullmatch("[0-9a-f]{64}", weights_hash(one))
    before = weights_hash(one)
    one.write_bytes(b"others!")  # of the same size
    os.utime(one, ns=(1, 1))
    assert weights_hash(one) != before


def test_the_hash_of_a_folder_is_of_weights_and_configuration(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "config.json").write_text("{}")
    before = weights_hash(tmp_path)
    (tmp_path / "README.md").write_text("about it")
    assert weights_hash(tmp_path) == before
    (tmp_path / "config.json").write_text('{"a": 1}')
    changed = weights_hash(tmp_path)
    assert changed != before
    (tmp_path / "model.safetensors").write_bytes(b"12")
    assert weights_hash(tmp_path) not in (before, changed)


# ---------------------------------------------------------------------------- what goes wrong


def test_a_spec_without_kind():
    with pytest.raises(ValueError, match=r"encoder 'weights.npz' is not of the form KIND:PATH.*hf"):
        load_encoder("weights.npz")


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="unknown encoder 'yamnett'.*Did you mean 'yamnet'"):
        load_encoder("yamnett:file.npz")


@pytest.mark.parametrize("kind", ["mobilenet_v2", "yamnet", "densenet201", "vggish", "vit"])
def test_a_missing_file(kind, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no .* at .*weight.npz.*Did you mean .*weights"):
        load_encoder(f"{kind}:{tmp_path / 'weight.npz'}")


@pytest.mark.parametrize(
    "kind, wanted",
    [
        ("mobilenet_v2", "'00_conv_weight' .de-quantised."),
        ("yamnet", "'layer00_conv_weight' .de-quantised."),
        ("densenet201", "'features.conv0.weight' .torchvision. or 'conv1_conv/kernel' .Keras."),
        ("vggish", "'features.0.weight' .torchvggish. or 'conv1/kernel' .Keras."),
    ],
)
def test_a_file_of_another_network(kind, wanted, tmp_path):
    path = saved(tmp_path, "bert.safetensors", {"bert.embeddings.weight": torch.zeros(2)})
    message = f"holds no {kind}: names such as {wanted} were expected; its first names: 'bert.emb"
    with pytest.raises(ValueError, match=message):
        load_encoder(f"{kind}:{path}")


def test_another_mobilenet(tmp_path):
    graph = files.mobilenet_v1_graph(divide=4, classes=3, size=64)
    path = files.write_mobilenet(tmp_path, graph)
    with pytest.raises(ValueError, match="has 56 weights and biases, a mobilenet_v2 has 106 of 53"):
        load_encoder(f"mobilenet_v2:{path}")
    with pytest.raises(ValueError, match=r"not fit YAMNet.*layers.0.weight \(8, 3, 3, 3\) instead"):
        load_encoder(f"yamnet:{path}")


@pytest.mark.parametrize(
    "kind, tensors, lost, message",
    [
        ("densenet201", DENSENET, "features.conv0.weight", "lacks the first convolution"),
        ("densenet201", DENSENET, "features.norm5.bias", r"missing: norm\.bias"),
        ("vggish", VGGISH, "features.11.bias", "lacks convolutions of a vggish, which has 6"),
        ("vggish", VGGISH, "features.13.bias", r"missing: conv4_2\.bias"),
    ],
)
def test_a_tensor_is_missing(kind, tensors, lost, message, tmp_path):
    rest = {name: tensor for name, tensor in tensors.items() if name != lost}
    with pytest.raises(ValueError, match=message):
        load_encoder(f"{kind}:{saved(tmp_path, 'rest.safetensors', rest)}")


def test_no_container_known_here(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"is in no format that is read; accepted: \.npz, \.safet"):
        densenet201(path)


def test_pickled_objects_are_not_read(tmp_path):
    path = tmp_path / "whole.pth"
    torch.save(VGGish(channels=files.SMALL_VGGISH), path)
    with pytest.raises(
        ValueError, match="holds more than tensors and plain values, which is not read"
    ):
        load_encoder(f"vggish:{path}")
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="holds no state dict of tensors"):
        load_encoder(f"vggish:{path}")


def test_a_damaged_safetensors_file(tmp_path):
    path = saved(tmp_path, "net.safetensors", VGGISH)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        ValueError, match=r"net.safetensors' is damaged \(safetensors: .*; fetch it again"
    ):
        load_encoder(f"vggish:{path}")


def test_keras_files_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    path = tmp_path / "net.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 64)
    with pytest.raises(ModuleNotFoundError, match="HDF5 file of Keras.*pip install h5py"):
        load_encoder(f"densenet201:{path}")
