"""Who teaches: trained here, imported, named, or not here yet; and a folder of images that is not here."""

import pytest
from fake_search import SEARCHED
from study_texts import change, expanded

from kdharness.core.errors import StudyError
from kdharness.core.records import MISSING
from kdharness.results.records import ImportedTeacher
from kdharness.study.plan import make_plan, render_plan

IMPORTED = change("teachers:", "teachers: imported")


def imported(name: str = "released", model: str = "resnet20", dataset: str = "digits", sha: str = "ab" * 32,
             measured: float | None = 97.5) -> ImportedTeacher:  # fmt: skip
    return ImportedTeacher(name, model, dataset, sha, None, measured, None, f"teachers/{name}.safetensors", None)


def test_imported_means_the_only_import_of_that_model_for_that_dataset() -> None:
    others = [imported("other", "resnet32"), imported("elsewhere", dataset="cifar100", sha="cd" * 32)]
    expansion = expanded(IMPORTED, imports=[*others, imported()])
    assert not expansion.missing and {run.purpose for run in expansion.wanted} == {"final"}
    taught = [run for run in expansion.wanted if run.label == "kd"]
    assert {run.setting.teachers[0].weights_sha256 for run in taught} == {"ab" * 32}
    assert {run.setting.teachers[0].run for run in taught} == {None}
    assert {run.teacher_id for run in expansion.wanted} == {"imported-abababababab"}
    assert not any(run.needs for run in expansion.wanted)


def test_a_student_of_other_weights_is_another_setting() -> None:
    keys = [
        {run.setting.key for run in expanded(IMPORTED, imports=[imported(sha=sha)]).wanted if run.label == "kd"}
        for sha in ("ab" * 32, "cd" * 32)
    ]
    trained = {run.setting.key for run in expanded().wanted if run.label == "kd"}
    assert len(keys[0] | keys[1] | trained) == 3


def test_a_student_without_a_teacher_does_not_change_with_it() -> None:
    alone = [
        {run.setting.key for run in expansion.wanted if run.label == "none"}
        for expansion in (expanded(IMPORTED, imports=[imported()]), expanded(), expanded(IMPORTED))
    ]
    assert alone[0] == alone[1] == alone[2]


def test_two_imports_that_fit_are_told_by_name() -> None:
    with pytest.raises(StudyError, match=r"3:11: `first` and `second` are both imports of resnet20 for digits") as told:
        expanded(IMPORTED, imports=[imported("first"), imported("second", sha="cd" * 32)])
    assert "{resnet20: first}" in str(told.value)


def test_an_import_is_named() -> None:
    text = change("teachers:", "teachers: {default: train, resnet20: second}")
    both = [imported("first"), imported("second", sha="cd" * 32)]
    taught = [run for run in expanded(text, imports=both).wanted if run.label == "kd"]
    assert {run.setting.teachers[0].weights_sha256 for run in taught} == {"cd" * 32}
    with pytest.raises(StudyError, match=r"3:38: `second` is a resnet32 for digits, not a resnet20 for digits"):
        expanded(text, imports=[imported("second", "resnet32")])


def test_an_import_may_bear_a_name_like_a_keyword() -> None:
    assert not expanded(change("teachers:", "teachers: trained"), imports=[imported("trained")]).missing


@pytest.mark.parametrize(("way", "option"), [("imported", ""), ("lab-v2", " --name lab-v2")])
def test_what_is_not_imported_is_counted_and_said(way: str, option: str) -> None:
    expansion = expanded(change("teachers:", f"teachers: {way}"))
    (what,) = expansion.missing
    assert what.endswith(f"kdharness teachers import FILE --model resnet20 --dataset digits{option}")
    plan = make_plan(expansion, None)
    assert (plan.settings, plan.runs) == (3, 6)
    assert plan.teachers[0].origin == "missing"
    assert "missing   no imported resnet20 for digits" in render_plan(plan)
    known = {run.label: run.setting.is_known for run in expansion.wanted}
    assert known == {"none": True, "kd": False, "KD+LS": False}


def test_a_search_trains_its_own_teacher_whatever_teaches_the_final_runs() -> None:
    expansion = expanded(SEARCHED.replace("teachers: train", "teachers: imported"), imports=[imported()])
    assert "teachers: imported" in expansion.study.text and expansion.searched
    trained = expanded(SEARCHED)
    assert expansion.search_count == trained.search_count
    assert expansion.count == trained.count - 1  # the teacher that the final runs need not have trained


FOLDER = change("dataset:", "dataset: {folder: photos.tar.xz, test: 0.2, size: 32}")


def test_a_folder_that_is_not_here_is_counted_without_keys() -> None:
    expansion = expanded(FOLDER)
    assert [run.setting.fingerprint for run in expansion.wanted] == [MISSING] * 7
    assert not any(run.setting.is_known for run in expansion.wanted)
    (what,) = expansion.missing
    assert "photos.tar.xz" in what and "nowhere" in what
    plan = make_plan(expansion, None)
    assert (plan.dataset, plan.settings, plan.runs, plan.seconds) == ("photos.tar.xz", 3, 7, None)
    text = render_plan(plan)
    assert "unknown without the images" in text
    assert not any(run.run_id in text for run in expansion.wanted)


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ("{folder: photos, test: 1.5}", "`test`: must be less than 1"),
        ("{folder: photos, tests: 0.2}", "unknown key `tests`, did you mean `test`?"),
        ("{folder: ../photos}", "photos"),
        ("{test: 0.2}", "`folder` is missing"),
    ],
)
def test_a_folder_is_written_as_one(dataset: str, problem: str) -> None:
    with pytest.raises(StudyError, match=r"study\.yaml:2:") as told:
        expanded(change("dataset:", f"dataset: {dataset}"))
    assert problem in str(told.value)
