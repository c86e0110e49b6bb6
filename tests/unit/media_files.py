"""Small files to decode: grey pictures at given times, tones, damaged packets."""

from fractions import Fraction

import av
import numpy as np

from sightsound.media.frames import read_frames

RATE = 16000


def grey(level, height=48, width=64):
    return np.full((height, width, 3), level, np.uint8)


def tone(seconds, rate=RATE, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def write_clip(
    path,
    *,
    levels=(),
    times=(),
    frames=None,
    sound=None,
    sound_start=0.0,
    options=None,
    codec="libx264",
    rotation=None,
    colorspace=None,
    spoil=(),
    muxer=None,
    pixel_aspect=None,
):
    """Grey frames of the given levels (or `frames`) at the given times, and/or a sound."""
    frames = [grey(level) for level in levels] if frames is None else frames
    with av.open(str(path), "w", options=muxer or {}) as container:
        video = audio = None
        if frames:
            video = container.add_stream(codec, rate=24, options=options or {"crf": "8"})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if colorspace is not None:
                video.codec_context.colorspace = colorspace
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation is not None:
                video.set_display_rotation(rotation)
        if sound is not None:
            audio = container.add_stream("aac", rate=RATE, layout="mono")
            audio.bit_rate = 128000
        packets = []
        for pixels, seconds in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if colorspace is not None:
                frame = frame.reformat(format="yuv420p", dst_colorspace=colorspace)
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None) if video else []
        for index in spoil:
            packets[index] = spoiled(packets[index])
        for packet in packets:
            container.mux(packet)
        if audio is not None:
            write_sound(container, audio, sound, round(sound_start * RATE))


def spoiled(packet):
    """The same packet with another content."""
    rubbish = av.Packet(b"\xff" * packet.size)
    rubbish.pts, rubbish.dts, rubbish.duration = packet.pts, packet.dts, packet.duration
    rubbish.time_base, rubbish.stream = packet.time_base, packet.stream
    return rubbish


def write_sound(container, stream, sound, offset):
    for start in range(0, len(sound), 1024):
        chunk = np.ascontiguousarray(sound[None, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE, offset + start
        frame.time_base = Fraction(1, RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def regular(num, rate=24):
    return [k / rate for k in range(num)]


def levels_at(path, times, **kwargs):
    """The mean of each frame shown at `times`, and the frames."""
    frames = read_frames(path, np.array(times), (48, 64), **kwargs)
    return frames.pixels.mean(axis=(1, 2, 3)), frames
