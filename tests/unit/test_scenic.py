"""Official checkpoints: names, prefixes, sizes that must be guessed, and error texts."""

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from flax_files import random_params, shrunken, write_checkpoint

from sightsound.media.logmel import FRONT_ENDS
from sightsound.models.mbt import MBT
from sightsound.weights import archive, load_foreign
from sightsound.weights.scenic import convert, model_arguments, weights_of
from sightsound.weights.scenic_config import completed, front_end_for, in_words

CASES = Path(__file__).parents[1] / "parity" / "cases" / "mbt"
INDEX = json.loads((CASES / "INDEX.json").read_text())
NAME = "model_bottleneck_L2_B4.npz"


def stored(name: str = NAME) -> dict[str, np.ndarray]:
    with np.load(CASES / name) as archive:
        return dict(archive)


def same(a, b) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(np.array_equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize("prefix", ["", "params/", "param/", "sd/"])
def test_any_prefix(tmp_path, prefix: str):
    arrays = {key.replace("params/", prefix): value for key, value in stored().items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    config = INDEX[NAME]["config"]
    model = load_foreign("scenic", tmp_path / "weights.npz", config)
    assert same(model, load_foreign("scenic", CASES / NAME, config))
    assert model.info.provenance["dropped"] == []
    assert model.info.provenance["source"] == "scenic: weights.npz"


@pytest.mark.parametrize("name", [n for n in INDEX if n.startswith("model_")])
def test_sizes_without_stored_inputs(name: str):
    """The frames are 16 x 24, the configuration says 16 x 16: the positions decide."""
    config = INDEX[name]["config"]
    model = convert(weights_of(stored(name)), config)
    known = load_foreign("scenic", CASES / name, config)
    assert model.info.arguments == known.info.arguments


def test_shapes_come_from_the_arrays():
    model = load_foreign("scenic", CASES / NAME, INDEX[NAME]["config"])
    arguments = model.info.arguments
    assert arguments["video_shape"] == [8, 16, 24] and arguments["audio_shape"] == [32, 16]
    assert arguments["bottleneck_tokens"] == 5  # "B = 4" of a model with CLS
    assert arguments["audio_channels"] == 3 and arguments["frame_sampling"] == 4
    assert model.info.task == "multi" and not model.training


def test_several_heads():
    config = json.loads(json.dumps(INDEX[NAME]["config"]))
    config["dataset_configs"] |= {"class_splits": [3, 4], "split_names": ["verb", "noun"]}
    config["model_name"] = "mbt_multihead_classification"
    model = convert(weights_of(stored()), config)
    assert model.heads == {"verb": 3, "noun": 4} and model.info.task == "heads"


def test_an_entry_of_the_index():
    """The configuration may be wrapped, as in INDEX.json, whatever the kind."""
    model = load_foreign("scenic", CASES / NAME, INDEX[NAME])
    known = load_foreign("scenic", CASES / NAME, INDEX[NAME]["config"])
    assert model.info == known.info and same(model, known)
    with pytest.raises(ValueError, match="has no 'model' part but kind, note; give Scenic's exper"):
        load_foreign("scenic", CASES / NAME, INDEX["checkpoint_5"])
    with pytest.raises(ValueError, match="has no 'model' part but 3; give Scenic's exper"):
        load_foreign("scenic", CASES / NAME, {"config": 3})


def test_what_is_left_over_is_listed():
    arrays = weights_of(stored()) | {"something/else": np.zeros(3)}
    model = convert(arrays, INDEX[NAME]["config"])
    assert model.info.provenance["dropped"] == ["something/else"]


def test_errors(tmp_path):
    config = INDEX[NAME]["config"]
    with pytest.raises(ValueError, match="unknown kind of weights 'scenik'.*mean 'scenic'"):
        load_foreign("scenik", CASES / NAME, config)
    with pytest.raises(ValueError, match="has no 'model' part but num_heads; give Scenic's exper"):
        load_foreign("scenic", CASES / NAME, {"num_heads": 4})
    with pytest.raises(ValueError, match="config's 'model' is 3; a table of settings is accepted"):
        load_foreign("scenic", CASES / NAME, {"model": 3})
    with pytest.raises(ValueError, match="config's 'fusion_layer' is '8'; a whole number is acce"):
        load_foreign("scenic", CASES / NAME, {"model": {"fusion_layer": "8"}})
    with pytest.raises(ValueError, match="config's 'modality_fusion' is 'rgb'; a list is accept"):
        load_foreign("scenic", CASES / NAME, {"model": {"modality_fusion": "rgb"}})
    with pytest.raises(FileNotFoundError, match="nothing.npz"):
        load_foreign("scenic", tmp_path / "nothing.npz", config)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match="text.npz' is not an .npz archive"):
        load_foreign("scenic", tmp_path / "text.npz", config)
    arrays = weights_of(stored())
    del arrays["cls"]
    with pytest.raises(ValueError, match="the checkpoint has no 'cls', which its configuration"):
        convert(arrays, config)
    arrays = weights_of(stored()) | {"cls": np.zeros((1, 1, 31))}
    with pytest.raises(ValueError, match=r"video.cls has shape \(1, 1, 31\), but .* \(1, 1, 32\)"):
        convert(arrays, config)
    with pytest.raises(ValueError, match="holds no transformer layers"):
        convert({"cls": np.zeros(3)}, config)


def test_files_that_are_no_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("data.pkl", "text")
    with pytest.raises(ValueError, match="is a zip archive with 'data.pkl' in it, not NumPy's"):
        load_foreign("scenic", tmp_path / "model.zip")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="objects.npz' is damaged or not an .npz archive: Object"):
        load_foreign("scenic", tmp_path / "objects.npz")
    content = bytearray((CASES / NAME).read_bytes())
    content[2000:3000] = bytes(1000)
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(ValueError, match="damaged.npz' is damaged or not an .npz archive"):
        load_foreign("scenic", tmp_path / "damaged.npz")


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, a=np.zeros(100_000), b=np.zeros(100_000))
    assert path.stat().st_size < 10_000
    assert archive.read_archive(path)["a"].size == 100_000
    monkeypatch.setattr(archive, "MAX_BYTES", 1_000_000)  # either alone is smaller
    monkeypatch.setattr(np, "load", None)  # nothing is unpacked to find out
    with pytest.raises(
        ValueError, match="zeros.npz' is 1,600,256 bytes when unpacked; at most 1,0"
    ):
        load_foreign("scenic", path)
    with pytest.raises(ValueError, match="bytes when unpacked; at most 1,000,000 are accepted: no"):
        load_foreign("vit", path)


