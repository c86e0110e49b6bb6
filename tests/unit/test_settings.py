import pytest

from sightsound.config.settings import (
    AugmentSettings,
    DataSettings,
    EvaluateSettings,
    TrainSettings,
)


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (TrainSettings, {"batch_size": 0}, "--train.batch_size is 0; accepted: at least 1"),
        (TrainSettings, {"accumulate": 0}, "--train.accumulate is 0; accepted: at least 1"),
        (TrainSettings, {"learning_rate": -1.0}, "--train.learning_rate is -1.0; .*: above 0"),
        (TrainSettings, {"warmup": 2.0}, "--train.warmup is 2.0; accepted: between 0 and 1"),
        (TrainSettings, {"batch_size": 8, "accumulate": 3}, "8 must be a multiple of .* 3"),
        (AugmentSettings, {"flip": 7.0}, "--augment.flip is 7.0; accepted: between 0 and 1"),
        (AugmentSettings, {"erase": -0.1}, "--augment.erase is -0.1; accepted: between 0 and 1"),
        (AugmentSettings, {"mix_probability": 2.0}, "mix_probability is 2.0; .*: between 0 and 1"),
        (AugmentSettings, {"cutmix_alpha": -1.0}, "--augment.cutmix_alpha is -1.0; .*: at least 0"),
        (
            AugmentSettings,
            {"rand_augment_magnitude": 11.0},
            "--augment.rand_augment_magnitude is 11.0; accepted: between 0 and 10",
        ),
        (DataSettings, {"repeats": 0}, "--data.repeats is 0; accepted: at least 1"),
        (DataSettings, {"num_workers": -1}, "--data.num_workers is -1; accepted: at least 0"),
        (DataSettings, {"train_fraction": 0.0}, "train_fraction is 0.0; accepted: above 0, at mo"),
        (DataSettings, {"train_fraction": 10.0}, "train_fraction is 10.0; .*: above 0, at most 1"),
        (DataSettings, {"crop_jitter": (2, 1)}, r"crop_jitter is \(2, 1\); accepted: a smaller"),
        (EvaluateSettings, {"views": 0}, "--evaluate.views is 0; accepted: at least 1"),
    ],
)
def test_values_out_of_range_are_named(settings, values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)
