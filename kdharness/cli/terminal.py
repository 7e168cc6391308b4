"""Tables that a person reads in a terminal, or where its output is piped."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def plain_table() -> "Table":
    """A table of heads, a rule and lines."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def wide_console(width: int = 120) -> "Console":
    """The terminal as it is; this many columns where there is none."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=width)
