"""From a study to its runs: counts, constants and where they come from, teachers, shared settings."""

from pathlib import Path

import pytest
from study_texts import SOUND, change, expanded, study

from kdharness.core.errors import BadInput, StudyError
from kdharness.core.records import Setting
from kdharness.study.init import starter
from kdharness.study.load import load_study, parse_study
from kdharness.study.schema import schema
from kdharness.study.spec import StudySpec

STUDIES = Path(__file__).parents[2] / "studies"


def runs_of(text: str, label: str) -> list:
    return [run for run in expanded(text).wanted if run.label == label]


def test_teachers_come_first_and_students_name_their_run() -> None:
    wanted = expanded().wanted
    teacher, *students = wanted
    assert (teacher.purpose, teacher.seed, teacher.setting.distiller, teacher.needs) == ("teacher", 0, "none", ())
    assert len(students) == 3 * 2
    assert all(run.teacher_id == teacher.run_id and run.purpose == "final" for run in students)
    assert [run.needs for run in students if run.setting.distiller == "kd"] == [(teacher.key,)] * 4
    assert [run.setting.teachers for run in students if run.setting.distiller == "none"] == [(), ()]
    assert {run.against for run in students} == {None, "kd"}
    assert [run.row for run in students] == [0, 0, 1, 1, 2, 2]


def test_one_student_alone_is_one_run_for_all_pairs() -> None:
    wanted = expanded(change("pairs:", "pairs: {teachers: [resnet20, resnet32], students: [resnet8]}")).wanted
    alone = [run for run in wanted if run.label == "none"]
    assert len(alone) == 4
    assert len({run.run_id for run in alone}) == 2
    assert {run.pair for run in alone} == {"resnet20 -> resnet8", "resnet32 -> resnet8"}
    assert [run.student for run in wanted if run.purpose == "teacher"] == ["resnet20", "resnet32"]


def test_a_teacher_is_trained_once_and_only_where_somebody_learns_from_it() -> None:
    pairs = "pairs: [resnet20 -> resnet8, resnet20 -> resnet14]"
    assert [run.student for run in expanded(change("pairs:", pairs)).wanted if run.purpose == "teacher"] == ["resnet20"]
    alone = "study: alone\ndataset: digits\nteachers: train\npairs: [resnet20 -> resnet8]\ndistillers: [none]\n"
    wanted = expanded(alone).wanted
    assert [(run.purpose, run.teacher_id) for run in wanted] == [("final", None)] * 3


def test_recipe_changes_and_axes_of_the_study_never_touch_teachers() -> None:
    plain = expanded().wanted[0]
    changed = expanded(change("recipe:", "recipe: {epochs: 60, batch_size: {each: [32, 128]}, lr_rule: linear}")).wanted
    assert [run for run in changed if run.purpose == "teacher"] == [plain]
    kd = [run for run in changed if run.label == "kd" and run.seed == 0]
    assert [dict(run.axes) for run in kd] == [{"recipe.batch_size": 32}, {"recipe.batch_size": 128}]
    assert [(run.setting.recipe.batch_size, run.setting.recipe.lr) for run in kd] == [(32, 0.025), (128, 0.1)]
    assert {run.setting.recipe.epochs for run in kd} == {60}
    assert kd[0].provenance["recipe.epochs"] == "study, line 4"
    assert kd[0].provenance["recipe.lr"] == "recipe digits-quick, lr_rule linear"


def test_a_row_has_a_recipe_of_its_own() -> None:
    text = change("recipe:", "recipe: {epochs: 60, batch_size: 32}").replace(
        "- kd\n", "- {name: kd, recipe: {epochs: 7}}\n"
    )
    assert [(r.setting.recipe.epochs, r.setting.recipe.batch_size) for r in runs_of(text, "kd")] == [(7, 32)] * 2
    anew = text.replace("{epochs: 7}", "{from: digits-quick, epochs: 7}")
    assert [(r.setting.recipe.epochs, r.setting.recipe.batch_size) for r in runs_of(anew, "kd")] == [(7, 64)] * 2
    assert runs_of(text, "kd")[0].provenance["recipe.epochs"] == "entry, line 8"


def test_constants_come_weakest_first_from_defaults_preset_entry_and_at() -> None:
    text = change("pairs:", "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]").replace(
        "label: KD+LS, against: kd",
        "label: KD+LS, kd_weight: 5, at: {resnet32 -> resnet8: {kd_weight: 6, ce_weight: 1}}",
    )
    first, second = (run for run in runs_of(text, "KD+LS") if run.seed == 0)
    assert first.setting.constants["kd_weight"] == 5.0
    assert second.setting.constants["kd_weight"] == 6.0
    assert second.setting.constants["standardize"] == "zscore"
    assert first.provenance["kd.kd_weight"] == "entry, line 9"
    assert first.provenance["kd.ce_weight"] == "preset sun2024logit"
    assert second.provenance["kd.ce_weight"] == "at resnet32 -> resnet8, line 9"
    (plain, _) = runs_of(change("  - none", "  - {name: fitnet, preset: romero2015fitnets}"), "fitnet")
    assert set(plain.provenance) == {f"fitnet.{name}" for name in plain.setting.constants} | {
        f"recipe.{name}" for name in type(plain.setting.recipe).model_fields
    }
    assert runs_of(SOUND, "kd")[0].provenance["kd.std"] == "default of kd"


