"""What a part of the campaign came to, and the one table of all parts."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import LATER


@dataclass(frozen=True)
class Outcome:
    """One row: a fault that was provoked `tries` times, and what it cost."""

    fault: str
    tries: int
    lost: int = 0
    """Runs without a result or a stated failure; rows or files that were there before and are not any more."""
    duplicated: int = 0
    """Runs that two attempts finished, and writes of an attempt whose lease was lost."""
    wrong: int = 0
    """Weights of another hash than undisturbed, values of another meaning, tracebacks, promises about time broken."""
    slowest: float | None = None
    """Seconds from the fault until its run was in the queue again, or until the answer came."""
    note: str = ""

    @property
    def sound(self) -> bool:
        return self.tries > 0 and not (self.lost or self.duplicated or self.wrong)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown, with what was not tried in a last line."""
    heads = ("fault", "tries", "lost", "duplicated", "wrong", "slowest recovery", "")
    rows = [
        (
            one.fault,
            f"{one.tries:,}",
            str(one.lost),
            str(one.duplicated),
            str(one.wrong),
            "" if one.slowest is None else f"{one.slowest:.2f} s",
            one.note,
        )
        for one in outcomes
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    texts = (0, len(heads) - 1)
    rule = [("-" * width + ("-" if at in texts else ":")) for at, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        both = zip(cells, widths, strict=True)
        return "| " + " | ".join(c.ljust(w) if at in texts else c.rjust(w) for at, (c, w) in enumerate(both)) + " |"

    later = ", ".join(f"{words} ({number})" for number, words in LATER.items())
    return "\n".join([line(heads), f"|-{'|-'.join(rule)}|", *map(line, rows), "", f"Later work: {later}."])
