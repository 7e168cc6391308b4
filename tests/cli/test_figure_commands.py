"""`kdharness ablate` and `kdharness plot` on a finished study."""

import json
import shutil

import pytest
from small_study import STUDY

ABLATED = STUDY.replace("study: small", "study: ablated").replace(
    "temperature: 2, label: KD", "temperature: {each: [2, 8]}, label: KD"
)
FIGURES = """\
evaluate: [calibration]
figures:
  - {x: KD.temperature, y: test_top1_last, rows: [none]}
  - {kind: reliability, rows: [KD], pair: ResNet8 -> ResNet8}
  - {kind: reliability, title: Sure, rows: [KD]}
"""


@pytest.fixture(scope="module")
def own(finished, tmp_path_factory):
    """A copy of the finished study, beside it one with an axis, its analyses and figures."""
    from rich.console import Console

    from kdharness.core.home import Home
    from kdharness.runtime.command import run_command

    place = tmp_path_factory.mktemp("own")
    home = shutil.copytree(finished, place / "home")
    (place / "ablated.yaml").write_text(ABLATED + FIGURES)
    with (place / "out.txt").open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)
        assert run_command(place / "ablated.yaml", Home(home), console=Console(file=out), in_process=True) == 0
    return home


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_running_a_study_draws_its_figures(own):
    stems = ["figure-1-line-temperature", "figure-2-reliability", "figure-3-reliability"]
    assert written(own / "reports" / "ablated") == [f"{stem}.{end}" for stem in stems for end in ("pdf", "png", "txt")]
    caption = (own / "reports" / "ablated" / "figure-2-reliability.txt").read_text()
    assert "ablated, ResNet8 → ResNet8" in caption and "n = 1, seed 0" in caption
    titled = (own / "reports" / "ablated" / "figure-3-reliability.txt").read_text()
    assert titled.startswith("Sure, ResNet8 → ResNet8. ")


def test_a_report_draws_them_too(kdharness, own, tmp_path):
    answer = kdharness("report", "ablated", "--figures", tmp_path, "--home", own)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("### ablated") and "figure-2-reliability.pdf" in answer.err
    drawn = own / "reports" / "ablated"
    assert written(tmp_path) == written(drawn)
    assert all((tmp_path / name).read_bytes() == (drawn / name).read_bytes() for name in written(drawn))
    none = kdharness("report", "small", "--figures", tmp_path / "none", "--home", own)
    assert none.code == 0 and "small asks for no figures" in none.err


def test_an_ablation_is_a_table_and_its_figure(kdharness, own, tmp_path):
    answer = kdharness("ablate", "ablated", "--axis", "KD.temperature", "--figures", tmp_path, "--home", own)
    assert answer.code == 0, answer.err
    assert "temperature=2" in answer.out and "temperature=8" in answer.out and "none" not in answer.out.split("\n\n")[0]
    assert written(tmp_path) == ["line-temperature.pdf", "line-temperature.png", "line-temperature.txt"]
    table = json.loads(kdharness("ablate", "ablated", "--axis", "KD.temperature", "--json", "--home", own).out)
    report = kdharness(
        "report", "ablated", "--rows", "distiller", "--cols", "KD.temperature", "--format", "json", "--home", own
    )
    means = {cell["mean"] for cell in table["tables"][0]["cells"]}
    assert len(means) >= 1 and means <= {cell["mean"] for cell in json.loads(report.out)["tables"][0]["cells"]}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("latex", r"\begin{tabular}"),
        ("csv", "temperature=8"),
        ("html", "<table>"),
        ("md", "### ablated: Test top-1 accuracy (%) after the last epoch on digits, over temperature"),
    ],
)
def test_an_ablation_has_the_formats_of_a_report(kdharness, own, tmp_path, form, said):
    asked = ["ablate", "ablated", "--axis", "KD.temperature", "--figures", tmp_path / "f", "--home", own]
    printed = kdharness(*asked, "--format", form)
    assert printed.code == 0 and said in printed.out
    answer = kdharness(*asked, "--format", form, "-o", tmp_path / "table")
    assert (
        answer.code == 0 and answer.out == "" and (tmp_path / "table").read_text() == printed.out.replace("\r\n", "\n")
    )


def test_a_paper_has_the_ablations_of_the_study_s_figures_as_tables(kdharness, own, tmp_path):
    answer = kdharness("report", "ablated", "--paper", tmp_path, "--home", own)
    assert answer.code == 0, answer.err
    assert written(tmp_path / "tables") == [
        f"ablated{what}.tex" for what in ("-figure-1-tabular", "-figure-1", "-tabular", "")
    ]
    table = (tmp_path / "tables" / "ablated-figure-1.tex").read_text()
    assert "over temperature" in table and r"\label{tab:ablated-figure-1}" in table and "temperature=8" in table
    assert (
        r"\kdhset{ablated-figure-1}{resnet8-to-resnet8-KD}{temperature-8}{mean}"
        in (tmp_path / "numbers.tex").read_text()
    )
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [cell["column"] for cell in manifest["tables"]["ablated-figure-1"]["cells"] if cell["row"] == "KD"] == [
        "temperature=2", "temperature=8",
    ]  # fmt: skip


def test_two_axes_are_a_heat_map(kdharness, own, tmp_path):
    axes = ["--axis", "pair", "--axis", "KD.temperature"]
    answer = kdharness("ablate", "ablated", *axes, "--figures", tmp_path, "--home", own)
    assert answer.code == 0, answer.err
    assert written(tmp_path)[0] == "heat-map-temperature-pair.pdf"


def test_figures_of_epochs_costs_and_runs(kdharness, own, tmp_path):
    single = ["--seed", "1", "--pair", "ResNet8 -> resnet8"]
    for kind, more in (("curves", ["--y", "test_top1,train_loss"]), ("pareto", []), ("reliability", single)):
        answer = kdharness("plot", kind, "ablated", *more, "-o", tmp_path, "--home", own)
        assert answer.code == 0, answer.err
    assert len(written(tmp_path)) == 9
    said = json.loads(kdharness("plot", "toy", "-o", tmp_path, "--json", "--home", own).out)
    assert "S1 0.1749 < S2 0.3457" in said["captions"][0] and len(said["files"]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plot", "curves"), "needs a study"),
        (("plot", "study", "small"), "asks for no figures"),
        (("plot", "curves", "ablated", "--row", "KDD"), "no row is called 'KDD'"),
        (("plot", "curves", "ablated", "--pair", "a -> b"), "no pair is 'a -> b'"),
        (("plot", "differences", "ablated"), "kdharness evaluate ablated --analysis fidelity"),
        (("plot", "convergence", "ablated"), "record: [gradients]"),
        (("plot", "line", "ablated"), "needs an axis"),
        (("plot", "line", "ablated", "--x", "KD.warmup"), "Axes: KD.temperature"),
        (("ablate", "ablated", "--axis", "a", "--axis", "b", "--axis", "c"), "one axis or two"),
    ],
)
def test_what_cannot_be_drawn_says_what_to_do(kdharness, own, arguments, said):
    answer = kdharness(*arguments, "--home", own)
    assert answer.code == 2 and said in answer.err


def test_drawing_loads_no_torch(own):
    import subprocess
    import sys

    code = f"""
import sys
from kdharness.core.home import Home
from kdharness.core.records import FigureSpec
from kdharness.results.store import Store
from kdharness.runtime.figures import draw
home = Home.at({str(own)!r})
draw(home, Store(home), ["ablated"], FigureSpec(kind="reliability"))
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
