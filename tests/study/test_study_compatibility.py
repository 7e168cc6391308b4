"""A pair that a distiller cannot work on is found before anything is trained."""

import pytest
from study_texts import SOUND, expanded, problems

from kdharness.distillers.fitnet import FitNet


def with_row(entry: str) -> str:
    return SOUND.replace("distillers:\n", f"distillers:\n  - {entry}\n")


def test_the_layer_and_both_names_are_told_at_the_row():
    (line,) = problems(with_row("{name: fitnet, layer: stage4, label: deep}"))
    assert line.startswith("7:5: deep, resnet20 -> resnet8: ")
    assert "'stage4'" in line and "stage3" in line


def test_every_value_of_an_axis_of_names_is_tried():
    entry = "{name: fitnet, layer: {each: [stage1, stage4]}, label: deep}"
    assert len(problems(with_row(entry))) == 1
    assert problems(with_row(entry.replace("stage4", "stage3"))) == []


def test_numbers_are_tried_once(monkeypatch: pytest.MonkeyPatch):
    built = []
    original = FitNet.build
    monkeypatch.setattr(FitNet, "build", lambda self, *rest: built.append(1) or original(self, *rest))
    expanded(with_row("{name: fitnet, hint_weight: {each: [1, 10, 100]}, label: deep}"))
    assert len(built) == 1
