"""What a user installs, not what the checkout holds: the wheel, with and without the optional libraries."""

import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = """\
study: tiny
dataset: digits
teachers: train
recipe: {from: digits-quick, epochs: 1}
pairs: [resnet8 -> resnet8]
distillers: [none]
seeds: 2
"""


def environment(path: Path, wheel: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A virtual environment with the wheel and links to the development dependencies; its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    packages = next((path / "lib").glob("python*/site-packages"))
    for item in Path(site.getsitepackages()[0]).iterdir():
        name = item.name.lower()
        if not name.startswith(("kdharness", "__editable__", *without)):
            (packages / item.name).symlink_to(item)
    python = path / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout gets no build directory."""
    source = tmp_path_factory.mktemp("source")
    for name in ("kdharness", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out]
    subprocess.run([*pip, source], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_brings_its_migrations_and_data(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env", wheel)
    command = [python, "-m", "kdharness"]
    where = subprocess.run(
        [python, "-c", "import kdharness; print(kdharness.__file__)"], capture_output=True, text=True, cwd=tmp_path
    )
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
    assert "check" in subprocess.run([*command, "--help"], check=True, capture_output=True, text=True).stdout
    console_script = subprocess.run([tmp_path / "env" / "bin" / "kdharness", "--version"], capture_output=True)
    assert console_script.returncode == 0
    home = tmp_path / "home"
    subprocess.run([*command, "db", "upgrade", "--home", home], check=True, cwd=tmp_path)
    assert (home / "results.db").exists()
    subprocess.run([*command, "published", "check"], check=True, cwd=tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    subprocess.run([*command, "check", "study.yaml"], check=True, cwd=tmp_path)  # recipes and presets are inside


def test_it_runs_without_mlflow_optuna_and_scipy(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env", wheel, without=("mlflow", "optuna", "scipy"))
    (tmp_path / "study.yaml").write_text(STUDY)

    def kdharness(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-m", "kdharness", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    run = kdharness("run", "study.yaml")
    assert run.returncode == 0, run.stderr
    assert "MLflow is not installed" in run.stdout
    report = kdharness("report", "tiny", "--format", "md")
    assert report.returncode == 0, report.stderr
    assert "scipy" in report.stdout
    assert "±" in report.stdout
    (tmp_path / "search.yaml").write_text(
        STUDY.replace("[none]", "[{name: kd, temperature: {float: [1, 8]}}]")
        + "search: {pairs: [resnet8 -> resnet8], draws: 2}\n"
    )
    search = kdharness("run", "search.yaml")
    assert search.returncode == 3
    assert 'pip install "kdharness[search]"' in search.stderr
    assert "Traceback" not in search.stderr
