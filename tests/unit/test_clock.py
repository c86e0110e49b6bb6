"""One clock for all streams: lengths that headers get wrong, recordings that were joined.

The right values are arithmetic on what is written here; where they are not obvious, the ffmpeg
command (5.1) was asked, as the comments say.
"""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import RATE, grey, tone, write_clip

from sightsound.data.manifest import Row
from sightsound.doctor.clips import clip_findings
from sightsound.media import clock, decode
from sightsound.media.clock import Shifts
from sightsound.media.decode import opened
from sightsound.media.examine import examine
from sightsound.media.frames import read_frames
from sightsound.media.links import links
from sightsound.media.probe import probe, read_duration
from sightsound.media.sequential import SequentialReader
from sightsound.media.sound import read_audio
from sightsound.media.source import find

DARK, LIGHT = 60, 200
CODECS = {"ts": "mpeg4", "mpg": "mpeg2video", "mkv": "mpeg4", "webm": "libvpx", "flv": "flv"}


def write_av(path, level, hertz, *, seconds=2.0, codec=None, sound_codec=None):
    """One grey level at 10 frames per second, and a tone of the same length."""
    suffix = path.suffix[1:]
    sound_codec = sound_codec or ("libopus" if suffix == "webm" else "mp2")
    rate = {"libopus": 48000, "libmp3lame": 44100}.get(sound_codec, 16000)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec or CODECS[suffix], rate=25, options={"g": "10"})
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio = container.add_stream(sound_codec, rate=rate, layout="mono")
        packets = []
        for k in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None) + encoded(audio, tone(seconds, rate, hertz), rate)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)


def encoded(stream, sound, rate):
    """Packets of sound (S,), the same in all channels."""
    layout = stream.codec_context.layout
    samples = (sound[:, None] * 32767).astype(np.int16).repeat(layout.nb_channels, axis=1)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout.name)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    return stream.encode(frame) + stream.encode(None)


def write_sound_file(path, codec, sound, *, rate=48000, options=None, muxer=None):
    """FFmpeg's own encoder of Vorbis is called experimental, and has two channels only."""
    layout = "stereo" if codec == "vorbis" else "mono"
    options = {"strict": "experimental"} if codec == "vorbis" else options or {}
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        for packet in encoded(stream, sound, rate):
            container.mux(packet)


