"""Sums of methods, `luminet + reviewkd`: one cross-entropy, and each member's other terms with their own weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar

from pydantic import Field, create_model
from torch import Tensor, nn

from kdharness.core.errors import BadInput
from kdharness.core.plugins import revision_of
from kdharness.core.types import (
    Batch,
    BuildContext,
    Distiller,
    DistillerConfig,
    Needs,
    NetworkView,
    Outputs,
    Phase,
)
from kdharness.distillers.constants import CrossEntropyWeight
from kdharness.distillers.losses import cross_entropy
from kdharness.distillers.registry import DISTILLERS

_TEACHERS = ("none", "architecture", "weights")


def canonical_method(name: str) -> str:
    """A method by its listed name; of a sum the members in alphabetical order, as their order means nothing.

    Raises UnknownName, and BadInput for a sum that cannot be meant.
    """
    return " + ".join(sorted(DISTILLERS.canonical(member.strip()) for member in name.split("+")))


def method(name: str) -> type[Distiller]:
    """The class of a method, or of a sum of methods. Raises as `canonical_method`."""
    listed = canonical_method(name)
    return _sum(tuple(listed.split(" + "))) if "+" in listed else DISTILLERS.get(listed)


def revision(distiller: type[Distiller]) -> int | str:
    """What a setting records of the method's code: a sum's own revision and those of its members."""
    if not issubclass(distiller, Sum):
        return revision_of(distiller, distiller.revision)
    members = [f"{name} {revision_of(member, member.revision)}" for name, member in distiller.members.items()]
    return f"{distiller.revision} ({', '.join(members)})"


def is_own(distiller: type[Distiller]) -> bool:
    """Whether somebody else wrote the method, or a member of the sum."""
    members = distiller.members.values() if issubclass(distiller, Sum) else [distiller]
    return any(member.__module__.partition(".")[0] != "kdharness" for member in members)


class Sum(Distiller):
    """`L = ce_weight CE(s, y) + the members' other terms`, each weighted and warmed up as its member says.

    Hossain et al., TMLR 2025, Table 9 (LumiNet + ReviewKD). No code of it is public: that the cross-entropy stands
    once, with a weight of its own, is a choice. A member's constants are `member.constant` in a study file, its terms
    are called `member_term`.
    """

    members: ClassVar[Mapping[str, type[Distiller]]]
    revision = 1

    def __init__(self, config: DistillerConfig) -> None:
        super().__init__(config)
        self._members = {name: member(getattr(config, name)) for name, member in self.members.items()}

    @property
    def needs(self) -> Needs:
        """All that any member asks for."""
        each = [member.needs for member in self._members.values()]
        return Needs(
            teacher=max((needs.teacher for needs in each), key=_TEACHERS.index),
            teacher_mode="train" if any(needs.teacher_mode == "train" for needs in each) else "eval",
            stages=_united([needs.stages for needs in each]),
            teacher_stages=_united([needs.teacher_stages for needs in each]),
            teacher_pooled=any(needs.teacher_pooled for needs in each),
            tails=any(needs.tails for needs in each),
            views=2 if any(needs.views == 2 for needs in each) else 1,
            train_labels=any(needs.train_labels for needs in each),
            random=any(needs.random for needs in each),
        )

    def build(self, student: NetworkView, teacher: NetworkView, context: BuildContext) -> nn.Module:
        return nn.ModuleList([member.build(student, teacher, context) for member in self._members.values()])

    def losses(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        terms = batch.terms({"ce": lambda: cross_entropy(student.logits, batch.labels)})
        for name, member in self._members.items():
            own = _own(name, batch)
            if own is not None:
                values = member.losses(*_seen(member, student, teacher), own)
                terms |= {f"{name}_{term}": value for term, value in values.items() if term != "ce"}
        return terms

    def weights(self, epoch: int) -> Mapping[str, float]:
        weights = {"ce": float(self.config.ce_weight)}
        for name, member in self._members.items():
            own = member.weights(epoch)
            weights |= {f"{name}_{term}": weight for term, weight in own.items() if term != "ce"}
        return weights

    def phases(self) -> Sequence[Phase]:
        return [phase for member in self._members.values() for phase in member.phases()]

    def after_step(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        for name, member in self._members.items():
            own = _own(name, batch)
            if own is not None:
                member.after_step(*_seen(member, student, teacher), own)


def _own(name: str, batch: Batch) -> Batch | None:
    """The batch with the member's own active terms; None where it has terms, and none of them is."""
    own = frozenset(term.removeprefix(f"{name}_") for term in batch.active if term.startswith(f"{name}_"))
    return None if batch.active and not own else replace(batch, active=own)


def _seen(member: Distiller, student: Outputs, teacher: Outputs) -> tuple[Outputs, Outputs]:
    """What the member would see alone: its own layers, and the second view if it asked for two."""
    needs = member.needs
    student = student.only(needs.stages)
    teacher = teacher.only(needs.teacher_stages, pooled=needs.teacher_pooled)
    return (student, teacher) if needs.views == 2 else (replace(student, second=None), replace(teacher, second=None))


def _united(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))


@cache
def _sum(names: tuple[str, ...]) -> type[Distiller]:
    """The class that sums these methods. Raises BadInput for members that have no place in a sum."""
    called = " + ".join(names)
    if len(set(names)) < len(names):
        raise BadInput(f"{called}: a method stands twice in a sum")
    members = {name: DISTILLERS.get(name) for name in names}
    for name, member in members.items():
        if member.predict is not Distiller.predict:
            raise BadInput(f"{called}: {name} answers in the student's place, its loss cannot be added to another's")
        if member(member.Config()).needs.peer:
            raise BadInput(f"{called}: {name} trains a second student, which another method knows nothing of")
    fields = {
        name: (member.Config, Field(default_factory=member.Config, description=f"The constants of {name}."))
        for name, member in members.items()
    }
    config = create_model(  # type: ignore[call-overload]  # fields by computed names
        "Config", __base__=DistillerConfig, ce_weight=(CrossEntropyWeight, 1.0), **fields
    )
    body = {
        "__doc__": Sum.__doc__,
        "__module__": __name__,
        "Config": config,
        "members": members,
        "paper": "; ".join(member.paper for member in members.values()),
    }
    return type("Sum", (Sum,), body)
