"""Without labels: pre-train, go on with labels, probe, index and search, by the commands."""

import csv
import dataclasses
import json
import re
import shutil
import wave
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from torch import nn

from sightsound.cli import main
from sightsound.data.loader import collate
from sightsound.data.synthetic import plan, write_clip, write_demo
from sightsound.media.encode import write_video
from sightsound.objectives.audio_visual.objective import AudioVisual
from sightsound.retrieval.embedding import Embedder
from sightsound.retrieval.index import build_index, indexable, open_index
from sightsound.retrieval.search import search as find
from sightsound.train import loop
from sightsound.train.log import RunLog

TINY = """
model:
  name: avt
  video_options: {widths: [8, 8, 16, 16], depths: [1, 1, 1, 1], head_width: 8}
  audio_options: {width: 16, num_heads: 2, depth: 1, patch: [20, 16], stride: [20, 16]}
  num_heads: 2
  fusion_depth: 1
  stochastic_depth: 0.3
front_end:
  name: mbt
  audio: {num_frames: 200, num_mels: 64}
  video: {num_frames: 2, window_seconds: 2.0, height: 32, width: 32, short_side: 32}
data: {num_workers: 0}
objective: {name: avt, embedding_width: 16, num_segments: 8}
train: {steps: 4, batch_size: 6, learning_rate: 0.01, evaluate_every: 1}
evaluate: {views: 1, batch_size: 4}
"""
SPLITS = ["--data.val_fraction", "0.2", "--data.test_fraction", "0.2"]


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def refused(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Twenty clips in any nesting."""
    folder = tmp_path_factory.mktemp("videos")
    places = ("", "trip/", "trip/day/two/")
    for number, clip in enumerate(plan("demo", numbers={"any": 20}, seed=3)):
        path = f"{places[number % 3]}{number}.mp4"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_clip(dataclasses.replace(clip, path=path), folder)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    write_demo(folder, num_train=12, num_val=8, num_test=8, seed=0)
    return folder


@pytest.fixture(scope="module")
def pretrained(videos, recipe, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "pre"
    run("pretrain", videos, "--config", recipe, *SPLITS, "--output", output)
    return output


@pytest.fixture(scope="module")
def index(pretrained, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("index") / "index"
    run("index", pretrained, "--output", output, "--num_workers", 0)
    return output


def lines(folder: Path, kind: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def steps(folder: Path) -> list[dict]:
    timings = {"clips_per_second", "data_wait"}
    return [{k: v for k, v in line.items() if k not in timings} for line in lines(folder, "step")]


def test_the_run_of_a_pretraining(pretrained):
    (*_, last) = lines(pretrained, "validation")
    assert {"loss", "contrastive", "matching", "masked", "matching_accuracy"} <= last.keys()
    assert "classification" not in last and "top1" not in last
    assert last["num_pairs"] == 4
    for key in ("audio_to_video_r1", "video_to_audio_r5"):
        assert 0 <= last[key] <= 1
    seen = {int(v) for name, v in weights(pretrained).items() if "num_batches" in name}
    assert seen == {4}  # steps: validation leaves statistics alone
    info = json.loads((pretrained / "model" / "config.json").read_text())
    assert (info["task"], info["labels"], info["model"]["heads"]) == (
        "none",
        {"label": []},
        {"label": 1},
    )
    assert info["provenance"]["val_loss"] == min(v["loss"] for v in lines(pretrained, "validation"))
    card = (pretrained / "model" / "README.md").read_text()
    assert "None: it was pre-trained without labels." in card
    log = (pretrained / "log.txt").read_text()
    assert "12 training clips without labels" in log
    assert re.search(r"epoch 1: loss \S+, sound finds pictures R@1 \S+% R@5 \S+%, pictures", log)


@pytest.fixture
def stopped(monkeypatch):
    """Runs a command that is interrupted in its fourth step, then goes on with it."""
    step = RunLog.step

    def stop(self, number, values):
        if number == 3:
            raise KeyboardInterrupt
        step(self, number, values)

    def runs(name: str, *arguments: object, output: Path) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(RunLog, "step", stop)
            assert main([name, *map(str, arguments), "--output", str(output)]) == 130
        run(name, "--output", output, "--resume")
        return output

    return runs


def weights(folder: Path, name: str = "model") -> dict:
    (checkpoint,) = (folder / "checkpoints").glob("step_*")
    return load_file(checkpoint / f"{name}.safetensors")


@pytest.fixture
def happenings(monkeypatch) -> list[str]:
    """What a run does, one after another: modes of objective and model, and means over processes.

    The statistics of several processes must be averaged before they are used or saved.
    """
    forward, found = AudioVisual.forward, []

    def note(what: str) -> None:
        if found[-1:] != [what]:
            found.append(what)

    def noted(self, model, *arguments, **options):
        note({(True, True): "trains", (False, False): "validates"}[self.training, model.training])
        return forward(self, model, *arguments, **options)

    monkeypatch.setattr(AudioVisual, "forward", noted)
    monkeypatch.setattr(loop, "average_statistics", lambda *_: note("averages"))
    return found


def test_stopped_and_resumed_equals_uninterrupted(
    videos, recipe, pretrained, tmp_path, stopped, happenings
):
    again = stopped("pretrain", videos, "--config", recipe, *SPLITS, output=tmp_path / "a")
    assert steps(again) == steps(pretrained)
    for name in ("model", "objective"):
        ours, theirs = weights(again, name), weights(pretrained, name)
        assert all(ours[key].equal(theirs[key]) for key in theirs)
    ours, theirs = (load_file(each / "objective.safetensors") for each in (again, pretrained))
    assert all(ours[key].equal(theirs[key]) for key in theirs)
    assert happenings == ["trains", "averages", "validates"] * 2


def test_shards_without_labels(videos, recipe, tmp_path):
    shards = tmp_path / "shards"
    run("prepare", videos, "--task", "none", "--output", shards, "--num_workers", 1)
    output = tmp_path / "run"
    options = ["--config", recipe, *SPLITS, "--train.steps", 1, "--output", output]
    run("pretrain", shards, *options)
    assert "12 training clips without labels" in (output / "log.txt").read_text()


def test_any_recipe_does(labelled, tmp_path, capsys):
    """One of training: its objective is replaced; labels are not read."""
    run("pretrain", labelled, "--config", "first", "--print_config", "--objective.temperature", 0.1)
    config = capsys.readouterr().out
    assert "name: avt" in config and "classification_weight: 0.0" in config
    assert "temperature: 0.1" in config and "task: none" in config
    message = refused(capsys, "pretrain", "--config", "first")
    assert "no data given: name a folder of videos or a table" in message
    start = ["pretrain", labelled, "--config", "first", "--output", tmp_path]
    assert "but pretrain reads no labels" in refused(capsys, *start, "--data.task", "single")
    message = refused(capsys, *start, "--objective.classification_weight", "1")
    assert "there are no labels to learn from" in message
    message = refused(capsys, "train", labelled, "--config", "first", "--data.task", "none")
    assert "training needs labels" in message and "'sightsound pretrain'" in message
    message = refused(capsys, *start, "--train.overfit", 4)
    assert "--train.overfit is a test with labels" in message
    message = refused(capsys, *start, "--train.head_only", "true")
    assert "--train.head_only trains the classifier alone, but there are no labels" in message


@pytest.mark.parametrize("command", ["evaluate MODEL", "predict FILE --model MODEL"])
def test_a_model_without_classes(pretrained, videos, capsys, command):
    words = {"MODEL": pretrained, "FILE": videos / "0.mp4"}
    message = refused(capsys, *(words.get(word, word) for word in command.split()))
    assert f"{pretrained} was pre-trained without labels and knows no classes: train it" in message
    assert f"'sightsound train DATA --init {pretrained}'" in message


def test_going_on_with_labels(pretrained, labelled, tmp_path, capsys):
    """Everything but the classifier is taken over; the model is that of the run."""
    output = tmp_path / "tuned"
    small = ["--train.steps", 1, "--train.batch_size", 6, "--data.num_workers", 0]
    run("train", labelled, "--init", pretrained, *small, "--output", output)
    log = (output / "log.txt").read_text()
    assert "not taken over: head.weight (other classes)" in log
    assert "not taken over: head.bias (other classes)" in log
    assert log.count("not taken over") == 2 and "front end differs" not in log
    run("evaluate", output, "--num_workers", 0, "--bootstrap", 0)


@pytest.fixture(scope="module")
def probed(pretrained, labelled, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("probed") / "run"
    run("train", labelled, *PROBE, "--init", pretrained, "--output", output)
    return output


PROBE = ["--train.head_only", "true", "--train.epochs", 3, "--train.batch_size", 6]
PROBE += ["--train.learning_rate", 0.02, "--train.warmup", 0, "--augment.flip", 0]
PROBE += ["--data.num_workers", 0, "--data.windows", "centre", "--data.crop", "full"]
PROBE += ["--data.cache", "true", "--evaluate.views", 1]


def test_a_linear_probe_trains_the_classifier_alone(pretrained, probed):
    """Weights and running statistics stay as they are to the bit."""
    before = load_file(pretrained / "model" / "model.safetensors")
    after = weights(probed)
    assert any("running_mean" in name for name in before)
    moved = {name for name in after if not (name in before and after[name].equal(before[name]))}
    assert moved == {"head.weight", "head.bias"}
    losses = [line["loss"] for line in lines(probed, "step")]
    assert sum(losses[-2:]) < sum(losses[:2])
    assert "frozen: " in (probed / "log.txt").read_text()


def test_a_probe_resumes(pretrained, labelled, probed, tmp_path, stopped):
    again = stopped("train", labelled, *PROBE, "--init", pretrained, output=tmp_path / "a")
    assert steps(again) == steps(probed)
    assert all(weights(again)[name].equal(each) for name, each in weights(probed).items())


def test_an_index_on_disk(index, pretrained, videos, monkeypatch):
    about = json.loads((index / "index.json").read_text())
    embedder = Embedder(pretrained)
    assert about["model"] == embedder.hash and about["run"] == str(pretrained)
    assert about["front_end"] == embedder.predictor.front_end.id
    assert about["scores"]["num_pairs"] == 8  # val and test, not what was trained on
    table = pyarrow.parquet.read_table(index / "clips.parquet").to_pylist()
    assert {row["id"] for row in table} == {
        str(path.relative_to(videos)) for path in videos.rglob("*.mp4")
    }
    stored = load_arrays(index / "embeddings.safetensors")
    place = next(place for place, row in enumerate(table) if row["id"] == "0.mp4")
    (clip,) = embedder.predictor.clips(videos / "0.mp4", views=1)
    found = embedder(collate([clip]))
    for name, values in stored.items():
        assert values.shape == (20, 16) and values.dtype == np.float32
        np.testing.assert_allclose(values[place], found[name][0].numpy(), atol=1e-5)
    assert not [path for path in index.parent.iterdir() if path != index]
    monkeypatch.setattr("sightsound.retrieval.index.AT_ONCE", 7)
    similarities = open_index(index).similarities(stored["video"][3], "audio")
    np.testing.assert_allclose(similarities, stored["audio"] @ stored["video"][3], atol=1e-6)


def test_files_it_was_trained_on_are_known_in_other_data(pretrained, videos, tmp_path, monkeypatch):
    """By whatever way and in whatever pieces; the index may then be used from anywhere."""
    embedder = Embedder(pretrained)
    own = embedder.predictor.manifest()
    one, other = own.split("train")[0], own.split("test")[0]
    (tmp_path / "link").symlink_to(videos)
    cells = [f"link/{one.id},0,1", f"link/{one.id},1,2", f"link/{other.id},0,1"]
    (tmp_path / "pieces.csv").write_text("\n".join(["path,start_seconds,end_seconds", *cells]))
    monkeypatch.chdir(tmp_path)
    _, rows, trained = indexable(embedder, "pieces.csv", split=None, bad_files="error")
    assert trained == [True, True, False]
    assert all(row.path.is_absolute() for row in rows)
    monkeypatch.setattr(embedder.config.data, "path", str(tmp_path / "gone"))
    _, _, trained = indexable(embedder, "pieces.csv", split=None, bad_files="error")
    assert trained == [False] * 3


def search(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    run("search", *arguments, "--format", "json")
    return json.loads(capsys.readouterr().out)


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, int(16000 * seconds)).astype(np.float32)


def test_search(index, videos, tmp_path, capsys):
    query = videos / "0.mp4"
    found = search(capsys, query, index, "--top", 20)
    assert (found["by"], found["within"], found["num_clips"]) == ("video", "audio", 20)
    similarities = [hit["similarity"] for hit in found["hits"]]
    assert similarities == sorted(similarities, reverse=True) and len(similarities) == 20
    assert [hit["id"] for hit in found["hits"] if hit["is_query"]] == ["0.mp4"]
    alike = search(capsys, query, index, "--by", "audio", "--in", "audio", "--top", 1)
    assert (alike["hits"][0]["id"], alike["hits"][0]["similarity"]) == ("0.mp4", 1.0)
    sound = search(capsys, write_wav(tmp_path / "noise.wav", noise(2)), index)
    assert (sound["by"], sound["within"]) == ("audio", "video")
    run("search", query, index, "--top", 20)
    text = capsys.readouterr().out
    assert text.startswith(f"by the pictures of {query}, in the sound of 20 clips:")
    assert text.count("(the query itself)") == 1
    run("search", query, index, "--format", "csv", "--top", 3)
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]


def test_clips_of_one_stream_are_indexed_by_that_one(pretrained, tmp_path, capsys):
    """Also spans of longer files, from a table without labels."""
    write_wav(tmp_path / "sound.wav", noise(6))
    frames = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), np.uint8)
    write_video(tmp_path / "mute.mp4", frames, frames_per_second=8, waveform=None)
    (tmp_path / "clips.csv").write_text(
        "path,start_seconds,end_seconds\nmute.mp4,,\nsound.wav,0,2\nsound.wav,2,5\n"
    )
    index = tmp_path / "index"
    options = ["--output", index, "--num_workers", 0, "--views", 3]
    run("index", pretrained, tmp_path / "clips.csv", *options)
    text = capsys.readouterr().out
    assert "3 clips in" in text and "0 of them with both streams" in text
    assert "no clip has both streams: nothing to score" in text
    table = pyarrow.parquet.read_table(index / "clips.parquet").to_pylist()
    assert [(row["video"], row["audio"]) for row in table] == [(True, False)] + [(False, True)] * 2
    lengths = np.linalg.norm(load_arrays(index / "embeddings.safetensors")["audio"], axis=1)
    np.testing.assert_allclose(lengths, [0, 1, 1], atol=1e-6)
    found = search(capsys, tmp_path / "mute.mp4", index)
    assert found["num_clips"] == 2
    assert {(hit["start_seconds"], hit["end_seconds"]) for hit in found["hits"]} == {(0, 2), (2, 5)}
    run("search", tmp_path / "sound.wav", index, "--in", "audio")
    text = capsys.readouterr().out
    assert "sound.wav#2  2 s to 5 s  (the query itself)" in text
    message = refused(capsys, "search", tmp_path / "mute.mp4", index, "--by", "audio")
    assert "has no sound to search by; take --by video" in message
    silent = tmp_path / "silent.csv"
    silent.write_text("path\nmute.mp4\n")
    run("index", pretrained, silent, "--output", tmp_path / "silent", "--num_workers", 0)
    message = refused(capsys, "search", tmp_path / "mute.mp4", tmp_path / "silent")
    assert "has sound; take --in video" in message


def test_a_long_file_is_the_mean_of_its_views(pretrained, tmp_path):
    """In the index and as the query."""
    sound = write_wav(tmp_path / "sound.wav", np.linspace(0, 1, 96000) * noise(6))
    (tmp_path / "clips.csv").write_text("path\nsound.wav\n")
    embedder = Embedder(pretrained)
    views = embedder(collate(embedder.predictor.clips(sound, views=3)))["audio"]
    wanted = nn.functional.normalize(views.mean(0), dim=0).numpy()
    assert len(views) == 3 and not np.allclose(views[0], wanted, atol=1e-4)
    assert not np.allclose(views[-1], wanted, atol=1e-4)
    table, index = str(tmp_path / "clips.csv"), tmp_path / "index"
    manifest, rows, _ = indexable(embedder, table, split=None, bad_files="error")
    clips = embedder.predictor.dataset(manifest, rows, views=3)
    made, _ = build_index(embedder, clips, index, source=manifest.source)
    (stored,) = load_arrays(index / "embeddings.safetensors")["audio"]
    np.testing.assert_allclose(stored, wanted, atol=1e-5)
    (hit,) = find(made, embedder, sound, within="audio").hits
    assert hit.similarity == 1.0 and hit.is_query


def test_an_index_and_its_model_belong_together(index, pretrained, videos, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(index, tmp_path / "index")
    shutil.copytree(pretrained, moved)
    about = json.loads((tmp_path / "index" / "index.json").read_text())
    about["run"] = str(tmp_path / "gone")
    (tmp_path / "index" / "index.json").write_text(json.dumps(about))
    start = ["search", videos / "0.mp4", tmp_path / "index"]
    assert "is not at" in (message := refused(capsys, *start)) and "--run" in message
    run(*start, "--run", moved)
    model = moved / "model" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-4] + b"\0\0\0\1")
    message = refused(capsys, *start, "--run", moved)
    assert "was made with another model than" in message and "make it again" in message
    about["front_end"] = "mbt-else"
    about["model"] = Embedder(moved).hash
    (tmp_path / "index" / "index.json").write_text(json.dumps(about))
    assert "another front end than" in refused(capsys, *start, "--run", moved)


def test_runs_that_cannot_be_searched(pretrained, probed, tmp_path, capsys):
    start = ["--output", tmp_path / "index", "--num_workers", 0]
    message = refused(capsys, "index", probed, *start)
    assert "was trained without a contrastive loss" in message
    run_copy = tmp_path / "run"
    shutil.copytree(pretrained, run_copy)
    shutil.copytree(pretrained / "model", tmp_path / "alone" / "model")
    message = refused(capsys, "index", tmp_path / "alone" / "model", *start)
    assert "is a model without its run" in message
    config = run_copy / "config.yaml"
    config.write_text(config.read_text().replace("embedding_width: 16", "embedding_width: 8"))
    message = refused(capsys, "index", run_copy, *start)
    assert "does not fit the objective" in message and "contrastive.heads.audio" in message
    config.write_text(config.read_text().replace("embedding_width: 8", "embedding_width: 16"))
    info = run_copy / "model" / "config.json"
    info.write_text(re.sub(r'"step": \d+', '"step": 99', info.read_text()))
    message = refused(capsys, "index", run_copy, *start)
    assert "the model beside it after step 99: the run was stopped between the two" in message
    (run_copy / "objective.safetensors").unlink()
    assert "is missing, the layers that compare" in refused(capsys, "index", run_copy, *start)
    message = refused(capsys, "index", pretrained, "--split", "tests", *start)
    assert "unknown split 'tests'" in message
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "file").touch()
    assert "is there already; remove it" in refused(capsys, "index", pretrained, *start)


def test_a_file_that_cannot_be_read_is_named(pretrained, tmp_path, capsys):
    write_wav(tmp_path / "sound.wav", noise(2))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    options = ["--output", tmp_path / "index", "--num_workers", 0, "--bad_files", "drop"]
    run("index", pretrained, tmp_path, *options)
    text = capsys.readouterr().out
    assert text.startswith("1 clips in ")
    assert f"problems with files: 1, such as {tmp_path / 'bad.mp4'}: Invalid data" in text


def test_an_index_is_whole_or_absent(pretrained, tmp_path):
    embedder = Embedder(pretrained)
    manifest = embedder.predictor.manifest()
    clips = embedder.predictor.dataset(manifest, manifest.rows, views=1)

    def interrupted(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(
            embedder, clips, tmp_path / "index", source=manifest.source, progress=interrupted
        )
    assert not list(tmp_path.iterdir())


def test_a_model_of_both_labels_and_pairs_is_searched_too(labelled, recipe, tmp_path, capsys):
    """Labels and contrastive loss together: train, then index and search."""
    run("train", labelled, "--config", recipe, "--train.steps", 2, "--output", tmp_path / "run")
    index = tmp_path / "index"
    run("index", tmp_path / "run", "--split", "test", "--output", index, "--num_workers", 0)
    assert "Scored on 8 clips that the model was not trained on:" in capsys.readouterr().out
