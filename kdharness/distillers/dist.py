"""DIST: probabilities correlate with the teacher's, over the classes of an image and over the images of a class."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Batch, Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Weight
from kdharness.distillers.losses import cross_entropy, in_full
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("dist")
class DIST(Distiller):
    """`L = ce_weight CE(s, y) + inter_weight T² (1 - mean_b rho_b) + intra_weight T² (1 - mean_k rho_k)`.

    Huang, You, Wang, Qian and Xu, NeurIPS 2022 (arXiv 2205.10536). rho is Pearson's correlation of softmax(s/T) with
    softmax(t/T): of an image's row (inter) and of a class's column over the batch (intra). T² is the code's, not the
    paper's; the code is followed. Its loss weight 2 times its beta and gamma (1) is what the two weights say.

    1e-8 is added to the product of the norms, so a student equal to its teacher has a small loss that is not 0, and
    a row or column that is constant correlates 0: for one image the intra term is T².
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        inter_weight: Annotated[Weight, Field(description="Weight of the relation among an image's classes.")] = 2.0
        intra_weight: Annotated[Weight, Field(description="Weight of the relation among a class's images.")] = 2.0
        temperature: Temperature = 4.0

    config: Config
    paper = (
        "Huang, You, Wang, Qian, Xu, NeurIPS 2022. Equals hunto/image_classification_sota 6f7a70a, "
        "lib/models/losses/dist_kd.py."
    )
    revision = 1
    preset = "huang2022dist"

    @property
    def needs(self) -> Needs:
        return Needs()

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        temperature = self.config.temperature
        ours = F.softmax(in_full(student.logits) / temperature, dim=1)
        theirs = F.softmax(in_full(teacher.logits) / temperature, dim=1)
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "inter": lambda: temperature**2 * (1 - correlation(ours, theirs).mean()),
                "intra": lambda: temperature**2 * (1 - correlation(ours.T, theirs.T).mean()),
            }
        )

    def weights(self, epoch: int) -> Mapping[str, float]:
        config = self.config
        return {"ce": config.ce_weight, "inter": config.inter_weight, "intra": config.intra_weight}


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of each row with the other's: (N, M), (N, M) -> (N,); 0 for a constant row."""
    first, second = first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    products: Tensor = (first * second).sum(dim=1)
    return products / (norms + 1e-8)
