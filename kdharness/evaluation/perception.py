"""What LumiNet's perception does to a student's probabilities, beside a softmax with temperature (Figure 7)."""

from kdharness.distillers.luminet import perception as perceived
from kdharness.evaluation.entropy import entropy_of
from kdharness.evaluation.judged import Found, Judged

TEMPERATURE = 4.0
ROWS = 64
"""Images over which a class is standardized: the batch of the papers' CIFAR recipe."""


def perception(judged: Judged) -> Found:
    """softmax(z / 4) and softmax(h(z) / 4) of the first image, h over the first 64 images of the split.

    Also their mean entropies over those images, in nats. The paper names the temperature 4 for the softened
    distribution and none for the other: both are softened alike here, as its loss does.
    """
    batch = judged.logits[:ROWS].double()
    before, after = (batch / TEMPERATURE).softmax(1), (perceived(batch) / TEMPERATURE).softmax(1)
    arrays = {"softened": before[0], "perceived": after[0], "label": judged.labels[0]}
    metrics = {
        "softened_entropy": entropy_of(before).mean().item(),
        "perceived_entropy": entropy_of(after).mean().item(),
    }
    return Found(metrics, {name: value.numpy() for name, value in arrays.items()})
