"""The rule by which stages of two networks are compared, on every pair of two families that the papers print."""

from fractions import Fraction

import pytest
import torch

from kdharness.models.correspondence import matched_stages, stages
from kdharness.models.registry import MODELS

ONE_TO_ONE = {3: [1, 2, 3], 4: [1, 2, 3, 4]}
PAIRS = [  # teacher, student, the teacher's stages, the student's
    *(
        (teacher, student, ONE_TO_ONE[4], ONE_TO_ONE[4])
        for teacher in ("vgg13", "resnet50_cifar")
        for student in ("mobilenetv2", "vgg8")
    ),
    *(
        ("resnet32x4", student, ONE_TO_ONE[3], ONE_TO_ONE[3])
        for student in ("shufflenetv1", "shufflenetv2", "wrn_16_2", "wrn_40_2", "resnet8x4")
    ),
    *(("wrn_40_2", student, ONE_TO_ONE[3], ONE_TO_ONE[3]) for student in ("shufflenetv1", "resnet8x4", "wrn_40_1")),
    ("resnet50_imagenet", "mobilenetv1", ONE_TO_ONE[4], ONE_TO_ONE[4]),
    ("resnet34_imagenet", "resnet18_imagenet", ONE_TO_ONE[4], ONE_TO_ONE[4]),
    ("resnet18_cifar", "mobilenetv2_tinyimagenet", ONE_TO_ONE[4], ONE_TO_ONE[4]),
    ("wrn_40_2", "mobilenetv2", [1, 2, 3], [1, 3, 4]),
    ("resnet32x4", "vgg8", [1, 2, 3], [1, 3, 4]),
    ("resnet50_cifar", "wrn_16_2", [1, 3, 4], [1, 2, 3]),
    ("vgg13", "wrn_16_2", [1, 3, 4], [1, 2, 3]),
    ("resnet18_cifar", "shufflenetv2", [1, 3, 4], [1, 2, 3]),
    *(
        ("pycls_resnet56", student, [1, 2, 3], [4, 8, 12])
        for student in ("deit_tiny", "deit_tiny_distilled", "pit_tiny")
    ),
    *(("pycls_resnet56", student, [1, 2, 3], [3, 5, 8]) for student in ("pvt_tiny", "pvtv2_b0")),
    ("pycls_resnet56", "t2t_vit_7", [1, 2, 3], [2, 5, 7]),
]


def shapes(name: str) -> list[str]:
    with torch.device("meta"):
        return list(MODELS.get(name).build(10, (3, 64, 64)).shapes)


@pytest.mark.parametrize(
    ("teacher", "student", "of_teacher", "of_student"), PAIRS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_pairs_of_the_papers(teacher: str, student: str, of_teacher: list[int], of_student: list[int]) -> None:
    found = matched_stages(dict.fromkeys(shapes(student)), dict.fromkeys(shapes(teacher)))
    assert found == tuple((f"stage{s}", f"stage{t}") for s, t in zip(of_student, of_teacher, strict=True))


@pytest.mark.parametrize("fewer", range(1, 13))
@pytest.mark.parametrize("more", range(1, 13))
def test_the_rule(fewer: int, more: int) -> None:
    if fewer > more:
        fewer, more = more, fewer
    few, many = ({f"stage{number}": None for number in range(1, count + 1)} for count in (fewer, more))
    found = matched_stages(few, many)
    assert found == tuple((b, a) for a, b in matched_stages(many, few))  # it does not matter which of them teaches
    assert [stage for stage, _ in found] == list(few) and found[-1] == (f"stage{fewer}", f"stage{more}")
    used = [list(many).index(stage) + 1 for _, stage in found]
    assert used == sorted(set(used))
    for number, other in enumerate(used, start=1):
        off = {choice: abs(Fraction(choice, more) - Fraction(number, fewer)) for choice in range(1, more + 1)}
        assert other == max(choice for choice in off if off[choice] == min(off.values()))


def test_only_stages_are_counted() -> None:
    names = ["stem.tokens", "stem", "stage1.tokens", "stage1", "stage2.preact", "stage2", "pooled", "distill_logits"]
    assert stages(names) == ["stage1", "stage2"]
