#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8 in its wheel), Matroska with PixelCropTop/Bottom (and MP4 with `clap`, the same).
# Behaviour: frames come out uncropped, nothing in PyAV tells the crop (no side data of streams, packets or frames has it),
# but `stream.sample_aspect_ratio` is already that of the cropped picture. So a picture of 64x48, cropped to 64x40 and to be
# shown as 128x40 (shape 3.2), has frames of 64x48 and pixels of 2:1: who multiplies both, as one does, gets 128x48.
# Why it matters: the `ffmpeg` command crops since 7.1 (-apply_cropping), players do, too; whoever trains on frames from PyAV
# sees the black bars and padding that viewers do not, in a shape that no player shows, and cannot find out with PyAV alone.
# Exits 0 if it is so, 1 if it changed.
set -eu
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT; cd "$W"
python3 -m venv v; v/bin/pip install -q av==18.1.0 numpy==2.4.6
cat > try.py <<'PYEOF'
import sys
from fractions import Fraction
import av, numpy as np

with av.open("a.mkv", "w") as out:
    stream = out.add_stream("ffv1", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for _ in range(5):
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
    out.mux(stream.encode(None))

WAY = [b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"]  # Segment, Tracks, TrackEntry, Video
ADDED = {b"\x54\xbb": 4, b"\x54\xaa": 4, b"\x54\xb0": 128, b"\x54\xba": 40, b"\x54\xb2": 0}
# PixelCropTop and -Bottom, DisplayWidth and -Height, DisplayUnit: pixels

def rebuilt(data, way):
    if not way:
        return data + b"".join(name + b"\x81" + bytes([n]) for name, n in ADDED.items())
    made = b""
    while data:
        length = 9 - data[0].bit_length()
        name, data = data[:length], data[length:]
        length = 9 - data[0].bit_length()
        size = int.from_bytes(data[:length], "big") - (1 << 7 * length)
        content, data = data[length:length + size], data[length + size:]
        content = rebuilt(content, way[1:]) if name == way[0] else content
        if name not in (b"\x11\x4d\x9b\x74", b"\x1c\x53\xbb\x6b"):  # places of others, which move
            made += name + b"\x01" + len(content).to_bytes(7, "big") + content
    return made

data = open("a.mkv", "rb").read()
open("b.mkv", "wb").write(rebuilt(data, WAY))
with av.open("b.mkv") as container:
    stream = container.streams.video[0]
    told = any(p.has_sidedata("frame_cropping") for p in container.demux(stream))
with av.open("b.mkv") as container:
    stream = container.streams.video[0]
    frame = next(container.decode(stream))
    told = told or any("CROP" in str(kind).upper() for kind in frame.side_data.keys())
    size, aspect = (frame.width, frame.height), stream.sample_aspect_ratio
print("frames", size, "pixels", aspect, "crop told:", told)
print("shape by these:", float(size[0] * aspect / size[1]), "shape of the file: 3.2 (128 x 40)")
sys.exit(0 if size == (64, 48) and aspect == Fraction(2) and not told else 1)
PYEOF
v/bin/python try.py
