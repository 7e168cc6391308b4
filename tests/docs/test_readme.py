"""The README is true: its commands run, its table of commands is complete, its sample distiller works."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from kdharness.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
BY_OTHERS = {
    "make test": "this is it",
    "kdharness ui": "tests/tracking starts the same command line and asks the server",
    ". .venv/bin/activate": "a shell's own",
    "python3 -m venv .venv": "make quickstart's own first step",
    '.venv/bin/pip install --constraint constraints.txt ".[all]"': "make env does it, with the development tools",
}


def commands() -> list[str]:
    """Every line behind a prompt in a fenced block, in order."""
    return re.findall(r"^\$ (.+)$", README, flags=re.MULTILINE)


def names() -> dict[str, object]:
    return dict(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_has_help_and_stands_in_the_readme():
    for name, command in names().items():
        if command.hidden:
            continue
        assert command.help, name
        assert re.search(rf"^\|.*`{name}`.*\|.*\|$", README, flags=re.MULTILINE), f"{name} is not in the README's table"


def test_every_promise_names_a_test_that_is_there():
    section = README.partition("## What it promises")[2].partition("\n## ")[0]
    promises = re.split(r"^\d+\. ", section.partition("`make chaos`")[0], flags=re.MULTILINE)[1:]
    assert len(promises) == 11
    for promise in promises:
        (named,) = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)
        assert f"def {named[1]}(" in (ROOT / named[0]).read_text(), named


def test_make_quickstart_runs_the_quickstart():
    planned = subprocess.run(["make", "-n", "quickstart"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "kdharness run studies/quickstart.yaml" in planned


def test_the_commands_run_one_after_the_other(tmp_path):
    """As a newcomer would, with the quickstart cut to one seed and one epoch."""
    quickstart = (ROOT / "studies" / "quickstart.yaml").read_text()
    short = {"recipe: digits-quick": "recipe: {from: digits-quick, epochs: 1}", "seeds: 3": "seeds: 1"}
    for whole, cut in short.items():
        assert whole in quickstart
        quickstart = quickstart.replace(whole, cut)
    quickstart = quickstart.replace("resnet20 -> resnet8", "resnet8 -> resnet8")
    quickstart = re.sub(r"^  - (dkd|luminet|fitnet)$\n", "", quickstart, flags=re.MULTILINE)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "quickstart.yaml").write_text(quickstart)
    plugin = re.search(r"```python\n(.+?)```", CONTRIBUTING, flags=re.DOTALL)
    assert plugin is not None
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "logit_mse.py").write_text(plugin.group(1))
    ran = []
    for command in commands():
        if command in BY_OTHERS:
            continue
        line = command.replace("make quickstart", "kdharness run studies/quickstart.yaml")
        program, *arguments = line.split()
        assert program == "kdharness", command
        if arguments == ["run", "my-study.yaml"]:  # the file that init wrote, cut likewise
            file = tmp_path / "my-study.yaml"
            text = file.read_text().replace("recipe: digits-quick", "recipe: {from: digits-quick, epochs: 1}")
            file.write_text(text.replace("seeds: 3", "seeds: 1").replace("resnet20 ->", "resnet8 ->"))
        done = subprocess.run(
            [sys.executable, "-m", "kdharness", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        ran.append(command)
    assert len(ran) >= 6
    assert (tmp_path / "kdharness-home" / "reports" / "quickstart.md").exists()
    _, name = re.findall(r"`(\\kdh(\{.+\}))`", README)[0]
    assert name.replace("resnet20", "resnet8") in (tmp_path / "paper" / "numbers.tex").read_text()


def test_the_sample_distiller_is_one_file_and_passes_the_laws(tmp_path, monkeypatch):
    sample = re.search(r"```python\n(.+?)```", CONTRIBUTING, flags=re.DOTALL)
    assert sample is not None
    target = tmp_path / "site"
    shutil.copytree(ROOT / "kdharness", target / "kdharness", ignore=shutil.ignore_patterns("__pycache__"))
    (target / "kdharness" / "distillers" / "logit_mse.py").write_text(sample.group(1))
    code = "from kdharness.distillers.registry import DISTILLERS as D; from kdharness.testing import check_distiller\n"
    code += "assert 'logit_mse' in list(D); check_distiller(D.get('logit_mse'))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=target, env={"PYTHONPATH": str(target)})
