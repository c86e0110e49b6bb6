"""`sightsound report`: the page, in a browser and out of it, for every kind of run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import browser
from matplotlib.image import imread, imsave
from report_files import BOTH, HEARD, SEEN, Tables, save_model, write_run
from stand_in_encoders import stand_in

from sightsound import cli
from sightsound.config.load import config_text, load_config
from sightsound.data.synthetic import write_demo
from sightsound.media.reader import FileReader
from sightsound.report.page import report
from sightsound.train.loop import train

WORDS = [f"class <{k}>" for k in range(3)]


@pytest.fixture(scope="module", autouse=True)
def no_decoding_process():
    """Clips are read here: a process for each reader would take a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightsound.data.dataset.open_reader", lambda *_, **__: FileReader())
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "videos"
    write_demo(folder, num_train=8, num_val=8, num_test=16, workers=1)
    return folder


def save_run(folder: Path, clips: Path, *streams: str) -> Path:
    """An untrained model with the configuration of a run on `clips`."""
    labels = {"label": json.loads((clips / "labels.json").read_text())}
    save_model(folder, labels, "single", *streams)
    quick = {"evaluate.bootstrap": 20, "data.path": str(clips), "seed": 3, "output": str(folder)}
    (folder / "config.yaml").write_text(config_text(load_config("demo", overrides=quick)))
    return folder


