"""Small files of encoders in the layouts of other projects, with random weights.

Names and shapes are written out from the published networks, not taken from ours.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

BLOCKS, GROWTH, CLASSES = (2, 3), 4, 5  # of the small DenseNet
DENSENET_201 = (6, 12, 48, 32)
VGGISH_CONVOLUTIONS = {  # {TensorFlow's name: (torchvggish's, group)}
    "conv1": ("features.0", 0),
    "conv2": ("features.3", 1),
    "conv3/conv3_1": ("features.6", 2),
    "conv3/conv3_2": ("features.8", 2),
    "conv4/conv4_1": ("features.11", 3),
    "conv4/conv4_2": ("features.13", 3),
}
SMALL_VGGISH = (2, 3, 4, 5)

# MobileNetV2, table 2: (expansion, channels, blocks, stride).
INVERTED = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
INVERTED += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
SEPARABLE = "64 128/2 128 256/2 256 512/2 512 512 512 512 512 1024/2 1024"  # MobileNet, table 1


# ---------------------------------------------------------------------------- graphs


def convolution(inputs: int, output: int, out: int, into: int, **given) -> dict:
    """One operation of a graph file; `into` 0: depthwise."""
    size = given.get("kernel", 1)
    return {
        "op": "CONV_2D" if into else "DEPTHWISE_CONV_2D",
        "inputs": [inputs],
        "output": output,
        "wshape": [out, into or 1, size, size],
        "act": given.get("act", "relu6"),
        "stride": given.get("stride", 1),
        "padding": "SAME",
    }


def mobilenet_v2_graph(*, divide: int, classes: int, size: int) -> dict:
    """The graph of a MobileNetV2 whose widths are a multiple of 8 nearest to 1 / `divide`."""

    def width(channels: int) -> int:
        return max(8, 8 * round(channels / divide / 8))

    ops = [convolution(0, 1, width(32), 3, kernel=3, stride=2)]
    channels, last = width(32), 1
    for expansion, out, count, stride in INVERTED:
        for repeat in range(count):
            start, inner = last, channels * expansion
            if expansion > 1:
                ops.append(convolution(last, last + 1, inner, channels))
                last += 1
            step = 1 if repeat else stride
            ops.append(convolution(last, last + 1, inner, 0, kernel=3, stride=step))
            ops.append(convolution(last + 1, last + 2, width(out), inner, act=None))
            last += 2
            if step == 1 and channels == width(out):
                ops.append({"op": "ADD", "inputs": [last, start], "output": last + 1})
                last += 1
            channels = width(out)
    ops.append(convolution(last, last + 1, 1280, channels))
    return _finished(ops, last + 1, features=1280, classes=classes, size=size)


def mobilenet_v1_graph(*, divide: int, classes: int, size: int, channels: int = 3) -> dict:
    """The graph of a MobileNet of 1 / `divide` of its width; with one channel, a YAMNet's."""
    width = 32 // divide
    ops = [convolution(0, 1, width, channels, kernel=3, stride=2)]
    last = 1
    for item in SEPARABLE.split():
        out, _, stride = item.partition("/")
        ops.append(convolution(last, last + 1, width, 0, kernel=3, stride=int(stride or 1)))
        ops.append(convolution(last + 1, last + 2, int(out) // divide, width))
        width, last = int(out) // divide, last + 2
    return _finished(ops, last, features=width, classes=classes, size=size)


def _finished(ops: list[dict], last: int, *, features: int, classes: int, size: int) -> dict:
    ops.append({"op": "AVERAGE_POOL_2D", "inputs": [last], "output": last + 1})
    ops.append(convolution(last + 1, last + 2, classes, features, act=None))
    ops.append({"op": "RESHAPE", "inputs": [last + 2], "output": last + 3})
    ops.append({"op": "SOFTMAX", "inputs": [last + 3], "output": last + 4})
    layers = [op for op in ops if "wshape" in op]
    for number, op in enumerate(layers):
        op["name"] = f"{number:02d}_{'conv' if op['op'] == 'CONV_2D' else 'dw'}"
    return {"info": {"input_id": 0, "shape": [1, size, size, 3]}, "ops": ops}


def graph_arrays(graph: dict, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights that keep the size of what flows through; some of it above 6."""
    random, arrays = np.random.default_rng(seed), {}
    for op in (op for op in graph["ops"] if "wshape" in op):
        shape = op["wshape"]
        scale = 2.0 / np.sqrt(np.prod(shape[1:]))
        arrays[f"{op['name']}_weight"] = random.normal(0, scale, shape).astype(np.float32)
        arrays[f"{op['name']}_bias"] = random.normal(0, 0.5, shape[0]).astype(np.float32)
    return arrays


def write_mobilenet(folder: Path, graph: dict, *, name: str = "net") -> Path:
    """`NAME_dequant_fp32.npz` and its graph; the weights' path."""
    path = folder / f"{name}_dequant_fp32.npz"
    np.savez(path, **graph_arrays(graph))
    (folder / f"{name}_graph.json").write_text(json.dumps(graph))
    return path


def write_yamnet(folder: Path, *, divide: int = 4, classes: int = 6) -> Path:
    """A YAMNet: `layer00_conv_weight` and so on, the last one a matrix."""
    graph = mobilenet_v1_graph(divide=divide, classes=classes, size=96, channels=1)
    arrays = {f"layer{name}": array for name, array in graph_arrays(graph).items()}
    arrays["layer27_fc_weight"] = arrays.pop("layer27_conv_weight")[:, :, 0, 0]
    arrays["layer27_fc_bias"] = arrays.pop("layer27_conv_bias")
    path = folder / "yamnet.npz"
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------------------- DenseNet


def densenet_shapes(blocks=BLOCKS, growth=GROWTH, classes=CLASSES) -> dict[str, tuple]:
    """{torchvision's name: shape}; norms by their name alone, with their number of channels."""
    channels = 2 * growth
    shapes: dict[str, tuple] = {"conv0": (channels, 3, 7, 7), "norm0": (channels,)}
    for block, count in enumerate(blocks, start=1):
        for layer in range(1, count + 1):
            name = f"denseblock{block}.denselayer{layer}"
            shapes[f"{name}.norm1"] = (channels,)
            shapes[f"{name}.conv1"] = (4 * growth, channels, 1, 1)
            shapes[f"{name}.norm2"] = (4 * growth,)
            shapes[f"{name}.conv2"] = (growth, 4 * growth, 3, 3)
            channels += growth
        if block < len(blocks):
            shapes[f"transition{block}.norm"] = (channels,)
            shapes[f"transition{block}.conv"] = (channels // 2, channels, 1, 1)
            channels //= 2
    shapes |= {"norm5": (channels,), "classifier": (classes, channels)}
    return shapes


def densenet_tensors(shapes: dict[str, tuple], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors under torchvision's names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        full = name if name == "classifier" else f"features.{name}"
        if len(shape) == 1:
            for leaf in ("weight", "bias", "running_mean"):
                tensors[f"{full}.{leaf}"] = torch.randn(shape, generator=generator)
            tensors[f"{full}.running_var"] = torch.rand(shape, generator=generator) + 0.5
            tensors[f"{full}.num_batches_tracked"] = torch.tensor(7)
        else:
            fan_in = float(np.prod(shape[1:]))
            tensors[f"{full}.weight"] = torch.randn(shape, generator=generator) / fan_in**0.5
    tensors["classifier.bias"] = torch.randn(shapes["classifier"][0], generator=generator)
    return tensors


def old_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The dotted names of torchvision's published files: `norm.1.weight`."""
    for leaf in ("norm1", "norm2", "conv1", "conv2"):
        dotted = f".{leaf[:-1]}.{leaf[-1]}."
        tensors = {
            name.replace(f".{leaf}.", dotted) if "denselayer" in name else name: tensor
            for name, tensor in tensors.items()
        }
    return tensors


def keras_densenet(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The same weights under Keras's names, in its order of axes."""
    leaves = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    parts = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}
    ends = {"conv0": "conv1/conv", "norm0": "conv1/bn", "norm5": "bn", "classifier": "fc1000"}
    arrays = {}
    for name, tensor in tensors.items():
        *where, leaf = name.removeprefix("features.").split(".")
        if leaf == "num_batches_tracked":
            continue
        if where[0] in ends:
            layer = ends[where[0]]
        elif where[0].startswith("transition"):
            kind = {"norm": "bn", "conv": "conv"}[where[1]]
            layer = f"pool{int(where[0][-1]) + 1}_{kind}"
        else:
            stage = int(where[0].removeprefix("denseblock")) + 1
            number = where[1].removeprefix("denselayer")
            layer = f"conv{stage}_block{number}_{parts[where[2]]}"
        norm = layer.endswith("bn")
        new = leaves[leaf] if norm else {"weight": "kernel", "bias": "bias"}[leaf]
        arrays[f"{layer}/{new}:0"] = keras_axes(tensor.numpy())
    return arrays


def keras_axes(array: np.ndarray) -> np.ndarray:
    """(out, in, kh, kw) -> (kh, kw, in, out); (out, in) -> (in, out)."""
    return {4: lambda: array.transpose(2, 3, 1, 0), 2: lambda: array.T}.get(
        array.ndim, lambda: array
    )()


# ---------------------------------------------------------------------------- VGGish


def vggish_tensors(channels=SMALL_VGGISH, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors under torchvggish's names, the embedding and its post-processing included."""
    generator = torch.Generator().manual_seed(seed)
    tensors, before = {}, 1
    for name, group in VGGISH_CONVOLUTIONS.values():
        after = channels[group]
        kernel = torch.randn(after, before, 3, 3, generator=generator)
        tensors[f"{name}.weight"] = kernel / (before * 9) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(after, generator=generator)
        before = after
    tensors["embeddings.0.weight"] = torch.randn(4, 6, generator=generator)
    tensors["pproc.pca_means"] = torch.randn(4, 1, generator=generator)
    return tensors


def slim_vggish(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The same weights under TensorFlow's names, in its order of axes."""
    arrays = {"vggish/fc1/fc1_1/weights": np.zeros((6, 4), np.float32)}
    for theirs, (name, _) in VGGISH_CONVOLUTIONS.items():
        arrays[f"vggish/{theirs}/weights"] = keras_axes(tensors[f"{name}.weight"].numpy())
        arrays[f"vggish/{theirs}/biases"] = tensors[f"{name}.bias"].numpy()
    return arrays
