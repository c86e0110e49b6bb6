"""Records that travel between the parts.

Shapes use one alphabet: B batch, V views, T frames, C channels, H W pixels, F spectrogram frames,
M mel bins, S samples, N tokens, Z bottleneck tokens, D width, K classes.
Modalities are "video" and "audio" everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

VIDEO, AUDIO = "video", "audio"
MODALITIES = (VIDEO, AUDIO)
WORDS = {AUDIO: "sound", VIDEO: "pictures"}  # for people; code says audio and video


class Masks(TypedDict, total=False):
    """Keyword arguments of a model: which streams, and which frames of them, are there."""

    present: dict[str, Tensor]
    valid: dict[str, Tensor]


@dataclass(frozen=True)
class Problem:
    """One file that could not be used, or not wholly: what the run's report lists."""

    id: str
    path: str
    modality: str  # "video", "audio" or "clip" (both)
    cause: str
    action: str  # "dropped": no example; "masked": stream absent; "partial": what decoded was used


@dataclass
class Clip:
    """One example on the CPU, decoded and cut, before any augmentation.

    An absent stream is `None` here and becomes a masked zero tensor in `Batch`.
    """

    id: str
    video: Tensor | None  # (T, C, H, W) uint8
    audio: Tensor | None  # (1, F, M) float32 log-mel, not yet normalised
    video_valid: Tensor | None  # (T,) bool: false where a frame is padding
    audio_valid: Tensor | None  # (F,) bool: false outside the audio stream
    target: Tensor  # (K,) float; zeros where there is no label
    view: int = 0
    problems: tuple[Problem, ...] = ()
    encoded: bool = False  # features (T, ...) of frozen encoders in place of pixels and log-mel
    source: str = ""  # the file it is cut from; empty: the clip is its own
    starts: dict[str, float] = field(default_factory=dict)
    """{modality: where its window starts, in seconds of the file}, as far as one was looked at."""

    frame_times: Tensor | None = None  # (T,) seconds of the file when the frames given start


@dataclass
class Batch:
    """Stacked clips. Treat as immutable: use `dataclasses.replace`."""

    video: Tensor | None  # (B, T, C, H, W): uint8 from the loader, float once normalised
    audio: Tensor | None  # (B, 1, F, M) float: log-mel from the loader, then normalised
    present: dict[str, Tensor]  # {modality: (B,) bool}
    valid: dict[str, Tensor]  # {"video": (B, T) bool, "audio": (B, F) bool}
    target: Tensor  # (B, K) float
    id: list[str]
    view: Tensor  # (B,) long
    modality_target: dict[str, Tensor] | None = None  # {modality: (B, K)} after modality mixup
    complete: bool = False  # known on the CPU: everything present and valid, masks not needed
    problems: tuple[Problem, ...] = ()
    encoded: bool = False  # features (B, T, ...) of frozen encoders in place of pixels and log-mel
    source: list[str] = field(default_factory=list)  # of each clip; empty: `id`

    def __len__(self) -> int:
        return len(self.id)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """{modality: tensor} of the streams this batch carries."""
        streams = {VIDEO: self.video, AUDIO: self.audio}
        return {name: stream for name, stream in streams.items() if stream is not None}

    @property
    def masks(self) -> Masks:
        """Keyword arguments `present` and `valid` of a model; empty if nothing is masked."""
        return {} if self.complete else {"present": self.present, "valid": self.valid}

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor on `device`."""
        values = vars(self).copy()
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = value.to(device, non_blocking=True)
            elif isinstance(value, dict):
                values[name] = {k: v.to(device, non_blocking=True) for k, v in value.items()}
        return Batch(**values)


@dataclass
class Encoded:
    """What `model.encode` returns: streams before fusion.

    `present` and `key_mask` are `None` when nothing is masked.
    """

    tokens: dict[str, Tensor]  # {modality: (B, N, D)}, CLS first where the model has one
    pooled: dict[str, Tensor]  # {modality: (B, D)}
    present: dict[str, Tensor] | None = None  # {modality: (B,) bool}
    key_mask: dict[str, Tensor] | None = None  # {modality: (B, N) bool}: true may be attended to
    attention: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Output:
    """What a model returns. `logits` holds all heads side by side, sliced by `model.heads`."""

    logits: Tensor  # (B, K)
    modality_logits: dict[str, Tensor] = field(default_factory=dict)  # {modality: (B, K)}
    tokens: dict[str, Tensor] = field(default_factory=dict)  # {modality: (B, N, D)} after norm
    pooled: dict[str, Tensor] = field(default_factory=dict)  # {modality: (B, D)} after fusion
    encoded: dict[str, Tensor] = field(default_factory=dict)  # {modality: (B, D)} before fusion
    attention: dict[str, Tensor] | None = None
    contributions: dict[str, Tensor] | None = None


@dataclass
class ModelInfo:
    """What a model needs besides its weights; the content of `config.json`."""

    name: str  # key of registry.MODELS
    arguments: dict  # of the constructor, JSON values only
    front_end: dict | None = None  # FrontEnd.to_dict()
    labels: dict[str, list[str]] = field(default_factory=dict)  # {head: class names in order}
    task: str = "single"  # single, multi, heads; none: pre-trained without labels
    provenance: dict = field(default_factory=dict)
    prevalence: list[float] = field(default_factory=list)  # (K,) see `Manifest.prevalence`
