"""On what a benchmark ran: device, cores, versions, commit, and how busy the machine was with other things."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from kdharness.runtime import provenance
from kdharness.runtime.slots import usable_cores


@contextmanager
def described(device: str, threads: int) -> Iterator[dict[str, Any]]:
    """The facts of the machine; what the block took, and the load average after it, are added at its end."""
    began = perf_counter()
    facts: dict[str, Any] = {
        "device": provenance.device_name(device),
        "cores": usable_cores(),
        "threads": threads,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": [round(os.getloadavg()[0], 2)],
    }
    yield facts
    facts["seconds"] = round(perf_counter() - began)
    facts["load"].append(round(os.getloadavg()[0], 2))
