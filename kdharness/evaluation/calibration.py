"""How far a student's confidences can be believed: ECE, MCE, Brier score, NLL, FPR at 95 % TPR (LumiNet, Table 8)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdharness.evaluation.judged import Found, Judged

BINS = 15
"""Of equal width over [0, 1], as in Guo et al., ICML 2017."""
TRUE_POSITIVES = 0.95


def calibration(judged: Judged) -> Found:
    """ECE, MCE, Brier and NLL as they are (nats), FPR95 in percent; per bin how many images, how sure and how right.

    MCE is over the bins that hold an image. The Brier score sums over the classes: 0 to 2.
    """
    probabilities = judged.logits.softmax(1)
    count, confidence, accuracy = reliability(probabilities, judged.labels)
    filled = count > 0
    gaps = (accuracy - confidence).abs()[filled]
    truth = F.one_hot(judged.labels, probabilities.shape[1])
    metrics = {
        "ece": ((count / count.sum())[filled] * gaps).sum().item(),
        "mce": gaps.max().item(),
        "brier": (probabilities - truth).double().square().sum(1).mean().item(),
        "nll": F.cross_entropy(judged.logits.double(), judged.labels).item(),
        "fpr95": 100 * false_positives(probabilities, judged.labels).mean().item(),
    }
    arrays = {"count": count.numpy(), "confidence": confidence.numpy(), "accuracy": accuracy.numpy()}
    return Found(metrics, arrays)


def reliability(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each bin of the confidence: (N, K), (N,) -> how many images, mean confidence, part that is right; (15,) each.

    A bin holds its upper border, the first one 0 too; one without images has NaN. (torchmetrics, which holds the lower
    border, counts a confidence of exactly 1 as a sixteenth bin, and float32 is often that sure.)
    """
    confidence, predicted = probabilities.double().max(1)
    borders = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
    at = torch.bucketize(confidence, borders)
    sums = torch.zeros(3, BINS, dtype=torch.float64)
    for row, values in enumerate((torch.ones_like(confidence), confidence, (predicted == labels).double())):
        sums[row].index_add_(0, at, values)
    return sums[0], sums[1] / sums[0], sums[2] / sums[0]


def false_positives(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Each class against the rest: the part of the rest that passes where 95 % of the class do: (N, K), (N,) -> (K',).

    Of the classes with and without images. LumiNet prints it "per class and averaged": the ROC of one class, not the
    score of out-of-distribution detection of the same name.
    """
    from sklearn.metrics import roc_curve

    rates = []
    for number in range(probabilities.shape[1]):
        own = labels == number
        if own.any() and not own.all():
            # every point of the curve: sklearn would leave out the one at which 95 % is reached where it is no corner
            fpr, tpr, _ = roc_curve(own.numpy(), probabilities[:, number].numpy(), drop_intermediate=False)
            rates.append(float(fpr[(tpr >= TRUE_POSITIVES - 1e-12).argmax()]))
    return torch.tensor(rates, dtype=torch.float64)
