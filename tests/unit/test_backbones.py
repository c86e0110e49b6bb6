"""Encoders against the same networks computed with NumPy, and against their published sizes."""

import csv
import json
from collections import Counter

import encoder_files as files
import graph_in_numpy as in_numpy
import numpy as np
import pytest
import torch

from sightsound.features.encoders.densenet201 import DenseNet
from sightsound.features.encoders.vggish import VGGish
from sightsound.features.load import load_encoder
from sightsound.media.frames import read_frames
from sightsound.media.logmel import log_mel, samples_for
from sightsound.media.sound import read_audio
from sightsound.nn.convolution import same_padding


def assert_agree(ours: torch.Tensor, theirs: np.ndarray):
    """Within rounding over 50 layers, relative to the largest: 1e-4 in single precision."""
    error = np.abs(ours.detach().numpy() - theirs).max() / np.abs(theirs).max()
    assert error < (1e-10 if ours.dtype == torch.double else 1e-4)


def picture(height: int, width: int, *, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (2, channels, height, width))


@pytest.mark.parametrize("size, kernel, stride", [(8, 3, 2), (7, 3, 2), (5, 3, 1), (9, 1, 2)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    before, after = same_padding(size, kernel, stride=stride)
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    assert 0 <= after - before <= 1
    assert (before, after) == {(8, 3, 2): (0, 1), (7, 3, 2): (1, 1)}.get(
        (size, kernel, stride), (kernel // 2, kernel // 2)
    )


@pytest.mark.parametrize("kind", ["mobilenet_v1", "mobilenet_v2"])
def test_a_graph_with_random_weights(kind, tmp_path):
    make = getattr(files, f"{kind}_graph")
    graph = make(divide=4, classes=7, size=64)
    encoder = load_encoder(f"{kind}:{files.write_mobilenet(tmp_path, graph)}").double()
    x = picture(64, 50)  # sizes 32 25, 16 13, 8 7, 4 4, 2 2: every kind of padding
    theirs = in_numpy.evaluate(graph, files.graph_arrays(graph), x)
    assert_agree(encoder.logits(torch.from_numpy(x)), theirs)
    assert encoder.num_classes == 7
    assert (encoder.front_end.height, encoder.front_end.width) == (64, 64)


def test_yamnet_with_random_weights(tmp_path):
    graph = files.mobilenet_v1_graph(divide=4, classes=6, size=96, channels=1)
    encoder = load_encoder(f"yamnet:{files.write_yamnet(tmp_path)}").double()
    x = picture(96, 64, channels=1)
    theirs = in_numpy.evaluate(graph, files.graph_arrays(graph), x)
    assert_agree(encoder.logits(torch.from_numpy(x)), theirs)


@pytest.mark.data
@pytest.mark.parametrize(
    "kind, name",
    [("mobilenet_v1", "mobilenet_v1_0.5_160"), ("mobilenet_v2", "mobilenet_v2_1.0_224")],
)
def test_mobilenets_real_weights_agree_with_the_graph_file(kind, name, test_data):
    folder = test_data / "data" / "weights"
    path = folder / f"{name}_quant_dequant_fp32.npz"
    encoder = load_encoder(f"{kind}:{path}")
    graph = json.loads((folder / f"{name}_quant_graph.json").read_text())
    x = picture(75, 96)
    with np.load(path) as arrays:
        theirs = in_numpy.evaluate(graph, dict(arrays), x)
    assert_agree(encoder.logits(torch.from_numpy(x).float()), theirs)
    assert encoder.front_end.height == int(name[-3:])
    assert encoder.labels[:2] == ["background", "tench, Tinca tinca"]
    assert encoder.dropped == ()


@pytest.mark.data
def test_yamnets_real_weights_agree_with_the_layers_file(test_data):
    folder = test_data / "data" / "weights"
    path = folder / "yamnet_dequant_fp32.npz"
    encoder = load_encoder(f"yamnet:{path}")
    layers = json.loads((folder / "yamnet_layers.json").read_text())
    with np.load(path) as arrays:
        arrays = dict(arrays)
    x = np.log(np.random.default_rng(2).uniform(0.001, 4, (2, 1, 96, 64)))
    theirs = x
    for layer in layers:
        kernel, bias = (arrays[f"{layer['name']}_{leaf}"] for leaf in ("weight", "bias"))
        if layer["kind"] == "fc":
            theirs = theirs.mean((2, 3)) @ kernel.T.astype(np.float64) + bias
            continue
        stride = layer["stride"][0]
        theirs = in_numpy.same_padded(theirs, kernel.shape[-1], stride)
        groups = len(kernel) if layer["kind"] == "dw" else 1
        theirs = in_numpy.convolve(theirs, kernel.astype(np.float64), stride=stride, groups=groups)
        theirs = np.clip(theirs + bias[:, None, None], 0, 6)
    assert_agree(encoder.logits(torch.from_numpy(x).float()), theirs)
    assert len(encoder.labels) == 521 and encoder.labels[1] == "Child speech, kid speaking"
    front_end = encoder.front_end  # README of the weights
    numbers = (front_end.rate_hz, front_end.window_samples, front_end.hop_samples)
    assert numbers == (16000, 400, 160)
    assert (front_end.window, front_end.periodic_window) == ("hann", True)
    assert (front_end.fft_samples, front_end.spectrum) == (512, "magnitude")
    assert (front_end.num_mels, front_end.low_hz, front_end.high_hz) == (64, 125.0, 7500.0)
    assert (front_end.log_offset, front_end.num_frames) == (0.001, 96)
    assert (front_end.scale, front_end.mean, front_end.deviation) == (1.0, 0.0, 1.0)


def test_densenet_201_has_its_published_size():
    encoder = DenseNet().eval()
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 20_013_928
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 40, 64)).shape == (1, 1, 2, 1920)
    assert encoder.feature_shape == (7, 7, 1920)
    assert encoder.num_classes == 1000


def test_densenet_agrees_with_numpy(tmp_path):
    tensors = files.densenet_tensors(files.densenet_shapes())
    torch.save(tensors, tmp_path / "densenet.pth")
    encoder = load_encoder(f"densenet201:{tmp_path / 'densenet.pth'}").double()
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    x = picture(32, 32)
    theirs = in_numpy.densenet(arrays, x, blocks=files.BLOCKS)
    ours = encoder(torch.from_numpy(x))
    assert_agree(ours, theirs.transpose(0, 2, 3, 1))
    assert ours.min() == 0  # ReLU after the last norm
    logits = theirs.mean((2, 3)) @ arrays["classifier.weight"].T + arrays["classifier.bias"]
    assert_agree(encoder.logits(torch.from_numpy(x)), logits)


def test_vggish_has_its_published_sizes():
    encoder = VGGish()
    convolutions = [1 * 64, 64 * 128, 128 * 256, 256 * 256, 256 * 512, 512 * 512]
    biases = 64 + 128 + 256 + 256 + 512 + 512
    assert sum(p.numel() for p in encoder.parameters()) == 9 * sum(convolutions) + biases
    with torch.no_grad():
        assert encoder(torch.zeros(2, 1, 96, 64)).shape == (2, 12, 8, 512)
    assert encoder.feature_shape == (12, 8, 512)
    assert (encoder.front_end.num_frames, encoder.front_end.log_offset) == (96, 0.01)
    with pytest.raises(ValueError, match="the weights of VGGish hold no classifier"):
        encoder.logits(torch.zeros(1, 1, 96, 64))


def test_vggish_agrees_with_numpy(tmp_path):
    tensors = files.vggish_tensors()
    torch.save(tensors, tmp_path / "vggish.pth")
    encoder = load_encoder(f"vggish:{tmp_path / 'vggish.pth'}").double()
    x = picture(96, 64, channels=1)
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    theirs = in_numpy.vggish(arrays, x).transpose(0, 2, 3, 1)
    assert_agree(encoder(torch.from_numpy(x)), theirs)


# ---------------------------------------------------------------------------- real clips

SECONDS = 3


def clips(test_data, label: str, *, every: int) -> list:
    folder = test_data / "data" / "drone_av"
    with (folder / "manifest.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file) if row["label"] == label]
    return [folder / path for path in paths[::every]]


@pytest.mark.data
def test_yamnet_hears_helicopters(test_data):
    """A helicopter is an aircraft is a vehicle (AudioSet's ontology): all three are right."""
    encoder = load_encoder(f"yamnet:{test_data / 'data/weights/yamnet_dequant_fp32.npz'}")
    numbers, tops, specific = encoder.front_end, [], []
    for clip in clips(test_data, "helicopter", every=4):
        samples = torch.from_numpy(read_audio(clip, 0.0, SECONDS).samples)
        samples = samples.unflatten(0, (SECONDS, -1))[:, : samples_for(numbers)]
        scores = encoder.logits(log_mel(samples, numbers).unsqueeze(1)).sigmoid().mean(0)
        order = [encoder.labels[index] for index in scores.argsort(descending=True)]
        tops.append(order[0])
        specific.append(next(name for name in order if name not in ("Vehicle", "Aircraft")))
    print(f"top: {Counter(tops)}; most specific: {Counter(specific)}")
    assert Counter(tops).most_common(1)[0][0] == "Helicopter"
    assert sum(name in ("Helicopter", "Aircraft", "Vehicle") for name in tops) > 0.8 * len(tops)
    assert specific.count("Helicopter") > 0.7 * len(specific)


@pytest.mark.data
def test_mobilenet_sees_airliners(test_data):
    """With red and blue exchanged it sees wall clocks."""
    path = test_data / "data/weights/mobilenet_v2_1.0_224_quant_dequant_fp32.npz"
    encoder = load_encoder(f"mobilenet_v2:{path}")
    numbers, tops = encoder.front_end, Counter()
    for clip in clips(test_data, "airplane", every=8):
        size = (numbers.height, numbers.width)
        pixels = read_frames(clip, np.array([0.5, 1.5, 2.5]), size).pixels  # square frames
        pictures = (torch.from_numpy(pixels) - numbers.mean[0]) / numbers.deviation[0]
        scores = encoder.logits(pictures).softmax(-1).mean(0)
        tops[encoder.labels[scores.argmax()]] += 1
    print(tops)
    assert tops.most_common(1)[0][0] == "airliner"
