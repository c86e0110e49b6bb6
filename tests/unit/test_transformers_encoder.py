"""Models of transformers as encoders: with the package where it is installed, else its outline."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sightsound.features.load import load_encoder
from sightsound.weights.transformers_processor import picture_numbers

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


# ---------------------------------------------------------------------------- processors


@pytest.mark.parametrize(
    "size, wanted",
    [
        ({"size": 384}, (384, 384, 384)),
        ({"size": {"height": 192, "width": 256}}, (192, 256, 192)),
        ({"size": {"shortest_edge": 224}}, (224, 224, 224)),
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224},
            (224, 224, 256),
        ),
        (
            {"size": 256, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            (224, 224, 256),
        ),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, 224, 256)),
    ],
)
def test_sizes_of_pictures(size, wanted):
    numbers = picture_numbers(IMAGENET | size)
    assert (numbers.height, numbers.width, numbers.short_side) == wanted
    assert (numbers.num_frames, numbers.window_seconds) == (1, 1.0)


def test_normalisation_of_pictures():
    numbers = picture_numbers(IMAGENET | {"size": 32})
    assert numbers.mean == pytest.approx((123.675, 116.28, 103.53))
    assert numbers.deviation == pytest.approx((58.395, 57.12, 57.375))
    plain = picture_numbers({"size": 32, "do_normalize": False})
    assert (plain.mean, plain.deviation) == ((0.0,) * 3, pytest.approx((255.0,) * 3))
    half = picture_numbers({"size": 32, "rescale_factor": 1 / 127.5} | IMAGENET)
    assert half.mean == pytest.approx((0.485 * 127.5, 0.456 * 127.5, 0.406 * 127.5))


def test_a_size_that_says_nothing():
    with pytest.raises(ValueError, match=r"size is \{'longest_edge': 3\}; accepted: a number, hei"):
        picture_numbers(IMAGENET | {"size": {"longest_edge": 3}})


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"'transformers'.*pip install 'sightsound\[hf\]'"
    ):
        load_encoder("hf:owner/name")


# ---------------------------------------------------------------------------- an outline


class Part(nn.Module):
    """The least of a model: a convolution (map) or two patches (tokens), and its last state."""

    def __init__(self, main_input_name: str) -> None:
        super().__init__()
        self.main_input_name = main_input_name
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        (x,) = inputs.values()
        assert set(inputs) == {self.main_input_name}
        if x.ndim == 2:
            state = x.unflatten(1, (4, -1))[..., :6]  # (N, n, D)
        else:
            state = torch.nn.functional.avg_pool2d(x, 8)  # (N, D, h, w)
        return SimpleNamespace(last_hidden_state=self.scale * state)


class ResNetForImageClassification(nn.Module):
    base_model_prefix, main_input_name = "resnet", "pixel_values"

    def __init__(self) -> None:
        super().__init__()
        self.resnet = Part("pixel_values")
        self.config = SimpleNamespace(
            num_labels=2, id2label={0: "cat", 1: "dog"}, is_encoder_decoder=False
        )

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=pixel_values.mean((2, 3))[:, :2])


class TwoParts(nn.Module):
    """CLAP's form: text and sound side by side."""

    main_input_name = "input_ids"

    def __init__(self) -> None:
        super().__init__()
        self.audio_model = Part("input_values")
        self.config = SimpleNamespace(is_encoder_decoder=False)


class Text(nn.Module):
    main_input_name = "input_ids"
    config = SimpleNamespace(is_encoder_decoder=False)


class Clips(nn.Module):
    main_input_name = "pixel_values"
    config = SimpleNamespace(is_encoder_decoder=False, num_frames=16)


class Extractor:
    sampling_rate = 8000

    def __call__(self, waveforms, *, sampling_rate: int, return_tensors: str) -> dict:
        assert sampling_rate == self.sampling_rate and return_tensors == "pt"
        return {"input_values": 10 * torch.from_numpy(np.stack(waveforms))}


