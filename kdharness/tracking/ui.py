"""A lean MLflow UI on loopback: two processes (as it comes it starts fourteen)."""

import os
import socket
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from kdharness.core.errors import BadInput, EnvironmentRefused
from kdharness.core.home import Home
from kdharness.tracking.mlflow import ENVIRONMENT, VIEW, installed, sqlite_uri

HOST = "127.0.0.1"
DEFAULT_PORT = 5000


@dataclass(frozen=True)
class UiCommand:
    """How to start the UI, and where it will be."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    url: str
    pages: Mapping[str, str]
    """Study name -> the page of its runs."""


def ui_command(home: Home, port: int | None = None) -> UiCommand:
    """The command line and environment of a home's UI; without a port the first free one from 5000.

    Raises EnvironmentRefused where MLflow is missing or the port is taken, BadInput where nothing was mirrored yet.
    """
    if not installed():
        raise EnvironmentRefused("the MLflow UI needs MLflow", remedy='pip install "kdharness[mlflow]"')
    if not home.mlflow.exists():
        raise BadInput(
            "nothing is mirrored yet", where=str(home.mlflow), remedy="kdharness run or kdharness sync first."
        )
    if port is not None and not _is_free(port):
        raise EnvironmentRefused(f"port {port} is taken", where=HOST, remedy="Choose another one with --port.")
    chosen = port if port is not None else _free_port()
    argv = (
        sys.executable, "-P", "-m", "mlflow", "ui", "--host", HOST, "--port", str(chosen), "--workers", "1",
        "--backend-store-uri", sqlite_uri(home), "--default-artifact-root", str(home.mlflow_artifacts),
    )  # fmt: skip
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    url = f"http://{HOST}:{chosen}"
    return UiCommand(argv, environment, url, _pages(home, url))


def wait_until_up(url: str, alive: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns when the UI answers. Raises EnvironmentRefused when its process ends first, or after `seconds`."""
    deadline = time.monotonic() + seconds
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if not alive():
            raise EnvironmentRefused("the MLflow UI ended before it answered", where=url)
        try:
            with opener.open(f"{url}/health", timeout=2.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise EnvironmentRefused(f"the MLflow UI did not answer within {seconds:g} s", where=url)


def _pages(home: Home, url: str) -> dict[str, str]:
    """Read from MLflow's own table, because importing MLflow takes longer than the rest together."""
    query = (
        "SELECT name, experiment_id FROM experiments WHERE experiment_id > 0 AND lifecycle_stage = 'active' ORDER BY 1"
    )
    try:
        with closing(sqlite3.connect(f"{home.mlflow.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(query).fetchall()
    except sqlite3.Error:  # an empty or unknown file: the UI itself will say so
        return {}
    return {
        str(name): f"{url}/#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
        for name, number in found
    }


def run_pages(home: Home) -> dict[str, str]:
    """MLflow's run -> its page while a UI of the home listens on its usual port; none where nothing is mirrored."""
    query = "SELECT run_uuid, experiment_id FROM runs WHERE lifecycle_stage = 'active'"
    if not home.mlflow.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{home.mlflow.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(query).fetchall()
    except sqlite3.Error:  # a report needs no mirror
        return {}
    url = f"http://{HOST}:{DEFAULT_PORT}/#/experiments"
    return {str(run): f"{url}/{experiment}/runs/{run}" for run, experiment in found}


def _free_port() -> int:
    for port in range(DEFAULT_PORT, DEFAULT_PORT + 100):
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
