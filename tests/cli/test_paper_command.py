"""`kdharness report STUDY --paper DIR`: all that a paper takes from a study, from the finished one."""

import json
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

FILES = [
    "compute.tex", "example.tex", "manifest.json", "numbers.tex", "refs.bib", "settings.tex", "setup.tex",
    "tables/small-tabular.tex", "tables/small.tex",
]  # fmt: skip
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,threeparttable,xcolor}
\input{numbers}
\begin{document}
\section{\kdh{small}{KD}{resnet8-to-resnet8}{mean}}
KD reaches \kdh{small}{KD}{resnet8-to-resnet8}{value}, $\kdh{small}{KD}{resnet8-to-resnet8}{delta}$ points.
\edef\expanded{\kdh{small}{KD}{resnet8-to-resnet8}{n}}\ifnum\expanded=2 Two runs.\fi
\begin{table}\centering\begin{threeparttable}\input{tables/small-tabular}\end{threeparttable}\end{table}
\end{document}
"""


def there(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def own(finished, tmp_path):
    """A copy of the finished study whose file asks for two figures, of which one has no analysis; a run is excluded."""
    home = shutil.copytree(finished, tmp_path / "home")
    with sqlite3.connect(home / "results.db") as database:
        ((number, spec),) = database.execute("SELECT number, spec FROM study_texts").fetchall()
        asked = json.loads(spec) | {"figures": [{"kind": "curves"}, {"kind": "reliability"}]}
        database.execute("UPDATE study_texts SET spec = ?, crc = NULL WHERE number = ?", (json.dumps(asked), number))
    database.close()
    return home


def test_all_files_come_from_the_same_results(kdharness, finished, tmp_path):
    answer = kdharness("report", "small", "--paper", tmp_path / "a", "--home", finished)
    assert answer.code == 0, answer.err
    files = there(tmp_path / "a")
    assert sorted(files) == FILES and len(answer.out.splitlines()) == len(FILES)
    table = json.loads(kdharness("report", "small", "--format", "json", "--home", finished).out)["tables"][0]
    for cell in table["cells"]:
        name = rf"\kdhset{{small}}{{{cell['row']}}}{{resnet8-to-resnet8}}{{mean}}{{{cell['mean']:.2f}}}"
        assert name in files["numbers.tex"].decode() and f"{cell['mean']:.2f}" in files["tables/small.tex"].decode()
    runs = map(json.loads, kdharness("export", "small", "--json", "--home", finished).out.splitlines())
    hashes = {run["run_id"]: run["weights_sha256"] for run in runs}
    manifest = json.loads(files["manifest.json"])
    cells = manifest["tables"]["small"]["cells"]
    assert [(cell["row"], cell["runs"]) for cell in cells] == [(cell["row"], cell["runs"]) for cell in table["cells"]]
    assert {run: manifest["runs"][run]["weights_sha256"] for run in manifest["runs"]} == hashes
    assert set(manifest["numerics"]) == {run["numerics_key"] for run in manifest["runs"].values()}
    setup, settings = files["setup.tex"].decode(), files["settings.tex"].decode()
    assert "for 2 epochs by SGD" in setup and "seeds 0 and 1" in setup and "5 runs on cpu" in setup
    assert re.search(r"kd\.temperature & 2 & all & entry, line \d+ \\", settings.replace(r"\_\allowbreak{}", "_"))
    assert "hinton2015distilling" in files["refs.bib"].decode() and "core hours" in files["compute.tex"].decode()


def test_the_same_database_gives_the_same_bytes_again_and_in_place(kdharness, finished, tmp_path):
    for folder in ("a", "b", "a"):
        assert kdharness("report", "small", "--paper", tmp_path / folder, "--home", finished).code == 0
    assert there(tmp_path / "a") == there(tmp_path / "b")
    (tmp_path / "a" / "setup.tex").write_text("we rewrote this")
    answer = kdharness("report", "small", "--paper", tmp_path / "a", "--home", finished)
    assert answer.code == 2 and "setup.tex: changed since it was written" in answer.err
    assert (tmp_path / "a" / "setup.tex").read_text() == "we rewrote this"


def test_anonymous_files_say_nothing_of_who_made_them(kdharness, own, tmp_path):
    host = platform.node()
    run = json.loads(kdharness("export", "small", "--json", "--home", own).out.splitlines()[-1])["run_id"]
    reason = f"{host} was slow, see {own}/x.log or http://tracker.lab:5000/#/1"
    assert kdharness("exclude", run, "--reason", reason, "--home", own).code == 0
    for anonymous in (False, True):
        more = ["--anonymous"] if anonymous else []
        answer = kdharness("report", "small", "--paper", tmp_path / f"p{anonymous}", *more, "--home", own)
        assert answer.code == 0, answer.err
        files = there(tmp_path / f"p{anonymous}")
        text = "\n".join(content.decode(errors="replace") for content in files.values()).replace("\\_", "_")
        said = {word: re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None for word in (host, str(own))}
        told = {"commit": '"commit"' in text, "link": "tracker.lab" in text}
        assert set((said | told).values()) == {not anonymous}, (said, told)
    assert "anonymous was slow, see x.log or (link)" in text


def test_figures_are_drawn_or_it_is_said_why_not(kdharness, own, tmp_path):
    answer = kdharness("report", "small", "--paper", tmp_path / "p", "--home", own)
    assert answer.code == 0 and "not drawn: small, figure 2: no finished run" in answer.err
    (pdf,) = (tmp_path / "p" / "figures").glob("*.pdf")
    assert pdf.read_bytes().startswith(b"%PDF") and b"CreationDate" not in pdf.read_bytes()
    assert rf"keepaspectratio]{{figures/{pdf.name}}}" in pdf.with_suffix(".tex").read_text()
    named = json.loads((tmp_path / "p" / "manifest.json").read_text())["files"]
    assert {*named, "manifest.json"} == there(tmp_path / "p").keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--anonymous",), "--anonymous is for --paper"),
        (("--paper", "x", "-o", "y.tex"), "not with --format, --output"),
        (("--paper", "x", "--figures", "y"), "or --figures"),
        (("--paper", "x", "--rows", "nothing"), "cannot have rows"),
    ],
)
def test_what_cannot_be_meant_is_refused(kdharness, finished, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    answer = kdharness("report", "small", *arguments, "--home", finished)
    assert answer.code == 2 and said in answer.err and not list(tmp_path.iterdir())


def test_a_paper_is_written_without_torch(finished, tmp_path):
    code = f"""
