"""The loss terms that several methods share, each once. Axes: B batch, K classes. Log-space forms only.

Half precision logits are computed with in float32; float32 and float64 stay as they are.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Std = Literal["sample", "population"]
Standardizing = Literal["none", "zscore", "mean", "std"]


def in_full(values: Tensor) -> Tensor:
    """The values in float32 where they came in half precision, else as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def cross_entropy(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of -log softmax(s)[y]: (B, K), (B,) -> ()."""
    return F.cross_entropy(in_full(student_logits), labels)


def softened_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """T² times the batch mean of KL(softmax(t/T) || softmax(s/T)): (B, K), (B, K) -> (). Zero where s = t + const.

    Hinton et al. 2015, section 2. A teacher probability of 0 counts 0.
    """
    student_logits, teacher_logits = in_full(student_logits), in_full(teacher_logits)
    return temperature**2 * kl_divergence(student_logits / temperature, teacher_logits / temperature)


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Batch mean of KL(softmax(t) || softmax(s)): (B, K), (B, K) -> ()."""
    student_log = F.log_softmax(in_full(student_logits), dim=1)
    teacher_log = F.log_softmax(in_full(teacher_logits), dim=1)
    return F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)


def standardized(logits: Tensor, std: Std = "sample", kind: Standardizing = "zscore") -> Tensor:
    """Every row minus its mean, over its standard deviation: (B, K) -> (B, K); the gradient flows through both.

    Sun et al., CVPR 2024. Algorithm 1 of the paper divides by the population standard deviation (1/K); the authors'
    code and their Figure 2 use the sample's (1/(K-1)) and add 1e-7 to it: `sample`. A constant row becomes 0.
    `kind` is a column of their Table 4: none of the two steps, one or both. Softmax does not see a shift, so behind
    one `mean` equals `none` and `std` equals `zscore`, whatever the table's columns print.
    """
    if kind == "none":
        return logits
    logits = in_full(logits)
    # before the mean: autograd adds the parts of a gradient in the order of the graph, and the sum's last bits with it
    deviation = None if kind == "mean" else logits.std(dim=1, keepdim=True, correction=1 if std == "sample" else 0)
    centred = logits if kind == "std" else logits - logits.mean(dim=1, keepdim=True)
    return centred if deviation is None else centred / (1e-7 + deviation)


def warmed_up(weight: float, epoch: int, warmup: int) -> float:
    """The weight in `epoch` (from 1): it grows linearly and is whole from epoch `warmup` on; at once where that is 0.

    Epoch 1 of 20 has 1/20, as in DKD's code.
    """
    return weight * min(epoch / warmup, 1.0) if warmup else weight
