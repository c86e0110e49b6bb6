"""Places far into a file are sought: the same pictures and sound as by reading all, sooner."""

import math
import re
from fractions import Fraction

import av
import numpy as np
import pytest

from sightsound.media import seek
from sightsound.media import sound as sound_module
from sightsound.media.examine import examine
from sightsound.media.frames import VideoTrack, read_frames
from sightsound.media.sequential import SequentialReader
from sightsound.media.sound import read_audio

SECONDS, FPS, RATE = 60, 10, 16000
PLACES = np.random.default_rng(0).uniform(seek.NEAR_SECONDS + 3, SECONDS + 1, 6)
OPEN_GROUPS = "bframes=3:keyint=20:min-keyint=20:scenecut=0:open-gop=1"


def pictures(codec, options, pix_fmt="yuv420p"):
    def add(container):
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.codec_context.gop_size = 20
        rng = np.random.default_rng(1)
        for index in range(SECONDS * FPS):
            pixels = np.full((48, 64, 3), 60, np.uint8)
            pixels[:, index % 64] = 250
            pixels[8:16, 8:16] = rng.integers(0, 255, 3)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            yield from ((packet, stream) for packet in stream.encode(frame))
        yield from ((packet, stream) for packet in stream.encode(None))

    return add


def sound(codec, options=None, *, rate=RATE, layout="mono", bit_rate=None):
    def add(container):
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options or {})
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        length = stream.codec_context.frame_size or 1024
        kind = stream.codec_context.codec.audio_formats[0].name
        kind = {"s32p": "s16p", "s32": "s16"}.get(kind, kind)
        stream.codec_context.format = kind
        rng = np.random.default_rng(2)
        for start in range(0, SECONDS * rate, length):
            noise = rng.normal(0, 0.1, (stream.layout.nb_channels, length)).clip(-1, 1)
            samples = noise * 32767 if "s16" in kind else noise
            samples = samples.astype(np.int16 if "s16" in kind else np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            yield from ((packet, stream) for packet in stream.encode(frame))
        yield from ((packet, stream) for packet in stream.encode(None))

    return add


def late(add, seconds):
    """The same stream, later."""

    def moved(container):
        for packet, stream in add(container):
            ticks = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            yield packet, stream

    return moved


def write(path, *streams, muxer=None, format=None):
    """A file of `SECONDS`, its streams in turn as their packets are decoded."""
    with av.open(str(path), "w", options=muxer or {}, format=format) as container:
        packets = [list(found) for found in [add(container) for add in streams]]
        packets = [each for found in packets for each in found]
        for packet, stream in sorted(packets, key=lambda each: each[0].dts * each[0].time_base):
            packet.stream = stream
            container.mux(packet)
    return path


@pytest.fixture
def check(monkeypatch):
    """Asserts that answers are those of decoding all sound and reading all packets of pictures.

    Says which share of the packets was read.
    """
    num_read = [0]
    av_open = av.open

    class Counted:
        """A container that counts the packets that are read."""

        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.container.close()

        def demux(self, *streams):
            for packet in self.container.demux(*streams):
                num_read[0] += 1
                yield packet

    def open_counted(file, mode="r", **options):
        container = av_open(file, mode, **options)
        return Counted(container) if mode == "r" else container

    def answer(question):
        num_read[0] = 0
        return question(), num_read[0]

    def run(*questions):
        questions[0]()  # a clock that may jump is read once for each file
        shares = []
        for question in questions:
            found, num_sought = answer(question)
            with monkeypatch.context() as patch:
                patch.setattr(seek, "can_seek", lambda track: False)
                patch.setattr(sound_module, "FROM_START_SECONDS", math.inf)
                expected, num_all = answer(question)
            for name, value in vars(expected).items():
                assert np.array_equal(getattr(found, name), value), name
            shares.append(num_sought / num_all)
        return np.mean(shares)

    monkeypatch.setattr(av, "open", open_counted)
    return run


CUES = b"\x1c\x53\xbb\x6b"
CLUSTER_POSITION = re.compile(rb"\xf1([\x81-\x84])")  # and its length: RFC 9559, 5.1.5.1.2.2


def led_to_the_end(content):
    """A Matroska file all of whose index entries lead to the last cluster that has one."""
    index = content.rindex(CUES)
    head, index = content[:index], bytearray(content[index:])
    places = [(m.end(), m.end() + m[1][0] - 0x80) for m in CLUSTER_POSITION.finditer(index)]
    first, last = places[-1]
    for begin, end in places:
        if end - begin == last - first:  # the first few are stored in fewer bytes
            index[begin:end] = index[first:last]
    return head + bytes(index)


def copy(path, target):
    """The packets in another container, with the timestamps they have."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return target


def both(path, monkeypatch, *, rate):
    """Half a second of sound at all places inside: sought, and cut from decoding everything."""
    places = PLACES[PLACES < SECONDS - 1]
    found = [read_audio(path, t, t + 0.5, rate).samples for t in places]
    monkeypatch.setattr(sound_module, "FROM_START_SECONDS", math.inf)
    return zip(found, [read_audio(path, t, t + 0.5, rate).samples for t in places], strict=True)


def looks(path):
    """Questions for pictures at all places."""
    return [lambda t=t: read_frames(path, t + np.linspace(0, 1, 4), (24, 32)) for t in PLACES]


def listens(path):
    """Questions for sound at all places."""
    return [lambda t=t: read_audio(path, t, t + 0.5, RATE) for t in PLACES]


X264 = {"preset": "veryfast", "x264-params": OPEN_GROUPS}
X265 = {"preset": "ultrafast", "x265-params": OPEN_GROUPS + ":log-level=none"}
VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "5", "g": "20"}
MPEG4 = {"bf": "2", "g": "20"}
FRAGMENTS = "frag_keyframe+empty_moov"
INDEXED = {"movflags": f"{FRAGMENTS}+dash+global_sidx"}
PICTURES = [
    ("clip.mp4", "libx264", X264, None),
    ("clip.mkv", "libx264", X264, None),
    ("clip.mp4", "libx264", X264, {"movflags": FRAGMENTS}),
    ("clip.mp4", "libx264", X264, {"movflags": FRAGMENTS + "+skip_trailer"}),
    ("clip.mp4", "libx264", X264, INDEXED),
    ("clip.mov", "libx265", X265, None),
    ("clip.mkv", "libx265", X265, None),
    ("clip.webm", "libvpx-vp9", VPX, None),
    ("clip.mp4", "libvpx-vp9", VPX, None),
    ("clip.mkv", "mpeg4", MPEG4, None),
    ("clip.mov", "mpeg4", MPEG4, None),
    ("clip.ts", "libx264", X264, None),
    ("clip.ts", "libx265", X265, None),
    ("clip.ts", "mpeg2video", MPEG4, None),
    ("clip.flv", "libx264", X264, None),
    ("clip.avi", "mpeg4", {"g": "20"}, None),
    ("clip.avi", "libx264", {"preset": "ultrafast", "g": "20"}, None),
    ("clip.avi", "ffv1", {}, None),
]


@pytest.mark.parametrize("name, codec, options, muxer", PICTURES)
def test_pictures_are_those_of_reading_from_the_start(tmp_path, check, name, codec, options, muxer):
    path = write(tmp_path / name, pictures(codec, options), muxer=muxer)
    assert check(*looks(path)) < 0.3


SOUND = [
    ("clip.m4a", "aac", None),
    ("clip.mp4", "libopus", None),
    ("clip.webm", "libopus", None),
    ("clip.mp4", "flac", None),
    ("clip.mka", "flac", None),
    ("clip.flac", "flac", None),
    ("clip.mp4", "libmp3lame", None),
    ("clip.mka", "libmp3lame", None),
    ("clip.m4a", "aac", {"movflags": FRAGMENTS}),
    ("clip.m4a", "alac", None),
    ("clip.mov", "pcm_s16le", None),
    ("clip.mka", "pcm_s16le", None),
    ("clip.wav", "pcm_s16le", None),
    ("clip.w64", "pcm_s16le", None),
    ("clip.aiff", "pcm_s16be", None),
    ("clip.au", "pcm_s16be", None),
    ("clip.mp3", "libmp3lame", None),
    ("clip.mp3", "libmp3lame", {"write_xing": "0"}),
    ("clip.aac", "aac", None),
    ("clip.ts", "aac", None),
]


@pytest.mark.parametrize("name, codec, muxer", SOUND)
def test_sound_is_that_of_reading_from_the_start(tmp_path, check, name, codec, muxer):
    path = write(tmp_path / name, sound(codec), muxer=muxer)
    assert check(*listens(path)) < 0.3


@pytest.mark.parametrize("codec", ["alac", "flac", "aac", "libmp3lame"])
@pytest.mark.parametrize("name", ["clip.mka", "copy.mp4"])
def test_timestamps_rounded_to_milliseconds_move_no_sample(tmp_path, check, name, codec):
    path = write(tmp_path / "clip.mka", sound(codec, rate=44100))
    if name != path.name:
        path = copy(path, tmp_path / name)
    questions = [lambda t=t: read_audio(path, t, t + 0.5, 44100) for t in PLACES]
    assert check(*questions) < 0.3


@pytest.mark.parametrize("name", ["copy.ts", "copy.flv"])
def test_they_move_none_in_streams_either(tmp_path, check, name):
    path = copy(write(tmp_path / "clip.mka", sound("libmp3lame", rate=44100)), tmp_path / name)
    questions = [lambda t=t: read_audio(path, t, t + 0.5, 44100) for t in PLACES]
    assert check(*questions) < 0.3


def test_sound_that_starts_at_half_a_sample_has_no_holes(tmp_path, check):
    """5 ms are 220.5 samples at 44,100 Hz; frames rounded one by one left some out."""
    streams = pictures("mpeg4", MPEG4), late(sound("flac", rate=44100), 1.705)
    path = write(tmp_path / "clip.mkv", *streams)
    assert read_audio(path, 2, SECONDS - 2, 44100).valid.all()
    check(lambda: read_audio(path, 40, 44, 44100))


def test_vorbis_in_matroska_moves_by_less_than_a_millisecond(tmp_path, monkeypatch):
    """Its packets have several lengths, so that nothing says what was rounded."""
    vorbis = sound("vorbis", {"strict": "experimental"}, rate=44100, layout="stereo")
    path = write(tmp_path / "clip.mka", vorbis)
    for found, all_read in both(path, monkeypatch, rate=44100):
        moved = [np.abs(found[50:-50] - np.roll(all_read, k)[50:-50]).max() for k in range(-44, 45)]
        assert min(moved) < 1e-6


def test_noise_that_aac_draws_is_drawn_anew(tmp_path, monkeypatch):
    """At low rates AAC stores how loud noise is (ISO/IEC 14496-3, 4.6.13), not its samples."""
    path = write(tmp_path / "clip.m4a", sound("aac", rate=44100, bit_rate=24000))
    for found, all_read in both(path, monkeypatch, rate=44100):
        assert 0 < np.std(found - all_read) < 2 * np.std(all_read)
        assert np.std(found) == pytest.approx(np.std(all_read), rel=0.05)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov"])
def test_both_streams_one_late(tmp_path, check, name):
    path = write(tmp_path / name, pictures("libx264", X264), late(sound("aac"), 1.7))
    assert check(*looks(path), *listens(path)) < 0.35


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame", "aac"])
def test_sound_beside_pictures_in_avi(tmp_path, check, codec):
    path = write(tmp_path / "clip.avi", pictures("mpeg4", {"g": "20"}), sound(codec))
    assert check(*looks(path), *listens(path)) < 0.35


def test_without_an_index_everything_is_read(tmp_path, check):
    path = write(tmp_path / "clip.ogg", sound("flac"))
    assert check(*listens(path)) == 1


def test_sound_that_is_not_sought_is_counted_from_its_first_sample_too(tmp_path, monkeypatch):
    """Stamps that were milliseconds once; a far window was up to 25 samples beside the right one,
    which is where `ffmpeg -i copy.mpg` and reading from the start have it."""
    path = copy(write(tmp_path / "clip.mka", sound("mp2", rate=44100)), tmp_path / "copy.mpg")
    for found, all_read in both(path, monkeypatch, rate=44100):
        assert np.abs(found - all_read).max() < 1e-4  # its decoder dithers the last of 16 bits


def test_pictures_whose_times_are_guessed_are_read_from_the_start(tmp_path, check):
    """AVI stores the order of decoding; with B frames that is not the order of showing."""
    path = write(tmp_path / "clip.avi", pictures("libx264", X264))
    assert check(*looks(path)) == 1


@pytest.mark.parametrize("name", ["clip.ts", "clip.mpg", "clip.flv"])
def test_decoding_starts_at_a_keyframe(tmp_path, monkeypatch, name):
    """MPEG-TS and the like were decoded from the start, for each clip."""
    path = write(tmp_path / name, pictures("flv" if "flv" in name else "mpeg2video", {"g": "20"}))
    decoded = []
    decode = VideoTrack.decode
    monkeypatch.setattr(
        VideoTrack, "decode", lambda *a: (decoded.append(f) or f for f in decode(*a))
    )
    times = np.array([45.05, 45.45])
    found = read_frames(path, times, (24, 32))
    assert len(decoded) < 60
    every = read_frames(path, np.concatenate([[0.0], times]), (24, 32))
    assert np.array_equal(found.pixels, every.pixels[1:])


def test_matroska_without_an_index(tmp_path, check):
    streams = pictures("libx264", X264), sound("aac")
    path = write(tmp_path / "clip.mkv", *streams, muxer={"live": "1"})
    assert CUES not in path.read_bytes()
    assert check(*looks(path), *listens(path)) < 0.3


def test_an_index_that_leads_too_far_is_given_up(tmp_path, check):
    path = write(tmp_path / "clip.mkv", pictures("libx264", X264), sound("aac"))
    path.write_bytes(led_to_the_end(path.read_bytes()))
    assert check(*looks(path)[:3], *listens(path)[:3]) > 0.9


def test_a_table_that_calls_every_frame_a_keyframe_is_seen_through(tmp_path, check):
    """ISO/IEC 14496-12, 8.6.2: without the box `stss` every sample is a sync sample."""
    path = write(tmp_path / "clip.mp4", pictures("libx264", X264))
    content = path.read_bytes()
    assert content.count(b"stss") == 1
    path.write_bytes(content.replace(b"stss", b"free"))
    found = [look() for look in looks(path)]
    path.write_bytes(content)
    for look, seen in zip(looks(path), found, strict=True):
        assert np.array_equal(seen.pixels, look().pixels)


def test_questions_in_order_start_far_into_a_file(tmp_path, check):
    path = write(tmp_path / "clip.mkv", pictures("libx264", X264), sound("aac"))
    times = np.arange(45.0, 50.0, 0.5)

    def ask(what):
        reader = SequentialReader(path, times)
        answer = (
            reader.frames(path, times, (24, 32))
            if what == "video"
            else reader.sound(path, 45.0, 50.0, RATE)
        )
        reader.close()
        return answer

    assert check(lambda: ask("video"), lambda: ask("audio")) < 0.3


def test_clips_of_one_film_are_examined_without_reading_it_each_time(tmp_path, check):
    path = write(tmp_path / "clip.mkv", pictures("libx264", X264), sound("pcm_s16le"))
    examine(path, start_seconds=5, end_seconds=8)
    clips = [lambda t=t: examine(path, start_seconds=t, end_seconds=t + 3) for t in (41.0, 47.3)]
    assert clips[0]().video.num_decoded == 30
    assert check(*clips) < 0.3
