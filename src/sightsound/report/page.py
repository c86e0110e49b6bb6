"""One HTML file about a run: scores, classes, clips, figures, and where it all comes from.

Whatever a run lacks (a second stream, a log, its clips) is left out; where it is the clips, the
page says so.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sightsound.build import model_source
from sightsound.data.rows import Manifest, Row
from sightsound.evaluation.evaluate import evaluate_saved
from sightsound.evaluation.results import (
    TABLE,
    Evaluation,
    read_evaluation,
    read_summary,
    score_words,
    shown_scores,
)
from sightsound.figures.clips import save_picture
from sightsound.figures.curves import read_metrics
from sightsound.figures.style import WIDTH_INCHES, as_svg
from sightsound.files import write_whole
from sightsound.library_errors import read_object
from sightsound.pages.write import write_page
from sightsound.predict import Predictor
from sightsound.report.clips import media_of
from sightsound.report.embedding import on_the_plane, vectors
from sightsound.report.numbers import CLASS_SCORE, numbers, with_average
from sightsound.report.pictures import (
    CLASS_WORDS,
    Drawing,
    calibration_drawings,
    check_names,
    class_drawings,
    curve_drawings,
    embedding_drawings,
)
from sightsound.report.provenance import provenance

MOST_CHECKS = 16  # last ones of the validations that are listed
RESAMPLINGS = 1000  # of paired tests, where the evaluation had none
MOST_PICTURE_BYTES = 6_000_000  # of pictures found in the run, before they are written as text
RESULTS = ("explanation", "probe", "timeline")  # folders of a run that other commands write
_RESULT_FILES = (".html", ".mp4", ".csv", ".json", ".srt", ".vtt")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Clips:
    """The clips of an evaluation, where they still are."""

    manifest: Manifest
    rows: dict[str, Row]  # {id: row}, in the order of the evaluation


def report(
    model: str | Path,
    data: str | None = None,
    *,
    late: Sequence[str] | None = None,
    columns: str | None = None,
    output: str | Path | None = None,
    figures: str | Path | None = None,
    players: bool = False,
    num_workers: int = 0,
    seed: int = 0,
    command: Sequence[str] = (),
    say: Say = lambda text: None,
) -> Path:
    """Write the page about a run or model directory; its path.

    The saved evaluation is used if it is one of `data` (by default whatever it is of); otherwise,
    and with `late`, the model is evaluated first. `columns` are those of a table, see
    `DataSettings`. `figures` names a folder for each figure as PNG
    and SVG. `command` are the arguments to tell readers; `say` is told what takes long.

    Raises:
        ValueError: there is no evaluation, and no data to make one on.
    """
    folder, predictor = Path(model_source(model)).parent, Predictor(model, columns=columns)
    path = Path(output) if output is not None else folder / "report.html"
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; name the page, such as {path}/report.html")
    for parent in (path.parent, *([Path(figures)] if figures is not None else [])):
        parent.mkdir(parents=True, exist_ok=True)  # before anything takes long
    if late or not _is_evaluated(folder / "evaluation", data, predictor):
        say(f"evaluating {model} ...")
        evaluate_saved(model, data, late=late, columns=columns, num_workers=num_workers, seed=seed)
    settings = read_summary(folder / "evaluation")["settings"]
    resamplings = settings["bootstrap"]
    evaluation = read_evaluation(folder / "evaluation")
    evaluation = with_average(evaluation, resamplings=resamplings, seed=seed)
    found = numbers(evaluation, resamplings=resamplings or RESAMPLINGS, seed=seed)
    clips, log = _clips(evaluation, predictor, say), read_metrics(folder / "metrics.jsonl")
    drawings = {
        "classes": class_drawings(evaluation, found["classes"]),
        "calibration": calibration_drawings(evaluation),
        "curves": curve_drawings(log),
    }
    if clips is not None:
        say("looking at clips ...")
        places = vectors(predictor, clips.manifest, [*clips.rows.values()], num_workers=num_workers)
        drawings["plane"] = embedding_drawings(evaluation, on_the_plane(places))
    if figures is not None:
        write_figures(drawings, Path(figures))
    wanted = dict.fromkeys(clip["id"] for kind in found["clips"].values() for clip in kind)
    rows = {} if clips is None else clips.rows
    write_page(
        Path(__file__).with_name("page.html"),
        path,
        title=model if str(model).startswith("hf:") else folder.resolve().name,
        evaluation=evaluation,
        numbers=found,
        shown=shown_scores(evaluation),
        class_word=CLASS_WORDS[CLASS_SCORE[evaluation.task]],
        drawings={part: [*map(_embedded, some.values())] for part, some in drawings.items()},
        media=media_of([rows[clip] for clip in wanted if clip in rows], players=players),
        has_clips=clips is not None,
        checks=[line for line in log if line["kind"] == "validation"][-MOST_CHECKS:],
        check_names=check_names(log),
        provenance=provenance(
            predictor,
            evaluation,
            folder=folder,
            settings=settings,
            command=command or [str(model)],
        ),
        results=list(results(folder, beside=path.parent)),
        **WORDS,
    )
    return path


def _is_evaluated(folder: Path, data: str | None, predictor: Predictor) -> bool:
    """Whether `folder` holds predictions, those for `data` if it is given."""
    if not (folder / TABLE).is_file():
        return False
    return data is None or read_evaluation(folder).source == str(predictor.manifest(data).source)


def _clips(evaluation: Evaluation, predictor: Predictor, say: Say) -> Clips | None:
    """The rows of the clips that were scored; `None` if none of them is where it was."""
    if not Path(evaluation.source).exists():
        return None
    try:
        manifest = predictor.manifest(evaluation.source, bad_files="mask")
    except ValueError as error:  # such as a disk that is not there: an empty folder
        say(f"a page without clips: {error}")
        return None
    known = {row.id: row for row in manifest.rows}
    rows = {clip: known[clip] for clip in evaluation.ids if clip in known}
    return Clips(manifest, rows) if rows else None


# --- figures ------------------------------------------------------------------------------------


def write_figures(drawings: Mapping[str, Mapping[str, Drawing]], folder: Path) -> None:
    """Each figure as PNG and as SVG in `folder`."""
    for some in drawings.values():
        for name, drawing in some.items():
            save_picture(drawing.figure, folder / f"{name}.png")
            write_whole(folder / f"{name}.svg", as_svg(drawing.figure))


def _embedded(drawing: Drawing) -> dict[str, Any]:
    """What the page needs of a figure; `wide`: it cannot be made smaller and still be read."""
    width, height = drawing.figure.get_size_inches()
    content = base64.b64encode(as_svg(drawing.figure).encode()).decode()
    return {
        "title": drawing.title,
        "text": drawing.text,
        "source": f"data:image/svg+xml;base64,{content}",
        "width": round(96 * width),
        "height": round(96 * height),
        "wide": width > 1.2 * WIDTH_INCHES,
    }


def results(folder: Path, *, beside: Path) -> Iterator[dict[str, Any]]:
    """What other commands left in the run: pictures to embed, files to link, what `probe` says.

    Pictures that are too large together are linked like the files.
    """
    left = MOST_PICTURE_BYTES
    for name in RESULTS:
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        pictures, links = [], []
        for path in files:
            size = path.stat().st_size
            if path.suffix == ".png" and size <= left:
                left -= size
                content = base64.b64encode(path.read_bytes()).decode()
                source = f"data:image/png;base64,{content}"
                pictures.append({"name": str(path.relative_to(folder / name)), "source": source})
            elif path.suffix in (*_RESULT_FILES, ".png"):
                link = quote(Path(os.path.relpath(path, beside)).as_posix())
                links.append({"name": str(path.relative_to(folder / name)), "link": link})
        if pictures or links:
            checks, remedy = folder / name / "probe.json", "probe again with 'sightsound probe'"
            sentences = []
            if checks.is_file():
                probed = read_object(checks, remedy=remedy, needs=["checks"])
                sentences = [check["sentence"] for check in probed["checks"]]
            yield {"name": name, "sentences": sentences, "pictures": pictures, "links": links}


# --- in words -----------------------------------------------------------------------------------


def percent(share: float | None) -> str:
    """`93.3` of .933; a dash where there is no number."""
    return "–" if share is None else f"{100 * share:.1f}"


def points(share: float | None) -> str:
    """`+3.2` of .032; a dash where there is no number."""
    text = "–" if share is None else f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def probability(p: float) -> str:
    """`0.0312`, or `< 0.0001`."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


WORDS = {f.__name__: f for f in (percent, points, probability, score_words)}
