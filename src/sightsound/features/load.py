"""Frozen encoders from local files: "mobilenet_v2:FILE", "hf:owner/name" and the like.

The names before the colon are those of `registry.ENCODERS`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from functools import lru_cache
from pathlib import Path

import torch

from sightsound.features.encoder import Encoder
from sightsound.features.encoders.transformers_encoder import TransformersEncoder
from sightsound.features.encoders.vit import ViTEncoder
from sightsound.models.pretrained import CONFIG, load_pretrained
from sightsound.optional import require
from sightsound.registry import ENCODERS, resolve
from sightsound.types import AUDIO, VIDEO
from sightsound.weights.hub import MODEL_FILES, snapshot
from sightsound.weights.vit import load as load_image_vit

LABEL_FILES = {VIDEO: "imagenet_labels.txt", AUDIO: "yamnet_class_map.csv"}  # beside the weights
BACKGROUND = "background"  # class 0 of some weights of ImageNet
LABEL_COLUMN = "display_name"
HASHED = ("*.safetensors", "*.json")  # of a folder


def load_encoder(spec: str) -> Encoder:
    """The frozen encoder that `spec` names, in evaluation mode.

    Args:
        spec: "KIND:PATH", kinds being those of `registry.ENCODERS`. `densenet201` and `vggish` read
            the files of several projects, see `densenet.py`, `vggish.py`; `vit` an image ViT or a
            model of ours; `hf` a folder of transformers or "owner/name" on the hub.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: unknown kind, or the file holds no such encoder.
        ModuleNotFoundError: a package for `hf`, or for Keras's `.h5`, is missing.
    """
    kind, path = split_spec(spec)
    encoder: Encoder = resolve(ENCODERS, kind, kind="encoder")(path)
    encoder = encoder.eval().requires_grad_(False)
    # Convolutions are twice as fast on a CPU; torch's annotations lack this argument.
    encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not hasattr(encoder, "source"):
        encoder.source = path
    if not encoder.labels:
        encoder.labels = _labels_beside(Path(path), encoder)
    return encoder


def split_spec(spec: str) -> tuple[str, str]:
    """(kind, path) of "KIND:PATH".

    Raises:
        ValueError: it has not this form.
    """
    kind, colon, path = str(spec).partition(":")
    if not (colon and path):
        raise ValueError(
            f"encoder {spec!r} is not of the form KIND:PATH, such as 'yamnet:weights/yamnet.npz'; "
            f"kinds: {', '.join(ENCODERS)}"
        )
    return kind, str(Path(path).expanduser())


def vit(path: str) -> Encoder:
    """An image ViT in a format of `image_vit.py`, or the video stream of a model of ours."""
    file = Path(path) / CONFIG
    ours = file.is_file() and "model" in json.loads(file.read_text())
    return ViTEncoder(load_pretrained(path) if ours else load_image_vit(Path(path), None))


def hugging_face(name: str) -> Encoder:
    """A model of transformers in a folder, or on the hub as "owner/name"."""
    require("transformers", extra="hf")  # before anything is downloaded
    source = name if Path(name).is_dir() else snapshot(name, files=MODEL_FILES)
    encoder = TransformersEncoder(source)
    encoder.source = source
    return encoder


def weights_hash(path: str | Path) -> str:
    """64 hexadecimal digits of the content of a file, or of a folder's weights and configuration.

    Remembered as long as sizes and times of change stay the same.

    Raises:
        FileNotFoundError: nothing there.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return _file_hash(path)
    files = sorted({file for pattern in HASHED for file in path.glob(pattern)})
    lines = [f"{file.name} {_file_hash(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _hash_of_version(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_of_version(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _labels_beside(path: Path, encoder: Encoder) -> list[str]:
    """Class names in the file of that name beside the weights, if their number fits."""
    file = (path if path.is_dir() else path.parent) / LABEL_FILES[encoder.modality]
    if not (encoder.num_classes and file.is_file()):
        return []
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    if file.suffix == ".csv":
        lines = [row[LABEL_COLUMN] for row in csv.DictReader(lines)]
    if len(lines) == encoder.num_classes + 1 and lines[0] == BACKGROUND:
        lines = lines[1:]
    return lines if len(lines) == encoder.num_classes else []
