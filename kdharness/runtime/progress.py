"""What a person sees while a study runs: a live display on a terminal, plain lines where output is piped.

It shows what training says of itself (loss, train accuracy, speed) and how far it is; never a test value.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_WIDTH = 120  # beyond it the columns of one line stand too far apart to be read together


@dataclass(frozen=True)
class RunLine:
    """A run that trains now; of several side by side in one job the one that is least far."""

    slot: str
    run_id: str
    label: str
    pair: str
    seed: int
    epoch: int
    """Finished epochs."""
    epochs: int
    loss: float | None = None
    accuracy: float | None = None
    """On training images, in percent."""
    images_per_second: float | None = None
    """Of the whole job: an image that k runs train on counts k times."""
    beside: int = 0
    """The other runs of the job."""


@dataclass(frozen=True)
class Snapshot:
    """Where a study stands."""

    total: int
    complete: int
    failed: int
    blocked: int
    fraction: float
    """Finished epochs of all epochs, 0 to 1."""
    elapsed_seconds: float
    eta_seconds: float | None
    """None until a first epoch says how fast it goes."""
    running: tuple[RunLine, ...] = ()


class Progress(Protocol):
    """Shows how a study goes; used as a context manager around it, from one thread."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """The newest state; called about once a second."""
        ...

    def say(self, text: str, *, bad: bool = False) -> None:
        """Something happened that stays readable; `bad` for failures."""
        ...


class LiveProgress:
    """An overall bar with the time left, one line per busy slot, and events above them as they happen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.update("")
        self._live.__exit__(kind, error, trace)

    def show(self, snapshot: Snapshot) -> None:
        self._live.update(picture(snapshot))

    def say(self, text: str, *, bad: bool = False) -> None:
        self._console.print(Text(text, style="red" if bad else ""), soft_wrap=True)


class PlainProgress:
    """One line per event, one when training begins and, where nothing else happens, one a minute."""

    def __init__(self, console: Console, *, quiet_seconds: float = 60.0) -> None:
        self._console = console
        self._quiet = quiet_seconds
        self._spoke_at: float | None = None
        self._last: Snapshot | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left open."""

    def show(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        if self._spoke_at is None:
            due = bool(snapshot.running)
        else:
            due = snapshot.elapsed_seconds - self._spoke_at >= self._quiet
        if due:
            self.say("; ".join([_overall(snapshot), *map(_at_work, snapshot.running)]))

    def say(self, text: str, *, bad: bool = False) -> None:
        elapsed = self._last.elapsed_seconds if self._last else 0.0
        self._spoke_at = elapsed
        self._console.print(Text(f"[{clock(elapsed)}] {text}"), soft_wrap=True)


class NoProgress:
    """Says nothing: for callers that only want the outcome."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def show(self, snapshot: Snapshot) -> None:
        """Say nothing."""

    def say(self, text: str, *, bad: bool = False) -> None:
        """Say nothing."""


def progress_for(console: Console) -> Progress:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def picture(snapshot: Snapshot) -> RenderableType:
    """The live display: complete at 80 columns (long names are cut), roomier beyond."""
    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(ratio=1, min_width=10)
    head.add_column(no_wrap=True, justify="right")
    head.add_row(ProgressBar(total=1.0, completed=snapshot.fraction), _overall(snapshot))
    lines = Table(box=None, expand=True, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    lines.add_column("slot", no_wrap=True)
    lines.add_column("method", no_wrap=True, overflow="ellipsis", ratio=2, min_width=7)
    lines.add_column("pair", no_wrap=True, overflow="ellipsis", ratio=3, min_width=16)
    for title in ("seed", "epoch", "loss", "train %", "img/s"):
        lines.add_column(title, no_wrap=True, justify="right")
    for run in snapshot.running:
        lines.add_row(
            run.slot,
            f"{run.label} +{run.beside}" if run.beside else run.label,
            run.pair,
            str(run.seed),
            f"{run.epoch}/{run.epochs}",
            "" if run.loss is None else f"{run.loss:.3f}",
            "" if run.accuracy is None else f"{run.accuracy:.1f}",
            "" if run.images_per_second is None else f"{run.images_per_second:,.0f}",
        )
    return Constrain(Group(head, lines), width=_WIDTH)


def clock(seconds: float) -> str:
    """`4:05`, `1:02:03`, `3 d 04:00`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02}:{minute:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _at_work(run: RunLine) -> str:
    """`teacher resnet20 seed 0: epoch 12/30, train 93.2 %`."""
    others = f" and {run.beside} beside it" if run.beside else ""
    right = "" if run.accuracy is None else f", train {run.accuracy:.1f} %"
    return f"{run.label} {run.pair} seed {run.seed}{others}: epoch {run.epoch}/{run.epochs}{right}"


def _overall(snapshot: Snapshot) -> str:
    parts = [f"{snapshot.complete}/{snapshot.total} runs", f"{snapshot.fraction:.0%}"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    if snapshot.blocked:
        parts.append(f"{snapshot.blocked} blocked")
    parts.append(clock(snapshot.elapsed_seconds))
    parts.append("ETA ..." if snapshot.eta_seconds is None else f"ETA {clock(snapshot.eta_seconds)}")
    return " · ".join(parts)
