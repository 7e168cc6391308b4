"""Analyses of real finished students, from their kept weights."""

import numpy as np
import pytest
import torch
from tiny_study import ask, wanted

from kdharness.core.analyses import ANALYSES, Analysis
from kdharness.core.errors import BadInput, EnvironmentRefused, UnknownName
from kdharness.core.home import Home
from kdharness.core.records import Execution
from kdharness.distillers.registry import DISTILLERS
from kdharness.results.store import Store
from kdharness.runtime.evaluating import evaluate_runs, finished_runs
from kdharness.runtime.job import run_job
from kdharness.runtime.trained import Shelf, Trained, agrees


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A home with a teacher, a student alone, one by kd and one by simkd, all finished."""
    home = Home(tmp_path_factory.mktemp("trained"))
    store = Store(home, create=True)
    ids = ask(store, wanted(labels=("none", "kd"), epochs=1, milestones=()))
    for run_id in ids.values():
        run_job(home, [run_id], slot="cpu:0")
    yield home, store, ids
    store.close()


def analysed(trained, run, *names, again=False):
    home, store, ids = trained
    (found,) = evaluate_runs(home, store, [ids[run]], [Analysis.parse(name) for name in names], data=home, again=again)
    return found


def test_all_of_them_are_stored_once_and_the_headline_stays(trained, monkeypatch):
    home, store, ids = trained
    before = store.run(ids["kd0"]).metrics
    names = [name for name in ANALYSES if name != "transfer"] + ["transfer to digits"]
    monkeypatch.setattr("kdharness.evaluation.features.IMAGES", 30)
    found = analysed(trained, "kd0", *names)
    assert set(found.computed) == set(names) and not found.skipped
    metrics = store.run(ids["kd0"]).metrics
    assert {name: metrics[name] for name in before} == before
    assert metrics.keys() - before.keys() == found.metrics.keys() - before.keys()
    assert {"test_ece", "test_agreement", "train_step_ms_cpu", "test_transfer_digits_top1"} <= metrics.keys()
    assert metrics["train_extra_parameters"] == 0 and metrics["test_multiply_adds"] > 1e5
    assert {path.stem for path in (home.artifacts(ids["kd0"]) / "analyses").iterdir()} >= {"fidelity", "features"}

    monkeypatch.setattr("kdharness.runtime.evaluating._shelf", lambda *_: pytest.fail("opened images again"))
    second = analysed(trained, "kd0", *names)
    assert set(second.known) == set(names) and second.metrics == metrics


def test_arrays_lie_beside_the_run_and_are_read_without_pickle(trained):
    home, _, ids = trained
    analysed(trained, "kd0", "calibration", "fidelity")
    with np.load(home.analysis(ids["kd0"], "calibration"), allow_pickle=False) as arrays:
        assert arrays["count"].sum() == 359 and arrays["accuracy"].shape == (15,)
    with np.load(home.analysis(ids["kd0"], "fidelity"), allow_pickle=False) as arrays:
        assert arrays["raw"].shape == arrays["student_correlation"].shape == (10, 10)


def test_the_rebuilt_student_says_what_the_run_said(trained):
    home, store, ids = trained
    rebuilt = Trained(Shelf(home, store, home.data, Execution()), ids["kd0"]).judged()
    with np.load(_io(store.predictions(ids["kd0"]))) as kept:
        assert (rebuilt.logits.argmax(1).numpy() == kept["predicted"]).all()
        confidence = rebuilt.logits.softmax(1).amax(1).to(torch.float16).numpy()
        assert (confidence == kept["confidence"]).all()


def _io(packed):
    import io

    return io.BytesIO(packed)


def test_measuring_again_replaces(trained):
    _, store, ids = trained
    analysed(trained, "none0", "entropy")
    store.add_metrics(ids["none0"], {"test_entropy": -1.0}, again=True)
    assert analysed(trained, "none0", "entropy").metrics["test_entropy"] == -1.0
    assert analysed(trained, "none0", "entropy", again=True).metrics["test_entropy"] > 0


def test_what_says_nothing_of_a_student_is_told(trained):
    found = analysed(trained, "none0", "fidelity", "logits")
    assert found.skipped == {"fidelity": "without a trained teacher"} and found.computed == ("logits",)


def test_a_student_judged_with_its_adapters_cannot_be_rebuilt(trained, monkeypatch):
    from kdharness.distillers.kd import KD

    monkeypatch.setattr(KD, "predict", lambda self, student, teacher: student.logits)
    monkeypatch.setattr(KD, "build", lambda self, student, teacher, context: torch.nn.Linear(1, 1))
    found = analysed(trained, "kd0", "calibration", "cost", again=True)
    assert "judges its student together with" in found.skipped["calibration"]
    assert found.computed == ("cost",) and found.metrics["train_extra_parameters"] == 2  # what it costs is no secret


def test_a_method_that_is_not_here_is_told_before_the_first_run(trained, monkeypatch):
    """Its plug-in was not named."""
    home, store, ids = trained
    known = set(store.run(ids["none0"]).metrics)
    monkeypatch.setattr(DISTILLERS, "_aliases", {name: name for name in DISTILLERS if name != "kd"})
    with pytest.raises(UnknownName, match="unknown distiller 'kd'") as error:
        next(evaluate_runs(home, store, [ids["none0"], ids["kd0"]], [Analysis.parse("entropy")], data=home, again=True))
    assert "--plugin" in error.value.remedy and set(store.run(ids["none0"]).metrics) == known


def test_damaged_weights_store_nothing(trained):
    home, store, ids = trained
    path, kept = home.weights(ids["none0"]), home.weights(ids["none0"]).read_bytes()
    path.write_bytes(home.weights(ids["kd0"]).read_bytes())
    with pytest.raises(EnvironmentRefused, match="damaged"):
        analysed(trained, "none0", "perception")
    path.write_bytes(kept)
    assert "test_perceived_entropy" not in store.run(ids["none0"]).metrics


def test_kept_weights_must_give_the_headline():
    agrees(75.0, 75.4, 10_000)
    agrees(75.0, 75.5, 359)  # two of 359 images
    with pytest.raises(EnvironmentRefused, match=r"scores 70\.00 %"):
        agrees(75.0, 70.0, 10_000)


def test_a_study_or_a_run_by_name(trained):
    _, store, ids = trained
    assert set(finished_runs(store, "tiny")) == set(ids.values())
    assert finished_runs(store, ids["kd0"][:9]) == [ids["kd0"]]
    with pytest.raises(BadInput, match="neither a study nor a run"):
        finished_runs(store, "tinny")
