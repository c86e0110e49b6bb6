import io
import json

from rich.console import Console

from sightsound.train.log import RunLog
from sightsound.types import Problem

VALUES = {"loss": 1.0, "clips_per_second": 10.0, "data_wait": 0.1, "learning_rate": 0.01}


def make_log(directory, *, first_step: int = 0) -> RunLog:
    console = Console(file=io.StringIO())
    return RunLog(directory, total=5, first_step=first_step, console=console)


def test_resuming_cuts_steps_that_are_done_again_and_a_torn_line(tmp_path):
    with make_log(tmp_path) as log:
        for step in range(4):
            log.step(step, VALUES)
        log.validation(2, {"top1": 0.5})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    with make_log(tmp_path, first_step=2) as log:
        log.step(2, VALUES)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = [(line["kind"], line["step"]) for line in lines]
    assert found == [("step", 0), ("step", 1), ("validation", 1), ("step", 2)]


def test_problems_are_counted_once_and_survive_an_interruption(tmp_path):
    first = Problem("a", "a.mp4", "clip", "not a video", "dropped")
    with make_log(tmp_path) as log:
        log.problems([first, first])
        assert log.num_problems == 1
    with make_log(tmp_path) as log:
        log.problems([first, Problem("b", "b, c.mp4", "audio", "damaged", "masked")])
        assert log.num_problems == 2
    assert len((tmp_path / "problems.csv").read_text().splitlines()) == 3


def test_without_a_terminal_a_line_comes_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("sightsound.train.log._SILENCE_SECONDS", 0)
    with make_log(tmp_path) as log:
        log.step(0, VALUES)
    assert "step 1 of 5: loss 1.000  lr 1.0e-02  10 clips/s" in (tmp_path / "log.txt").read_text()


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make_log(None) as log:
        log.step(0, VALUES)
        log.problems([Problem("a", "a.mp4", "clip", "not a video", "dropped")])
    assert not list(tmp_path.iterdir())
