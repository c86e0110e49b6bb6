"""AVT's losses: which parameters they reach, what they leave alone, what they see."""

from __future__ import annotations

import dataclasses
import fnmatch
import inspect
import re

import pytest
import torch
from torch import Tensor, nn

from sightsound.models.avt import AVT
from sightsound.models.backbone import Cells
from sightsound.models.mbt import MBT
from sightsound.objectives.audio_visual import masking
from sightsound.objectives.audio_visual.matching import another, right_and_wrong
from sightsound.objectives.audio_visual.objective import AudioVisual
from sightsound.objectives.audio_visual.segments import number_segments
from sightsound.registry import OBJECTIVES, resolve
from sightsound.types import AUDIO, VIDEO, Batch

SHAPES = {VIDEO: (4, 3, 32, 64), AUDIO: (1, 46, 16)}
HEADS = {"label": 5}
NONE = dict(contrastive_weight=0.0, matching_weight=0.0, masked_weight=0.0)
SMALL = dict(num_segments=6, window=5, embedding_width=8, mask_share=0.2)


def avt(**changes) -> AVT:
    arguments = dict(
        heads=HEADS,
        video_shape=(4, 32, 64),
        video_options=dict(widths=(4, 8, 16, 24), depths=(1, 1, 1, 1), head_width=8),
        audio_shape=(46, 16),
        audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4)),
        fusion_depth=2,
        num_heads=2,
    )
    return AVT(**arguments | changes)


def mbt(**changes) -> MBT:
    arguments = dict(
        heads=HEADS,
        video_shape=(4, 32, 64),
        audio_shape=(46, 16),
        width=16,
        num_heads=2,
        depth=2,
        fusion_layer=1,
        video_patch=(2, 16, 16),
        audio_patch=(8, 8),
    )
    return MBT(**arguments | changes)


def batch(size: int = 4, *, ids: list[str] | None = None) -> Batch:
    frames = {VIDEO: SHAPES[VIDEO][0], AUDIO: SHAPES[AUDIO][1]}
    return Batch(
        video=torch.randn(size, *SHAPES[VIDEO]),
        audio=torch.randn(size, *SHAPES[AUDIO]),
        present={name: torch.ones(size, dtype=torch.bool) for name in SHAPES},
        valid={name: torch.ones(size, n, dtype=torch.bool) for name, n in frames.items()},
        target=torch.eye(5)[torch.arange(size) % 5],
        id=ids or [f"clip{i}" for i in range(size)],
        view=torch.zeros(size, dtype=torch.long),
    )


def objective(model: nn.Module | None = None, **changes) -> AudioVisual:
    made = AudioVisual(task="single", heads=HEADS, **SMALL | changes)
    return made if model is None else made.prepare(model)


def only(name: str, **changes) -> dict[str, float]:
    return {"classification_weight": 0.0, **NONE, f"{name}_weight": 1.0, **changes}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# What each loss trains: patterns of all parameters of the two models, and of its own layers.
AVT_ENCODERS = ("video.*", "audio.*")
AVT_FUSION = ("projections.video.*", "fusion.tokens", "fusion_layers.*", "norms.*")
MBT_ENCODERS = tuple(
    f"{stream}.{part}"
    for stream in (VIDEO, AUDIO)
    for part in ("cls", "patches.*", "positions.*", "blocks.0.*")
)
MBT_FUSION = ("video.blocks.1.*", "audio.blocks.1.*", "fusion.tokens", "norm.*")
OWN_HEADS = tuple(f"contrastive.heads.{stream}.*" for stream in (VIDEO, AUDIO))
OWN_DECODERS = tuple(f"reconstruction.decoders.{stream}.*" for stream in (VIDEO, AUDIO))
TRAINED = {  # loss: (its settings, encoders, fusion, classifier, its own layers)
    "classification": (only("classification"), True, True, True, ()),
    "contrastive": (only("contrastive"), True, False, False, OWN_HEADS),
    "matching": (only("matching", negatives="random"), True, True, False, ("matching.head.*",)),
    "masked": (only("masked"), True, True, False, OWN_DECODERS),
    "all": ({}, True, True, True, (*OWN_HEADS, "matching.head.*", *OWN_DECODERS)),
}


def matched(module: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    names = [name for name, _ in module.named_parameters()]
    return [name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)]


