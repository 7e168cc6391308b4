"""`kdharness gc`: free the disk of what nothing needs."""

import sys
from typing import Annotated

import typer

from kdharness.cli.options import HomeOption, JsonOption, echo_json
from kdharness.core.home import Home


def register(app: typer.Typer) -> None:
    app.command()(gc)


def gc(
    weights: Annotated[
        bool, typer.Option("--weights", help="Also the weights of finished students that teach nobody.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it without asking.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List checkpoints, weights and tables that nothing needs, with their sizes, and remove them once confirmed."""
    from kdharness.results.store import Store
    from kdharness.runtime.garbage import find, remove

    place = Home.at(home)
    store = Store(place)
    found = find(place, store, weights=weights)
    total = sum(one.bytes for one in found)
    if not as_json:
        for one in found:
            typer.echo(f"{_size(one.bytes):>10}  {one.what:<11}  {one.path.relative_to(place.root)}  ({one.why})")
        typer.echo(f"{_size(total):>10}  {len(found)} things that nothing needs" if found else "nothing to remove")
    ask = found and not yes and not dry_run and not as_json and sys.stdin.isatty()
    removed = []
    if found and not dry_run and (yes or (ask and typer.confirm("Remove them?"))):
        removed = remove(place, store, found, weights=weights)
        if not as_json:
            freed = _size(sum(one.bytes for one in removed))
            typer.echo(f"removed {len(removed)} of {len(found)}, {freed}; every number of every table is still there")
    elif found and not as_json and not ask:
        typer.echo("nothing was removed: --yes does it")
    if as_json:
        rows = [{"what": one.what, "path": str(one.path), "bytes": one.bytes, "why": one.why} for one in found]
        echo_json({"found": rows, "bytes": total, "removed": [str(one.path) for one in removed]})


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
