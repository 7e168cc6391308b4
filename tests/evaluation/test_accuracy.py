"""Accuracy against counts made by hand."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdharness.core.types import Normalization, Split
from kdharness.evaluation import accuracy
from kdharness.evaluation.accuracy import evaluate

NORM = Normalization((0.0,), (1.0,))


def images_of(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)[:, None, None, None]


def ranks(images: Tensor) -> Tensor:
    """Logits of 7 classes that rank the classes v, v + 1, ... for the pixel v."""
    value = (images[:, 0, 0, 0] * 255).round().long()
    place = (torch.arange(7)[None] - value[:, None]) % 7
    return -place.to(images.dtype)


def test_counts() -> None:
    split = Split(images_of([0, 1, 2, 3]), torch.tensor([0, 2, 6, 2]), torch.arange(4))  # ranks 0, 1, 4, 6
    got = evaluate(ranks, split, NORM, device=torch.device("cpu"), dtype=torch.float64)
    assert (got.top1, got.top5) == (25.0, 75.0)
    logits = ranks(split.images.double() / 255)
    assert got.loss == pytest.approx(F.cross_entropy(logits, split.labels).item(), rel=1e-12)
    assert got.predicted.tolist() == [0, 1, 2, 3]
    assert torch.allclose(got.confidence.double(), logits.softmax(1).max(1).values, atol=1e-3)


def test_fewer_classes_than_five() -> None:
    split = Split(images_of([0, 1]), torch.tensor([1, 1]), torch.arange(2))
    got = evaluate(lambda images: ranks(images)[:, :3], split, NORM, device=torch.device("cpu"))
    assert got.top5 == 100.0


def test_tiles_join_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "EVALUATION_BATCH", 3)
    values = [index % 7 for index in range(8)]
    seen: list[int] = []

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        assert not torch.is_grad_enabled()
        return ranks(images)

    split = Split(images_of(values), torch.tensor(values), torch.arange(8))
    got = evaluate(counted, split, NORM, device=torch.device("cpu"))
    assert seen == [3, 3, 2]
    assert got.predicted.tolist() == values
    assert got.top1 == 100.0


def test_a_percentage_of_a_count_is_exact() -> None:
    split = Split(images_of([0] * 359), torch.tensor([0] * 356 + [1] * 3), torch.arange(359))
    got = evaluate(ranks, split, NORM, device=torch.device("cpu"))
    assert got.top1 == 100 * 356 / 359  # in float32 it would be 99.164337