def reached(module: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the parameters that have a gradient, and of those where it is not zero."""
    found = [(n, p.grad) for n, p in module.named_parameters() if p.grad is not None]
    return [name for name, _ in found], [name for name, gradient in found if gradient.any()]


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(
    "make, encoders, fusion", [(avt, AVT_ENCODERS, AVT_FUSION), (mbt, MBT_ENCODERS, MBT_FUSION)]
)
def test_gradients_reach_the_parameters_they_are_meant_for(make, encoders, fusion, name):
    arguments, in_encoders, in_fusion, in_head, own = TRAINED[name]
    patterns = encoders * in_encoders + fusion * in_fusion + ("head.*",) * in_head
    model = make()
    nn.init.normal_(model.head.weight)  # it starts from zero: nothing would go through
    loss = objective(model, **arguments)
    loss(model, batch(), generator=generator())[0].backward()
    assert reached(model) == (matched(model, patterns),) * 2
    assert reached(loss) == (matched(loss, own),) * 2
    assert matched(loss, own) == matched(loss, ("*",))
    assert matched(model, (*encoders, *fusion, "head.*")) == matched(model, ("*",))


@pytest.mark.parametrize("make", [avt, mbt])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"separate_clean_pass": True},
        {"negatives": "random", "everywhere": True},
        {"video_masking": "pixels", "audio_masking": "tokens"},
        {"video_masking": "none", "direction": "audio_to_video"},
        {"audio_masking": "none", "classification_weight": 0.0},
    ],
    ids=str,
)
def test_every_variant_learns_something(make, arguments):
    model = make().train()
    loss = objective(model, **arguments)
    value, logs = loss(model, batch(), generator=generator())
    value.backward()
    assert value.isfinite() and logs["loss"] == value
    weights = loss.weights
    total = sum(weights[name] * logs[name] for name in weights if name in logs)
    torch.testing.assert_close(total, value.detach())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


def test_without_auxiliary_losses_it_is_classification():
    model, one = avt(), batch()
    loss = objective(model, **NONE)
    assert not list(loss.parameters())
    plain = resolve(OBJECTIVES, "classification", kind="objective")(task="single", heads=HEADS)
    model.eval()
    assert loss(model, one)[0] == plain(model, one)[0]


def test_a_loss_that_is_switched_off_costs_nothing():
    model, calls = avt(), []
    for name in ("encode", "fuse"):
        method = getattr(model, name)
        setattr(model, name, lambda *a, _m=method, _n=name, **k: (calls.append(_n), _m(*a, **k))[1])
    loss = objective(model, **only("contrastive"))
    calls.clear()
    loss(model, batch())
    assert calls == ["encode"]
    calls.clear()
    objective(avt(), **only("masked")).prepare(model)(model, batch(), generator=generator())
    assert calls[-2:] == ["encode", "fuse"]


@pytest.mark.parametrize("make", [avt, mbt])
def test_the_generator_decides_everything(make):
    model, one = make().eval(), batch()
    loss = objective(model)
    values = [loss(model, one, generator=generator(seed))[0] for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("kind", ["lost", "absent", "mixed"])
def test_clips_without_a_stream(kind):
    """They have no pair to learn from; labels and what they have still teach."""
    model, one = avt().train(), batch()
    one.present[AUDIO][:] = kind == "mixed"
    one.present[AUDIO][0] = False
    if kind == "lost":
        one = dataclasses.replace(one, audio=None)
    if kind == "mixed":
        one.audio[0] = torch.nan
    loss = objective(model)
    value, logs = loss(model, one, generator=generator())
    value.backward()
    assert value.isfinite()
    assert (logs["matching"] > 0) == (logs["contrastive"] > 0) == (kind == "mixed")
    for module in (model, loss):
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_clips_of_one_source_match_whatever_their_ids():
    """They are wanted by the contrastive loss, and never a wrong pair."""
    model, one = avt().eval(), batch()
    loss = objective(model, **only("contrastive"))
    encoded = loss.contrastive.embed(model.encode(one.inputs).pooled)
    for source in ([], ["a", "b", "a", "c"]):
        found, _ = loss(model, dataclasses.replace(one, source=source))
        numbers = torch.tensor([0, 1, 0, 2] if source else [0, 1, 2, 3])
        torch.testing.assert_close(found, loss.contrastive(encoded, numbers))
    _, logs = objective(model)(model, dataclasses.replace(one, source=["a"] * 4))
    assert "matching_accuracy" not in logs


def test_streams_are_compared_in_float32_under_autocast():
    """Similarities are divided by 0.07: bfloat16's rounding would be seen."""
    contrastive, numbers = objective(avt()).contrastive, torch.arange(4)
    pooled = avt().encode(batch().inputs).pooled
    with torch.autocast("cpu", torch.bfloat16):
        embedded = contrastive.embed(pooled)
        found = contrastive(embedded, numbers)
    assert all(each.dtype == torch.float32 for each in embedded.values())
    torch.testing.assert_close(found, contrastive(embedded, numbers), rtol=0, atol=1e-6)


def test_a_batch_of_one_source_has_no_wrong_pairs():
    model = avt()
    _, logs = objective(model)(model, batch(3, ids=["a"] * 3), generator=generator())
    assert logs["matching"] == 0 and "matching_accuracy" not in logs


# ----------------------------------------------------------------------- wrong pairs


@pytest.mark.parametrize("seed", range(5))
def test_random_partners_are_of_other_sources(seed):
    source = torch.tensor([4, 4, 4, 9, 9, 1, 7])
    partner = another(source, generator=generator(seed))
    assert sorted(partner.tolist()) == list(range(7))
    assert not (source == source[partner]).any()


def test_hard_partners_are_alike_and_of_other_sources():
    similarity = torch.tensor([[9.0, 9.0, 0.0, 8.0], [9.0, 9.0, 0.0, 8.0]] * 2) * 10
    source, rows = torch.tensor([0, 0, 1, 2]), torch.tensor([3, 4, 6, 8])
    pairs = right_and_wrong(rows, source, similarity=similarity, generator=generator())
    assert pairs["right"].tolist() == rows.tolist()
    assert pairs[VIDEO][:4].tolist() == pairs[AUDIO][4:].tolist() == rows.tolist()
    assert pairs[VIDEO][4:6].tolist() == [8, 8]  # of sources 1 and 2, the more alike
    number = {row: s for row, s in zip(rows.tolist(), source.tolist(), strict=True)}
    for video, audio in zip(pairs[VIDEO].tolist(), pairs[AUDIO].tolist(), strict=True):
        assert number[video] != number[audio]


def test_the_sound_that_finds_pictures_and_the_pictures_that_find_sound():
    """Rows of the similarities are sounds: one clip's likeliest partners are not the same two."""
    similarity = torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]]) * 10
    pairs = right_and_wrong(
        torch.arange(3), torch.arange(3), similarity=similarity, generator=generator()
    )
    assert pairs[VIDEO].tolist() == [0, 1, 2, 1, 2, 0]
    assert pairs[AUDIO].tolist() == [2, 0, 1, 0, 1, 2]


