"""What every augmentation promises, over the table."""

import dataclasses

import pytest
import torch

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import augment
from sightsound.media.front_end import FrontEnd
from sightsound.registry import AUGMENTATIONS, resolve
from sightsound.types import Batch

EVERYTHING = AugmentSettings(
    rand_augment_operations=4,
    flip=0.5,
    affine_degrees=15.0,
    affine_translate=0.1,
    affine_scale=0.2,
    colour=0.8,
    grey=0.2,
    video_noise=0.1,
    erase=0.5,
    time_masks=2,
    time_mask_frames=8,
    frequency_masks=1,
    frequency_mask_bins=5,
    audio_shift_frames=3,
    audio_gain=0.5,
    audio_noise=0.1,
    mixup_alpha=0.5,
    modality_mixup=True,
    drop_video=0.3,
    drop_audio=0.3,
)
NOTHING = AugmentSettings(flip=0.0)
CUT = {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}


def apply(name: str, batch: Batch, *, settings: AugmentSettings, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    if name == "cutmix":  # an entry of the table that does two things
        name, settings = "mixup", dataclasses.replace(settings, **CUT)
    arguments = {"generator": generator, "settings": settings, "front_end": FrontEnd()}
    if name == "all":
        return augment(batch, **arguments)
    return resolve(AUGMENTATIONS, name, kind="augmentation")(batch, **arguments)


def make_batch(*, masked: bool, size: int = 7) -> Batch:
    """A normalised batch; `masked`: some streams absent, some frames padding, those exactly 0."""
    draw = torch.Generator().manual_seed(5)
    present = {name: torch.ones(size, dtype=torch.bool) for name in ("video", "audio")}
    valid = {
        "video": torch.ones(size, 4, dtype=torch.bool),
        "audio": torch.ones(size, 20, dtype=torch.bool),
    }
    if masked:
        present["video"][1], present["audio"][2] = False, False
        present["audio"][4], present["audio"][6] = False, False  # 2 and 4 are partners
        present["video"][0] = False  # its partner has video alone
        valid["video"][5, 2:], valid["audio"][3, 15:] = False, False
        for name in present:
            valid[name] &= present[name][:, None]
    video = torch.rand(size, 4, 3, 12, 16, generator=draw) * 2 - 1
    audio = torch.randn(size, 1, 20, 10, generator=draw)
    return Batch(
        video=video * valid["video"][:, :, None, None, None],
        audio=audio * valid["audio"][:, None, :, None],
        present=present,
        valid=valid,
        target=torch.eye(size),
        id=[f"clip{i}" for i in range(size)],
        view=torch.zeros(size, dtype=torch.long),
        complete=not masked,
    )


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    flat = {}
    for name, value in fields.items():
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(item, torch.Tensor):
                flat[f"{name}.{key}"] = item
    return flat


def assert_same(first: Batch, second: Batch) -> None:
    ours, theirs = tensors(first), tensors(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert first.id == second.id and first.complete == second.complete


each = pytest.mark.parametrize("name", [*AUGMENTATIONS, "cutmix", "all"])
either = pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])


@each
@either
def test_the_batch_is_not_modified(name: str, masked: bool):
    batch = make_batch(masked=masked)
    result = apply(name, batch, settings=EVERYTHING)
    assert_same(batch, make_batch(masked=masked))
    assert any(
        not torch.equal(value, tensors(batch)[key])
        for key, value in tensors(result).items()
        if key in tensors(batch)
    ), "nothing was changed at all"


@each
@either
def test_the_generator_decides_alone(name: str, masked: bool):
    batch = make_batch(masked=masked)
    first = apply(name, batch, settings=EVERYTHING, seed=1)
    torch.manual_seed(99)  # the global generator does not matter
    assert_same(first, apply(name, batch, settings=EVERYTHING, seed=1))
    second = tensors(apply(name, batch, settings=EVERYTHING, seed=2))
    assert any(not torch.equal(value, second[key]) for key, value in tensors(first).items())


@each
@either
@pytest.mark.parametrize("seed", range(5))
def test_shapes_stay_and_masked_is_exactly_zero(name: str, masked: bool, seed: int):
    batch = make_batch(masked=masked)
    result = apply(name, batch, settings=EVERYTHING, seed=seed)
    assert result.complete <= batch.complete
    for key, value in tensors(batch).items():
        after = tensors(result)[key]
        assert after.shape == value.shape and after.dtype == value.dtype, key
        assert after.isfinite().all()
    for modality, stream in result.inputs.items():
        values = stream.transpose(1, 2) if modality == "audio" else stream  # time second
        valid, present = result.valid[modality], result.present[modality]
        assert (values[~valid] == 0).all() and (stream[~present] == 0).all()
        assert not valid[~present].any(), "an absent stream has valid frames"
        if result.complete:
            assert present.all() and valid.all()
    assert (sum(p.int() for p in result.present.values()) >= 1).all(), "a clip lost everything"
    torch.testing.assert_close(result.target.sum(1), torch.ones(len(batch)))
    for target in (result.modality_target or {}).values():
        torch.testing.assert_close(target.sum(1), torch.ones(len(batch)))


@each
def test_what_is_switched_off_costs_nothing(name: str):
    batch, generator = make_batch(masked=False), torch.Generator().manual_seed(3)
    state = generator.get_state()
    arguments = {"generator": generator, "settings": NOTHING, "front_end": None}
    function = augment
    if name in AUGMENTATIONS:
        function = resolve(AUGMENTATIONS, name, kind="augmentation")
    assert function(batch, **arguments) is batch
    assert torch.equal(generator.get_state(), state), "something was drawn"


@each
@pytest.mark.parametrize("modality", ["video", "audio"])
def test_a_batch_of_one_stream(name: str, modality: str):
    batch = dataclasses.replace(make_batch(masked=False), **{modality: None})
    result = apply(name, batch, settings=EVERYTHING)
    assert result.inputs.keys() == batch.inputs.keys()


def alike(batch: Batch) -> Batch:
    """`batch` with the first clip's first frame everywhere, and its sound."""
    return dataclasses.replace(
        batch,
        video=batch.video[:1, :1].expand_as(batch.video).clone(),
        audio=batch.audio[:1].expand_as(batch.audio).clone(),
    )


@each
@pytest.mark.parametrize("seed", range(3))
def test_frames_of_a_clip_change_alike_and_clips_apart(name: str, seed: int):
    """Noise is another in every frame, but at the same places."""
    batch = alike(make_batch(masked=False))
    settings = dataclasses.replace(EVERYTHING, video_noise=0.0)
    result = apply(name, batch, settings=settings, seed=seed)
    changed = result.video != batch.video
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    one_draw_for_the_batch = name in ("mixup", "cutmix")
    same = all(torch.equal(s, s[:1].expand_as(s)) for s in result.inputs.values())
    assert same == one_draw_for_the_batch
