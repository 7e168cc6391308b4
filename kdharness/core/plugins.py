"""What the user's pyproject.toml may name: modules that register distillers, models or datasets, a command, and the
MLflow server that is told.

They are named by `--plugin MODULE` or by `plugins = [...]` under `[tool.kdharness]` in the pyproject.toml of the
directory where the command runs; a study file never imports code.
"""

import ast
import hashlib
import importlib
import inspect
import shlex
import sys
import tomllib
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kdharness.core.errors import BadInput

_modules: list[str] = []


def use_plugins(modules: Iterable[str]) -> None:
    """Name the modules; they are imported when a name is first looked up, not before. Raises BadInput for a path."""
    modules = list(modules)
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            module = ".".join(part for part in Path(name).with_suffix("").parts if part.isidentifier())
            raise BadInput(
                f"plug-in {name!r} is not the name of a module",
                remedy=f"modules are found from the current directory on: write {module or 'mylab.mymethod'}",
            )
    _modules.extend(name for name in modules if name not in _modules)


def plugins() -> tuple[str, ...]:
    """The modules in use, in the order they were named."""
    return tuple(_modules)


def configured_plugins(directory: Path) -> list[str]:
    """What `[tool.kdharness] plugins` of the directory's pyproject.toml names. Raises BadInput."""
    names = _configured(directory).get("plugins", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"plugins = {names!r} is not a list of module names", where=_section(directory))
    return names


def configured_notify(directory: Path) -> list[str]:
    """The words of `[tool.kdharness] notify` in the directory's pyproject.toml, none where it is not set: a command
    of the user's own, which a study file never names. Raises BadInput."""
    command = _configured(directory).get("notify", "")
    try:
        if isinstance(command, str):
            return shlex.split(command)
    except ValueError as error:
        raise BadInput(f"notify = {command!r}: {error}", where=_section(directory)) from error
    raise BadInput(f"notify = {command!r} is not a command", where=_section(directory))


def configured_server(directory: Path) -> str | None:
    """The address under `[tool.kdharness] mlflow` in the directory's pyproject.toml: the MLflow server that is told
    instead of the home's own store. None where it is not set. Raises BadInput."""
    address = _configured(directory).get("mlflow")
    if address is None:
        return None
    parts = urlsplit(address) if isinstance(address, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"mlflow = {address!r} is not the http(s) address of a server", where=_section(directory))
    if parts.username or parts.password:
        raise BadInput(
            "mlflow = ... holds a user or a password, which every process list would show",
            where=_section(directory),
            remedy="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment instead",
        )
    return str(address).rstrip("/")


def _configured(directory: Path) -> dict[str, Any]:
    path = directory / "pyproject.toml"
    try:
        tools = tomllib.loads(path.read_text()).get("tool", {})
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not a TOML file: {error}", where=str(path)) from error
    settings = tools.get("kdharness", {}) if isinstance(tools, dict) else {}
    return settings if isinstance(settings, dict) else {}


def _section(directory: Path) -> str:
    return f"{directory / 'pyproject.toml'}: [tool.kdharness]"


def import_plugins() -> None:
    """Import the modules in use, from the current directory too. Raises BadInput naming the one that fails."""
    directory = str(Path.cwd())
    if _modules and directory not in sys.path:
        sys.path.insert(0, directory)
    for name in _modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # the user's module may raise anything; it is named and nothing is started
            raise BadInput(
                f"plug-in {name!r} cannot be imported: {type(error).__name__}: {error}",
                where=place_in_plugin(error),
                remedy="mend the module, or take it out of --plugin or of [tool.kdharness] in pyproject.toml",
            ) from error


def place_in_plugin(error: BaseException) -> str:
    """`mymethod.py:23`: the last line of somebody's own code on the way to the error; empty where there is none."""
    ours, pythons = str(Path(__file__).parents[1]), (str(Path(traceback.__file__).parent), "<")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, *pythons)) or "site-packages" in frame.filename
    ]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def revision_of(item: type, declared: int) -> int | str:
    """The declared revision of one of our own classes; for a plug-in's, the hash of its module's syntax tree.

    So that an edited plug-in never shares a cell with its former self, while comments, docstrings and layout are free.
    """
    if item.__module__.partition(".")[0] == "kdharness":
        return declared
    tree = ast.parse(inspect.getsource(sys.modules[item.__module__]))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]
