"""`kdharness doctor`: what stands in the way of a study on this machine."""

from dataclasses import asdict

import typer

from kdharness.cli.options import DataOption, HomeOption, JsonOption, echo_json
from kdharness.core.errors import ExitCode
from kdharness.core.home import Home


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(home: HomeOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Look at disk, file system, SQLite, GPUs, MLflow, clock, permissions and data; `run` looks at them too."""
    from kdharness.runtime.doctor import checkup

    checks = checkup(Home.at(home), data, thorough=True)
    refused = any(check.status == "refused" for check in checks)
    if as_json:
        echo_json({"ok": not refused, "checks": [asdict(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = "" if check.status == "ok" else f"{check.status}: "
            typer.echo(f"{check.name:<{width}}  {mark}{check.text}" + (f"; {check.remedy}" if check.remedy else ""))
    if refused:
        raise typer.Exit(ExitCode.ENVIRONMENT_REFUSED)
