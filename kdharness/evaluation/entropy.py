"""How spread a student's answers are: entropy, instance variance, mutual information (LumiNet, Table 7)."""

import torch
from torch import Tensor

from kdharness.evaluation.judged import Found, Judged


def entropy(judged: Judged) -> Found:
    """In nats, of the plain softmax (temperature 1) over all images of the split.

    - `entropy`: the mean over images of H(p), p = softmax(z).
    - `instance_variance`: the mean over images of the variance of the raw logits over the classes (divisor K).
    - `mutual_information`: H(mean p) minus the mean of H(p): what the answer says of the image.

    The paper prints the words without definitions. It leaves open the temperature, whether the variance is of logits
    (its values, 4.4 to 0.91, cannot be of probabilities), on which split, and over how many images the mean p is
    taken. Its teacher has 0.03 + 3.64 nats where 100 balanced classes allow 4.61: as over batches of 64, for which
    one-hot answers give 3.77. Its own method has 1.26 + 3.65 = 4.91, more than any one p can have: at least one of the
    two was computed otherwise. So our numbers compare with each other, not with the print.
    """
    probabilities = judged.logits.double().softmax(1)
    conditional = entropy_of(probabilities).mean().item()
    metrics = {
        "entropy": conditional,
        "instance_variance": judged.logits.double().var(1, correction=0).mean().item(),
        "mutual_information": entropy_of(probabilities.mean(0)).item() - conditional,
    }
    return Found(metrics)


def entropy_of(probabilities: Tensor) -> Tensor:
    """(..., K) -> (...); a probability of 0 counts 0."""
    each: Tensor = torch.special.entr(probabilities)
    return each.sum(-1)
