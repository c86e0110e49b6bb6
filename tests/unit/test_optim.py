import pytest
from torch import nn

from sightsound.config.settings import TrainSettings
from sightsound.train.optim import build_optimizer, freeze


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 3)
        self.table = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 2)

    def no_weight_decay(self):
        return {"table.weight"}


def test_only_matrices_that_are_not_exempt_are_decayed():
    model = Toy()
    decayed, spared = build_optimizer([model], TrainSettings(weight_decay=0.1)).param_groups
    assert {id(p) for p in decayed["params"]} == {id(model.stem.weight), id(model.head.weight)}
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert len(spared["params"]) == 3


def test_freezing_by_pattern():
    model = Toy()
    assert freeze(model, ("stem.*",)) == ["stem.bias", "stem.weight"]
    assert not model.stem.weight.requires_grad
    assert model.head.weight.requires_grad


def test_pattern_without_match_names_what_there_is():
    with pytest.raises(ValueError, match=r"train.freeze 'stm.\*'.*Did you mean 'stem.\*'"):
        freeze(Toy(), ("stm.*",))


def test_freezing_everything_is_an_error():
    with pytest.raises(ValueError, match="freezes every parameter"):
        freeze(Toy(), ("*",))
