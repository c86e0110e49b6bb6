"""MAFnet: every variant, what masks mean, contributions, paths, and wrong arguments."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sightsound.models.mafnet import FUSIONS, STREAMS, MAFnet
from sightsound.nn.cell_attention import KINDS
from sightsound.types import AUDIO, VIDEO

SMALL = dict(
    heads={"label": 3},
    video_shape=(4, 2, 2, 5),
    audio_shape=(4, 3, 2, 6),
    width=8,
    mcb_size=16,
)
EVERY = list(itertools.product(KINDS, FUSIONS, STREAMS))
every = pytest.mark.parametrize("attention, fusion, film", EVERY)
LINEAR = ("concatenation", "addition")


def build(**change) -> MAFnet:
    """A model whose every number is random, running statistics included."""
    model = MAFnet(**SMALL | change)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand_like(buffer))
    return model.eval()


def random_inputs(model: MAFnet, batch_size: int = 3) -> dict[str, Tensor]:
    return {k: torch.randn_like(v) for k, v in model.example_inputs(batch_size).items()}


def statistics(model: MAFnet) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.named_buffers() if "running" in k}


@every
def test_forward_and_backward(attention: str, fusion: str, film: str):
    model = build(attention=attention, fusion=fusion, film=film).train()
    output = model(random_inputs(model), maps=True)
    assert output.logits.shape == (3, 3)
    assert output.attention["cells"].shape == (3, 4, 2)
    (output.logits * torch.randn(3, 3)).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@every
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_padding_changes_nothing(attention: str, fusion: str, film: str, train: bool):
    """Three seconds alone or followed by two of padding: the same numbers, also those learnt."""
    model = build(attention=attention, fusion=fusion, film=film).double().train(train)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    short = {k: v[:, :3].double() for k, v in random_inputs(model).items()}
    padded = {k: torch.cat([v, torch.full_like(v[:, :2], 9.0)], dim=1) for k, v in short.items()}
    valid = dict.fromkeys(short, (torch.arange(5) < 3).expand(3, 5))
    results = []
    for inputs, masks in ((short, {}), (padded, {"valid": valid})):
        model.load_state_dict(before)
        model.zero_grad(set_to_none=True)
        logits = model(inputs, **masks).logits
        logits.square().sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        results.append([logits, *statistics(model).values(), *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@every
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_contributions_sum_to_the_logits(attention: str, fusion: str, film: str, train: bool):
    model = build(attention=attention, fusion=fusion, film=film).train(train)
    inputs, valid = random_inputs(model), torch.ones(3, 4, dtype=torch.bool)
    valid[2, 1:] = False
    present = {AUDIO: torch.tensor([True, False, True])}
    output = model(inputs, present=present, valid={VIDEO: valid}, maps=True)
    if fusion not in LINEAR:  # they are not sums of what the cells give
        assert output.contributions is None
        return
    parts, constant = output.contributions["cells"], output.contributions["constant"]
    assert parts.shape == (3, 4, 2, 3) and constant.shape == (3,)
    torch.testing.assert_close(parts.sum((1, 2)) + constant, output.logits, rtol=0, atol=1e-5)
    assert not parts[1, :, 1].any() and not parts[2, 1:, 0].any()


def test_attention_weights_sum_to_one():
    inputs = random_inputs(build())
    valid = {AUDIO: torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True, False] * 2])}
    for kind, axes in {"joint": (1, 2), "modality": (1, 2), "temporal": 1, "none": 1}.items():
        weights = build(attention=kind)(inputs, valid=valid, maps=True).attention["cells"]
        sums = weights.sum(axes)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        assert not weights[..., 1][~valid[AUDIO]].any()
    torch.testing.assert_close(weights[1, :, 1], torch.tensor([0.5, 0.5, 0, 0]))  # kind "none"


def test_attention_over_modalities_chooses_where_both_are():
    model, valid = build(attention="modality"), torch.tensor([[True, True, False, False]] * 3)
    inputs = random_inputs(model)
    weights = model(inputs, valid={AUDIO: valid}, maps=True).attention["cells"]
    torch.testing.assert_close(weights.sum(2), torch.full((3, 4), 0.25))
    torch.testing.assert_close(weights[:, 2:, 0], torch.full((3, 2), 0.25))  # video alone there


def test_columns_are_in_order_of_modalities():
    one, other = build(), build(modalities=(AUDIO, VIDEO))
    state = one.state_dict()
    state["head.linear.weight"] = (
        state["head.linear.weight"].unflatten(1, (2, 8)).flip(1).flatten(1)
    )
    other.load_state_dict(state)
    inputs = random_inputs(one)
    first, second = one(inputs, maps=True), other(inputs, maps=True)
    torch.testing.assert_close(first.logits, second.logits)
    torch.testing.assert_close(first.attention["cells"], second.attention["cells"].flip(2))


# ------------------------------------------------------------------------- absent streams


@pytest.mark.parametrize("film", STREAMS)
def test_batch_norms_see_what_is_there(film: str):
    """In training: an example without audio leaves no trace in audio's statistics."""
    model, other = build(film=film).train(), build(film=film).train()
    other.load_state_dict(model.state_dict())
    inputs = random_inputs(model)
    model(inputs, present={AUDIO: torch.tensor([True, True, False])})
    other({k: v[:2] for k, v in inputs.items()})
    ours, expected = statistics(model), statistics(other)
    audio = [name for name in ours if name.startswith("audio")]
    assert len(audio) == (4 if film in ("audio", "both") else 2)
    for name in audio:
        torch.testing.assert_close(ours[name], expected[name])
    assert not torch.allclose(ours["video.norm.running_mean"], expected["video.norm.running_mean"])


