"""How many members fit into a job, by their students' sizes."""

from types import SimpleNamespace

import pytest
from tiny_study import setting

from kdharness.models.registry import MODELS
from kdharness.runtime.footprint import MEMBERS_BYTES, parts

COLOURS = SimpleNamespace(num_classes=100, image_shape=(3, 8, 8))


def test_a_part_is_what_a_student_keeps_from_step_to_step():
    found = parts([setting("none"), setting("kd"), setting("none", "resnet14")], COLOURS)
    parameters = sum(parameter.numel() for parameter in MODELS.get("resnet8").build(100, (3, 8, 8)).parameters())
    assert found["resnet8"] * MEMBERS_BYTES == pytest.approx(5 * 4 * parameters)
    assert list(found) == ["resnet8", "resnet14"] and found["resnet8"] < found["resnet14"]


def test_a_network_that_cannot_be_measured_has_a_job_of_its_own():
    assert parts([setting("none", "mylab.unbuildable")], COLOURS) == {"mylab.unbuildable": 1.0}
