"""`make chaos`: every fault that can be provoked on one machine, many times, and one table of what it cost."""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import forking
from crash_points import crash_points, traceable
from crowds import clock_jumps, gate_holders_stopped, locks_held, runners_at_once, writers
from damage import checkpoints, databases, upgrades
from forking import exit_code, fork
from fuzzing import names, study_files
from kills import light_kills, pauses, training_kills
from outcome import Outcome, table
from soak import many_jobs

SIZES = {
    # part: in the tests, `make chaos`, `make chaos-long`
    "kills": (30, 500, 6000),
    "training-kills": (0, 30, 300),
    "pauses": (3, 30, 300),
    "crash-points": (50, 8, 1),
    "runners": (6, 20, 20),
    "writers": (0, 30, 600),
    "locks": (1, 3, 10),
    "stopped-writer": (1, 5, 20),
    "clocks": (1, 5, 20),
    "checkpoints": (300, 2000, 2000),
    "databases": (5, 200, 1000),
    "upgrades": (0, 10, 1),
    "study-files": (150, 2000, 10000),
    "names": (60, 1000, 5000),
    "jobs": (20, 200, 1000),
}
"""How much of each part; for crash points and upgrades every how-manieth, for writers the seconds, else how often."""


def part(name: str, size: int, root: Path) -> Outcome:
    """Do one part, in a process of its own."""
    forking.be_quick()
    if name != "training-kills":
        forking.be_light()
    if name == "pauses":
        forking.be_short_leased()
    parts: dict[str, Callable[[], Outcome]] = {
        "kills": lambda: light_kills(root, size),
        "training-kills": lambda: training_kills(root, size),
        "pauses": lambda: pauses(root, size),
        "crash-points": lambda: crash_points(root, size),
        "runners": lambda: runners_at_once(root, size),
        "writers": lambda: writers(root, 32, size),
        "locks": lambda: locks_held(root, size),
        "stopped-writer": lambda: gate_holders_stopped(root, size),
        "clocks": lambda: clock_jumps(root, size),
        "checkpoints": lambda: checkpoints(root, size),
        "databases": lambda: databases(root, size),
        "upgrades": lambda: upgrades(root, size),
        "study-files": lambda: study_files(size),
        "names": lambda: names(size),
        "jobs": lambda: many_jobs(root, size),
    }
    return parts[name]()


def apart(name: str, size: int, place: Path) -> Outcome:
    """The part's outcome, from a fork; one that died is wrong."""
    root = place / name
    root.mkdir()
    answer = root / "outcome.json"

    def work() -> int:
        answer.write_text(json.dumps(asdict(part(name, size, root))))
        return 0

    code = exit_code(fork(work, root / "said.txt"))
    said = (root / "said.txt").read_text()
    if said:
        sys.stderr.write(f"{name}:\n{said}\n")
    if code != 0:
        return Outcome(name, 1, wrong=1, note=f"the campaign itself ended with {code}")
    return Outcome(**json.loads(answer.read_text()))


def place() -> Path:
    """A directory in memory where there is one: what is killed here is processes, not the power."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    return Path(tempfile.mkdtemp(prefix="kdharness-chaos-", dir=memory if roomy else None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where nothing was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--size", choices=("tests", "short", "long"), default="short")
    parser.add_argument("--json", action="store_true", help="the outcomes as JSON lines, as they come")
    parser.add_argument("--root", type=Path, help="an empty directory to work in, to try another disk")
    parser.add_argument("only", nargs="*", metavar="PART[=SIZE]", help=f"of: {', '.join(SIZES)}")
    options = parser.parse_args(arguments)
    chosen = {name: sizes[("tests", "short", "long").index(options.size)] for name, sizes in SIZES.items()}
    if options.only:
        asked = dict(one.partition("=")[::2] for one in options.only)
        if unknown := asked.keys() - SIZES.keys():
            parser.error(f"no such part: {', '.join(sorted(unknown))}")
        chosen = {name: int(size or chosen[name]) for name, size in asked.items()}
    root = options.root or place()
    forking.preload()
    outcomes = []
    for name, size in chosen.items():
        if not size or (name == "crash-points" and not traceable()):
            continue
        began = time.monotonic()
        outcomes.append(apart(name, size, root))
        if options.json:
            sys.stdout.write(json.dumps({"part": name, **asdict(outcomes[-1])}) + "\n")
        else:
            verdict = "sound" if outcomes[-1].sound else "NOT SOUND"
            sys.stdout.write(f"{name}: {verdict}, {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
        shutil.rmtree(root / name, ignore_errors=True)
    if not options.json:
        sys.stdout.write(f"\n{table(outcomes)}\n")
    if options.root is None:
        shutil.rmtree(root, ignore_errors=True)
    return int(not all(one.sound for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