BLOCK = "Transformer/encoderblock_1_spectrogram"
QUERY = f"{BLOCK}/MultiHeadDotProductAttention_0/query/kernel"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({f"{BLOCK}/LayerNorm_0/bias": np.zeros((1, 32), "f4")}, "has shape .1, 32.; 1 axes are"),
        ({f"{BLOCK}/LayerNorm_0/bias": np.zeros(32, "i4")}, "has type int32; weights are floats"),
        ({QUERY: np.zeros((32, 2, 8), "f4")}, "query, .*key, .*value differ in shape; is it dama"),
        ({"embedding/kernel": np.zeros((8, 8, 3), "f4")}, "has shape .8, 8, 3.; 4 or 5 axes are"),
        ({"output_projection/bias": None}, "holds no output_projection/bias, but"),
        ({QUERY: None}, "has no 'Transformer/encoderblock_1_spectrogram/Mul"),
        ({"Transformer/encoderblock_7/LayerNorm_0/bias": np.zeros(32, "f4")}, "no transformer la"),
        ({"embedding/kernel": None, "embedding_spectrogram/kernel": None}, "no patch embedding"),
        ({"Transformer/posembed_input/pos_embedding": None}, "no Transformer/posembed_input/pos"),
        ({"bottleneck": np.zeros((5, 32), "f4")}, "'bottleneck' has shape .5, 32.; 3 axes are"),
    ],
)
def test_arrays_that_do_not_fit(changes, sentence):
    arrays = weights_of(stored()) | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(ValueError, match=sentence):
        convert(arrays, None)


def test_unknown_modality():
    with pytest.raises(ValueError, match="modality in modality_fusion 'rbg'.* Did you mean 'rgb'"):
        convert(weights_of(stored()), {"model": {"modality_fusion": ["rbg"]}})


def test_parameters_are_ordinary_and_share_no_memory_with_the_arrays():
    arrays = weights_of(stored())
    before = {name: array.copy() for name, array in arrays.items()}
    random_state = torch.get_rng_state()
    model = convert(arrays, INDEX[NAME]["config"])
    assert torch.equal(torch.get_rng_state(), random_state)  # nothing is drawn to be overwritten
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.requires_grad and parameter.is_contiguous()
            assert parameter.dtype == torch.float32 and parameter.device.type == "cpu"
            parameter += 1
    assert all(np.array_equal(arrays[name], value) for name, value in before.items())


