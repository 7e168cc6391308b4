"""`execution:` and `checkpoint:` of a study reach its jobs, and move neither keys nor the default command line."""

import math

import pytest
import torch
from tiny_study import ask, wanted

from kdharness.core.errors import EnvironmentRefused, ExitCode
from kdharness.core.home import Home
from kdharness.core.records import Numerics
from kdharness.runtime.job import run_job
from kdharness.runtime.options import JOB_DEFAULTS, JobOptions
from kdharness.study.spec import StudySpec

SPEC = {"study": "a", "dataset": "digits", "teachers": "train", "pairs": ["a -> b"], "distillers": ["none"]}


def test_a_study_file_becomes_a_command_line(tmp_path):
    assert JobOptions.of_study(StudySpec.model_validate(SPEC), None) == JOB_DEFAULTS
    assert JOB_DEFAULTS.arguments() == ()
    parts = {"execution": {"threads": 2, "layout": "contiguous", "compile": True}, "checkpoint": {"every": "1 min"}}
    options = JobOptions.of_study(StudySpec.model_validate(SPEC | parts), tmp_path)
    assert options.arguments() == (
        "--data", str(tmp_path), "--threads", "2", "--layout", "contiguous", "--checkpoint-seconds", "60.0",
        "--compile",
    )  # fmt: skip
    at_ends = JobOptions.of_study(StudySpec.model_validate(SPEC | {"checkpoint": {"every": "epoch"}}), None)
    assert at_ends.checkpoint_seconds == math.inf and at_ends.arguments() == ("--checkpoint-seconds", "inf")


def test_the_command_hands_them_to_the_job(monkeypatch, tmp_path):
    import sys

    from kdharness.cli.app import main

    seen = []
    monkeypatch.setattr(
        "kdharness.runtime.job.run_job", lambda *_, options, **__: seen.append(options) or ExitCode.DONE
    )
    options = JobOptions(tmp_path, 2, "contiguous", True, math.inf)
    monkeypatch.setattr(sys, "argv", ["kdharness", "job", "--home", str(tmp_path), *options.arguments(), "a-0"])
    try:
        main()
    except SystemExit as end:
        assert not end.code
    assert seen == [options]


def test_what_a_job_computed_with_is_recorded(home, store):
    ids = ask(store, wanted(labels=("none",), epochs=1))
    plain, other = JOB_DEFAULTS, JobOptions(layout="contiguous")
    assert run_job(home, [ids["teacher0"]], slot="cpu:0", options=plain) == ExitCode.DONE
    assert run_job(home, [ids["none0"]], slot="cpu:0", options=other) == ExitCode.DONE
    first, second = (store.run(run_id).history[0].numerics for run_id in (ids["teacher0"], ids["none0"]))
    assert (first["layout"], second["layout"]) == ("channels_last", "contiguous")
    assert set(first) == set(Numerics.model_fields) - {"graphs"}  # left out where it has its old value, as keys need


def test_a_compiled_student_is_recorded_as_such(home, store, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compiled.append(type(network).__name__))
    ids = ask(store, wanted(labels=("none",), epochs=1))
    assert run_job(home, [ids["teacher0"]], slot="cpu:0", options=JobOptions(compile=True)) == ExitCode.DONE
    assert compiled == ["ResNet"]  # the network that is trained, once
    assert store.run(ids["teacher0"]).history[0].numerics["compile_mode"] == "inductor"


def test_a_study_that_asks_for_a_compiler_is_refused_without_one(monkeypatch, tmp_path):
    from rich.console import Console

    from kdharness.runtime.command import run_command
    from kdharness.training import compiling

    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: a\ndataset: digits\nteachers: train\nrecipe: digits-quick\npairs: [resnet8 -> resnet8]\n"
        "distillers: [none]\nseeds: 1\nexecution: {compile: true}\n"
    )
    with pytest.raises(EnvironmentRefused, match=r"no C\+\+ compiler"):
        run_command(study, Home(tmp_path / "home"), slots="1", console=Console(quiet=True))
    assert not (tmp_path / "home").exists()
