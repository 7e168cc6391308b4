"""Which stages of two networks belong together, for methods that compare several.

Stage k of N ends after about k/N of a network's depth, in every family; the stem is not a stage. Networks of as many
stages are compared one to one. Otherwise every stage of the one with fewer is given the stage of the other at the
nearest fraction of the depth, the deeper of two that are equally near. So the last always goes with the last, no stage
is used twice, and the order is kept:

| fewer | more | stages of the one with more | pairs of the literature (teacher -> student) |
|---|---|---|---|
| 3 | 4 | 1 3 4 | wrn_40_2 -> mobilenetv2, resnet32x4 -> vgg8 |
| 3 | 4 | 1 3 4 | vgg13, resnet50_cifar -> wrn_16_2; resnet18_cifar -> shufflenetv2 |
| 3 | 7 | 2 5 7 | pycls_resnet56 -> t2t_vit_7 |
| 3 | 8 | 3 5 8 | pycls_resnet56 -> pvt_tiny, pvtv2_b0 |
| 3 | 12 | 4 8 12 | pycls_resnet56 -> deit_tiny, pit_tiny |

Every other pair of the literature has as many stages on both sides: vgg13 and resnet50_cifar -> mobilenetv2 and vgg8,
the residual networks of three stages -> each other, the wide ones and both ShuffleNets, resnet50_imagenet ->
mobilenetv1, resnet18_cifar -> mobilenetv2_tinyimagenet.

The released code of the benchmarks has no rule: mdistiller and RepDistiller count feature maps from the stem on and
drop what is left over, so that their pairs of 3 and 4 stages are 1-1, 2-2, 3-3. Where a paper names other stages
(locality guidance: 1, 7 and 12 of 12), its method names them itself.
"""

from collections.abc import Iterable, Mapping


def matched_stages(student: Mapping[str, object], teacher: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """(student's stage, teacher's stage) from the shallowest to the deepest, given the `shapes` of both networks."""
    students, teachers = stages(student), stages(teacher)
    if len(students) > len(teachers):
        return tuple((near, stage) for stage, near in zip(teachers, _nearest(len(teachers), students), strict=True))
    return tuple(zip(students, _nearest(len(students), teachers), strict=True))


def stages(names: Iterable[str]) -> list[str]:
    """`stage1..N` of a network's layer names, without the stem and what stands beside a stage."""
    return [name for name in names if name.startswith("stage") and "." not in name]


def _nearest(count: int, others: list[str]) -> list[str]:
    """For each of `count` stages the one of `others` (at least as many) at the nearest fraction of the depth."""
    rounded = ((2 * number * len(others) + count) // (2 * count) for number in range(1, count + 1))
    return [others[number - 1] for number in rounded]
