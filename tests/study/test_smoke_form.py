"""`--smoke`: what of a study is shrunk, what stands in for what, and what stays as it was."""

from pathlib import Path

import pytest
from study_texts import SOUND, study

from kdharness.core.errors import StudyError
from kdharness.core.records import Smoke
from kdharness.study.expand import Expansion, expand
from kdharness.study.saved import saved_form
from kdharness.study.smoke import shrink

RICH = """\
study: rich
dataset: cifar100
teachers: {default: imported, wrn_16_2: train}
recipe:
  from: cifar100-240
  batch_size: {each: [16, 64, 256, 512]}
  epochs: {each: [240, 120]}
  milestones: [100, 110]
  record: [gradients]
pairs: [resnet50 -> mobilenetv2, wrn_40_2 -> resnet8, wrn_16_2 -> resnet8]
distillers:
  - {name: kd, label: KD, temperature: {each: [1, 4]}, at: {ResNet50 -> mobilenetv2: {ce_weight: 0.3}}}
  - group: Phases
    of:
      - {name: ab, init_epochs: 20, at: {wrn_40_2 -> resnet8: {init_epochs: 40}}}
      - {name: kd, through: [resnet14], label: TAKD, recipe: {epochs: 480}}
      - {name: dkd, temperature: {float: [1, 16]}, recipe: {batch_size: {int: [64, 512]}}, label: DKD}
      - {name: kd, recipe: imagenet-100, label: other recipe}
search:
  pairs: [wrn_16_2 -> resnet8]
  draws: 40
  rungs: [3/4, 1]
  prefix: median
  finalists: {keep: 5, seeds: 3}
seeds: [7, 8]
execution: {compile: true}
evaluate: [calibration, transfer to stl10, transfer to tiny-imagenet]
tables:
  - {title: Costs, rows: distiller, metric: [train_step_ms_cuda, train_step_memory_mib_cuda, test_transfer_stl10_top1]}
  - {columns: KD.temperature, costs: [train_step_ms_cuda, train_extra_parameters]}
figures:
  - {kind: reliability, pair: ResNet50 -> mobilenetv2, title: R}
  - {kind: reliability, pair: wrn_16_2 -> resnet8, seed: 8, title: R}
  - {kind: pareto, x: train_step_ms_cuda, y: test_transfer_stl10_top1}
"""


def shrunk(text: str) -> Expansion:
    return expand(shrink(study(text)), data=Path("nowhere"))


@pytest.fixture(scope="module")
def rich() -> Expansion:
    return shrunk(RICH)


def test_every_run_is_short_and_small(rich: Expansion) -> None:
    """Students, teachers and assistants alike; the order of axes stays."""
    assert {run.setting.dataset for run in rich.wanted} == {"digits-smoke"}
    assert {run.seed for run in rich.wanted if run.purpose == "final"} == {7}
    teachers = [run for run in rich.wanted if run.purpose == "teacher"]
    assert {run.student for run in teachers} == {"resnet50_cifar", "wrn_40_2", "resnet14"}
    assert {run.setting.recipe.epochs for run in teachers} == {2}
    assert {run.setting.recipe.milestones for run in rich.wanted} == {(1,)}
    assert {run.axes["recipe.epochs"] for run in rich.wanted if run.label == "KD"} == {1, 2}
    assert {run.axes["recipe.batch_size"] for run in rich.wanted if run.label == "KD"} == {
        16,
        64,
        115,
    }  # of 128 less 10 %
    assert {run.setting.recipe.epochs for run in rich.wanted if run.label in ("TAKD", "other recipe")} == {2}
    assert {run.setting.constants["init_epochs"] for run in rich.wanted if run.label == "ab"} == {1}
    assert all(run.setting.recipe.record == ("gradients",) for run in rich.wanted if run.label == "KD")


