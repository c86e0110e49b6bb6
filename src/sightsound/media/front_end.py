"""The numbers that turn a file into a model's input; they travel with the model.

Free of torch, so that configuration stays fast. `logmel.py` computes what is described here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class AudioFrontEnd:
    """Log-mel constants. (F, M) = (num_frames, num_mels)."""

    rate_hz: int = 16000
    scale: float = 1.0
    """Factor on the waveform, which is in [-1, 1]."""
    window_samples: int = 400
    hop_samples: int = 160
    fft_samples: int = 512
    window: Literal["hamming", "hann"] = "hamming"
    periodic_window: bool = True
    num_mels: int = 128
    low_hz: float = 20.0
    high_hz: float = 8000.0
    spectrum: Literal["power", "magnitude"] = "power"
    log_offset: float = 0.0
    """Added before the logarithm."""
    log_floor: float = 0.0
    """Smallest value the logarithm sees; 0: none."""
    kaldi: bool = False
    """Subtract the clip's mean, remove each window's mean, pre-emphasise by 0.97."""
    mean: float = 0.0
    deviation: float = 1.0
    """Normalised = (log-mel - mean) / deviation."""
    num_frames: int = 800

    @property
    def window_seconds(self) -> float:
        """Length of sound that fills `num_frames`."""
        return self.num_frames * self.hop_samples / self.rate_hz


@dataclass(frozen=True)
class VideoFrontEnd:
    """Frames: how many, over which time, how large, how normalised."""

    num_frames: int = 8
    window_seconds: float = 8.0
    """Frames are spread uniformly over this window, unless `stride_seconds` is given."""
    stride_seconds: float | None = None
    """Fixed time between frames; the window is then num_frames * stride_seconds."""
    height: int = 224
    width: int = 224
    short_side: int = 256
    """Evaluation: the short side is scaled to this before the centre crop."""
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    deviation: tuple[float, float, float] = (127.5, 127.5, 127.5)
    """Normalised = (pixel in 0..255 - mean) / deviation."""

    @property
    def span_seconds(self) -> float:
        """Length of time that the frames cover."""
        if self.stride_seconds is None:
            return self.window_seconds
        return self.num_frames * self.stride_seconds


@dataclass(frozen=True)
class FrontEnd:
    """Audio part and video part under one name."""

    name: str = "mbt"
    audio: AudioFrontEnd = field(default_factory=AudioFrontEnd)
    video: VideoFrontEnd = field(default_factory=VideoFrontEnd)

    @property
    def id(self) -> str:
        """Name plus a hash of every number: two front ends are equal if their ids are."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def to_dict(self) -> dict:
        """JSON values only."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> FrontEnd:
        """The front end that `to_dict` described; unknown keys are a `TypeError`."""
        video = dict(values["video"])
        for key in ("mean", "deviation"):
            video[key] = tuple(video[key])
        return cls(values["name"], AudioFrontEnd(**values["audio"]), VideoFrontEnd(**video))
