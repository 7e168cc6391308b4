"""Imported teachers: measured or honestly not, compared with what was declared, and fed to runs by their hash."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from tiny_study import ask, setting

from kdharness.core.errors import BadInput, EnvironmentRefused, ExitCode
from kdharness.core.records import Teacher, WantedRun
from kdharness.datasets.digits import Digits
from kdharness.models.registry import MODELS
from kdharness.models.released import child, reading
from kdharness.runtime import command, judge, teachers
from kdharness.runtime.export_model import export_run, export_teacher
from kdharness.runtime.inputs import imported_weights, teacher_weights
from kdharness.runtime.job import run_job
from kdharness.runtime.teachers import import_folder, import_teacher, verify_teacher
from kdharness.study.teachers import TeacherSource
from kdharness.training.weights import weights_sha256


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Files are read in this process (tests/models starts the real one), and one other normalisation is tried."""

    def convert(path, descriptor, plain, size):
        try:
            with open(descriptor, "rb", closefd=False) as file:
                weights, known = child.read(file, size)
        except child.Refused as refused:
            raise BadInput(refused.what, where=str(path)) from refused
        plain.write(safetensors.torch.save(weights, {"kdharness": json.dumps(known)}))

    monkeypatch.setattr(reading, "_convert", convert)
    how = "the mean and std of ImageNet"
    monkeypatch.setattr(judge, "OTHER_NORMALIZATIONS", {how: judge.OTHER_NORMALIZATIONS[how]})


def state(model="resnet14", seed=0, classes=10, size=8):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS.get(model).build(classes, (3, size, size)).state_dict()


@pytest.fixture
def file(tmp_path):
    """As mdistiller releases them: in a folder named after the network."""
    path = tmp_path / "resnet14_vanilla" / "ckpt_epoch_240.pth"
    path.parent.mkdir()
    torch.save({"model": state(), "epoch": 240}, path)
    return path


@pytest.fixture
def without_images(monkeypatch):
    def split(*_arguments, **_more):
        raise EnvironmentRefused("the images are not here")

    monkeypatch.setattr(Digits, "split", split)
    return monkeypatch


def take(home, store, file, **more):
    return import_teacher(home, store, file, **{"model": "resnet14", "dataset": "digits", "data": home.data, **more})


def test_an_import_is_measured_and_kept_by_the_hash_of_its_weights(home, store, file):
    made = take(home, store, file)
    assert store.imported_teachers() == [made]
    assert made.weights_sha256 == weights_sha256(state())
    assert made.name == f"resnet14-digits-{made.weights_sha256[:8]}"
    assert made.measured_top1 is not None and 0 <= made.measured_top1 < 40 and made.fingerprint == Digits.fingerprint
    assert home.root / made.path == home.imported_weights(made.weights_sha256)
    assert weights_sha256(imported_weights(home, made.weights_sha256, "resnet14")) == made.weights_sha256
    expected = {"file": str(file), "entry": "model", "format": "torch zip", "figures": {"epoch": 240}, "prefix": ""}
    assert expected.items() <= made.provenance.items()
    again = take(home, store, file, model=None)
    assert {**vars(again), "verified": made.verified} == vars(made)


def test_far_from_what_was_declared_is_an_error_and_leaves_nothing(home, store, file):
    with pytest.raises(BadInput, match=r"declared are 79\.42 % .* points apart") as refused:
        take(home, store, file, declared_top1=79.42)
    assert "guess" in refused.value.remedy and "--accept-mismatch" in refused.value.remedy
    assert store.imported_teachers() == [] and not home.imported_weights(weights_sha256(state())).exists()
    made = take(home, store, file, declared_top1=79.42, accept="untrained on purpose")
    assert (made.declared_top1, made.accepted) == (79.42, "untrained on purpose")
    assert take(home, store, file).accepted == "untrained on purpose"
    with pytest.raises(BadInput, match="declared are 50"):
        take(home, store, file, declared_top1=50.0)


def test_within_the_tolerance_no_reason_is_kept(home, store, file):
    measured = take(home, store, file).measured_top1
    near = take(home, store, file, declared_top1=measured + 0.29, accept="not needed")
    assert (near.declared_top1, near.accepted) == (measured + 0.29, None)
    with pytest.raises(BadInput, match=r"0\.31 points apart"):
        take(home, store, file, declared_top1=measured + 0.31)


