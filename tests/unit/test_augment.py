"""Each augmentation does what it says: hand-computed cases."""

import colorsys
import dataclasses
import re

import numpy as np
import pytest
import torch

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import augment
from sightsound.data.augment import erasing as erasing_module
from sightsound.data.augment import video as video_module
from sightsound.data.augment.audio import augment_audio
from sightsound.data.augment.erasing import erase
from sightsound.data.augment.mixup import beta_weights, cut_areas, mixed, mixup
from sightsound.data.augment.modality_dropout import drop_modalities
from sightsound.data.augment.normalise import normalise
from sightsound.data.augment.video import augment_video
from sightsound.media.front_end import AudioFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.types import Batch

OFF = AugmentSettings(flip=0.0)
COLOURED = FrontEnd(
    video=VideoFrontEnd(mean=(100.0, 110.0, 120.0), deviation=(50.0, 60.0, 70.0)),
    audio=AudioFrontEnd(mean=2.0, deviation=4.0),
)


def make_batch(size: int = 4, *, complete: bool = True, **streams: torch.Tensor) -> Batch:
    streams = {"video": torch.rand(size, 3, 3, 8, 10), "audio": torch.randn(size, 1, 30, 16)} | {
        name: stream for name, stream in streams.items()
    }
    return Batch(
        **streams,
        present={name: torch.ones(size, dtype=torch.bool) for name in streams},
        valid={
            "video": torch.ones(size, streams["video"].shape[1], dtype=torch.bool),
            "audio": torch.ones(size, streams["audio"].shape[2], dtype=torch.bool),
        },
        target=torch.eye(size),
        id=[str(i) for i in range(size)],
        view=torch.zeros(size, dtype=torch.long),
        complete=complete,
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on(**values: object) -> AugmentSettings:
    return dataclasses.replace(OFF, **values)


# normalise ------------------------------------------------------------------------------------


def test_normalise():
    pixels = torch.randint(0, 256, (4, 3, 3, 8, 10), dtype=torch.uint8)
    batch = make_batch(video=pixels)
    result = normalise(batch, COLOURED)
    expected = (pixels[1, 2, 1, 3, 4].item() - 110) / 60
    assert result.video[1, 2, 1, 3, 4].item() == pytest.approx(expected)
    assert result.video.dtype == torch.float32
    torch.testing.assert_close(result.audio, (batch.audio - 2) / 4)
    assert batch.video is pixels and pixels.dtype == torch.uint8


def test_normalise_makes_padding_and_absent_streams_zero():
    batch = make_batch(video=torch.full((4, 3, 3, 8, 10), 9, dtype=torch.uint8), complete=False)
    batch.audio[0] = float("nan")  # whatever an absent stream holds
    batch.present["audio"][0] = False
    batch.valid["video"][2, 1] = False
    result = normalise(batch, COLOURED)
    assert (result.audio[0] == 0).all() and (result.audio[1] != 0).any()
    assert (result.video[2, 1] == 0).all() and (result.video[2, [0, 2]] != 0).all()


def test_normalising_twice_is_refused():
    with pytest.raises(ValueError, match="dtype torch.float32; normalise takes.*normalised before"):
        normalise(make_batch(), FrontEnd())


# video ----------------------------------------------------------------------------------------


def test_flip_mirrors_whole_clips():
    batch = make_batch(64)
    video = augment_video(batch, generator=generator(), settings=on(flip=0.5)).video
    flipped = (video == batch.video.flip(-1)).flatten(1).all(1)
    kept = (video == batch.video).flatten(1).all(1)
    assert (flipped ^ kept).all() and 20 <= flipped.sum() <= 44


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_affine_of_no_size_is_the_identity_or_the_flip(flip: float):
    batch = make_batch()
    settings = on(flip=flip, affine_degrees=1e-9)
    video = augment_video(batch, generator=generator(), settings=settings).video
    expected = batch.video.flip(-1) if flip else batch.video
    torch.testing.assert_close(video, expected, rtol=0, atol=1e-5)


def spot(rows: slice, columns: slice) -> torch.Tensor:
    video = torch.zeros(1, 2, 3, 40, 80)
    video[:, :, :, rows, columns] = 1.0
    return video


def centre(video: torch.Tensor) -> tuple[float, float]:
    weight = video[0, 0, 0]
    rows, columns = (torch.arange(n) + 0.5 for n in weight.shape)
    total = weight.sum()
    return ((weight.sum(1) @ rows) / total).item(), ((weight.sum(0) @ columns) / total).item()


@pytest.fixture
def largest(monkeypatch: pytest.MonkeyPatch):
    """Every draw at its upper limit."""
    monkeypatch.setattr(
        video_module, "uniform", lambda low, high, *, size, generator: torch.full(size, high)
    )


def test_shift_is_a_share_of_the_frame(largest: None):
    batch = make_batch(1, video=spot(slice(20, 22), slice(40, 44)))
    settings = on(affine_translate=0.25)
    moved = augment_video(batch, generator=generator(), settings=settings).video
    row, column = centre(moved)
    assert (row, column) == (pytest.approx(21 - 10), pytest.approx(42 - 20))


def test_rotation_is_of_pixels_not_of_shares(largest: None):
    """A spot 12 pixels beside the centre of an oblong frame stays 12 pixels away."""
    batch = make_batch(1, video=spot(slice(19, 21), slice(51, 53)))
    settings = on(affine_degrees=90.0)
    row, column = centre(augment_video(batch, generator=generator(), settings=settings).video)
    assert abs(row - 20) == pytest.approx(12, abs=0.1) and column == pytest.approx(40, abs=0.1)


def test_zoom(largest: None):
    """1 + s: twice as large, and twice as far from the centre."""
    batch = make_batch(1, video=spot(slice(24, 26), slice(44, 46)))
    video = augment_video(batch, generator=generator(), settings=on(affine_scale=1.0)).video
    assert centre(video) == (pytest.approx(30, abs=0.1), pytest.approx(50, abs=0.1))
    assert video[0, 0, 0].sum() == pytest.approx(16, rel=0.01)


def test_beyond_the_frame_its_edge_goes_on():
    batch = make_batch(2, video=torch.full((2, 2, 3, 8, 8), 0.7))
    settings = on(affine_degrees=45.0, affine_translate=0.5)
    video = augment_video(batch, generator=generator(), settings=settings).video
    torch.testing.assert_close(video, batch.video)


@pytest.mark.parametrize(
    "settings", [on(affine_degrees=20.0, affine_scale=0.2), on(colour=1.0), on(grey=0.5)], ids=str
)
def test_all_frames_of_a_clip_change_alike_and_clips_differ(settings: AugmentSettings):
    frame = torch.rand(1, 1, 3, 12, 12)
    batch = make_batch(8, video=frame.expand(8, 3, -1, -1, -1).clone())
    arguments = {"generator": generator(), "settings": settings, "front_end": FrontEnd()}
    video = augment_video(batch, **arguments).video
    torch.testing.assert_close(video, video[:, :1].expand_as(video))
    assert not torch.allclose(video, video[:1].expand_as(video), atol=1e-3)


def test_grey_leaves_the_luma_in_every_channel():
    pixels = torch.rand(3, 2, 3, 4, 4)
    mean, deviation = (
        torch.tensor(x)[:, None, None] / 255
        for x in (COLOURED.video.mean, COLOURED.video.deviation)
    )
    batch = make_batch(3, video=(pixels - mean) / deviation)
    arguments = {"generator": generator(), "settings": on(grey=1.0), "front_end": COLOURED}
    grey = augment_video(batch, **arguments).video * deviation + mean
    luma = 0.299 * pixels[:, :, 0] + 0.587 * pixels[:, :, 1] + 0.114 * pixels[:, :, 2]
    torch.testing.assert_close(grey, luma[:, :, None].expand_as(grey))


def test_saturation_and_hue_are_those_of_hsv():
    pixels = torch.rand(2, 2, 3, 3, 3)
    pixels[0, 0, :, 0, 0] = 0.4  # grey
    pixels[0, 0, :, 0, 1] = 0.0  # black
    change = torch.tensor([0.19, -0.13])[:, None, None, None, None]
    turned = video_module._hue_turned(pixels, change)
    vivid = video_module._saturated(pixels, 1 + 2 * change)
    columns = [x.movedim(2, -1).flatten(1, -2) for x in (pixels, turned, vivid)]
    for clip, amount in enumerate(change.flatten().tolist()):
        for before, hue, colour in zip(*(x[clip].tolist() for x in columns), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*before)
            expected = colorsys.hsv_to_rgb((h + amount) % 1, s, v)
            np.testing.assert_allclose(hue, expected, rtol=0, atol=1e-5)
            expected = colorsys.hsv_to_rgb(h, min(1, s * (1 + 2 * amount)), v)
            np.testing.assert_allclose(colour, expected, rtol=0, atol=1e-5)


def always_coloured() -> AugmentSettings:
    settings = on(colour=1.0)
    settings.colour = 1.5  # above every draw, which is 1 here
    return settings


def test_colour_at_its_limits(largest: None):
    """Grey pixels know brightness and contrast only: + 32/255, then 1.4 times from the mean."""
    pixels = torch.tensor([0.2, 0.4]).repeat(1, 1, 3, 4, 2)
    batch = make_batch(1, video=pixels * 2 - 1)
    settings = always_coloured()
    arguments = {"generator": generator(), "settings": settings, "front_end": FrontEnd()}
    result = (augment_video(batch, **arguments).video + 1) / 2
    expected = (pixels - 0.3) * 1.4 + 0.3 + 32 / 255
    torch.testing.assert_close(result, expected)


def test_colour_jitter_step_by_step(largest: None):
    """All four at their upper limits, pixel by pixel with Python's own HSV."""
    pixels = torch.rand(1, 1, 3, 4, 4) * 0.8
    batch = make_batch(1, video=pixels * 2 - 1)
    arguments = {"generator": generator(), "settings": always_coloured(), "front_end": FrontEnd()}
    result = (augment_video(batch, **arguments).video + 1) / 2

    def in_hsv(colours: np.ndarray, change) -> np.ndarray:
        return np.array([colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*c))) for c in colours])

    expected = pixels[0, 0].flatten(1).T.double().numpy() + 32 / 255
    expected = in_hsv(expected, lambda h, s, v: (h, min(1, 1.4 * s), v))
    expected = (expected - expected.mean(0)) * 1.4 + expected.mean(0)
    expected = in_hsv(expected, lambda h, s, v: ((h + 0.2) % 1, s, v)).clip(0, 1)
    np.testing.assert_allclose(result[0, 0].flatten(1).T, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [on(colour=0.8), on(grey=0.1)])
