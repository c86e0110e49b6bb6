"""MobileNets and YAMNet from de-quantised `.npz` files: layers by number, batch norm folded in.

Names are `07_dw_weight`, `08_conv_bias`, `layer27_fc_weight`: number in the order of the graph,
kind, leaf. Kernels are (out, in, kh, kw). The file tells the width and the number of classes, a
`..._graph.json` beside it the size of the picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from sightsound.features.encoder import Encoder
from sightsound.features.encoders.mobilenet_v1 import MobileNetV1
from sightsound.features.encoders.mobilenet_v2 import MobileNetV2
from sightsound.features.encoders.yamnet import YAMNet
from sightsound.weights.tensors import Named, Naming, fill, named

LAYER = re.compile(r"(?:layer)?(\d+)_(?:conv|dw|fc)_(weight|bias)")
WEIGHTS_END, GRAPH_END = "_dequant_fp32.npz", "_graph.json"
PICTURE_SIZE = 224  # where no graph tells it


def mobilenet_v1(path: str) -> Encoder:
    """The picture encoder in a file, of any width; errors as those of `load_encoder`."""
    found = _numbered(path, kind="mobilenet_v1", num_layers=28)
    width = len(found.tensors["26.bias"]) / 1024
    return _filled(MobileNetV1, found, path, width=width, size=_picture_size(Path(path)))


def mobilenet_v2(path: str) -> Encoder:
    """The picture encoder in a file, of any width; errors as those of `load_encoder`."""
    found = _numbered(path, kind="mobilenet_v2", num_layers=53)
    width = len(found.tensors["50.bias"]) / 320
    return _filled(MobileNetV2, found, path, width=width, size=_picture_size(Path(path)))


def yamnet(path: str) -> Encoder:
    """The sound encoder in a file, of any width; errors as those of `load_encoder`."""
    found = _numbered(path, kind="yamnet", num_layers=28)
    return _filled(YAMNet, found, path, width=len(found.tensors["26.bias"]) / 1024)


def _filled(make: Callable[..., Encoder], found: Named, path: str, **sizes: float) -> Encoder:
    """An encoder whose layers, in their order, are those of the file."""
    classes = len(next(reversed(found.tensors.values())))
    encoder = make(num_classes=classes, **sizes)
    tensors = dict(zip(encoder.state_dict(), found.tensors.values(), strict=True))
    tensors["classifier.weight"] = tensors["classifier.weight"].flatten(1)  # a 1 x 1 convolution
    encoder.dropped = found.dropped
    return fill(encoder, tensors, path=path)


def _numbered(path: str, *, kind: str, num_layers: int) -> Named:
    """Tensors "NUMBER.weight", "NUMBER.bias" by number, the weight first as in PyTorch."""
    example = "00_conv_weight" if kind.startswith("mobilenet") else "layer00_conv_weight"

    def number(name: str) -> str | None:
        match = LAYER.fullmatch(name)
        return f"{int(match[1])}.{match[2]}" if match else None

    found = named(path, [Naming("de-quantised", example, number)], kind=kind)
    wanted = [f"{n}.{leaf}" for n in range(num_layers) for leaf in ("weight", "bias")]
    if set(wanted) != set(found.tensors):
        raise ValueError(
            f"{str(path)!r} has {len(found.tensors)} weights and biases, a {kind} has "
            f"{len(wanted)} of {num_layers} layers, {example!r} first; give the file of a {kind}"
        )
    return Named({name: found.tensors[name] for name in wanted}, found.dropped, found.project)


def _picture_size(path: Path) -> int:
    """Height and width of the picture that the graph beside the weights was made for."""
    graph = path.with_name(path.name.replace(WEIGHTS_END, GRAPH_END))
    if graph == path or not graph.is_file():
        return PICTURE_SIZE
    return json.loads(graph.read_text())["info"]["shape"][1]  # (N, H, W, C)
