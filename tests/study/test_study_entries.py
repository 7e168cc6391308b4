"""What an entry may be besides one method with one teacher: sums, ensembles, chains of assistants, controls."""

import pytest
from study_texts import change, expanded, study

from kdharness.core.records import WantedRun
from kdharness.study.plan import make_plan, render_plan
from kdharness.study.resolve import known_pair
from kdharness.study.resolve import template as make_template
from kdharness.study.rows import rows
from kdharness.study.students import settled


def entry(text: str, pairs: str = "[resnet20 -> resnet8]") -> str:
    """SOUND with `text` for its first row, one seed and these pairs."""
    return change("  - none", f"  - {text}").replace("seeds: 2", "seeds: 1").replace("[resnet20 -> resnet8]", pairs)


def of(label: str, text: str, **options: object) -> list[WantedRun]:
    return [run for run in expanded(text, **options).wanted if run.label == label]  # type: ignore[arg-type]


def test_a_sum_has_one_cross_entropy_and_its_members_constants() -> None:
    (run,) = of("dkd + luminet", entry("{name: luminet + dkd, ce_weight: 2, luminet.temperature: 7}"))
    assert run.setting.distiller == "dkd + luminet"
    assert run.setting.distiller_revision == "1 (dkd 1, luminet 1)"
    assert run.setting.constants["ce_weight"] == 2.0
    assert run.setting.constants["luminet"]["temperature"] == 7.0
    assert run.setting.constants["luminet"]["kd_weight"] == 961.0  # its preset's
    assert run.setting.flat()["dkd + luminet.luminet.temperature"] == 7.0
    assert run.provenance["dkd + luminet.luminet.temperature"] == "entry, line 7"
    assert run.provenance["dkd + luminet.luminet.kd_weight"] == "preset hossain2025luminet"


def test_the_order_of_a_sum_means_nothing() -> None:
    (first,), (second,) = (of("S", entry(f"{{name: {name}, label: S}}")) for name in ("kd + fitnet", "FitNet+kd"))
    assert first.setting.key == second.setting.key


def test_a_member_s_constant_may_be_an_axis() -> None:
    runs = of("kd + luminet", entry("{name: luminet + kd, kd.temperature: {each: [1, 2]}}"))
    assert [run.axes for run in runs] == [{"kd.temperature": 1.0}, {"kd.temperature": 2.0}]
    assert [run.setting.constants["kd"]["temperature"] for run in runs] == [1.0, 2.0]


def test_an_ensemble_names_its_teachers_in_order() -> None:
    text = entry("none", "[resnet20 + wrn_16_1 -> resnet8]")
    (run,) = of("kd", text)
    assert run.pair == "resnet20 + wrn_16_1 -> resnet8" and run.teacher == "resnet20 + wrn_16_1"
    assert [teacher.model for teacher in run.setting.teachers] == ["resnet20", "wrn_16_1"]
    made = [one for one in expanded(text).wanted if one.purpose == "teacher"]
    assert run.needs == tuple(one.key for one in made) and len(made) == 2
    assert run.teacher_id == " + ".join(one.run_id for one in made)
    assert known_pair("ResNet20+WRN_16_1 -> resnet8", "digits") is not None


def test_assistants_are_runs_between_the_teacher_and_the_student() -> None:
    text = entry("{name: kd, through: [resnet14, wrn_16_1], label: TAKD, temperature: {each: [2, 3]}}")
    wanted = expanded(text).wanted
    (teacher,) = [run for run in wanted if run.purpose == "teacher" and run.teacher is None]
    first, second = ([run for run in wanted if run.purpose == "teacher" and run.student == name]
                     for name in ("resnet14", "wrn_16_1"))  # fmt: skip
    students = [run for run in wanted if run.label == "TAKD"]
    assert [len(first), len(second), len(students)] == [2, 2, 2]  # a chain for each temperature
    for assistant, next_one, student, temperature in zip(first, second, students, (2.0, 3.0), strict=True):
        assert (assistant.needs, next_one.needs, student.needs) == (
            (teacher.key,),
            (assistant.key,),
            (next_one.key,),
        )
        assert {run.setting.constants["temperature"] for run in (assistant, next_one, student)} == {temperature}
        assert assistant.seed == next_one.seed == 0
        assert assistant.pair == "resnet20 -> resnet14"
    assert {run.pair for run in students} == {"resnet20 -> resnet8"}  # as the table shows it
    assert {run.teacher_id for run in students} == {teacher.run_id}
    plan = make_plan(expanded(text), None)
    assert [one.model for one in plan.teachers][:2] == ["resnet20", "resnet20 -> resnet14"]
    assert "resnet14 -> wrn_16_1" in render_plan(plan)