def test_the_cause_of_a_mismatch_is_looked_for(home, store, file, monkeypatch):
    def top1(_judge, _state, _model, normalization=None, *, images=None):
        return 40.0 if normalization is None or normalization.std != (0.229, 0.224, 0.225) else 79.0

    monkeypatch.setattr(judge.Judge, "top1", top1)
    with pytest.raises(BadInput) as refused:
        take(home, store, file, declared_top1=79.42)
    assert "another normalisation: fed with the mean and std of ImageNet it scores 79.00 %" in refused.value.remedy
    assert "\nTo feed it so: --normalization imagenet\n" in refused.value.remedy
    made = take(home, store, file, declared_top1=79.2, normalization="imagenet")
    assert (made.measured_top1, made.accepted) == (79.0, None)
    with pytest.raises(BadInput, match=r"40\.00") as refused:
        take(home, store, file, normalization="dataset")
    assert store.imported_teachers() == [made]
    monkeypatch.setattr(judge.Judge, "top1", lambda *_, **__: 40.0)
    for declared, cause in ((41.0, "best epoch"), (60.0, "other preprocessing, other training data")):
        with pytest.raises(BadInput, match=r"40\.00") as refused:
            take(home, store, file, declared_top1=declared)
        assert cause in refused.value.remedy


def test_the_normalisation_is_kept_and_used_again(home, store, file, without_images):
    made = take(home, store, file, normalization="imagenet")
    assert made.normalization == made.provenance["normalization"] == "imagenet"
    assert take(home, store, file).normalization == "imagenet"
    without_images.undo()  # which lets the real child in, too: no file is read from here on
    dataset = Digits(home.data)
    measured = {fed: judge.Judge(dataset).top1(state(), "resnet14", judge.FED[fed]) for fed in judge.FED}
    assert measured["imagenet"] != measured["dataset"]
    assert verify_teacher(home, store, home.data, made).measured_top1 == measured["imagenet"]


def test_what_was_measured_with_another_normalisation_does_not_stand(home, store, file, monkeypatch):
    assert take(home, store, file, declared_top1=79.42, accept="a test").verified
    monkeypatch.setattr(judge.Judge, "has_images", False)
    made = take(home, store, file, normalization="imagenet")
    assert (made.measured_top1, made.verified, made.fingerprint) == (None, None, None)


def test_what_was_accepted_once_is_measured_again_without_a_word(home, store, file):
    made = take(home, store, file, declared_top1=79.42, accept="a test")
    assert verify_teacher(home, store, home.data, made).accepted == "a test"


def test_a_name_that_is_taken_leaves_nothing(home, store, file, tmp_path):
    made, other = take(home, store, file, name="mine"), tmp_path / "other.pth"
    torch.save(state(seed=1), other)
    with pytest.raises(BadInput, match="'mine' already"):
        take(home, store, other, name="mine")
    with pytest.raises(BadInput, match="here already, as mine"):
        take(home, store, file, name="yours")
    assert list(home.imported_weights("x").parent.iterdir()) == [home.imported_weights(made.weights_sha256)]


@pytest.mark.parametrize(("key", "value"), [("bn1.running_var", -1.0), ("conv1.weight", 1e38)])
def test_weights_whose_logits_are_not_finite_are_refused(home, store, tmp_path, key, value):
    bad = state()
    bad[key] = torch.full_like(bad[key], value)
    torch.save(bad, tmp_path / "bad.pth")
    with pytest.raises(BadInput, match="not finite"):
        take(home, store, tmp_path / "bad.pth")
    assert store.imported_teachers() == []


def test_a_file_of_any_name_is_read_and_no_number_is_no_accuracy(home, store, file):
    odd = Path(os.fsdecode(os.fsencode(file.parent) + b"/\xff.pth"))
    file.rename(odd)
    assert take(home, store, odd).provenance["file"].endswith("\\udcff.pth")
    with pytest.raises(BadInput, match="nan cannot be a declared accuracy"):
        take(home, store, odd, declared_top1=float("nan"))


