"""How long a study held devices: every attempt of every run, those that came to nothing too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kdharness.reporting.latex import escape

KINDS = ("teachers", "search", "final runs", "no result", "dropped")
"""What time went into: `no result` are attempts that failed, diverged, died or were cancelled, `dropped` runs that an
earlier version of the study asked for."""


@dataclass(frozen=True)
class Span:
    """The time between an attempt's claim and its end, in seconds of Unix time."""

    place: str
    """What it occupied: a GPU, or one place for a job on a CPU. Attempts there at one time share it."""
    device: str
    kind: str
    """One of KINDS."""
    since: float
    until: float
    threads: int = 1
    """Cores that it was given on a CPU."""


@dataclass(frozen=True)
class Hours:
    """What one kind of device did."""

    device: str
    hours: Mapping[str, float]
    """By kind, by the clock. Of a GPU; of a CPU times the cores that were given."""
    attempts: int

    @property
    def total(self) -> float:
        return sum(self.hours.values())


def hours(spans: Iterable[Span]) -> list[Hours]:
    """By device; an hour that several attempts share (a cohort, jobs beside each other) counts once, in equal parts."""
    by_place: dict[str, list[Span]] = {}
    for span in spans:
        by_place.setdefault(span.place, []).append(span)
    seconds: dict[str, dict[str, float]] = {}
    attempts: dict[str, int] = {}
    for here in by_place.values():
        for span, share in zip(here, _shares(here), strict=True):
            told = seconds.setdefault(span.device, dict.fromkeys(KINDS, 0.0))
            told[span.kind] += share * span.threads
            attempts[span.device] = attempts.get(span.device, 0) + 1
    return [
        Hours(device, {kind: one / 3600 for kind, one in seconds[device].items()}, attempts[device])
        for device in sorted(seconds)
    ]


def _shares(spans: Sequence[Span]) -> list[float]:
    """The seconds of each, every moment divided by how many there are in it."""
    shares = [0.0] * len(spans)
    known = [(number, span) for number, span in enumerate(spans) if span.until > span.since]
    moments = sorted(
        [(span.since, True, number) for number, span in known] + [(span.until, False, number) for number, span in known]
    )
    there: set[int] = set()
    before = 0.0
    for moment, begins, number in moments:
        for one in there:
            shares[one] += (moment - before) / len(there)
        before = moment
        (there.add if begins else there.discard)(number)
    return shares


def compute(found: Sequence[Hours], notes: Sequence[str], label: str) -> str:
    """A sentence with the totals, and a table by device."""
    said = " and ".join(map(_said, found)) or "no device yet"
    lines = [
        r"% \usepackage{booktabs}",
        escape(f"All runs together held {said}, failed and repeated attempts, searches and dropped runs included.")
        + rf" Table~\ref{{{label}}} has the parts.",
        *(escape(note) for note in notes),
        r"\begin{table*}[t]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{escape(_COUNTED)}}}",
        rf"\label{{{label}}}",
        r"\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{@{{}}p{{0.2\linewidth}}{'r' * (len(KINDS) + 2)}@{{}}}}",
        r"\toprule",
        " & ".join(["Device", *KINDS, "all", "attempts"]) + r" \\",
        r"\midrule",
        *(
            " & ".join(
                [escape(one.device), *(hour(one.hours[kind]) for kind in KINDS), hour(one.total), f"{one.attempts}"]
            )
            + r" \\"
            for one in found
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(lines)


_COUNTED = (
    "Hours by the clock for which attempts held a device, from claim to end, waiting included: GPU hours, and on a CPU "
    "core hours, times the threads of the attempt. What several share counts once. Processor time was not measured."
)


def _said(one: Hours) -> str:
    """`cpu (AMD EPYC) for 12.4 core hours`."""
    return f"{one.device} for {hour(one.total)} {'core' if one.device.startswith('cpu') else 'GPU'} hours"


def hour(value: float) -> str:
    """`123.4`, `0.0271`: three digits at least, never an exponent."""
    if value >= 100 or value == 0:
        return f"{value:.0f}" if value == 0 else f"{value:,.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"
