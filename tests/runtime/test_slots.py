import os

import pytest

from kdharness.core.errors import BadInput
from kdharness.runtime import slots


def test_one_slot_per_usable_core_without_a_gpu(monkeypatch):
    monkeypatch.setattr(slots, "gpu_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 8})
    assert slots.choose_slots() == ("cpu:0", "cpu:1", "cpu:2")
    assert slots.choose_slots("1") == ("cpu:0",)


def test_one_slot_per_gpu_and_more_go_round(monkeypatch):
    monkeypatch.setattr(slots, "gpu_count", lambda: 2)
    assert slots.choose_slots() == ("cuda:0", "cuda:1")
    assert slots.choose_slots("5") == ("cuda:0", "cuda:1", "cuda:0#2", "cuda:1#2", "cuda:0#3")


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
        slots.choose_slots("0")


def test_jobs_per_gpu_are_chosen_or_found_out(monkeypatch):
    monkeypatch.setattr(slots, "gpu_count", lambda: 2)
    assert slots.choose_slots("1:3, 0:1") == ("cuda:1", "cuda:0", "cuda:1#2", "cuda:1#3")
    assert len(slots.choose_slots("auto")) == 2 * slots.MOST_A_DEVICE
    assert slots.choose_slots("auto")[:3] == ("cuda:0", "cuda:1", "cuda:0#2")
    for wrong in ("", "x", "0", "-1", "0:0", "0:1,0:2", "2:1", "0:1,", "1.5"):
        with pytest.raises(BadInput, match="--slots"):
            slots.choose_slots(wrong)
    monkeypatch.setattr(slots, "gpu_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert slots.choose_slots("auto") == ("cpu:0", "cpu:1")
    with pytest.raises(BadInput, match="GPU 0 is not here"):
        slots.choose_slots("0:2")