def test_the_preset_of_a_published_pair_reaches_its_runs() -> None:
    from kdharness.distillers.presets import load_preset

    sources = [source for source, _ in load_preset("sun2024logit").constants("kd", "cifar100", "resnet110 -> resnet20")]
    assert sources[-1] == "preset sun2024logit for resnet110 -> resnet20"


def test_axes_are_multiplied_and_typed_by_their_field() -> None:
    row = "  - {name: kd, label: grid, temperature: {each: [1, 2, 4]}, standardize: {each: [none, zscore]}}"
    runs = runs_of(change("  - none", row), "grid")
    assert len(runs) == 3 * 2 * 2
    assert {tuple(run.axes.items()) for run in runs} == {
        (("temperature", t), ("standardize", s)) for t in (1.0, 2.0, 4.0) for s in ("none", "zscore")
    }
    assert all(isinstance(run.axes["temperature"], float) for run in runs)
    assert len({run.run_id for run in runs}) == 12


def test_at_may_take_an_axis_away_from_a_pair() -> None:
    text = change("pairs:", "pairs: [resnet20 -> resnet8, resnet32 -> resnet8]").replace(
        "- none", "- {name: dkd, warmup: {each: [1, 2, 3]}, at: {resnet32 -> resnet8: {warmup: 5}}}"
    )
    warmups = [(run.pair, run.setting.constants["warmup"]) for run in runs_of(text, "dkd") if run.seed == 0]
    first, second = "resnet20 -> resnet8", "resnet32 -> resnet8"
    assert warmups == [(first, 1), (first, 2), (first, 3), (second, 5)]


def test_equal_meanings_are_one_setting_and_are_told() -> None:
    expansion = expanded(change("  - none", "  - {name: kd, label: twice, temperature: {each: [4, 4.0, 2]}}"))
    assert len([run for run in expansion.wanted if run.label == "twice"]) == 4
    assert expansion.warnings == [
        "`twice` asks for a setting twice (resnet20 -> resnet8): 2 runs are merged",
        "`twice` and `kd` are the same setting (resnet20 -> resnet8)",
    ]


def test_a_loss_that_never_grows_to_its_weight_is_told() -> None:
    rows = "  - none\n  - dkd\n  - {name: dkd + kd, label: both}\n  - {name: dkd, label: short, warmup: 3}"
    short = change("  - none", rows).replace("recipe: digits-quick", "recipe: {from: digits-quick, epochs: 3}")
    said = "`warmup: 20` is longer than the training of 3 epochs, the loss never has its whole weight"
    first, second = expanded(short).warnings
    assert first.startswith(f"`dkd`: {said}") and second.startswith(f"`both`: {said}")
    assert expanded(change("  - none", rows)).warnings == []


def test_epochs_that_move_a_preset_s_milestones_are_told() -> None:
    row = "  - {name: mlkd, recipe: {epochs: 480}}"  # of 240 in its preset, with milestones of its own
    text = change("  - none", row).replace("digits-quick", "cifar100-240").replace("digits", "cifar100")
    told = [warning for warning in expanded(text).warnings if "milestones" in warning]
    assert told == [
        "`mlkd`: `epochs: 480` moves the milestones 150, 180, 210 of its preset to 300, 360, 420; "
        "write `milestones` beside it to set them"
    ]
    fixed = text.replace("epochs: 480", "epochs: 480, milestones: [150, 180, 210]")
    assert not any("milestones" in warning for warning in expanded(fixed).warnings)


def test_groups_ours_and_seeds_as_a_list() -> None:
    text = change("  - none", "  - {group: Ours, of: [dkd, {name: luminet, ours: true}]}").replace(
        "seeds: 2", "seeds: [7, 3]"
    )
    wanted = expanded(text).wanted
    assert [(run.group, run.ours) for run in wanted if run.label == "luminet"] == [("Ours", True)] * 2
    assert [run.seed for run in wanted if run.label == "kd"] == [7, 3]


def test_names_ignore_case_and_aliases_resolve() -> None:
    changed = SOUND.replace("resnet20 -> resnet8", "ResNet20->RESNET8").replace(
        "- none", "- {name: Vanilla, label: none}"
    )
    assert [run.run_id for run in expanded(changed).wanted] == [run.run_id for run in expanded().wanted]


