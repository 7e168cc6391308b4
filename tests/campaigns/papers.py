"""Does every table and figure of the papers come out? `make papers-smoke` runs the smoke form of each of their studies.

By the commands that a user has, in one home, so that what two files share is trained once: `run --smoke`, then
`report --smoke` with the figures. Each file has to yield all its tables, every cell of them filled, print beside them
where it asks for it, and all its figures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.reports import WRITTEN
from kdharness.study.load import load_study
from kdharness.study.smoke import shrink

PAPERS = Path(__file__).parents[2] / "studies" / "papers"


@dataclass(frozen=True)
class Yield:
    """What came of one file."""

    name: str
    runs: int = 0
    """Finished runs that it shows, its own and those that an earlier file trained."""
    tables: int = 0
    cells: int = 0
    figures: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    """Seconds of all its processes."""
    wrong: tuple[str, ...] = ()


def command(out: Path, *arguments: object) -> int:
    """The command's exit code; what it says goes into `out`."""
    program = [sys.executable, "-m", "kdharness", *map(str, arguments)]
    with (out / "said.txt").open("a") as said:
        said.write(f"$ kdharness {' '.join(program[3:])}\n")
        said.flush()
        return subprocess.run(program, stdout=said, stderr=said, check=False).returncode


def come_out(file: Path, place: Path, *options: str, call: Callable[..., int] = command) -> Yield:
    """Run the file's smoke form in the home of `place`, with its tables and figures in a folder of its name there."""
    began, spent = time.monotonic(), _cpu()
    home, out = Home(place / "home"), place / file.stem
    out.mkdir(parents=True, exist_ok=True)
    made = ("--format", "json", "-o", out / "tables.json", "--figures", out)
    for arguments in (("run", *options), ("report", *made)):
        code = call(out, *arguments, "--smoke", file, "--home", home.root)
        if code != 0:
            said = f"{arguments[0]} ended with {code}: see {out / 'said.txt'}"
            return Yield(file.stem, wall=time.monotonic() - began, cpu=_cpu() - spent, wrong=(said,))
    study = shrink(load_study(file))
    tables = json.loads((out / "tables.json").read_text())["tables"]
    pictures = sorted(out.glob("figure-*.png"))
    wrong: list[str] = []
    if (len(tables), len(pictures)) != (len(study.spec.tables), len(study.spec.figures)):
        wrong.append(f"it asks for {len(study.spec.tables)} tables and {len(study.spec.figures)} figures")
    wrong += [f"{path.name} has no PDF" for path in pictures if not path.with_suffix(".pdf").exists()]
    written = [home.reports / f"{study.name}.{ending}" for ending in WRITTEN.values()]
    wrong += [
        f"{path.name} does not say smoke" for path in (*written, *out.glob("figure-*.txt")) if not _says(path, "smoke")
    ]
    return Yield(
        file.stem,
        runs=len({row.run_id for row in Store(home).queue(study.name) if row.state == "complete"}),
        tables=len(tables),
        cells=sum(len(table["cells"]) for table in tables),
        figures=len(pictures),
        wall=time.monotonic() - began,
        cpu=_cpu() - spent,
        wrong=(*wrong, *(what for table in tables for what in _lacking(table))),
    )


def _lacking(table: Mapping[str, Any]) -> Iterator[str]:
    """What a table should not be: without numbers, or with a word on what one run shows beside print."""
    empty = [f"{cell['row']}, {cell['column']}" for cell in table["cells"] if cell["mean"] is None]
    if empty or not table["cells"]:
        yield f"{table['title']}: no number in {'; '.join(empty[:3]) or 'it'} ({len(empty)} cells)"
    if any((cell["published"] or {}).get("verdict") for cell in table["cells"]):
        yield f"{table['title']}: a verdict"
    if table["published"] is not None and not any(cell["published"] for cell in table["cells"]):
        yield f"{table['title']}: nothing of {table['published']} beside it"


def _says(path: Path, word: str) -> bool:
    return path.exists() and word in path.read_text().casefold()


def _cpu() -> float:
    """Seconds that this process and those it has waited for have spent."""
    return sum(os.times()[:4])


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every file yields what it should."""
    parser = argparse.ArgumentParser(prog="papers", description=__doc__)
    parser.add_argument("--out", type=Path, help="a directory for home, tables and figures; kept")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("only", nargs="*", metavar="NAME", help="parts of files' names")
    options = parser.parse_args(arguments)
    out = (options.out or Path(tempfile.mkdtemp(prefix="kdharness-papers-"))).absolute()
    files = [path for path in sorted(PAPERS.glob("*.yaml")) if any(part in path.stem for part in options.only or [""])]
    found: list[Yield] = []
    for file in files:
        one = come_out(file, out, "--slots", str(options.slots))
        found.append(one)
        sys.stdout.write(
            f"{one.name:<24} {one.runs:>3} runs, {one.tables} tables of {one.cells:>3} cells, {one.figures} figures, "
            f"{one.wall:>4.0f} s ({one.cpu:.0f} s CPU)\n" + "".join(f"  RED: {what}\n" for what in one.wrong)
        )
        sys.stdout.flush()
    wall, cpu = (sum(seconds) / 60 for seconds in zip(*((one.wall, one.cpu) for one in found), strict=True))
    tables, figures = sum(one.tables for one in found), sum(one.figures for one in found)
    red = [one.name for one in found if one.wrong]
    sys.stdout.write(
        f"{len(found)} files, {tables} tables, {figures} figures in {wall:.1f} minutes ({cpu:.1f} of CPU time): {out}\n"
        + (f"not all came out: {', '.join(red)}\n" if red else "")
    )
    return int(bool(red))


if __name__ == "__main__":
    sys.exit(main())
