"""Our MBT against the official one: weights through our converter, outputs as stored."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy_mbt import bottleneck_logits
from scenic_cases import GRADIENTS, LOGITS, OURS, TRAINED, Case, too_far

from sightsound.metrics.scores import top_k_hits
from sightsound.models.mbt import MBT
from sightsound.nn.patch import sample_frames
from sightsound.nn.position import resize_positions
from sightsound.objectives.classification import Classification
from sightsound.types import Batch
from sightsound.weights.scenic import convert


def test_stored_outputs(cases: Path, mbt_model: str):
    case = Case.read(cases, mbt_model)
    assert "out/eval_logits" in case.arrays
    assert too_far(case) == {}


def test_every_array_is_used_or_dropped_for_a_reason(cases: Path, mbt_model: str):
    case = Case.read(cases, mbt_model)
    model = convert(
        {k.removeprefix("params/"): v for k, v in case.arrays.items() if k.startswith("params/")},
        case.config,
    )
    unused_fusion_tokens = ["bottleneck"] if model.fusion is None else []
    assert set(model.info.provenance["dropped"]) <= set(unused_fusion_tokens)


def as_sequential(case: Case) -> MBT:
    """The case's weights in a model with the sequential update of v1."""
    with_official_update = convert(
        {k.removeprefix("params/"): v for k, v in case.arrays.items() if k.startswith("params/")},
        case.config,
        input_shapes={k: case.arrays[f"inputs/{k}"].shape for k in OURS},
    )
    model = MBT(**with_official_update.info.arguments | {"update": "sequential"})
    model.load_state_dict(with_official_update.state_dict())
    return model.eval()


@pytest.mark.parametrize("update", ["averaged", "sequential"])
def test_both_updates_against_numpy(cases: Path, mbt_bottleneck: str, update: str):
    """The averaged row shows that the NumPy model is right; then it judges the sequential one."""
    case = Case.read(cases, mbt_bottleneck)
    assert difference_from_numpy(case, update=update) <= LOGITS


def difference_from_numpy(case: Case, *, update: str) -> float:
    """Largest difference of our logits from those of the NumPy model."""
    official = case.config["model"]
    num_frames = case.arrays["inputs/rgb"].shape[1]
    expected = bottleneck_logits(
        case.arrays,
        frames=sample_frames(num_frames, official["temporal_encoding_config"]["n_sampled_frames"]),
        depth=official["num_layers"],
        fusion_layer=official["fusion_layer"],
        update=update,
    )
    if update == "averaged":
        return float(np.abs(case.run().logits.numpy() - expected).max())
    with torch.no_grad():
        ours = as_sequential(case)(case.inputs).logits
    return float(np.abs(ours.numpy() - expected).max())


def named(arrays: dict, prefix: str) -> dict:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def training_batch(case: Case) -> Batch:
    inputs, target = case.inputs, torch.from_numpy(case.arrays["label"])
    size = len(target)
    return Batch(
        **inputs,
        present={name: torch.ones(size, dtype=torch.bool) for name in inputs},
        valid={},
        target=target,
        id=[str(row) for row in range(size)],
        view=torch.zeros(size, dtype=torch.long),
        complete=True,
    )


def trained_model(case: Case, stage: str) -> MBT:
    """The model with what is stored under `stage`: weights, or gradients under their names."""
    shapes = {k: case.arrays[f"inputs/{k}"].shape for k in OURS}
    return convert(named(case.arrays, f"{stage}/"), case.config, input_shapes=shapes).train()


def official_loss(model: MBT, label_smoothing: float) -> Classification:
    """Each stream's logits meet the labels; the loss of the averaged logits does not count."""
    return Classification(
        task="multi",
        heads=model.heads,
        label_smoothing=label_smoothing,
        average_weight=0.0,
        stream_weight=1.0,
    )


def farthest(ours: dict[str, torch.Tensor], expected: MBT) -> float:
    stored = expected.state_dict()
    return max(float((tensor - stored[name]).abs().max()) for name, tensor in ours.items())


