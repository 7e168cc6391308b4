import os

import pytest

from kdharness.core.errors import BadInput
from kdharness.runtime import slots


def test_one_slot_per_usable_core_without_a_gpu(monkeypatch):
    monkeypatch.setattr(slots, "gpu_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 8})
    assert slots.choose_slots() == ("cpu:0", "cpu:1", "cpu:2")
    assert slots.choose_slots(1) == ("cpu:0",)


def test_one_slot_per_gpu_and_more_go_round(monkeypatch):
    monkeypatch.setattr(slots, "gpu_count", lambda: 2)
    assert slots.choose_slots() == ("cuda:0", "cuda:1")
    assert slots.choose_slots(5) == ("cuda:0", "cuda:1", "cuda:0#2", "cuda:1#2", "cuda:0#3")


@pytest.mark.parametrize(
    ("slot", "device"), [("cpu:0", "cpu"), ("cpu:11", "cpu"), ("cuda:1", "cuda:1"), ("cuda:1#2", "cuda:1")]
)
def test_the_device_of_a_slot(slot, device):
    assert slots.device_of(slot) == device


@pytest.mark.parametrize("slot", ["", "cpu", "gpu:0", "cuda:x", "cuda:"])
def test_other_slots_are_refused(slot):
    with pytest.raises(BadInput, match="neither"):
        slots.device_of(slot)


def test_no_slots_are_refused():
    with pytest.raises(BadInput, match="--slots 0"):
        slots.choose_slots(0)
