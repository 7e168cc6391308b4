"""Where kdharness keeps what it makes: one directory, owned by the user."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """Paths under `--home`, `$KDHARNESS_HOME` or `./kdharness-home`."""

    root: Path

    @classmethod
    def at(cls, root: Path | None = None) -> "Home":
        return cls(Path(root or os.environ.get("KDHARNESS_HOME") or "kdharness-home").absolute())

    @property
    def results(self) -> Path:
        return self.root / "results.db"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def optuna(self) -> Path:
        return self.root / "optuna.db"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def tables(self) -> Path:
        """What teachers said to images, kept for later runs: nothing here that cannot be computed again."""
        return self.root / "tables"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def published(self) -> Path:
        """Printed numbers that the user added to the package's."""
        return self.root / "published"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "artifacts" / "mlflow"

    def artifacts(self, run_id: str) -> Path:
        return self.root / "artifacts" / "runs" / run_id

    def weights(self, run_id: str) -> Path:
        """The finished student's weights."""
        return self.artifacts(run_id) / "student.safetensors"

    def imported_weights(self, sha256: str) -> Path:
        """Weights trained elsewhere, by their hash."""
        return self.root / "teachers" / f"{sha256}.safetensors"

    def analysis(self, run_id: str, name: str) -> Path:
        """The arrays of an analysis of the finished student."""
        return self.artifacts(run_id) / "analyses" / f"{name}.npz"

    def log(self, run_id: str) -> Path:
        return self.artifacts(run_id) / "log.txt"

    def checkpoints(self, run_id: str, fence: int) -> Path:
        return self.root / "checkpoints" / run_id / str(fence)
