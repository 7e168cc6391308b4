"""The engine looks its names up among the toys."""

import pytest
import toys


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdharness.distillers.sums.DISTILLERS", toys.DISTILLERS)
    monkeypatch.setattr("kdharness.training.sharing.MODELS", toys.MODELS)
