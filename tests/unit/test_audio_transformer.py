"""AST: sizes, shapes, padding, hidden tokens, other lengths, and transformers' own AST."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sightsound.models.backbones.ast import AST, adapted_positions
from sightsound.models.unimodal import ASTClassifier
from sightsound.types import AUDIO
from sightsound.weights import load_foreign

SMALL = dict(width=16, depth=2, num_heads=2, patch=(8, 8), stride=(5, 4))


def build(**arguments) -> AST:
    model = AST((36, 16), **SMALL | arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def sounds(frames: int = 36) -> Tensor:
    return torch.randn(2, 1, frames, 16)


@pytest.mark.parametrize("stride, tokens", [(10, 101 * 12), (16, 64 * 8)])
def test_published_sizes(stride: int, tokens: int):
    """Without the two classifiers of DeiT, which the authors' files hold and do not use."""
    with torch.device("meta"):
        model = ASTClassifier(heads={"label": 527}, stride=(stride, stride))
        output = model(model.example_inputs(2))
    assert output.tokens[AUDIO].shape == (2, 2 + tokens, 768)
    assert output.pooled[AUDIO].shape == (2, 768)
    number = sum(parameter.numel() for parameter in model.parameters())
    assert number == 86_594_063 - (1212 - tokens) * 768


def test_grid():
    model = AST((1024, 128), width=8, depth=1, num_heads=1)
    cells = model.cells((1024, 128))
    assert (cells.grid, cells.patch, cells.stride) == ((101, 12), (16, 16), (10, 10))
    assert model.embedded_cells((1024, 128)) == cells
    with pytest.raises(ValueError, match=r"\(15, 128\) is smaller than AST's patch"):
        model.cells((15, 128))


def test_pooled_is_the_mean_of_both_tokens():
    found = build()(sounds())
    assert torch.equal(found.pooled, (found.tokens[:, 0] + found.tokens[:, 1]) / 2)


def test_time_comes_before_mel():
    """The patch that a token stands for is the one that its cell says."""
    model, x = build(), sounds()
    cells, embedded = model.cells((36, 16)), []
    model.blocks[0].register_forward_pre_hook(lambda _module, inputs: embedded.append(inputs[0]))
    other = x.clone()
    other[:, :, 10:12, 0:3] += 1.0
    model(x), model(other)
    changed = (embedded[0] != embedded[1]).any(-1)[0, 2:].unflatten(0, cells.grid)
    assert changed.nonzero().tolist() == [[1, 0], [2, 0]]  # 5 to 12 and 10 to 17, mel 0 to 7


# ---------------------------------------------------------------- padding, hidden tokens


def test_padding_is_hidden():
    model, x = build(), sounds()
    valid = torch.ones(2, 36, dtype=torch.bool)
    valid[:, 20:] = False
    found = model(x, valid=valid)
    steps = found.key_mask[0, 2:].unflatten(0, (6, 3)).all(-1)
    assert steps.tolist() == [True, True, True, True, False, False]  # the fourth: frames 15 to 22
    other = x.clone()
    other[:, :, 20:] = float("nan")
    assert torch.equal(model(other, valid=valid).tokens, found.tokens)


def test_padding_counts_as_in_the_released_program():
    model, x = build(padding=0.5), sounds()
    valid = torch.ones(2, 36, dtype=torch.bool)
    valid[:, 20:] = False
    found = model(x, valid=valid)
    x[:, :, 20:] = 0.5
    assert torch.equal(found.tokens, model(x).tokens)
    assert found.key_mask is None


def test_hidden_tokens():
    """Zero before positions; the first two are never hidden."""
    model, x = build(), sounds()
    hidden = torch.zeros(2, 18, dtype=torch.bool)
    hidden[:, 0] = True
    found = model(x, token_mask=hidden)
    assert not torch.allclose(found.tokens, model(x).tokens)
    other = x.clone()
    other[:, :, :4, :3] += 1.0  # in no other patch
    assert torch.equal(model(other, token_mask=hidden).tokens, found.tokens)


# ---------------------------------------------------------------- other lengths


def test_shorter_sounds_take_positions_from_the_middle():
    table = torch.arange(2 + 100 * 12.0).reshape(1, -1, 1)
    ours = adapted_positions(table, (100, 12), (51, 12))
    start = 100 // 2 - 51 // 2  # one more than half of what is cut off
    assert torch.equal(ours[:, :2], table[:, :2])
    assert torch.equal(ours[:, 2:], table[:, 2 + 12 * start : 2 + 12 * (start + 51)])


def test_longer_sounds_interpolate_them():
    table = torch.cat((torch.zeros(1, 2, 1), torch.tensor([[[0.0], [1.0]]])), dim=1)
    ours = adapted_positions(table, (2, 1), (4, 1))
    assert ours[0, 2:, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_other_lengths_run_and_start_from_one_another():
    short, long = build(), AST((76, 16), **SMALL)
    assert short(sounds(76)).tokens.shape == (2, 2 + 14 * 3, 16)
    assert short(sounds(16)).tokens.shape == (2, 2 + 2 * 3, 16)
    resized = long.resize_state("positions", short.positions, short)
    assert resized.shape == long.positions.shape
    assert short.resize_state("positions", short.positions, short) is None
    assert short.resize_state("cls", short.cls, long) is None


# ---------------------------------------------------------------- transformers' AST


def transformers_ast(folder: Path, **changes):
    """A small random one, saved."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        **dict(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            num_labels=5,
            max_length=70,
            num_mel_bins=40,
            frequency_stride=8,
            time_stride=10,
        )
        | changes
    )
    model = transformers.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_transformers_ast(tmp_path, epsilon: float):
    """Logits to 1e-5, gradients to 1e-4; a folder and its file are the same."""
    theirs = transformers_ast(tmp_path, layer_norm_eps=epsilon)
    x = torch.randn(2, 70, 40)
    expected = theirs(x)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        ours = load_foreign("ast", path)
        output = ours({AUDIO: x.unsqueeze(1)})
        torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=1e-5)
    assert ours.info.provenance["dropped"] == []
    assert ours.info.arguments["num_heads"] == 4
    expected.logits.pow(2).sum().backward()
    output.logits.pow(2).sum().backward()
    pairs = [
        (ours.head.weight.grad, grad_of(theirs, "classifier.dense.weight")),
        (ours.audio.cls.grad, grad_of(theirs, "cls_token")),
        (ours.audio.patches.weight.grad.mT, grad_of(theirs, "projection.weight")),
    ]
    for found, wanted in pairs:
        assert float((found - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def grad_of(model: torch.nn.Module, end: str) -> Tensor:
    """Of the only parameter whose name ends so: what stands before depends on the version."""
    (found,) = (p.grad for name, p in model.named_parameters() if name.endswith(end))
    return found


def test_heads_are_assumed_where_nothing_tells(tmp_path):
    transformers_ast(tmp_path, hidden_size=64, num_attention_heads=1, num_mel_bins=128)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="positions do not tell the grid of patches"):
        load_foreign("ast", tmp_path)
    transformers_ast(
        tmp_path, hidden_size=64, num_attention_heads=1, num_mel_bins=128, frequency_stride=10
    )
    (tmp_path / "config.json").unlink()
    model = load_foreign("ast", tmp_path)
    assert model.audio.grid == (6, 12) and model.info.arguments["num_heads"] == 1
    words = " ".join(model.info.provenance["inferred"])
    assert "heads 64 wide" in words and "66 frames of 128 mel bins, patches every 10" in words
