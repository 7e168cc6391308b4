"""The named recipes and what an override does to them."""

import math
import subprocess
import sys

import pytest

from kdharness.core.errors import BadInput, UnknownName
from kdharness.training.recipes import load_recipe, names


def test_every_file_resolves() -> None:
    assert set(names()) == {
        "digits-quick", "cifar100-240", "cifar100-vit-300", "cifar100-vit-teacher", "cifar10-short", "imagenet-100",
        "tiny-imagenet-200", "smoke",
    }  # fmt: skip
    for name in names():
        file = load_recipe(name)
        assert file.about
        assert file.teacher_recipe is None or file.teacher_recipe in names()
        recipe = file.resolve("resnet8", "resnet")
        assert all(milestone < recipe.epochs for milestone in recipe.milestones)


def test_mdistillers_schedule() -> None:
    recipe = load_recipe("cifar100-240").resolve("resnet8x4", "resnet")
    assert [recipe.lr_at(epoch) for epoch in (1, 150, 151, 181, 211)] == pytest.approx([0.05, 0.05, 5e-3, 5e-4, 5e-5])
    assert load_recipe("cifar100-240").resolve("MobileNetV2", "mobilenetv2").lr == 0.01


def test_the_transformers_schedule_is_timms() -> None:
    recipe = load_recipe("cifar100-vit-300").resolve("deit_ti", "deit")
    step = (5e-4 - 5e-7) / 20
    rates = [recipe.lr_at(epoch) for epoch in (1, 2, 20)]
    assert rates == pytest.approx([5e-7, 5e-7 + step, 5e-7 + 19 * step], rel=1e-12)
    cosine = [5e-6 + 0.5 * (5e-4 - 5e-6) * (1 + math.cos(math.pi * past / 300)) for past in (20, 150, 299)]
    assert [recipe.lr_at(epoch) for epoch in (21, 151, 300)] == pytest.approx(cosine, rel=1e-12)
    assert (recipe.image_size, recipe.teacher_image_size, recipe.normalization) == (224, 32, "imagenet")
    assert (recipe.optimizer, recipe.weight_decay_on, recipe.drop_last) == ("adamw", "matrices", True)
    assert load_recipe("cifar100-vit-300").teacher_recipe == "cifar100-vit-teacher"
    teacher = load_recipe("cifar100-vit-teacher").resolve("resnet56_pycls", "resnet_pycls")
    assert (teacher.lr_at(1), teacher.lr_at(151), teacher.nesterov) == (0.1, pytest.approx(0.05), True)


def test_overrides_of_a_cosine() -> None:
    file = load_recipe("cifar100-vit-300")
    shorter = file.resolve("m", "deit", {"epochs": 30, "batch_size": 256, "lr_rule": "linear"})
    assert shorter.warmup_epochs == 2
    assert (shorter.lr, shorter.warmup_lr, shorter.final_lr) == pytest.approx((1e-3, 1e-6, 1e-5))
    assert file.resolve("m", "deit", {"epochs": 30, "warmup_epochs": 5}).warmup_epochs == 5
    cosine = load_recipe("cifar100-240").resolve("resnet8", "resnet", {"schedule": "cosine", "epochs": 100})
    assert (cosine.milestones, cosine.lr_at(51)) == ((), pytest.approx(0.025))
    steps = file.resolve("m", "deit", {"schedule": "steps", "milestones": [100]})
    assert [steps.lr_at(epoch) for epoch in (1, 21, 101)] == pytest.approx([5e-7, 5e-4, 5e-5])


def test_overrides() -> None:
    file = load_recipe("cifar100-240")
    longer = file.resolve("resnet8", "resnet", {"epochs": 480})
    assert longer.milestones == (300, 360, 420)
    assert file.resolve("resnet8", "resnet", {"epochs": 10, "milestones": []}).milestones == ()
    assert file.resolve("resnet8", "resnet", {"batch_size": 128}).lr == 0.05
    assert file.resolve("resnet8", "resnet", {"batch_size": 128, "lr_rule": "linear"}).lr == pytest.approx(0.1)
    assert file.resolve("m", "mobilenetv2", {"batch_size": 128, "lr_rule": "linear"}).lr == pytest.approx(0.02)
    assert file.resolve("m", "mobilenetv2", {"lr": 0.03}).lr == 0.03


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "epochs = 0"),
        ({"lr": "fast"}, "lr = 'fast'"),
        ({"lr_rule": "cubic"}, "'cubic' is not one of constant, linear"),
        ({"augment": "shift2"}, "did you mean 'shift1'"),
        ({"augment": "mixup"}, "not in this version"),
        ({"second_view": "crop4-flip-randaug"}, "did you mean 'crop4-flip-randaugment'"),
        ({"schedule": "cosine", "milestones": [3]}, "milestones are for schedule steps"),
        ({"final_lr": 0.1}, "final_lr is for schedule cosine"),
        ({"nesterov": True, "momentum": 0}, "nesterov is for optimizer sgd with momentum"),
    ],
)
def test_bad_overrides_name_field_and_recipe(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match="recipe digits-quick for resnet8") as caught:
        load_recipe("digits-quick").resolve("resnet8", "resnet", overrides)
    assert message in str(caught.value)


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean 'digits-quick'"):
        load_recipe("digit-quick")


def test_recipes_need_no_torch() -> None:
    code = "import sys; from kdharness.training.recipes import names; names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
