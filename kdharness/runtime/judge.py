"""How good weights from elsewhere are on the test split, and why they are not what was declared."""

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.types import Dataset, Normalization, Split
from kdharness.evaluation.accuracy import evaluate
from kdharness.models.registry import MODELS
from kdharness.runtime.slots import gpu_count
from kdharness.training.data import IMAGENET
from kdharness.training.inputs import set_products

TOLERANCE = 0.3
"""Points of top-1 accuracy between what is declared and what is measured here."""
TRIED_IMAGES = 2000
"""On how many a normalisation is tried."""
OTHER_NORMALIZATIONS = {
    "the mean and std of CIFAR-10": Normalization(
        (125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)
    ),
    "the mean and std of CIFAR-100": Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "the mean and std of ImageNet": IMAGENET,
    "mean and std 0.5": Normalization((0.5,) * 3, (0.5,) * 3),
    "pixels from 0 to 1": Normalization((0.0,) * 3, (1.0,) * 3),
}
"""What else networks are fed with in the field, by how a message names it."""
FED = {"dataset": None, "imagenet": IMAGENET}
"""What an import may say that its network is fed with; None: the dataset's own. By the names that recipes use."""


class Judge:
    """Measures weights on the test split of one dataset, which is opened when it is first needed."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @cached_property
    def has_images(self) -> bool:
        """Whether the test images are here, or could be brought here."""
        try:
            return len(self._test.labels) > 0
        except EnvironmentRefused:
            return False

    @cached_property
    def _test(self) -> Split:
        return self.dataset.split("test")

    def top1(
        self,
        state: Mapping[str, Tensor],
        model: str,
        normalization: Normalization | None = None,
        *,
        images: int | None = None,
    ) -> float:
        """Top-1 accuracy (%) in float32, on the first GPU or the CPU; of the first `images` only, or fed otherwise.

        Raises EnvironmentRefused where the images are not here, BadInput where a logit is not finite.
        """
        test = self._test
        if images is not None:
            first = torch.arange(len(test.labels)) < images
            test = Split(test.images[first], test.labels[first], test.index[first])
        device = torch.device("cuda:0" if gpu_count() else "cpu")
        set_products("fp32", device)
        network = MODELS.get(model).build(self.dataset.num_classes, self.dataset.image_shape)
        network.load_state_dict(dict(state), strict=True)
        network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # as torch declares it
        chosen = normalization or self.dataset.normalization
        score = evaluate(lambda images: network(images).logits, test, chosen, device=device)
        if not math.isfinite(score.loss):
            raise BadInput(
                f"the logits of this {model} are not finite for the images of {self.dataset.name}: it cannot teach",
                remedy="Its training diverged, or the file is damaged: take it again from its source.",
            )
        return score.top1

    def compare(
        self, name: str, declared: float | None, measured: float, state: Mapping[str, Tensor], model: str, fed: str
    ) -> None:
        """Raise BadInput, with the likely cause, where the accuracy is not the declared one; `fed`: see FED."""
        if declared is None or abs(measured - declared) <= TOLERANCE:
            return
        cause = self._cause(declared, measured, state, model, fed)
        raise BadInput(
            f"{name} scores {measured:.2f} % on the test split of {self.dataset.name}, declared are {declared:.2f} % "
            f"({abs(measured - declared):.2f} points apart, {TOLERANCE} are allowed)",
            remedy=f"{cause}\nTo use it all the same: --accept-mismatch REASON",
        )

    def _cause(self, declared: float, measured: float, state: Mapping[str, Tensor], model: str, fed: str) -> str:
        """The likeliest reason: other normalisations are tried, the rest is told by how far the numbers are apart."""
        chosen = FED[fed] or self.dataset.normalization
        own = self.top1(state, model, chosen, images=TRIED_IMAGES)
        others = {**OTHER_NORMALIZATIONS, "this dataset's mean and std": self.dataset.normalization}
        scores = {
            how: self.top1(state, model, normalization, images=TRIED_IMAGES)
            for how, normalization in others.items()
            if normalization != chosen
        }
        best = max(scores, key=lambda how: scores[how])
        if measured < declared and scores[best] > own + 0.5 * (declared - measured):
            own_is = "this dataset" if fed == "dataset" else fed
            options = [name for name, one in FED.items() if others[best] == (one or self.dataset.normalization)]
            return (
                f"It was trained with another normalisation: fed with {best} it scores {scores[best]:.2f} % "
                f"where {own_is}'s gives {own:.2f} % (first {TRIED_IMAGES:,} images)."
                + "".join(f"\nTo feed it so: --normalization {name}" for name in options)
            )
        if measured < 200 / self.dataset.num_classes:
            return "It does little better than guess: other classes or another order of them, or weights never trained."
        if abs(measured - declared) < 3:
            return (
                "So near, it is likely the best epoch declared and the last one here (or the reverse), another "
                "training of the same network, or slightly other preprocessing."
            )
        return "Likely other preprocessing, other training data, or another network with the same keys."
