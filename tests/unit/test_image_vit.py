"""Image ViTs: formats, what of them goes where, reports and error texts."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.ndimage import zoom
from small import SMALL_MBT
from torch import Tensor

from sightsound.build import model_source
from sightsound.cli import main
from sightsound.models.mbt import MBT
from sightsound.nn.position import resize_positions
from sightsound.weights import load_foreign
from sightsound.weights.hub import initialise_from
from sightsound.weights.image_vit import BLOCK_PARTS, ImageViT, read_image_vit
from sightsound.weights.vit import Rules, initialise_from_vit

CASES = Path(__file__).parents[1] / "parity" / "cases" / "mbt"
START = CASES / "vit_init.npz"


def random_vit(
    *, width: int = 8, depth: int = 2, cls: bool = True, representation: bool = False
) -> dict[str, Tensor]:
    """Tensors of an `ImageViT`: patches of 8 x 8, a grid of 3 x 3, 5 classes."""
    mlp, top = 4 * width, width + 3 if representation else width
    shapes = {
        "attention_norm": (width,),
        "attention.qkv": (3 * width, width),
        "attention.out": (width, width),
        "mlp_norm": (width,),
        "mlp.expand": (mlp, width),
        "mlp.contract": (width, mlp),
    }
    layers = {"patches": (width, 3, 8, 8), "norm": (width,), "head": (5, top)}
    layers |= {f"blocks.{n}.{part}": shape for n in range(depth) for part, shape in shapes.items()}
    layers |= {"pre_logits.0": (top, width)} if representation else {}
    tensors = {"positions": torch.randn(1, 9 + cls, width)}
    tensors |= {"cls": torch.randn(1, 1, width)} if cls else {}
    for name, shape in layers.items():
        tensors |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}
    return tensors


def an_image_vit(**sizes) -> ImageViT:
    return ImageViT("picture.npz", random_vit(**sizes), num_heads=2)


TIMM = {
    "positions": "pos_embed",
    "patches.": "patch_embed.proj.",
    "attention_norm": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp_norm": "norm2",
    "mlp.expand": "mlp.fc1",
    "mlp.contract": "mlp.fc2",
    "pre_logits.0": "pre_logits.fc",
}
TRANSFORMERS = {
    "positions": "vit.embeddings.position_embeddings",
    "patches.": "vit.embeddings.patch_embeddings.projection.",
    "blocks.": "vit.encoder.layer.",
    "attention_norm": "layernorm_before",
    "attention.query": "attention.attention.query",
    "attention.key": "attention.attention.key",
    "attention.value": "attention.attention.value",
    "attention.out": "attention.output.dense",
    "mlp_norm": "layernorm_after",
    "mlp.expand": "intermediate.dense",
    "mlp.contract": "output.dense",
    "pre_logits.0": "vit.pooler.dense",
    "head": "classifier",
}


def renamed(tensors: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    def new(name: str) -> str:
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        return name

    return {new(name): tensor.contiguous() for name, tensor in tensors.items()}


def as_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(tensors, TIMM | {"cls": "cls_token"})


def as_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    apart = {}
    for name, tensor in tensors.items():
        if "qkv" in name:
            parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            apart |= {name.replace("qkv", part): third for part, third in parts}
        else:
            apart["vit.layernorm" + name[4:] if name.startswith("norm.") else name] = tensor
    names = {"cls": "vit.embeddings.cls_token"} | TRANSFORMERS
    return renamed(apart, names)


def assert_same(tensors: dict[str, Tensor], expected: dict[str, Tensor]):
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].equal(tensor), name


# ---------------------------------------------------------------------------- formats


@pytest.mark.parametrize("write", [as_timm, as_transformers])
@pytest.mark.parametrize("representation", [False, True])
def test_names_of_hugging_face(tmp_path, write, representation: bool):
    tensors = random_vit(width=192, representation=representation)
    save_file(write(tensors), tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        vit = read_image_vit(path)
        assert_same(vit.tensors, tensors)
        assert vit.num_heads == 3 and vit.unread == ()  # ViT-Ti is 192 wide and has 3 heads
        assert vit.representation_size == (195 if representation else None)


def test_both_names_of_hugging_face_give_one_model(tmp_path):
    tensors = random_vit()
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    states = []
    for write in (as_timm, as_transformers):
        save_file(write(tensors), tmp_path / "vit.safetensors")
        model = load_foreign("vit", tmp_path / "vit.safetensors")
        assert model.size.num_heads == 2 and model.heads == {"label": 5}
        states.append(model.state_dict())
    assert_same(*states)
    assert states[0]["video.blocks.1.attention.qkv.bias"].equal(
        tensors["blocks.1.attention.qkv.bias"]
    )


def test_half_precision_becomes_single(tmp_path):
    tensors = {name: tensor.bfloat16() for name, tensor in as_timm(random_vit()).items()}
    save_file(tensors, tmp_path / "vit.safetensors")
    assert read_image_vit(tmp_path / "vit.safetensors").tensors["cls"].dtype == torch.float32


@pytest.mark.parametrize("prefix", ["", "params/", "param/", "sd/", "opt/target/"])
def test_any_prefix_of_npz(tmp_path, prefix: str):
    with np.load(START) as archive:
        arrays = {k.removeprefix("vit/"): v for k, v in archive.items() if k.startswith("vit/")}
    beside = {"extra/accum_train_time": np.zeros(3)} if prefix else {}
    np.savez(
        tmp_path / "a.npz", **{prefix + name: value for name, value in arrays.items()}, **beside
    )
    vit = read_image_vit(tmp_path / "a.npz")
    assert_same(vit.tensors, read_image_vit(START).tensors)
    assert vit.num_heads == 4 and vit.unread == () and vit.beside == tuple(beside)
    assert set(vit.names) == {prefix + name for name in arrays}


def test_flax_layout_is_turned_over():
    """A dense layer and the heads' output are (in, out), a patch kernel is (h, w, C, D)."""
    with np.load(START) as archive:
        block = "vit/Transformer/encoderblock_1"
        out = archive[f"{block}/MultiHeadDotProductAttention_0/out/kernel"]  # (h, d, D)
        key = archive[f"{block}/MultiHeadDotProductAttention_0/key/kernel"]  # (D, h, d)
        patches = archive["vit/embedding/kernel"]
    tensors = read_image_vit(START).tensors
    assert tensors["blocks.1.attention.out.weight"][3, 8 * 2 + 5] == out[2, 5, 3]
    assert tensors["blocks.1.attention.qkv.weight"][32 + 8 * 2 + 5, 3] == key[3, 2, 5]
    assert tensors["patches.weight"][3, 2, 5, 6] == patches[5, 6, 2, 3]


