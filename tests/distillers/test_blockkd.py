"""Block-KD, which has no public code: a case by hand, the identity it rests on, and every pair of the papers."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from stand_in import batch, logits, outputs
from torch import Tensor, nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import BuildContext, Outputs
from kdharness.distillers.blockkd import BlockKD, Connector, places_of
from kdharness.distillers.losses import cross_entropy, softened_kl
from kdharness.models.registry import MODELS

CONTEXT = BuildContext(5, 100, (3, 32, 32))
LABELS = torch.tensor([0, 3, 1, 4, 4, 2])
PAIRS = (
    "resnet32x4 resnet8x4, wrn_40_2 wrn_40_1, vgg13 vgg8, resnet50_cifar mobilenetv2, vgg13 mobilenetv2, "
    "resnet50_cifar vgg8, resnet32x4 shufflenetv1, resnet32x4 shufflenetv2, wrn_40_2 shufflenetv1, resnet110 resnet20, "
    "wrn_40_2 resnet8x4, resnet32x4 wrn_16_2"
)


@dataclass
class Net:
    """Three stages of one-pixel maps; a tail adds the number of its stage to each feature and calls that logits."""

    shapes: Mapping[str, tuple[int, ...]]

    def forward_from(self, stage: str, features: Tensor) -> Outputs:
        shifted = features.flatten(1) * int(stage.removeprefix("stage"))
        return Outputs(shifted, shifted)


def plain(method: BlockKD) -> None:
    """Connectors that pass their input on."""
    for connector in method.connectors:
        assert isinstance(connector, Connector)
        channels = connector.conv.weight.shape[0]
        connector.double().eval()
        connector.conv.weight.data.copy_(torch.eye(channels)[:, :, None, None])
        connector.bn.running_var.fill_(1 - connector.bn.eps)


def test_two_stones_and_the_student_by_hand() -> None:
    net = Net({f"stage{k}": (5, 1, 1) for k in (1, 2, 3)})
    method = BlockKD(BlockKD.Config(temperature=2.0))
    method.build(net, net, CONTEXT)
    plain(method)
    first, second, student, teacher = (logits(6, 5, seed) for seed in range(4))
    side = Outputs(student, student, {"stage1": first[:, :, None, None], "stage2": second[:, :, None, None]})
    terms = method.losses(side, outputs(teacher), batch(LABELS))
    stones = [(1 / 4, first), (1 / 2, 2 * second), (1.0, student)]  # n = 3 stages: 1 / 2^(3 - i)
    mean = (first + 2 * second) / 2
    assert terms["ce"].item() == pytest.approx(sum(w * cross_entropy(z, LABELS).item() for w, z in stones), rel=1e-9)
    for term, target in (("kd", teacher), ("cross", mean)):
        by_hand = sum(w * softened_kl(z, target, 2.0).item() for w, z in stones)
        assert terms[term].item() == pytest.approx(by_hand, rel=1e-9)


def test_the_mean_of_the_stones_is_a_target_and_not_a_learner() -> None:
    net = Net({f"stage{k}": (5, 1, 1) for k in (1, 2)})
    method = BlockKD(BlockKD.Config())
    method.build(net, net, CONTEXT)
    plain(method)
    stage = logits(6, 5, 1)[:, :, None, None].requires_grad_()
    student = logits(6, 5, 2).requires_grad_()
    cross = method.losses(Outputs(student, student, {"stage1": stage}), outputs(logits(6, 5, 3)), batch(LABELS))[
        "cross"
    ]
    at_stage, at_student = torch.autograd.grad(cross, (stage, student))
    assert at_student.abs().max() > 1e-3
    assert at_stage.abs().max() < 1e-12  # a single stone is its own mean


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2"])
def test_a_network_continued_by_itself_says_what_it_said(name: str) -> None:
    """Teacher and student one network in eval mode, connectors that change nothing: every stone is the teacher."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MODELS.get(name).build(5, (3, 32, 32)).double().eval().requires_grad_(False)
        method = BlockKD(BlockKD.Config())
        method.build(network, network, CONTEXT)
    plain(method)
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        said = network(images)
        terms = method.losses(said, said, batch(LABELS))
    whole = sum(0.5**k for k in range(len(method.places) + 1))
    assert terms["ce"].item() == pytest.approx(whole * cross_entropy(said.logits, LABELS).item(), rel=1e-9)
    assert terms["kd"].item() == pytest.approx(0.0, abs=1e-12) and terms["cross"].item() == pytest.approx(0, abs=1e-12)


def test_the_teacher_takes_over_at_the_same_relative_depth() -> None:
    three, four = (Net({f"stage{k}": (5, 4, 4) for k in range(1, stages + 1)}) for stages in (3, 4))
    assert places_of("all", three, three) == (("stage1", "stage1"), ("stage2", "stage2"))
    assert places_of("all", three, four) == (("stage1", "stage1"), ("stage2", "stage3"))
    assert places_of("all", four, three) == (("stage1", "stage1"), ("stage3", "stage2"))
    assert places_of("stage2=stage1 stage3=stage2", four, three) == (("stage2", "stage1"), ("stage3", "stage2"))


@pytest.mark.parametrize("pair", PAIRS.split(", "))
def test_connectors_fit_every_pair(pair: str) -> None:
    with torch.device("meta"):
        teacher, student = (MODELS.get(name).build(100, (3, 32, 32)) for name in pair.split())
        method = BlockKD(BlockKD.Config())
        method.build(student, teacher, CONTEXT)
        assert set(method.needs.stages) < set(student.shapes) and method.needs.tails
        for (ours, theirs), connector in zip(method.places, method.connectors, strict=True):
            assert connector(torch.empty(2, *student.shapes[ours])).shape[1:] == teacher.shapes[theirs]


@pytest.mark.parametrize(
    ("student", "teacher", "stones", "said"),
    [
        (
            {"stage1": (5, 4, 4)},
            {"stage1": (5, 4, 4), "stage2": (5, 2, 2)},
            "all",
            "the student has stage1 and the teacher stage1, stage2",
        ),
        ({"stage1": (5, 4, 4)}, {"stage1": (5, 4, 4)}, "stage3=stage1", "'stage3', which the student lacks"),
        (
            {"stage1": (5, 4, 4)},
            {"stage1": (5, 4, 4), "stage1.tokens": (17, 5)},
            "stage1=stage1",
            "passes on further tokens",
        ),
    ],
)
def test_pairs_that_cannot_be_stones(
    student: dict[str, tuple[int, ...]], teacher: dict[str, tuple[int, ...]], stones: str, said: str
) -> None:
    with pytest.raises(IncompatiblePair, match=said):
        BlockKD(BlockKD.Config(stones=stones)).build(Net(student), Net(teacher), CONTEXT)


def test_only_connectors_are_trained() -> None:
    net = Net({f"stage{k}": (5, 1, 1) for k in (1, 2, 3)})
    adapters = BlockKD(BlockKD.Config()).build(net, net, CONTEXT)
    assert isinstance(adapters, nn.ModuleList)
    assert sum(parameter.numel() for parameter in adapters.parameters()) == 2 * (25 + 10)
