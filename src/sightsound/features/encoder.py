"""The interface of frozen encoders: one second of pictures or sound in, features out.

The networks are in `encoders/`; `load.load_encoder` makes one from local files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from sightsound.media.front_end import AudioFrontEnd, VideoFrontEnd

EXAMPLE_FRAMES = 96  # of VGGish and YAMNet: .96 s; a second gives 98, the last two are not used
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_DEVIATION = (0.229 * 255, 0.224 * 255, 0.225 * 255)


class Encoder(nn.Module):
    """A frozen network, in evaluation mode; called, it gives features (N, *feature_shape).

    Pictures (N, 3, H, W) are RGB, normalised as `front_end` says. Sound is log-mel (N, 1, F, M),
    normalised likewise, or where `reads_waveform` the samples themselves, (N, S) in [-1, 1] at
    `front_end.rate_hz`; no other number of the front end then matters.
    """

    modality: str
    """Either "video" or "audio"."""
    front_end: VideoFrontEnd | AudioFrontEnd
    """Of one segment: one picture, or one example of sound."""
    reads_waveform: bool = False
    feature_shape: tuple[int, ...]
    """Of one segment's features: (h, w, D) before pooling, or (n, D) where they are tokens."""
    num_classes: int = 0
    """Of its own classifier; 0 without one."""
    labels: Sequence[str] = ()
    """Names of its own classes in order; empty if unknown."""
    source: str | Path
    """The file or folder that was read."""
    dropped: Sequence[str] = ()
    """Names in the file that are not used."""

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) of its own classifier; a `ValueError` without one."""
        raise no_classifier(type(self).__name__)


def example_front_end(audio: AudioFrontEnd) -> AudioFrontEnd:
    """One example of 96 frames, `audio` otherwise."""
    return dataclasses.replace(audio, num_frames=EXAMPLE_FRAMES)


def no_classifier(name: str) -> ValueError:
    """The error of an encoder whose weights hold no classifier."""
    return ValueError(f"the weights of {name} hold no classifier, so it has features only")
