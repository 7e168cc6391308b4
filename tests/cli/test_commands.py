"""What each command says of a finished study, and that mistakes cost one line and no traceback."""

import json
import os
import re
import shutil
import sqlite3
import sys

import pytest
from small_study import STUDY

from kdharness.cli import inspect
from kdharness.core.errors import BadInput, ExitCode
from kdharness.core.home import Home
from kdharness.results.owner import Owner
from kdharness.results.schema import Table
from kdharness.results.store import Store
from kdharness.runtime import command


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_export_has_the_promised_fields(kdharness, finished):
    found = rows(kdharness("export", "small", "--json", "--home", finished).out)
    assert len(found) == 5
    assert set(found[0]) >= {
        "study", "run_id", "setting_key", "numerics_key", "seed", "purpose", "dataset", "teacher", "student",
        "distiller", "label", "settings", "state", "attempts", "weights_sha256", "teacher_sha256", "metrics", "device",
        "started", "finished",
    }  # fmt: skip
    teacher, *students = found
    assert teacher["purpose"] == "teacher" and teacher["metrics"]["test_top1_last"] > 50
    by_label = {(row["label"], row["seed"]): row for row in students}
    assert by_label["KD", 0]["teacher_sha256"] == teacher["weights_sha256"]
    assert by_label["none", 0]["teacher_sha256"] is None
    assert by_label["KD", 0]["settings"]["constants"]["temperature"] == 2.0
    assert {row["state"] for row in found} == {"complete"}


