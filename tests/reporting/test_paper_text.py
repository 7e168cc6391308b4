"""What a paper takes from a study beside its tables: each part alone, from facts made by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdharness.core.records import Recipe, TableSpec
from kdharness.reporting.datasets import known_datasets
from kdharness.reporting.methods import cite_key, known_methods
from kdharness.reporting.paper import compute, numbers, setup_paragraph
from kdharness.reporting.paper.anonymous import Scrub
from kdharness.reporting.paper.compute import Span, hours
from kdharness.reporting.paper.settings import ABSENT, EVERYWHERE, Constants, blocks, exact, of_search, settings
from kdharness.reporting.paper.setup_paragraph import Setup, Trained, _sampled, paragraph
from kdharness.reporting.published.values import read_registry
from kdharness.reporting.references import bibliography, known_references, preset_key
from kdharness.reporting.render_latex import render, tabular
from kdharness.reporting.tables import build_table
from kdharness.runtime.paper_facts import ASSISTANTS

from .frames import frame, quickstart, seeds, teacher
from .test_render import HOSTILE, crowded, hostile

SGD = Recipe(epochs=240, batch_size=64, lr=0.05, milestones=(150, 180, 210), augment="crop4-flip")


def defined(text: str) -> dict[tuple[str, ...], str]:
    r"""What `\kdhset` defines."""
    found = re.findall(r"^\\kdhset\{(.*?)\}\{(.*?)\}\{(.*?)\}\{(.*?)\}\{(.*)\}$", text, flags=re.MULTILINE)
    return {tuple(names): value for *names, value in found}


def test_every_number_stands_in_the_table_as_it_is_defined() -> None:
    table = build_table(quickstart(), TableSpec(baseline="kd"))
    told = defined(numbers.numbers({"quickstart": table}))
    assert told["quickstart", "KD+LS", "resnet20-to-resnet8", "mean"] == "96.85"
    assert told["quickstart", "KD+LS", "resnet20-to-resnet8", "value"] == r"96.85\,$\pm$\,0.16"
    assert told["quickstart", "none", "resnet20-to-resnet8", "delta"] == "-0.83"
    assert told["quickstart", "heads", "resnet20-to-resnet8", "teacher"] == "98.06"
    printed = tabular(table)
    assert len(told) == 2 + 6 * 4 + 5 + 1  # the baseline has no difference, one row another besides
    assert all(value in printed for (*_, quantity), value in told.items() if quantity != "value")
    assert "\\caption" not in printed and printed.splitlines()[1] in render(table)


def test_names_of_numbers_are_safe_and_each_is_there_once() -> None:
    tables = {"hostile": hostile(), "crowded": crowded()}
    text = numbers.numbers(tables)
    told = defined(text)
    assert len(told) == len(re.findall(r"^\\kdhset", text, flags=re.MULTILINE))
    assert all(re.fullmatch(r"[A-Za-z0-9+.-]+", part) for names in told for part in names)
    rows = {names[1] for names in told if names[0] == "hostile"} - {numbers.HEADS}
    assert len(rows) == len(HOSTILE)
    assert told["crowded", "KD+LS", "resnet56-to-resnet20", "n"] == "2/3"


def one(label: str, pair: str, temperature: float, source: str = "entry", **recipe: float) -> Constants:
    values = {"distiller": "kd", "kd.temperature": temperature, "recipe.lr": recipe.get("lr", 0.05), "student": pair}
    values |= {"teacher.1": "T"} if label != "alone" else {}
    values |= {"recipe.epochs": recipe["epochs"]} if "epochs" in recipe else {}
    return Constants(label, pair, "kd", values, {"kd.temperature": source, "recipe.lr": "recipe r"})


def looked_up(found: list, label: str, pair: str, name: str) -> set[tuple[str, str]]:
    """The values of a constant as a reader finds them: in the row's block, else the pair's, else the first."""
    for title in (label, pair, EVERYWHERE):
        lines = [line for block in found if block.title == title for line in block.lines if line.name == name]
        here = {(line.value, line.source) for line in lines if not line.pairs or pair in line.pairs}
        if here:
            return here
    return set()


def test_every_constant_is_found_again_with_its_source() -> None:
    told = [
        one("KD", "P", 4.0), one("KD", "Q", 4.0, lr=0.01), one("LS", "P", 2.0), one("LS", "Q", 3.0, lr=0.01),
        one("long", "P", 4.0, epochs=480), one("long", "Q", 4.0, lr=0.01, epochs=480),
        one("axis", "P", 1.0), one("axis", "P", 8.0, lr=0.2), one("axis", "Q", 1.0, lr=0.01), one("LS", "R", 2.0),
        one("alone", "P", 4.0), *(one("preset", pair, 3.0, f"preset x for {pair}") for pair in "PQR"),
    ]  # fmt: skip
    found = blocks(told)
    names = {name for each in told for name in each.values}
    for label, pair in {(each.label, each.pair) for each in told}:
        here = [each for each in told if (each.label, each.pair) == (label, pair)]
        for name in names:
            known = {
                (exact(each.values[name]), each.sources.get(name, "").replace(f"for {pair}", "for the pair"))
                for each in here
                if name in each.values
            }
            assert looked_up(found, label, pair, name) - {ABSENT} == known, (label, pair, name)
    first = found[0]
    assert first.title == EVERYWHERE and [line.name for line in first.lines] == ["recipe.lr", "student", "teacher.1"]
    of_pairs = {block.title: [line.name for line in block.lines] for block in found if block.title in "PQR"}
    assert of_pairs == {"Q": ["recipe.lr", "student"], "R": ["student"]}
    assert [line.pairs for block in found if block.title == "preset" for line in block.lines][1] == ()
    assert sum(len(block.lines) for block in found) < sum(len(each.values) for each in told)


def on_axes(temperature: float, kd_weight: float, pair: str = "P") -> Constants:
    """A row of a grid over both; the learning rate follows the temperature, as lr_rule follows the batch size."""
    made = one("grid", pair, temperature, lr=0.05 * temperature)
    values = {**made.values, "kd.kd_weight": kd_weight, "kd.both": temperature + kd_weight}
    return replace(made, values=values, axes={"temperature": temperature, "kd_weight": kd_weight})


def test_values_of_an_axis_stand_in_order_with_their_rows_and_pairs() -> None:
    grid = [on_axes(t, w, pair) for pair in "PQ" for w in (9.0, 0.9) for t in (4.0, 1.0)]
    (block,) = [block for block in blocks([one("KD", "P", 4.0), one("KD", "Q", 4.0), *grid]) if block.title == "grid"]
    lines = {
        name: [(line.value, line.where) for line in block.lines if line.name == name]
        for name in ("kd.temperature", "recipe.lr", "kd.kd_weight", "kd.both")
    }
    assert lines["kd.temperature"] == [("1", "temperature=1: all"), ("4", "temperature=4: all")]
    assert lines["recipe.lr"] == [("0.05", "temperature=1: all"), ("0.2", "temperature=4: all")]
    assert lines["kd.kd_weight"] == [("0.9", "kd_weight=0.9: all"), ("9", "kd_weight=9: all")]
    assert ("13", "temperature=4, kd_weight=9: all") in lines["kd.both"] and len(lines["kd.both"]) == 4
    text = settings([("", blocks(grid))], "All.", "tab:s")
    assert r"kd.temperature & 1 & temperature=1: all & entry \\" in text
    words = [replace(on_axes(1.0, 1.0), axes={"mode": mode}, values={"kd.mode": mode}) for mode in ("b", "a")]
    assert [line.where for block in blocks(words) for line in block.lines] == ["mode=b: all", "mode=a: all"]


def test_defaults_of_a_plug_in_are_called_so() -> None:
    mine = Constants("mine", "P", "rank", {"rank.a": 1.0}, {"rank.a": "default of rank"})
    kd = Constants("KD", "P", "kd", {"kd.b": 2.0}, {"kd.b": "default of kd"})
    lines = [line for block in blocks([mine, kd]) for line in block.lines]
    assert {line.name: line.source for line in lines} == {
        "rank.a": "default of rank, a plug-in",
        "kd.b": "default of kd",
    }


def test_the_settings_table_names_ranges_and_breaks_long_names() -> None:
    spec = {
        "label": "dkd", "axes": {"warmup": 4}, "pairs": ["a -> b"], "draws": 12, "sampler": "tpe", "validation": 0.1,
        "maximize": "val_top1_last", "ranges": {"nckd_weight": {"float": [0.5, 8.0], "log": True}},
    }  # fmt: skip
    text = settings([("", blocks([one("KD_x", "P", 4.0)])), ("Searches", [of_search(spec)])], "All.", "tab:s")
    assert r"nckd\_\allowbreak{}weight & 0.5 to 8, logarithmic & all & searched \\" in text
    assert r"\itshape dkd (warmup=4), on a $\rightarrow$ b" in text
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 1 and r"\bfseries Searches" in text


def test_hours_are_those_of_devices_and_not_of_runs() -> None:
    hour = 3600.0
    spans = [
        Span("h cuda:0", "A100", "final runs", 0, 4 * hour),  # two of a cohort, then another job beside one of them
        Span("h cuda:0", "A100", "final runs", 0, 2 * hour),
        Span("h cuda:0", "A100", "no result", 3 * hour, 4 * hour),
        Span("h cuda:1", "A100", "teachers", 0, hour),
        Span("h cpu:0", "cpu (x)", "search", 0, hour, threads=4),
        Span("h cpu:0", "cpu (x)", "search", hour, hour),  # died before its first epoch
    ]
    gpu, cpu = hours(spans)
    assert gpu.device == "A100" and gpu.total == pytest.approx(5) and gpu.attempts == 4
    assert gpu.hours == pytest.approx(
        {"teachers": 1, "search": 0, "final runs": 1 + 1 + 1 + 0.5, "no result": 0.5, "dropped": 0}
    )
    assert cpu.hours["search"] == pytest.approx(4) and cpu.attempts == 2
    said = compute.compute([gpu, cpu], ["A note."], "tab:compute")
    assert "held A100 for 5.00 GPU hours and cpu (x) for 4.00 core hours, failed" in said and "A note." in said
    assert "Processor time was not measured" in said
    assert r"A100 & 1.00 & 0 & 3.50 & 0.5000 & 0 & 5.00 & 4 \\" in said


@pytest.mark.parametrize(
    ("milestones", "said"),
    [
        ((150, 180, 210), "multiplied by 0.1 after epochs 150, 180 and 210."),
        ((200, 200, 210), "multiplied by 0.01 after epoch 200 and by 0.1 after epoch 210."),
        ((150, 240), "multiplied by 0.1 after epoch 150."),  # after the last epoch nothing is left to train
        ((240, 240), "constant."),
    ],
)
def test_the_setup_says_which_drops_of_the_learning_rate_were_trained_with(milestones: Any, said: str) -> None:
    recipe = SGD.model_copy(update={"milestones": milestones})
    setup = Setup(
        datasets=(), students=(Trained("KD", "resnet8x4", recipe),), teachers=(), imported=(), seeds=(0,), paired=False,
        selects=("last",), spreads=("std",), tested=False,
    )  # fmt: skip
    assert f"The learning rate is 0.05, {said}" in paragraph(setup)


def test_the_setup_says_who_departs_from_what_is_usual() -> None:
    setup = Setup(
        datasets=("cifar100", "digits", "/home/me/birds (folder)", "synthetic"),
        students=(
            Trained("KD", "resnet8x4", SGD), Trained("KD", "mobilenetv2", SGD.model_copy(update={"lr": 0.01})),
            Trained("MLKD", "resnet8x4", SGD.model_copy(update={"epochs": 480})),
            Trained("MLKD", "mobilenetv2", SGD.model_copy(update={"epochs": 480, "lr": 0.01})),
        ),
        teachers=(SGD,), imported=("resnet32x4",), seeds=(0, 1, 2, 3, 4), paired=False, selects=("last",),
        spreads=("std",), tested=True, devices={"NVIDIA A100": 20}, versions={"PyTorch": ("2.15.0",)}, commit="abc",
    )  # fmt: skip
    said = paragraph(setup)
    assert r"CIFAR-100~\cite{krizhevsky2009learning} (50,000 training and 10,000 test images of 100 classes" in said
    assert "for 240 epochs (480 epochs for MLKD) by SGD (momentum 0.9), with batch size 64" in said
    assert "The learning rate is 0.05 (0.01 for MobileNet-V2), multiplied by 0.1 after epochs 150, 180 and 210." in said
    assert "random crops after padding by 4 pixels" in said and "seeds 0 to 4" in said and "ResNet32$\\times$4" in said
    assert "Welch{'}s" in said and "20 runs on NVIDIA A100" in said and "(commit abc)" in said
    assert "no claim rests on it" in said and "We use synthetic.\nN.B.: synthetic images" in said
    assert "No constant was searched for: each comes from its paper or stands in the settings." in said
    own = paragraph(replace(setup, plugins=("mylab_rank",)))
    assert r"each comes from its paper, is a default of the plug-in mylab\_rank or stands in the settings." in own
    assert setup_paragraph.cited(setup) == {
        "krizhevsky2009learning", "alpaydin1998digits", "benjamini1995controlling"
    }  # fmt: skip


def test_a_setup_of_nothing_finished_is_still_text() -> None:
    empty = Setup(("digits",), (), (), (), (0,), True, ("best",), ("ci",), tested=False)
    assert "seed 0;" in paragraph(empty) and "optimistic" in paragraph(empty)


def test_all_that_is_cited_is_in_the_references() -> None:
    from kdharness.distillers.presets.reader import PRESETS

    cited = {key for method in known_methods() for key in cite_key(method).split(",") if key}
    cited |= {source.cite for source in read_registry().sources.values()}
    cited |= {known["cite"] for known in known_datasets().values()}
    cited |= {preset_key(preset) for preset in PRESETS} | {"benjamini1995controlling", ASSISTANTS}
    assert cited <= known_references()
    text = bibliography([*known_references(), "mine2026"])
    assert text.count("@") == len(known_references()) and "% mine2026" in text
    assert len(re.findall(r"^@\w+\{\w+,$", text, flags=re.MULTILINE)) == len(known_references())
    assert text.count("{") == text.count("}")


def test_every_distiller_has_a_paper() -> None:
    from kdharness.distillers.registry import DISTILLERS

    assert [name for name in DISTILLERS if not cite_key(name)] == ["none"]


def test_what_is_said_of_data_and_augmentations_is_what_they_are() -> None:
    from kdharness.datasets.registry import DATASETS
    from kdharness.training.augmentation import AUGMENTATIONS

    assert set(AUGMENTATIONS) == set(setup_paragraph.AUGMENTATIONS)
    for name, said in known_datasets().items():
        dataset = DATASETS.get(name)(Path("nowhere"))
        known = (dataset.train_size, dataset.test_size, dataset.num_classes, dataset.image_shape[-1])
        assert known == (said["train"], said["test"], said["classes"], said["pixels"]), name


def test_names_paths_and_links_are_taken_out_and_nothing_else() -> None:
    scrub = Scrub(["gpu07.lab.edu", "gpu07", "jane"], ["data/jane/birds.tar"])
    text = "gpu07 failed, see http://gpu07.lab.edu:5000/#/runs/1 and /home/jane/out/log.txt or C:\\jane\\x.txt (Jane)"
    assert scrub.words(text) == "anonymous failed, see (link) and log.txt or x.txt (anonymous)"
    assert scrub("data/jane/birds.tar (folder-1)") == "birds.tar (folder-1)"
    for kept in ("2/3 runs, 1 / 4, rungs 1/4, n/asked for, s √(1/n + 1/n of the paper))", "KD+LS -> jane's-method"):
        assert scrub(kept) == kept
    assert scrub.words("mary-jane-network, gpu0701") == "mary-jane-network, gpu0701"
    table = build_table(frame(teacher(98.0), seeds("jane", 90.0, 91.0, distiller="kd")), TableSpec(title="/a/b/c.csv"))
    assert scrub.all(table).title == "c.csv" and scrub.all(table).rows[0].name == "jane"
    assert scrub.all(table).cells == table.cells


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"sampler": "tpe", "draws": 3, "generation": 3, "settings": {"n_startup_trials": 10}}, "random search"),
        (
            {"sampler": "tpe", "draws": 40, "generation": 4, "settings": {"n_startup_trials": 10}},
            "the tree-structured Parzen estimator, the first 12 of them random,",
        ),
        ({"sampler": "cmaes", "draws": 40, "generation": 1, "settings": {"n_startup_trials": 1}}, "CMA-ES"),
        ({"sampler": "random", "draws": 5, "generation": 5, "settings": {}}, "random search"),
    ],
)
def test_draws_that_learn_from_no_other_are_called_random(search: dict[str, Any], said: str) -> None:
    assert _sampled(search) == said