def test_colour_needs_the_front_end(settings: AugmentSettings):
    with pytest.raises(ValueError, match="front_end is None, but colour, .* pass front_end"):
        augment(make_batch(), generator=generator(), settings=settings)


def test_video_noise_has_its_deviation():
    batch = make_batch(16)
    video = augment_video(batch, generator=generator(), settings=on(video_noise=0.3)).video
    assert (video - batch.video).std() == pytest.approx(0.3, rel=0.03)


# erasing --------------------------------------------------------------------------------------


def erased(num_clips: int, *, height: int = 40, width: int = 60) -> torch.Tensor:
    """(B, T, C, H, W) of two frames that were all 9, every clip erased."""
    batch = make_batch(num_clips, video=torch.full((num_clips, 2, 3, height, width), 9.0))
    return erase(batch, generator=generator(), settings=on(erase=1.0)).video


def test_erasing_puts_noise_into_one_box_of_all_frames():
    video = erased(300)
    gone = video != 9
    assert torch.equal(gone, gone[:, :1, :1].expand_as(gone))
    rows, columns = gone[:, 0, 0].any(2), gone[:, 0, 0].any(1)
    assert torch.equal(gone[:, 0, 0], rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):  # without gaps
        starts = side.int().diff(dim=1, prepend=torch.zeros(300, 1, dtype=torch.int))
        assert ((starts == 1).sum(1) == 1).all()
        assert side[:, 0].any() and side[:, -1].any()  # both ends are reached
    noise = video[gone]
    assert noise.mean() == pytest.approx(0, abs=0.01) and noise.std() == pytest.approx(1, abs=0.01)
    assert not torch.equal(video[:, 0], video[:, 1])  # another noise in each frame