def test_rows_their_constants_and_the_first_two_pairs_stay(rich: Expansion) -> None:
    asked = {run.label for run in rich.wanted if run.purpose == "final"} | {
        one.templates[0].label for one in rich.searched
    }
    assert asked == {"KD", "ab", "TAKD", "DKD", "other recipe"}
    assert [pair.label for pair in rich.pairs] == ["resnet50_cifar -> mobilenetv2", "wrn_40_2 -> resnet8"]
    kd = {(run.pair, run.setting.constants["temperature"]): run for run in rich.wanted if run.label == "KD"}
    assert {temperature for _, temperature in kd} == {1.0, 4.0}
    assert kd["resnet50_cifar -> mobilenetv2", 1.0].setting.constants["ce_weight"] == 0.3


def test_a_search_is_of_two_draws_on_a_pair_that_is_there(rich: Expansion) -> None:
    search = rich.study.spec.search
    assert search is not None and (search.draws, search.prefix) == (2, None)
    assert search.finalists is not None and (search.finalists.keep, search.finalists.seeds) == (2, 1)
    assert search.pairs == ["resnet50_cifar -> mobilenetv2"]


def test_tables_and_figures_are_of_what_is_there(rich: Expansion) -> None:
    spec = rich.study.spec
    assert spec.study == "rich-smoke" and spec.evaluate == ["calibration", "transfer to digits"]
    assert spec.tables[0].metric == ["train_step_ms_cpu", "test_transfer_digits_top1"]
    assert spec.tables[1].costs == ["train_step_ms_cpu", "train_extra_parameters"]
    assert spec.tables[0].title == "Costs (smoke)" and spec.tables[1].columns == "KD.temperature"
    first, second = spec.figures  # that of a pair that is gone would be the first again
    assert (first.pair, first.seed, first.title) == ("resnet50_cifar -> mobilenetv2", None, "R (smoke)")
    assert (second.x, second.y) == ("train_step_ms_cpu", "test_transfer_digits_top1")
    assert shrink(study(RICH), "cuda").spec.tables[0].metrics[:2] == [
        "train_step_ms_cuda",
        "train_step_memory_mib_cuda",
    ]


def test_networks_of_larger_images_give_way() -> None:
    """Each pair to another; what it stands for is kept for print, and figures are of the one that is trained."""
    text = SOUND.replace("dataset: digits", "dataset: imagenet").replace("digits-quick", "imagenet-100")
    text = text.replace("[resnet20 -> resnet8]", "[resnet34 -> resnet18, resnet50 -> mobilenetv1]")
    text += "evaluate: [calibration]\nfigures: [{kind: reliability, pair: ResNet50 -> MobileNetV1}]\n"
    found = shrink(study(text))
    assert found.smoke == Smoke(
        study="sound",
        dataset="imagenet",
        pairs={
            "resnet32x4 -> resnet8x4": "resnet34_imagenet -> resnet18_imagenet",
            "vgg13 -> vgg8": "resnet50_imagenet -> mobilenetv1",
        },
    )
    kept = saved_form(found)
    assert kept["smoke"]["study"] == "sound" and kept["figures"][0]["pair"] == "vgg13 -> vgg8"
    assert {run.student for run in expand(found, data=Path("nowhere")).wanted} >= {"resnet8x4", "vgg8"}


def test_a_study_that_means_nothing_is_refused_as_ever() -> None:
    with pytest.raises(StudyError, match="7:5: unknown distiller 'nome', did you mean `none`"):
        shrink(study(SOUND.replace("- none", "- nome")))


def test_a_whole_study_is_kept_with_the_listed_names_of_its_figures_pairs() -> None:
    text = SOUND + "evaluate: [calibration]\nfigures: [{kind: reliability, pair: ResNet20 -> ResNet8}]\n"
    kept = saved_form(study(text))
    assert (
        kept["figures"] == [{"kind": "reliability", "rows": [], "pair": "resnet20 -> resnet8"}] and "smoke" not in kept
    )