def test_a_batch_without_a_stream_leaves_its_statistics_alone():
    model = build().train()
    before, inputs = statistics(model), random_inputs(model)
    model(inputs, present={AUDIO: torch.zeros(3, dtype=torch.bool)}).logits.sum().backward()
    after = statistics(model)
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("audio"))
    assert not torch.equal(before["video.norm.running_mean"], after["video.norm.running_mean"])


@pytest.mark.parametrize("film, other", [("audio", VIDEO), ("video", AUDIO)])
def test_film_is_the_identity_without_the_other_stream(film: str, other: str):
    model = build(film=film)
    inputs, valid = random_inputs(model), torch.ones(3, 4, dtype=torch.bool)
    valid[0, 2:] = False
    partly = model(inputs, valid={other: valid}).tokens[film]
    with_it = model(inputs).tokens[film]
    without = model({film: inputs[film]}).tokens[film]
    with torch.no_grad():
        for parameter in model.stream(film).block.film.parameters():
            parameter.zero_()
    torch.testing.assert_close(without, model(inputs).tokens[film])
    assert torch.equal(partly[1:], with_it[1:]) and torch.equal(partly[0, :2], with_it[0, :2])
    torch.testing.assert_close(partly[0, 2:], without[0, 2:])
    assert not torch.allclose(partly[0, 2:], with_it[0, 2:])


@pytest.mark.parametrize(("film", "streams"), [("audio", [AUDIO]), ("both", [VIDEO, AUDIO])])
def test_around_film(film: str, streams: list[str]):
    """Figure 7 of the paper: with one second and no map, the block is made of both numbers."""
    one = dict(video_shape=(1, 5), audio_shape=(1, 6))
    model = build(film=film, **one)
    inputs = random_inputs(model)
    found = model.around_film(inputs)
    assert list(found) == streams
    for name, (before, after) in found.items():
        block, x = model.stream(name).block, inputs[name].flatten(0, 1)
        other = inputs[{AUDIO: VIDEO, VIDEO: AUDIO}[name]].flatten(0, 1)
        inlet = torch.relu(block.inlet(x))
        torch.testing.assert_close(inlet + torch.relu(after), block(x, condition=other))
        torch.testing.assert_close(inlet + torch.relu(before), block(x))
    assert build(film="none", **one).around_film(inputs) == {}


def test_around_film_means_are_over_places_and_seconds_that_count():
    model = build(film="audio")
    inputs = random_inputs(model)
    whole = model.around_film({name: x[:, :3] for name, x in inputs.items()})[AUDIO]
    valid = {name: torch.tensor([[True, True, True, False]] * 3) for name in inputs}
    padded = model.around_film(inputs, valid=valid)[AUDIO]
    torch.testing.assert_close(padded, whole)
    seconds = [
        model.around_film({name: x[:, t : t + 1] for name, x in inputs.items()})[AUDIO]
        for t in range(3)
    ]
    means = tuple(torch.stack(parts).mean(0) for parts in zip(*seconds, strict=True))
    torch.testing.assert_close(whole, means)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_half_of_an_absent_stream_is_zero():
    model, here = build(), torch.tensor([True, False, True])
    output = model(random_inputs(model), present={VIDEO: here}, maps=True)
    assert not output.pooled[VIDEO][1].any() and output.pooled[VIDEO][0].any()
    assert not output.attention["cells"][1, :, 0].any()
    torch.testing.assert_close(output.attention["cells"].sum((1, 2)), torch.ones(3))