import sys
from pathlib import Path
from kdharness.core.home import Home
from kdharness.results.store import Store
from kdharness.runtime.paper import write_paper
home = Home.at({str(finished)!r})
write_paper(home, Store(home), ["small"], Path({str(tmp_path)!r}))
assert not sys.modules.keys() & {{"torch", "matplotlib", "mlflow", "optuna"}}
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_the_example_of_all_files_compiles(kdharness, own, tmp_path):
    assert kdharness("report", "small", "--paper", tmp_path / "p", "--home", own).code == 0
    folder = tmp_path / "p"
    example = (folder / "example.tex").read_text()
    for path in folder.rglob("*.tex"):
        taken = path.name != "example.tex" and not path.stem.endswith("-tabular")
        assert (f"\\input{{{path.relative_to(folder).with_suffix('')}}}" in example) == taken, path
    for command in (latex("example"), ["bibtex", "example"], latex("example"), latex("example")):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    log = (folder / "example.log").read_text(errors="replace")
    assert not re.search("undefined|Missing character|multiply defined|Overfull", log), log[-3000:]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_numbers_stand_wherever_text_does_and_a_misspelt_one_stops_the_compilation(kdharness, finished, tmp_path):
    assert kdharness("report", "small", "--paper", tmp_path, "--home", finished).code == 0
    for document, code in ((DOCUMENT, 0), (DOCUMENT.replace("{KD}", "{KDD}"), 1)):
        (tmp_path / "main.tex").write_text(document)
        done = subprocess.run(
            latex("main"), cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == code, done.stdout[-3000:]
    assert "no number is called" in done.stdout


def latex(name: str) -> list[str]:
    return ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
