"""`export --bundle`, `verify BUNDLE` and the answers in `diff`, on a study that was trained."""

import hashlib
import json
import zipfile

from kdharness.core.errors import ExitCode


def test_a_bundle_goes_out_and_is_verified(kdharness, finished, tmp_path):
    bundle = tmp_path / "small.zip"
    said = kdharness("export", "small", "--bundle", bundle, "--home", finished)
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert said.code == ExitCode.DONE and f"sha256 {digest}" in said.out and "5 runs, 2 cells" in said.out
    found = kdharness("verify", bundle)
    assert found.code == ExitCode.DONE and "differs" not in found.out and f"sha256 {digest}" in found.out
    assert "equal    KD | resnet8 -> resnet8" in found.out
    told = json.loads(kdharness("verify", bundle, "--json").out)
    assert told["equal"] and told["sha256"] == digest and sum(bool(one["row"]) for one in told["checked"]) == 2


def test_a_changed_number_is_told(kdharness, finished, tmp_path):
    assert kdharness("export", "small", "--bundle", tmp_path / "small.zip", "--home", finished).code == ExitCode.DONE
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    tables, manifest = (json.loads(members[name]) for name in ("tables.json", "manifest.json"))
    tables["tables"][0]["cells"][1]["mean"] += 1.0
    members["tables.json"] = text = json.dumps(tables).encode()
    manifest["members"]["tables.json"] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    found = kdharness("verify", tmp_path / "changed.zip")
    assert found.code == ExitCode.SOME_FAILED
    assert "differs  KD | resnet8 -> resnet8" in found.out and "in the bundle" in found.out


def test_what_is_no_bundle_is_told_in_a_line(kdharness, tmp_path):
    (tmp_path / "no.zip").write_text("hello")
    for what, told in ((tmp_path / "no.zip", "no bundle"), (tmp_path / "gone.zip", "no such bundle")):
        found = kdharness("verify", what)
        assert found.code == ExitCode.BAD_INPUT and told in found.err and "Traceback" not in found.err
    assert "which table of sun2024logit" in kdharness("verify", "sun2024logit").err


def test_diff_says_whether_two_networks_err_alike(kdharness, finished):
    rows = [json.loads(line) for line in kdharness("export", "small", "--home", finished).out.splitlines()]
    kd = [row for row in rows if row["label"] == "KD"]
    said = kdharness("diff", *(row["run_id"] for row in kd), "--home", finished)
    assert said.code == ExitCode.DONE and "McNemar's test (exact" in said.out and "of 359 test images" in said.out
    told = json.loads(kdharness("diff", *(row["run_id"] for row in kd), "--json", "--home", finished).out)["answers"]
    top1 = [row["metrics"]["test_top1_last"] for row in kd]
    assert 100 * (told["both"] + told["first_only"]) / 359 == top1[0]
    assert 100 * (told["both"] + told["second_only"]) / 359 == top1[1] and 0 <= told["p_value"] <= 1
