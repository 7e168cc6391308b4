"""Which layers of a student a method compares with which of the teacher, by name."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from kdharness.core.errors import IncompatiblePair
from kdharness.core.types import Needs, NetworkView

LayerPairs = tuple[tuple[str, str], ...]
"""(the student's layer, the teacher's), shallow first."""

Layers = Annotated[
    str,
    Field(
        pattern=r"^(all|first|(stem|stage[1-9][0-9]?)=(stem|stage[1-9][0-9]?)"
        r"( (stem|stage[1-9][0-9]?)=(stem|stage[1-9][0-9]?))*)$",
        description="Layers compared: `all` stages in order, whose number must agree; the `first` that both have, as "
        "released codes cut the longer list; or pairs, the student's first: `stage2=stage1 stage3=stage2`.",
    ),
]


def layer_pairs(
    method: str, layers: str, student: NetworkView, teacher: NetworkView, *, student_form: str = "", form: str = ""
) -> LayerPairs:
    """The pairs that `layers` means for these two networks. `form` is appended to the names: `.preact`.

    Raises IncompatiblePair where the numbers of stages differ, or a network lacks a layer.
    """
    ours, theirs = stages_of(student), stages_of(teacher)
    if layers == "all" and len(ours) != len(theirs):
        raise IncompatiblePair(
            f"{method} compares all stages in order, but the student has {described(student, ours)} and the teacher "
            f"{described(teacher, theirs)}",
            remedy="say which: `layers: first`, or pairs such as `layers: stage2=stage2 stage3=stage4`",
        )
    if layers in ("all", "first"):
        named = list(zip(ours, theirs, strict=False))
    else:
        named = [(one, other) for one, _, other in (pair.partition("=") for pair in layers.split())]
    pairs = tuple((one + student_form, other + form) for one, other in named)
    for ours_, theirs_ in pairs:
        require_map(method, "student", student, ours_)
        require_map(method, "teacher", teacher, theirs_)
    return pairs


def last_stage(method: str, who: str, network: NetworkView) -> str:
    """The name of the network's last stage. Raises IncompatiblePair for a network without stages."""
    stages = stages_of(network)
    if not stages:
        raise IncompatiblePair(f"{method} reads the last stage, but the {who} has only {', '.join(network.shapes)}")
    return stages[-1]


def stages_of(network: NetworkView) -> list[str]:
    """`stage1..N`, shallow first, without their other forms."""
    return [name for name in network.shapes if name.startswith("stage") and "." not in name]


def require_map(method: str, who: str, network: NetworkView, layer: str) -> tuple[int, int, int]:
    """The layer's (C, H, W). Raises IncompatiblePair where it is missing or no map."""
    shape = network.shapes.get(layer, ())
    if len(shape) != 3:
        raise IncompatiblePair(
            f"{method} reads {layer!r} as a map, which the {who} lacks; it has {described(network, network.shapes)}"
        )
    return (shape[0], shape[1], shape[2])


def described(network: NetworkView, layers: Iterable[str]) -> str:
    """Names and shapes in a sentence: `stage1 (16, 32, 32), stage2 (32, 16, 16)`."""
    return ", ".join(f"{name} {network.shapes[name]}" for name in layers)


def comparing(pairs: LayerPairs) -> Needs:
    """The needs of a method that reads these layers of a trained teacher and nothing else."""
    return Needs(stages=tuple(one for one, _ in pairs), teacher_stages=tuple(other for _, other in pairs))
