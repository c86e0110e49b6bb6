"""Log-mel against torchaudio's Kaldi (AST) and Google's VGGish recipe, and planted errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sightsound.media import logmel
from sightsound.media.front_end import AudioFrontEnd

AST, VGGISH = logmel.AST_AUDIO, logmel.VGGISH_AUDIO
AST_TOLERANCE = 2e-3  # two float32 FFTs near the floor of the logarithm differ by up to 1.2e-3
VGGISH_TOLERANCE = 1e-4  # float32 against float64, bounded by the offset of 0.01


def ast_error(cases: Path, audio: AudioFrontEnd) -> float:
    arrays = np.load(cases / "avt" / "fbank.npz")
    clips = [name.split("/")[0] for name in arrays.files if name.endswith("/fbank_official")]
    assert clips
    return max(
        np.abs(
            logmel.log_mel(torch.from_numpy(arrays[f"{clip}/wave"]), audio).numpy()
            - arrays[f"{clip}/fbank_official"]
        ).max()
        for clip in clips
    )


def vggish_error(cases: Path, audio: AudioFrontEnd) -> float:
    arrays = np.load(cases / "mafnet" / "logmel.npz")
    clips = [name.split("/")[0] for name in arrays.files if name.endswith("/logmel")]
    errors = []
    for clip in clips:
        wave = f"{clip}/wave" if f"{clip}/wave" in arrays else f"{clip}/resampled16k"
        ours = logmel.log_mel(torch.from_numpy(arrays[wave]).float(), audio)
        expected = arrays[f"{clip}/logmel"][0]
        errors.append(np.abs(ours[: len(expected)].numpy() - expected).max())
    assert errors
    return max(errors)


def test_ast_matches_kaldi(cases: Path):
    assert ast_error(cases, AST) < AST_TOLERANCE


def test_vggish_matches_google(cases: Path):
    assert vggish_error(cases, VGGISH) < VGGISH_TOLERANCE


def test_ast_normalisation(cases: Path):
    arrays = np.load(cases / "avt" / "fbank.npz")
    ours = (arrays["b/fbank_official"] - AST.mean) / AST.deviation
    np.testing.assert_allclose(ours, arrays["b/normalised_first_rows"], rtol=0, atol=1e-6)
    assert (0 - AST.mean) / AST.deviation == pytest.approx(float(arrays["b/normalised_pad_value"]))


def test_mel_matrices(cases: Path):
    kaldi = np.load(cases / "avt" / "fbank.npz")["mel_bank_float64"]
    np.testing.assert_allclose(logmel.mel_matrix(AST), kaldi.T, rtol=0, atol=1e-6)
    google = np.load(cases / "mafnet" / "logmel.npz")["mel_matrix"]
    np.testing.assert_allclose(logmel.mel_matrix(VGGISH), google, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"window": "hamming"},
        {"periodic_window": True},
        {"low_hz": 0.0},
        {"high_hz": 7600.0},
        {"spectrum": "magnitude"},
        {"fft_samples": 1024},
        {"scale": 32768.0},
        {"log_floor": 1e-10},
        {"log_offset": 1e-6},
        {"kaldi": False},
    ],
    ids=str,
)
def test_a_wrong_ast_constant_is_caught(cases: Path, change: dict):
    assert ast_error(cases, dataclasses.replace(AST, **change)) > AST_TOLERANCE


def test_a_wrong_pre_emphasis_is_caught(cases: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logmel, "KALDI_PRE_EMPHASIS", 0.95)
    assert ast_error(cases, AST) > AST_TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"window": "hamming"},
        {"periodic_window": False},
        {"low_hz": 100.0},
        {"high_hz": 8000.0},
        {"spectrum": "power"},
        {"fft_samples": 1024},
        {"scale": 1.001},
        {"log_offset": 0.0101},
        {"kaldi": True},
    ],
    ids=str,
)
def test_a_wrong_vggish_constant_is_caught(cases: Path, change: dict):
    assert vggish_error(cases, dataclasses.replace(VGGISH, **change)) > VGGISH_TOLERANCE


def test_yamnet_is_vggish_with_another_offset():
    difference = {
        name: value
        for name, value in dataclasses.asdict(logmel.YAMNET_AUDIO).items()
        if value != dataclasses.asdict(VGGISH)[name]
    }
    assert difference == {"log_offset": 0.001}
