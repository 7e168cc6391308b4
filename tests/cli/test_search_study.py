"""A search, trained for real: draws see validation images only, finals train on everything with what was chosen."""

import json

STUDY = """\
study: searched
dataset: digits
teachers: train
recipe: {from: digits-quick, epochs: 1}
pairs: [resnet8 -> resnet8]
distillers:
  - {name: kd, temperature: {float: [1, 16], log: true}, label: KD}
search: {pairs: [resnet8 -> resnet8], draws: 3, generation: 2}
seeds: 1
tables: [{}]
"""


def test_search_draws_validate_and_finals_use_the_best(kdharness, tmp_path, monkeypatch):
    monkeypatch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)
    home, file = tmp_path / "home", tmp_path / "searched.yaml"
    file.write_text(STUDY)
    done = kdharness("run", file, "--home", home, "--in-process")
    assert done.code == 0, done.out + done.err
    rows = [json.loads(line) for line in kdharness("export", "searched", "--json", "--home", home).out.splitlines()]
    draws = [row for row in rows if row["purpose"] == "search"]
    finals = [row for row in rows if row["purpose"] == "final"]
    teachers = {row["run_id"]: row for row in rows if row["purpose"] == "teacher"}
    papers = [row for row in finals if row["label"] == "KD, paper's constants"]
    finals = [row for row in finals if row["label"] == "KD"]
    assert (len(draws), len(finals), len(teachers)) == (3, 1, 2)
    assert len(papers) <= 1  # none where they won
    for row in draws:
        assert row["settings"]["validation"] == 0.1
        assert not any(name.startswith("test") for name in row["metrics"])
    taught = {row["weights_sha256"]: row["settings"]["validation"] for row in teachers.values()}
    assert {taught[row["teacher_sha256"]] for row in draws} == {0.1}  # a teacher that has not seen those images
    assert {taught[row["teacher_sha256"]] for row in finals} == {0.0}
    best = max(draws, key=lambda row: row["metrics"]["val_top1_last"])
    assert finals[0]["settings"]["constants"] == best["settings"]["constants"]
    assert finals[0]["settings"]["validation"] == 0.0 and "test_top1_last" in finals[0]["metrics"]
    shown = kdharness("search", "show", "searched", "--home", home, "--figures", tmp_path / "figures")
    assert shown.code == 0, shown.err
    assert "3 of 3 draws by tpe, validation 144; draw" in shown.out and "expected best" in shown.out
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"searched-search-{name}.{form}" for name in ("1", "budget") for form in ("pdf", "png", "txt")
    }
    refused = kdharness("search", "show", "searched", "--home", home, "--figures", file)
    assert refused.code == 3 and "figures cannot be written: File exists" in refused.err
    (view,) = json.loads(kdharness("search", "show", "searched", "--home", home, "--json").out)
    assert [one["value"] for one in view["draws"]] == [row["metrics"]["val_top1_last"] for row in draws]
    assert view["record"]["ranges"] == {"temperature": {"float": [1.0, 16.0], "log": True}}
    report = kdharness("report", "searched", "--home", home, "--format", "md").out
    assert "Budgets: KD: 3 settings, validation 144, on ResNet8 → ResNet8 (draw" in report
    assert kdharness("report", "searched", "--home", home, "--paper", tmp_path / "paper").code == 0
    assert (tmp_path / "paper" / "figures" / "searched-search-expected-best.pdf").exists()
    setup, settings = ((tmp_path / "paper" / name).read_text() for name in ("setup.tex", "settings.tex"))
    assert "Of KD the constant temperature was chosen among 3 draws" in setup
    assert r"KD, on ResNet8 $\rightarrow$ ResNet8" in settings
    assert r"temperature & 1 to 16, logarithmic & all & searched \\" in settings
    (home / "optuna.db").unlink()
    assert "has 3 draws of searched" in kdharness("search", "copy", "searched", "--home", home).out
    assert kdharness("search", "show", "nothing", "--home", home).code == 2
    again = kdharness("run", file, "--home", home, "--in-process")
    assert f"nothing to train: all {6 + len(papers)} runs are finished" in again.out
