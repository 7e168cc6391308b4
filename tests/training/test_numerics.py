"""The record of what moves the last bits."""

import torch

from kdharness.core.records import Execution
from kdharness.training.numerics import numerics


def test_numerics_of_this_machine() -> None:
    found = numerics(Execution(threads=3))
    assert (found.threads, found.layout, found.torch) == (3, "channels_last", torch.__version__)
    assert found.device_kind.startswith("cpu ")
    assert found == numerics(Execution(threads=3))
    assert found != numerics(Execution(threads=3, layout="contiguous"))
