"""Explanations of MAFnet: sums, order of seconds, words, tables, the deletion test, the picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.image import imread

from sightsound.explain import timeline_plot as pictures
from sightsound.explain.clips import ClipExplanation, explain_clips, second_starts
from sightsound.explain.contributions import check_has_contributions
from sightsound.explain.deletion import (
    ATTENTION,
    EVIDENCE,
    RANDOM,
    Deleted,
    delete_seconds,
    summarise,
)
from sightsound.explain.explanation import Explanation, SecondTable, explain_batch
from sightsound.explain.split import SplitExplanation, split_text
from sightsound.explain.text import (
    as_csv,
    as_json,
    as_table,
    cell_lines,
    headline,
    preference,
    sentence,
)
from sightsound.explain.timeline_plot import timeline_plot
from sightsound.media.clips import Window
from sightsound.media.front_end import AudioFrontEnd, FeatureFrontEnd, FrontEnd, VideoFrontEnd
from sightsound.models.mafnet import MAFnet
from sightsound.models.mbt import MBT
from sightsound.predict import Predictor
from sightsound.preview.model_inputs import ModelInput, named
from sightsound.types import Batch, Problem

SECONDS = 4
FRONT_END = FrontEnd(
    "features",
    AudioFrontEnd(num_frames=100 * SECONDS, num_mels=8),
    VideoFrontEnd(num_frames=2 * SECONDS, window_seconds=float(SECONDS), height=12, width=16),
    FeatureFrontEnd(
        segments=SECONDS,
        frames_per_segment=2,
        video_encoder="b:",
        audio_encoder="l:",
        video_shape=(5,),
        audio_shape=(6,),
    ),
)
LABELS = {"label": ["cat", "dog", "owl"]}


def make_predictor(labels=LABELS, **arguments) -> Predictor:
    """A model whose norms have seen something, so that constants are not zero."""
    torch.manual_seed(1)
    heads = {head: len(names) for head, names in labels.items()}
    shapes = {"video_shape": (SECONDS, 5), "audio_shape": (SECONDS, 6)}
    model = MAFnet(heads=heads, width=8, norm_decay=0.9, **shapes, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    batch = make_batch(16)
    for _ in range(5):
        model({name: batch.inputs[name] for name in model.modalities})
    task = "single" if len(labels) == 1 else "heads"
    model.info = dataclasses.replace(
        model.info,
        front_end=FRONT_END.to_dict(),
        labels=labels,
        task=task,
        provenance={"windows": "start"},
    )
    return Predictor(model, device="cpu")


def make_batch(size: int = 3, **masks: list[list[int]]) -> Batch:
    """Features of clips; `masks`: per modality which seconds of which clip are there."""
    torch.manual_seed(2)
    whole = [[1] * SECONDS] * size
    valid = {name: torch.tensor(masks.get(name, whole)).bool() for name in ("video", "audio")}
    target = torch.zeros(size, 3)
    target[0, 1] = 1
    return Batch(
        video=torch.randn(size, SECONDS, 5),
        audio=torch.randn(size, SECONDS, 6),
        present={name: mask.any(1) for name, mask in valid.items()},
        valid=valid,
        target=target,
        id=[f"{index}.mp4" for index in range(size)],
        view=torch.zeros(size, dtype=torch.long),
        complete=not masks,
        encoded=True,
    )


@pytest.fixture
def files(tmp_path):
    """Names of files that nobody reads, as of the batches."""
    paths = [tmp_path / f"{index}.mp4" for index in range(3)]
    for path in paths:
        path.touch()
    return paths


def explained(predictor: Predictor, batch: Batch, files, **options) -> list[ClipExplanation]:
    clips = predictor.files(files)
    clips.rows = [dataclasses.replace(row, id=row.path.name) for row in clips.rows]
    return explain_clips(predictor, batch, clips, method="contributions", **options)


def tables(predictor: Predictor, batch: Batch, **options) -> list[SecondTable]:
    explanations = explain_batch(predictor, batch, method="contributions", **options)
    return [explanation.seconds for explanation in explanations]


# --- the numbers --------------------------------------------------------------------------------

VARIANTS = {
    "as released": {},
    "temporal, both": {"attention": "temporal", "film": "both"},
    "added": {"fusion": "addition", "attention": "modality"},
    "no norm": {"logit_norm": False, "attention": "none"},
    "not masked": {"masked": False},
    "sound alone": {"modalities": ("audio",)},
}


@pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)
def test_contributions_and_constant_are_the_logits(arguments):
    predictor = make_predictor(**arguments)
    batch = make_batch(video=[[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    found = tables(predictor, batch)
    assert max(one.error for one in found) < 1e-5
    logits = predictor.logits(batch).numpy()
    for index, one in enumerate(found):
        sums = one.contributions.sum((0, 1)) + one.constant
        np.testing.assert_allclose(sums, logits[index], atol=1e-5)
        np.testing.assert_allclose(one.logits, logits[index], atol=1e-6)
        assert one.probabilities.sum() == pytest.approx(1)
        assert one.shown == logits[index].argmax() and one.rival == np.argsort(logits[index])[-2]
        np.testing.assert_allclose(
            one.difference.sum() + one.constant[one.shown] - one.constant[one.rival],
            logits[index][one.shown] - logits[index][one.rival],
            atol=1e-5,
        )
    assert np.abs(found[0].constant).max() > 0.01


def test_sums_that_are_wrong_are_noticed():
    assert table().error < 1e-6
    assert table(constant=np.array([0.1, 0.2, -0.5], np.float32)).error == pytest.approx(0.5)


def test_cells_are_seconds_by_streams_and_padding_is_told():
    batch = make_batch(
        video=[[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]],
        audio=[[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1]],
    )
    whole, short, mute = tables(make_predictor(), batch)
    assert whole.attention.shape == whole.padded.shape == (SECONDS, 2)
    assert whole.contributions.shape == (SECONDS, 2, 3)
    assert not whole.padded.any()
    assert short.padded.tolist() == [[False, False]] * 2 + [[True, False], [True, True]]
    assert mute.padded.tolist() == [[True, False]] * SECONDS
    for one in (short, mute):
        assert (one.attention == 0).tolist() == one.padded.tolist()
        assert not one.contributions[one.padded].any() and one.padded_share == 0
        assert one.times_neutral[~one.padded].mean() == pytest.approx(1)
    assert mute.shares == {"video": 0.0, "audio": 1.0}


def test_a_second_is_where_its_features_are():
    """Without FiLM a changed second of sound changes its own cell before the softmax, no other."""
    predictor = make_predictor(film="none", attention="none")
    batch = make_batch()
    changed = batch.audio.clone()
    changed[0, 2] += 1
    before = tables(predictor, batch)[0]
    after = tables(predictor, dataclasses.replace(batch, audio=changed))[0]
    moved = np.abs(after.contributions - before.contributions).max(2) > 1e-6
    assert np.argwhere(moved).tolist() == [[2, 1]]


def test_padding_that_is_not_masked_has_its_share(files):
    batch = make_batch(video=[[1, 1, 0, 0]] * 3)
    clip = explained(make_predictor(masked=False), batch, files)[0]
    one = clip.explanation.seconds
    assert one.padded.sum() == 2
    assert one.padded_share == pytest.approx(one.attention[2:, 0].sum(), rel=1e-5)
    assert one.padded_share > 0.05
    assert one.times_neutral.mean() == pytest.approx(1)
    assert "% of the attention is on padding" in as_table([clip])


def test_another_class_can_be_asked_for():
    predictor = make_predictor()
    one = tables(predictor, make_batch(), shown="owl")[0]
    assert one.shown == 2 and one.rival == one.logits[:2].argmax()
    assert one.contribution.tolist() == one.contributions[..., 2].tolist()
    with pytest.raises(ValueError, match="unknown class 'ow'; known: cat, dog, owl. Did you mean"):
        tables(predictor, make_batch(), shown="ow")


def test_the_runner_up_is_of_the_same_head():
    labels = {"verb": ["cut", "peel"], "noun": ["egg", "leek"]}
    predictor = make_predictor(labels)
    batch = dataclasses.replace(make_batch(), target=torch.eye(4)[[0, 0, 1]])
    for one in tables(predictor, batch):
        assert one.classes == ("verb:cut", "verb:peel", "noun:egg", "noun:leek")
        assert {one.shown, one.rival} in ({0, 1}, {2, 3})


def test_fusion_that_is_not_linear_has_attention_only(files):
    predictor = make_predictor(fusion="mcb", mcb_size=16)
    clip = explained(predictor, make_batch(), files)[0]
    one = clip.explanation.seconds
    assert one.contributions is None and one.evidence is None and one.error is None
    assert "no contributions: this model's fusion is not linear" in as_table([clip])
    assert "contributions" not in json.loads(as_json([clip]))[0]["classes"]["cat"]
    assert [line["contribution"] for line in cell_lines(clip)] == [None] * 8
    cells = delete_seconds(predictor, make_batch(), [clip.explanation] * 3, seed=0)[0]
    assert list(cells) == [ATTENTION, RANDOM]


def test_other_models_are_refused():
    model = MBT(heads={"label": 2}, width=8, num_heads=2, depth=2, fusion_layer=1, mlp_width=8,
                video_shape=(2, 16, 16), audio_shape=(32, 16), video_patch=(1, 8, 8),
                audio_patch=(8, 8))  # fmt: skip
    with pytest.raises(ValueError, match="models 'mbt' are no sums of seconds; contributions are"):
        check_has_contributions(model)


def test_seconds_are_those_of_the_file(files):
    predictor = make_predictor()
    clips = predictor.files(files[:1], start_seconds=2.0, end_seconds=9.0)
    clips.reader = SimpleNamespace(duration=lambda path: 20.0)
    row = clips.rows[0]
    assert second_starts(clips, row).tolist() == [2, 3, 4, 5]
    clips.settings = dataclasses.replace(clips.settings, windows="centre")
    assert second_starts(clips, row).tolist() == [3.5, 4.5, 5.5, 6.5]
    clips.settings = dataclasses.replace(clips.settings, windows="start", wrap=True)
    short = dataclasses.replace(row, end_seconds=4.5)
    assert second_starts(clips, short).tolist() == [2, 3, 4, 2.5]


# --- words and tables ---------------------------------------------------------------------------


def table(**changes) -> SecondTable:
    """Two seconds: attention 4 : 2 : 1 : 1, the second of sound is padding in neither."""
    contributions = np.array(
        [[[0.5, 0.2, 0.0], [0.25, 0.0, 0.0]], [[-0.00412345, 0.1, 0.0], [0.25, -0.5, 0.0]]],
        np.float32,
    )
    values = dict(
        modalities=("video", "audio"),
        classes=("cat", "dog[s]", "owl"),
        shown=0,
        rival=1,
        logits=np.array([1.09587655, 0.0, -1.0], np.float32),
        probabilities=np.array([0.686, 0.229, 0.085], np.float32),
        attention=np.array([[0.5, 0.25], [0.125, 0.125]], np.float32),
        contributions=contributions,
        constant=np.array([0.1, 0.2, -1.0], np.float32),
        padded=np.zeros((2, 2), bool),
    )
    return SecondTable(**values | changes)


def example(
    *, id="a.mp4", truth="dog[s]", given=None, front_end=FRONT_END, starts=(3.0, 4.0), **changes
) -> ClipExplanation:
    """A clip with the numbers of `table`."""
    seconds = table(**changes)
    label = seconds.classes[seconds.shown]
    one = Explanation(id, "contributions", label, None, None, {}, seconds=seconds)
    starts = np.array(starts)
    return ClipExplanation(one, front_end, truth, given=given, second_starts=starts)


def test_sentence_and_headline():
    one = example()
    assert sentence(one) == (
        "mostly seen (62 % of the attention), above all pictures at 3-4 s; "
        "most for 'cat' over 'dog[s]': sound at 4-5 s (+0.75)"
    )
    assert headline(one) == "cat (68.6 %), before dog[s] (22.9 %)"
    assert "dog[s] (22.9 %); the true class is dog[s]\n" in as_table([one])
    other = example(shown=1, rival=0, truth="")
    assert headline(other) == "dog[s] (22.9 %), behind cat (68.6 %)"
    alike = example(attention=np.array([[0.25, 0.3], [0.25, 0.2]], np.float32))
    assert sentence(alike).startswith("seen and heard alike (50 % of the attention on pictures)")
    heard = example(attention=np.array([[0, 0.25], [0, 0.75]], np.float32), rival=None)
    assert sentence(heard) == (
        "only heard, above all sound at 4-5 s; most for 'cat': pictures at 3-4 s (+0.50)"
    )
    tables = [clip.explanation.seconds for clip in (one, alike, heard)]
    assert [preference(seconds) for seconds in tables] == ["seen", "alike", "heard"]


def test_a_padded_cell_is_never_the_top_one():
    padded = np.array([[True, False], [False, False]])
    assert "above all sound at 3-4 s" in sentence(example(padded=padded))


def test_table():
    lines = as_table([example(), example(id="b.mp4")]).splitlines()
    assert lines[0] == "a.mp4" and "b.mp4" in lines
    assert lines[4].split() == ["seconds", *["x", "neutral", "for", "cat", "minus", "dog[s]"] * 2]
    assert lines[5].split() == ["3-4", "2.00", "+0.50", "+0.30", "1.00", "+0.25", "+0.25"]
    assert lines[6].split() == ["4-5", "0.50", "+0.00", "-0.10", "0.50", "+0.25", "+0.75"]
    assert lines[7].split() == ["all", "62", "%", "+0.50", "+0.20", "38", "%", "+0.50", "+1.00"]
    assert lines[8] == "logit of cat: +1.00 from the cells, +0.10 constant, +1.10 together"


def test_json_has_every_number():
    one = example()
    (record,) = json.loads(as_json([one]))
    assert record["id"] == "a.mp4" and record["class"] == "cat" and record["runner_up"] == "dog[s]"
    assert [(cell["second"], cell["modality"]) for cell in record["cells"]] == [
        (0, "video"), (0, "audio"), (1, "video"), (1, "audio"),
    ]  # fmt: skip
    assert record["cells"][3]["minus_runner_up"] == 0.75
    assert record["cells"][2]["start_seconds"] == 4 and record["cells"][2]["end_seconds"] == 5
    for place, values in enumerate(record["classes"].values()):
        assert np.array_equal(
            np.float32(values["contributions"]), table().contributions[..., place]
        )
        total = np.sum(values["contributions"]) + values["constant"]
        assert total == pytest.approx(values["logit"], abs=1e-5)


def test_csv_has_a_line_per_cell():
    padded = np.array([[False, False], [True, True]])
    lines = list(csv.DictReader(io.StringIO(as_csv([example(), example(padded=padded)]))))
    assert len(lines) == 8
    assert lines[1] == {
        "id": "a.mp4", "class": "cat", "runner_up": "dog[s]", "second": "0",
        "start_seconds": "3.0", "end_seconds": "4.0", "modality": "audio", "attention": "0.25",
        "times_neutral": "1.0", "contribution": "0.25", "minus_runner_up": "0.25",
        "padded": "False",
    }  # fmt: skip
    assert [line["padded"] for line in lines[4:]] == ["False", "False", "True", "True"]


def test_rows_by_id():
    rows = [SimpleNamespace(id="test/a.mp4"), SimpleNamespace(id="test/b.mp4")]
    assert named(rows, ["test/b.mp4", "test/b.mp4"], source="x.csv") == rows[1:]
    with pytest.raises(ValueError, match="no clip 'b.mp4' in x.csv. Did you mean 'test/b.mp4'"):
        named(rows, ["b.mp4"], source="x.csv")
    with pytest.raises(ValueError, match="no clip 'zzz' in x.csv. Ids look like 'test/a.mp4'"):
        named(rows, ["zzz"], source="x.csv")


# --- the deletion test --------------------------------------------------------------------------


def test_a_deleted_cell_is_as_if_it_were_not_there():
    """Hiding and not having are the same, for FiLM, attention and sums."""
    predictor, batch = make_predictor(), make_batch()
    found = explain_batch(predictor, batch, method="contributions")
    for index, cells in enumerate(delete_seconds(predictor, batch, found, seed=0)):
        one = found[index].seconds
        assert list(cells) == [EVIDENCE, ATTENTION, RANDOM]
        assert (cells[EVIDENCE].second, one.modalities.index(cells[EVIDENCE].modality)) == one.cell(
            one.difference
        )
        for cell in cells.values():
            masks = {cell.modality: [[1] * SECONDS for _ in range(3)]}
            masks[cell.modality][index][cell.second] = 0
            scores = predictor.logits(make_batch(**masks))[index].softmax(0)
            lost = one.probabilities[one.shown] - float(scores[one.shown])
            assert cell.drop == pytest.approx(lost, abs=1e-6)


def test_the_random_cell_is_real_other_than_the_top_and_the_same_again():
    predictor = make_predictor()
    batch = make_batch(video=[[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]],
                       audio=[[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])  # fmt: skip
    found = explain_batch(predictor, batch, method="contributions")
    seen = set()
    for seed in range(20):
        tested = delete_seconds(predictor, batch, found, seed=seed)
        assert tested == delete_seconds(predictor, batch, found, seed=seed)
        assert tested[0] == {}  # a single cell
        tables = [explanation.seconds for explanation in found]
        for one, cells in zip(tables[1:], tested[1:], strict=True):
            place = cells[RANDOM].second, one.modalities.index(cells[RANDOM].modality)
            assert not one.padded[place] and place != one.cell(one.evidence)
        seen.add((tested[2][RANDOM].second, tested[2][RANDOM].modality))
    assert len(seen) == 3


def test_summary_of_drops_is_paired():
    drops = {EVIDENCE: [0.3, 0.5, 0.4], ATTENTION: [0.1, 0.3, 0.2], RANDOM: [0.1, 0.3, 0.2]}
    tested = [{how: Deleted(0, "video", x[i]) for how, x in drops.items()} for i in range(3)]
    found = summarise([*tested, {}], seed=0)
    assert found["num_clips"] == 3 and found["num_single_cell"] == 1
    assert found["mean_drop"] == pytest.approx({EVIDENCE: 0.4, ATTENTION: 0.2, RANDOM: 0.2})
    assert found["above_random"][EVIDENCE] == pytest.approx({"mean": 0.2, "low": 0.2, "high": 0.2})
    assert found["above_random"][ATTENTION]["mean"] == pytest.approx(0)
    assert summarise([{}], seed=0) == {"num_clips": 0, "num_single_cell": 1}


def a_split(deletion, **columns) -> SplitExplanation:
    values = {
        "id": ["a", "b"], "error": [1e-7, 3e-7], "mostly": ["heard", "alike"],
        "video_share": [0.2, 0.5], "audio_share": [0.8, 0.5],
    }  # fmt: skip
    problem = Problem("c", "c.mp4", "clip", "no header", "dropped")
    lines = pyarrow.table(values | columns).to_pylist()
    return SplitExplanation("contributions", lines, (problem,), deletion=deletion)


def test_a_split_in_words():
    more = {"mean": 0.05, "low": -0.01, "high": 0.1}
    tested = {
        "num_clips": 1,
        "num_single_cell": 1,
        "mean_drop": {EVIDENCE: 0.07, ATTENTION: 0.07, RANDOM: 0.02},
        "above_random": {EVIDENCE: more, ATTENTION: more},
    }
    assert split_text(a_split(tested)).splitlines() == [
        "Attention: pictures 35 %, sound 65 %. Clips: 1 mostly heard, 1 seen and heard alike.",
        "Contributions and constant make up every logit within 3.0e-07 in all 2 clips.",
        "Without a random cell, a clip's class loses 2.0 points of probability.",
        "Without the one that speaks most for its class, 7.0: +5.0 (95 % interval -1.0 to +10.0).",
        "Without the one that has most attention, 7.0: +5.0 (95 % interval -1.0 to +10.0).",
        "Left out, since they have a single cell: 1 clips.",
        "Files with problems: 1; the first: c.mp4: no header",
    ]


def test_shares_of_a_split_are_those_of_clips_with_both_streams():
    nothing = {"num_clips": 0, "num_single_cell": 2}
    one = a_split(nothing, video_share=[0.2, 1.0], audio_share=[0.8, 0.0])
    assert split_text(one).startswith(
        "Attention: pictures 20 %, sound 80 % in the 1 clips with both."
    )
    none = a_split(nothing, video_share=[0.0, 1.0], audio_share=[1.0, 0.0])
    assert split_text(none).startswith("Attention: pictures 50 %, sound 50 %. Clips: ")


def test_a_split_says_what_is_wrong_or_missing():
    nothing = {"num_clips": 0, "num_single_cell": 2}
    text = split_text(a_split(nothing, error=[1e-7, 2e-4]))
    assert "make up every logit only within 2.0e-04, in b: more than 1e-05." in text
    assert "No deletion test: no clip has a second cell." in text
    text = split_text(a_split(nothing, error=[None, None]))
    assert "No contributions: behind its attention this model is not linear." in text


# --- the picture --------------------------------------------------------------------------------


def make_input(*, video: bool = True, audio: bool = True, seconds: int = 2) -> ModelInput:
    """What a model is given: two frames a second, each of one grey; log-mel that rises."""
    frames = 2 * seconds
    grey = torch.linspace(-1, 1, frames)[:, None, None, None].expand(frames, 3, 12, 16)
    sound = torch.arange(100.0 * seconds)[None, :, None].expand(1, 100 * seconds, 8)
    streams = {"video": grey if video else None, "audio": sound if audio else None}
    valid = {"video": torch.ones(frames).bool(), "audio": torch.arange(100 * seconds) < 150}
    return ModelInput(
        row=None, labels="", labels_apart={}, **streams, valid=valid, decoded=valid, times=None,
        starts={}, lengths={}, duration=5.0, clip_window=Window(3.0, 5.0), wrap=False,
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch):
    """The figure, instead of a file."""
    kept = []
    monkeypatch.setattr(pictures, "save_picture", lambda figure, path: kept.append(figure))

    def draw(clip, given, front_end, **options):
        clip = dataclasses.replace(clip, given=given, front_end=front_end)
        timeline_plot("x.png", clip, **options)
        return kept[-1]

    return draw


FRAMES = dataclasses.replace(
    FRONT_END,
    video=dataclasses.replace(FRONT_END.video, mean=(127.5,) * 3, deviation=(127.5,) * 3),
)


def strips(figure) -> list[Axes]:
    """The tables of cells, from top to bottom."""
    return [axes for axes in figure.axes if axes.get_yticks().tolist() == [0.5, 1.5]]


def texts(figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_picture_has_the_clips_own_frames_cells_and_sound(drawn):
    one, seen = example(), make_input()
    figure = drawn(one, seen, FRAMES)
    images = [np.array(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert [image.shape for image in images] == [(12, 16, 3)] * 2 + [(8, 200)]
    grey = ((seen.video[:, 0, 0, 0] + 1) * 127.5).round().tolist()
    assert [image[0, 0, 0] for image in images[:2]] == [grey[1], grey[3]]  # the second of each
    assert np.array_equal(images[2], seen.audio[0].T.numpy())
    attention, contribution, difference = strips(figure)
    for axes, values in (
        (attention, table().times_neutral),
        (contribution, table().contribution),
        (difference, table().difference),
    ):
        cells = {cell.get_xy(): cell.get_facecolor() for cell in axes.patches}
        numbers = {text.get_position(): float(text.get_text()) for text in axes.texts}
        assert len(cells) == len(numbers) == 4
        for (second, k), value in np.ndenumerate(values):
            assert numbers[second + 0.5, k + 0.5] == pytest.approx(value, abs=0.006)
        order = sorted(cells, key=lambda place: values[place])
        assert cells[order[0]] != cells[order[-1]]
    # An even share and no contribution have the middle colour, that of white paper.
    assert min(dict((c.get_xy(), c.get_facecolor()) for c in attention.patches)[0, 1][:3]) > 0.95
    assert min(dict((c.get_xy(), c.get_facecolor()) for c in contribution.patches)[1, 0][:3]) > 0.9
    shown = texts(figure)
    for text in (
        "cat (68.6 %), before dog[s] (22.9 %)",
        "true class dog[s]; a.mp4",
        "seen 62 %",
        "heard 38 %",
        "62 %",
        "for cat: contributions and +0.10 make the logit +1.10",
        "for cat minus dog[s]: contributions and -0.10 make the logit +1.10",
    ):
        assert text in shown
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert ticks == ["3", "4", "5"] and figure.axes[-1].get_xlim() == (0, 2)


def test_colours_say_the_same_in_every_picture(drawn):
    """Attention: a fixed scale around an even share; contributions: by sign."""

    def colours(one, which):
        cells = strips(drawn(one, make_input(), FRAMES))[which].patches
        return {cell.get_xy(): cell.get_facecolor() for cell in cells}

    first = colours(example(), 0)
    other = colours(example(attention=np.array([[0.25, 0.5], [0.125, 0.125]], np.float32)), 0)
    assert first[0, 0] == other[0, 1] and first[0, 1] == other[0, 0]
    red, _, blue, _ = colours(example(), 1)[0, 0]
    assert red > blue
    red, _, blue, _ = colours(example(contributions=-table().contributions), 1)[0, 0]
    assert red < blue


def test_padding_is_hatched_and_its_mass_told(drawn):
    padded = np.array([[False, False], [True, True]])
    one = example(padded=padded)
    figure = drawn(one, make_input(), FRAMES)
    cells = {cell.get_xy(): cell.get_hatch() for cell in strips(figure)[0].patches}
    assert {place for place, hatch in cells.items() if hatch} == {(1, 0), (1, 1)}
    assert "attention (1: an even share); 25.0 % of it is on padding" in texts(figure)
    masked = example(padded=padded, attention=np.array([[0.75, 0.25], [0, 0]], np.float32))
    figure = drawn(masked, make_input(), FRAMES)
    assert "attention (1: an even share)" in texts(figure)
    assert len(strips(figure)[0].texts) == 2  # numbers only where there is something
    (hatched,) = [patch for patch in figure.axes[-1].patches]
    assert hatched.get_x() == pytest.approx(1.5) and hatched.get_hatch()  # of 1.5 s of sound


def test_absent_streams_and_the_event_are_drawn(drawn):
    mute = example(padded=np.array([[False, True]] * 2))
    figure = drawn(mute, make_input(audio=False), FRAMES, event=(3.5, 4.0))
    assert {"no sound", "event"} <= set(texts(figure))
    (bar,) = [axes.patches[0] for axes in figure.axes if len(axes.patches) == 1]
    assert (bar.get_x(), bar.get_width()) == (0.5, 0.5)
    blind = example(padded=np.array([[True, False]] * 2))
    assert "no pictures" in texts(drawn(blind, make_input(video=False), FRAMES))
    alone = example(
        modalities=("video",),
        attention=np.array([[0.5], [0.5]], np.float32),
        contributions=table().contributions[:, :1],
        padded=np.zeros((2, 1), bool),
    )
    assert "this model does not listen" in texts(drawn(alone, make_input(audio=False), FRAMES))


def test_many_seconds_share_frames_and_have_no_numbers(drawn):
    count = 30
    contributions = np.zeros((count, 2, 3), np.float32)
    one = example(
        attention=np.full((count, 2), 1 / 60, np.float32),
        contributions=contributions,
        padded=np.zeros((count, 2), bool),
        starts=np.arange(count, dtype=float),
    )
    figure = drawn(one, make_input(seconds=count), FRAMES)
    assert len([axes for axes in figure.axes if axes.images]) == count // 2 + 1
    assert not strips(figure)[0].texts and len(strips(figure)[0].patches) == 2 * count
    assert len(figure.axes[-1].get_xticks()) == 11


def test_samples_are_drawn_as_a_line(drawn):
    audio = AudioFrontEnd(num_frames=200, num_mels=8, spectrum="waveform")
    figure = drawn(example(), make_input(), dataclasses.replace(FRAMES, audio=audio))
    line = figure.axes[-1].lines[0]
    assert len(line.get_ydata()) == 1600 and line.get_ydata()[-1] == 199


def test_the_picture_is_written(tmp_path):
    clip = example(id="a$x_1$.mp4", given=make_input(), front_end=FRAMES)
    path = timeline_plot(tmp_path / "new" / "x.png", clip)
    assert imread(path).std() > 0.05
    assert [file.name for file in path.parent.iterdir()] == ["x.png"]
