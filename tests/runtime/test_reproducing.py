"""A printed table planned as a study, and held against finished runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdharness.core.errors import BadInput
from kdharness.core.home import Home
from kdharness.reporting.published.matching import differences
from kdharness.reporting.published.values import Registry, read_registry
from kdharness.runtime.reproducing import expand_printed, verified
from kdharness.study.load import parse_study
from kdharness.study.printed import studies_of


@pytest.fixture(scope="module")
def registry() -> Registry:
    return read_registry()


KEYS = (
    "sun2024logit Table 1", "sun2024logit Table 2", "sun2024logit Table 3", "sun2024logit Table 4",
    "sun2024logit Table 5", "sun2024logit_supp Suppl. Table 1", "sun2024logit_supp Suppl. Table 4",
    "hossain2025luminet Table 1a", "hossain2025luminet Table 1b", "hossain2025luminet Table 2",
    "hossain2025luminet Table 4", "hossain2025luminet Table 5", "hossain2025luminet Table 9",
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_the_studies_ask_for_exactly_the_cells_of_the_table(registry: Registry, key: str) -> None:
    made, left_out = studies_of(registry, key)
    for study in made:
        assert parse_study(study.text.encode(), "x.yaml").name == study.name
    cells = [printed for study in made for row in study.rows for printed in row.printed.values() if printed.teacher]
    wanted = [
        one
        for one in registry.table(key)
        if one.metric == "top1" and one.teacher and one.student and registry.is_usable(one)
    ]
    missing = [one for one in wanted if one not in cells]
    assert len(cells) == len(wanted) - len(missing) and len(set(map(id, cells))) == len(cells)
    assert {one.method for one in missing} <= {"takd", "autokd"} and bool(missing) <= bool(left_out)


def test_the_plan_has_the_paper_s_settings(registry: Registry, tmp_path: Path) -> None:
    """What is known of the printed setting equals the constants that the presets give."""
    ((study,), _) = studies_of(registry, "sun2024logit Table 2", cells=["kd+ls", "DKD+LS", "student"])
    expansion = expand_printed(study, Home(tmp_path))
    finals = [run for run in expansion.wanted if run.purpose == "final"]
    # seven pairs, two methods, four trials; six students alone, one of them beside two teachers
    assert len({run.run_id for run in finals}) == 7 * 2 * 4 + 6 * 4
    printed = {(row.label, pair): one for row in study.rows for pair, one in row.printed.items()}
    for run in finals:
        setting = run.setting
        here = differences(printed[run.label, run.pair], setting.distiller, dict(setting.recipe), setting.constants)
        assert here == [], (run.label, run.pair)


def test_480_epochs_of_mlkd_keep_the_drops_of_240(registry: Registry) -> None:
    ((study,), _) = studies_of(registry, "sun2024logit Table 2", cells=["mlkd: vgg13 -> vgg8"])
    (row,) = study.rows
    assert row.entry["recipe"] == {"epochs": 480, "milestones": [150, 180, 210]}


def test_cells_are_chosen(registry: Registry) -> None:
    ((study,), _) = studies_of(registry, "sun2024logit Table 2", cells=["kd+ls: resnet32x4 -> resnet8x4"])
    assert study.pairs == ("resnet32x4 -> resnet8x4",) and [row.label for row in study.rows] == ["KD+LS"]
    ((study,), _) = studies_of(registry, "sun2024logit Table 2", cells=["vgg13 -> vgg8"])
    assert study.pairs == ("vgg13 -> vgg8",) and len(study.rows) == 17
    with pytest.raises(BadInput, match="has no such cell"):
        studies_of(registry, "sun2024logit Table 2", cells=["kdd"])
    with pytest.raises(BadInput, match="cannot be trained here"):
        studies_of(registry, "hossain2025luminet Table 3b")


def test_where_print_contradicts_itself_ours_is_held_against_the_code(registry: Registry, tmp_path: Path) -> None:
    """LumiNet says learning rate 0.05 throughout; its code has 0.01 for small students, which is what is planned."""
    ((study,), _) = studies_of(registry, "hossain2025luminet Table 1b", cells=["luminet"])
    expansion = expand_printed(study, Home(tmp_path))
    finals = [run for run in expansion.wanted if run.purpose == "final"]
    assert {run.setting.recipe.lr for run in finals} == {0.01}
    rows = [(run.run_id, f"test_top1_{which}", 70.0 + run.seed / 10) for run in finals for which in ("best", "last")]
    store: Any = SimpleNamespace(query=lambda _: ([], rows))
    found = {(cell.row, cell.pair): cell for cell in verified(study, expansion, registry, store)}
    assert {cell.verdict for cell in found.values()} <= {"within", "above", "below"} and len(found) == 5
    released, unreleased = (
        found["LumiNet", pair].notes for pair in ("vgg13 -> mobilenetv2", "resnet32x4 -> shufflenetv2")
    )
    assert any("released configurations have 0.01 for these students, and ours" in note for note in released)
    assert any("released no configuration, and ours is compared with the 0.01" in note for note in unreleased)
    other = Registry(registry.values, registry.sources, ())  # without the notes the paper's 0.05 stands
    assert {cell.verdict for cell in verified(study, expansion, other, store)} == {"trained otherwise"}
    assert "trained otherwise: lr: theirs 0.05, ours 0.01" in verified(study, expansion, other, store)[0].notes


def test_within_below_and_above(registry: Registry, tmp_path: Path) -> None:
    ((study,), _) = studies_of(registry, "sun2024logit Table 2", cells=["kd+ls"])
    expansion = expand_printed(study, Home(tmp_path))
    by_pair: dict[str, list[str]] = {}
    for run in expansion.wanted:
        if run.purpose == "final":
            by_pair.setdefault(run.pair, []).append(run.run_id)
    shown = {
        "resnet32x4 -> resnet8x4": [76.5, 76.6, 76.7, 76.7],
        "vgg13 -> vgg8": [76.0, 76.1],
        "resnet56 -> resnet20": [60.0],
    }
    shown["wrn_40_2 -> wrn_40_1"] = [70.0, 70.1, 70.2]
    rows = [
        (run_id, "test_top1_best", value)
        for pair, values in shown.items()
        for run_id, value in zip(by_pair[pair], values, strict=False)
    ]
    store: Any = SimpleNamespace(query=lambda _: ([], rows))
    found = {cell.pair: (cell.n, cell.wanted, cell.verdict) for cell in verified(study, expansion, registry, store)}
    assert found["resnet32x4 -> resnet8x4"] == (4, 4, "within")
    assert found["vgg13 -> vgg8"] == (2, 4, "above") and found["wrn_40_2 -> wrn_40_1"] == (3, 4, "below")
    assert found["resnet56 -> resnet20"] == (1, 4, "one run") and found["resnet110 -> resnet32"] == (
        0,
        4,
        "no runs yet",
    )
    assert {one.verdict for one in verified(study, expansion, registry, None)} == {"no runs yet"}
