"""What a finished run answered to each test image, as its row keeps it; and whether two runs err alike."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy.typing import NDArray
from torch import Tensor

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.datasets.opening import open_dataset
from kdharness.reporting import statistics
from kdharness.results.records import RunRow
from kdharness.results.store import Store


def pack(predicted: Tensor, confidence: Tensor) -> bytes:
    """Per test image its predicted class and confidence as `.npz`: `predicted` uint16, `confidence` float16."""
    buffer = io.BytesIO()
    numpy.savez_compressed(
        buffer, predicted=predicted.numpy().astype(numpy.uint16), confidence=confidence.numpy().astype(numpy.float16)
    )
    return buffer.getvalue()


@dataclass(frozen=True)
class Agreement:
    """On how many test images two runs are right together or alone, and McNemar's test of it."""

    images: int
    both: int
    first_only: int
    second_only: int
    neither: int
    p_value: float
    """Two-sided, exact: that both networks err as often. It is about these two networks, not about their methods."""


def agreement(store: Store, data: Path, first: RunRow, second: RunRow) -> Agreement:
    """Of two finished runs on the same images.

    Raises BadInput where their answers cannot be compared, EnvironmentRefused where the images are not here or scipy is
    missing.
    """
    ones, others = first.setting, second.setting
    if (ones.dataset, ones.fingerprint) != (others.dataset, others.fingerprint):
        raise BadInput(f"the runs are on other images: {ones.dataset} and {others.dataset}")
    packed = [_kept(store, run) for run in (first, second)]
    dataset = open_dataset(ones.dataset, data)
    if dataset.fingerprint != ones.fingerprint:
        raise EnvironmentRefused(f"the {ones.dataset} here is not the one that the runs had", remedy="name its --data")
    labels = dataset.split("test").labels.numpy()
    right, also = (_right(run, answers, labels) for run, answers in zip((first, second), packed, strict=True))
    alone, other_alone = int((right & ~also).sum()), int((also & ~right).sum())
    return Agreement(
        len(labels),
        int((right & also).sum()),
        alone,
        other_alone,
        int((~right & ~also).sum()),
        statistics.mcnemar(alone, other_alone),
    )


def _kept(store: Store, run: RunRow) -> bytes:
    """Raises BadInput where there are none, with why."""
    if run.state != "complete":
        raise BadInput(
            f"run {run.run_id} is {run.state}: it has no predictions yet", remedy="kdharness status says more"
        )
    packed = store.predictions(run.run_id)
    if packed is None:
        why = "a search run never sees the test images" if run.setting.validation else "they were not kept"
        raise BadInput(f"run {run.run_id} has no predictions: {why}", remedy="name final runs of a study")
    return packed


def _right(run: RunRow, packed: bytes, labels: NDArray[numpy.int64]) -> NDArray[numpy.bool_]:
    """(N,) whether each image was answered rightly. Raises EnvironmentRefused where that is not the run's accuracy."""
    try:
        with numpy.load(io.BytesIO(packed), allow_pickle=False) as kept:
            predicted = kept["predicted"]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError) as error:
        raise EnvironmentRefused(
            f"the predictions of run {run.run_id} cannot be read",
            remedy="its row is damaged: a backup of the database may have it whole",
        ) from error
    right: NDArray[numpy.bool_] = predicted == labels if predicted.shape == labels.shape else numpy.zeros(0, bool)
    said = run.metrics.get("test_top1_last")
    if not len(right) or said is None or abs(100 * right.mean() - said) > 1e-6:
        raise EnvironmentRefused(
            f"the predictions of run {run.run_id} do not have its accuracy on the images here",
            remedy="kdharness data check says whether the images are whole",
        )
    return right
