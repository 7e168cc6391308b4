"""Does a run give the same bits in whatever way it is trained? `make exact` compares them all and prints a table.

What is compared is everything that a checkpoint holds after 20 main steps (networks, adapters, optimizer, sealed test
scores), by SHA-256, with the run trained alone without a table.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from kdharness.core.keys import canonical
from kdharness.core.records import Execution, Recipe, RunKey, Setting, Teacher
from kdharness.core.streams import seeded
from kdharness.datasets.synthetic import Synthetic
from kdharness.distillers.registry import DISTILLERS
from kdharness.models.registry import MODELS
from kdharness.training import checkpoint
from kdharness.training.cohort import EpochEnd, Finished, Member, train_cohort
from kdharness.training.table_filling import AGREEMENT
from kdharness.training.table_shelf import TableShelf

sys.path.append(str(Path(__file__).parents[1] / "distillers"))
from test_pairs import CROSS, SAME

CLASSES = 10
CONSTANTS: Mapping[str, Mapping[str, Any]] = {
    "crd": {"negatives": 64},
    "ab": {"init_epochs": 1, "init_lr": 1e-3},
    "ft": {"init_epochs": 1, "init_lr": 1e-3},
    "fsp": {"init_epochs": 1, "init_lr": 1e-4},
    "cc": {"correlation_weight": 1e-4},
}
"""Where a method's own are for more images or epochs than there are here, or for teachers that were trained."""
Case = tuple[str, int]
"""A distiller and a seed."""


@dataclass(frozen=True)
class Group:
    """Runs of one pair, of which each is trained in every way; `beside` train with them and are not compared."""

    pair: str
    distillers: tuple[str, ...]
    beside: tuple[Case, ...] = ()
    size: int = 8
    batch: int = 16
    constants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By distiller, of this pair."""

    @property
    def images(self) -> int:
        """Ten batches, the last a short one: under 16 rows at a batch of 16."""
        return 9 * self.batch + self.batch * 2 // 3

    @property
    def cases(self) -> tuple[Case, ...]:
        return tuple((name, 0) for name in self.distillers)

    @property
    def name(self) -> str:
        return f"{self.pair}, {self.size}x{self.size}, batch {self.batch}"


def campaign() -> list[Group]:
    """The long form."""
    every = tuple(DISTILLERS)
    equal_channels = {"fsp": {"layers": "stage1=stage2 stage2=stage3"}}
    return [
        *(Group(pair, ("kd",), (("none", 0), ("fitnet", 0), ("kd", 1))) for pair in (*SAME, *CROSS)),
        Group("resnet56 -> resnet20", every),
        Group("wrn_40_2 -> resnet8x4", every, constants=equal_channels),
        Group("resnet32x4 -> resnet8x4", ("kd", "dkd", "luminet", "fitnet", "crd"), size=32, batch=64),
    ]


def group_of(text: str) -> Group:
    """As another process is told it."""
    told = json.loads(text)
    return Group(**{**told, "distillers": tuple(told["distillers"])})


class Collected:
    """A sink that keeps the last point of each run; stops after `stop_after` steps of all members together."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.ends: dict[str, EpochEnd] = {}
        self.stop_after, self.steps = stop_after, 0

    def epoch_end(self, run_id: str, end: EpochEnd) -> None:
        self.ends[run_id] = end

    def finished(self, run_id: str, result: Finished) -> None:
        pass

    def failed(self, run_id: str, error: Exception) -> None:
        raise RuntimeError(run_id) from error

    def stop_requested(self) -> bool:
        self.steps += 1
        return self.steps == self.stop_after

    def checkpoint_due(self, run_id: str) -> bool:
        return False


