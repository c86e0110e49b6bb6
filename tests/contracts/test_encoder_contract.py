"""What every frozen encoder must do, run over the table `registry.ENCODERS`.

A new entry is covered by adding a small file of it here; without one a test fails.
"""

import copy
from pathlib import Path

import encoder_files as files
import pytest
import torch
from safetensors.torch import save_file
from small import SMALL_MBT

from sightsound.features.load import load_encoder, weights_hash
from sightsound.models.mbt import MBT
from sightsound.registry import ENCODERS
from sightsound.types import MODALITIES, VIDEO


def mobilenet(folder: Path, kind: str) -> Path:
    graph = getattr(files, f"{kind}_graph")(divide=4, classes=5, size=64)
    return files.write_mobilenet(folder, graph)


def densenet(folder: Path) -> Path:
    save_file(files.densenet_tensors(files.densenet_shapes()), folder / "net.safetensors")
    return folder / "net.safetensors"


def vggish(folder: Path) -> Path:
    torch.save(files.vggish_tensors(), folder / "net.pth")
    return folder / "net.pth"


def hugging_face(folder: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8, num_labels=3,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"size": 32, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
    )
    return folder


FILES = {
    "mobilenet_v1": lambda folder: mobilenet(folder, "mobilenet_v1"),
    "mobilenet_v2": lambda folder: mobilenet(folder, "mobilenet_v2"),
    "yamnet": files.write_yamnet,
    "densenet201": densenet,
    "vggish": vggish,
    "vit": lambda folder: MBT(**SMALL_MBT).save_pretrained(folder / "model"),
    "hf": hugging_face,
}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request, tmp_path_factory):
    path = FILES[request.param](tmp_path_factory.mktemp(request.param))
    return load_encoder(f"{request.param}:{path}")


def segments(encoder, count: int) -> torch.Tensor:
    """Random inputs of the sizes that the front end tells."""
    numbers = encoder.front_end
    if encoder.modality == VIDEO:
        return torch.randn(count, 3, numbers.height, numbers.width)
    if encoder.reads_waveform:
        return torch.randn(count, numbers.rate_hz)
    return torch.randn(count, 1, numbers.num_frames, numbers.num_mels)


def test_features_have_the_shape_it_tells(encoder):
    assert encoder.modality in MODALITIES
    x = segments(encoder, 3)
    before = x.clone()
    features = encoder(x)
    assert features.shape == (3, *encoder.feature_shape)
    assert features.is_floating_point() and features.isfinite().all()
    assert torch.equal(x, before)


def test_it_is_frozen(encoder):
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder(segments(encoder, 1)).requires_grad


def test_a_segment_does_not_see_the_others(encoder):
    encoder = copy.deepcopy(encoder).double()  # with other rows beside it, matrix products round
    x = segments(encoder, 3).double()  # otherwise, and 50 layers of random weights magnify that
    assert torch.allclose(encoder(x)[1:2], encoder(x[1:2]), rtol=0, atol=1e-9)


def test_classes(encoder):
    x = segments(encoder, 2)
    if not encoder.num_classes:
        with pytest.raises(ValueError, match="hold no classifier, so it has features only"):
            encoder.logits(x)
        return
    assert encoder.logits(x).shape == (2, encoder.num_classes)
    assert len(encoder.labels) in (0, encoder.num_classes)


def test_its_weights_have_a_hash(encoder):
    assert len(weights_hash(encoder.source)) == 64
    assert list(encoder.dropped) == [str(name) for name in encoder.dropped]