def test_erased_boxes_have_the_published_sizes():
    gone = erasing_module._boxes(1000, 400, 500, generator=generator())
    tall, wide = gone.any(2).sum(1), gone.any(1).sum(1)
    area, ratio = tall * wide / (400 * 500), tall / wide
    assert 0.018 < area.min() < 0.03 and 0.31 < area.max() < 0.34
    assert area.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.01)
    assert 0.29 < ratio.min() < 0.32 and 3.1 < ratio.max() < 3.4
    assert ratio.log().mean() == pytest.approx(0, abs=0.08)


def test_erasing_has_its_probability_and_spares_other_clips():
    batch = make_batch(2000, video=torch.rand(2000, 1, 1, 6, 6))
    video = erase(batch, generator=generator(), settings=on(erase=0.25)).video
    same = (video == batch.video).flatten(1).all(1)
    assert same.float().mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    "place, rows, columns", [(0.0, (0, 47), (0, 14)), (0.9999, (53, 100), (6, 20))]
)
def test_an_erased_box_is_whole_at_both_ends_of_the_frame(
    monkeypatch: pytest.MonkeyPatch, place: float, rows: tuple, columns: tuple
):
    """A third of the frame, 10/3 as tall as wide: 47 x 14 of 100 x 20 pixels."""

    def drawn(low: float, high: float, *, size: tuple, generator: object) -> torch.Tensor:
        is_place = (low, high) == (0, 1) and len(size) == 3
        return torch.full(size, place if is_place else 0.0 if (low, high) == (0, 1) else high)

    monkeypatch.setattr(erasing_module, "uniform", drawn)
    gone = (erased(1, height=100, width=20) != 9)[0, 0, 0]
    assert gone[slice(*rows), slice(*columns)].all() and gone.sum() == 47 * 14


