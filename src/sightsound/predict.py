"""From files to class probabilities: the only inference path, also behind `evaluate`."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightsound.build import model_source
from sightsound.config.load import load_config
from sightsound.config.settings import BadFiles, Crop, DataSettings, RunConfig, Windows
from sightsound.data.dataset import ClipDataset
from sightsound.data.loader import collate
from sightsound.data.manifest import load_manifest, other_data
from sightsound.data.rows import UNLABELLED, Manifest, Row
from sightsound.features.encoding import Encoding
from sightsound.media.decode import DecodeError
from sightsound.media.front_end import FrontEnd
from sightsound.media.source import exists
from sightsound.models.pretrained import Pretrained
from sightsound.types import AUDIO, VIDEO, WORDS, Batch, Clip, Problem
from sightsound.weights.hub import load_model

BOTH = "audio+video"
STREAMS = {BOTH: (AUDIO, VIDEO), AUDIO: (AUDIO,), VIDEO: (VIDEO,)}


@dataclass(frozen=True)
class Prediction:
    """What a model says about one file.

    `scores` has the whole model first, under "audio+video" (or the one stream of a unimodal
    model), then each stream alone as far as the file has it. Several heads: names are "head:class".
    """

    id: str
    scores: dict[str, dict[str, float]]  # {stream: {class name: probability}}
    present: dict[str, bool]  # {modality: the file has it}
    problems: tuple[Problem, ...] = ()
    explanation: dict[str, Any] = field(default_factory=dict)  # JSON values; "sentence" is shown

    @property
    def probabilities(self) -> dict[str, float]:
        """{class name: probability} of the whole model."""
        return next(iter(self.scores.values()))

    @property
    def label(self) -> str:
        """The likeliest class, over all heads."""
        return max(self.probabilities, key=self.probabilities.__getitem__)


class Predictor:
    """A model with everything needed to apply it to files and batches.

    Args:
        model: a run, a model directory, "hf:owner/name", or a loaded model.
        device: where to compute; `None`: a GPU if there is one.
        crop: how frames are cut, "centre" or "full"; `None`: as the model was trained.
        classes: the model must know some; false: nobody asks for them.
        columns: of tables, see `DataSettings.columns`; `None`: as the run's data has them.

    Raises:
        ValueError: the model carries no front end, so files cannot be turned into inputs; or it
            was pre-trained without labels.
    """

    config: RunConfig | None
    """Of the run that the model is from, if it is from one."""

    def __init__(
        self,
        model: Pretrained | str | Path,
        *,
        device: torch.device | str | None = None,
        crop: Crop | None = None,
        classes: bool = True,
        columns: str | None = None,
    ) -> None:
        self.columns = columns
        name, self.config = "this model", None
        if isinstance(model, str | Path):
            name, self.config = str(model), saved_config(model)
            model = load_model(model_source(model))
        if model.info.front_end is None:
            raise ValueError(
                "this model has no front end, the numbers that turn files into inputs: "
                "set model.info.front_end to FrontEnd(...).to_dict() and save it again"
            )
        if classes and model.info.task == UNLABELLED:
            raise ValueError(
                f"{name} was pre-trained without labels and knows no classes: train it on labelled "
                f"clips ('sightsound train DATA --init {name}'), or search with it ('sightsound "
                f"index {name} --output INDEX')"
            )
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device or default)
        self.model: Pretrained = model.to(self.device).eval()
        self.front_end = FrontEnd.from_dict(model.info.front_end)
        self.labels: dict[str, list[str]] = model.info.labels
        self.task: str = model.info.task
        self.crop: Crop = crop or ("full" if self._trained("crop") == "full" else "centre")
        self.wrap = bool(self._trained("wrap"))
        self.windows: Windows = "start" if self._trained("windows") == "start" else "centre"
        self.encoding = Encoding(self.front_end, device=self.device)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model looks at."""
        return tuple(self.model.modalities)

    @property
    def heads(self) -> dict[str, int]:
        """{head: number of classes}, in the order of the model's logits."""
        return self.model.heads

    @property
    def streams(self) -> dict[str, tuple[str, ...]]:
        """{name: modalities}: the whole model first, then each modality alone."""
        return {n: m for n, m in STREAMS.items() if set(m) <= set(self.modalities)}

    def _trained(self, name: str) -> Any:
        """A setting of the training data: as the model says, else its run, else the default."""
        data = self.config.data if self.config is not None else DataSettings()
        return self.model.info.provenance.get(name, getattr(data, name))

    def manifest(self, data: str | None = None, *, bad_files: BadFiles = "error") -> Manifest:
        """The clips of `data` with this model's classes; by default those of its run.

        Splits of data that names none are drawn as in training: with the run's seed and shares. The
        run's own data lacks what it lacked in training.

        Raises:
            ValueError: no data given and the model belongs to no run, labels it does not know, or
                files that are not there while `bad_files` is "error".
        """
        own = DataSettings() if self.config is None else self.config.data
        if not (data or own.path):
            raise ValueError("this model belongs to no run that names its data; name a DATA")
        settings = other_data(own, data, columns=self.columns, task=self.task, bad_files=bad_files)
        seed = 0 if self.config is None else self.config.seed
        return load_manifest(settings, seed=seed, labels=self.labels)

    def dataset(
        self,
        manifest: Manifest,
        rows: Sequence[Row],
        *,
        views: int = 4,
        bad_files: BadFiles = "error",
        front_end: FrontEnd | None = None,
    ) -> ClipDataset:
        """`rows` as this model sees them, or through another `front_end`.

        A model of features has one view.
        """
        data = self.config.data if self.config is not None else DataSettings()
        settings = DataSettings(
            crop=self.crop,
            windows=self.windows,
            wrap=self.wrap,
            bad_files=bad_files,
            decoder=data.decoder,  # and what follows as in the run that the model is from
            time_limit_seconds=data.time_limit_seconds,
            approximate=data.approximate,
        )
        return ClipDataset(
            manifest,
            list(rows),
            front_end or self.front_end,
            settings,
            modalities=self.modalities,
            train=False,
            seed=0,
            views=1 if self.front_end.features else views,
        )

    def logits(self, batch: Batch, modalities: Sequence[str] | None = None) -> Tensor:
        """(B, K) from `modalities` alone (default: all); nan for clips that have none of them.

        `batch` comes from the loader: it is moved, normalised and, for features, encoded here.
        """
        batch = self.encoding(batch.to(self.device))
        return self._masked(batch, tuple(modalities or self.modalities))

    def stream_logits(self, batch: Batch) -> dict[str, Tensor]:
        """{stream: (B, K)} for the whole model and each modality alone; see `logits`."""
        batch = self.encoding(batch.to(self.device))
        return {name: self._masked(batch, modalities) for name, modalities in self.streams.items()}

    @torch.inference_mode()
    def _masked(self, batch: Batch, modalities: tuple[str, ...]) -> Tensor:
        """`logits` of a batch that is ready: other streams are left out, absent ones masked."""
        inputs = {name: x for name, x in batch.inputs.items() if name in modalities}
        if batch.complete and inputs:
            return _finite(self.model(inputs).logits.float(), batch.id)
        num_classes = sum(self.heads.values())
        logits = torch.full((len(batch), num_classes), torch.nan, device=self.device)
        seen = torch.zeros(len(batch), dtype=torch.bool, device=self.device)
        for name in inputs:
            seen |= batch.present[name]
        if seen.any():
            masks = {
                "present": {name: batch.present[name][seen] for name in inputs},
                "valid": {name: batch.valid[name][seen] for name in inputs},
            }
            chosen = {name: x[seen] for name, x in inputs.items()}
            ids = [batch.id[index] for index in seen.nonzero().flatten().tolist()]
            logits[seen] = _finite(self.model(chosen, **masks).logits.float(), ids)
        return logits

    def clips(
        self,
        path: str | Path,
        *,
        views: int = 4,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> list[Clip]:
        """The views of one file as the model sees them; a stream that fails counts as absent.

        Views that would be the same, of a clip no longer than the window, come once.
        """
        dataset = self.files(
            [path], views=views, start_seconds=start_seconds, end_seconds=end_seconds
        )
        return [dataset[0, 0, view] for view in dataset.distinct_views(0)]

    def files(
        self,
        paths: Sequence[str | Path],
        *,
        views: int = 1,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> ClipDataset:
        """Files without labels as this model sees them; see `clips`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a start below 0, or an end that does not come after it.
        """
        for path in paths:
            if not exists(path):
                folder = " (it is a folder; name the files in it)" if Path(path).is_dir() else ""
                raise FileNotFoundError(f"no such file: {str(path)!r}{folder}")
        start = start_seconds or 0.0
        if start < 0 or (end_seconds is not None and end_seconds <= start):
            raise ValueError(
                f"start_seconds is {start:g} and end_seconds {end_seconds}; accepted: a start of 0 "
                "or more and an end after it"
            )
        rows = tuple(
            Row(
                str(path),
                Path(path).absolute(),
                (),
                start_seconds=start,
                end_seconds=end_seconds,
            )
            for path in paths
        )
        manifest = Manifest(rows, self.labels, self.task, Path(paths[0]))
        return self.dataset(manifest, rows, views=views, bad_files="mask")

    def predict(
        self,
        path: str | Path,
        *,
        views: int = 4,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> Prediction:
        """Class probabilities for one file; logits are averaged over `views` temporal views.

        Raises:
            FileNotFoundError: no such file.
            DecodeError: the file has nothing that the model looks at.
        """
        batch = self.read(path, views=views, start_seconds=start_seconds, end_seconds=end_seconds)
        return self.predict_batch(path, batch)

    def read(
        self,
        path: str | Path,
        *,
        views: int = 4,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> Batch:
        """The views of one file, ready for the model: on its device, normalised or encoded.

        Raises:
            FileNotFoundError: no such file.
            DecodeError: the file has nothing that the model looks at.
        """
        clips = self.clips(path, views=views, start_seconds=start_seconds, end_seconds=end_seconds)
        batch = collate(clips)
        if batch is None:
            problems = [problem for clip in clips for problem in clip.problems]
            causes = "; ".join(dict.fromkeys(problem.cause for problem in problems))
            raise DecodeError(path, start_seconds or 0.0, causes)
        return self.encoding(batch.to(self.device))

    def predict_batch(self, path: str | Path, batch: Batch) -> Prediction:
        """What the model says about a file that was `read`: a batch of its views."""
        present = {
            name: name in batch.present and bool(batch.present[name].any())
            for name in self.modalities
        }
        logits = {name: nan_mean(self._masked(batch, m))[None] for name, m in self.streams.items()}
        scores = {
            name: named_scores(probabilities(x, self.task, self.heads)[0], self.labels)
            for name, x in logits.items()
            if not x.isnan().any()
        }
        return Prediction(str(path), scores, present, tuple(dict.fromkeys(batch.problems)))


def saved_config(model: str | Path) -> RunConfig | None:
    """The configuration of the run that `model` (a run or its model directory) belongs to."""
    for folder in (Path(model), Path(model).absolute().parent):
        if (folder / "config.yaml").is_file():
            return load_config(folder / "config.yaml")
    return None


def _finite(logits: Tensor, ids: Sequence[str]) -> Tensor:
    """`logits` (B, K) of a model; not a number stands for an absent stream and nothing else.

    Raises:
        ValueError: some are infinite or not numbers.
    """
    bad = ~logits.isfinite().all(1)
    if bad.any():
        raise ValueError(
            f"the scores of {ids[int(bad.int().argmax())]!r} are not numbers: the weights of the "
            "model are damaged, or its training diverged; metrics.jsonl of its run says when"
        )
    return logits


def nan_mean(logits: Tensor) -> Tensor:
    """(K,) mean over the rows of (V, K) that are not nan; nan if all are."""
    return logits[~logits.isnan().any(1)].mean(0)


def probabilities(logits: Tensor, task: str, heads: dict[str, int]) -> Tensor:
    """(..., K): sigmoid for several labels, else softmax within each head."""
    if task == "multi":
        return logits.sigmoid()
    parts = logits.split(list(heads.values()), dim=-1)
    return torch.cat([part.softmax(-1) for part in parts], dim=-1)


def named_scores(values: Tensor, labels: dict[str, list[str]]) -> dict[str, float]:
    """{class name: value} of (K,) values; with several heads {"head:class": value}."""
    names = [
        f"{head}:{name}" if len(labels) > 1 else name
        for head, classes in labels.items()
        for name in classes
    ]
    return dict(zip(names, values.tolist(), strict=True))


# ---------------------------------------------------------------------------- for people


def as_json(predictions: Sequence[Prediction]) -> str:
    """One object per file in a list; all classes, likeliest first."""
    records = []
    for prediction in predictions:
        record = {
            "file": prediction.id,
            "label": prediction.label,
            "present": prediction.present,
            "scores": {
                name: {k: round(v, 6) for k, v in sorted(values.items(), key=lambda item: -item[1])}
                for name, values in prediction.scores.items()
            },
            "problems": [dataclasses.asdict(problem) for problem in prediction.problems],
        }
        if prediction.explanation:
            record["explanation"] = prediction.explanation
        records.append(record)
    return json.dumps(records, indent=2)


def as_table(predictions: Sequence[Prediction], *, top: int = 5) -> str:
    """The `top` likeliest classes of each file, with what each stream alone would say."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    buffer = io.StringIO()
    console = Console(file=buffer, width=100)
    for prediction in predictions:
        console.out(prediction.id)
        table = Table(box=None, pad_edge=False)
        table.add_column("class")
        whole = next(iter(prediction.scores))
        for name in prediction.scores:
            table.add_column(name if name == whole else f"{name} alone", justify="right")
        shares = prediction.probabilities
        for label in sorted(shares, key=shares.__getitem__, reverse=True)[:top]:
            cells = [f"{100 * scores[label]:.1f} %" for scores in prediction.scores.values()]
            table.add_row(Text(label), *cells)
        console.print(table)
        if prediction.explanation:
            console.out(prediction.explanation["sentence"])
        for name, present in prediction.present.items():
            if not present:
                console.out(f"no {WORDS[name]} in this file")
        for problem in prediction.problems:
            console.out(f"{problem.modality}: {problem.cause}")
        console.out()
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip()
