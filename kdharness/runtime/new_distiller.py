"""The files that `kdharness new distiller` writes: a method that works as it stands, and its test."""

import keyword
import re
from pathlib import Path

from kdharness.core.errors import BadInput

_METHOD = '''\
"""{title}: what the student learns from the teacher, in one sentence."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Weight
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("{name}")
class {title}(Distiller):
    """`L = ce_weight CE(s, y) + match_weight mean((s - t)²)`, s and t the raw logits. Authors, venue, equation."""

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        match_weight: Annotated[Weight, Field(description="Weight of the squared distance of the logits.")] = 0.1

    config: Config
    paper = "Ours. No public code."
    family = "logits"
    revision = 1

    @property
    def needs(self) -> Needs:
        """Besides logits: Needs(teacher_pooled=True), Needs(stages=("stage2",), teacher_stages=("stage2",)), ..."""
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The terms without their weights."""
        return {{
            "ce": cross_entropy(student.logits, batch.labels),
            "match": F.mse_loss(in_full(student.logits), in_full(teacher.logits)),
        }}

    def weights(self, epoch: int) -> Mapping[str, float]:
        """Of each term in `epoch` (from 1): a warm-up stands here."""
        return {{"ce": self.config.ce_weight, "match": self.config.match_weight}}
'''

_TEST = '''\
"""{title} keeps the laws of every distiller, and gives what was worked out by hand."""

import pytest
import torch
from {name} import {title}

from kdharness.core.types import Batch, Outputs
from kdharness.testing import check_distiller


def test_laws() -> None:
    check_distiller({title}, zero_at_equal=("match",))


def test_by_hand() -> None:
    # two classes, ((0 - 1)² + (0 - 3)²) / 2 = 5
    student, teacher = torch.zeros(1, 2), torch.tensor([[1.0, 3.0]])
    labels = torch.tensor([0])
    batch = Batch(torch.zeros(1, 3, 8, 8), labels, labels, torch.tensor(1), torch.tensor(0), torch.Generator())
    terms = {title}({title}.Config()).losses(Outputs(student, student), Outputs(teacher, teacher), batch)
    assert terms["match"].item() == pytest.approx(5.0)
'''


def write_distiller(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `name.py` and `test_name.py`; their paths.

    Raises BadInput for a name that is no Python module's or that a distiller has, and where a file is there already:
    then nothing is written.
    """
    from kdharness.distillers.registry import DISTILLERS

    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise BadInput(
            f"{name!r} cannot be the name of a distiller and its file",
            remedy="use lower-case letters, digits and _, a letter first: my_method",
        )
    if name in DISTILLERS:
        raise BadInput(f"there is a distiller {name!r} already", remedy="kdharness list distillers shows them all")
    words = {"name": name, "title": "".join(part.capitalize() for part in name.split("_"))}
    files = {folder / f"{name}.py": _METHOD, folder / f"test_{name}.py": _TEST}
    for path in files:
        if path.exists():
            raise BadInput(f"{path} exists already", remedy="take another name, or remove it first")
    for path, text in files.items():
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text.format(**words))
        except OSError as error:
            raise BadInput(f"{path} cannot be written: {error.strerror}") from error
    method, test = files
    return method, test