@pytest.mark.parametrize("film", STREAMS)
def test_who_learns_of_whom_before_fusion(film: str):
    model = build(film=film)
    inputs = random_inputs(model, 1)
    for changed, seen in ((VIDEO, AUDIO), (AUDIO, VIDEO)):
        other = inputs | {changed: torch.randn_like(inputs[changed])}
        same = torch.equal(model.encode(inputs).tokens[seen], model.encode(other).tokens[seen])
        assert same == (seen not in STREAMS[film])


@pytest.mark.parametrize("masked", [True, False])
def test_hidden_seconds_are_not_read(masked: bool):
    """`token_mask` of `encode`: neither by attention nor by FiLM nor by a batch norm."""
    model = build(film="both", masked=masked).train()
    inputs, hidden = random_inputs(model), torch.zeros(3, 4, dtype=torch.bool)
    hidden[:, 1] = True
    other = inputs | {VIDEO: inputs[VIDEO].clone()}
    other[VIDEO][:, 1] = 7.0
    mask = {"token_mask": {VIDEO: hidden}}
    ours, same = (model.fuse(model.encode(x, **mask)).logits for x in (inputs, other))
    assert torch.equal(ours, same)
    assert not torch.allclose(ours, model(inputs).logits)


def test_unmasked_padding_is_seconds_of_zeros():
    model = build(masked=False)
    inputs, valid = random_inputs(model), torch.ones(3, 4, dtype=torch.bool)
    valid[1, 2:] = False
    zeros = {k: v.clone() for k, v in inputs.items()}
    for values in zeros.values():
        values[1, 2:] = 0.0
    masks = {"valid": {VIDEO: valid, AUDIO: valid}}
    output = model(inputs, **masks, maps=True)
    assert torch.equal(output.logits, model(zeros).logits)
    assert bool((output.attention["cells"][1, 2:] > 0).all())


# ------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("seconds", [1, 7])
def test_any_number_of_seconds(seconds: int):
    model = build()
    inputs = {VIDEO: torch.randn(2, seconds, 2, 2, 5), AUDIO: torch.randn(2, seconds, 3, 2, 6)}
    output = model(inputs, maps=True)
    assert output.attention["cells"].shape == (2, seconds, 2)
    torch.testing.assert_close(output.attention["cells"].sum((1, 2)), torch.ones(2))
    assert output.tokens[VIDEO].shape == (2, seconds, 8)


def test_maps_tokens_and_vectors_are_alike_where_there_is_no_block():
    model = build(film="none")
    inputs = random_inputs(model)
    expected = model(inputs).logits
    tokens = {k: v.flatten(2, 3) for k, v in inputs.items()}
    vectors = {k: v.mean(2) for k, v in tokens.items()}
    for other in (tokens, vectors):
        torch.testing.assert_close(model(other).logits, expected)


def test_a_block_reaches_its_neighbours():
    """A map's 3 x 3 neighbours, a sequence's two; a vector has none."""
    for shape, kernel in {(4, 3, 3, 6): (3, 3), (4, 5, 6): (3,), (4, 6): ()}.items():
        model = build(audio_shape=shape)
        assert model.audio.block.mix.weight.shape == (8, 8, *kernel)
        grid = shape[1:-1]
        x = torch.randn(1, *grid, 6)
        other = x.clone()
        other[(0, *(0 for _ in grid))] += 1.0
        moved = (model.audio.block(x) != model.audio.block(other)).any(-1)[0]
        assert int(moved.sum()) == 2 ** len(grid)


def test_features_in_half_precision():
    model = build()
    inputs = {k: v.half() for k, v in random_inputs(model).items()}
    assert model(inputs).logits.dtype == torch.float32


def test_paper_size():
    """Parameters at full size with AVE's 28 classes, and the start that Keras gives them."""
    with torch.device("meta"):
        model = MAFnet(heads={"label": 28})
    assert sum(p.numel() for p in model.parameters()) == 6_130_773
    small = MAFnet(**SMALL | {"video_shape": (4, 90), "width": 60})
    limit = (6 / (90 + 60)) ** 0.5
    assert 0.95 * limit < float(small.video.dense.weight.detach().abs().max()) <= limit
    assert not small.video.dense.bias.any()