def test_assistants_learn_by_the_teachers_recipe() -> None:
    text = entry("{name: kd, through: [resnet14], label: TAKD, recipe: {epochs: 3}}")
    (assistant,) = [run for run in expanded(text).wanted if run.student == "resnet14"]
    (student,) = of("TAKD", text)
    assert (assistant.setting.recipe.epochs, student.setting.recipe.epochs) == (30, 3)
    assert assistant.provenance["recipe.epochs"] == "the teachers' recipe"


def test_the_student_s_key_changes_with_its_assistant() -> None:
    keys = {of("X", entry(f"{{name: kd, label: X{more}}}"))[0].setting.key
            for more in ("", ", through: [resnet14]", ", through: [wrn_16_1]")}  # fmt: skip
    assert len(keys) == 3


def test_a_control_teacher_is_part_of_the_key_and_an_untrained_one_is_not_trained() -> None:
    (shuffled,) = of("C", entry("{name: kd, teacher: shuffled, label: C}"))
    (untrained,) = of("C", entry("{name: kd, teacher: untrained, label: C}"))
    (trained,) = of("kd", entry("none"))
    assert (shuffled.setting.control, untrained.setting.control) == ("shuffled", "untrained")
    assert shuffled.setting.teachers == trained.setting.teachers
    assert (untrained.needs, untrained.setting.teachers[0].run) == ((), None)
    assert len({run.setting.key for run in (shuffled, untrained, trained)}) == 3


def test_grad_matched_is_part_of_the_key() -> None:
    (matched,) = of("M", entry("{name: kd, grad_matched: true, label: M}"))
    assert matched.setting.grad_matched
    assert matched.setting.key != of("kd", entry("none"))[0].setting.key


LUMINET = change("dataset:", "dataset: cifar100").replace("digits-quick", "cifar100-240").replace("- none", "- luminet")


def test_a_pair_without_released_constants_is_told() -> None:
    text = LUMINET.replace("resnet20 -> resnet8", "resnet56 -> resnet20")
    (warning,) = expanded(text).warnings
    assert "`luminet` for resnet56 -> resnet20: hossain2025luminet prints a result but released no constants" in warning
    assert not expanded(LUMINET.replace("resnet20 -> resnet8", "resnet32x4 -> resnet8x4")).warnings


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("imagenet-100", (100, 256, 0.1)),  # the preset's batch and rate for this pair
        ("{from: imagenet-100, lr: 0.3}", (100, 256, 0.3)),  # what the study says is stronger
        ("{from: imagenet-100, epochs: 10}", (10, 256, 0.1)),
        ("{from: imagenet-100, batch_size: 128, lr_rule: linear}", (100, 128, 0.05)),
    ],
)
def test_a_preset_changes_the_recipe_before_the_study_does(
    recipe: str, expected: tuple[int, int, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdharness.training.recipes import recipe_file

    monkeypatch.setattr(recipe_file, "AUGMENTS", (*recipe_file.AUGMENTS, "resized-crop-flip"))
    text = LUMINET.replace("cifar100-240", recipe).replace("cifar100", "imagenet")
    text = text.replace("resnet20 -> resnet8", "resnet50 -> mobilenetv1")
    made = study(text)
    pair = known_pair("resnet50 -> mobilenetv1", "imagenet")
    assert pair is not None

    class ImageNet:
        name, recipe = "imagenet", "imagenet-100"

    one = make_template(made.spec, rows(made.spec)[0], pair, ImageNet(), lambda place: 1)  # type: ignore[arg-type]
    resolved = settled(made, one, {})
    assert (resolved.recipe.epochs, resolved.recipe.batch_size, resolved.recipe.lr) == pytest.approx(expected)
    source = "preset hossain2025luminet for resnet50_imagenet -> mobilenetv1"
    assert source in resolved.provenance.values()
