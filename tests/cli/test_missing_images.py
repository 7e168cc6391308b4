"""A study on images that are not there: checked and planned, but not run."""

import json
import shutil

from small_study import STUDY

from kdharness.core.errors import EnvironmentRefused, ExitCode
from kdharness.core.home import Home
from kdharness.datasets.cifar import Cifar100
from kdharness.datasets.digits import Digits
from kdharness.results.store import Store

CIFAR = """\
study: cifar
dataset: cifar100
teachers: train
pairs: [resnet32x4 -> resnet8x4]
distillers: [none, kd]
seeds: 1
"""


def test_cifar_is_planned_without_images_and_refused_before_anything_is_trained(kdharness, tmp_path, monkeypatch):
    monkeypatch.setattr(Cifar100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")  # no network in tests
    file, home, data = tmp_path / "cifar.yaml", tmp_path / "home", tmp_path / "images"
    file.write_text(CIFAR)
    assert kdharness("check", file, "--home", home).code == ExitCode.DONE
    plan = kdharness("plan", file, "--json", "--home", home)
    assert json.loads(plan.out)["runs"] == 3
    answer = kdharness("run", file, "--home", home, "--data", data)
    assert answer.code == ExitCode.ENVIRONMENT_REFUSED
    assert f"put cifar-100-python.tar.gz from there into {data}" in " ".join(answer.err.split())
    store = Store(Home(home))
    assert [(row.state, row.attempts) for row in store.queue("cifar")] == [("waiting", 0)] * 3
    store.close()
    (data / "cifar-100-python.tar.gz").write_bytes(b"half a download")
    assert kdharness("run", file, "--home", home, "--data", data).code == ExitCode.BAD_INPUT


def test_a_finished_study_does_not_need_its_images(kdharness, finished, tmp_path, monkeypatch):
    def gone(*_):
        raise EnvironmentRefused("the images are gone")

    monkeypatch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)
    monkeypatch.setattr(Digits, "split", gone)
    home, file = tmp_path / "home", tmp_path / "small.yaml"
    shutil.copytree(finished, home)
    file.write_text(STUDY)
    again = kdharness("run", file, "--home", home, "--in-process")
    assert again.code == ExitCode.DONE and "nothing to train" in again.out
    file.write_text(STUDY.replace("seeds: 2", "seeds: 3"))
    more = kdharness("run", file, "--home", home, "--in-process")
    assert more.code == ExitCode.ENVIRONMENT_REFUSED and "the images are gone" in more.err