def test_a_frame_that_no_box_fits_into_stays():
    assert (erased(20, height=1, width=100) == 9).all()
    assert (erased(20, height=100, width=1) == 9).all()


# audio ----------------------------------------------------------------------------------------


def test_masks_are_bands_of_zeros():
    batch = make_batch(200, audio=torch.ones(200, 1, 30, 16))
    settings = on(time_masks=1, time_mask_frames=10)
    audio = augment_audio(batch, generator=generator(), settings=settings).audio
    assert (audio == audio[..., :1]).all()  # all bins alike
    rows = (audio[:, 0, :, 0] == 0).int()
    widths = rows.sum(1)
    assert widths.min() == 0 and widths.max() == 9  # int(U[0, 1) * 10)
    edges = rows.diff(dim=1, prepend=torch.zeros(200, 1, dtype=torch.int))
    assert (edges.clamp_min(0).sum(1) <= 1).all()  # one band
    assert rows[:, 0].any() and rows[:, -1].any()  # both ends are reached


def test_frequency_masks_count_and_reach():
    batch = make_batch(200, audio=torch.ones(200, 1, 30, 16))
    settings = on(frequency_masks=2, frequency_mask_bins=48)  # wider than the 16 bins there are
    audio = augment_audio(batch, generator=generator(), settings=settings).audio
    assert (audio == audio[:, :, :1]).all()  # all frames alike
    columns = (audio[:, 0, 0] == 0).int()
    starts = columns.diff(dim=1, prepend=torch.zeros(200, 1, dtype=torch.int)).clamp_min(0).sum(1)
    assert starts.max() == 2
    assert columns.float().mean() > 0.5


@pytest.mark.parametrize(
    ("settings", "most_bins", "most_frames"),
    [
        # The official configuration: its four time masks of 48 frames never come about.
        ({"frequency_masks": 1, "frequency_mask_bins": 48}, 47, 0),
        # The paper, section 4.2: one mask of either kind, as in AST; lengths are the defaults.
        ({"frequency_masks": 1, "time_masks": 1}, 47, 191),
    ],
    ids=["official", "paper"],
)
def test_masks_of_mbt(settings: dict, most_bins: int, most_frames: int):
    batch = make_batch(1000, audio=torch.ones(1000, 1, 400, 128))
    audio = augment_audio(batch, generator=generator(), settings=on(**settings)).audio
    bins, frames = ((audio[:, 0] == 0).all(axis).sum(1) for axis in (1, 2))
    assert (bins.max(), frames.max()) == (most_bins, most_frames)
    assert bins.float().mean().item() == pytest.approx(23.5, abs=1.5)
    assert frames.float().mean().item() == pytest.approx(most_frames / 2, abs=6)