# ---------------------------------------------------------------------------- no configuration


VITB = json.loads((CASES / "vitb_param_shapes.json").read_text())
VITB_ARGUMENTS = dict(
    heads={"label": 527},
    modalities=("audio", "video"),
    video_shape=(8, 224, 224),
    audio_shape=(800, 128),
    width=768,
    depth=12,
    num_heads=12,
    mlp_width=3072,
    fusion="bottleneck",
    fusion_layer=8,
    bottleneck_tokens=5,
    share_weights=False,
    classifier="token",
    video_patch=(1, 16, 16),
    audio_patch=(16, 16),
    video_channels=3,
    audio_channels=3,
    frame_sampling=None,
    representation_size=None,
    dropout=0.0,
    attention_dropout=0.0,
    stochastic_depth=0.0,
    test_with_bottlenecks=True,
)


def hollow(shapes: dict) -> dict[str, np.ndarray]:
    """Arrays of these shapes that take up no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


def inferred(shapes: dict, given: dict | None = None) -> tuple[dict, list[str]]:
    """Constructor arguments and sentences for arrays of these shapes."""
    arrays = hollow(shapes)
    config, filled = completed(arrays, given, inputs={})
    arguments = model_arguments(arrays, config, input_shapes={})
    return arguments, in_words(arguments, "multi", filled)


def test_released_model():
    arguments, sentences = inferred(VITB)
    assert arguments == VITB_ARGUMENTS
    with torch.device("meta"):
        model = MBT(**arguments)
    assert sum(parameter.numel() for parameter in model.parameters()) == 173_215_247
    assert sentences == [
        "found: two streams; assumed: in the official order audio, video, which changes no logits",
        "found: 12 layers of width 768, 12 heads, MLP width 3072; a set for each stream",
        "found: 527 classes, read from a CLS token of each stream",
        "found: 5 fusion tokens (called 4 officially)",
        "assumed: fusion from layer 8 of 12 on, as in the paper; --fusion_layer changes it",
        "found: video patches of 1 x 16 x 16 (frames, height, width); assumed, from the number of "
        "positions: frames x height x width are 8 x 224 x 224",
        "found: audio patches of 16 x 16 (time, mel), 3 channels; assumed, from the number of "
        "positions: 800 time frames of 128 mel bins",
        "assumed: no dropout and no stochastic depth; they matter in training only",
        "assumed: several labels per clip, as in AudioSet",
    ]


def test_whole_released_model_smaller(tmp_path):
    """All 397 arrays of the released file, of a sixteenth of the width, from file to logits."""
    params = random_params(shrunken(VITB))
    assert len(params) == 397
    model = load_foreign("scenic", write_checkpoint(tmp_path / "checkpoint_15900", params))
    smaller = {"width": 48, "mlp_width": 192}
    assert model.info.arguments == json.loads(
        json.dumps(model.info.arguments | VITB_ARGUMENTS | smaller)
    )
    assert model.info.provenance["dropped"] == [
        f"{name} (not a parameter)"
        for name in ("accum_train_time", "model_state", "optimizer/state", "rng")
    ]
    assert model.info.task == "multi" and model.info.provenance["step"] == 7
    kernel = params["Transformer/encoderblock_3_spectrogram/MlpBlock_0/Dense_0/kernel"]
    assert np.array_equal(model.audio.blocks[3].mlp.expand.weight.detach(), kernel.T)
    with torch.no_grad():
        logits = model(model.example_inputs()).logits
    assert logits.shape == (1, 527) and logits.isfinite().all()


def changed(**shapes: list[int] | None) -> dict:
    """ViT-B's shapes with others; names without slashes, `None` takes one away."""
    names = {
        "video_positions": "Transformer/posembed_input/pos_embedding",
        "audio_positions": "Transformer/posembed_input_spectrogram/pos_embedding",
        "video_kernel": "embedding/kernel",
        "audio_kernel": "embedding_spectrogram/kernel",
        "classes": "output_projection/bias",
    }
    new = VITB | {names.get(name, name): shape for name, shape in shapes.items()}
    return {name: shape for name, shape in new.items() if shape is not None}


def test_tubelets_of_the_public_configuration():
    shapes = changed(video_kernel=[2, 16, 16, 3, 768], video_positions=[1, 3137, 768])
    arguments, _ = inferred(shapes)
    assert arguments["video_shape"] == (32, 224, 224) and arguments["video_patch"] == (2, 16, 16)
    assert arguments["frame_sampling"] is None
    video = front_end_for(arguments)[0].video
    assert video.stride_seconds == 0.08 and video.span_seconds == pytest.approx(2.56)