def test_report_json_has_the_promised_shape_and_the_mean_of_its_runs(kdharness, finished):
    report = json.loads(kdharness("report", "small", "--format", "json", "--home", finished).out)
    exported = {row["run_id"]: row for row in rows(kdharness("export", "small", "--json", "--home", finished).out)}
    (table,) = report["tables"]
    assert table["metric"] and table["title"]
    cells = {cell["row"]: cell for cell in table["cells"]}
    assert set(cells) == {"none", "KD"}
    for cell in cells.values():
        values = [exported[run]["metrics"]["test_top1_last"] for run in cell["runs"]]
        assert cell["n"] == 2
        assert cell["mean"] == pytest.approx(sum(values) / 2)
        assert cell["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)


@pytest.mark.parametrize("form", ["md", "latex", "csv", "html", "terminal"])
def test_report_prints_every_format(kdharness, finished, form):
    answer = kdharness("report", "small", "--format", form, "--home", finished)
    assert answer.code == 0 and "KD" in answer.out


def test_report_to_a_file_and_another_selection(kdharness, finished, tmp_path):
    target = tmp_path / "table.md"
    answer = kdharness("report", "small", "--select", "best", "-o", target, "--format", "md", "--home", finished)
    assert (answer.code, answer.out) == (0, "")
    assert "selected on test" in target.read_text()
    refused = kdharness("report", "small", "--select", "best-val", "--home", finished)
    assert refused.code == ExitCode.BAD_INPUT


def test_a_study_is_named_by_its_file_too_as_it_was_last_run(kdharness, finished, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(STUDY)
    same = kdharness("report", file, "--home", finished)
    assert same.code == 0 and same.err == "" and same.out == kdharness("report", "small", "--home", finished).out
    file.write_text(STUDY.replace("seeds: 2", "seeds: 3"))
    edited = kdharness("report", file, "--home", finished)
    assert edited.out == same.out
    assert edited.err.startswith(f"{file} has changed since it was run: this is version 1, of ")
    assert edited.err.endswith(f"`kdharness run {file}` runs what was added\n")
    assert STUDY in kdharness("log", file, "--home", finished).out


def test_a_table_that_cannot_be_made_keeps_no_other_back(kdharness, finished, tmp_path):
    home = shutil.copytree(finished, tmp_path / "home")
    with sqlite3.connect(home / "results.db") as database:
        ((number, spec),) = database.execute("SELECT number, spec FROM study_texts").fetchall()
        asked = json.loads(spec) | {"tables": [{"metric": "test_ece"}, {}, {"columns": "KD.temperature"}]}
        database.execute("UPDATE study_texts SET spec = ?, crc = NULL WHERE number = ?", (json.dumps(asked), number))
    database.close()
    table = kdharness("report", "small", "--format", "md", "--home", home)
    assert table.code == ExitCode.BAD_INPUT and "| KD" in table.out and "no finished run has the metric" in table.err
    assert table.out == kdharness("report", "small", "--format", "md", "--home", finished).out
    again = kdharness("report", "small", "--metric", "test_ece", "--home", home)
    assert again.code == ExitCode.BAD_INPUT and again.out == ""


def test_report_of_some_rows(kdharness, finished):
    table = kdharness("report", "small", "--row", "KD", "--format", "md", "--home", finished)
    assert table.code == 0 and "| KD" in table.out and "| none" not in table.out
    refused = kdharness("report", "small", "--row", "KD", "--row", "kdd", "--home", finished)
    assert refused.code == ExitCode.BAD_INPUT and refused.err == "error: no row is called 'kdd'\nNear it: KD\n"
    refused = kdharness("report", "small", "--row", "KD (temperature=1)", "--home", finished)
    assert refused.code == ExitCode.BAD_INPUT and refused.err.endswith(
        "\nRows stand with all values of their axes: KD\n"
    )


def test_status_says_how_far_it_is(kdharness, finished):
    assert "small: 5 complete" in kdharness("status", "--home", finished).out
    (study,) = json.loads(kdharness("status", "small", "--json", "--home", finished).out)["studies"]
    assert study["runs"] == {"complete": 5} and study["jobs"] == [] and study["failed"] == []


def test_show_says_where_each_value_came_from(kdharness, finished, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    for what in (file, "small"):
        described = json.loads(kdharness("show", what, "KD", "--json", "--home", finished).out)
        assert described[0]["values"]["kd.temperature"] == 2.0
        assert "preset hinton2015" in described[0]["provenance"]["kd.kd_weight"]
        assert described[0]["provenance"]["kd.temperature"] == "entry, line 9"
    run_id = described[0]["run_ids"][0]
    assert "test_top1_last" in kdharness("show", run_id, "--home", finished).out
    assert kdharness("show", "small", "KDD", "--home", finished).code == ExitCode.BAD_INPUT


def test_diff_names_what_differs(kdharness, finished):
    found = rows(kdharness("export", "small", "--json", "--home", finished).out)
    kd = [row["run_id"] for row in found if row["label"] == "KD"]
    assert json.loads(kdharness("diff", *kd, "--json", "--home", finished).out)["settings"] == {"seed": [0, 1]}
    none = next(row["run_id"] for row in found if row["label"] == "none" and row["seed"] == 0)
    assert "kd.temperature" in kdharness("diff", none, kd[0], "--home", finished).out


def test_logs_take_the_beginning_of_an_id(kdharness, finished):
    run_id = rows(kdharness("export", "small", "--json", "--home", finished).out)[0]["run_id"]
    assert "attempt 1" in kdharness("logs", run_id, "--home", finished).out
    assert "no run begins with 'zz'" in kdharness("logs", "zz", "--home", finished).err
    assert "several runs" in kdharness("logs", "", "--home", finished).err


def test_query_only_reads(kdharness, finished):
    answer = kdharness("query", "SELECT count(*) AS runs FROM runs", "--json", "--home", finished)
    assert rows(answer.out) == [{"runs": 5}]
    assert "5" in kdharness("query", "SELECT count(*) FROM runs", "--home", finished).out
    refused = kdharness("query", "DELETE FROM runs", "--home", finished)
    assert refused.code == ExitCode.BAD_INPUT and "only reads" in refused.err


def test_query_says_what_can_be_asked(kdharness, finished):
    unknown = kdharness("query", "SELECT * FROM results", "--home", finished)
    assert unknown.code == ExitCode.BAD_INPUT
    what, tables = unknown.err.splitlines()
    assert what == "error: SQL: no such table: results" and tables.startswith("tables: attempts, ")
    told = set(re.findall(r"[a-z_]+", kdharness("query", "--help").out))
    assert {table.__tablename__ for table in Table.__subclasses__()} <= told
    assert set(tables.removeprefix("tables: ").split(", ")) - {"kdharness_version"} <= told


def test_log_keeps_the_text_that_was_run(kdharness, finished):
    assert STUDY in kdharness("log", "small", "--home", finished).out


def test_running_again_trains_nothing_and_an_edit_only_what_is_new(kdharness, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("kdharness.runtime.command.mlflow_installed", lambda: False)
    home = tmp_path / "home"
    shutil.copytree(finished, home)
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    again = kdharness("run", file, "--home", home, "--in-process")
    assert again.code == 0 and "nothing to train: all 5 runs are finished" in again.out
    file.write_text(STUDY.replace("label: KD}", "label: Hinton}\n  - {name: kd, temperature: 3, label: warm}"))
    plan = json.loads(kdharness("plan", file, "--json", "--home", home).out)
    assert (plan["runs"], plan["reused"], plan["to_train"]) == (7, 5, 2)
    edited = kdharness("run", file, "--home", home, "--in-process")
    assert "trained 2 runs" in edited.out
    assert "Hinton" in edited.out and (home / "reports" / "small.tex").exists()
    assert kdharness("log", "small", "--home", home).out.count("# version") == 2


def test_a_bad_study_is_refused_line_by_line_and_nothing_is_written(kdharness, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(STUDY.replace("temperature: 2", "tempreature: 2").replace("digits-quick", "digits-quik"))
    answer = kdharness("run", file, "--home", tmp_path / "home")
    lines = answer.err.strip().splitlines()
    assert answer.code == ExitCode.BAD_INPUT
    assert [line.startswith(f"{file}:") for line in lines] == [True, True]
    assert "digits-quick" in lines[0] and "did you mean" in lines[1]
    assert not (tmp_path / "home").exists()


def test_a_missing_home_and_an_unknown_study_say_what_to_do(kdharness, finished, tmp_path):
    assert kdharness("status", "--home", tmp_path / "none").code == ExitCode.BAD_INPUT
    unknown = kdharness("report", "smal", "--home", finished)
    assert unknown.code == ExitCode.BAD_INPUT and "small" in unknown.err


def test_init_writes_a_study_that_checks_and_never_overwrites(kdharness, tmp_path):
    file = tmp_path / "my-study.yaml"
    assert kdharness("init", file).code == 0
    checked = kdharness("check", file, "--home", tmp_path / "home")
    assert checked.code == 0 and "my-study: 3 settings" in checked.out
    again = kdharness("init", file)
    assert again.code == ExitCode.BAD_INPUT and "exists already" in again.err


def test_a_second_run_says_that_there_is_another(kdharness, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise BadInput("enough")

    monkeypatch.setattr(command, "run_study", stop)
    (tmp_path / "small.yaml").write_text(STUDY)
    assert "another `run`" not in kdharness("run", tmp_path / "small.yaml", "--home", tmp_path / "home").out
    store = Store(Home(tmp_path / "home"))
    first = store.queue("small")[0].run_id
    assert store.claim([first], Owner.current(), slot="cpu:0")
    said = " ".join(kdharness("run", tmp_path / "small.yaml", "--home", tmp_path / "home").out.split())
    assert f"another `run` trains 1 of them (processes {os.getpid()})" in said


def test_schema_is_a_json_schema(kdharness):
    schema = json.loads(kdharness("schema").out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    for name, part in {"study": schema, **schema["$defs"]}.items():
        assert [key for key, field in part.get("properties", {}).items() if not field.get("description")] == [], name
    assert schema["$defs"]["RecipeChange"]["properties"]["from"]["description"].startswith("The recipe that is changed")


def test_a_bug_becomes_a_file_and_one_line(kdharness, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(inspect.Home, "at", broken)
    answer = kdharness("status")
    assert answer.code == ExitCode.INTERNAL
    assert answer.err.startswith("internal error: RuntimeError: boom\n") and "Traceback" not in answer.err
    with open(answer.err.split("The traceback is in ")[1].strip()) as file:
        assert "boom" in file.read()


def test_help_loads_nothing_heavy(kdharness):
    import subprocess

    code = "import sys; from kdharness.cli.app import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'mlflow', 'pandas', 'sqlalchemy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_report_loads_no_torch(finished):
    import subprocess

    code = f"""import sys; from kdharness.cli.app import app
try: app(['report', 'small', '--home', {str(finished)!r}, '--format', 'html'])
except SystemExit: pass
print([name for name in ('torch', 'mlflow', 'optuna') if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