@pytest.fixture(scope="module")
def run(clips, tmp_path_factory) -> Path:
    """What `train` leaves, but for the training: a model, a log, the environment."""
    folder = save_run(tmp_path_factory.mktemp("runs") / "a", clips)
    steps = [{"kind": "step", "step": k, "loss": 2.0 / (k + 1)} for k in range(30)]
    checks = [{"kind": "validation", "step": k, "num_clips": 8, "top1": k / 40} for k in (9, 29)]
    lines = [json.dumps(line) for line in (*steps, *checks)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"kind": "st')
    command = ["/usr/bin/sightsound", "train", "my videos", "--seed", "3"]
    known = {"command": command, "commit": "abc", "gpu": None, "cpu_count": 2, "python": "3.11"}
    known |= {"packages": {"sightsound": "0.1.0"}, "platform": "Linux"}
    (folder / "environment.json").write_text(json.dumps(known))
    return folder


@pytest.fixture(scope="module")
def page(run) -> Path:
    """With players and two pictures of other commands, evaluated first."""
    (run / "probe").mkdir()
    imsave(run / "probe" / "a picture.png", np.zeros((4, 4)))
    (run / "probe" / "probe results.csv").write_text("a,b\n")
    said = {"checks": [{"sentence": "It needs <sound>."}]}
    (run / "probe" / "probe.json").write_text(json.dumps(said))
    known = {"figures": run / "figures", "command": [str(run), "--players"]}
    return report(run, players=True, **known)


def words_of(page: Path) -> str:
    return " ".join(page.read_text(encoding="utf-8").split())


def test_the_page_is_evaluated_first_and_then_read(run, page):
    assert page == run / "report.html"
    assert (run / "evaluation" / "predictions.parquet").is_file()
    found = Tables(page)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert found.numbers["scores"][BOTH] == summary["rows"][BOTH]
    assert summary["verdict"] in found.text
    assert found.tables["validation-table"][1:] == [["10", "22.5"], ["30", "72.5"]]


def test_the_page_says_where_it_comes_from(run, clips, page):
    text = words_of(page)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    for part in (
        f"<dt>clips</dt><dd>16, ids {summary['ids']}</dd>",
        f"<dt>data</dt><dd>{clips / 'manifest.csv'}, split test</dd>",
        "<dt>front end</dt><dd>tiny-",
        "<dt>commit</dt><dd>abc</dd>",
        "<dt>files with problems</dt><dd>0</dd>",
        "<dt>hardware</dt><dd>2 CPU cores, Python 3.11, Linux</dd>",
        "sightsound train &#39;my videos&#39; --seed 3",
        f"sightsound evaluate {run} {clips / 'manifest.csv'} --views=1",
        "<dt>seed</dt><dd>3</dd>",
        "<dt>decoder</dt><dd>pyav</dd>",
        f"sightsound report {run} --players</pre>",
    ):
        assert part in text


def test_the_page_holds_everything(page):
    found = Tables(page)
    sources = [(tag, values["src"]) for tag, values in found.attributes if "src" in values]
    assert all(source.startswith("data:") for _, source in sources)
    kinds = {(tag, source[: source.index(";")]) for tag, source in sources}
    picture, drawing, film = "data:image/jpeg", "data:image/svg+xml", "data:video/mp4"
    assert kinds == {("img", picture), ("img", drawing), ("video", film), ("img", "data:image/png")}
    assert all("alt" in values for tag, values in found.attributes if tag == "img")
    assert all("scope" in values for tag, values in found.attributes if tag == "th")
    links = [values["href"] for tag, values in found.attributes if tag == "a"]
    assert "probe/probe%20results.csv" in links and "It needs <sound>." in found.text
    targets = {values.get("id") for _, values in found.attributes}
    assert all(link[1:] in targets for link in links if link.startswith("#"))
    assert page.stat().st_size < 3_000_000


def test_in_a_browser(page, tmp_path):
    """No error, no request, tables sort by mouse and keyboard, and it fits on a phone."""
    with browser(tmp_path) as tab:
        tab.resize(1280, 900)
        tab.open(page)
        assert tab.run("document.title") == "a"
        rows = "[...document.querySelectorAll('#class-table tbody tr')]"
        cells = f"{rows}.map(row => row.cells[%d].innerText)"
        head = "document.querySelectorAll('#class-table th button')[%d]"
        names, scores = tab.run(cells % 0), [float(cell) for cell in tab.run(cells % 2)]
        tab.run(f"{head % 2}.click()")
        assert [float(cell) for cell in tab.run(cells % 2)] == sorted(scores, reverse=True)
        assert tab.run("document.querySelector('#class-table [aria-sort]').cellIndex") == 2
        tab.run(f"{head % 0}.focus()")
        tab.press("Enter", 13, text="\r")
        assert tab.run(cells % 0) == sorted(names) != names
        tab.press("Enter", 13, text="\r")
        assert tab.run(cells % 0) == sorted(names, reverse=True)
        tab.run("document.getElementById('filter').focus()")
        tab.ask("Input.insertText", text="CHIRP")
        assert tab.run(f"{rows}.filter(row => !row.hidden).length") == 2
        assert tab.run("document.getElementById('filter-count').innerText") == "2 of 8"
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert tab.run(broken) == 0
        tab.resize(360, 740)
        assert tab.run("document.documentElement.scrollWidth") == 360
        tab.darken()
        assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 23, 28)"
        tab.paper(tmp_path / "page.pdf")
        assert (tmp_path / "page.pdf").stat().st_size > 20_000
        assert tab.complaints() == []
        assert tab.requests() == [page.resolve().as_uri()]


def test_figures_are_written_apart(run, page):
    names = {path.name for path in (run / "figures").iterdir()}
    stems = "classes gain_over_audio gain_over_video modalities confusion calibration curves "
    stems += "tsne_audio tsne_video tsne_fused"
    assert names == {f"{stem}.{kind}" for stem in stems.split() for kind in ("png", "svg")}
    assert imread(run / "figures" / "classes.png").std() > 0.05


def test_clips_that_are_gone(tmp_path):
    run = write_run(tmp_path / "run", labels={"label": WORDS})
    text = words_of(report(run))
    assert f"The clips are no longer at {run / 'gone.csv'}: there are no pictures" in text
    assert "the clip is not here" in text and "Embedding" not in text and "Training" not in text
    assert "class &lt;0&gt;" in text and "class <0>" not in text
    (run / "gone.csv").mkdir()  # as where a disk is not there
    said = []
    text = words_of(report(run, say=said.append))
    assert f"The clips are no longer at {run / 'gone.csv'}" in text
    assert said[0].startswith(f"a page without clips: no clips in '{run / 'gone.csv'}'")