def without_video(shapes: dict) -> dict:
    """As Scenic names the arrays of a model of sound alone: its CLS is `cls`."""
    own = ("embedding/", "Transformer/posembed_input/", "clsspectrogram", "bottleneck")
    video_layer = re.compile(r"Transformer/encoderblock_\d+/")
    return {k: v for k, v in shapes.items() if not k.startswith(own) and not video_layer.match(k)}


def without_audio(shapes: dict) -> dict:
    return {k: v for k, v in shapes.items() if "spectrogram" not in k and k != "bottleneck"}


def test_one_stream():
    arguments, sentences = inferred(without_video(VITB))
    assert arguments["modalities"] == ("audio",) and arguments["video_shape"] is None
    assert arguments["fusion_layer"] == 0 and sentences[0] == "found: one stream, audio"
    assert sentences[1] == "found: 12 layers of width 768, 12 heads, MLP width 3072"
    assert not any("fusion" in sentence for sentence in sentences)
    arguments, sentences = inferred(without_audio(VITB))
    assert arguments["modalities"] == ("video",) and arguments["audio_shape"] is None
    assert arguments["video_shape"] == (8, 224, 224) and sentences[0] == "found: one stream, video"


def one_stream_of(cells: int, *, patch: int = 16) -> dict:
    kernel = [patch, patch, 3, 768]
    return without_audio(changed(video_positions=[1, 1 + cells, 768], video_kernel=kernel))


@pytest.mark.parametrize(
    ("cells", "patch", "video_shape"),
    [
        (9, 8, (1, 24, 24)),  # vit_scenic_checkpoint_7
        (576, 16, (1, 384, 384)),
        (49, 32, (1, 224, 224)),
        (1568, 16, (8, 224, 224)),
        (3136, 16, (16, 224, 224)),  # 56 x 56, too
        (72, 16, (8, 48, 48)),
    ],
)
def test_a_square_without_sound_is_one_picture(cells, patch, video_shape):
    arguments, sentences = inferred(one_stream_of(cells, patch=patch))
    assert arguments["video_shape"] == video_shape
    told = any(
        "(several frames of a smaller picture are possible, too; an image ViT is better read with "
        "kind vit)" in sentence
        for sentence in sentences
    )
    assert told == (video_shape[0] == 1)


def test_frames_that_are_no_picture():
    """A given size counts; with sound or tubelets a square is no picture."""
    told = {"dataset_configs": {"num_frames": 4, "crop_size": 192}}
    assert inferred(one_stream_of(576), told)[0]["video_shape"] == (4, 192, 192)
    crop = {"dataset_configs": {"crop_size": 80}}  # does not go in
    assert inferred(one_stream_of(576), crop)[0]["video_shape"] == (4, 192, 192)
    both = changed(video_positions=[1, 577, 768])
    assert inferred(both)[0]["video_shape"] == (4, 192, 192)
    tubelets = changed(video_positions=[1, 577, 768], video_kernel=[2, 16, 16, 3, 768])
    assert inferred(without_audio(tubelets))[0]["video_shape"] == (8, 192, 192)


def test_kinds_of_fusion():
    arguments, sentences = inferred(changed(bottleneck=None))
    assert arguments["fusion"] == "cross_attention"
    assert (
        "found: no fusion tokens; assumed: fusion by cross-attention (late fusion has the same "
        "arrays: fusion layer 12)" in sentences
    )
    own = re.compile(r"encoderblock_\d+_spectrogram/")
    shared = {k: v for k, v in changed(bottleneck=None).items() if not own.search(k)}
    arguments, sentences = inferred(shared)
    assert arguments["fusion"] == "self_attention" and arguments["share_weights"]
    assert any("; one set for both streams" in sentence for sentence in sentences)
    assert "found: no fusion tokens; assumed: fusion by self-attention, as layers are shared" in (
        sentences
    )


def test_without_cls_tokens():
    shapes = changed(
        cls=None,
        clsspectrogram=None,
        bottleneck=[1, 4, 768],
        video_positions=[1, 1568, 768],
        audio_positions=[1, 400, 768],
    )
    arguments, sentences = inferred(shapes)
    assert arguments["classifier"] == "gap" and arguments["bottleneck_tokens"] == 4
    assert arguments["video_shape"] == (8, 224, 224) and arguments["audio_shape"] == (800, 128)
    assert "found: 4 fusion tokens" in sentences
    assert (
        "found: 527 classes and no CLS token; assumed: classifier gap, the mean over tokens (gmp "
        "and gsp have the same arrays)" in sentences
    )
    assert inferred(shapes, {"model": {"classifier": "gmp"}})[0]["classifier"] == "gmp"


