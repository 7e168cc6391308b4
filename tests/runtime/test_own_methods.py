"""A method of somebody's own is tried before a teacher is trained for it."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tiny_study import setting
from torch import Tensor

from kdharness.core.errors import BadInput, ExitCode, IncompatiblePair
from kdharness.core.home import Home
from kdharness.core.types import Batch, BuildContext, NetworkView, Outputs
from kdharness.datasets.digits import Digits
from kdharness.distillers import sums
from kdharness.distillers.kd import KD
from kdharness.runtime import command
from kdharness.runtime.loading import study_of
from kdharness.runtime.outcome import FailedRun, RunOutcome
from kdharness.runtime.own_methods import first_settings, refuse_broken_methods
from kdharness.study.expand import expand_at


class Sound(KD):
    """L = CE + KL, by somebody else."""


class Raising(KD):
    """L = CE, where it can be divided by the temperature's distance to 4."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {**super().losses(student, teacher, batch), "ce": torch.ones(()) / (1 // (4 - self.config.temperature))}


class Misnamed(KD):
    """L = CE + KL, under another name."""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        terms = super().losses(student, teacher, batch)
        return {"ce": terms["ce"], "soft": terms["kd"]}


class Infinite(KD):
    """L = ∞"""

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        return {**super().losses(student, teacher, batch), "kd": torch.tensor(torch.inf)}


class Choosy(KD):
    """L = CE + KL, for nobody."""

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> torch.nn.Module:
        raise IncompatiblePair("no pair is good enough")


def look(monkeypatch, method, **constants):
    monkeypatch.setattr(sums, "method", lambda _: method)
    asked = setting("kd", teacher=None).model_copy(
        update={"constants": {"ce_weight": 0.1, "kd_weight": 0.9, "temperature": 4.0, **constants}}
    )
    refuse_broken_methods([asked], Digits(Path()), "study.yaml")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Raising, r"test_own_methods\.py:\d+: kd cannot be trained with .*temperature=4.0.*: ZeroDivisionError"),
        (Misnamed, r"study\.yaml: .* it returns the losses ce, soft, but weights for ce, kd"),
        (Infinite, r"study\.yaml: .* its loss kd is inf"),
    ],
)
def test_what_would_fail_is_refused_with_its_place(monkeypatch, method, said):
    with pytest.raises(BadInput, match=said) as error:
        look(monkeypatch, method)
    assert error.value.remedy == "`kdharness --plugin test_own_methods try kd` says more"


def test_what_can_be_trained_passes_and_ours_is_not_tried(monkeypatch):
    look(monkeypatch, Sound)
    look(monkeypatch, Raising, temperature=3.0)
    monkeypatch.setattr(KD, "losses", None)
    look(monkeypatch, KD)


def test_a_method_may_refuse_a_pair_in_its_own_words(monkeypatch):
    with pytest.raises(IncompatiblePair, match="no pair is good enough"):
        look(monkeypatch, Choosy)


def test_what_a_search_has_still_to_choose_is_tried_as_its_method_says(tmp_path):
    text = "study: s\ndataset: digits\nteachers: train\nrecipe: digits-quick\npairs: [resnet20 -> resnet8]\nseeds: 1\n"
    text += "distillers: [none, {name: kd, temperature: {float: [1, 8]}}]\nsearch: {pairs: each, draws: 2}\n"
    (tmp_path / "s.yaml").write_text(text)
    expansion = expand_at(study_of(tmp_path / "s.yaml"), Home(tmp_path))
    found = {one.distiller: one.constants for one in first_settings(expansion)}
    assert found.keys() == {"none", "kd"} and found["kd"]["temperature"] == KD.Config().temperature


@pytest.mark.parametrize("modules", [(), ("mine",)])
def test_runs_that_a_plug_in_failed_are_not_to_be_retried(monkeypatch, home, modules):
    monkeypatch.setattr(command, "plugins", lambda: modules)
    failed = FailedRun("0123456789ab-0", "Mine", "resnet20 -> resnet8", 0, "failed", "boom", home.log("0123456789ab-0"))
    told = StringIO()
    outcome = RunOutcome(ExitCode.SOME_FAILED, 2, 1, 1, (failed,), {}, 0, 3.0, 0)
    command._tell(outcome, "mini", home, Console(file=told, width=200))
    assert "kdharness retry mini lets failed runs wait again" in told.getvalue()
    assert ("mended has other runs" in told.getvalue()) == bool(modules)
