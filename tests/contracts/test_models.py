"""What every model and every fusion strategy must do, run over the tables of `registry`.

A new entry is covered by adding small arguments for it here; without them a test fails.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sightsound.models.pretrained import load_pretrained
from sightsound.registry import FUSIONS, MODELS, resolve
from sightsound.types import AUDIO, MODALITIES, VIDEO

SMALL_MBT = dict(
    heads={"verb": 3, "noun": 4},
    video_shape=(4, 16, 24),
    audio_shape=(32, 16),
    width=16,
    num_heads=2,
    depth=4,
    fusion_layer=1,
    bottleneck_tokens=3,
    video_patch=(2, 8, 8),
    audio_patch=(8, 8),
)
SMALL_MAFNET = dict(
    heads={"verb": 3, "noun": 4},
    video_shape=(4, 2, 3, 6),
    audio_shape=(4, 3, 2, 5),
    width=16,
    mcb_size=24,
)
SMALL_PROBE = dict(heads={"verb": 3, "noun": 4}, video_shape=(4, 2, 3, 16), audio_shape=(4, 16))
SMALL_UNIFORMER = dict(
    heads={"verb": 3, "noun": 4},
    video_shape=(4, 32, 64),
    widths=(4, 8, 16, 16),
    depths=(1, 1, 1, 2),
    head_width=8,
)
SMALL_AST = dict(
    heads={"verb": 3, "noun": 4},
    audio_shape=(36, 16),
    width=16,
    num_heads=2,
    depth=2,
    patch=(8, 8),
    stride=(5, 4),
)
SMALL_AVT = dict(
    heads={"verb": 3, "noun": 4},
    video_shape=SMALL_UNIFORMER["video_shape"],
    video_options=dict(widths=(4, 8, 16, 16), depths=(1, 1, 1, 1), head_width=8),
    audio_shape=SMALL_AST["audio_shape"],
    audio_options=dict(width=16, num_heads=2, depth=1, patch=(8, 8), stride=(5, 4)),
    fusion_depth=2,
    num_heads=2,
    bottleneck_tokens=3,
)
SMALL_VIT = dict(width=16, num_heads=2, depth=2, patch=(2, 16, 16))
SMALL_STREAM = dict(
    heads={"verb": 3, "noun": 4}, backbone="vit", options=SMALL_VIT, video_shape=(4, 32, 64)
)
# {name of a model: {name of a variant: constructor arguments}}
VARIANTS = {
    "ast": {
        "plain": SMALL_AST,
        "padding-counts": SMALL_AST | {"padding": 0.5},
        "regularised": SMALL_AST | {"stochastic_depth": 0.3},
    },
    "avt": {
        "chain": SMALL_AVT,
        "block-mean": SMALL_AVT | {"fusion_update": "block_mean"},
        "running-mean": SMALL_AVT | {"fusion_update": "running_mean"},
        "no-fusion": SMALL_AVT | {"fusion_depth": 0},
        "learned-token": SMALL_AVT | {"video_token": "learned"},
        "pooled-again": SMALL_AVT | {"video_token": "pooled_again", "audio_token": "both"},
        "regularised": SMALL_AVT | {"stochastic_depth": 0.3, "fusion_stochastic_depth": 0.2},
        "vit": SMALL_AVT | {"video_backbone": "vit", "video_options": SMALL_VIT},
    },
    "late": {
        "plain": {
            key: value
            for key, value in SMALL_AVT.items()
            if key not in ("fusion_depth", "num_heads", "bottleneck_tokens")
        },
    },
    "linear_probe": {
        "both": SMALL_PROBE,
        "audio-first": SMALL_PROBE | {"modalities": (AUDIO, VIDEO)},
        "audio-only": SMALL_PROBE | {"modalities": (AUDIO,), "video_shape": None},
    },
    "mafnet": {
        "film-audio": SMALL_MAFNET,
        "film-video": SMALL_MAFNET | {"film": "video"},
        "film-both": SMALL_MAFNET | {"film": "both"},
        "film-none": SMALL_MAFNET | {"film": "none"},
        "residual-both": SMALL_MAFNET | {"film": "none", "residual": "both"},
        "temporal": SMALL_MAFNET | {"attention": "temporal"},
        "modality": SMALL_MAFNET | {"attention": "modality"},
        "no-attention": SMALL_MAFNET | {"attention": "none"},
        "addition": SMALL_MAFNET | {"fusion": "addition"},
        "mcb": SMALL_MAFNET | {"fusion": "mcb"},
        "dmr": SMALL_MAFNET | {"fusion": "dmr"},
        "paper-scorer": SMALL_MAFNET | {"scorer": "paper", "logit_norm": False},
        "unmasked": SMALL_MAFNET | {"masked": False},
        "tokens": SMALL_MAFNET
        | {"film": "both", "video_shape": (4, 3, 6), "audio_shape": (4, 2, 5)},
        "vectors": SMALL_MAFNET | {"film": "both", "video_shape": (4, 6), "audio_shape": (4, 5)},
        "audio-first": SMALL_MAFNET | {"modalities": (AUDIO, VIDEO)},
        "audio-only": SMALL_MAFNET | {"modalities": (AUDIO,), "video_shape": None},
        "video-only": SMALL_MAFNET | {"modalities": (VIDEO,), "residual": "video"},
    },
    "mbt": {
        f"{fusion}-{classifier}": SMALL_MBT | {"fusion": fusion, "classifier": classifier}
        for fusion in FUSIONS
        for classifier in ("token", "gap", "gmp", "gsp")
    }
    | {
        "sequential": SMALL_MBT | {"update": "sequential"},
        "sequential-gap": SMALL_MBT | {"update": "sequential", "classifier": "gap"},
        "early": SMALL_MBT | {"fusion_layer": 0},
        "late": SMALL_MBT | {"fusion_layer": 4},
        "shared": SMALL_MBT | {"share_weights": True},
        "shared-sequential": SMALL_MBT | {"share_weights": True, "update": "sequential"},
        "shared-cross": SMALL_MBT | {"share_weights": True, "fusion": "cross_attention"},
        "shared-self": SMALL_MBT | {"share_weights": True, "fusion": "self_attention"},
        "early-self": SMALL_MBT | {"fusion_layer": 0, "fusion": "self_attention"},
        "representation": SMALL_MBT | {"representation_size": 5},
        "frames": SMALL_MBT | {"video_patch": (1, 8, 8), "frame_sampling": 2},
        "convolution": SMALL_MBT | {"stem": "convolution"},
        "three-channels": SMALL_MBT | {"audio_channels": 3},
        "video-first": SMALL_MBT | {"modalities": (VIDEO, AUDIO)},
        "audio-only": SMALL_MBT | {"modalities": (AUDIO,), "video_shape": None},
        "video-only-gap": SMALL_MBT | {"modalities": (VIDEO,), "classifier": "gap"},
        "regularised": SMALL_MBT
        | {"dropout": 0.1, "attention_dropout": 0.1, "stochastic_depth": 0.3},
    },
    "one_stream": {
        "frames-alone": SMALL_STREAM,
        "frames-joint": SMALL_STREAM | {"options": SMALL_VIT | {"attention": "joint"}},
    },
    "uniformer": {
        "plain": SMALL_UNIFORMER,
        "odd": SMALL_UNIFORMER | {"video_shape": (3, 40, 70)},
        "frozen": SMALL_UNIFORMER | {"statistics": "frozen"},
        "regularised": SMALL_UNIFORMER | {"stochastic_depth": 0.3},
    },
}
MODALITIES_OF = {
    "ast": (AUDIO,),
    "one_stream": (VIDEO,),
    "uniformer": (VIDEO,),
}  # of models without the argument
ALL = [(name, variant) for name, table in VARIANTS.items() for variant in table]
FUSED = [
    (name, variant)
    for name, variant in ALL
    if len(VARIANTS[name][variant].get("modalities", MODALITIES_OF.get(name, MODALITIES))) == 2
]
MBT = [pair for pair in ALL if pair[0] == "mbt"]
FUSED_MBT = [pair for pair in FUSED if pair[0] == "mbt"]
every_model = pytest.mark.parametrize("name, variant", ALL, ids=[f"{n}-{v}" for n, v in ALL])
every_fused = pytest.mark.parametrize("name, variant", FUSED, ids=[f"{n}-{v}" for n, v in FUSED])
every_mbt = pytest.mark.parametrize("name, variant", MBT, ids=[v for _, v in MBT])
every_fused_mbt = pytest.mark.parametrize("name, variant", FUSED_MBT, ids=[v for _, v in FUSED_MBT])

# softmax takes no notice of a constant: its gradient is zero, or what rounding leaves of it
WITHOUT_EFFECT = {"attention.scorer.2.bias"}

ALONE = 1e-12  # of float64: alone or in a batch, matrix products may round otherwise


def build(name: str, variant: str) -> torch.nn.Module:
    """A model whose every parameter is random, biases, CLS and classifier included."""
    model = resolve(MODELS, name, kind="model")(**VARIANTS[name][variant])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def random_inputs(model: torch.nn.Module, batch_size: int = 3) -> dict[str, Tensor]:
    return {k: torch.randn_like(v) for k, v in model.example_inputs(batch_size).items()}


def rows(inputs: dict[str, Tensor], row: int, *names: str) -> dict[str, Tensor]:
    return {name: values[row : row + 1] for name, values in inputs.items() if name in names}


def time_axis(name: str, modality: str) -> int:
    """Which axis of an input `valid` is about: spectrograms are (B, 1, F, M)."""
    return 2 if name in ("mbt", "ast", "avt", "late") and modality == AUDIO else 1


def test_every_entry_of_the_tables_is_covered():
    assert set(VARIANTS) == set(MODELS)
    used = {v["fusion"] for v in VARIANTS["mbt"].values() if "fusion" in v}
    assert used == set(FUSIONS)


@every_model
def test_shapes(name: str, variant: str):
    model = build(name, variant)
    inputs = random_inputs(model)
    output = model(inputs)
    width = 16
    assert output.logits.shape == (3, 7)
    assert set(output.tokens) == set(output.pooled) == set(output.encoded) == set(model.modalities)
    for modality, tokens in output.tokens.items():
        assert tokens.shape[0] == 3 and tokens.shape[2] == width
        assert output.pooled[modality].shape == output.encoded[modality].shape == (3, width)
    if getattr(model, "classifier", None) == "token" or name == "late":
        assert {k: v.shape for k, v in output.modality_logits.items()} == {
            k: (3, 7) for k in model.modalities
        }
    else:
        assert output.modality_logits == {}
    assert output.attention is None


@every_model
def test_forward_is_encode_then_fuse(name: str, variant: str):
    model = build(name, variant)
    inputs = random_inputs(model)
    assert torch.equal(model(inputs).logits, model.fuse(model.encode(inputs)).logits)


@every_model
def test_inputs_are_not_changed(name: str, variant: str):
    model = build(name, variant).train()
    inputs, masks = random_inputs(model), everything_masked(model)
    before = {key: value.clone() for key, value in inputs.items()}
    masks_before = {k: {m: v.clone() for m, v in masks[k].items()} for k in masks}
    model(inputs, **masks).logits.sum().backward()
    assert inputs.keys() == before.keys()
    assert all(torch.equal(inputs[key], before[key]) for key in before)
    for kind, table in masks_before.items():
        assert all(torch.equal(masks[kind][key], table[key]) for key in table)


def everything_masked(model: torch.nn.Module) -> dict[str, dict[str, Tensor]]:
    """Example 0 has all, 1 lacks the first modality, 2 the second; the last half is padding."""
    present, valid = {}, {}
    for index, (name, values) in enumerate(model.example_inputs(3).items()):
        present[name] = torch.ones(3, dtype=torch.bool)
        if len(model.modalities) > 1:
            present[name][index + 1] = False
        length = values.shape[time_axis(model.info.name, name)]
        valid[name] = torch.ones(3, length, dtype=torch.bool)
        valid[name][:, length // 2 :] = False
    return {"present": present, "valid": valid}


@every_model
def test_every_parameter_gets_a_gradient(name: str, variant: str):
    model = build(name, variant)
    output = model(random_inputs(model))
    (output.logits * torch.randn_like(output.logits)).sum().backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without <= WITHOUT_EFFECT


@every_model
def test_gradients_are_finite_under_masks(name: str, variant: str):
    model = build(name, variant).train()
    model(random_inputs(model), **everything_masked(model)).logits.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all())


def test_a_fresh_model_gives_zero_logits():
    """The classifier starts at zero, as officially."""
    model = resolve(MODELS, "mbt", kind="model")(**SMALL_MBT)
    assert not model(random_inputs(model)).logits.any()


@every_model
def test_save_and_load_to_the_last_bit(name: str, variant: str, tmp_path):
    model = build(name, variant)
    inputs = random_inputs(model)
    loaded = load_pretrained(model.save_pretrained(tmp_path / "model"))
    assert not loaded.training
    assert loaded.info == model.info
    state = loaded.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(loaded(inputs).logits, model(inputs).logits)


@every_mbt
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_attention_maps_leave_the_numbers_alone(name: str, variant: str, masked: bool):
    model = build(name, variant)
    inputs = random_inputs(model)
    masks = everything_masked(model) if masked else {}
    fused, plain = model(inputs, **masks), model(inputs, **masks, maps=True)
    torch.testing.assert_close(plain.logits, fused.logits, rtol=0, atol=5e-6)
    assert len(plain.attention) >= model.size.depth
    for weights in plain.attention.values():
        sums = weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_attention_maps_show_which_tokens_they_are_about():
    """What following attention through the model relies on: see `MBT.forward`."""
    shapes = {}
    for fusion in FUSIONS:
        model = build("mbt", f"{fusion}-token")
        output = model(random_inputs(model), maps=True)
        shapes[fusion] = {key: tuple(w.shape[2:]) for key, w in output.attention.items()}
        video, audio = (output.tokens[name].shape[1] for name in (VIDEO, AUDIO))
        assert shapes[fusion]["video.0"] == (video, video)
        assert shapes[fusion]["audio.0"] == (audio, audio)
    last = model.size.depth - 1
    z = build("mbt", "bottleneck-token").fusion.tokens.shape[1]
    assert shapes["bottleneck"][f"video.{last}"] == (video + z, video + z)
    assert shapes["bottleneck"][f"audio.{last}"] == (audio + z, audio + z)
    assert shapes["cross_attention"][f"video.{last}"] == (video, audio + video)
    assert shapes["self_attention"][f"joint.{last}"] == (audio + video, audio + video)


@every_model
def test_gradient_checkpointing_leaves_the_numbers_alone(name: str, variant: str):
    model = build(name, variant).train()
    inputs, results = random_inputs(model), []
    for enabled in (False, True):
        model.set_gradient_checkpointing(enabled)
        model.zero_grad()
        torch.manual_seed(1)
        logits = model(inputs).logits
        logits.sum().backward()
        results.append([logits, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@every_model
def test_no_weight_decay_names_parameters(name: str, variant: str):
    model = build(name, variant)
    shapes = {n: p.shape for n, p in model.named_parameters()}
    spared = model.no_weight_decay()
    assert spared < set(shapes)
    assert all(n in spared for n, shape in shapes.items() if len(shape) == 1)
    assert not [n for n in spared if n.endswith("weight") and len(shapes[n]) > 1]


@every_model
def test_bfloat16_autocast_is_close(name: str, variant: str):
    model = build(name, variant)
    inputs = random_inputs(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(inputs)
        output.logits.float().sum().backward()
    expected = model(inputs).logits
    assert (output.logits.float() - expected).norm() < 0.1 * expected.norm()


# -------------------------------------------------------------- who learns of whom


def reach(model: torch.nn.Module, changed: str, seen: str) -> bool:
    """Whether tokens of `seen` change when the input of `changed` does."""
    inputs = random_inputs(model, 1)
    other = inputs | {changed: torch.randn_like(inputs[changed])}
    return not torch.equal(model(inputs).tokens[seen], model(other).tokens[seen])


@every_fused_mbt
@pytest.mark.parametrize("changed, seen", [(AUDIO, VIDEO), (VIDEO, AUDIO)])
def test_information_crosses_above_the_fusion_layer_only(name, variant, changed, seen):
    model = build(name, variant)
    assert reach(model, changed, seen) == (model.fusion_layer < model.size.depth)
    inputs = random_inputs(model, 1)
    other = inputs | {changed: torch.randn_like(inputs[changed])}
    assert torch.equal(model.encode(inputs).tokens[seen], model.encode(other).tokens[seen])


@pytest.mark.parametrize(
    "fusion, update, audio_to_video, video_to_audio",
    [
        ("bottleneck", "averaged", False, False),  # the fusion tokens were updated too late
        ("bottleneck", "sequential", False, True),  # video first: audio reads what it wrote
        ("cross_attention", "averaged", True, True),
        ("self_attention", "averaged", True, True),
    ],
)
def test_one_fusion_layer(fusion, update, audio_to_video, video_to_audio):
    model_class = resolve(MODELS, "mbt", kind="model")
    arguments = SMALL_MBT | {"fusion_layer": 3, "fusion": fusion, "update": update}
    model = model_class(**arguments).eval()
    torch.nn.init.normal_(model.head.weight)
    assert reach(model, AUDIO, VIDEO) == audio_to_video
    assert reach(model, VIDEO, AUDIO) == video_to_audio


def test_without_bottlenecks_at_test_time_nothing_crosses():
    model_class = resolve(MODELS, "mbt", kind="model")
    model = model_class(**SMALL_MBT, test_with_bottlenecks=False).eval()
    assert not reach(model, AUDIO, VIDEO)
    assert reach(model.train(), AUDIO, VIDEO)


# ---------------------------------------------------------------- absent streams, padding


@every_fused
def test_a_mixed_batch_gives_each_example_the_numbers_it_gets_alone(name: str, variant: str):
    """Example 0 has both streams, 1 lacks the first modality, 2 the second."""
    model = build(name, variant).double()
    inputs = doubled(random_inputs(model))
    present = everything_masked(model)["present"]
    mixed = model(inputs, present=present)
    first, second = model.modalities
    for row, names in enumerate([(first, second), (second,), (first,)]):
        alone = model(rows(inputs, row, *names))
        close(mixed.logits[row], alone.logits[0])
        for stream in names:
            close(mixed.tokens[stream][row], alone.tokens[stream][0])
            close(mixed.pooled[stream][row], alone.pooled[stream][0])
            close(mixed.encoded[stream][row], alone.encoded[stream][0])
            if mixed.modality_logits:
                close(mixed.modality_logits[stream][row], alone.modality_logits[stream][0])


def doubled(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: stream.double() for name, stream in inputs.items()}


def close(ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=ALONE, atol=ALONE)


@every_fused
@pytest.mark.parametrize("content", [1e3, float("nan"), float("inf")], ids=str)
def test_what_lies_in_an_absent_stream_changes_nothing(name: str, variant: str, content: float):
    model = build(name, variant).train(variant != "regularised")
    inputs = random_inputs(model)
    present = everything_masked(model)["present"]
    other = {k: v.clone() for k, v in inputs.items()}
    for stream, here in present.items():
        other[stream][~here] = content
    before, after = (model(x, present=present) for x in (inputs, other))
    assert torch.equal(before.logits, after.logits)
    for stream, here in present.items():
        assert torch.equal(before.tokens[stream][here], after.tokens[stream][here])
        if before.modality_logits:
            assert not after.modality_logits[stream][~here].any()
    gradients = []
    for output in (before, after):
        model.zero_grad()
        output.logits.sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@every_fused
def test_a_stream_that_no_example_has_equals_one_left_out(name: str, variant: str):
    model = build(name, variant).double()
    inputs = doubled(random_inputs(model))
    for kept, lost in itertools.permutations(model.modalities):
        present = {kept: torch.ones(3).bool(), lost: torch.zeros(3).bool()}
        close(model(inputs, present=present).logits, model({kept: inputs[kept]}).logits)


@every_fused_mbt
def test_a_lone_stream_keeps_its_fusion_tokens(name: str, variant: str):
    """Unlike `test_with_bottlenecks=False`, which is another model."""
    model = build(name, variant)
    if not hasattr(model.fusion, "tokens"):
        return
    inputs = random_inputs(model, 1)
    before = model({AUDIO: inputs[AUDIO]}).logits
    with torch.no_grad():
        model.fusion.tokens.add_(1.0)
    assert not torch.equal(before, model({AUDIO: inputs[AUDIO]}).logits)


@every_model
@pytest.mark.parametrize("content", [1e3, float("nan")], ids=str)
def test_what_lies_in_padding_changes_nothing(name: str, variant: str, content: float):
    model = build(name, variant)
    inputs, valid = random_inputs(model), everything_masked(model)["valid"]
    other = {k: v.clone() for k, v in inputs.items()}
    for stream, frames in valid.items():
        other[stream].transpose(1, time_axis(name, stream))[~frames] = content
    before, after = (model(x, valid=valid) for x in (inputs, other))
    assert torch.equal(before.logits, after.logits)
    assert not torch.allclose(before.logits, model(inputs).logits)


@every_model
def test_all_true_masks_are_no_masks(name: str, variant: str):
    model = build(name, variant)
    inputs = random_inputs(model)
    masks = {
        kind: {k: torch.ones_like(v) for k, v in table.items()}
        for kind, table in everything_masked(model).items()
    }
    assert torch.equal(model(inputs, **masks).logits, model(inputs).logits)


@every_fused
def test_a_stream_of_padding_only_is_absent(name: str, variant: str):
    model = build(name, variant).double()
    inputs = doubled(random_inputs(model))
    valid = {AUDIO: torch.zeros_like(everything_masked(model)["valid"][AUDIO])}
    close(model(inputs, valid=valid).logits, model({VIDEO: inputs[VIDEO]}).logits)


@every_mbt
def test_hidden_tokens_are_not_read(name: str, variant: str):
    """`token_mask` of `encode`: masked modelling hides patches from everyone."""
    model = build(name, variant)
    stream = model.modalities[0]
    inputs = random_inputs(model, 1)
    num_patches = model.encode(inputs).tokens[stream].shape[1] - (model.classifier == "token")
    hidden = torch.zeros(1, num_patches, dtype=torch.bool)
    hidden[0, 0] = True
    encoded = model.encode(inputs, token_mask={stream: hidden})
    assert not torch.equal(model.fuse(encoded).logits, model(inputs).logits)
    table = model.stream(stream).positions.table
    with torch.no_grad():  # change the hidden token by its own position
        table[:, -num_patches] += 1.0
    again = model.encode(inputs, token_mask={stream: hidden})
    assert torch.equal(model.fuse(again).logits, model.fuse(encoded).logits)


@every_model
def test_nothing_left_is_an_error(name: str, variant: str):
    model = build(name, variant)
    inputs = random_inputs(model)
    nothing = {k: torch.tensor([True, False, True]) for k in inputs}
    with pytest.raises(ValueError, match=r"examples \[1\] of the batch have no stream"):
        model(inputs, present=nothing)
    with pytest.raises(ValueError, match="inputs hold none of the model's modalities"):
        model({})


@every_mbt
def test_other_sizes_interpolate_the_positions(name: str, variant: str):
    model = build(name, variant)
    larger = {VIDEO: torch.randn(2, 6, 3, 24, 16), AUDIO: torch.randn(2, 1, 48, 16)}
    inputs = {k: v for k, v in larger.items() if k in model.modalities}
    assert bool(model(inputs).logits.isfinite().all())


@pytest.mark.gpu
@every_model
def test_a_gpu_gives_the_same_numbers(name: str, variant: str):
    """In float64, since TF32 rounds; under masks, too, so that nothing is made on the CPU."""
    model = build(name, variant).double()
    inputs = {key: x.double() for key, x in random_inputs(model).items()}
    masks = everything_masked(model)
    expected = model(inputs).logits, model(inputs, **masks).logits
    model, inputs = model.cuda(), {key: x.cuda() for key, x in inputs.items()}
    masks = {kind: {key: x.cuda() for key, x in each.items()} for kind, each in masks.items()}
    found = model(inputs).logits, model(inputs, **masks).logits
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-8, atol=1e-8)