@pytest.fixture
def outline(monkeypatch, tmp_path):
    """Makes `transformers` load a given model; the folder to load it from."""

    def use(model: nn.Module, architecture: str = "Model"):
        module = ModuleType("transformers")
        loader = SimpleNamespace(from_pretrained=lambda folder, **options: model)
        other = SimpleNamespace()  # has no from_pretrained
        classifies = architecture.endswith("ForImageClassification")
        module.AutoConfig = SimpleNamespace(
            from_pretrained=lambda folder: SimpleNamespace(architectures=[architecture])
        )
        module.AutoModel = other if classifies else loader
        module.AutoModelForImageClassification = loader if classifies else other
        module.AutoModelForAudioClassification = other
        module.AutoFeatureExtractor = SimpleNamespace(from_pretrained=lambda folder: Extractor())
        monkeypatch.setitem(sys.modules, "transformers", module)
        return tmp_path

    return use


def test_a_map_of_a_convolutional_network(outline):
    folder = outline(ResNetForImageClassification(), "ResNetForImageClassification")
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": IMAGENET | {"size": {"height": 16, "width": 24}}})
    )
    encoder = load_encoder(f"hf:{folder}")
    assert (encoder.modality, encoder.reads_waveform) == ("video", False)
    assert encoder.feature_shape == (2, 3, 3)
    x = torch.randn(2, 3, 16, 24)
    features = encoder(x)
    assert torch.allclose(features[1, 0, 2], x[1, :, :8, 16:].mean((1, 2)), atol=1e-6)
    assert (encoder.labels, encoder.num_classes) == (["cat", "dog"], 2)
    assert encoder.logits(x).shape == (2, 2)
    assert encoder.source == str(folder)


def test_sound_goes_in_as_samples(outline):
    encoder = load_encoder(f"hf:{outline(TwoParts())}")
    assert (encoder.modality, encoder.reads_waveform) == ("audio", True)
    assert (encoder.front_end.rate_hz, encoder.feature_shape) == (8000, (4, 6))
    x = torch.randn(3, 8000)
    assert torch.allclose(encoder(x)[2, 1], 10 * x[2, 2000:2006])
    with pytest.raises(ValueError, match="the weights of TwoParts hold no classifier"):
        encoder.logits(x)


@pytest.mark.parametrize(
    "model, what", [(Text(), "input_ids"), (Clips(), "clips of 16 frames")], ids=["text", "clips"]
)
def test_models_of_text_or_clips(model, what, outline):
    with pytest.raises(
        ValueError, match=f"reads {what}; accepted are models of single pictures or"
    ):
        load_encoder(f"hf:{outline(model)}")


def test_a_folder_without_the_processor(outline):
    folder = outline(ResNetForImageClassification(), "ResNetForImageClassification")
    with pytest.raises(FileNotFoundError, match="has no preprocessor_config.json or processor_con"):
        load_encoder(f"hf:{folder}")


def test_a_name_that_is_neither_folder_nor_hub(outline):
    outline(Text())
    with pytest.raises(ValueError, match="is not of the form 'hf:owner/name'"):
        load_encoder("hf:nothing")


# ---------------------------------------------------------------------------- the package itself

VIT = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)


def test_a_real_clip_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    vision = transformers.CLIPVisionConfig(**VIT, image_size=32, patch_size=8)
    text = transformers.CLIPTextConfig(**VIT, vocab_size=20)
    config = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=4
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(IMAGENET | {"size": 32}))
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.feature_shape == (17, 8)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.vision_model(pixel_values=x).last_hidden_state
    assert torch.allclose(encoder(x), expected, atol=1e-6)
    assert encoder.num_classes == 0


def test_a_real_convolutional_classifier(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(IMAGENET | {"size": 32}))
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.feature_shape == (4, 4, 16)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(encoder.logits(x), model(x).logits, atol=1e-6)
    assert encoder.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_a_real_spectrogram_transformer(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(**VIT, max_length=128, num_mel_bins=16)
    model = transformers.ASTForAudioClassification(config).eval()
    model.save_pretrained(tmp_path)
    extractor = transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=16)
    extractor.save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    assert (encoder.modality, encoder.front_end.rate_hz) == ("audio", 16000)
    x = torch.randn(2, 16000) / 10
    inputs = extractor([row.numpy() for row in x], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        expected = model.audio_spectrogram_transformer(**inputs).last_hidden_state
    assert torch.allclose(encoder(x), expected, atol=1e-5)
    assert encoder.logits(x).shape == (2, encoder.num_classes)


def test_a_real_encoder_with_a_decoder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=20,
        num_mel_bins=80, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    transformers.WhisperModel(config).save_pretrained(tmp_path)
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.feature_shape == (1500, 8)
    assert encoder(torch.randn(1, 16000)).shape == (1, 1500, 8)
