"""The named recipes and what an override does to them."""

import subprocess
import sys

import pytest

from kdharness.core.errors import BadInput, UnknownName
from kdharness.training.recipes import load_recipe, names


def test_every_file_resolves_or_says_what_is_missing() -> None:
    assert {"digits-quick", "cifar100-240", "cifar10-short", "imagenet-100"} <= set(names())
    for name in names():
        file = load_recipe(name)
        assert file.about
        try:
            recipe = file.resolve("resnet8", "resnet")
        except BadInput as error:
            assert "not in this version" in str(error)
            continue
        assert all(milestone < recipe.epochs for milestone in recipe.milestones)


def test_mdistillers_schedule() -> None:
    recipe = load_recipe("cifar100-240").resolve("resnet8x4", "resnet")
    assert [recipe.lr_at(epoch) for epoch in (1, 150, 151, 181, 211)] == pytest.approx([0.05, 0.05, 5e-3, 5e-4, 5e-5])
    assert load_recipe("cifar100-240").resolve("MobileNetV2", "mobilenetv2").lr == 0.01


def test_overrides() -> None:
    file = load_recipe("cifar100-240")
    longer = file.resolve("resnet8", "resnet", {"epochs": 480})
    assert longer.milestones == (300, 360, 420)  # MLKD's own
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