@pytest.mark.parametrize(
    ("number", "task", "heads", "source"),
    [
        (527, "multi", {"label": 527}, "several labels per clip, as in AudioSet"),
        (309, "single", {"label": 309}, "one label per clip, as in VGGSound"),
        (397, "heads", {"verb": 97, "noun": 300}, "one label per head, as in Epic-Kitchens-100"),
        (10, "multi", {"label": 10}, "several labels per clip, as in the public configuration"),
    ],
)
def test_task_follows_from_the_number_of_classes(number, task, heads, source):
    projection = {"output_projection/kernel": [48, number], "output_projection/bias": [number]}
    model = convert(random_params(shrunken(VITB) | projection), None)
    assert model.info.task == task and model.heads == heads
    assert f"assumed: {source}" in model.info.provenance["inferred"]
    single = convert(
        random_params(shrunken(VITB) | projection), {"model_name": "mbt_classification"}
    )
    assert single.info.task == "single" and single.heads == {"label": number}
    assert not any("per clip" in text for text in single.info.provenance["inferred"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": {"fusion_layer": 4}}, {"fusion_layer": 4}),
        ({"dataset_configs": {"crop_size": 112}}, {"video_shape": (32, 112, 112)}),
        (
            {"dataset_configs": {"num_frames": 32}},
            {"video_shape": (32, 224, 224), "frame_sampling": 8},
        ),
        ({"dataset_configs": {"spec_shape": [100, 64]}}, {"audio_shape": (1600, 64)}),
        (
            {"model": {"temporal_encoding_config": {"n_sampled_frames": 2}}},
            {"video_shape": (2, 448, 448), "frame_sampling": 2},
        ),
        (
            {"model": {"modality_fusion": ["rgb", "spectrogram"]}},
            {"modalities": ("video", "audio")},
        ),
        ({"model": {"stochastic_droplayer_rate": 0.3}}, {"stochastic_depth": 0.3}),
    ],
)
def test_what_is_given_counts(given, expected):
    arguments, sentences = inferred(VITB, given)
    assert arguments == VITB_ARGUMENTS | expected
    if "fusion_layer" in expected:
        assert not any("fusion from layer" in sentence for sentence in sentences)


def test_whole_configuration_leaves_only_the_front_end_open():
    model = load_foreign("scenic", CASES / NAME, INDEX[NAME]["config"])
    assert model.info.provenance["inferred"] == [
        "assumed: log-mel of front end mbt, official mean 1.102 and deviation 2.762; how it is "
        "computed is not in the official code",
        "assumed: pixels from -1 to 1; 8 frames spread over 0.32 s",
    ]


def test_front_end_of_the_released_model():
    front_end, sentences = front_end_for(VITB_ARGUMENTS)
    assert front_end == FRONT_ENDS["mbt"]
    assert sentences[1] == "assumed: pixels from -1 to 1; 8 frames spread over 8 s, as in the paper"
    official = VITB_ARGUMENTS | {"video_shape": (32, 224, 224)}
    front_end, sentences = front_end_for(official)
    assert front_end.video.stride_seconds == 0.08 and front_end.audio == FRONT_ENDS["mbt"].audio
    assert sentences[1].endswith("32 frames, 0.08 s apart, as in the public configuration")


def test_front_end_of_other_sizes():
    sizes = {"video_shape": (4, 112, 168), "audio_shape": (400, 64)}
    front_end, sentences = front_end_for(VITB_ARGUMENTS | sizes)
    assert (front_end.audio.num_frames, front_end.audio.num_mels) == (400, 64)
    video = front_end.video
    assert (video.num_frames, video.height, video.width, video.short_side) == (4, 112, 168, 128)
    assert sentences[1] == "assumed: pixels from -1 to 1; 4 frames spread over 4 s"
    alone = VITB_ARGUMENTS | {"audio_shape": None, "video_shape": (1, 224, 224)}
    assert front_end_for(alone)[1] == ["assumed: pixels from -1 to 1; 1 frame spread over 8 s"]
    assert len(front_end_for(VITB_ARGUMENTS | {"video_shape": None})[1]) == 1
