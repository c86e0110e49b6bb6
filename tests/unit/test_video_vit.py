"""The video ViT: against MBT's own stream, frame by frame, and started from an image ViT."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from sightsound.models.avt import AVT
from sightsound.models.backbones.vit import VideoViT
from sightsound.models.mbt import MBT
from sightsound.models.pretrained import copy_matching
from sightsound.models.unimodal import OneStream
from sightsound.nn.position import resize_positions
from sightsound.objectives.audio_visual.masking import Masking
from sightsound.types import AUDIO, VIDEO, Batch
from sightsound.weights.image_vit import ImageViT
from sightsound.weights.vit import Rules, initialise_from_vit

SIZES = dict(width=8, num_heads=2, depth=2, mlp_width=32)
SHAPE = (4, 24, 32)


def backbone(attention: str, **changes) -> VideoViT:
    torch.manual_seed(0)
    found = VideoViT(SHAPE, **SIZES | {"patch": (1, 8, 8), "attention": attention} | changes)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found.eval()


@torch.no_grad()
@pytest.mark.parametrize("patch", [(1, 8, 8), (2, 8, 8)])
def test_all_frames_at_once_is_the_stream_of_mbt(patch):
    ours = backbone("joint", patch=patch)
    model = MBT(
        heads={"label": 3},
        modalities=(VIDEO,),
        audio_shape=None,
        video_shape=SHAPE,
        video_patch=patch,
        fusion_layer=2,
        **SIZES,
    ).eval()
    state = {f"{VIDEO}.{name}": t for name, t in ours.state_dict().items() if "norm." != name[:5]}
    state |= {f"norm.{leaf}": getattr(ours.norm, leaf) for leaf in ("weight", "bias")}
    missing, unknown = model.load_state_dict(state, strict=False)
    assert unknown == [] and set(missing) == {"head.weight", "head.bias"}
    x, valid = torch.randn(2, *SHAPE[:1], 3, *SHAPE[1:]), torch.ones(2, 4, dtype=torch.bool)
    valid[0, 2:] = False
    for given in (None, {VIDEO: valid}):
        expected = model({VIDEO: x}, valid=given).tokens[VIDEO]
        found = ours(x, valid=given and given[VIDEO])
        kept = torch.ones(expected.shape[:2], dtype=bool) if given is None else found.key_mask
        torch.testing.assert_close(found.tokens[kept], expected[kept], rtol=0, atol=2e-6)


@torch.no_grad()
def test_frames_alone_are_pictures_one_by_one():
    ours = backbone("frame")
    ours.positions.table[:, 1:] = ours.positions.table[:, 1:13].repeat(1, 4, 1)
    single = VideoViT((1, *SHAPE[1:]), **SIZES, patch=(1, 8, 8)).eval()
    state = ours.state_dict()
    single.load_state_dict(state | {"positions.table": state["positions.table"][:, :13]})
    x = torch.randn(2, 4, 3, 24, 32)
    frames = [single(x[:, i : i + 1]) for i in range(4)]
    found = ours(x)
    close(found.tokens[:, 1:], torch.cat([frame.tokens[:, 1:] for frame in frames], dim=1))
    close(found.pooled, torch.stack([frame.pooled for frame in frames]).mean(0))
    valid = torch.tensor([[True, True, False, False], [True] * 4])
    close(ours(x, valid=valid).pooled[0], (frames[0].pooled[0] + frames[1].pooled[0]) / 2)


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)


@torch.no_grad()
def test_another_length_interpolates_positions():
    ours = backbone("frame")
    assert ours(torch.randn(1, 6, 3, 24, 32)).tokens.shape == (1, 1 + 6 * 12, 8)
    model = OneStream(
        heads={"label": 2}, video_shape=(6, 24, 32), options=SIZES | {"patch": (1, 8, 8)}
    )
    source = OneStream(heads={"label": 2}, video_shape=SHAPE, options=SIZES | {"patch": (1, 8, 8)})
    report = copy_matching(model, source)
    assert report.interpolated == ["video.positions.table"] and report.not_taken == {}
    expected = resize_positions(source.video.positions.table, (4, 3, 4), (6, 3, 4), prefix=1)
    assert torch.equal(model.video.positions.table, expected)


def test_unknown_attention():
    with pytest.raises(ValueError, match="unknown attention 'divided'; known: frame, joint"):
        VideoViT(SHAPE, **SIZES, attention="divided")


# ------------------------------------------------------------------- from an image ViT


def an_image_vit() -> ImageViT:
    """Patches of 8 x 8 in a grid of 3 x 3, two layers."""
    sizes = {"attention_norm": (8,), "mlp_norm": (8,), "attention.qkv": (24, 8)}
    sizes |= {"attention.out": (8, 8), "mlp.expand": (32, 8), "mlp.contract": (8, 32)}
    shapes = {"patches": (8, 3, 8, 8), "norm": (8,), "head": (5, 8)}
    shapes |= {f"blocks.{n}.{part}": shape for n in range(2) for part, shape in sizes.items()}
    tensors = {"positions": torch.randn(1, 10, 8), "cls": torch.randn(1, 1, 8)}
    for name, shape in shapes.items():
        tensors |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}
    return ImageViT("picture.npz", tensors, num_heads=2)


def an_avt(**options) -> AVT:
    return AVT(
        heads={"label": 5},
        video_shape=(4, 24, 24),
        video_backbone="vit",
        video_options=SIZES | {"patch": (1, 8, 8)} | options,
        audio_shape=(36, 16),
        audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4)),
        num_heads=2,
    )


@torch.no_grad()
@pytest.mark.parametrize("attention", ["frame", "joint"])
def test_it_starts_the_pictures_of_avt(attention):
    model, vit = an_avt(attention=attention), an_image_vit()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = initialise_from_vit(model, vit)
    for name, tensor in model.state_dict().items():
        assert name.startswith(f"{VIDEO}.") != torch.equal(tensor, before[name]), name
    assert set(report.taken) | set(report.adapted) == {n for n in before if n.startswith("video.")}
    assert report.adapted == {"video.positions.table": "3 x 3 to 4 x 3 x 3"}
    assert report.not_taken == {"head.weight": "other classes", "head.bias": "other classes"}
    table = model.video.positions.table
    assert torch.equal(table[:, 10:19], vit.tensors["positions"][:, 1:])
    if attention == "frame":  # one frame, four times: what the ViT makes of the picture
        picture = torch.randn(1, 1, 3, 24, 24)
        image = MBT(
            heads={"label": 5},
            modalities=(VIDEO,),
            audio_shape=None,
            video_shape=(1, 24, 24),
            video_patch=(1, 8, 8),
            fusion_layer=0,
            **SIZES,
        ).eval()
        initialise_from_vit(image, vit)
        found = model.eval().video(picture.expand(-1, 4, -1, -1, -1)).pooled
        torch.testing.assert_close(found, image({VIDEO: picture}).pooled[VIDEO], rtol=0, atol=1e-5)


def test_as_officially_it_starts_just_the_same():
    torch.manual_seed(0)
    models = [an_avt() for _ in range(2)]
    vit, tokens = an_image_vit(), models[1].fusion.tokens.clone()
    for model, faithful in zip(models, (False, True), strict=True):
        initialise_from_vit(model, vit, rules=Rules(faithful=faithful))
    assert all(
        torch.equal(a, b)
        for a, b in zip(models[0].video.parameters(), models[1].video.parameters(), strict=True)
    )
    assert torch.equal(models[1].fusion.tokens, tokens), "officially there is no AVT"


def test_pictures_of_another_backbone():
    model = AVT(
        heads={"label": 5},
        video_shape=(4, 32, 64),
        video_options=dict(widths=(4, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8),
        audio_shape=(36, 16),
        audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4)),
        num_heads=2,
    )
    with pytest.raises(ValueError, match=re.escape("whose backbone is 'vit', not this 'avt'")):
        initialise_from_vit(model, an_image_vit())


# ------------------------------------------------------------------- masked modelling


def test_hidden_patches_are_compared_in_all_their_frames():
    """UniFormer's kernel sees the frame before its own two; a ViT's patch does not."""
    model = an_avt(patch=(2, 8, 8))
    batch = Batch(
        video=torch.randn(2, 4, 3, 24, 24),
        audio=torch.randn(2, 1, 36, 16),
        present={name: torch.ones(2, dtype=torch.bool) for name in (VIDEO, AUDIO)},
        valid={
            VIDEO: torch.ones(2, 4, dtype=torch.bool),
            AUDIO: torch.ones(2, 36, dtype=torch.bool),
        },
        target=torch.zeros(2, 5),
        id=["a", "b"],
        view=torch.zeros(2, dtype=torch.long),
    )
    hiding = Masking("tokens", "none", 0.2, 50, 11, False)
    hidden = hiding(batch, {VIDEO: model.video}, generator=torch.Generator().manual_seed(0))
    mask = hidden.token_mask[VIDEO].unflatten(1, (2, 3, 3))
    assert mask.sum() == 2 * 4
    places = mask.repeat_interleave(2, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(hidden.scored[VIDEO][:, :, 0], places)
