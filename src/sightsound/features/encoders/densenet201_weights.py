"""DenseNet-201 from torchvision's, timm's or Keras's files, with or without the classifier.

| project | a name |
|---|---|
| torchvision, timm | `features.denseblock1.denselayer2.norm1.weight`; older: `...norm.1.weight` |
| Keras | `conv2_block2_0_bn/gamma:0`, `pool2_conv/kernel:0`; its own files have each layer twice |

Sizes come from the tensors, so that the other DenseNets of the paper are read, too.
"""

from __future__ import annotations

import re

from sightsound.features.encoder import Encoder
from sightsound.features.encoders.densenet201 import DenseNet
from sightsound.weights.tensors import Naming, fill, keras_layout, keras_name, named

EPSILON = {"torchvision": 1e-5, "Keras": 1.001e-5}
LEAF = r"(?P<leaf>weight|bias|running_mean|running_var)"
TORCH_LAYER = r"features\.denseblock(\d+)\.denselayer(\d+)"
TORCH_PATTERNS = {  # the numbers of blocks and transitions are those of ours
    r"features\.(conv0|norm0)": r"\1",
    rf"{TORCH_LAYER}\.(norm|conv)\.?(\d)": r"parts.block\1.layer\2.\3\4",
    r"features\.transition(\d+)\.(norm|conv)": r"parts.transition\1.\2",
    r"features\.norm5": "norm",
    "classifier": "classifier",
}
KERAS_LAYERS = {  # of a dense layer
    "0_bn": "norm1",
    "1_conv": "conv1",
    "1_bn": "norm2",
    "2_conv": "conv2",
}
KERAS_ENDS = {
    "conv1_conv": "conv0",
    "conv1_bn": "norm0",
    "bn": "norm",
    "fc1000": "classifier",
    "predictions": "classifier",
}
KERAS_PART = re.compile(r"(?:conv(\d+)_block(\d+)_([012]_\w+)|pool(\d+)_(bn|conv))")


def densenet201(path: str) -> Encoder:
    """The picture encoder in a file; errors as those of `load_encoder`."""
    namings = [
        Naming("torchvision", "features.conv0.weight", _from_torchvision),
        Naming("Keras", "conv1_conv/kernel", _from_keras, keras_layout),
    ]
    weights = named(path, namings, kind="densenet201")
    tensors = weights.tensors
    if "conv0.weight" not in tensors:
        raise ValueError(
            f"{str(path)!r} lacks the first convolution of a densenet201, 'features.conv0.weight' "
            "(torchvision) or 'conv1_conv/kernel' (Keras)"
        )
    blocks: dict[str, set[str]] = {}
    for name in tensors:
        if ".layer" in name:
            block, _, rest = name.partition(".layer")
            blocks.setdefault(block, set()).add(rest.split(".")[0])
    encoder = DenseNet(
        blocks=[len(layers) for _, layers in sorted(blocks.items())],
        growth=len(tensors["conv0.weight"]) // 2,
        num_classes=len(tensors.get("classifier.bias", ())),
        epsilon=EPSILON[weights.project],
    )
    encoder.dropped = weights.dropped
    return fill(encoder, tensors, path=path)


def _from_torchvision(name: str) -> str | None:
    for pattern, ours in TORCH_PATTERNS.items():
        if match := re.fullmatch(rf"{pattern}\.{LEAF}", name):
            return f"{match.expand(ours)}.{match['leaf']}"
    return None


def _from_keras(name: str) -> str | None:
    found = keras_name(name)
    if found is None:
        return None
    layer, leaf = found
    if layer in KERAS_ENDS:
        return f"{KERAS_ENDS[layer]}.{leaf}"
    if match := KERAS_PART.fullmatch(layer):
        stage, number, part, pooled, kind = match.groups()
        if pooled:  # stages and poolings are counted from 2
            return f"parts.transition{int(pooled) - 1}.{'norm' if kind == 'bn' else kind}.{leaf}"
        if part in KERAS_LAYERS:
            return f"parts.block{int(stage) - 1}.layer{number}.{KERAS_LAYERS[part]}.{leaf}"
    return None
