"""The numbers that turn a file into a model's input; they travel with the model.

Free of torch, so that configuration stays fast. `logmel.py` computes what is described here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

Downmix = Literal["itu", "mean"]
Picture = Literal["displayed", "stored"]


class Reading(TypedDict):
    """How files are read: arguments of `media.reader.FileReader` and other readers."""

    downmix: Downmix
    picture: Picture


# What holds for everything that was saved before these fields were: they are not in its JSON.
AS_BEFORE = {"audio": {"downmix": "mean"}, "video": {"picture": "stored"}}


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
    spectrum: Literal["power", "magnitude", "waveform"] = "power"
    """`waveform`: no spectrum, the samples themselves, `num_mels` of them in a frame."""
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
    downmix: Downmix = "itu"
    """How several channels become one: `itu`, speech in the centre keeps its level (BS.775; stereo
    is averaged); `mean` of all channels, as in models made before there was a choice."""

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
    picture: Picture = "displayed"
    """`displayed`: cropped as the container says, pixels of the shape that they have on a screen;
    `stored`: all pixels of a frame, taken for square, as in models made before there was a choice.
    """

    @property
    def span_seconds(self) -> float:
        """Length of time that the frames cover."""
        if self.stride_seconds is None:
            return self.window_seconds
        return self.num_frames * self.stride_seconds

    @property
    def frames_per_second(self) -> float:
        """How densely the frames lie."""
        return self.num_frames / self.span_seconds


FEATURES = "features"  # name of front ends with frozen encoders


@dataclass(frozen=True)
class FeatureFrontEnd:
    """Frozen encoders between the files and the model: features of every segment of a clip.

    A segment is a second. Its frames go through the video encoder and are averaged, its sound
    through the audio encoder (paper MAFnet, sections 3.1 and 4.2).
    """

    segments: int = 10
    """T: seconds of a clip that are looked at, from its start on."""
    frames_per_segment: int = 1
    """Frames of each second; their features are averaged (paper: 16)."""
    video_encoder: str = ""
    """Such as mobilenet_v2:FILE, densenet201:FILE or hf:owner/name; empty: no pictures."""
    audio_encoder: str = ""
    """Such as yamnet:FILE, vggish:FILE or hf:owner/name; empty: no sound."""
    video_maps: bool = False
    """Keep the encoder's map of each frame; otherwise its mean."""
    audio_maps: bool = False
    """Keep the encoder's map of each second of sound; otherwise its mean."""
    half: bool = False
    """Round features to 16 bits: half the disk space."""
    video_weights: str = ""
    """Hash of the encoder's weights; found when it is read."""
    audio_weights: str = ""
    """Hash of the encoder's weights; found when it is read."""
    video_shape: tuple[int, ...] = ()
    """Shape of a segment's features: (D,), (N, D) or (H, W, D); found when it is read."""
    audio_shape: tuple[int, ...] = ()
    """Shape of a segment's features: (D,), (N, D) or (F, M, D); found when it is read."""


@dataclass(frozen=True)
class FrontEnd:
    """Audio part and video part under one name, and frozen encoders behind them if there are."""

    name: str = "mbt"
    audio: AudioFrontEnd = field(default_factory=AudioFrontEnd)
    video: VideoFrontEnd = field(default_factory=VideoFrontEnd)
    features: FeatureFrontEnd | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """What a model reads of a clip: video (T, H, W) and audio (F, M), or features (T, ...).

        With features, a stream without an encoder is left out.
        """
        if self.features is None:
            return {
                "video": (self.video.num_frames, self.video.height, self.video.width),
                "audio": (self.audio.num_frames, self.audio.num_mels),
            }
        found = {"video": self.features.video_shape, "audio": self.features.audio_shape}
        return {name: (self.features.segments, *shape) for name, shape in found.items() if shape}

    @property
    def reading(self) -> Reading:
        """What a reader has to know of it."""
        return {"downmix": self.audio.downmix, "picture": self.video.picture}

    @property
    def id(self) -> str:
        """Name plus a hash of every number: two front ends are equal if their ids are."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def to_dict(self) -> dict:
        """JSON values only."""
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        if self.features is None:
            del values["features"]  # ids from before there were features stay as they were
        for part, fields in AS_BEFORE.items():  # and those from before there were these
            for name, old in fields.items():
                if values[part][name] == old:
                    del values[part][name]
        return values

    @classmethod
    def from_dict(cls, values: dict) -> FrontEnd:
        """The front end that `to_dict` described; unknown keys are a `TypeError`."""
        values = as_before(values)
        video = dict(values["video"])
        for key in ("mean", "deviation"):
            video[key] = tuple(video[key])
        features = dict(values.get("features") or {})
        for key in {"video_shape", "audio_shape"} & features.keys():
            features[key] = tuple(features[key])
        return cls(
            values["name"],
            AudioFrontEnd(**values["audio"]),
            VideoFrontEnd(**video),
            FeatureFrontEnd(**features) if features else None,
        )


def as_before(values: dict[str, Any]) -> dict[str, Any]:
    """Stored parts of a front end, with the fields that older versions did not have."""
    return values | {part: old | (values.get(part) or {}) for part, old in AS_BEFORE.items()}


def picture_front_end(
    height: int,
    width: int,
    *,
    mean: tuple[float, float, float] = (127.5,) * 3,
    deviation: tuple[float, float, float] = (127.5,) * 3,
    short_side: int | None = None,
) -> VideoFrontEnd:
    """One picture per second; without `short_side` the largest part of the frame that fits.

    Frames are scaled bilinearly and cut, never stretched. (MAFnet's released extractor stretches
    them to a square, by nearest neighbour, and passes them through JPEG.)
    """
    return VideoFrontEnd(
        num_frames=1,
        window_seconds=1.0,
        height=height,
        width=width,
        short_side=short_side or min(height, width),
        mean=mean,
        deviation=deviation,
    )


def check_features_part(name: str, features: object) -> None:
    """`ValueError` unless front end `name` has a part `features` exactly if it is "features"."""
    if (name == FEATURES) != bool(features):
        raise ValueError(
            f"front_end is {name!r} with{'' if features else 'out'} a part 'features'; accepted: "
            f"{FEATURES!r} with one, any other name without"
        )
