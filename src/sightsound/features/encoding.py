"""From what the loader delivers to what a model reads: normalised, and encoded where asked.

Most models read pixels and log-mel spectrograms. With a `FeatureFrontEnd`, frozen encoders stand
between: each second of a clip becomes its features. Clips are encoded one by one, so that the
numbers do not depend on which other clips a batch holds: cached and fresh features are the same.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from sightsound.data.augment.normalise import normalise
from sightsound.features.encoder import Encoder
from sightsound.media.front_end import (
    FEATURES,
    AudioFrontEnd,
    FeatureFrontEnd,
    FrontEnd,
    VideoFrontEnd,
)
from sightsound.types import AUDIO, VIDEO, Batch


def feature_front_end(features: FeatureFrontEnd) -> FrontEnd:
    """The front end of the encoders that `features` name, with all that follows from them.

    Raises:
        ValueError: no encoder, or one of the other modality.
        FileNotFoundError: weights that are not there.
    """
    if not (features.video_encoder or features.audio_encoder):
        raise ValueError(
            "front_end.features names no encoder; give video_encoder, audio_encoder or both, such "
            "as mobilenet_v2:FILE and yamnet:FILE"
        )
    video, audio = VideoFrontEnd(), AudioFrontEnd()
    if features.video_encoder:
        encoder = _read(features.video_encoder, VIDEO)
        assert isinstance(encoder.front_end, VideoFrontEnd)
        count = features.segments * features.frames_per_segment
        video = dataclasses.replace(
            encoder.front_end, num_frames=count, window_seconds=float(features.segments)
        )
        shape = encoder.feature_shape if features.video_maps else encoder.feature_shape[-1:]
        features = dataclasses.replace(
            features, video_weights=_hash(encoder), video_shape=tuple(shape)
        )
    if features.audio_encoder:
        encoder = _read(features.audio_encoder, AUDIO)
        assert isinstance(encoder.front_end, AudioFrontEnd)
        audio, frame = encoder.front_end, encoder.front_end.rate_hz // 100
        if encoder.reads_waveform:  # the samples themselves, in a hundred frames a second
            audio = AudioFrontEnd(
                rate_hz=audio.rate_hz,
                window_samples=frame,
                hop_samples=frame,
                fft_samples=frame,
                num_mels=frame,
                spectrum="waveform",
            )
        per_second = audio.rate_hz // audio.hop_samples
        audio = dataclasses.replace(audio, num_frames=features.segments * per_second)
        shape = encoder.feature_shape if features.audio_maps else encoder.feature_shape[-1:]
        features = dataclasses.replace(
            features, audio_weights=_hash(encoder), audio_shape=tuple(shape)
        )
    return FrontEnd(FEATURES, audio, video, features)


def _read(spec: str, modality: str) -> Encoder:
    from sightsound.features.load import load_encoder

    encoder = load_encoder(spec)
    if encoder.modality != modality:
        raise ValueError(
            f"front_end.features.{modality}_encoder is {spec!r}, an encoder of {encoder.modality}"
        )
    return encoder


def _hash(encoder: Encoder) -> str:
    from sightsound.features.load import weights_hash

    return weights_hash(encoder.source)[:16]


class Encoding:
    """Turns batches of the loader into inputs of a model with `front_end`.

    Encoders are read when the first batch needs them, so that training from features on disk does
    without them.
    """

    def __init__(self, front_end: FrontEnd, *, device: torch.device | str = "cpu") -> None:
        self.front_end = front_end
        self.device = torch.device(device)
        self._encoders: dict[str, Encoder] = {}

    def __call__(self, batch: Batch) -> Batch:
        """`batch` normalised, with features (B, T, ...) in place of its streams if asked for."""
        if batch.encoded:
            return batch
        batch, features = normalise(batch, self.front_end), self.front_end.features
        return batch if features is None else self._encoded(batch, features)

    @torch.no_grad()
    def _encoded(self, batch: Batch, features: FeatureFrontEnd) -> Batch:
        """Clip by clip: zero where a stream is absent or a segment does not count."""
        streams, valid = {}, dict(batch.valid)
        for modality, inputs in batch.inputs.items():
            encode = self._video if modality == VIDEO else self._audio
            shape = features.video_shape if modality == VIDEO else features.audio_shape
            parts = batch.valid[modality].unflatten(1, (features.segments, -1))
            valid[modality] = counted(parts)
            stream = torch.zeros((*valid[modality].shape, *shape), device=self.device)
            for index in batch.present[modality].nonzero().flatten().tolist():
                stream[index] = encode(inputs[index], parts[index], features)
            stream = torch.where(valid[modality][(...,) + (None,) * len(shape)], stream, 0.0)
            streams[modality] = stream.half().float() if features.half else stream
        masks = [*batch.present.values(), *valid.values()]
        return dataclasses.replace(
            batch,
            video=streams.get(VIDEO),
            audio=streams.get(AUDIO),
            valid=valid,
            encoded=True,
            complete=all(bool(mask.all()) for mask in masks),
        )

    def _video(self, frames: Tensor, valid: Tensor, features: FeatureFrontEnd) -> Tensor:
        """Features (T, ...) of frames (T * k, C, H, W), averaged over the frames of a segment."""
        maps = self._encoder(features.video_encoder, VIDEO, features.video_weights)(frames)
        if not features.video_maps:
            maps = _pooled(maps)
        maps = maps.unflatten(0, valid.shape)
        counts = valid[(...,) + (None,) * (maps.ndim - 2)].to(maps)
        return (maps * counts).sum(1) / counts.sum(1).clamp_min(1)

    def _audio(self, spectrogram: Tensor, valid: Tensor, features: FeatureFrontEnd) -> Tensor:
        """Features (T, ...) of a log-mel (1, F, M): the first frames of every second, as VGGish.

        Where sound ends within a second, silence follows. Encoders of samples get all of them.
        """
        encoder = self._encoder(features.audio_encoder, AUDIO, features.audio_weights)
        audio = self.front_end.audio
        quietest = math.log(audio.log_offset or audio.log_floor or 1.0)
        silence = (quietest - audio.mean) / audio.deviation
        seconds = spectrogram[0].unflatten(0, valid.shape)
        seconds = torch.where(valid[..., None], seconds, silence)
        if encoder.reads_waveform:
            maps = encoder(seconds.flatten(1))
        else:
            maps = encoder(seconds[:, None, : encoder.front_end.num_frames])
        return maps if features.audio_maps else _pooled(maps)

    def _encoder(self, spec: str, modality: str, known: str) -> Encoder:
        if modality not in self._encoders:
            encoder = _read(spec, modality)
            if _hash(encoder) != known:
                raise ValueError(
                    f"the weights of encoder {spec!r} are not those this front end was made with "
                    f"(hash {_hash(encoder)} instead of {known}): bring the old file back, or "
                    "train again"
                )
            self._encoders[modality] = encoder.to(self.device).eval().requires_grad_(False)
        return self._encoders[modality]


def counted(parts: Tensor) -> Tensor:
    """Which segments count, (B, T) bool: half or more of `parts` (B, T, n) is there.

    A clip shorter than half a segment keeps its first one.
    """
    segments = parts.float().mean(2) >= 0.5
    segments[:, 0] |= parts[:, 0].any(1)
    return segments


def _pooled(maps: Tensor) -> Tensor:
    """Mean over all but the first and the last dimension."""
    return maps.flatten(1, -2).mean(1) if maps.ndim > 2 else maps
