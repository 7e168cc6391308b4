"""studies/smoke-all-distillers.yaml names every method, and on a few images every row of it trains to the end."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdharness.core.errors import ExitCode
from kdharness.core.home import Home
from kdharness.core.records import WantedRun
from kdharness.core.types import Split
from kdharness.datasets.digits import Digits
from kdharness.distillers.registry import DISTILLERS
from kdharness.results.store import Store
from kdharness.runtime.job import run_job
from kdharness.study.expand import expand
from kdharness.study.load import parse_study
from kdharness.study.rows import rows
from kdharness.study.spec import RecipeChange

TEXT = (Path(__file__).parents[2] / "studies" / "smoke-all-distillers.yaml").read_text()
IMAGES = {"train": 96, "test": 16}


def test_the_study_names_every_method() -> None:
    spec = parse_study(TEXT.encode(), "smoke.yaml").spec
    alone = {row.entry.name for row in rows(spec) if not row.entry.through and "+" not in row.entry.name}
    assert alone == set(DISTILLERS) and isinstance(spec.pairs, list) and len(spec.pairs) == 2
    assert isinstance(spec.recipe, RecipeChange) and spec.recipe.values == {"epochs": 2}


def with_an_ensemble() -> str:
    """A study of every method on logits with two teachers; a peer has no second teacher."""
    methods = {name: DISTILLERS.get(name) for name in DISTILLERS}
    names = [
        name for name, method in methods.items() if method.family == "logits" and not method(method.Config()).needs.peer
    ]
    return f"""study: ensembles
dataset: digits
teachers: train
recipe: {{from: digits-quick, epochs: 1}}
pairs: [resnet14 + wrn_16_2 -> resnet8]
distillers: [{", ".join(names)}]
seeds: 1
"""


def test_every_row_trains_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Digits.split

    def few(self: Digits, part: Any, validation: float = 0.0) -> Split:
        split = whole(self, part, validation)
        kept = slice(IMAGES[part])
        return replace(split, images=split.images[kept], labels=split.labels[kept], index=split.index[kept])

    monkeypatch.setattr(Digits, "split", few)
    home = Home(tmp_path)
    store = Store(home, create=True)
    left: dict[str, WantedRun] = {}
    for text in (TEXT, with_an_ensemble()):
        study = parse_study(text.replace("epochs: 2", "epochs: 1").encode(), "smoke.yaml")
        wanted = expand(study, data=tmp_path).wanted
        store.save_study(study.name, study.text, wanted, path=study.path, spec={})
        left |= {run.run_id: run for run in wanted}
    asked = set(left)
    while ready := ready_of(left.values()):
        assert run_job(home, ready, slot="cpu:0") == ExitCode.DONE, [
            home.log(run_id).read_text() for run_id in ready if store.run(run_id).state != "complete"
        ]
        left = {run_id: run for run_id, run in left.items() if run_id not in ready}
    assert not left and {store.run(run_id).state for run_id in asked} == {"complete"}
    store.close()


def ready_of(left: Collection[WantedRun]) -> Sequence[str]:
    """The runs whose teachers are trained."""
    waiting = {run.run_id for run in left}
    taught_by = {run.run_id: {teacher.run.run_id for teacher in run.setting.teachers if teacher.run} for run in left}
    return [run_id for run_id, teachers in taught_by.items() if not waiting & teachers]