def test_shift_is_a_circle_and_takes_the_padding_along():
    audio = torch.arange(1.0, 31.0)[None, None, :, None].repeat(50, 1, 1, 16)
    batch = make_batch(50, audio=audio, complete=False)
    batch.valid["audio"][:, 25:] = False
    batch = dataclasses.replace(batch, audio=audio * batch.valid["audio"][:, None, :, None])
    settings = on(audio_shift_frames=4)
    result = augment_audio(batch, generator=generator(), settings=settings)
    shifts = result.audio[:, 0, :, 0].argmax(1) - 24
    assert shifts.min() == -4 and shifts.max() == 4
    for clip, shift in enumerate(shifts.tolist()):
        assert torch.equal(result.audio[clip], batch.audio[clip].roll(shift, 1))
        assert torch.equal(result.valid["audio"][clip], batch.valid["audio"][clip].roll(shift, 0))


def test_gain_is_one_number_per_clip():
    batch = make_batch(100)
    audio = augment_audio(batch, generator=generator(), settings=on(audio_gain=0.5)).audio
    difference = (audio - batch.audio).flatten(1)
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))
    assert -0.5 <= difference.min() < -0.4 and 0.4 < difference.max() <= 0.5


# modality dropout -----------------------------------------------------------------------------


def test_dropout_rates_and_exclusion():
    batch = make_batch(4000, video=torch.ones(4000, 1, 3, 2, 2), audio=torch.ones(4000, 1, 2, 2))
    settings = on(drop_video=0.2, drop_audio=0.1)
    result = drop_modalities(batch, generator=generator(), settings=settings)
    lost = {name: ~flags for name, flags in result.present.items()}
    assert lost["video"].float().mean() == pytest.approx(0.2, abs=0.02)
    assert lost["audio"].float().mean() == pytest.approx(0.1, abs=0.02)
    assert not (lost["video"] & lost["audio"]).any() and not result.complete
    assert torch.equal((result.video == 0).flatten(1).all(1), lost["video"])


def test_a_lone_stream_is_never_dropped():
    batch = make_batch(100, complete=False)
    batch.present["audio"][:50] = False
    settings = on(drop_video=1.0)
    result = drop_modalities(batch, generator=generator(), settings=settings)
    assert result.present["video"][:50].all() and not result.present["video"][50:].any()


def test_mixup_does_not_give_dropped_streams_back():
    settings = on(drop_video=1.0, mixup_alpha=1.0)
    result = augment(make_batch(), generator=generator(), settings=settings)
    assert not result.present["video"].any() and not result.video.any()


def test_dropped_streams_take_their_label_along():
    batch = make_batch(2)
    targets = {"video": torch.eye(2), "audio": torch.eye(2).flip(0)}
    batch = dataclasses.replace(batch, modality_target=targets, target=torch.full((2, 2), 0.5))
    result = drop_modalities(batch, generator=generator(), settings=on(drop_video=1.0))
    assert torch.equal(result.target, targets["audio"])


def test_dropout_probabilities_are_checked():
    with pytest.raises(ValueError, match=re.escape("drop_video 0.7 and drop_audio 0.5 add up to")):
        settings = on(drop_video=0.7, drop_audio=0.5)
        drop_modalities(make_batch(), generator=generator(), settings=settings)


# mixup ----------------------------------------------------------------------------------------


def test_beta_weights():
    weights = np.array(beta_weights(0.3, 20000, generator=generator()))
    assert weights.mean() == pytest.approx(0.5, abs=0.01)
    assert weights.var() == pytest.approx(0.25 / (2 * 0.3 + 1), abs=0.005)
    assert beta_weights(0.3, 2, generator=generator(1)) != beta_weights(
        0.3, 2, generator=generator()
    )


def test_modalities_share_a_weight_or_have_their_own():
    batch = make_batch(4)
    together = mixup(batch, generator=generator(), settings=on(mixup_alpha=1.0))
    assert together.modality_target is None
    settings = on(mixup_alpha=1.0, modality_mixup=True)
    apart = mixup(batch, generator=generator(), settings=settings)
    video, audio = (apart.modality_target[name][0, 0] for name in ("video", "audio"))
    assert video != audio
    torch.testing.assert_close(apart.target[0, 0], (video + audio) / 2)
    torch.testing.assert_close(
        apart.video[0], video * batch.video[0] + (1 - video) * batch.video[3]
    )


@pytest.mark.parametrize("complete", [True, False])
def test_mixed_values_are_those_of_float32_arithmetic(complete: bool):
    batch = make_batch(4, complete=complete)
    result = mixed(batch, weights={"video": 0.9, "audio": 0.6})
    for name, weight in (("video", np.float32(0.9)), ("audio", np.float32(0.6))):
        stream = batch.inputs[name].numpy()
        expected = weight * stream + (np.float32(1) - weight) * stream[::-1]
        assert expected.dtype == np.float32
        assert np.array_equal(result.inputs[name].numpy(), expected)
    alike = mixed(batch, weights={"video": 0.9, "audio": 0.9}).video
    assert torch.equal(alike, result.video)


