"""How a study's jobs compute and save: settings of a job's command line, in no key."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CHECKPOINT_SECONDS = 300.0
"""At most this much work is lost by a kill within a long epoch."""


@dataclass(frozen=True)
class JobOptions:
    """What `kdharness job` is told besides its runs and its slot."""

    data: Path | None = None
    """Where datasets are looked up, if not in the home's data directory."""
    threads: int = 1
    """Of a job on a CPU."""
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    compile: bool = False
    """Students are compiled by torch.compile."""
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    """Between checkpoints within an epoch; infinite: only its end is kept."""

    @classmethod
    def of_study(cls, spec: Any, data: Path | None) -> "JobOptions":
        """From a StudySpec's `execution:` and `checkpoint:`."""
        seconds, how = spec.checkpoint.seconds, spec.execution
        return cls(data, how.threads, how.layout, how.compile, math.inf if seconds is None else seconds)

    def arguments(self) -> tuple[str, ...]:
        """As words of the command line; only what differs from the defaults."""
        words: list[str] = []
        if self.data is not None:
            words += ["--data", str(self.data.absolute())]
        for option, value, default in (
            ("--threads", self.threads, 1),
            ("--layout", self.layout, "channels_last"),
            ("--checkpoint-seconds", self.checkpoint_seconds, CHECKPOINT_SECONDS),
        ):
            if value != default:
                words += [option, str(value)]
        if self.compile:
            words.append("--compile")
        return tuple(words)


JOB_DEFAULTS = JobOptions()
