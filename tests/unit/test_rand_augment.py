"""RandAugment's operations are Pillow's, and its draws have the stated distribution."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from sightsound.config.settings import AugmentSettings
from sightsound.data.augment import rand_augment as module
from sightsound.data.augment.rand_augment import OPERATIONS, rand_augment
from sightsound.media.front_end import FrontEnd, VideoFrontEnd
from sightsound.types import Batch

GREY = (128, 128, 128)


def picture() -> Image.Image:
    """Smooth colours of many levels, oblong; a corner black, one channel of a strip constant."""
    draw = np.random.default_rng(0)
    small = Image.fromarray(draw.integers(20, 250, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((64, 48), Image.BICUBIC)).copy()
    pixels[:5, :9] = 0
    return Image.fromarray(pixels)


def constant() -> Image.Image:
    return Image.new("RGB", (64, 48), (250, 0, 77))


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.AFFINE, matrix, Image.BILINEAR, fillcolor=GREY)


def solarize_added(image: Image.Image, amount: float) -> Image.Image:
    addition = int(110 * abs(amount))
    return image.point([min(255, v + addition) if v < 128 else v for v in range(256)] * 3)


Reference = Callable[[Image.Image, float], Image.Image]
# What Pillow does, and by how many levels ours may differ: Pillow rounds or cuts off to bytes.
COLOUR: dict[str, tuple[Reference, float]] = {
    "auto_contrast": (lambda image, a: ImageOps.autocontrast(image), 1.0),
    "equalize": (lambda image, a: ImageOps.equalize(image), 0.0),
    "invert": (lambda image, a: ImageOps.invert(image), 0.0),
    "posterize": (lambda image, a: ImageOps.posterize(image, 4 - int(4 * abs(a))), 0.0),
    "solarize": (lambda image, a: ImageOps.solarize(image, 256 - int(256 * abs(a))), 0.0),
    "solarize_add": (solarize_added, 0.0),
    "colour": (lambda image, a: ImageEnhance.Color(image).enhance(1 + 0.9 * a), 1.5),
    "contrast": (lambda image, a: ImageEnhance.Contrast(image).enhance(1 + 0.9 * a), 1.5),
    "brightness": (lambda image, a: ImageEnhance.Brightness(image).enhance(1 + 0.9 * a), 1.0),
    "sharpness": (lambda image, a: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * a), 1.5),
}
GEOMETRY: dict[str, Reference] = {
    "rotate": lambda image, a: image.rotate(30 * a, Image.BILINEAR, fillcolor=GREY),
    "shear_x": lambda image, a: affine(image, 1, 0.3 * a, 0, 0, 1, 0),
    "shear_y": lambda image, a: affine(image, 1, 0, 0, 0.3 * a, 1, 0),
    "translate_x": lambda image, a: affine(image, 1, 0, 0.45 * a * image.width, 0, 1, 0),
    "translate_y": lambda image, a: affine(image, 1, 0, 0, 0, 1, 0.45 * a * image.height),
}
amounts = pytest.mark.parametrize("amount", [0.0, 0.3, -0.3, 0.7, -0.7, 1.0, -1.0])


def levels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def changed(name: str, *images: Image.Image, amount: float) -> Tensor:
    """Levels (frames, C, H, W) after one operation on a clip of `images`, second of two clips."""
    video = torch.stack([levels(image) for image in images])[None] / 255
    share = torch.tensor([0.5, amount])[:, None, None, None, None]
    return OPERATIONS[name](torch.cat([video.flip(-1), video]), share)[1] * 255


def test_every_operation_has_a_reference():
    assert len(OPERATIONS) == 15 and {*COLOUR, *GEOMETRY} == {*OPERATIONS}


@amounts
@pytest.mark.parametrize("name", COLOUR)
def test_colours_are_those_of_pillow(name: str, amount: float):
    reference, tolerance = COLOUR[name]
    images = picture(), constant()
    ours = changed(name, *images, amount=amount)
    for frame, image in zip(ours, images, strict=True):
        difference = (frame - levels(reference(image, amount))).abs().max().item()
        assert difference <= tolerance + 1e-3


@amounts
@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_is_that_of_pillow(name: str, amount: float):
    """A pixel away from the edge, where Pillow goes on for half a pixel; beyond, all is grey."""
    reference = GEOMETRY[name]
    ours = changed(name, picture(), amount=amount)[0]
    theirs = levels(reference(picture(), amount))
    seen = levels(reference(Image.new("RGB", picture().size, (255, 255, 255)), amount))[:1]
    near = torch.nn.functional.pad(seen, (1, 1, 1, 1), value=GREY[0])
    white = -torch.nn.functional.max_pool2d(-near, 3, 1) == 255
    grey = torch.nn.functional.max_pool2d(near, 3, 1) == GREY[0]
    assert white.float().mean() > 0.4
    assert (ours - theirs).abs()[white.expand_as(ours)].max() <= 2
    assert ((ours - 128).abs() * grey).max() < 1e-3
    assert grey.any() or not amount
    assert ours.max() <= 255.001 and ours.min() >= -0.001


@pytest.mark.parametrize("name", ["equalize", "posterize", "solarize"])
def test_normalised_pixels_keep_their_level(name: str):
    """Where levels decide, what arithmetic leaves below a whole number counts as that number."""
    pixels = levels(picture())[None, None]
    for mean, deviation in ((127.5, 127.5), (120.0, 57.0), (123.675, 58.395)):
        again = (pixels - mean) / deviation * (deviation / 255) + mean / 255
        ours = OPERATIONS[name](again, torch.full((1, 1, 1, 1, 1), 0.5))[0, 0] * 255
        theirs = levels(COLOUR[name][0](picture(), 0.5))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def clips(count: int, *, size: int = 2) -> Batch:
    return Batch(
        video=torch.rand(count, 1, 3, size, size) * 2 - 1,
        audio=None,
        present={"video": torch.ones(count, dtype=torch.bool)},
        valid={"video": torch.ones(count, 1, dtype=torch.bool)},
        target=torch.zeros(count, 2),
        id=[str(i) for i in range(count)],
        view=torch.zeros(count, dtype=torch.long),
        complete=True,
    )


def apply(batch: Batch, *, front_end: FrontEnd | None = None, **settings: float) -> Batch:
    generator = torch.Generator().manual_seed(0)
    values = {f"rand_augment_{name}": value for name, value in settings.items()}
    arguments = {"generator": generator, "settings": AugmentSettings(flip=0.0, **values)}
    return rand_augment(batch, front_end=front_end or FrontEnd(), **arguments)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """{operation: amounts it was called with}, instead of what it does."""
    amounts: dict[str, list[float]] = {name: [] for name in OPERATIONS}

    def recording(name: str) -> Callable:
        def record(pixels: Tensor, amount: Tensor) -> Tensor:
            amounts[name] += amount.flatten().tolist()
            return pixels

        return record

    monkeypatch.setattr(module, "OPERATIONS", {name: recording(name) for name in OPERATIONS})
    return amounts


def test_draws_of_the_published_variant(drawn: dict[str, list[float]]):
    """4 operations, half of them applied, all equally likely, magnitude N(7, 0.5) of 10."""
    apply(clips(3000), operations=4)
    counts = np.array([len(values) for values in drawn.values()])
    assert counts.sum() == pytest.approx(4 * 3000 * 0.5, rel=0.05)
    assert counts / counts.sum() == pytest.approx(1 / 15, abs=0.012)
    values = np.concatenate(list(drawn.values()))
    assert np.abs(values).mean() == pytest.approx(0.7, abs=0.005)
    assert np.abs(values).std() == pytest.approx(0.05, abs=0.005)
    assert (values > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert len(np.unique(values)) > 0.98 * len(values)  # one draw for each


def test_draws_of_the_paper(drawn: dict[str, list[float]]):
    apply(clips(100), operations=2, magnitude=9.0, deviation=0.0, probability=1.0)
    values = np.concatenate(list(drawn.values()))
    assert len(values) == 200 and np.abs(values) == pytest.approx(0.9)


def test_magnitudes_stay_within_their_range(drawn: dict[str, list[float]]):
    apply(clips(500), operations=1, deviation=20.0, probability=1.0)
    values = np.abs(np.concatenate(list(drawn.values())))
    assert values.max() == 1 and values.min() == 0


def test_operations_follow_one_another(monkeypatch: pytest.MonkeyPatch):
    """On the pixels of the front end, in the order drawn, each clip its own."""
    monkeypatch.setattr(module, "OPERATIONS", {"half": lambda pixels, amount: pixels / 2})
    front_end = FrontEnd(video=VideoFrontEnd(mean=(50.0, 100.0, 150.0), deviation=(20.0,) * 3))
    batch = clips(40)
    video = apply(batch, front_end=front_end, operations=3).video
    mean, deviation = torch.tensor([50.0, 100.0, 150.0])[:, None, None], 20
    ratio = (video * deviation + mean) / (batch.video * deviation + mean)
    times = -ratio.log2().flatten(1)
    torch.testing.assert_close(times, times[:, :1].round().expand_as(times), rtol=0, atol=1e-4)
    assert {round(t) for t in times[:, 0].tolist()} == {0, 1, 2, 3}


def test_it_needs_the_front_end():
    settings = AugmentSettings(rand_augment_operations=2)
    with pytest.raises(ValueError, match="front_end is None, but .* RandAugment .* pass front_end"):
        rand_augment(clips(2), generator=torch.Generator(), settings=settings)
