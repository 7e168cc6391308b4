"""Each run's own log file: every attempt appends to it, with a header line."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from kdharness.core.home import Home
from kdharness.training.files import make_directory

log = logging.getLogger("kdharness.run")


@contextmanager
def run_logs(home: Home, headers: Mapping[str, str]) -> Iterator[None]:
    """Inside, log records go to the log of the run they name (`note`), those that name none to all runs' logs.

    `headers`: run -> what its log shows at the head of this attempt.
    """
    root = logging.getLogger()
    level = root.level
    handlers = []
    for run_id, header in headers.items():
        path = home.log(run_id)
        make_directory(path.parent)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"=== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC · {header}\n")
        handler = logging.FileHandler(path, encoding="utf-8")  # opened for appending: other writers' lines stay whole
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        handler.addFilter(lambda record, run_id=run_id: getattr(record, "run_id", run_id) == run_id)  # type: ignore[misc]
        handlers.append(handler)
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def note(run_id: str, message: str, *, error: BaseException | None = None) -> None:
    """One line in the run's log; with `error` its traceback too."""
    level = logging.INFO if error is None else logging.ERROR
    log.log(level, message, extra={"run_id": run_id}, exc_info=error)
