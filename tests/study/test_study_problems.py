"""Every mistake in a study file is one line with its place and, where there is one, a suggestion."""

from pathlib import Path

import pytest
from study_texts import SOUND, change, problems

LATER = "not in this version"


def test_the_sound_study_has_no_problem() -> None:
    assert problems(SOUND) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (change("study:", "study: a/../b"), ["1:8: `study`: String should match pattern"]),
        (change("study:", "study: con"), ["1:8: `study`: a study's name must be a file name on every system"]),
        (change("study:", "study: 7"), ["1:8: `study`: must be a valid string, not 7"]),
        (
            change("study:", "studdy: x"),
            ["1:1: `study` is missing", "1:1: unknown key `studdy`, did you mean `study`?"],
        ),
        (change("dataset:", "dataset: digit"), ["2:10: unknown dataset 'digit', did you mean `digits`?"]),
        (change("dataset:", ""), ["1:1: `dataset` is missing"]),
        (change("teachers:", "teachers: trian"), ["3:11: unknown teachers 'trian', did you mean `train`?"]),
        (change("teachers:", "teachers: importd"), ["3:11: unknown teachers 'importd', did you mean `imported`?"]),
        (
            change("teachers:", "teachers: {default: train, resnet56: imported}"),
            ["3:28: unknown teacher 'resnet56', did you mean `resnet20`?"],
        ),
        (change("recipe:", "recipe: digits-slow"), ["4:9: unknown recipe 'digits-slow', did you mean `digits-quick`?"]),
        (
            change("recipe:", "recipe: {from: digits-quick, epoch: 5}"),
            ["4:30: unknown key `epoch`, did you mean `epochs`?"],
        ),
        (
            change("recipe:", "recipe: {epochs: 0, lr: -1, batch_size: 1.5}"),
            [
                "4:18: `epochs`: must be greater than or equal to 1, not 0",
                "4:25: `lr`: must be greater than 0, not -1",
                "4:41: `batch_size`: must be a valid integer, not 1.5",
            ],
        ),
        (
            change("recipe:", "recipe: {augment: shift2}"),
            ["4:19: unknown augmentation 'shift2', did you mean `shift1`?"],
        ),
        (
            change("recipe:", "recipe: {batch_size: 5000}"),
            ["4:22: a batch of more images than digits trains on (1438)"],
        ),
        (change("recipe:", "recipe: {lr: {float: [1, 2]}}"), ["4:14: a range stands in a row's recipe"]),
        (change("recipe:", "recipe: {record: [gradient]}"), ["4:18: `record`: must be 'gradients', not 'gradient'"]),
        (change("recipe:", "recipe: {record: [gradients], second_view: crop4-flip-randaugment}"), []),
        (
            change("recipe:", "recipe: {second_view: crop4-flip-randaugmnt}"),
            ["4:23: unknown augmentation 'crop4-flip-randaugmnt', did you mean `crop4-flip-randaugment`?"],
        ),
        (
            change("pairs:", "pairs: [resnet20 -> deit_tiny]"),
            ["7:5: none, resnet20 -> deit_tiny: ", "8:5: kd, resnet20 -> deit_tiny: ", "9:5: KD+LS, resnet20 -> "],
        ),
        (change("recipe:", "recipe: {lr: 1, lr_rule: linear}"), ["4:17: `lr_rule` and `lr` both set"]),
        (change("pairs:", "pairs: [resnet20 -> resnet9]"), ["5:9: unknown model 'resnet9', did you mean `resnet8`?"]),
        (change("pairs:", "pairs: [resnet20, resnet8]"), ["5:9: a pair is `teacher -> student`", "5:19: a pair is"]),
        (change("pairs:", "pairs: []"), ["5:8: `pairs`: List should have at least 1 item"]),
        (change("pairs:", "pairs: [resnet20 + resnt32 -> resnet8]"), ["5:9: unknown model 'resnt32', did you mean"]),
        (
            change("pairs:", "pairs: [resnet20 + resnet32 -> resnet8]").replace("  - none", "  - fitnet"),
            ["7:5: fitnet, resnet20 + resnet32 -> resnet8: an ensemble of teachers has logits only"],
        ),
        (change("pairs:", "pairs: {teachers: [resnet20]}"), ["5:8: `students` is missing"]),
        (change("  - none", "  - nonne"), ["7:5: unknown distiller 'nonne', did you mean `none`?"]),
        (change("  - none", "  - kd"), ["8:5: a row is already called `kd` (line 7): add a `label`"]),
        (
            change("  - none", "  - {name: dkd, label: KD+LS}"),
            ["9:45: a row is already called `KD+LS` (line 7): labels"],
        ),
        (
            change("  - none", "  - {name: dkd, tempreature: 4}"),
            ["7:17: unknown key `tempreature`, did you mean `temperature`?"],
        ),
        (change("  - none", "  - {name: dkd, temperature: 0}"), ["7:30: `temperature`: must be greater than 0, not 0"]),
        (
            change("  - none", "  - {name: dkd, temperature: '4'}"),
            ["7:30: `temperature`: must be a valid number, not '4'"],
        ),
        (change("  - none", "  - {name: dkd, temperature: {each: []}}"), ["7:37: `temperature`: an empty `each`"]),
        (
            change("  - none", "  - {name: dkd, temperature: {each: [1, no]}}"),
            ["7:41: `temperature`: must be a valid number, not 'no'"],
        ),
        (
            change("  - none", "  - {name: dkd, temperature: {float: [1, 16]}}"),
            ["7:30: `temperature` has a range, but the study has no `search`"],
        ),
        (change("  - none", "  - {name: dkd, temperature: {float: [4, 1]}}"), ["7:38: `float`: must be [low, high]"]),
        (
            change("  - none", "  - {name: dkd, temperature: {any: 1}}"),
            ["7:30: `temperature`: must be a plain value, {"],
        ),
        (
            change("  - none", "  - {name: dkd, preset: hinton}"),
            ["7:25: unknown preset 'hinton', did you mean `hinton"],
        ),
        (change("  - none", "  - {name: dkd, preset: hinton2015}"), ["7:25: preset hinton2015 has no constants for"]),
        (change("  - {base", "  - {only: [none, kd, KD]}"), ["12:23: unknown row 'KD', did you mean `kd`?"]),
        (
            change("  - {base", "  - {only: [none, kd (temperature=8)]}"),
            ["12:19: `only` takes rows with all values of their axes: write `kd`"],
        ),
        (change("  - {base", "  - {only: [none, KD+LS], baseline: kd}"), ["12:37: `only` leaves `kd` out"]),
        (change("  - {base", "  - {only: [none, kd], baseline: kd}"), []),
        (change("  - none", "  - {name: dkd, against: kdd}"), ["7:26: unknown row 'kdd', did you mean `kd`?"]),
        (change("  - none", "  - {name: dkd, against: dkd}"), ["7:26: `dkd` cannot be compared with itself"]),
        (
            change("  - none", "  - {name: dkd, at: {resnet56 -> resnet8: {warmup: 1}}}"),
            ["7:22: unknown pair 'resnet56 -> resnet8', did you mean `resnet20 -> resnet8`?"],
        ),
        (
            change(
                "  - none", "  - {name: dkd, at: {resnet20 -> resnet8: {warmup: 1}, resnet20->resnet8: {warmup: 2}}}"
            ),
            ["7:56: `resnet20->resnet8` is the same pair as `resnet20 -> resnet8`: named twice"],
        ),
        (change("  - none", "  - {name: dkd, through: [resnet15]}"), ["7:27: unknown model 'resnet15', did you mean"]),
        (change("  - none", "  - {name: none, through: [resnet14]}"), ["7:18: none does not learn from a teacher's w"]),
        (change("  - none", "  - {name: none, teacher: shuffled}"), ["7:18: none does not learn from a teacher's w"]),
        (
            change("  - none", "  - {name: dkd, through: [resnet14], teacher: untrained}"),
            ["7:47: assistants learn from a trained teacher, not from an untrained one"],
        ),
        (change("  - none", "  - luminet + fitnit"), ["7:5: unknown distiller 'fitnit', did you mean `fitnet`?"]),
        (change("  - none", "  - dkd + dkd"), ["7:5: dkd + dkd: a method stands twice in a sum"]),
        (
            change("  - none", "  - {name: luminet + fitnet, preset: hinton2015}"),
            ["7:38: a sum takes the constants of its members' own presets"],
        ),
        (
            change("  - none", "  - {name: luminet + fitnet, luminet.temprature: 2}"),
            ["7:30: unknown key `luminet.temprature`, did you mean `luminet.temperature`?"],
        ),
        (
            change("  - none", "  - {name: luminet + fitnet, luminet.temperature: -2}"),
            ["7:51: `temperature`: must be greater than 0, not -2"],
        ),
        (change("  - none", "  - {group: F, of: []}"), ["7:20: `of`: List should have at least 1 item"]),
        (
            change("  - none", "  - {group: F, off: [dkd]}"),
            ["7:5: `of` is missing", "7:16: unknown key `off`, did you"],
        ),
        (change("  - none", "  - {group: F, of: [dkd, {name: atx}]}"), ["7:33: unknown distiller 'atx', "]),
        (change("  - none", "  - 3"), ["7:5: `distillers`: must be a valid string, not 3"]),
        (change("  - none", "  - {name: dkd, label: ' x'}"), ["7:24: `label`: must be printable text"]),
        (change("seeds:", "seeds: 0"), ["10:8: `seeds`: must be greater than or equal to 1, not 0"]),
        (change("seeds:", "seeds: [1, 1]"), ["10:8: `seeds`: names a seed twice"]),
        (change("seeds:", "seeds: [1, 100000000000000000000000]"), ["10:12: `seeds`: must be less than 2147483648"]),
        (change("seeds:", "paired: true"), []),
        (change("seeds:", "figures: [{x: pair, y: test_top1_last}, {kind: curves, y: 'test_top1, train_kd'}]"), []),
        (change("seeds:", "figures: [{x: pairs}]"), ["10:15: unknown axis 'pairs', did you mean `pair`?"]),
        (change("seeds:", "figures: [{x: pair, y: test_topp1}]"), ["10:24: unknown metric 'test_topp1', did you "]),
        (change("seeds:", "figures: [{kind: heat-map, x: pair}]"), ["10:11: a figure of kind heat-map needs `lines`"]),
        (change("seeds:", "figures: [{x: pair, lines: pair}]"), ["10:28: x and lines are both `pair`"]),
        (change("seeds:", "figures: [{kind: curves, x: pair}]"), ["10:26: a figure of kind curves has no `x`"]),
        (change("seeds:", "figures: [{kind: pareto, x: train_second}]"), ["10:29: unknown metric 'train_second', d"]),
        (change("seeds:", "figures: [{kind: pareto, rows: [kdd]}]"), ["10:33: unknown row 'kdd', did you mean `kd`?"]),
        (change("seeds:", "figures: [{kind: pareto, pair: a -> b}]"), ["10:32: unknown pair 'a -> b', "]),
        (change("seeds:", "figures: [{kind: pareto, seed: 99}]"), ["10:32: the study has no seed 99"]),
        (
            change("seeds:", "figures: [{kind: reliability}]"),
            ["10:18: `reliability` is drawn of an analysis: add `evaluate: [calibration]`"],
        ),
        (change("seeds:", "evaluate: [calibration]\nfigures: [{kind: reliability}]"), []),
        (change("seeds:", "checkpoint: {every: 300 s}"), []),
        (change("seeds:", "evaluate: [calibration, transfer to stl10]"), []),
        (change("seeds:", "evaluate: [calibratoin]"), ["10:12: unknown analysis 'calibratoin', did you mean `calibr"]),
        (change("  - {baseline", "  - {metric: test_ece}"), []),
        (
            change("  - {baseline", "  - {metric: test_ecee}"),
            ["12:14: unknown metric 'test_ecee', did you mean `test_"],
        ),
        (change("seeds:", "execution: {threads: 2, layout: contiguous}"), []),
        (change("seeds:", "execution: {threads: 0}"), ["10:22: `threads`: must be greater than or equal to 1, not 0"]),
        (change("seeds:", "checkpoint: {every: often}"), ["10:21: `every`: String should match pattern"]),
        (change("seeds:", "seeds: 2\nsed: 1"), ["11:1: unknown key `sed`, did you mean `seeds`?"]),
        (change("  - {baseline", "  - {baseline: kdd}"), ["12:16: unknown row 'kdd', did you mean `kd`?"]),
        (change("  - {baseline", "  - {rows: temperature}"), ["12:12: unknown axis 'temperature', "]),
        (change("  - {baseline", "  - {select: best-val}"), ["12:14: `best-val` exists only in a search"]),
        (change("  - {baseline", "  - {metric: val_top1}"), ["12:14: validation metrics exist only in a search"]),
        (
            change("  - {baseline", "  - {metric: test_top1_best}"),
            ["12:14: `test_top1_best` is `metric: test_top1` with"],
        ),
        (
            change("  - {baseline", "  - {published: x}"),
            ["12:17: `x` names no table: `SOURCE TABLE`, as `kdharness pub"],
        ),
        (
            change("  - {baseline", "  - {published: sun2024logit Tabel 2}"),
            ["12:17: no table is called 'sun2024logit Tabel 2'. Did you mean 'sun2024logit Table 2'?"],
        ),
        (change("  - {baseline", "  - {published: sun2024logit Table 2, fill: my2026paper Table 1}"), []),
        (
            change("  - {baseline", "  - {fill: [{table: sun2024logit Table 2, rows: [at]}, sun2024logit Table 22]}"),
            ["12:56: no table is called 'sun2024logit Table 22'. Did you mean 'sun2024logit Table 2'?"],
        ),
        (
            change("  - {baseline", "  - {rows: pair, columns: distiller, fill: sun2024logit Table 2}"),
            ["12:38: `fill` is for a table with distillers in rows and pairs in columns"],
        ),
        (change("  - {baseline", "  - {bold: significant}"), ["12:12: `bold`: must be 'best' or 'indistinguishable'"]),
        (change("  - {baseline", "  - {average: rank, pm: ci, delta: rows, cite: true}"), []),
        (change("  - {baseline", "  - {rows: metric, columns: distiller, metric: [test_top1, test_top5]}"), []),
        (
            change("  - {baseline", "  - {metric: [test_top1, test_topl]}"),
            ["12:26: unknown metric 'test_topl', did you mean `test_top5`?"],
        ),
        (change("  - {baseline", "  - {row: pair}"), ["12:6: unknown key `row`, did you mean `rows`?"]),
        ("just words\n", ["1:1: a study file is a mapping"]),
        ("- study: x\n", ["1:1: a study file is a mapping"]),
    ],
)
def test_each_problem_is_one_line_with_its_place(text: str, lines: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(lines), found
    for line, beginning in zip(found, lines, strict=True):
        assert line.startswith(beginning), line


SEARCHED = change("  - none", "  - {name: dkd, warmup: {int: [0, 9]}}")


@pytest.mark.parametrize(
    ("search", "lines"),
    [
        ("{pairs: [resnet20 -> resnet8], draws: 3, maximize: test_top1_last}", ["13:60: `test_top1_last` is refused"]),
        ("{pairs: [resnet20 -> resnet8], draws: 3, maximize: val_top}", ["13:60: unknown metric 'val_top', did you"]),
        (
            "{pairs: [resnet20 -> resnet8], draws: 3, teachers: imported}",
            ["13:60: imported teachers have seen the val"],
        ),
        ("{pairs: [resnet20 -> resnet8], draws: 0}", ["13:47: `draws`: must be greater than or equal to 1, not 0"]),
        ("{pairs: [resnet20 -> resnet14], draws: 1}", ["13:18: unknown pair 'resnet20 -> resnet14', did you mean"]),
        ("{pairs: [resnet20 -> resnet8], draws: 1, validation: 1.0}", ["13:62: `validation`: must be less than 1"]),
        (
            "{pairs: each, draws: 1, finalists: {keep: 0, seeds: 3}}",
            ["13:51: `keep`: must be greater than or equal to 1, not 0"],
        ),
        (
            "{pairs: all, draws: 1, sampler: grid}",
            [
                "13:17: `pairs`: must be 'each', not 'all'",
                "13:41: `sampler`: must be 'tpe', 'random', 'gp', 'cmaes' or",
            ],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, rungs: [10, 1]}",
            ["13:58: `rungs`: must be a part of the schedule, as 1/8 or 0.125, not 10"],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, rungs: [1/8, 1/0, 1]}",
            ["13:63: `rungs`: must be a part of the schedule, as 1/8 or 0.125, not '1/0'"],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, rungs: [1/4, 1/8, 1]}",
            ["13:57: `rungs`: must rise to 1, the whole schedule, as [1/8, 1/4, 1]"],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, prefix: true}",
            ["13:50: `prefix` prunes at `rungs`: name them, as [3/4, 7/8, 1]"],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, prefix: asha, rungs: [1/2, 1]}",
            ["13:58: `prefix`: must be 'median' or 'hyperband', not 'asha'"],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, prefix: hyperband, rungs: [0.25, 3/5, 1]}",
            [  # digits-quick: 30 epochs, drops after 18 and 25; `warmup` up to 9
                "13:77: `dkd` would be judged after epoch 8 of 30, before the end of its warm-up (`warmup` 9)",
                "13:83: `dkd` would be judged after epoch 18 of 30, before the first drop of the learning rate (after",
            ],
        ),
        (
            "{pairs: [resnet20 -> resnet8], draws: 1, sampler: nsga2, prefix: true, rungs: [3/4, 1]}",
            ["13:66: pruning compares one number, `nsga2` two: leave one of them out"],
        ),
        (
            "{draw: 3}",
            ["13:9: `draws` is missing", "13:9: `pairs` is missing", "13:10: unknown key `draw`, did you mean"],
        ),
    ],
)
def test_problems_of_a_search(search: str, lines: list[str]) -> None:
    assert problems(SEARCHED + "search: {pairs: [resnet20 -> resnet8], draws: 3}\n") == []
    found = problems(SEARCHED + f"search: {search}\n")
    assert len(found) == len(lines), found
    for line, beginning in zip(found, lines, strict=True):
        assert line.startswith(beginning), line


