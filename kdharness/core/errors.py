"""Every error a user may meet: what was wrong (with the value), where, and what to do; and the exit code it means."""

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to the shell."""

    DONE = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    ENVIRONMENT_REFUSED = 3
    INTERNAL = 4
    STOPPED = 75
    LEASE_LOST = 76
    INTERRUPTED = 130


class KdHarnessError(Exception):
    """Base of all errors that are shown as a paragraph instead of a traceback."""

    exit_code = ExitCode.INTERNAL
    is_list = False
    """Whether the text is a list of places, to be printed without a leading word."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        return "\n".join(
            line for line in (f"{self.where}: {self.what}" if self.where else self.what, self.remedy) if line
        )


class BadInput(KdHarnessError):
    """Something the user wrote cannot be meant; nothing was started."""

    exit_code = ExitCode.BAD_INPUT


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a study file. Lines and columns count from 1."""

    line: int
    column: int
    message: str


class StudyError(BadInput):
    """All the problems of one study file at once, one line each as `file:line:column: message`."""

    is_list = True

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = sorted(problems)
        lines = [f"{path}:{p.line}:{p.column}: {p.message}" for p in self.problems]
        super().__init__("\n".join(lines))


class UnknownName(BadInput):
    """A name that no registry holds; the message suggests the nearest one."""


class IncompatiblePair(BadInput):
    """A distiller cannot work on this teacher and student: names the layer and both shapes."""


class SealedSplit(BadInput):
    """The test split was asked for where only validation images may be seen."""


class EnvironmentRefused(KdHarnessError):
    """This machine, disk, database or installation cannot do it."""

    exit_code = ExitCode.ENVIRONMENT_REFUSED


class Unavailable(EnvironmentRefused):
    """It cannot be done now, but may soon: the disk is full, the database is locked, the home is not there."""


class LeaseLost(KdHarnessError):
    """Another attempt owns the run now: stop and write nothing more."""

    exit_code = ExitCode.LEASE_LOST

    def __init__(self, what: str, *, run_ids: tuple[str, ...] = (), where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.run_ids = run_ids
