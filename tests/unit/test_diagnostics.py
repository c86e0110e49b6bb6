"""Checks of `sightsound probe` on models whose every decision is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from small import SMALL_MBT
from torch import Tensor, nn

from sightsound.data.synthetic import KINDS, PICTURES, SOUNDS
from sightsound.diagnostics import picture
from sightsound.diagnostics.checks import CHECKS, check_names
from sightsound.diagnostics.deletion import _sentence as deletion_words
from sightsound.diagnostics.finding import SMALL, Check, Curve, Finding, compare, verdict
from sightsound.diagnostics.knockout import knockout
from sightsound.diagnostics.picture import checks_figure
from sightsound.diagnostics.randomise import _sentence as randomise_words
from sightsound.diagnostics.randomise import destroyed, from_the_head, rank_correlation
from sightsound.diagnostics.report import Report, as_tables
from sightsound.diagnostics.shift import partners, shift, shifted
from sightsound.diagnostics.streams import streams
from sightsound.diagnostics.swap import deranged, swap
from sightsound.diagnostics.trial import Trial, agreement, chosen, hits
from sightsound.explain.explanation import make_target
from sightsound.media.front_end import FrontEnd
from sightsound.media.logmel import MBT_AUDIO, clip_log_mel
from sightsound.models.mbt import MBT
from sightsound.predict import Predictor
from sightsound.types import AUDIO, VIDEO, Batch, ModelInfo, Output

FRAMES, SOUND_FRAMES = 20, 200  # 2 s of each
DEMO = KINDS["demo"]


class Rule(nn.Module):
    """A model that decides by a rule: {modality: (B, T) or (B, F) numbers} -> (B,) class."""

    modalities = (AUDIO, VIDEO)

    def __init__(self, rule: Callable[[dict[str, Tensor]], Tensor], labels: list[str]) -> None:
        super().__init__()
        self.heads = {"label": len(labels)}
        plain = FrontEnd(
            audio=dataclasses.replace(MBT_AUDIO, mean=0.0, deviation=1.0),
            video=dataclasses.replace(FrontEnd().video, mean=(0.0,) * 3, deviation=(1.0,) * 3),
        )
        self.info = ModelInfo("rule", {}, plain.to_dict(), {"label": labels}, "single")
        self.rule = rule
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, inputs, *, present=None, valid=None, maps=False) -> Output:
        numbers = {name: x.flatten(2).mean(2) for name, x in inputs.items() if name == VIDEO}
        if AUDIO in inputs:
            numbers[AUDIO] = inputs[AUDIO][:, 0].mean(2)
        decided = self.rule(numbers)
        return Output(nn.functional.one_hot(decided, self.heads["label"]).float())


def trial_of(
    rule: Callable, sound: np.ndarray, pictures: np.ndarray, classes: np.ndarray, labels: list[str]
) -> Trial:
    """Clips whose numbers are `sound` (n, F) and `pictures` (n, T)."""
    clips, count = len(classes), len(labels)
    video = torch.from_numpy(pictures).to(torch.uint8)[:, :, None, None, None]
    audio = torch.from_numpy(sound).float()[:, None, :, None]
    batch = Batch(
        video=video.expand(-1, -1, 3, 2, 2).contiguous(),
        audio=audio.expand(-1, -1, -1, 2).contiguous(),
        present={name: torch.ones(clips, dtype=torch.bool) for name in (AUDIO, VIDEO)},
        valid={
            VIDEO: torch.ones(clips, pictures.shape[1], dtype=torch.bool),
            AUDIO: torch.ones(clips, sound.shape[1], dtype=torch.bool),
        },
        target=nn.functional.one_hot(torch.from_numpy(classes), count).float(),
        id=[str(row) for row in range(clips)],
        view=torch.zeros(clips, dtype=torch.long),
        complete=True,
    )
    return Trial(Predictor(Rule(rule, labels), device="cpu"), batch)


# --- swap ---------------------------------------------------------------------------------------


def demo_trial(rule: Callable | None = None, *, clips: int = 160) -> Trial:
    """Clips of the demo's classes that say outright what is seen and heard.

    The rule, unless given, is right on all of them; where pictures and sound never come together it
    goes by the pictures.
    """
    labels = list(DEMO)
    classes = np.arange(clips) % len(labels)
    pairs = [DEMO[labels[k]][row // 8 % len(DEMO[labels[k]])] for row, k in enumerate(classes)]
    seen = np.array([PICTURES.index(picture) for picture, _ in pairs])
    heard = np.array([SOUNDS.index(sound) for _, sound in pairs])

    def by_both(numbers: dict[str, Tensor]) -> Tensor:
        pictures = numbers[VIDEO][:, 0].long() if VIDEO in numbers else None
        sounds = numbers[AUDIO][:, 0].long() if AUDIO in numbers else None
        if pictures is None:
            return torch.where(sounds >= 2, sounds - 2, 4 + sounds)
        if sounds is None:
            return torch.where(pictures >= 2, pictures, 4 + 2 * pictures)
        mixed = torch.where(sounds >= 2, sounds - 2, 4 + 2 * pictures + sounds)
        return torch.where(pictures >= 2, pictures, mixed)

    sound = np.repeat(heard[:, None], SOUND_FRAMES, axis=1)
    pictures = np.repeat(seen[:, None], FRAMES, axis=1)
    return trial_of(rule or by_both, sound, pictures, classes, labels)


def found(check, what: str, label: str = "") -> Finding:
    (finding,) = [f for f in check.findings if f.what == what and f.label == label]
    return finding


def test_classes_told_by_sound_fall_to_chance_and_those_told_by_pictures_stay():
    check = swap(demo_trial())
    for label in ("rising_chirp", "falling_chirp"):
        swapped = found(check, "sound swapped", label)
        assert swapped.before == 1.0 and swapped.after == 0.0 <= swapped.chance < 0.2
    for label in ("yellow_ring", "green_cross"):
        swapped = found(check, "sound swapped", label)
        assert swapped.before == swapped.after == 1.0 and swapped.cost_high == 0.0
        assert found(check, "pictures swapped", label).after == 0.0
    assert check.sentence.startswith("The model uses sound: with sound of another class it loses ")
    assert "The model uses pictures: with pictures of another class it loses " in check.sentence
    assert check.notes[:2] == (
        "With sound swapped, at chance or below: rising_chirp, falling_chirp.",
        "With sound swapped, hardly moved: yellow_ring, green_cross.",
    )


def test_a_model_that_only_looks_does_not_use_sound():
    trial = demo_trial(lambda numbers: 4 + 2 * numbers[VIDEO][:, 0].long() % 4)
    check = swap(trial)
    sound, pictures = (found(check, f"{name} swapped") for name in ("sound", "pictures"))
    assert sound.cost == 0.0 and sound.same == 1.0
    assert pictures.cost > 0 and sound.before == pictures.before
    assert check.sentence.startswith("The model does not use sound: ")


def test_chance_is_how_often_a_class_is_named():
    check = swap(demo_trial())
    shares = [f.chance for f in check.findings if f.what == "sound swapped" and f.label]
    assert sum(shares) == pytest.approx(1.0)
    whole = found(check, "sound swapped")
    assert whole.chance == pytest.approx(np.mean(shares))  # classes are equally frequent


@pytest.mark.parametrize("counts", [(5, 5), (1, 2, 3), (4, 4, 4, 1), (50, 30, 20)])
def test_every_sound_goes_once_to_another_class(counts):
    targets = np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)]
    for seed in range(20):
        donors, left_out = deranged(targets, seed=seed)
        assert left_out == 0
        assert sorted(donors) == sorted(donors.values()) == list(range(len(targets)))
        assert all((targets[row] * targets[donor]).sum() == 0 for row, donor in donors.items())


def test_what_finds_no_other_class_is_left_out():
    targets = np.eye(2)[[0] * 7 + [1] * 3]
    donors, left_out = deranged(targets, seed=0)
    assert left_out == 4 and len(donors) == 6
    check = swap(demo_trial(clips=16))
    assert not [note for note in check.notes if "Left out" in note]
    trial = demo_trial(clips=16)
    trial.clips.target[:12] = trial.clips.target[0]
    assert swap(trial).notes[-1] == "Left out, for want of a clip of another class: 8 clips."
    trial = demo_trial(clips=16)
    trial.clips.target[:] = trial.clips.target[0]
    text = "No two clips with sound and pictures are of different classes."
    assert swap(trial).sentence == text


def test_two_clips_are_enough_to_swap_and_one_is_not():
    trial = demo_trial(clips=2)
    assert [f.num_clips for f in swap(trial).overall] == [2, 2]
    trial = demo_trial(clips=3)
    trial.clips.target[:] = torch.eye(len(trial.classes))[0]
    trial.clips.target[:2] = torch.eye(len(trial.classes))[1:3]
    trial.clips.target[2] = trial.clips.target[:2].sum(0)  # shares a label with either
    trial = dataclasses.replace(trial, seed=2)
    donors, _ = deranged(trial.clips.target.numpy(), seed=2)
    assert len(donors) == 1
    text = "No two clips with sound and pictures are of different classes."
    assert swap(trial).sentence == text and not swap(trial).findings


def test_of_several_labels_none_is_shared():
    generator = np.random.default_rng(0)
    targets = (generator.random((60, 10)) < 0.15).astype(float)
    targets[range(60), generator.integers(10, size=60)] = 1.0
    donors, left_out = deranged(targets, seed=0)
    assert left_out < 5
    assert all((targets[row] * targets[donor]).sum() == 0 for row, donor in donors.items())


# --- shift --------------------------------------------------------------------------------------


def flashes(rule: Callable, *, clips: int = 120) -> Trial:
    """A flash and a beep, together (class 0) or a second apart (class 1)."""
    generator = np.random.default_rng(0)
    classes = np.arange(clips) % 2
    places = generator.integers(FRAMES, size=clips)
    pictures = np.full((clips, FRAMES), 10)
    sound = np.zeros((clips, SOUND_FRAMES))
    for row, (place, apart) in enumerate(zip(places, classes, strict=True)):
        pictures[row, place] = 200
        start = (place * 10 + 100 * apart) % SOUND_FRAMES
        sound[row, start : start + 10] = 1.0
    return trial_of(rule, sound, pictures, classes, ["together", "apart"])


def by_step(numbers: dict[str, Tensor]) -> Tensor:
    """Whether the beep is at the flash."""
    return (numbers[AUDIO].argmax(1) // 10 != numbers[VIDEO].argmax(1)).long()


def test_a_model_that_goes_by_synchrony_is_found():
    check = shift(flashes(by_step))
    own = [f for f in check.findings if f.what.startswith("own sound")]
    assert check.curves[0].x == pytest.approx([0.0, 0.12, 0.25, 0.5], abs=0.01)
    assert all(f.before == 1.0 and f.after == 0.5 for f in own)  # all are taken to be apart
    assert check.findings[-1].cost == pytest.approx(0.5, abs=0.05)
    assert check.sentence.startswith("The model uses synchrony: 0.12 to 0.5 s late, a clip's own ")


def test_a_model_that_goes_by_the_place_of_the_sound_does_not_use_synchrony():
    """It loses when the sound goes round, but as much with a sound that was never in step."""

    def beeps_early(numbers: dict[str, Tensor]) -> Tensor:
        return (numbers[AUDIO].argmax(1) >= 60).long()

    trial = flashes(beeps_early, clips=400)
    early = beeps_early({AUDIO: trial.clips.audio[:, 0, :, 0]})
    trial.clips.target[:] = nn.functional.one_hot(early, 2)
    check = shift(trial)
    own = [f for f in check.findings if f.what.startswith("own sound")]
    assert min(f.cost for f in own) > 0.05
    assert check.findings[-1].cost_low < 0 < check.findings[-1].cost_high
    assert check.sentence.startswith(("The model does not use synchrony: ", "Whether the model "))


def test_shifts_that_are_asked_for_and_clips_that_are_too_short():
    trial = flashes(by_step)
    trial = dataclasses.replace(trial, shifts=(0.8, 0.3))
    trial.clips.valid[AUDIO][:20, 100:] = False  # 1 s of sound
    check = shift(trial)
    assert check.curves[0].x == pytest.approx([0.0, 0.3, 0.8])
    assert {f.num_clips for f in check.findings} == {100}
    (note,) = check.notes
    assert note == "Left out, for want of sound that long or of another clip of the class: 20."
    long = dataclasses.replace(trial, shifts=(1.5,))
    assert shift(long).sentence == (
        "No two clips of one class have sound and pictures, and sound for twice the longest shift, "
        "1.5 s (--shifts gives others)."
    )


def test_frames_gone_round_are_those_of_the_sound_gone_round():
    audio = dataclasses.replace(MBT_AUDIO, num_frames=100)
    samples = torch.rand(17000) - 0.5
    samples[14080:] = 0.0  # 88 frames of sound
    valid = torch.arange(17000) < 14080
    late = torch.cat((samples[:14080].roll(30 * 160), samples[14080:]))
    (before, here), (after, _) = (clip_log_mel(x, valid, audio) for x in (samples, late))
    assert here.sum() == 88
    trial = flashes(by_step, clips=2)
    batch = dataclasses.replace(
        trial.clips, audio=before[None].repeat(2, 1, 1, 1), valid={AUDIO: here[None].repeat(2, 1)}
    )
    moved = shifted(batch, 30).audio[0]
    differ = (moved - after).abs().amax((0, 2)) > 1e-3
    assert differ.nonzero().flatten().tolist() == [28, 29, 86, 87]  # the seam, and the new end


def test_features_go_round_by_seconds():
    batch = dataclasses.replace(
        flashes(by_step, clips=2).clips,
        audio=torch.arange(10.0).repeat(2, 1)[..., None],
        valid={AUDIO: torch.tensor([[True] * 10, [True] * 4 + [False] * 6])},
        encoded=True,
    )
    moved = shifted(batch, 1).audio[..., 0]
    assert moved[0].tolist() == [9, *range(9)]
    assert moved[1].tolist() == [3, 0, 1, 2, *range(4, 10)]


def test_partners_are_other_clips_with_the_same_labels():
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1]], float)
    rows, others = partners(targets, seed=0)
    assert rows.tolist() == [0, 1, 2, 3] and others.tolist() == [1, 0, 3, 2]
    assert partners(np.eye(3), seed=0)[0].size == 0


# --- streams ------------------------------------------------------------------------------------


def test_what_the_streams_are_worth_adds_up():
    trial = demo_trial()
    check = streams(trial)
    sound, pictures = (f"without {name}" for name in ("sound", "pictures"))
    assert found(check, sound).after == found(check, pictures).after == 0.5
    values = [f.cost for f in check.findings if "Shapley" in f.what]
    assert sum(values) == pytest.approx(1.0 - 0.125)
    assert "sound and 50 % to pictures (Shapley)" in check.sentence


# --- randomise ----------------------------------------------------------------------------------


def test_what_two_modules_share_comes_back_whole():
    model = nn.ModuleDict({"one": nn.Linear(4, 4), "other": nn.Linear(4, 4)})
    model["other"].weight = model["one"].weight
    before = model["one"].weight.detach().clone()
    with destroyed(model, ["one", "other"], seed=0):
        assert not torch.equal(model["one"].weight, before)
    assert torch.equal(model["one"].weight, before)


def test_rank_correlation_is_that_of_scipy():
    generator = np.random.default_rng(0)
    a, b = generator.integers(1, 9, (2, 4, 6)), generator.random((2, 4, 6)) + 0.1
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
    a[1], b[1] = 0.0, 0.0  # padding
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a[0].ravel(), b[0].ravel()).statistic)
    assert rank_correlation(a, np.ones_like(b)) == 0.0
    assert rank_correlation(np.ones_like(b), b) is None
    assert rank_correlation(np.zeros(3), np.zeros(3)) is None


def test_layers_are_destroyed_from_the_head_down_and_come_back():
    model = MBT(**SMALL_MBT).eval()
    model.info.front_end, model.info.labels = FrontEnd().to_dict(), {"label": ["a", "b", "c"]}
    nn.init.normal_(model.head.weight)
    batch = dataclasses.replace(
        flashes(by_step, clips=2).clips, complete=True, **random_streams(model)
    )
    predictor = Predictor(model, device="cpu")
    names = from_the_head(model, make_target(predictor, batch, method="rollout", shown=None))
    assert names[:2] == ["head", "norm"] and set(names[-2:]) == {"audio", "video"}
    assert sorted(names) == sorted(
        name for name, m in model.named_modules() if [*m.parameters(recurse=False)]
    )
    places = {name: names.index(f"{name}.mlp.expand") for name in layers(model)}
    assert max(places["audio.blocks.1"], places["video.blocks.1"]) < min(
        places["audio.blocks.0"], places["video.blocks.0"]
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with destroyed(model, names[:1], seed=0):
        changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
        assert changed == ["head.weight"]
        numbers = [x.flatten().sort().values for x in (model.head.weight, before["head.weight"])]
        assert torch.equal(*numbers)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def random_streams(model: MBT) -> dict[str, Tensor]:
    return {name: torch.randn_like(x) for name, x in model.example_inputs(2).items()}


def layers(model: MBT) -> list[str]:
    return [f"{name}.blocks.{layer}" for name in (AUDIO, VIDEO) for layer in (0, 1)]


# --- numbers and words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cost, low, high, clips, words",
    [
        (0.31, 0.28, 0.34, 200, "The model uses sound"),
        (0.001, -0.01, 0.01, 200, "The model does not use sound"),
        (
            0.001,
            -0.01,
            2 * SMALL,
            200,
            "Whether the model uses sound cannot be told from 200 clips",
        ),
        (0.0, 0.0, 0.0, 20, "Whether the model uses sound cannot be told from 20 clips"),
        (-0.3, -0.4, -0.2, 200, "Whether the model uses sound cannot be told from 200 clips"),
    ],
)
def test_verdicts(cost, low, high, clips, words):
    finding = Finding("swap", clips, 1.0, 1.0 - cost, 0.0, 1.0, cost, low, high)
    assert verdict(finding, uses="sound") == words


def test_intervals_hold_what_they_are_of():
    before, after = np.repeat([1.0, 0.0], [90, 10]), np.repeat([1.0, 0.0], [60, 40])
    finding = compare("x", before, after, seed=0)
    assert finding.cost == pytest.approx(0.3) and finding.low < finding.after < finding.high
    assert 0.2 < finding.cost_low < 0.3 < finding.cost_high < 0.4


def test_decisions_of_several_heads_must_all_be_right():
    targets = np.array([[1, 0, 0, 1], [0, 1, 0, 1]], np.float32)
    decisions = np.array([[0, 3], [1, 2]])
    assert hits(decisions, targets).tolist() == [1.0, 0.0]
    assert agreement(decisions, targets).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_clips_are_drawn_by_the_seed():
    assert chosen(5, 10, seed=0) == [0, 1, 2, 3, 4]
    assert chosen(100, 10, seed=0) == chosen(100, 10, seed=0) != chosen(100, 10, seed=1)


def test_an_unknown_check_is_named_with_the_nearest():
    assert check_names(["swap", " shift"]) == ["swap", "shift"]
    with pytest.raises(ValueError, match=r"unknown check 'swop'; known: .* Did you mean 'swap'\?"):
        check_names(["swop"])
    assert set(CHECKS) == {"swap", "shift", "streams", "knockout", "deletion", "randomise"}


def test_without_clips_that_have_both_streams_nothing_is_compared():
    trial = demo_trial(clips=16)
    trial.clips.present[AUDIO][:] = False
    assert swap(trial).sentence == "No two clips with sound and pictures are of different classes."
    assert shift(trial).sentence.startswith("No two clips of one class have sound and pictures")
    assert streams(trial).sentence.startswith("No clip has sound and pictures: ")
    assert knockout(trial).sentence.startswith("No clip has sound and pictures: ")


@pytest.mark.parametrize(
    "interval, words",
    [
        ((0.1, 0.3), "rollout point at what carries the answer: the area between "),
        ((-0.3, -0.1), "rollout point away from what carries the answer: the area "),
        ((-0.1, 0.3), "rollout are no better here than random parts: the area between "),
    ],
)
def test_what_deletion_says(interval, words):
    finding = Finding("in random order instead", 32, 0.2, 0.0, -0.1, 0.1, 0.2, *interval)
    text = deletion_words(finding, "rollout")
    assert text.startswith(f"Explanations by {words}")
    assert "is 0.20, with random parts 0.00; 0.20 more (95 % interval " in text


@pytest.mark.parametrize(
    "after, words",
    [
        (0.1, "depend on what was learned: with every layer destroyed their maps are others"),
        (0.5, "depend on what was learned in part: with every layer destroyed maps change"),
        (0.9, "hardly depend on what was learned: with every layer destroyed maps stay alike"),
    ],
)
def test_what_randomise_says(after, words):
    end = Finding("sound, 100 % destroyed", 32, 1.0, after, after - 0.1, after + 0.1, *[0.0] * 3)
    text = randomise_words({"sound": end}, "grad_cam")
    assert text.startswith(
        f"Explanations by grad_cam {words}, rank correlation of sound {after}0 ("
    )


def test_many_classes_are_left_to_the_file():
    rows = [
        Finding("sound swapped", 9, *[0.5] * 7, label=label) for label in ("", *map(str, range(30)))
    ]
    few, many = (Check("swap", "", tuple(rows[:count])) for count in (4, 31))
    report = Report("run", "data", "test", "0" * 12, 9, 0, (few, many))
    assert [len(table.splitlines()) for table in as_tables(report)] == [5, 2]


def test_the_picture_shows_per_cent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[Figure] = []
    monkeypatch.setattr(picture, "save_picture", lambda figure, path: drawn.append(figure))
    values = {"": (0.8, 0.5, 0.4, 0.6), "horn": (0.7, 0.2, 0.1, 0.3), "bell": (0.9, 0.6, 0.5, 0.7)}
    findings = [
        Finding("sound swapped", 9, *numbers, *[0.0] * 3, label=label)
        for label, numbers in values.items()
    ]
    checks_figure(tmp_path / "a.png", [Check("swap", "", tuple(findings))], title="run")
    bars, classes = drawn[0].axes
    assert [bar.get_width() for bar in bars.patches] == [pytest.approx(50)]
    assert sorted(line.get_xdata().tolist() for line in bars.lines) == [
        pytest.approx([40, 60]),
        pytest.approx([80, 80]),
    ]
    after, before = (dots.get_offsets() for dots in classes.collections)
    np.testing.assert_allclose(after, [[20, 0], [60, 1]])
    np.testing.assert_allclose(before, [[70, 0], [90, 1]])
    intervals = [line.get_xydata() for line in classes.lines]
    np.testing.assert_allclose(intervals, [[[10, 0], [30, 0]], [[50, 1], [70, 1]]])


def test_curves_of_scores_are_drawn_in_per_cent_and_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[Figure] = []
    monkeypatch.setattr(picture, "save_picture", lambda figure, path: drawn.append(figure))
    curve = Curve("sound late", (0.0, 1.0), (0.5, 0.25), (0.4, 0.2), (0.6, 0.3))
    finding = Finding("sound late", 9, *[0.5] * 7)
    checks = [
        Check("shift", "", (finding,), curves=(curve,)),
        Check("randomise", "", (finding,), measure="correlation", curves=(curve,)),
    ]
    checks_figure(tmp_path / "a.png", checks, title="run")
    for axes, scale in zip(drawn[0].axes, (100, 1), strict=True):
        (line,) = axes.lines
        np.testing.assert_allclose(line.get_ydata(), [0.5 * scale, 0.25 * scale])
        assert axes.get_ylim() == pytest.approx((0, 1.05 * scale))
        band = axes.collections[0].get_paths()[0].get_extents()
        assert (band.ymin, band.ymax) == pytest.approx((0.2 * scale, 0.6 * scale))
