"""`kdharness list models`: a table of at most 100 columns, and the same as JSON."""

import json

import pytest
from typer.testing import CliRunner

from kdharness.cli.app import app
from kdharness.models import listing
from kdharness.models.listing import ListedModel, ModelSize

ROWS = [
    ListedModel(
        "mobilenetv2_tinyimagenet",
        "M",
        "mobilenetv2_tinyimagenet",
        (3, 64, 64),
        200,
        ModelSize(2_497_480, 215_708_992, 4),
        {},
    ),
    ListedModel(
        "resnet152_imagenet",
        "ResNet152",
        "resnet_imagenet",
        (3, 224, 224),
        1000,
        ModelSize(60_192_808, 11_513_626_624, 4),
        {"imagenet": 78.31},
    ),
]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "list_models", lambda dataset=None: ROWS[: 1 if dataset else 2])


def test_the_longest_names_fit() -> None:
    lines = CliRunner().invoke(app, ["list", "models"]).output.splitlines()
    assert max(map(len, lines)) <= 100 and not any("…" in line for line in lines)
    row = next(line for line in lines if line.startswith("resnet152_imagenet"))
    assert row.split() == [
        "resnet152_imagenet",
        "resnet_imagenet",
        "224",
        "60.19M",
        "11,513.6M",
        "4",
        "78.31",
        "imagenet",
    ]


def test_what_a_dataset_leaves_out_is_said(tmp_path: object) -> None:
    output = CliRunner().invoke(app, ["list", "models", "--dataset", "digits", "--home", str(tmp_path)]).output
    assert "resnet152_imagenet  " not in output and "Not for the images of digits: deit_tiny" in output


def test_json() -> None:
    found = json.loads(CliRunner().invoke(app, ["list", "models", "--json"]).output)
    assert found[1]["size"] == {"parameters": 60_192_808, "multiply_adds": 11_513_626_624, "stages": 4}
    assert found[1]["published"] == {"imagenet": 78.31} and found[1]["image_shape"] == [3, 224, 224]


def test_an_unknown_dataset_is_told() -> None:
    assert "did you mean 'cifar10'" in str(
        CliRunner().invoke(app, ["list", "models", "--dataset", "cifar11"]).exception
    )