def test_one_stream(tmp_path):
    run = write_run(tmp_path / "run", labels={"label": WORDS}, rows=("audio",))
    found = Tables(report(run))
    assert list(found.numbers["scores"]) == ["audio"]
    assert found.numbers["against"] == {} and found.numbers["modality_confusion"] is None
    assert "paired-table" not in found.tables and len(found.tables["class-table"]) == 4
    assert list(found.numbers["clips"]) == ["mistakes"]


def test_many_classes_of_one_clip_each(tmp_path):
    names = [f"a rather long name of class number {k}" for k in range(309)]
    run = write_run(tmp_path / "run", labels={"label": names}, num_clips=309, bootstrap=0)
    page = report(run)
    found = Tables(page)
    assert len(found.tables["class-table"]) == 310
    assert not any("map_low" in values for values in found.numbers["scores"].values())
    assert found.numbers["against"][HEARD]["low"] < found.numbers["against"][HEARD]["high"]
    assert page.stat().st_size < 2_000_000


def test_one_clip(tmp_path):
    run = write_run(tmp_path / "run", labels={"label": WORDS}, num_clips=1)
    found = Tables(report(run, output=tmp_path / "new" / "one.html"))
    assert found.numbers["num_clips"] == 1
    assert (tmp_path / "new" / "one.html").is_file() and not (run / "report.html").exists()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", labels={"label": WORDS})
    assert cli.main(["report", "run"]) == 0
    assert capsys.readouterr().out == "The page: run/report.html\n"
    assert "sightsound report run</pre>" in words_of(tmp_path / "run" / "report.html")
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")] == []
    assert cli.main(["report", "run", "--num_workers=-1"]) == 2
    assert "--num_workers is -1; accepted: 0 or more" in capsys.readouterr().err
    for place in (["--output", "."], ["--output", "run"]):
        assert cli.main(["report", "run", *place]) == 2
        assert f"'{place[1]}' is a folder; name the page, such as" in capsys.readouterr().err
    assert cli.main(["report", "run", "--figures", "run/report.html"]) == 2
    assert "'run/report.html' is no folder; name another one" in capsys.readouterr().err
    assert cli.main(["report", "run", "nowhere"]) == 2
    assert "no such file or folder: 'nowhere'" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run" / "evaluation")
    assert cli.main(["report", "run"]) == 2
    assert "'run' belongs to no run that names its data; add a folder" in capsys.readouterr().err


def test_late_models_take_the_place_of_the_average(tmp_path, clips):
    for name, streams in (("both", ()), ("audio", ("audio",)), ("video", ("video",))):
        save_run(tmp_path / name, clips, *streams)
    late = [str(tmp_path / name) for name in ("audio", "video")]
    found = Tables(report(tmp_path / "both", late=late))
    rows = [BOTH, HEARD, SEEN, "audio model", "video model", "average of both models"]
    assert list(found.numbers["scores"]) == rows
    assert "What fusion adds to the audio model" in words_of(tmp_path / "both" / "report.html")
    assert "--late AUDIO_MODEL VIDEO_MODEL" in words_of(tmp_path / "both" / "report.html")


def test_a_model_of_features(tmp_path, clips, monkeypatch):
    stand_in(monkeypatch, small=True)
    given = {"data.path": str(clips), "output": str(tmp_path / "runs" / "a"), "train.steps": 2}
    given |= {"front_end.features.segments": 2, "front_end.video.short_side": 32}
    given |= {"model.width": 16, "data.num_workers": 0, "train.batch_size": 8}
    run = train(load_config("mafnet/first", overrides=given | {"evaluate.bootstrap": 20}))
    text = words_of(report(run))
    for part in ("Clips by their sound, before fusion", "<dt>model</dt><dd>mafnet, ", "train"):
        assert part in text


def test_a_model_of_sound_has_one_embedding(tmp_path, clips):
    page = report(save_run(tmp_path / "audio", clips, "audio"), players=True)
    text = words_of(page)
    assert "Clips before the classifier" in text and "before fusion" not in text
    assert [tag for tag, _ in Tables(page).attributes].count("video") > 0