def test_what_is_not_known_is_listed(tmp_path):
    tensors = as_timm(random_vit()) | {"fc_norm.weight": torch.ones(8)}
    save_file(tensors, tmp_path / "vit.safetensors")
    vit = read_image_vit(tmp_path / "vit.safetensors")
    report = initialise_from_vit(MBT(**SMALL_MBT), vit)
    assert report.not_taken["fc_norm.weight"] == "not a part of ViTs known here"
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    dropped = load_foreign("vit", tmp_path / "vit.safetensors").info.provenance["dropped"]
    assert dropped == ["fc_norm.weight (not a part of ViTs known here)"]


def with_start(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of the stored ViT and one more."""
    with np.load(START) as archive:
        arrays = {k.removeprefix("vit/"): v for k, v in archive.items() if k.startswith("vit/")}
    return arrays | {name: value}


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("bottleneck", np.zeros((1, 5, 32)), "bottleneck"),
        ("clsspectrogram", np.zeros((1, 1, 32)), "clsspectrogram"),
        ("embedding_spectrogram/bias", np.zeros(32), "embedding_spectrogram/bias"),
        ("embedding/kernel", np.zeros((2, 8, 8, 3, 32)), "embedding/kernel of clips"),
    ],
)
def test_an_mbt_is_no_image_vit(tmp_path, name: str, value: np.ndarray, told: str):
    np.savez(tmp_path / "mbt.npz", **with_start(name, value))
    sentence = (
        f"mbt.npz' is an MBT of Scenic, no image ViT: it holds {told}; use kind scenic "
        r"\('sightsound convert scenic'\), and to start from it --init DIR with the result"
    )
    for config in (None, variant("sampling_token")):
        with pytest.raises(ValueError, match=sentence):
            load_foreign("vit", tmp_path / "mbt.npz", config)
    with pytest.raises(ValueError, match="checkpoint_5' is an MBT of Scenic, no image ViT"):
        initialise_from(MBT(**SMALL_MBT), f"vit:{CASES / 'checkpoint_5'}")
    with pytest.raises(ValueError, match="an MBT of several frames is of kind scenic"):
        read_image_vit(CASES / "model_rgb_only_token.npz")


def test_positions_of_a_large_picture_may_be_those_of_frames(tmp_path):
    name = "Transformer/posembed_input/pos_embedding"
    arrays = with_start(name, np.zeros((1, 1 + 4 * 28 * 28, 32), np.float32))
    np.savez(tmp_path / "vit.npz", **arrays)
    model = load_foreign("vit", tmp_path / "vit.npz")
    assert model.info.provenance["inferred"][0] == (
        "assumed, from the number of positions: one picture of 448 x 448 (an MBT of 4 frames of "
        "224 x 224 is of kind scenic)"
    )
    inferred = load_foreign("vit", START).info.provenance["inferred"]
    assert inferred[0] == "assumed, from the number of positions: one picture of 24 x 24"


def test_files_that_are_no_vit(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no image ViT at '.*vit_init\.np'; give its file.*mean .*npz'"
    ):
        read_image_vit(CASES / "vit_init.np")
    with pytest.raises(
        FileNotFoundError, match="has no model.safetensors and no checkpoint_N; acc"
    ):
        read_image_vit(tmp_path)
    (tmp_path / "text").write_text("no weights at all")
    with pytest.raises(
        ValueError, match="text' is not in a format of image ViTs that is read; acc"
    ):
        read_image_vit(tmp_path / "text")
    np.savez(tmp_path / "other.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(
        ValueError, match="image ViT known here; its first names: a, b; accepted: big"
    ):
        read_image_vit(tmp_path / "other.npz")
    (tmp_path / "half.npz").write_bytes(damaged(START))
    with pytest.raises(ValueError, match="half.npz' is damaged or not an .npz archive"):
        read_image_vit(tmp_path / "half.npz")
    torch.save({"a": torch.zeros(1)}, tmp_path / "torch.pt")
    with pytest.raises(ValueError, match="is a zip archive with 'torch/.*not NumPy's .npz; no oth"):
        read_image_vit(tmp_path / "torch.pt")
    save_file(as_timm(random_vit()), tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut' is damaged \(safetensors: .*; fetch it again"):
        read_image_vit(tmp_path / "cut")


def damaged(path: Path) -> bytes:
    """The archive with some bytes of its first array changed."""
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    return bytes(content)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"blocks.1.norm2.weight": None}, "has no blocks.1.mlp_norm.weight .our names.; MBT needs"),
        ({"patch_embed.proj.weight": torch.zeros(8, 3, 2, 8, 8)}, "reads clips, not pictures"),
        ({"pos_embed": torch.zeros(1, 9, 8)}, "9 positions, 1 of them for CLS: .* no square pic"),
    ],
)
def test_incomplete_vits(tmp_path, change: dict, message: str):
    tensors = as_timm(random_vit()) | change
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(given, tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=message):
        read_image_vit(tmp_path / "vit.safetensors")


# ---------------------------------------------------------------------------- the start


def test_the_sound_start_of_two_streams():
    model, vit = MBT(**SMALL_MBT), an_image_vit()
    before = model.fusion.tokens.clone()
    report = initialise_from_vit(model, vit)
    assert model.audio.cls.equal(vit.tensors["cls"]) and model.video.cls.equal(vit.tensors["cls"])
    assert model.fusion.tokens.equal(before)
    for name in ("video", "audio"):
        ours = model.stream(name).state_dict()
        for part in BLOCK_PARTS:
            assert ours[f"blocks.1.{part}"].equal(vit.tensors[f"blocks.1.{part}"])
    assert model.norm.weight.equal(vit.tensors["norm.weight"])
    assert report.untouched == ["fusion.tokens", "head.weight", "head.bias"]
    assert list(report.not_taken) == ["head.weight", "head.bias"]
    assert str(report) == REPORT


REPORT = """\
taken over: 55 tensors
adapted: audio.patches.projection.weight (summed over channels)
adapted: audio.positions.table (3 x 3 to 4 x 2)
adapted: video.positions.table (3 x 3 to 4 x 2 x 2)
not taken over: head.weight (other classes)
not taken over: head.bias (other classes)
as before: fusion.tokens, head.weight, head.bias"""


def test_the_official_start_of_two_streams():
    model, vit = MBT(**SMALL_MBT | {"bottleneck_tokens": 5}), an_image_vit()
    report = initialise_from_vit(model, vit, rules=Rules(faithful=True))
    positions = vit.tensors["positions"][0]
    assert not model.audio.cls.any()
    assert report.adapted["fusion.tokens"] == "3 x 3 to 2 x 2"
    corners = [0, 1, 3, 7, 9]  # CLS and those of 3 x 3, which are all that is left of it in 2 x 2
    assert model.fusion.tokens[0].equal(positions[corners])
    frames = model.video.positions.table[0, 1:].unflatten(0, (4, 4))
    assert all(frame.equal(positions[corners[1:]]) for frame in frames)


def test_official_fusion_tokens_of_a_flat_grid():
    """Three besides CLS: one row of three, as scipy zooms it."""
    model, vit = MBT(**SMALL_MBT | {"bottleneck_tokens": 4}), an_image_vit()
    initialise_from_vit(model, vit, rules=Rules(faithful=True))
    positions = vit.tensors["positions"][0]
    zoomed = zoom(positions[1:].unflatten(0, (3, 3)).numpy(), (1 / 3, 1, 1), order=1)
    assert model.fusion.tokens[0, 0].equal(positions[0])
    np.testing.assert_allclose(model.fusion.tokens[0, 1:].detach(), zoomed[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("faithful", [True, False])
def test_as_many_positions_in_another_grid(faithful: bool):
    """9 x 1 patches for 3 x 3 positions: officially they stay as they are."""
    shapes = {"audio_shape": (72, 8), "video_shape": (2, 72, 8), "bottleneck_tokens": 5}
    model, vit = MBT(**SMALL_MBT | shapes), an_image_vit()
    initialise_from_vit(model, vit, rules=Rules(faithful=faithful))
    positions = vit.tensors["positions"]
    zoomed = resize_positions(positions, (3, 3), (9, 1), prefix=1)
    wanted = positions if faithful else zoomed
    assert not zoomed.equal(positions)
    assert model.audio.positions.table.equal(wanted)
    assert model.video.positions.table[:, 10:].equal(wanted[:, 1:])


def test_official_fusion_tokens_must_make_a_grid():
    model = MBT(**SMALL_MBT | {"bottleneck_tokens": 6})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="officially 5 of the 6 fusion tokens .* with 2 rows"):
        initialise_from_vit(model, an_image_vit(), rules=Rules(faithful=True))
    assert_same(model.state_dict(), before)  # nothing was written
    initialise_from_vit(model, an_image_vit())


def test_one_channel_gives_the_logits_of_three():
    vit, audio = an_image_vit(), torch.randn(2, 1, 32, 16)
    logits = []
    for channels in (1, 3):
        model = MBT(**SMALL_MBT | {"audio_channels": channels, "modalities": ("audio",)})
        torch.nn.init.ones_(model.head.weight[:, 0:1])
        initialise_from_vit(model, vit)
        logits.append(model({"audio": audio}).logits)
    assert logits[0].abs().min() > 0.01
    torch.testing.assert_close(*logits, rtol=0, atol=1e-4)


def test_kernels_of_clips():
    vit = an_image_vit()
    kernel = vit.tensors["patches.weight"]
    arguments = SMALL_MBT | {"video_patch": (2, 8, 8), "modalities": ("video",)}
    for method, slices in {"central": (0.0, 1.0), "average": (0.5, 0.5)}.items():
        model = MBT(**arguments)
        rules = Rules(kernel_init_method=f"{method}_frame_initializer")
        report = initialise_from_vit(model, vit, rules=rules)
        clips = model.video.patches.projection.weight.unflatten(1, (3, 2, 8, 8))
        for frame, share in enumerate(slices):
            assert clips[:, :, frame].equal(share * kernel)
        assert report.adapted["video.patches.projection.weight"] == f"{method} of 2 frames"


@pytest.mark.parametrize(
    "changes, shared",
    [({"share_weights": True}, 2), ({"fusion": "self_attention"}, 1)],
)
def test_layers_that_streams_share(changes: dict, shared: int):
    model, vit = MBT(**SMALL_MBT | changes), an_image_vit()
    report = initialise_from_vit(model, vit)
    assert len(model.shared_blocks) == shared
    last = model.shared_blocks[-1].mlp.expand.weight
    assert last.equal(vit.tensors["blocks.1.mlp.expand.weight"])
    assert len(report.taken) == len(set(report.taken))
    assert not [name for name in report.untouched if "blocks" in name]


def test_parts_that_one_side_lacks():
    without = MBT(**SMALL_MBT | {"classifier": "gap"})
    report = initialise_from_vit(without, an_image_vit(representation=True))
    assert report.not_taken["cls"] == "the model has no such part"
    assert "pre_logits.0.weight" in report.not_taken
    assert without.video.positions.table.shape[1] == 16
    model = MBT(**SMALL_MBT | {"representation_size": 11})
    row = model.video.positions.table[0, 0].clone()
    vit = an_image_vit(cls=False, representation=True)
    report = initialise_from_vit(model, vit)
    assert {"video.cls", "audio.cls"} <= set(report.untouched)
    assert model.video.positions.table[0, 0].equal(row)
    assert model.pre_logits[0].weight.equal(vit.tensors["pre_logits.0.weight"])


def test_a_deeper_vit_gives_its_first_layers():
    report = initialise_from_vit(MBT(**SMALL_MBT), an_image_vit(depth=4))
    listed = {name: why for name, why in report.not_taken.items() if "blocks" in name}
    assert listed == dict.fromkeys(["blocks.2.*", "blocks.3.*"], "the model has 2 layers")


@pytest.mark.parametrize("sizes", [{"width": 16}, {"depth": 1}])
def test_vits_of_other_sizes(sizes: dict):
    with pytest.raises(
        ValueError, match="the ViT in picture.npz has . layers of width .*, the mod"
    ):
        initialise_from_vit(MBT(**SMALL_MBT), an_image_vit(**sizes))


def test_another_number_of_heads():
    vit = an_image_vit()
    with pytest.raises(ValueError, match="2 heads and MLP width 32, the model .* 4 heads"):
        initialise_from_vit(MBT(**SMALL_MBT | {"num_heads": 4}), vit)
    unknown = ImageViT(vit.source, vit.tensors, num_heads=None)
    initialise_from_vit(MBT(**SMALL_MBT | {"num_heads": 4}), unknown)  # taken on trust


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"audio_patch": (4, 8)}, "audio: the model's patches are 4 x 8, not 8 x 8"),
        ({"audio_channels": 2}, "audio: the model has 2 channels, not 3"),
        (
            {"stem": "convolution"},
            "audio: the model's stem is convolution; video: the model's stem is convolution",
        ),
    ],
)
def test_patches_that_do_not_fit_are_listed(changes: dict, why: str):
    report = initialise_from_vit(MBT(**SMALL_MBT | changes), an_image_vit())
    assert report.not_taken["patches.weight"] == report.not_taken["patches.bias"] == why
    assert "audio.patches.projection.weight" in report.untouched


def test_parts_that_are_not_restored():
    model, vit = MBT(**SMALL_MBT | {"bottleneck_tokens": 5}), an_image_vit()
    rules = Rules(faithful=True, restore_positional_embedding=False, restore_input_embedding=False)
    report = initialise_from_vit(model, vit, rules=rules)
    left = {name.split(".")[1] for name in report.untouched if name.split(".")[0] == "video"}
    assert left == {"positions", "patches"} and "fusion.tokens" in report.untouched
    assert "audio: restore_input_embedding is false" in report.not_taken["patches.bias"]
    assert "video: restore_positional_embedding is false" in report.not_taken["positions"]


def test_tiling_positions():
    rules, vit = Rules(positional_embed_size_change="tile"), an_image_vit()
    with pytest.raises(ValueError, match="'tile' repeats the ViT's 3 x 3 .* model has 2 x 2; take"):
        initialise_from_vit(MBT(**SMALL_MBT), vit, rules=rules)
    model = MBT(**SMALL_MBT | {"video_shape": (4, 24, 24)})
    initialise_from_vit(model, vit, rules=rules)
    assert model.video.positions.table[0, 10:19].equal(vit.tensors["positions"][0, 1:])


def test_a_classifier_of_other_classes_is_not_restored():
    with pytest.raises(ValueError, match=r"head.weight of the ViT in .* \(5, 8\), but .* \(3, 8\)"):
        rules = Rules(restore_output_proj=True)
        initialise_from_vit(MBT(**SMALL_MBT), an_image_vit(), rules=rules)


def test_models_of_another_kind():
    model = MBT(**SMALL_MBT)
    model.info.name = "another"
    with pytest.raises(ValueError, match="whose backbone is 'vit', not this 'another'"):
        initialise_from_vit(model, an_image_vit())


def test_unknown_rules():
    with pytest.raises(
        ValueError, match="unknown kernel_init_method 'average_arp'; known: average"
    ):
        Rules(kernel_init_method="average_arp")
    with pytest.raises(ValueError, match="unknown positional_embed_size_change 'resize'"):
        Rules(positional_embed_size_change="resize")


# ---------------------------------------------------------------------------- load_foreign


def variant(name: str) -> dict:
    told = json.loads((CASES / "INDEX.json").read_text())["vit_init.npz"]["variants"][name]
    return json.loads(json.dumps(told["config"]))


def test_a_configuration_without_the_slips():
    config = variant("sampling_token")
    official = load_foreign("vit", START, config)
    sound = load_foreign("vit", START, {"config": config | {"faithful": False}})
    assert not official.audio.cls.any() and sound.audio.cls.equal(sound.video.cls)
    assert official.fusion.tokens.shape == sound.fusion.tokens.shape == (1, 5, 32)
    assert not official.fusion.tokens.equal(sound.fusion.tokens)
    assert official.video.positions.table.equal(sound.video.positions.table)
    assert sound.info.provenance["source"] == "vit: vit_init.npz"
    dropped = sound.info.provenance["dropped"]
    assert dropped[:2] == [
        "vit/output_projection/kernel (other classes)",
        "vit/output_projection/bias (other classes)",
    ]
    assert "vit_logits (not a parameter)" in dropped and not any("head" in text for text in dropped)
    assert sound.info.task == "multi" and not sound.training


def test_what_a_start_leaves_untrained_is_told():
    config = variant("sampling_token")
    official = load_foreign("vit", START, config).info.provenance
    assert official["untrained"] == ["audio.cls", "head.weight", "head.bias"]
    assert official["inferred"][:2] == [
        "started from an image ViT as the official code does, slips included ('faithful: false' in "
        "config: without)",
        "untrained, as the ViT does not give it: audio.cls, head.weight, head.bias",
    ]
    sound = load_foreign("vit", START, config | {"faithful": False}).info.provenance
    assert sound["untrained"] == ["fusion.tokens", "head.weight", "head.bias"]
    assert (
        sound["inferred"][0] == "started from an image ViT without the slips of the official code"
    )
    assert "untrained" not in load_foreign("vit", START).info.provenance


def test_left_out_layers_have_the_names_of_the_file():
    config = variant("sampling_token")
    config["model"]["num_layers"] = 2
    dropped = load_foreign("vit", CASES / "vit_big_vision.npz", config).info.provenance["dropped"]
    layer = [name for name in dropped if "/encoderblock_2/" in name]
    assert len(layer) == 16  # all of layer 2: query, key and value are apart in the file
    start = "opt/target/Transformer/encoderblock_2/MultiHeadDotProductAttention_1/query"
    assert f"{start}/kernel (the model has 2 layers)" in layer
    assert dropped[-1] == "opt/state/step (not a parameter)"


def test_rules_of_a_configuration():
    config = variant("conv3d_average_token")
    config["init_from"] |= {"restore_input_embedding": False, "checkpoint_path": "/elsewhere"}
    assert Rules.of(config) == Rules(
        faithful=True,
        restore_input_embedding=False,
        kernel_init_method="average_frame_initializer",
    )


def test_a_model_with_several_heads_from_a_configuration():
    config = variant("sampling_token")
    config["dataset_configs"] |= {"class_splits": [3, 4], "split_names": ["verb", "noun"]}
    config["model"]["representation_size"] = 16
    model = load_foreign("vit", START, config)
    assert model.heads == {"verb": 3, "noun": 4}
    assert model.info.arguments["representation_size"] == 16


@pytest.mark.parametrize("classifier, number", [("token", 5), ("gap", 4)])
def test_official_fusion_tokens_are_one_more_with_the_classifier_token(classifier, number):
    config = variant("sampling_token")
    assert config["model"]["n_bottlenecks"] == 4
    config["model"]["classifier"] = classifier
    model = load_foreign("vit", START, {"config": config | {"faithful": False}})
    assert model.fusion.tokens.shape == (1, number, 32)
    assert model.info.arguments["bottleneck_tokens"] == number


def test_configurations_that_do_not_do(tmp_path):
    with pytest.raises(ValueError, match="config has no 'model' part but kind, variants; give"):
        load_foreign("vit", START, {"kind": "vit_init", "variants": {}})
    with pytest.raises(ValueError, match=r"no 'model' part but \['no table'\]; give Scenic's"):
        load_foreign("vit", START, ["no table"])
    with pytest.raises(ValueError, match="config has no 'model' part but nothing; give Scenic's"):
        load_foreign("vit", START, {})
    with pytest.raises(ValueError, match="no 'model' part but dataset_configs; give Scenic's who"):
        load_foreign("vit", START, {"config": {"dataset_configs": {}}})
    config = variant("sampling_token")
    config["model"]["fusion_layer"] = "8"
    with pytest.raises(ValueError, match="config's 'fusion_layer' is '8'; a whole number is acc"):
        load_foreign("vit", START, config)
    config = variant("sampling_token")
    del config["dataset_configs"]["num_frames"]
    with pytest.raises(ValueError, match="config has no 'num_frames', which says what MBT to"):
        load_foreign("vit", START, config)


def test_vits_that_are_no_model_by_themselves(tmp_path):
    file = tmp_path / "vit.safetensors"
    tensors = as_timm(random_vit())
    save_file(tensors, file)
    with pytest.raises(ValueError, match="does not tell the number of heads; put a config.json"):
        load_foreign("vit", file)
    save_file({name: value for name, value in tensors.items() if "head" not in name}, file)
    with pytest.raises(ValueError, match="has no classifier, so it is no model by itself"):
        load_foreign("vit", file)
    save_file({n: value for n, value in tensors.items() if not n.startswith("norm.")}, file)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    with pytest.raises(ValueError, match="has no norm.weight, norm.bias .our names., so it is no"):
        load_foreign("vit", file)


# ---------------------------------------------------------------------------- train.init


def test_a_vit_as_source_of_a_run():
    arguments = SMALL_MBT | {"width": 32, "num_heads": 4, "mlp_width": 64, "bottleneck_tokens": 5}
    model = MBT(**arguments)
    assert "as before: fusion.tokens, head.weight" in str(initialise_from(model, f"vit:{START}"))
    assert model.audio.cls.any()
    report = initialise_from(MBT(**arguments), f"vit:{START}", faithful=True)
    assert "as before: audio.cls, head.weight, head.bias" in str(report)


def test_a_vit_from_the_hub(tmp_path):
    save_file(as_timm(random_vit()), tmp_path / "model.safetensors")
    with mock.patch("huggingface_hub.snapshot_download", return_value=str(tmp_path)) as download:
        report = initialise_from(MBT(**SMALL_MBT), "vit:hf:timm/vit_small")
    assert download.call_args.args == ("timm/vit_small",)
    assert download.call_args.kwargs == {"allow_patterns": ["*.safetensors", "config.json"]}
    assert "video.blocks.0.mlp_norm.bias" in report.taken
    with pytest.raises(ValueError, match="is not of the form 'hf:owner/name'"):
        initialise_from(MBT(**SMALL_MBT), "vit:hf:vit_small")


def test_a_missing_vit_is_told_before_anything_is_written(tmp_path, capsys):
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            folder = tmp_path / "clips" / split / label
            folder.mkdir(parents=True)
            (folder / "clip.mp4").touch()
    sizes = ["--model.size=tiny", "--model.depth=1", "--model.fusion_layer=0"]
    run = ["--output", str(tmp_path / "run"), "--train.steps=1", "--train.batch_size=1"]
    source = f"vit:{tmp_path}/vit.npz"
    code = main(["train", str(tmp_path / "clips"), *run, *sizes, "--init", source])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith(f"sightsound train: no weights to start from at '{tmp_path}/vit.npz';")
    assert not (tmp_path / "run").exists()


def test_a_source_that_is_no_directory_stays_as_it_is():
    for source in ("vit:weights/vit.npz", "vit:hf:timm/vit_small"):
        assert model_source(source) == source