def test_training(cases: Path, mbt_training: str):
    """First gradients, losses of every step and the parameters after the last one."""
    case = Case.read(cases, mbt_training)
    model, batch = trained_model(case, "params0"), training_batch(case)
    objective = official_loss(model, case.config["label_smoothing"])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    losses, norms = [], []
    for step, rate in enumerate(case.arrays["lrs"]):
        loss, _ = objective(model, batch)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:  # key biases have truly 0: no relative bound
            gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), case.config["max_grad_norm"])
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.step()
        losses, norms = [*losses, loss.item()], [*norms, norm.item()]
    losses.append(objective(model, batch)[0].item())
    expected = [*case.arrays["losses"], case.arrays["loss_after_5"]]
    found = {
        "gradients": farthest(gradients, trained_model(case, "grads0")),
        "parameters": farthest(model.state_dict(), trained_model(case, "params5")),
        "losses": np.abs(np.array(losses) - expected).max(),
        "norms": np.abs(np.array(norms) - case.arrays["grad_norms_before_clip"]).max(),
    }
    print(f"{mbt_training}: {found}")  # shown with -rP
    assert found["gradients"] <= GRADIENTS and found["parameters"] <= TRAINED
    assert found["losses"] <= 2e-5 and found["norms"] <= 1e-4


def test_masked_loss(cases: Path, mbt_training: str):
    """The official batch mask leaves clips out; our batches hold only clips that count."""
    case = Case.read(cases, mbt_training)
    kept = torch.from_numpy(case.arrays["masked/batch_mask"] > 0)
    model, batch = trained_model(case, "params0"), training_batch(case)
    streams = {name: stream[kept] for name, stream in batch.inputs.items()}
    present = {name: mask[kept] for name, mask in batch.present.items()}
    batch = dataclasses.replace(batch, **streams, present=present, target=batch.target[kept])
    loss, _ = official_loss(model, case.config["label_smoothing"])(model, batch)
    assert loss.item() == pytest.approx(float(case.arrays["masked/loss"]), abs=2e-5)


def test_reported_training_metrics(cases: Path, mbt_training: str):
    """Of the video logits, without smoothing: sum of losses, sum of labels at the highest score."""
    case = Case.read(cases, mbt_training)
    model, batch = trained_model(case, "params0"), training_batch(case)
    logits = model(batch.inputs).modality_logits["video"].detach()
    first = json.loads((cases / "mbt" / "INDEX.json").read_text())[mbt_training]
    expected = first["train_metrics_reported"][0]
    loss = official_loss(model, 0.0).example_losses(logits, batch.target).sum().item()
    assert [loss, len(batch)] == pytest.approx(expected["loss"], abs=2e-5)
    hits = top_k_hits(logits.numpy(), batch.target.numpy(), k=1).sum()
    assert [hits, len(batch)] == expected["prec@1"]


def test_frame_sampling(cases: Path):
    path = cases / "mbt" / "temporal_indices.json"
    for name, expected in json.loads(path.read_text()).items():
        num_frames, count = map(int, name.split("->"))
        assert sample_frames(num_frames, count) == expected, name


def test_frame_sampling_gives_one_too_many_by_rounding_as_officially():
    for count, times in {4: 0, 8: 0, 16: 0, 32: 0, 6: 117, 10: 87}.items():
        more = [t for t in range(count + 1, 513) if len(sample_frames(t, count)) == count + 1]
        assert len(more) == times, count


def test_position_interpolation(cases: Path):
    path = cases / "mbt" / "posembed_interp.npz"
    arrays = np.load(path)
    for name in (n for n in arrays.files if n.startswith("out_")):
        _, side, size = name.split("_")
        table = torch.from_numpy(arrays[f"in_{side}"])[None]
        new = tuple(int(n) for n in size.split("x"))
        ours = resize_positions(table, (int(side), int(side)), new, prefix=0)
        np.testing.assert_allclose(ours.numpy(), arrays[name], rtol=0, atol=LOGITS)