# ---------------------------------------------------------------------------- hiding


MASKINGS = [
    {"video_masking": video, "audio_masking": audio}
    for video in ("tokens", "pixels")
    for audio in ("segments", "tokens")
]


@pytest.mark.parametrize("make", [avt, mbt])
@pytest.mark.parametrize("arguments", MASKINGS, ids=str)
def test_nothing_leaks_into_its_own_reconstruction(make, arguments):
    """What is hidden and compared may change at will: the model's output stays."""
    model = make().eval()
    loss = objective(model, **arguments)
    one = batch()
    hidden = loss.masking(one, loss.streams, generator=generator())
    changed = {}
    for name, values in one.inputs.items():
        assert hidden.scored[name].any()
        changed[name] = torch.where(hidden.scored[name], torch.randn_like(values) * 9, values)
    token_mask = {"token_mask": hidden.token_mask} if hidden.token_mask else {}
    places = {  # the same places, hidden in other content
        name: torch.where((hidden.inputs[name] == 0) & (values != 0), 0.0, changed[name])
        for name, values in one.inputs.items()
    }
    before = model.fuse(model.encode(hidden.inputs, **token_mask))
    after = model.fuse(model.encode(places, **token_mask))
    for name in one.inputs:
        torch.testing.assert_close(before.tokens[name], after.tokens[name], rtol=0, atol=1e-5)
        shown = model.fuse(model.encode(changed)).tokens[name]
        assert not torch.allclose(before.tokens[name], shown, rtol=0, atol=1e-3)