def test_the_middle_clip_of_an_odd_batch_stays():
    batch = make_batch(5)
    result = mixup(batch, generator=generator(), settings=on(mixup_alpha=1.0))
    torch.testing.assert_close(result.video[2], batch.video[2])
    torch.testing.assert_close(result.target[2], batch.target[2])


def test_an_absent_stream_is_taken_whole_from_the_partner():
    batch = make_batch(4, complete=False)
    batch.present["audio"][0] = False
    batch.valid["audio"][0] = False
    batch.audio[0] = 0
    result = mixed(batch, weights={"video": 0.75, "audio": 0.75})
    for clip in (0, 3):  # partners: both have the sound of clip 3
        assert result.present["audio"][clip] and result.valid["audio"][clip].all()
        torch.testing.assert_close(result.audio[clip], batch.audio[3])
        torch.testing.assert_close(result.modality_target["audio"][clip], batch.target[3])
    torch.testing.assert_close(result.modality_target["video"][0], torch.tensor([0.75, 0, 0, 0.25]))
    torch.testing.assert_close(result.target[0], torch.tensor([0.375, 0, 0, 0.625]))


def test_a_stream_absent_in_both_partners_does_not_count():
    batch = make_batch(2, complete=False)
    for mask in (batch.present["audio"], batch.valid["audio"]):
        mask[:] = False
    batch = dataclasses.replace(batch, audio=torch.zeros_like(batch.audio))
    result = mixed(batch, weights={"video": 0.75, "audio": 0.1})
    assert not result.present["audio"].any() and not result.audio.any()
    torch.testing.assert_close(result.target, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))


# cutmix ---------------------------------------------------------------------------------------

CUT = on(cutmix_alpha=1.0)


def numbered(size: int, **options: bool) -> Batch:
    """Clips whose every value is their number + 1."""
    video, audio = torch.ones(size, 3, 3, 20, 30), torch.ones(size, 1, 50, 8)
    number = torch.arange(1.0, size + 1)
    return make_batch(
        size,
        video=video * number[:, None, None, None, None],
        audio=audio * number[:, None, None, None],
        **options,
    )


@pytest.mark.parametrize("complete", [True, False])
def test_cutmix_shows_the_partner_in_a_box_and_a_stretch(complete: bool):
    shares = []
    for seed in range(60):
        result = mixup(numbered(4, complete=complete), generator=generator(seed), settings=CUT)
        for clip, partner in ((0, 3), (1, 2), (2, 1), (3, 0)):
            box = result.video[clip] == partner + 1
            assert (box | (result.video[clip] == clip + 1)).all()
            assert torch.equal(box, box[:1, :1].expand_as(box))  # in all frames and channels
            rows, columns = box[0, 0].any(1), box[0, 0].any(0)
            assert torch.equal(box[0, 0], rows[:, None] & columns)
            stretch = result.audio[clip, 0] == partner + 1
            assert torch.equal(stretch, stretch[:, :1].expand_as(stretch))
            assert (stretch[:, 0].int().diff().abs().sum()) <= 2  # in one piece
            share = box[0, 0].float().mean().item()
            assert stretch[:, 0].float().mean().item() == pytest.approx(share, abs=0.5 / 50 + 1e-6)
            assert result.target[clip, partner].item() == pytest.approx(share, abs=1e-6)
            assert result.target[clip, clip].item() == pytest.approx(1 - share, abs=1e-6)
        shares.append(share)
    assert min(shares) < 0.05 and max(shares) > 0.6


def test_the_box_has_the_shape_of_the_frame_and_lies_anywhere():
    batch = make_batch(2, video=torch.zeros(2, 1, 1, 100, 200))
    draws = generator()
    kept = torch.stack(
        [cut_areas(batch, settings=CUT, generator=draws)[1]["video"] for _ in range(1500)]
    )
    rows, columns = (~kept).any(2).sum(1), (~kept).any(1).sum(1)
    inside = kept[:, 0].all(1) & kept[:, -1].all(1) & kept[:, :, 0].all(1) & kept[:, :, -1].all(1)
    assert (columns - 2 * rows)[inside & (rows > 0)].abs().max() <= 1
    assert kept.float().mean() > 0.5  # Beta(1, 1), less what reaches beyond the frame
    touched = (~kept).float().mean(0)
    assert touched.min() > 0.1 and touched[50, 100] > touched.max() - 0.02


