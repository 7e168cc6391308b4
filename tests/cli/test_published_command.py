"""`kdharness published`: as a user calls it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdharness.cli.app import app
from kdharness.core.errors import BadInput
from kdharness.reporting.published.values import FIELDS


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["published", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_list_show_and_check(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path))
    keys = [table["key"] for table in json.loads(call("list", "--json", *home))]
    assert "sun2024logit Table 2" in keys and "sun2024logit Table 2 " in call("list", *home)
    shown = [json.loads(line) for line in call("show", "hossain2025luminet Table 7", "--json", *home).splitlines()]
    assert {"value", "printed", "selection", "contradictions", "usable"} <= set(shown[0])
    said = call("show", "hossain2025luminet Table 7", *home)
    assert "selected on: best epoch (inferred" in said and "73.33 in tables 1a and 3a" in said
    assert json.loads(call("check", "--json", *home))["problems"] == []
    assert "2,075 values, 13 sources" in call("check", *home)


def test_add_and_check_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    row = "mine,Table 1,cifar100,test,classification,resnet56,resnet20,kd,{},{},,,,"
    file.write_text("\n".join([",".join(FIELDS), row.format("top1", "70.66"), row.format("delta_top1", "1.0")]))
    bad = CliRunner().invoke(app, ["published", "check", str(file)])
    assert bad.exit_code == 2 and "70.66 - 70.66 is not that" in bad.output
    with pytest.raises(BadInput, match="is not that"):
        call("add", str(file), "--paper", "Doe 2026", "--selection", "last", "--home", str(tmp_path))
    file.write_text("\n".join(file.read_text().splitlines()[:2]))
    call("add", str(file), "--paper", "Doe 2026", "--selection", "last", "--home", str(tmp_path))
    assert "mine Table 1" in call("list", "--home", str(tmp_path))


def test_verify_plans_a_printed_table(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"), "-o", str(tmp_path))
    asked = ["verify", "sun2024logit", "Table 2", "--cell", "kd+ls: vgg13 -> vgg8", *home]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0 and "no runs yet" in done.output and "row       KD+LS  4 runs" in done.output
    assert "preset: sun2024logit" in (tmp_path / "verify-sun2024logit-table-2.yaml").read_text()
    told = json.loads(CliRunner().invoke(app, [*asked, "--json"], catch_exceptions=False).output)
    assert told["studies"][0]["cells"][0]["printed"] == "74.36" and told["left_out"] == []
