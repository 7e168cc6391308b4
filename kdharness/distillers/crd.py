"""CRD: an image's embedding agrees with what the other network said of that image, not of others."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from kdharness.core.types import Batch, BuildContext, Distiller, DistillerConfig, Needs, NetworkView, Outputs
from kdharness.distillers.banks import Banks
from kdharness.distillers.constants import CrossEntropyWeight, Temperature, Weight
from kdharness.distillers.losses import cross_entropy
from kdharness.distillers.registry import DISTILLERS


@DISTILLERS.add("crd")
class CRD(Distiller):
    """`L = ce_weight CE(s, y) + contrast_weight (N(e_s, M_t) + N(e_t, M_s))`, N the noise contrastive estimation.

    Tian et al., ICLR 2020 (arXiv 1910.10699), section 3. e are linear embeddings of the pooled features,
    L2-normalised, both trained; M holds a row per training image for each network. Of a score p = exp(e . row / T) / Z
    of the positive p_0 and K `negatives` from other classes, N is the mean over the batch of
    -log p_0 / (p_0 + K / n) - sum_k log (K / n) / (p_k + K / n), n the number of training images. Z is n times the mean
    score of the first step and stays. After a step the rows of the batch move: row = normalise(momentum row +
    (1 - momentum) e), with the embeddings of before the update, as in the code.

    Choices of the code: 1e-7 in the denominators; negatives without replacement where the other classes have enough,
    which `replacement` turns off (the ImageNet configuration); `positive: relax` takes a random image of the class for
    the positive, but moves the image's own row. A zero embedding has no direction: 0 here, NaN in the code. Scores
    come from one product with the whole bank, which takes less memory than gathering K rows per image.
    """

    class Config(DistillerConfig):
        ce_weight: CrossEntropyWeight = 1.0
        contrast_weight: Annotated[Weight, Field(description="Weight of the contrast.")] = 0.8
        dimension: Annotated[int, Field(strict=True, ge=1, le=65536, description="Width of the embeddings.")] = 128
        negatives: Annotated[int, Field(strict=True, ge=1, le=1_000_000, description="Negatives per image (K).")] = (
            16384
        )
        temperature: Annotated[Temperature, Field(description="Divides the inner products (T).")] = 0.07
        momentum: Annotated[float, Field(strict=True, ge=0, lt=1, description="What a row keeps of itself.")] = 0.5
        positive: Annotated[Literal["exact", "relax"], Field(description="The image itself, or any of its class.")] = (
            "exact"
        )
        replacement: Annotated[bool, Field(strict=True, description="Draws negatives with replacement.")] = False

    config: Config
    paper = "Tian, Krishnan, Isola, ICLR 2020. Equals RepDistiller b84f547, crd/, and mdistiller a08d46f."
    family = "relations"
    revision = 1
    order_matters = "negatives are drawn row by row"
    preset = "tian2020crd"

    @property
    def needs(self) -> Needs:
        return Needs(teacher_pooled=True, train_labels=True, random=True)

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        """The two embeddings and the two banks."""
        labels = context.train_labels
        if labels is None:
            raise ValueError("crd was built without the train labels that its needs name")
        widths = student.shapes["pooled"][0], teacher.shapes["pooled"][0]
        self.banks = Banks(*widths, self.config.dimension, labels, context.num_classes)
        return self.banks

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return batch.terms(
            {
                "ce": lambda: cross_entropy(student.logits, batch.labels),
                "contrast": lambda: self.guidance(student, teacher, batch),
            }
        )

    def guidance(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The term `contrast`: -> ()."""
        banks = self.banks
        ours = F.normalize(banks.embed_s(student.pooled), dim=1)
        theirs = F.normalize(banks.embed_t(teacher.pooled), dim=1)
        columns = self.columns(batch)
        # over a row that repeats, the gradient of a choice would depend on the order of a GPU's additions
        products = of_gathered_rows if self.repeats and columns.is_cuda else of_the_whole_bank
        scores = torch.stack(
            [
                torch.exp(products(embedded, bank, columns) / self.config.temperature)
                for embedded, bank in ((ours, banks.memory_v2), (theirs, banks.memory_v1))
            ]
        )
        rows = len(banks.memory_v1)
        constants = torch.where(banks.Z < 0, scores.detach().mean((1, 2)) * rows, banks.Z)
        self.seen = ours.detach(), theirs.detach(), constants
        estimates = noise_contrastive(scores / constants[:, None, None], rows)
        return estimates.sum()

    def weights(self, epoch: int) -> Mapping[str, float]:
        return {"ce": self.config.ce_weight, "contrast": self.config.contrast_weight}

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        if batch.active and "contrast" not in batch.active:
            return
        ours, theirs, constants = self.seen
        self.banks.Z.copy_(constants)
        for bank, embedded in ((self.banks.memory_v1, ours), (self.banks.memory_v2, theirs)):
            moved = torch.lerp(embedded, bank[batch.index], self.config.momentum)
            bank[batch.index] = F.normalize(moved, dim=1)

    @property
    def repeats(self) -> bool:
        """Whether a row may stand among an image's negatives twice."""
        return self.config.replacement or self.config.negatives > self.banks.fewest_others

    def columns(self, batch: Batch) -> Tensor:
        """Rows of the banks that each image is scored against, the positive first: (B, 1 + negatives)."""
        banks, count = self.banks, self.config.negatives
        first, size = banks.first[batch.labels][:, None], banks.size[batch.labels][:, None]
        ordered, device = len(banks.by_class), batch.labels.device
        if self.repeats:
            uniform = torch.rand(len(first), count, generator=batch.generator, device=device, dtype=torch.float64)
            place = (uniform * (ordered - size)).long()
            place = place + size * (place >= first)  # behind the image's own class
        else:
            uniform = torch.rand(len(first), ordered, generator=batch.generator, device=device)
            every = torch.arange(ordered, device=device)
            uniform = uniform.masked_fill((every >= first) & (every < first + size), -1.0)
            place = uniform.topk(count, dim=1).indices
        positive = batch.index[:, None]
        if self.config.positive == "relax":
            uniform = torch.rand(len(first), 1, generator=batch.generator, device=device, dtype=torch.float64)
            positive = banks.by_class[first + (uniform * size).long()]
        return torch.cat((positive, banks.by_class[place]), dim=1)


def of_the_whole_bank(embedded: Tensor, bank: Tensor, columns: Tensor) -> Tensor:
    """Inner products with chosen rows of the bank: (B, D), (N, D), (B, 1 + K) -> (B, 1 + K)."""
    return (embedded @ bank.T).gather(1, columns)


def of_gathered_rows(embedded: Tensor, bank: Tensor, columns: Tensor) -> Tensor:
    """The same, in B (1 + K) D numbers of memory."""
    products: Tensor = (bank[columns] @ embedded[:, :, None])[:, :, 0]
    return products


def noise_contrastive(scores: Tensor, rows: int) -> Tensor:
    """N of each network's scores, the positive first: (2, B, 1 + K) -> (2,)."""
    noise, epsilon = (scores.shape[2] - 1) / rows, 1e-7
    positive, others = scores[:, :, 0], scores[:, :, 1:]
    kept = torch.log(positive / (positive + noise + epsilon))
    refused = torch.log(noise / (others + noise + epsilon)).sum(2)
    return -(kept + refused).mean(1)
