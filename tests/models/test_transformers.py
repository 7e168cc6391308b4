"""The vision transformers: what the golden vectors and the laws do not say of them."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from kdharness.core.errors import BadInput
from kdharness.core.types import Model
from kdharness.models.pvt import Block as PVTBlock
from kdharness.models.pvtv2 import Block as PVTv2Block
from kdharness.models.registry import MODELS
from kdharness.models.t2t_vit import PerformerAttention
from kdharness.models.transformer import Block, Transformer, drop_path

NAMES = [name for name in MODELS if name.startswith(("deit", "pit", "pvt", "t2t"))]


def built(name: str, side: int = 32, classes: int = 10) -> Model:
    return MODELS.get(name).build(classes, (3, side, side))


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_the_blocks_of_the_whole_network(name: str) -> None:
    stages = [stage for stage in built(name).shapes if stage.startswith("stage") and "." not in stage]
    depth = {"deit": 12, "pit_": 12, "pvt_": 8, "pvtv": 8, "t2t_": 7}[name[:4]]
    assert stages == [f"stage{number}" for number in range(1, depth + 1)]


@pytest.mark.parametrize("name", NAMES)
def test_images_that_the_patches_do_not_divide_are_refused(name: str) -> None:
    entry = MODELS.get(name)
    for side in (entry.smallest // 2, entry.smallest + 4):
        with pytest.raises(BadInput, match=f"not {side}x{entry.smallest}"):
            entry.build(10, (3, side, entry.smallest))


@pytest.mark.parametrize(("name", "stage"), [("deit_tiny", "stem"), ("pit_tiny", "stage3"), ("pvt_tiny", "stage8")])
def test_a_bare_map_says_what_to_continue_from(name: str, stage: str) -> None:
    model = built(name).eval()
    stages = model(torch.randn(1, 3, 32, 32)).stages
    with pytest.raises(KeyError, match=rf"{stage}\.tokens"):
        model.forward_from(stage, stages[stage])


def test_pvt_passes_on_maps_until_the_class_token_joins() -> None:
    kinds = [name for name in built("pvt_tiny").shapes if name.endswith(".tokens")]
    assert kinds == ["stage7.tokens", "stage8.tokens"]
    assert not any(name.endswith(".tokens") for name in built("pvtv2_b0").shapes)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_blocks_of_its_own(name: str) -> None:
    model = built(name).eval()
    twin = copy.deepcopy(model)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = twin(images).pooled
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(twin(images).pooled, before)
    own = set(map(id, twin.parameters()))
    assert {id(value) for part in twin.layers.values() for module in part for value in module.parameters()} == own


def test_drop_path_keeps_the_mean_and_drops_whole_images() -> None:
    torch.manual_seed(0)
    branch = torch.ones(4000, 3, 2)
    dropped = drop_path(branch, 0.25, training=True)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)
    assert drop_path(branch, 0.25, training=False) is branch and drop_path(branch, 0.0, training=True) is branch


@pytest.mark.parametrize(("name", "last"), [("deit_tiny", 0.1), ("pit_tiny", 0.1 * 11 / 12), ("pvt_tiny", 0.1)])
def test_drop_path_rises_evenly_from_nothing(name: str, last: float) -> None:
    rates = [module.rate for module in built(name).modules() if isinstance(module, Block | PVTBlock)]
    assert rates[0] == 0 and rates[-1] == pytest.approx(last)
    steps = [after - before for before, after in pairwise(rates)]
    assert steps == pytest.approx([last / (len(rates) - 1)] * (len(rates) - 1))


def test_train_mode_differs_by_drop_path_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("pvtv2_b0")
    images = torch.randn(8, 3, 32, 32)
    judged, dropped = model.eval()(images).logits, model.train()(images).logits
    assert not torch.allclose(judged, dropped)
    for module in model.modules():
        if isinstance(module, PVTv2Block):
            monkeypatch.setattr(module, "rate", 0.0)
    assert torch.equal(model(images).logits, judged)


def test_the_distilled_form_has_two_heads() -> None:
    model = built("deit_tiny_distilled")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    images = torch.randn(2, 3, 32, 32)
    judged = model.eval()(images)
    mean = (model.classifier(judged.pooled) + judged.stages["distill_logits"]) / 2
    torch.testing.assert_close(judged.logits, mean)
    trained = model.train()(images)
    assert torch.equal(trained.logits, model.classifier(trained.pooled))
    trained.stages["distill_logits"].sum().backward()
    second = [module.weight.grad for module in model.layers["distill_logits"] if isinstance(module, nn.Linear)]
    assert len(second) == 1 and second[0] is not None and model.classifier.weight.grad is None
    with pytest.raises(KeyError, match=r"stage12\.tokens"):
        model.forward_from("pooled", trained.pooled)


def test_the_performer_is_attention_by_its_random_features() -> None:
    """Token by token, from the definition: weights phi(q) phi(k), normalised over the keys, over the values."""
    attention = PerformerAttention(5).double()
    tokens = torch.randn(1, 4, 5, dtype=torch.float64)
    key, query, value = attention.qkv_transform(tokens)[0].split(64, dim=1)

    def features(vector: torch.Tensor) -> torch.Tensor:
        exponents: torch.Tensor = attention.w @ vector - vector @ vector / 2
        return exponents.exp().div(32**0.5)

    rows = []
    for at in range(4):
        weights = torch.stack([features(query[at]) @ features(key[other]) for other in range(4)])
        rows.append(value[at] + attention.projection((weights / (weights.sum() + 1e-8)) @ value))
    torch.testing.assert_close(attention(tokens)[0], torch.stack(rows), rtol=1e-10, atol=1e-12)
    assert torch.allclose(attention.w @ attention.w.T, 32 * torch.eye(32, dtype=torch.float64), atol=1e-4)


def test_fixed_parameters_are_never_trained() -> None:
    model = built("t2t_vit_7", 224, 100)
    fixed = [key for key, parameter in model.named_parameters() if not parameter.requires_grad]
    assert fixed == ["pos_embed", "t2t_module.attention.0.attn.w", "t2t_module.attention.1.attn.w"]
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == 4_024_394
    position = model.get_parameter("pos_embed")[0]
    assert position[0, :4].tolist() == [0, 1, 0, 1]
    assert float(position[3, 2]) == pytest.approx(torch.tensor(3 / 10000 ** (2 / 256)).sin())


@pytest.mark.parametrize(
    ("name", "key", "std"),
    [
        ("deit_tiny", "layers.0.mlp.fc1.weight", 0.02),
        ("deit_tiny", "pos_embed", 0.02),
        ("deit_tiny", "head.weight", 0.0),
        ("deit_tiny_distilled", "distill_head.weight", 0.0),
        ("pit_tiny", "transformers.0.blocks.0.mlp.fc1.weight", (3 * 64) ** -0.5),  # torch's own
        ("pit_tiny", "pos_embed", 0.02),
        ("pvt_tiny", "head.weight", 0.02),
        ("pvt_tiny", "block1.0.attn.sr.weight", (3 * 64 * 64) ** -0.5),  # torch's own
        ("pvtv2_b0", "block1.0.attn.sr.weight", (2 / (32 * 64)) ** 0.5),
        ("pvtv2_b0", "block1.0.mlp.dwconv.dwconv.weight", (2 / 9) ** 0.5),
        ("t2t_vit_7", "layers.0.attn.qkv_transform.weight", 0.02),
    ],
)
def test_initial_weights(name: str, key: str, std: float) -> None:
    assert float(dict(built(name, 64).named_parameters())[key].detach().std()) == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_layer_norms_have_the_references_epsilon(name: str) -> None:
    model = built(name)
    assert isinstance(model, Transformer)
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