def join(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def restamped(source, target, seconds):
    """The same packets; `seconds` of a packet's stamp are added to it."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                more = round(seconds(float(packet.dts * packet.time_base)) / packet.time_base)
                packet.pts, packet.dts = packet.pts + more, packet.dts + more
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return target


def pitch(path, start, stop):
    """Hertz of the loudest tone, of sound that must all be there."""
    sound = read_audio(path, start, stop)
    assert sound.valid.all()
    return np.abs(np.fft.rfft(sound.samples)).argmax() / (stop - start)


def check_both(path, *, seconds=4.0, parts=((DARK, 400), (LIGHT, 2000))):
    """Two seconds of each part, one after the other, pictures and sound."""
    assert read_duration(path) == probe(path).duration_seconds == pytest.approx(seconds, abs=0.2)
    for number, (level, hertz) in enumerate(parts):
        times = 2 * number + np.array([0.4, 1.0, 1.6])
        frames = read_frames(path, times, (8, 8))
        assert frames.valid.all()
        assert np.abs(frames.pixels.astype(int) - level).max() < 20
        assert pitch(path, times[0], times[-1]) == pytest.approx(hertz, abs=5)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """{suffix: files of two seconds, dark with a low tone and light with a high one}"""
    folder = tmp_path_factory.mktemp("parts")
    found = {}
    for suffix in ("ts", "mpg", "mkv"):
        found[suffix] = [folder / f"{k}.{suffix}" for k in range(2)]
        write_av(found[suffix][0], DARK, 400)
        write_av(found[suffix][1], LIGHT, 2000)
    return found


# Recordings that were joined


@pytest.mark.parametrize("suffix", ["ts", "mpg", "mkv"])
def test_recordings_joined_by_appending_play_one_after_the_other(tmp_path, parts, suffix):
    path = join(tmp_path / f"both.{suffix}", *parts[suffix])
    check_both(path)
    check_both(join(tmp_path / f"back.{suffix}", *parts[suffix][::-1]), parts=BACK)
    frames, sound = read_frames(path, np.array([3.0]), (8, 8)), read_audio(path, 1.0, 3.0)
    for problems in (frames.problems, sound.problems):
        assert len(problems) == 1
        assert problems[0].endswith("; what follows is played on")
    assert read_audio(path, 0.0, 1.0).problems == ()


BACK = ((LIGHT, 2000), (DARK, 400))


@pytest.mark.parametrize("start", [-40.0, 60.0, 95443.7 - 1.5])
def test_the_second_clock_may_be_earlier_later_or_turn_over(tmp_path, parts, start):
    """The clock of MPEG's transport streams has 33 bits of 1/90000 s: 95,443.7 s."""
    first, second = parts["ts"]
    first = restamped(first, tmp_path / "1.ts", lambda _: 50)
    second = restamped(second, tmp_path / "2.ts", lambda _: 50 + start)
    path = join(tmp_path / "both.ts", first, second)
    check_both(path)
    assert "the clock jumps by" in read_audio(path, 1.0, 3.0).problems[0]


def test_three_recordings(tmp_path, parts):
    path = join(tmp_path / "three.ts", *parts["ts"], parts["ts"][0])
    check_both(path, seconds=6.0, parts=((DARK, 400), (LIGHT, 2000), (DARK, 400)))
    assert len(read_audio(path, 0.0, 6.0).problems) == 2


def test_a_second_recording_without_pictures(tmp_path, parts):
    """Its sound has the number that the pictures had: FFmpeg makes the stream one of sound."""
    write_sound_file(tmp_path / "sound.ts", "mp2", tone(2.0, 48000, 2000))
    path = join(tmp_path / "both.ts", parts["ts"][0], tmp_path / "sound.ts")
    frames = read_frames(path, np.array([3.0]), (8, 8))  # the last picture is still shown
    assert np.abs(frames.pixels.astype(int) - DARK).max() < 20
    assert probe(path).missing == ()


def test_a_gap_of_seconds_remains_one(tmp_path, parts):
    """As ffmpeg's -dts_delta_threshold says: up to 10 s. Here the second half comes 3 s late."""
    path = restamped(parts["ts"][0], tmp_path / "gap.ts", lambda t: 3 * (t >= 1.0))
    assert read_duration(path) == pytest.approx(5.0, abs=0.2)
    sound = read_audio(path, 0.0, 5.0)
    assert not sound.valid[int(1.1 * RATE) : int(3.9 * RATE)].any() and sound.valid.mean() < 0.45
    assert sound.problems == ()


def test_live_stamps_that_leap_ahead_are_bridged(tmp_path):
    """RTMP servers go on with the time since they were started."""
    write_av(tmp_path / "even.flv", DARK, 400, seconds=4.0, sound_codec="libmp3lame")
    path = restamped(tmp_path / "even.flv", tmp_path / "leap.flv", lambda t: 3600 * (t > 1.9))
    check_both(path, parts=((DARK, 400), (DARK, 400)))
    assert "the clock jumps by +3600.00 s" in read_audio(path, 0.0, 4.0).problems[0]


@pytest.mark.parametrize(
    "suffix, codec, rates",
    [
        ("ogg", "libopus", (48000, 48000)),
        ("ogg", "vorbis", (44100, 44100)),
        ("ogg", "vorbis", (44100, 22050)),
        ("ogg", "flac", (44100, 22050)),
        ("flac", "flac", (44100, 44100)),
    ],
)
def test_chained_sound(tmp_path, suffix, codec, rates):
    """ffmpeg decodes 10.00 to 10.02 s of two links of 5 s; of joined FLAC files 9.70 s."""
    files = [tmp_path / f"{k}.{suffix}" for k in range(2)]
    for path, rate, hertz in zip(files, rates, (440.0, 880.0), strict=True):
        write_sound_file(path, codec, tone(2.0, rate, hertz), rate=rate)
    path = join(tmp_path / f"both.{suffix}", *files)
    assert read_duration(path) == pytest.approx(4.0, abs=0.02)
    assert pitch(path, 0.2, 1.8) == pytest.approx(440, abs=2)
    assert pitch(path, 2.2, 3.8) == pytest.approx(880, abs=2)
    sound = read_audio(path, 0.0, 4.0)
    assert sound.valid.mean() > 0.99
    assert sound.problems == (
        "audio: at 2.00 s another recording is joined; what follows is played on",
    )
    with opened(path, start_seconds=0.0) as media:
        assert media.is_joined


def test_joined_recordings_read_in_one_pass_are_the_same(tmp_path, parts):
    path = join(tmp_path / "both.mkv", *parts["mkv"])
    times = np.arange(0.1, 4.0, 0.2)
    reader = SequentialReader(path, times)
    assert reader.duration(path) == read_duration(path)
    for start in (0.0, 1.5, 2.5):
        wanted = times[(times >= start) & (times < start + 1.5)]
        found, expected = reader.frames(path, wanted, (8, 8)), read_frames(path, wanted, (8, 8))
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        sounds = [reader.sound(path, start, start + 1, RATE), read_audio(path, start, start + 1)]
        np.testing.assert_array_equal(sounds[0].samples, sounds[1].samples)


def test_links_of_one_stream_each_are_found(tmp_path):
    """A file of one recording has no links, several streams begin one link."""
    write_av(tmp_path / "one.mkv", DARK, 400, seconds=0.4)
    write_av(tmp_path / "live.webm", DARK, 400, seconds=0.4)
    write_av(tmp_path / "one.ogg", DARK, 400, seconds=0.4, codec="libvpx", sound_codec="flac")
    for name in ("one.mkv", "live.webm", "one.ogg"):
        assert links(find(tmp_path / name)) == ()
        size = (tmp_path / name).stat().st_size
        path = join(tmp_path / "both", tmp_path / name, tmp_path / name)
        found = links(find(path))
        assert [(each.start, each.stop) for each in found] == [(0, size), (size, 2 * size)]


def test_a_table_that_is_to_be_trusted_is_not_checked(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mp4", levels=[DARK] * 4, times=range(4), sound=tone(4.0))
    monkeypatch.setattr(decode, "read_clock", None)
    assert read_duration(tmp_path / "clip.mp4") == pytest.approx(4.0, abs=0.1)
    assert read_audio(tmp_path / "clip.mp4", 0.0, 1.0).valid.all()


def test_packets_are_read_once(tmp_path, parts, monkeypatch):
    path = join(tmp_path / "both.ts", *parts["ts"])
    seen = []
    monkeypatch.setattr(clock, "_stamps", lambda *a, old=clock._stamps: seen.append(1) or old(*a))
    for _ in range(3):
        check_both(path)
    assert len(seen) <= 1


def test_a_packet_of_the_old_recording_may_come_late():
    """(stream, stamp) in the order of the file: video of the first clock after sound of the next"""
    bridge = clock._Bridge({0: 1.0, 1: 1.0})
    for index, stamp in [(0, 101), (1, 101), (0, 102), (1, 102), (1, 1), (0, 103), (0, 1), (1, 2)]:
        bridge.add(index, stamp, 1)
    assert bridge.shifts() == {0: Shifts((0, 3), (0, 102)), 1: Shifts((0, 2), (0, 102))}
    assert [round(jump.by_seconds) for jump in bridge.jumps] == [-102]


def test_a_single_false_stamp_moves_nothing_else():
    bridge = clock._Bridge({0: 1.0, 1: 1.0})
    for index, stamp in [(0, 1), (1, 1), (0, 5000), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4)]:
        bridge.add(index, stamp, 1)
    assert bridge.shifts() == {0: Shifts((0, 1, 2), (0, -4998, 0))}


# Lengths


def write_with_text(path, text_codec, seconds):
    """Two seconds of film, and a line of text that ends at `seconds`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        text = container.add_stream(text_codec)
        text.codec_context.subtitle_header = b"[Script Info]\n[Events]\n"
        packets = []
        for k in range(20):
            frame = av.VideoFrame.from_ndarray(grey(DARK), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            packets += video.encode(frame)
        packets += video.encode(None)
        for k in range(0, 2 * RATE, 1024):
            chunk = np.ascontiguousarray(tone(2.0)[None, k : k + 1024])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, k, Fraction(1, RATE)
            packets += audio.encode(frame)
        packets += audio.encode(None)
        line = av.Packet(b"late")
        line.stream, line.time_base = text, Fraction(1, 1000)
        line.pts = line.dts = 1000 * (seconds - 1)
        line.duration = 1000
        for packet in [*sorted(packets, key=lambda p: p.dts * p.time_base), line]:
            container.mux(packet)


@pytest.mark.parametrize("tags", [True, False])
def test_subtitles_are_no_part_of_the_length(tmp_path, tags):
    path = tmp_path / "film.mkv"
    write_with_text(path, "subrip", 60)
    if not tags:  # as recorders write it: then the packets tell
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"NOTATION"))
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(60, abs=0.1)
    assert read_duration(path) == probe(path).duration_seconds == pytest.approx(2.0, abs=0.15)


def vbr(seconds):
    """Two seconds of silence, then noise: what one packet needs says nothing about the others."""
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, round(44100 * seconds)).astype("f4")
    noise[: 2 * 44100] = 0
    return noise


def test_a_length_guessed_from_the_bit_rate(tmp_path):
    """MP3 of a variable rate without the header that counts its frames."""
    path = tmp_path / "a.mp3"
    options = {"flags": "+qscale", "global_quality": str(2 * 118)}
    with_none = {"write_xing": "0"}
    write_sound_file(path, "libmp3lame", vbr(6.0), rate=44100, options=options, muxer=with_none)
    with av.open(str(path)) as container:
        assert abs(container.duration / 1e6 - 6.0) > 0.5
    assert read_duration(path) == pytest.approx(6.0, abs=0.1)
    assert read_audio(path, 0.0, 6.0).problems == ()


def test_the_length_of_aac_without_a_container(tmp_path):
    """The ADTS header has no length: FFmpeg takes the bit rate of the first packets."""
    path = tmp_path / "a.aac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        stream.codec_context.qscale, stream.codec_context.global_quality = True, 2 * 118
        sound = vbr(6.0)
        for k in range(0, len(sound), 1024):
            chunk = np.ascontiguousarray(sound[None, k : k + 1024])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, k, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert abs(container.duration / 1e6 - 6.0) > 0.5
    assert read_duration(path) == pytest.approx(6.0, abs=0.1)
    assert read_audio(path, 0.0, 6.0).problems == ()


def test_mp3_files_that_were_appended(tmp_path):
    files = [tmp_path / "1.mp3", tmp_path / "2.mp3"]
    for path, hertz in zip(files, (440.0, 880.0), strict=True):
        write_sound_file(path, "libmp3lame", tone(2.0, 44100, hertz), rate=44100)
    path = join(tmp_path / "both.mp3", *files)
    assert read_duration(path) == pytest.approx(4.0, abs=0.15)
    assert pitch(path, 2.3, 3.8) == pytest.approx(880, abs=2)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 1_000_000])
def test_sound_that_was_written_to_a_pipe(tmp_path, length):
    """The length of a WAV file stands before what it counts."""
    path = tmp_path / "a.wav"
    write_sound_file(path, "pcm_s16le", tone(2.0), rate=RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = length.to_bytes(4, "little")
    path.write_bytes(data)
    assert read_duration(path) == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(("suffix", "codec"), [("wav", "pcm_s16le"), ("au", "pcm_s16be")])
def test_the_length_of_whole_pcm_is_not_read_through(tmp_path, monkeypatch, suffix, codec):
    path = tmp_path / f"a.{suffix}"
    write_sound_file(path, codec, tone(2.0), rate=RATE)
    monkeypatch.setattr(decode, "read_clock", None)
    assert read_duration(path) == 2.0


def test_doctor_tells_of_joined_recordings_apart_from_damage(tmp_path, parts):
    for suffix in ("ts", "mkv"):
        path = join(tmp_path / f"both.{suffix}", *parts[suffix])
        health = examine(path)
        assert health.problems == ()
        assert [text.partition(":")[0] for text in health.joined] == ["video", "audio"]
        found = {f.issue: f.detail for f in clip_findings(Row("a", path, ("dog",)), health)}
        assert "what follows is played on" in found["joined"] and "damaged" not in found