class Trainer:
    """Trains the runs of one group and says what came of them."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.data = Synthetic(Path(), num_classes=CLASSES, size=group.size, train_size=group.images, test_size=16)

    def train(
        self,
        cases: Sequence[Case],
        tables: Path | None = None,
        resume: Any = None,
        stop_after: int | None = None,
    ) -> dict[Case, EpochEnd]:
        """Side by side, to the end or for so many steps."""
        sink = Collected(stop_after)
        members = [self.member(case, resume) for case in cases]
        train_cohort(members, self.data, Execution(tables=tables), sink)
        return {case: sink.ends[run_id(case)] for case in cases}

    def digests(self, cases: Sequence[Case], tables: Path | None = None, resume: Any = None) -> dict[Case, str]:
        return {case: digest(end) for case, end in self.train(cases, tables, resume).items()}

    def alone(self, tables: Path | None = None) -> dict[Case, str]:
        return {case: self.digests([case], tables)[case] for case in self.group.cases}

    def side_by_side(self, cases: Sequence[Case], tables: Path | None = None) -> dict[Case, str]:
        found = self.digests(cases, tables)
        return {case: found[case] for case in self.group.cases if case in found}

    def in_twos(self) -> dict[Case, str]:
        """Each beside one other."""
        cases = [*self.group.cases, *self.group.beside]
        found: dict[Case, str] = {}
        for case, neighbour in zip(cases, [*cases[1:], cases[0]], strict=True):
            if case in self.group.cases:
                found[case] = self.digests([neighbour, case])[case]
        return found

    def resumed(self, folder: Path) -> dict[Case, str]:
        """Each stopped within an epoch and gone on with from a file."""
        found = {}
        for number, case in enumerate(self.group.cases):
            state = self.train([case], stop_after=1 + 7 * number % 19)[case].state
            sha256 = checkpoint.write(folder / "point", state)
            found |= self.digests([case], resume=checkpoint.read(folder / "point", sha256))
        return found

    def in_another_process(self) -> dict[Case, str]:
        command = [sys.executable, __file__, json.dumps(asdict(self.group))]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return dict(zip(self.group.cases, json.loads(said), strict=True))

    def member(self, case: Case, resume: Any) -> Member:
        name, seed = case
        teacher_name, student = self.group.pair.split(" -> ")
        distiller = DISTILLERS.get(name)
        changed = {**CONSTANTS.get(name, {}), **self.group.constants.get(name, {})}
        config = distiller.Config.model_validate({**canonical(distiller.Config()), **changed})
        needs = distiller(config).needs
        taught = needs.teacher == "weights"
        run = RunKey(setting_key="f" * 64, seed=0) if taught else None
        setting = Setting(
            dataset="synthetic",
            fingerprint=self.data.fingerprint,
            student=student,
            student_revision=1,
            teachers=() if needs.teacher == "none" else (Teacher(model=teacher_name, revision=1, run=run),),
            distiller=name,
            distiller_revision=1,
            constants=canonical(config),
            recipe=Recipe(epochs=2, batch_size=self.group.batch, lr=0.01, milestones=(1,), augment="crop4-flip"),
        )
        weights = (teacher_weights(teacher_name, self.group.size),) if taught else ()
        return Member(run_id(case), setting, seed, weights, resume)


def run_id(case: Case) -> str:
    return f"{case[0]}-{case[1]}"


@cache
def teacher_weights(name: str, size: int) -> dict[str, Tensor]:
    """As initialised, with the batch statistics of noise."""
    with seeded("a teacher", name):
        model = MODELS.get(name).build(CLASSES, (3, size, size))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        with torch.no_grad():
            model.train()(torch.randn(128, 3, size, size))
    return model.state_dict()


def digest(end: EpochEnd) -> str:
    """SHA-256 of all that the point holds but the clock's."""
    hashed = hashlib.sha256(f"{end.epoch} {end.step}".encode())
    for name, value in _leaves(end.state):
        if "seconds" not in name:
            hashed.update(name.encode())
            hashed.update(value.contiguous().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
    return hashed.hexdigest()


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key in sorted(tree):
            yield from _leaves(tree[key], f"{name}.{key}")
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{name}.{number}")
    else:
        yield name, tree


def ways(trainer: Trainer, folder: Path, process: bool = True) -> dict[str, Callable[[], dict[Case, str]]]:
    """By name; the tables are filled by one way and read by the next."""
    group, tables = trainer.group, folder / "tables"
    together = (*group.cases, *group.beside)
    found: dict[str, Callable[[], dict[Case, str]]] = {
        "again": trainer.alone,
        "cohort": lambda: trainer.side_by_side(together),
        "other order": lambda: trainer.side_by_side(together[::-1]),
        "in twos": trainer.in_twos,
        "cold table": lambda: trainer.alone(tables),
        "warm table": lambda: trainer.alone(tables),
        "cohort, table": lambda: trainer.side_by_side(together, tables),
        "resumed": lambda: trainer.resumed(folder),
    }
    return found | ({"process": trainer.in_another_process} if process else {})


def compare(group: Group, process: bool = True) -> tuple[dict[str, list[str]], str]:
    """Way -> the distillers whose bits differ; and how many of the tables begun answered at every size of batch."""
    trainer = Trainer(group)
    reference = trainer.alone()
    differ = {}
    with tempfile.TemporaryDirectory() as folder:
        for way, tried in ways(trainer, Path(folder), process).items():
            found = tried()
            differ[way] = [case[0] for case, value in reference.items() if found.get(case) != value]
        begun = [table.folder / AGREEMENT for table in TableShelf(Path(folder) / "tables").tables()]
        return differ, f"{sum(all(json.loads(path.read_bytes()).values()) for path in begun)}/{len(begun)}"


def main() -> int:
    """Print the table; 1 where a bit differs."""
    console, began = Console(width=180), time.monotonic()
    table = Table("pair", "distillers", "tables", *ways(Trainer(campaign()[0]), Path()))
    compared = equal = 0
    for group in campaign():
        differ, tables = compare(group)
        many = len(group.distillers)
        cells = [f"{many - len(names)}/{many} {' '.join(names)}".strip() for names in differ.values()]
        table.add_row(group.name, str(many), tables, *cells)
        compared += many * len(differ)
        equal += sum(many - len(names) for names in differ.values())
        console.print(f"{time.monotonic() - began:6.0f} s  {group.name}: tables {tables}; {', '.join(cells)}")
    console.print(table)
    console.print(f"{equal} of {compared} comparisons equal, {time.monotonic() - began:.0f} s")
    return int(equal < compared)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(list(Trainer(group_of(sys.argv[1])).alone().values())))
    else:
        sys.exit(main())