def test_a_search_without_a_range_has_nothing_to_do() -> None:
    found = problems(SOUND + "search: {pairs: [resnet20 -> resnet8], draws: 3}\n")
    assert found == ["13:1: no row has a range: nothing to search"]


def test_ranges_are_held_against_their_field() -> None:
    text = change("  - none", "  - {name: dkd, temperature: {float: [0, 9], log: true}, warmup: {float: [0.5, 2]}}")
    assert problems(text + "search: {pairs: [resnet20 -> resnet8], draws: 3}\n") == [
        "7:30: `temperature`: a logarithmic range starts above 0, not at 0.0",
        "7:39: `temperature`: must be greater than 0, not 0.0",
        "7:75: `warmup`: must be a valid integer, not 0.5",
        "7:80: `warmup`: must be a valid integer, not 2.0",
    ]


def test_problems_of_form_and_of_names_are_told_together() -> None:
    text = SOUND.replace("digits\n", "digitz\n").replace("seeds: 2", "seeds: -2").replace("- kd\n", "- {label: 3}\n")
    assert [line.split(": ")[0] for line in problems(text)] == ["2:10", "8:5", "8:13", "10:8"]


def test_a_study_alone_never_imports_code() -> None:
    (line,) = problems(change("  - none", "  - os.system"))
    assert "unknown distiller 'os.system'" in line
    assert line.endswith("; one of your own comes with `kdharness --plugin MODULE ...`")


def test_a_plugin_that_lies_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mykd.py").touch()
    monkeypatch.chdir(tmp_path)
    (line,) = problems(change("  - none", "  - mykd"))
    assert line.endswith("; mykd.py is here: `kdharness --plugin mykd ...` brings what it registers")


def test_what_cannot_be_done_to_streamed_images_is_told_at_its_row() -> None:
    text = change("dataset:", "dataset: imagenet").replace("resnet20 -> resnet8", "resnet34 -> resnet18")
    text = text.replace("recipe: digits-quick", "recipe: {from: imagenet-100, augment: crop4-flip}")
    for line in problems(text):
        assert (
            "augmentation 'crop4-flip' is for images in memory; for imagenet there are none, resized-crop-flip" in line
        )
    assert [line.split(":")[0] for line in problems(text)] == ["7", "8", "9"]
    assert problems(text.replace("{from: imagenet-100, augment: crop4-flip}", "imagenet-100")) == []