def test_the_second_frame_of_a_hidden_token_is_seen_by_the_next():
    """Why only the first one is compared."""
    cells = Cells((2, 2, 2), (2, 4, 4), (2, 4, 4))
    tokens = torch.zeros(1, 8, dtype=torch.bool)
    tokens[0, 0] = True
    places = masking.unseen(tokens, cells, (4, 8, 8), (1, 0, 0))
    assert places.nonzero()[:, 2:].tolist() == [
        [0, row, column] for row in range(4) for column in range(4)
    ]
    model = avt().eval()
    changed = batch(1).video
    mask = torch.zeros(1, 2 * 8 * 16, dtype=torch.bool)
    mask[0, 0] = True
    other = changed.clone()
    other[:, 1, :, :4, :4] += 1
    before, after = (
        model.encode({VIDEO: x}, token_mask={VIDEO: mask}).pooled[VIDEO] for x in (changed, other)
    )
    assert not torch.equal(before, after)


@pytest.mark.parametrize("arguments", MASKINGS, ids=str)
def test_padding_is_neither_hidden_nor_compared(arguments):
    model, one = avt(), batch()
    one.valid[VIDEO][:, 2:] = False
    one.valid[AUDIO][:, 20:] = False
    one.present[VIDEO][0] = False
    loss = objective(model, **arguments, everywhere=False)
    hidden = loss.masking(one, loss.streams, generator=generator())
    assert hidden.scored[AUDIO].any() and not hidden.scored[AUDIO][:, :, 20:].any()
    assert hidden.scored[VIDEO].any() and not hidden.scored[VIDEO][:, 2:].any()
    assert not hidden.scored[VIDEO][0].any()
    for name, values in one.inputs.items():
        frames = one.valid[name]
        outside = ~(frames[:, :, None, None, None] if name == VIDEO else frames[:, None, :, None])
        assert torch.equal(values * outside, hidden.inputs[name] * outside)


def test_padding_is_not_compared_where_all_the_rest_is():
    one = batch()
    one.valid[VIDEO][:, 2:] = False
    one.valid[AUDIO][:, 20:] = False
    one.present[VIDEO][0] = False
    loss = objective(avt(), everywhere=True)
    scored = loss.masking(one, loss.streams, generator=generator()).scored
    assert scored[AUDIO][:, :, :20].all() and not scored[AUDIO][:, :, 20:].any()
    assert scored[VIDEO][1:, :2].all() and not scored[VIDEO][:, 2:].any()
    assert not scored[VIDEO][0].any()


def test_segments_are_those_of_the_sound_without_its_padding():
    """Whose border would be the largest change."""
    sound = torch.randn(3, 46, 16).cumsum(1) / 20
    sound[:, 30:], sound[:, :4] = 9.0, -9.0
    valid = torch.zeros(3, 46, dtype=torch.bool)
    valid[:2, 4:30], valid[2] = True, True
    found = number_segments(sound, valid=valid, num_segments=3, window=5)
    alone = number_segments(sound[:2, 4:30], num_segments=3, window=5)
    assert torch.equal(found[:2, 4:30], alone) and alone.max() == 2
    assert (found[~valid] == -1).all()


def test_as_many_tokens_as_in_the_paper():
    """4 % of 25,088 and of 1,212, 2 of 50; and at least one."""
    for number, wanted in ((25088, 1004), (1212, 48), (50, 2), (3, 1)):
        eligible = torch.ones(2, number, dtype=torch.bool)
        hidden = masking.drawn(eligible, 0.04, generator=generator())
        assert hidden.sum(1).tolist() == [wanted] * 2
        assert number == 3 or not torch.equal(hidden[0], hidden[1])
    assert not masking.drawn(~eligible, 0.04, generator=generator()).any()


def test_decoders_of_the_paper():
    """4.72 million parameters, 1016 x 126 of 1024 x 128."""
    with torch.device("meta"):
        model = AVT(heads=HEADS)
        loss = AudioVisual(task="single", heads=HEADS).prepare(model)
    video, audio = (loss.reconstruction.decoders[name] for name in (VIDEO, AUDIO))
    assert sum(p.numel() for p in video.parameters()) == 768 * 3 * 2 * 32 * 32 + 3
    tokens = torch.empty(1, 1213, 768, device="meta")
    assert loss.reconstruction.decode(AUDIO, tokens, (101, 12)).shape == (1, 1, 1016, 126)
    assert audio.weight.shape == (768, 1, 16, 16)
    tokens = torch.empty(1, 393, 768, device="meta")
    shape = (1, 16, 3, 224, 224)
    assert loss.reconstruction.decode(VIDEO, tokens, (8, 7, 7)).shape == shape