def test_titles_labels_and_order_are_in_no_key() -> None:
    changed = SOUND.replace("study: sound", "study: other\nabout: more").replace("label: KD+LS", "label: X")
    assert {run.run_id for run in expanded(changed).wanted} == {run.run_id for run in expanded().wanted}


def test_the_size_is_known_before_anything_is_expanded() -> None:
    lists = ", ".join(
        f"{name}: {{each: [{', '.join(map(str, range(1, 1001)))}]}}" for name in ("temperature", "kd_weight")
    )
    text = change(
        "  - none", f"  - {{name: kd, label: grid, ce_weight: {{each: [{', '.join(map(str, range(1000)))}]}}, {lists}}}"
    )
    with pytest.raises(BadInput) as error:
        expanded(text)
    assert error.value.what == "the study asks for 2,000,000,005 runs, more than 10,000"
    assert "--yes-runs 2000000005" in error.value.remedy


def test_a_large_study_is_expanded_when_its_size_is_confirmed() -> None:
    text = SOUND.replace("seeds: 2", f"seeds: {list(range(1000))}").replace(
        "- none", "- {name: dkd, warmup: {each: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}"
    )
    with pytest.raises(BadInput, match="11,001 runs"):
        expanded(text)
    with pytest.raises(BadInput):
        expanded(text, confirmed=11_000)
    assert len(expanded(text, confirmed=11_001).wanted) == 11_001


def test_values_that_do_not_go_together_are_a_problem_at_their_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import model_validator

    from kdharness.core.types import DistillerConfig
    from kdharness.distillers.dkd import DKD

    class Picky(DKD.Config):
        @model_validator(mode="after")
        def _fits(self) -> DistillerConfig:
            if self.warmup > self.temperature:
                raise ValueError("warmup above temperature")
            return self

    monkeypatch.setattr(DKD, "Config", Picky)
    text = change("  - none", "  - {name: dkd, temperature: 5, warmup: {each: [1, 6]}}")
    with pytest.raises(StudyError) as error:
        expanded(text)
    assert str(error.value) == "study.yaml:7:5: dkd at warmup = 6: Value error, warmup above temperature"


def test_reading_and_expanding_need_no_data_and_reading_no_torch() -> None:
    import subprocess
    import sys

    code = f"""
import sys
from pathlib import Path
from kdharness.study.load import load_study
import kdharness.study.expand, kdharness.study.plan, kdharness.study.searching.search, kdharness.study.schema
study = load_study(Path({str(STUDIES / "quickstart.yaml")!r}))
assert not {{"torch", "optuna", "pandas", "mlflow"}} & set(sys.modules), "too much is imported"
kdharness.study.expand.expand(study, data=Path("/nowhere"))
assert "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_of_the_repository_expands(path: Path) -> None:
    from kdharness.study.expand import expand

    assert expand(load_study(path), data=Path("nowhere")).wanted


def test_the_starter_file_is_a_sound_study_also_with_its_comments_taken_in() -> None:
    from kdharness.study.expand import expand

    text = starter("my study")
    assert expand(parse_study(text.encode(), "x"), data=Path()).study.name == "my-study"
    lively = "\n".join(
        line[2:] if line.startswith(("# - ", "# search", "# figures", "#   ")) else line for line in text.splitlines()
    )
    lively = "\n".join("  " + line if line.startswith("- ") else line for line in lively.splitlines())
    expansion = expand(parse_study(lively.encode(), "x"), data=Path())
    assert len(expansion.searched) == 1
    assert {"KD by T", "luminet", "fitnet"} <= {run.label for run in expansion.wanted}
    spec = expansion.study.spec
    assert [table.only for table in spec.tables] == [[], ["none", "kd", "KD+LS"], ["KD by T"]]
    assert [figure.x for figure in spec.figures] == ["KD by T.temperature"]


def test_the_schema_knows_every_key_and_the_spec_survives_a_round_trip() -> None:
    made = schema()
    assert set(made["properties"]) == set(StudySpec.model_fields)
    assert made["additionalProperties"] is False
    spec = study(change("recipe:", "recipe: {from: digits-quick, lr: {each: [1, 2]}}")).spec
    assert StudySpec.model_validate(spec.model_dump(by_alias=True)) == spec


def test_a_setting_s_key_is_worked_out_once_however_many_seeds_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand runs of a hundred settings would take seconds each time."""
    worked = []
    key = Setting.key.fget
    monkeypatch.setattr(Setting, "key", property(lambda self: worked.append(1) or key(self)))
    counts = []
    for seeds in (2, 200):
        worked.clear()
        expansion = expanded(SOUND.replace("seeds: 2", f"seeds: {seeds}"))
        assert "settings" in expansion.summary
        counts.append(len(worked))
    assert counts[0] == counts[1]
