"""MBT: sizes, and what is said to someone who gets an argument wrong."""

import pytest
import torch
from small import SMALL_MBT

from sightsound.models.mbt import MBT
from sightsound.models.sizes import SIZES


def test_paper_size():
    """Parameters of the official ViT-B with 8 frames, 800 x 128 and 527 classes."""
    arguments = dict(heads={"label": 527}, bottleneck_tokens=5, audio_channels=3)
    with torch.device("meta"):
        bottleneck = MBT(**arguments)
        cross = MBT(**arguments, fusion="cross_attention")
    assert sum(p.numel() for p in bottleneck.parameters()) == 173_215_247
    assert sum(p.numel() for p in cross.parameters()) == 173_211_407


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: str):
    with torch.device("meta"):
        model = MBT(heads={"label": 3}, size=size)
    assert model.size == SIZES[size]
    assert len(model.layers("video")) == SIZES[size].depth


def test_width_alone_sets_the_mlp():
    assert MBT(**SMALL_MBT).size.mlp_width == 32
    assert MBT(**SMALL_MBT | {"mlp_width": 24}).size.mlp_width == 24


@pytest.mark.parametrize(
    "change, text",
    [
        ({"fusion": "bottelneck"}, r"unknown fusion 'bottelneck'.*Did you mean 'bottleneck'\?"),
        ({"size": "bse"}, r"unknown size 'bse'; known: base, large, small, tiny"),
        ({"classifier": "tokens"}, r"unknown classifier 'tokens'.*Did you mean 'token'\?"),
        ({"update": "average"}, r"unknown update 'average'.*Did you mean 'averaged'\?"),
        ({"stem": "conv"}, "unknown stem 'conv'; known: convolution, linear"),
        ({"modalities": ("audio", "vide")}, r"unknown modality 'vide'.*Did you mean 'video'\?"),
        ({"modalities": ()}, "one or two different names are accepted"),
        ({"modalities": ("audio", "audio")}, "one or two different names are accepted"),
        ({"audio_shape": None}, r"audio_shape is None.*leave 'audio' out of modalities"),
        ({"fusion_layer": 3}, r"fusion_layer is 3; of 2 layers.*0 \(early.*2 \(late"),
        ({"width": 0}, "width is 0; accepted: 1 or more, or None to follow size"),
        ({"num_heads": 3}, "width 8 is not a multiple of num_heads 3; give num_heads, too"),
        ({"update_order": ("video",)}, r"update_order is \('video',\); it must hold each"),
        ({"video_shape": (4, 4, 16)}, "is smaller than video_patch"),
        ({"heads": {}}, "heads is {}; give at least one head"),
    ],
)
def test_wrong_arguments(change: dict, text: str):
    with pytest.raises(ValueError, match=text):
        MBT(**SMALL_MBT | change)


@pytest.mark.parametrize(
    "inputs, text",
    [
        ({"video": torch.zeros(1, 4, 16, 16, 3)}, r"video input has shape .*\(B, T, C, H, W\)"),
        ({"audio": torch.zeros(1, 32, 16)}, r"audio input has shape \(1, 32, 16\); \(B, 1, F, M\)"),
        ({"video": torch.zeros(1, 4, 3, 16, 16, dtype=torch.uint8)}, "normalised floating point"),
        ({"audio": torch.zeros(1, 1, 4, 16)}, "is smaller than audio_patch"),
        ({"vidoe": torch.zeros(1)}, "unknown modality 'vidoe'"),
    ],
)
def test_wrong_inputs(inputs: dict, text: str):
    with pytest.raises(ValueError, match=text):
        MBT(**SMALL_MBT)(inputs)


def test_patches_across_frames_as_officially():
    """With frames chosen inside the model, patches may straddle them; padding stays exact."""
    model = MBT(**SMALL_MBT | {"video_shape": (6, 12, 16), "frame_sampling": 2}).eval()
    assert model.video.cells((6, 12, 16)).grid == (
        1,
        3,
        2,
    )  # two frames of 12 rows under one another
    torch.nn.init.normal_(model.head.weight)
    video, valid = torch.randn(1, 6, 3, 12, 16), torch.ones(1, 6, dtype=torch.bool)
    valid[:, 3:] = False  # the second sampled frame is padding
    weight, bias = model.video.patches.projection.weight, model.video.patches.projection.bias
    tall = video[:, [2, 4]].transpose(1, 2).flatten(2, 3)
    tokens = torch.nn.functional.conv2d(tall, weight.unflatten(1, (3, 8, 8)), bias, stride=8)
    expected = torch.cat((model.video.cls, tokens.flatten(2).mT), dim=1)
    expected = expected + model.video.positions.table
    torch.testing.assert_close(model.video.embed(video)[0], expected)
    mask = model.video.valid_tokens(valid, (6, 12, 16))
    assert mask.tolist() == [[True] * 5 + [False] * 2]
    other = video.clone()
    other[:, 3:] = 7.0
    logits = [model({"video": x}, valid={"video": valid}).logits for x in (video, other)]
    assert torch.equal(*logits)


def test_fusion_tokens_count_is_the_true_one():
    assert MBT(**SMALL_MBT, bottleneck_tokens=5).fusion.tokens.shape == (1, 5, 8)


def test_no_fusion_part_without_fusion():
    for change in ({"modalities": ("audio",)}, {"fusion_layer": 2}):
        assert MBT(**SMALL_MBT | change).fusion is None


def test_parameter_names_can_be_frozen_by_modality():
    names = [name for name, _ in MBT(**SMALL_MBT).named_parameters()]
    tops = {name.split(".")[0] for name in names}
    assert tops == {"audio", "video", "fusion", "norm", "head"}