def test_without_the_images_it_is_unverified_until_it_is_measured(home, store, file, without_images):
    made = take(home, store, file, declared_top1=79.42)
    assert (made.measured_top1, made.verified) == (None, None)
    with pytest.raises(EnvironmentRefused, match="images"):
        verify_teacher(home, store, home.data, made)
    without_images.undo()
    with pytest.raises(BadInput, match=r"79\.42"):
        verify_teacher(home, store, home.data, made)
    assert store.imported_teachers() == [made]
    told = verify_teacher(home, store, home.data, made, accept="a test's")
    assert told.measured_top1 is not None and told.accepted == "a test's" and store.imported_teachers() == [told]


@pytest.mark.parametrize("name", ["train", "imported", "../up", "-x", "", "a" * 65, "a b"])
def test_a_name_that_studies_could_not_use_is_refused(home, store, file, name):
    with pytest.raises(BadInput, match="cannot be a teacher's name"):
        take(home, store, file, name=name)


def test_a_file_that_no_folder_names_needs_a_model(home, store, file):
    moved = file.rename(file.parents[1] / "teacher.pth")
    with pytest.raises(BadInput, match="which network"):
        take(home, store, moved, model=None)


def test_a_run_is_fed_the_import_that_its_setting_names(home, store, file):
    made = take(home, store, file)
    taught = setting("kd").model_copy(
        update={"teachers": (Teacher(model="resnet14", revision=1, weights_sha256=made.weights_sha256),)}
    )
    ids = ask(store, [WantedRun(taught, 0, "final", "kd", "resnet14 -> resnet8", "resnet8", "resnet14")])
    assert run_job(home, list(ids.values()), slot="cpu:0") == ExitCode.DONE
    assert store.run(ids["kd0"]).teacher_sha256 == made.weights_sha256
    path = home.imported_weights(made.weights_sha256)
    whole = path.read_bytes()
    for damage in (whole[:-8] + bytes(8), whole[:100]):
        path.write_bytes(damage)
        with pytest.raises(EnvironmentRefused, match="resnet14") as refused:
            teacher_weights(home, store, taught)
        assert "kdharness teachers import" in refused.value.remedy
    path.unlink()
    with pytest.raises(EnvironmentRefused, match="gone"):
        teacher_weights(home, store, taught)
    take(home, store, file)
    assert teacher_weights(home, store, taught)[1] == made.weights_sha256


def test_before_the_first_job_imports_are_there_and_measured_on_these_images(home, store, file):
    made = take(home, store, file)
    ask(store, [WantedRun(setting("none"), 0, "final", "none", "resnet8", "resnet8", None)], "one")

    named = (Teacher(model=made.model, revision=1, weights_sha256=made.weights_sha256),)
    taught = WantedRun(
        setting("kd").model_copy(update={"teachers": named}), 0, "final", "KD", "", "resnet8", "resnet14"
    )

    def open_inputs(teacher, wanted=(taught,)):
        source = TeacherSource(teacher.model, imported=teacher)
        expansion = SimpleNamespace(dataset=Digits(home.data), teachers={teacher.model: source}, wanted=wanted)
        command._open_inputs(store, "one", expansion, home, home.data)  # type: ignore[arg-type]
        return store.imported_teachers()[0]

    assert open_inputs(made) == made
    other = store.verified(made.name, measured_top1=1.0, fingerprint="of other images")
    assert open_inputs(other).fingerprint == Digits.fingerprint
    assert store.imported_teachers()[0].measured_top1 == made.measured_top1
    otherwise = take(home, store, file, normalization="imagenet")
    with pytest.raises(BadInput, match=r"KD would feed the teacher .* with normalization dataset, .* with imagenet"):
        open_inputs(otherwise)
    assert open_inputs(otherwise, ()) == otherwise
    home.imported_weights(made.weights_sha256).unlink()
    with pytest.raises(EnvironmentRefused, match="gone"):
        open_inputs(made)


def released(folder: Path, name: str, weights, file: str = "ckpt_epoch_240.pth") -> Path:
    (folder / name).mkdir(exist_ok=True)
    torch.save({"model": weights}, folder / name / file)
    return folder / name / file


@pytest.mark.parametrize(
    ("folder", "model"),
    [
        ("ResNet50_vanilla", "resnet50_cifar"),
        ("wrn_40_2_vanilla", "wrn_40_2"),
        ("vgg13_vanilla", "vgg13"),
        ("resnet32x4_vanilla", "resnet32x4"),
        ("mobilenetv2_tinyimagenet_vanilla", "mobilenetv2_tinyimagenet"),
        ("wrn_28_4_cifar100_lr_0.05_decay_0.0005_trial_0", "wrn_28_4"),
        ("download_ckpts", None),
        ("wrn", None),
        ("", None),
    ],
)
def test_folders_are_named_after_networks_as_repdistiller_reads_them(folder, model):
    assert teachers._model_of(Path("/x") / folder, "cifar100") == model


