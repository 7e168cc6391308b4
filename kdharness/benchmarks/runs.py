"""The runs that are timed: eight methods on one pair, as a study asks for them, taught by a network that knows nothing.

The teacher has random weights and batch norms calibrated on the images, so that its logits are of a trained network's
size: what a step costs does not depend on what a network knows.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kdharness.core.records import Precision, WantedRun
from kdharness.core.streams import seeded
from kdharness.core.types import Dataset
from kdharness.evaluation.pixels import normalised
from kdharness.models.registry import MODELS
from kdharness.study.expand import expand
from kdharness.study.load import parse_study
from kdharness.training.members import Member

EIGHT = """\
  - {name: kd, temperature: {each: [1, 2, 4, 8]}}
  - dkd
  - {name: kd, preset: sun2024logit, label: KD+LS}
  - {name: luminet, temperature: {each: [4, 8]}}
"""
"""Eight methods that read the teacher's logits."""
PLAIN = "  - {name: kd, temperature: {each: [4]}}\n"
"""The one of them that the plain loop trains where one stands for all: none computes longer than 1 ms in its loss."""
SIXTEEN = "  - {name: kd, temperature: {each: [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8, 8.5]}}\n"
CALIBRATION = 2
"""Batches of 64 from which a teacher's batch norms take their statistics."""

Weights = Mapping[str, Tensor]


def study_text(
    pair: str,
    rows: str = EIGHT,
    *,
    dataset: str = "synthetic",
    epochs: int = 240,
    precision: Precision = "tf32",
    seeds: int = 1,
) -> str:
    """The study file of the runs."""
    return (
        f"study: bench\ndataset: {dataset}\nteachers: imported\n"
        f"recipe: {{from: cifar100-240, epochs: {epochs}, precision: {precision}}}\n"
        f"pairs: [{pair}]\ndistillers:\n{rows}seeds: {seeds}\n"
    )


def wanted(text: str) -> list[WantedRun]:
    """The runs of a study file that names its teacher by its network alone."""
    return expand(parse_study(text.encode(), "bench.yaml"), data=Path()).wanted


def members(text: str, teacher: Weights) -> list[Member]:
    """The same for `train_cohort`, taught by these weights."""
    return [
        Member(f"{run.label} {run.setting.key[:6]}", run.setting, run.seed, (teacher,) if run.setting.teachers else ())
        for run in wanted(text)
    ]


def teacher_weights(model: str, dataset: Dataset) -> Weights:
    """Random weights, the same every time, with calibrated batch norms."""
    with seeded("bench teacher", 0):
        network = MODELS.get(model).build(dataset.num_classes, dataset.image_shape)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    images = dataset.split("train").images
    assert isinstance(images, Tensor)  # of datasets in memory
    network.to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        for pixels in torch.split(images[: CALIBRATION * 64], 64):
            network(normalised(pixels.permute(0, 2, 3, 1), dataset.normalization, torch.float32))
    return {key: value.contiguous() for key, value in network.state_dict().items()}