def test_the_error_is_the_mean_over_what_is_compared():
    """Over channels, too."""
    loss = objective(avt())
    cells = {VIDEO: loss.streams[VIDEO].cells((4, 32, 64)), AUDIO: Cells((8, 3), (8, 8), (5, 4))}
    tokens = {name: torch.randn(2, 1 + torch.Size(c.grid).numel(), 16) for name, c in cells.items()}
    target, scored = {}, {}
    for name, cell in cells.items():
        values = loss.reconstruction.decode(name, tokens[name], cell.grid)
        places = values[:, :, :1] if name == VIDEO else values
        scored[name] = torch.rand_like(places) < 0.2
        target[name] = values + torch.where(scored[name], 2.0, 100.0)
    found = loss.reconstruction(tokens, cells, target=target, scored=scored)
    for value in found.values():
        torch.testing.assert_close(value, torch.tensor(4.0))


def test_an_odd_number_of_frames_is_cut():
    model = avt(video_shape=(3, 40, 70))
    loss = objective(model)
    one = dataclasses.replace(
        batch(),
        video=torch.randn(4, 3, 3, 40, 70),
        valid=batch().valid | {VIDEO: torch.ones(4, 3).bool()},
    )
    value, logs = loss(model, one, generator=generator())
    assert value.isfinite() and logs["masked_video"] > 0


def test_defaults_are_the_numbers_of_the_paper():
    """Sections 3.2 and 4.1; the window is ours, which the paper does not tell."""
    given = inspect.signature(AudioVisual).parameters
    weights = [given[f"{name}_weight"].default for name in ("contrastive", "matching", "masked")]
    assert given["classification_weight"].default == 1.0 and weights == [0.5, 0.1, 0.01]
    assert given["label_smoothing"].default == 0.0
    assert (given["temperature"].default, given["embedding_width"].default) == (0.07, 256)
    assert (given["mask_share"].default, given["num_segments"].default) == (0.04, 50)
    assert given["window"].default == 11


# --------------------------------------------------------------------- wrong settings


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"contrastive_weight": 0.0}, "negatives is 'hard', but contrastive_weight is 0"),
        ({"masked_weight": -1}, "masked_weight is -1; accepted: 0 (off) or more"),
        (only("contrastive", contrastive_weight=0.0), "all weights of the objective are 0"),
        ({"negatives": "hrad"}, "unknown negatives 'hrad'; known: hard, random."),
        ({"video_masking": "no", "audio_masking": "no"}, "unknown video_masking 'no'"),
        ({"video_masking": "none", "audio_masking": "none"}, "so nothing is hidden"),
        ({"mask_share": 1.5}, "mask_share is 1.5; accepted: between 0 and 1"),
        ({"mask_share": 1.0}, "mask_share is 1.0; accepted: between 0 and 1"),
        ({"mask_share": 0.0}, "mask_share is 0.0; accepted: between 0 and 1"),
        ({"num_segments": 1}, "num_segments is 1; accepted: 2 or more"),
        ({"window": 4}, "window is 4; accepted: an odd number from 3 on"),
        ({"window": 1}, "window is 1; accepted: an odd number from 3 on"),
        ({"direction": "up"}, "unknown direction 'up'"),
    ],
)
def test_settings_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        objective(**arguments)


def test_settings_at_their_bounds():
    value, _ = objective(model := avt(), num_segments=2, window=3)(
        model, batch(), generator=generator()
    )
    assert value.isfinite()


def test_models_it_cannot_train():
    one_stream = mbt(modalities=(AUDIO,), video_shape=None)
    with pytest.raises(ValueError, match="compares sound and pictures, but the model's modalities"):
        objective(one_stream)
    with pytest.raises(ValueError, match="the model chooses frames itself"):
        objective(mbt(frame_sampling=2, video_patch=(1, 16, 16)))
    with pytest.raises(ValueError, match="does not know its model yet: call prepare"):
        objective()(avt(), batch())


def values_of(loss: AudioVisual) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in loss.state_dict().items()}


def test_its_layers_are_its_own_and_the_model_is_not_among_them():
    model = avt()
    before = set(model.state_dict())
    loss = objective(model)
    assert set(model.state_dict()) == before
    names = {name.split(".")[0] for name in values_of(loss)}
    assert names == {"contrastive", "matching", "reconstruction"}
