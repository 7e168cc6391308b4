"""Which layers of a student a method compares with which of the teacher, by name."""

from typing import Annotated

from pydantic import Field
from torch import nn

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Needs, NetworkView
from kdharness.models.correspondence import matched_stages, stages

LayerPairs = tuple[tuple[str, str], ...]
"""(the student's layer, the teacher's), shallow first."""

Layers = Annotated[
    str,
    Field(
        pattern=r"^(all|first|(stem|stage[1-9][0-9]?)=(stem|stage[1-9][0-9]?)"
        r"( (stem|stage[1-9][0-9]?)=(stem|stage[1-9][0-9]?))*)$",
        description="Layers compared: `all` stages, each with the one it corresponds to; `first`, stage by stage from "
        "the shallowest, what is left over dropped, as released codes do; or pairs, the student's first: "
        "`stage2=stage1 stage3=stage2`.",
    ),
]


def layer_pairs(
    method: str,
    layers: str,
    student: NetworkView,
    teacher: NetworkView,
    *,
    student_form: str = "",
    teacher_form: str = "",
) -> LayerPairs:
    """The pairs that `layers` means for these two networks; a form (`.preact`) is appended to their names.

    A network whose stages end without a ReLU (MobileNetV2) has no `.preact`: its stages are their own.
    Raises IncompatiblePair where a network lacks a layer or it is no map.
    """
    if layers == "all":
        named = list(matched_stages(student.shapes, teacher.shapes))
    elif layers == "first":
        named = list(zip(stages(student.shapes), stages(teacher.shapes), strict=False))
    else:
        named = [(one, other) for one, _, other in (pair.partition("=") for pair in layers.split())]
    pairs = tuple((in_form(student, one, student_form), in_form(teacher, other, teacher_form)) for one, other in named)
    for ours, theirs in pairs:
        require_map(method, "student", student, ours)
        require_map(method, "teacher", teacher, theirs)
    return pairs


def in_form(network: NetworkView, stage: str, form: str) -> str:
    """The stage's layer of that form, or the stage itself where the network has none of any stage."""
    return stage + form if any(layer.endswith(form) for layer in network.shapes) else stage


def last_stage(method: str, who: str, network: NetworkView) -> str:
    """The name of the network's last stage. Raises IncompatiblePair for a network without stages."""
    found = stages(network.shapes)
    if not found:
        raise IncompatiblePair(f"{method} reads the last stage, but the {who} has only {', '.join(network.shapes)}")
    return found[-1]


def last_map(method: str, who: str, network: NetworkView, *, head: bool = False) -> str:
    """The name of the last map of a network's stages, or with `head` of all that it shows.

    A `.preact` one goes through a ReLU. Raises IncompatiblePair.
    """
    maps = [name for name, shape in network.shapes.items() if len(shape) == 3 and (head or name != "head")]
    if not maps:
        raise IncompatiblePair(f"{method} needs a map, but the {who} shows only {', '.join(network.shapes)}")
    return maps[-1]


def pooled_map(method: str, who: str, network: NetworkView) -> str:
    """The last map, the head included, where the network averages it to its pooled features.

    Raises IncompatiblePair where those have other channels (the network changes the map before it pools) and for
    transformers that pool a token.
    """
    layer = last_map(method, who, network, head=True)
    if network.shapes[layer][:1] != network.shapes["pooled"] or f"{layer}.tokens" in network.shapes:
        raise IncompatiblePair(
            f"{method} needs the map that the {who} averages to its pooled features {network.shapes['pooled']}; the "
            f"last that it shows, {layer}, is {network.shapes[layer]}"
        )
    return layer


def require_map(method: str, who: str, network: NetworkView, layer: str) -> tuple[int, int, int]:
    """The layer's (C, H, W). Raises IncompatiblePair where it is missing or no map."""
    shape = network.shapes.get(layer, ())
    if len(shape) != 3:
        raise IncompatiblePair(
            f"{method} reads {layer!r} as a map, which the {who} lacks; it has "
            + ", ".join(f"{name} {found}" for name, found in network.shapes.items()),
            remedy="name layers that both have: `layers: stage1=stage1 stage2=stage2`",
        )
    return (shape[0], shape[1], shape[2])


def comparing(pairs: LayerPairs) -> Needs:
    """The needs of a method that reads these layers of a trained teacher and nothing else."""
    return Needs(stages=tuple(one for one, _ in pairs), teacher_stages=tuple(other for _, other in pairs))


def feature_modules(network: NetworkView) -> list[nn.Module]:
    """All that makes a network's features: what it has but the classifier."""
    return [module for layer, modules in network.layers.items() if layer != "classifier" for module in modules]
