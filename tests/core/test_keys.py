"""Equal meanings have equal keys; later fields leave old keys alone."""

from typing import Annotated

import pytest
from pydantic import ValidationError

from kdharness.core.keys import Frozen, Since, canonical_json, key_of
from kdharness.core.records import Recipe


class Old(Frozen):
    temperature: float


class New(Frozen):
    temperature: float
    clip: Annotated[float, Since(0.0)] = 0.0


def test_one_number_however_it_is_written():
    assert key_of(Old(temperature=1)) == key_of(Old(temperature=1.0)) == key_of(Old(temperature=1e0))
    assert canonical_json(Old(temperature=1)) == '{"temperature":1.0}'


def test_a_later_field_at_its_former_value_keeps_the_key():
    assert key_of(New(temperature=4)) == key_of(Old(temperature=4))
    assert key_of(New(temperature=4, clip=1)) != key_of(Old(temperature=4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_nan_in_a_setting(value):
    with pytest.raises(ValidationError):
        Old(temperature=value)


def test_records_are_frozen_and_closed():
    with pytest.raises(ValidationError):
        Old(temperature=1, tempreature=2)
    with pytest.raises(ValidationError):
        Old(temperature=1).temperature = 2


def test_first_decayed_epoch_is_the_one_after_the_milestone():
    recipe = Recipe(epochs=240, batch_size=64, lr=0.05, milestones=(150, 180, 210))
    lrs = [recipe.lr_at(epoch) for epoch in (1, 150, 151, 180, 181, 211)]
    assert lrs == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.00005])
