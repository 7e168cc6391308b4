"""Policies choose as the papers' code: torchvision's pictures for the same draws, the ranges of MLKD's and timm's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, autoaugment

from kdharness.core.streams import Draws
from kdharness.training import policies
from kdharness.training.operations import NAMES
from kdharness.training.policies import Policy, auto_augment, fixmatch, squares, timm_increasing, trivial_augment

COUNT = 300
DRAWS = Draws("augmentation", 1, 2, torch.arange(COUNT))
MANY = Draws("augmentation", 1, 2, torch.arange(20_000))
IMAGES = torch.randint(0, 256, (COUNT, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def theirs(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def test_auto_augment_is_torchvisions() -> None:
    want = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10)
    got = Policy(auto_augment).change(IMAGES, DRAWS)
    pair = DRAWS.integers("policy", 25).tolist()
    done, sign = ([draw(layer) for layer in range(2)] for draw in (
        lambda layer: DRAWS.uniform(f"done {layer}"), lambda layer: 1 - DRAWS.integers(f"sign {layer}", 2)
    ))  # fmt: skip
    assert set(pair) == set(range(25))
    for row, image in enumerate(IMAGES):
        forced = (pair[row], torch.stack([each[row] for each in done]), torch.stack([each[row] for each in sign]))
        want.get_params = lambda _, forced=forced: forced  # type: ignore[method-assign]
        assert np.array_equal(np.asarray(want(Image.fromarray(image.numpy()))), got[row].numpy()), forced


def test_trivial_augment_is_torchvisions() -> None:
    space = autoaugment.TrivialAugmentWide()._augmentation_space(31)
    got = Policy(trivial_augment).change(IMAGES, DRAWS)
    choice, strength, sign = (DRAWS.integers(name, n) for name, n in (("operation", 14), ("strength", 31), ("sign", 2)))
    for row, image in enumerate(IMAGES):
        name = list(space)[int(choice[row])]
        magnitudes, signed = space[name]
        magnitude = float(magnitudes[strength[row]]) if magnitudes.ndim else 0.0
        magnitude *= -1 if signed and sign[row] else 1
        picture = Image.fromarray(image.numpy())
        want = autoaugment._apply_op(picture, name, magnitude, InterpolationMode.NEAREST, None)
        assert np.array_equal(np.asarray(want), got[row].numpy()), (name, magnitude)


def spread(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, tuple[float, float, float]]:
    """Per operation its share of all, and the ends of its values."""
    operation, value = (torch.cat(each) for each in zip(*layers, strict=True))
    found = {}
    for number, name in enumerate(NAMES):
        chosen = value[operation == number]
        if len(chosen):
            found[name] = (len(chosen) / len(value), chosen.min().item(), chosen.max().item())
    return found


def test_fixmatch_draws_uniformly_from_14() -> None:
    layers = list(fixmatch(MANY, 40, 32))
    assert len(layers) == 2
    found = spread(layers)
    assert len(found) == 14
    assert all(share == pytest.approx(1 / 14, abs=0.005) for share, _, _ in found.values())
    for name, low, high in (
        ("rotate", -30, 30), ("posterize", 4, 8), ("solarize", 0, 256), ("brightness", 0.05, 0.95),
        ("translate-x", -9.6, 9.6), ("translate-y", -12, 12), ("shear-x", -0.3, 0.3),
    ):  # fmt: skip
        assert low <= found[name][1] < low + 0.01 * (high - low), name
        assert high - 0.01 * (high - low) < found[name][2] < high, name
    side, x, y = squares(MANY, 40, 32)
    assert 0 <= side.min() < 0.1 < 15.9 < side.max() < 16
    assert 1 < x.min() < 1.1 < 31.9 < x.max() <= 32
    assert 39.9 < y.max() <= 40


def test_timm_draws_around_nine() -> None:
    found = spread(list(timm_increasing(MANY, 224, 224)))
    assert found.pop("identity")[0] == pytest.approx(0.5, abs=0.01)
    assert len(found) == 15
    assert all(share == pytest.approx(1 / 30, abs=0.004) for share, _, _ in found.values())
    assert found["posterize"][1:] == (0, 2)  # at magnitude 7.5, three deviations off, 2 bits are kept
    assert found["rotate"][1:] == (-30, 30)
    assert found["translate-y"][1:] == pytest.approx((-100.8, 100.8))
    assert found["color"][1:] == pytest.approx((0.1, 1.9))
    assert 0 <= found["solarize"][1] < 5 < 40 < found["solarize"][2] < 90
    magnitude = torch.cat([value[op == NAMES.index("shear-x")] for op, value in timm_increasing(MANY, 8, 8)]).abs()
    inside = magnitude[magnitude < 0.3] / 0.03
    assert inside.median() == pytest.approx(8.95, abs=0.1)
    assert (magnitude == 0.3).double().mean() == pytest.approx(0.0228, abs=0.01)  # two deviations and more


def test_a_policy_knows_its_fill() -> None:
    aside = Policy(
        lambda draws, height, width: [(torch.full((2,), NAMES.index("translate-x")), torch.full((2,), 99.0))]
    )
    assert not aside.change(IMAGES[:2], DRAWS).any()
    coloured = Policy(aside.layers, policies.IMAGENET_MEAN, bicubic=True).change(IMAGES[:2], DRAWS)
    assert coloured[0, 3, 3].tolist() == [124, 116, 104]
