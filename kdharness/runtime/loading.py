"""The study that a command is about: its file's, or with `--smoke` the shrunk form for this machine."""

from pathlib import Path

from kdharness.runtime.slots import gpu_count
from kdharness.study.load import Study, load_study
from kdharness.study.smoke import shrink


def study_of(file: Path, *, smoke: bool = False) -> Study:
    """Raises StudyError, and BadInput where the file cannot be read."""
    study = load_study(file)
    return shrink(study, "cuda" if gpu_count() else "cpu") if smoke else study