def test_a_folder_as_mdistiller_has_it_comes_in_at_once(home, store, tmp_path):
    folder = tmp_path / "cifar_teachers"
    (folder / "logs").mkdir(parents=True)
    good = [
        released(folder, "ResNet14_vanilla", state(), "ti_res14"),
        released(folder, "resnet8_vanilla", state("resnet8")),
        released(folder, "wrn_16_1_cifar100_lr_0.05_trial_0", state("wrn_16_1"), "wrn_16_1_last.pth"),
    ]
    released(folder, "resnet8_vanilla", state("resnet8", seed=1), "ckpt_epoch_40.pth")
    released(folder, "wrn_16_1_cifar100_lr_0.05_trial_0", state("wrn_16_1", seed=1), "wrn_16_1_best.pth")
    bad = released(folder, "vgg8_vanilla", "no weights")
    released(folder, "resnet20_vanilla", state(), "one.pth")
    released(folder, "resnet20_vanilla", state(), "two.pth")
    found = dict(import_folder(home, store, folder, dataset="digits", data=home.data))
    failed = {path: error for path, error in found.items() if isinstance(error, BadInput)}
    assert failed.keys() == {bad, folder / "resnet20_vanilla"}
    assert "state_dict" in str(failed[bad]) and "one.pth, two.pth" in str(failed[folder / "resnet20_vanilla"])
    assert {path: one.model for path, one in found.items() if path not in failed} == dict(
        zip(good, ("resnet14", "resnet8", "wrn_16_1"), strict=True)
    )
    assert found[good[1]].weights_sha256 == weights_sha256(state("resnet8"))
    assert len(store.imported_teachers()) == 3
    for place, said in (("logs", "no folder"), ("none", "cannot be listed")):
        with pytest.raises(BadInput, match=said):
            list(import_folder(home, store, folder / place, dataset="digits", data=home.data))


def test_an_exported_teacher_loads_where_it_came_from(home, store, file, tmp_path):
    made = take(home, store, file, declared_top1=50.0, accept="a test")
    weights, pth, card = export_teacher(home, store, made.name, tmp_path / "out", data=home.data)
    for found in (torch.load(pth, weights_only=True)["model"], safetensors.torch.load_file(weights)):
        assert weights_sha256(found) == made.weights_sha256
    told = json.loads(card.read_text())
    assert told["metrics"] == {"test_top1": made.measured_top1} and told["mismatch_accepted"] == "a test"
    assert told["imported_from"]["file"] == "ckpt_epoch_240.pth" and str(tmp_path) not in card.read_text()
    assert told["data"]["fingerprint"] == Digits.fingerprint
    again = take(home, store, pth, normalization="imagenet")
    assert again.name == made.name
    *_, card = export_teacher(home, store, made.name, tmp_path / "out", data=home.data)
    assert json.loads(card.read_text())["data"]["mean"] == [0.485, 0.456, 0.406]


def test_an_exported_student_has_its_card(home, store, tmp_path):
    ids = ask(store, [WantedRun(setting("none", epochs=1), 0, "final", "none", "resnet8", "resnet8", None)])
    with pytest.raises(BadInput, match="waiting"):
        export_run(home, store, ids["none0"], tmp_path / "out", data=home.data)
    assert run_job(home, list(ids.values()), slot="cpu:0") == ExitCode.DONE
    weights, pth, card = export_teacher(home, store, ids["none0"], tmp_path / "out", data=home.data)
    run, told = store.run(ids["none0"]), json.loads(card.read_text())
    assert weights_sha256(torch.load(pth, weights_only=True)["model"]) == run.weights_sha256 == told["weights_sha256"]
    assert weights.name == "resnet8.safetensors" and told["metrics"] == dict(run.metrics)
    assert told["setting_key"] == run.setting_key and told["setting"]["recipe"]["epochs"] == 1
    assert told["metrics_are_of"] == "the student alone" and told["code"]["versions"]["torch"]
    assert told["data"]["mean"] == list(Digits.normalization.mean)