def test_the_stretch_lies_anywhere():
    batch, draws = dataclasses.replace(make_batch(2), video=None), generator()
    settings = on(cutmix_alpha=1.0)
    areas = [cut_areas(batch, settings=settings, generator=draws) for _ in range(1000)]
    assert all(weights == {"audio": own["audio"].float().mean()} for weights, own in areas)
    touched = torch.stack([~own["audio"][:, 0] for _, own in areas]).float().mean(0)
    torch.testing.assert_close(touched, touched.flip(0), rtol=0, atol=0.06)
    assert 0.02 < touched[0] < touched[15] < 0.8


def test_modalities_may_be_cut_apart():
    settings = dataclasses.replace(CUT, modality_mixup=True)
    result = mixup(numbered(2), generator=generator(), settings=settings)
    for name, stream in result.inputs.items():
        share = (stream[0] == 2).float().mean()
        torch.testing.assert_close(result.modality_target[name][0], torch.stack([1 - share, share]))
    assert result.modality_target["video"][0, 0] != result.modality_target["audio"][0, 0]


def test_either_mixup_or_cutmix_or_neither():
    settings = on(mixup_alpha=0.8, cutmix_alpha=1.0, cutmix_share=0.3, mix_probability=0.6)
    draws, batch, kinds = generator(), numbered(2), {"none": 0, "cut": 0, "blended": 0}
    for _ in range(1000):
        result = mixup(batch, generator=draws, settings=settings)
        whole = result.video[0] == result.video[0].round()
        kinds["none" if result is batch else "cut" if whole.all() else "blended"] += 1
    assert kinds["none"] == pytest.approx(400, abs=50)
    assert kinds["cut"] == pytest.approx(180, abs=40)
    assert kinds["blended"] == pytest.approx(420, abs=50)


def test_cutting_takes_padding_and_absence_along():
    batch = numbered(4, complete=False)
    batch.valid["audio"][1, 30:] = False  # partner of 2
    batch.audio[1, :, 30:] = 0
    batch.present["audio"][0], batch.valid["audio"][0] = False, False  # partner of 3
    batch.audio[0] = 0
    own = {"video": torch.ones(20, 30, dtype=torch.bool), "audio": torch.ones(50, 1).bool()}
    own["video"][:10], own["audio"][20:] = False, False
    result = mixed(batch, weights={"video": 0.5, "audio": 0.5}, own=own)
    valid, audio = result.valid["audio"], result.audio[:, 0, :, 0]
    assert valid[1].all() and audio[1].tolist() == [2.0] * 20 + [3.0] * 30
    assert valid[2].tolist() == [True] * 30 + [False] * 20
    assert audio[2].tolist() == [3.0] * 20 + [2.0] * 10 + [0.0] * 20
    for clip in (0, 3):  # the only sound there is, whole
        assert valid[clip].all() and (audio[clip] == 4).all()
        assert torch.equal(result.modality_target["audio"][clip], batch.target[3])
        torch.testing.assert_close(result.target[clip, 3].item(), 0.75)  # half of the pictures
    assert (result.video[0, :, :, :10] == 4).all() and (result.video[0, :, :, 10:] == 1).all()


def test_a_cut_that_leaves_only_padding_is_not_made():
    batch = numbered(2, complete=False)
    batch.valid["audio"][0, 10:] = False
    batch.audio[0, :, 10:] = 0
    own = {"video": torch.ones(20, 30).bool(), "audio": torch.arange(50)[:, None] < 25}
    own["audio"] = ~own["audio"]  # clip 0 keeps the padding, gives its sound away
    batch.valid["audio"][1, :25] = False
    batch.audio[1, :, :25] = 0
    result = mixed(batch, weights={"video": 1.0, "audio": 0.5}, own=own)
    assert result.valid["audio"][0].sum() == 10 and (result.audio[0, :, :10] == 1).all()
    assert torch.equal(result.modality_target["audio"][0], batch.target[0])
    assert result.valid["audio"][1].sum() == 35
    torch.testing.assert_close(result.modality_target["audio"][1], torch.tensor([0.5, 0.5]))
