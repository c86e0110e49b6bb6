import pytest

from sightsound.config.settings import TrainSettings
from sightsound.train.schedule import learning_rate, total_steps


def test_warmup_starts_at_zero_and_reaches_the_peak():
    rates = [learning_rate(s, peak=0.5, total=100, warmup=10) for s in range(100)]
    assert rates[0] == 0
    assert rates[5] == pytest.approx(0.25)
    assert rates[10] == max(rates) == 0.5


def test_cosine_ends_at_the_final_share():
    assert learning_rate(100, peak=1.0, total=100, final=0.1) == pytest.approx(0.1)
    assert learning_rate(50, peak=1.0, total=100) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "steps"),
    [({"epochs": 2}, 20), ({"steps": 7}, 7), ({"examples": 64}, 8), ({"epochs": 0.5}, 5)],
)
def test_lengths(given, steps):
    assert total_steps(TrainSettings(batch_size=8, **given), steps_per_epoch=10) == steps


@pytest.mark.parametrize(("given", "steps"), [({"examples": 64}, 4), ({"steps": 7}, 7)])
def test_examples_are_those_of_all_devices(given, steps):
    settings = TrainSettings(batch_size=8, **given)
    assert total_steps(settings, steps_per_epoch=10, world_size=2) == steps


def test_two_lengths_are_an_error():
    with pytest.raises(ValueError, match=r"--train.epochs 2 and --train.steps 5 are set"):
        total_steps(TrainSettings(epochs=2, steps=5), steps_per_epoch=10)


def test_length_must_be_positive():
    with pytest.raises(ValueError, match=r"--train.steps must be positive, got 0"):
        total_steps(TrainSettings(steps=0), steps_per_epoch=10)


def test_a_warmup_that_begins_above_zero():
    """UniFormer's: from 1e-6 in ten epochs to 1e-4, and down to 1e-6."""
    given = dict(peak=1e-4, total=50, warmup=10, first=0.01, final=0.01)
    rates = [learning_rate(step, **given) for step in range(51)]
    assert rates[0] == pytest.approx(1e-6) and rates[50] == pytest.approx(1e-6)
    assert rates[5] == pytest.approx((1e-6 + 1e-4) / 2)
    assert rates[10] == max(rates) == pytest.approx(1e-4)
    assert learning_rate(0, peak=1e-4, total=50, first=0.01) == 1e-4, "no warm-up, no beginning"