# ------------------------------------------------------------------------- training


def test_update_paths():
    """Skipping video's update leaves its dense layer and norm; FiLM's generator is audio's."""
    model = MAFnet(**SMALL)
    block = [
        f"audio.block.{part}.{kind}"
        for part in ("inlet", "mix", "norm")
        for kind in ("weight", "bias")
    ]
    generator = ["audio.block.film.generator.weight", "audio.block.film.generator.bias"]
    ends = [f"{part}.{kind}" for part in ("dense", "norm") for kind in ("weight", "bias")]
    video, audio = ([f"{name}.{end}" for end in ends] for name in (VIDEO, AUDIO))
    assert model.update_paths() == {VIDEO: video, AUDIO: [*block, *generator, *audio]}
    by_reader = model.update_paths(generator="conditioning")
    assert by_reader[AUDIO] == [*block, *audio]
    assert sorted(by_reader[VIDEO]) == sorted([*video, *generator])
    everything, released = dict(model.named_parameters()), model.update_paths(released=True)
    left_alone = {name: [k for k in everything if k not in released[name]] for name in released}
    assert left_alone == {AUDIO: video[2:], VIDEO: [*block, *generator, *audio[2:]]}
    alone = MAFnet(**SMALL | {"modalities": (AUDIO,)})
    assert list(alone.update_paths()) == [AUDIO]


def test_norm_decay():
    model = build(norm_decay=0.5).train()
    inputs, before = random_inputs(model), statistics(model)
    raw = model.video.dense(inputs[VIDEO].mean((2, 3)))
    model(inputs)
    expected = (before["video.norm.running_mean"] + raw.mean((0, 1))) / 2
    torch.testing.assert_close(model.video.norm.running_mean, expected)


# ------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "change, text",
    [
        ({"film": "sound"}, "unknown film 'sound'; known: audio, both, none, video"),
        ({"residual": "all"}, "unknown residual 'all'"),
        ({"attention": "jont"}, r"unknown attention 'jont'.*Did you mean 'joint'\?"),
        ({"scorer": "release"}, r"unknown scorer 'release'.*Did you mean 'released'\?"),
        ({"fusion": "concat"}, "unknown fusion 'concat'; known: addition, concatenation, dmr, mcb"),
        ({"heads": {}}, "heads is {}; give at least one head"),
        ({"width": 0}, "width is 0; accepted: 1 or more"),
        ({"mcb_size": 0}, "mcb_size is 0; accepted: 1 or more"),
        ({"norm_decay": 1.0}, "norm_decay is 1.0; accepted: 0 to below 1"),
        ({"modalities": ("audio", "vide")}, r"unknown modality 'vide'.*Did you mean 'video'\?"),
        ({"modalities": ()}, "one or two different names are accepted"),
        ({"modalities": ("audio", "audio")}, "one or two different names are accepted"),
        ({"audio_shape": None}, "audio_shape is None.*leave 'audio' out of modalities"),
        ({"audio_shape": (4,)}, r"audio_shape is \(4,\); accepted: \(T, H, W, D\), \(T, N, D\) or"),
        ({"audio_shape": (3, 6)}, "their first number, the seconds, must be the same"),
        ({"modalities": ("audio",), "attention": "modality"}, "there is nothing to choose from"),
    ],
)
def test_wrong_arguments(change: dict, text: str):
    with pytest.raises(ValueError, match=text):
        MAFnet(**SMALL | change)


@pytest.mark.parametrize(
    "inputs, text",
    [
        ({"audio": torch.zeros(1, 4, 6)}, r"\(1, 4, 6\); accepted is \(B, T, H, W, 6\)"),
        ({"video": torch.zeros(1, 4, 2, 2, 6)}, r"accepted is \(B, T, ..., 5\), features with"),
        ({"video": torch.zeros(1, 0, 5)}, r"video input has shape \(1, 0, 5\)"),
        ({"video": torch.zeros(1, 4, 5, dtype=torch.long)}, "int64; floating point is accepted"),
        ({"vidoe": torch.zeros(1)}, "unknown modality 'vidoe'"),
        (
            {"video": torch.zeros(1, 3, 5), "audio": torch.zeros(1, 4, 3, 2, 6)},
            "{'video': 3, 'audio': 4} seconds; all streams must have the same number",
        ),
    ],
)
def test_wrong_inputs(inputs: dict, text: str):
    with pytest.raises(ValueError, match=text):
        MAFnet(**SMALL)(inputs)
