"""VGGish's convolutions from torchvggish's, torchaudio's or TensorFlow's and Keras's files.

| project | a name |
|---|---|
| torchvggish | `features.11.weight` (torchaudio: `features_network.11.weight`) |
| TensorFlow, Keras | `vggish/conv3/conv3_1/weights`, `conv3/conv3_1/kernel:0` |

The layers of the embedding and its post-processing are dropped: MAFnet does not use them.
"""

from __future__ import annotations

import re

from sightsound.features.encoder import Encoder
from sightsound.features.encoders.vggish import GROUPS, VGGish
from sightsound.weights.tensors import Naming, fill, keras_layout, keras_name, named

# Position in torchvggish's list of layers, in which ReLU and poolings count.
TORCH_LAYERS = {
    "0": "conv1",
    "3": "conv2",
    "6": "conv3_1",
    "8": "conv3_2",
    "11": "conv4_1",
    "13": "conv4_2",
}
TORCH_PART = re.compile(r"(?:features|features_network)\.(\d+)\.(weight|bias)")
SLIM_LAYER = re.compile(r"(?:vggish_)?(?:conv\d_)?(conv\d(?:_\d)?)")


def vggish(path: str) -> Encoder:
    """The sound encoder in a file; errors as those of `load_encoder`."""
    namings = [
        Naming("torchvggish", "features.0.weight", _from_torchvggish),
        Naming("Keras", "conv1/kernel", _from_slim, keras_layout),
    ]
    weights = named(path, namings, kind="vggish")
    firsts = [f"{names[0]}.bias" for names in GROUPS]
    if not all(name in weights.tensors for name in firsts):
        raise ValueError(
            f"{str(path)!r} lacks convolutions of a vggish, which has {len(TORCH_LAYERS)}; give "
            "a file with all of them"
        )
    encoder = VGGish(channels=[len(weights.tensors[name]) for name in firsts])
    encoder.dropped = weights.dropped
    return fill(encoder, weights.tensors, path=path)


def _from_torchvggish(name: str) -> str | None:
    match = TORCH_PART.fullmatch(name)
    return f"{TORCH_LAYERS[match[1]]}.{match[2]}" if match and match[1] in TORCH_LAYERS else None


def _from_slim(name: str) -> str | None:
    found = keras_name(name)
    if found is None:
        return None
    layer, leaf = found
    match = SLIM_LAYER.fullmatch(layer)
    return f"{match[1]}.{leaf}" if match and match[1] in TORCH_LAYERS.values() else None
