"""`kdharness bench precision --accuracy`, on a study of a few steps."""

import json

import pytest

STUDY = """
study: halves
about: fp32 and bf16
dataset: digits
teachers: train
recipe: {from: digits-quick, epochs: 1, milestones: [], precision: {each: [fp32, bf16]}}
pairs: [resnet8 -> resnet8]
distillers: [none]
seeds: 2
"""


@pytest.fixture
def halves(kdharness, tmp_path):
    (tmp_path / "halves.yaml").write_text(STUDY)
    ran = kdharness("run", tmp_path / "halves.yaml", "--home", tmp_path / "home", "--in-process", "--slots", "1")
    assert ran.code == 0, ran.err
    return tmp_path / "home"


def test_precisions_of_a_study_are_tested_for_equivalence(kdharness, halves):
    said = kdharness("bench", "precision", "--accuracy", "halves", "--home", halves)
    assert said.code == 0
    assert "none, resnet8 -> resnet8, digits: bf16 " in said.out
    assert "n = 2 and 2): not shown to be equivalent within 0.3 points" in said.out
    (row,) = json.loads(kdharness("bench", "precision", "--accuracy", "halves", "--home", halves, "--json").out)
    assert row["label"] == "none" and row["bf16"]["n"] == [2, 2] and row["bf16"]["shown"] is False


def test_a_study_of_one_precision_has_nothing_to_compare(kdharness, finished):
    said = kdharness("bench", "precision", "--accuracy", "small", "--home", finished)
    assert said.code == 2 and "precision: {each: [fp32, bf16]}" in said.err
