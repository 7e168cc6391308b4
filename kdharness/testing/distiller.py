"""The laws that every distiller keeps: `check_distiller(MyMethod)` in one test of your own package.

The checks find wrong shapes, hidden state, undeclared needs and non-finite numbers. They cannot find a wrong formula:
give a method a golden vector, or a value computed by hand, as well.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from kdharness.core.errors import KdHarnessError
from kdharness.core.types import Distiller, DistillerConfig, Needs, Outputs
from kdharness.distillers.presets import load_preset
from kdharness.distillers.registry import DISTILLERS
from kdharness.testing.bench import NUM_CLASSES, Bench, rows_of, with_logits
from kdharness.testing.expect import expect, expect_finite

LATE = 10_000  # every warm-up is over
Config = DistillerConfig | None


def check_distiller(distiller: type[Distiller], config: Config = None, *, zero_at_equal: Collection[str] = ()) -> None:
    """Every check of this module on the class with `config` (its defaults where None).

    `zero_at_equal` names the terms that are 0, and minimal, where the student's outputs equal the teacher's.
    Raises AssertionError with what is broken.
    """
    for check in DISTILLER_CHECKS:
        check(distiller, config)
    check_zero_at_equal(distiller, config, zero_at_equal)


def check_declaration(distiller: type[Distiller], config: Config = None) -> None:
    """Docstring, paper, revision, a Config whose fields are described, and a preset that fits it."""
    name = distiller.__name__
    expect(issubclass(distiller.Config, DistillerConfig), f"{name}.Config must derive from DistillerConfig")
    expect("=" in (distiller.__doc__ or ""), f"{name} needs a docstring that states the loss (`L = ...`)")
    expect(bool(distiller.paper.strip()), f"{name}.paper must name authors, venue and year")
    expect(distiller.revision >= 1, f"{name}.revision must be an integer from 1")
    families = get_args(get_type_hints(Distiller)["family"].__args__[0])
    expect(distiller.family in families, f"{name}.family is {distiller.family!r}, not one of {', '.join(families)}")
    for field, info in distiller.Config.model_fields.items():
        expect(bool(info.description), f"{name}.Config.{field} needs a description")
        expect(not info.is_required(), f"{name}.Config.{field} needs a default")
    expect(isinstance(_instance(distiller, config).needs, Needs), f"{name}.needs must be a Needs")
    if distiller.preset is not None:
        for values in _preset_values(distiller):
            distiller.Config(**values)


def check_config_refuses(distiller: type[Distiller], config: Config = None) -> None:
    """Unknown constants, values outside the declared range, NaN and later changes are refused."""
    name = distiller.__name__
    _refused(distiller.Config, {"no_such_constant": 1.0}, f"{name}.Config takes an unknown constant")
    for field, schema in distiller.Config.model_json_schema()["properties"].items():
        for value in _outside(f"{name}.Config.{field}", schema):
            _refused(distiller.Config, {field: value}, f"{name}.Config takes {field}={value!r}")
        instance = distiller.Config()
        try:
            setattr(instance, field, getattr(instance, field))
        except ValidationError:
            continue
        raise AssertionError(f"{name}.Config must be frozen: {field} can be set")


def check_terms(distiller: type[Distiller], config: Config = None) -> None:
    """`losses` and `weights` have the same terms in every epoch; losses are finite scalars, weights finite floats."""
    bench = Bench.make(distiller, config)
    bench = replace(bench, batch=replace(bench.batch, active=frozenset()))  # all, those that no weight names too
    terms = bench.losses(*bench.outputs())
    for epoch in (1, 2, LATE):
        weights = bench.distiller.weights(epoch)
        expect(terms.keys() == weights.keys(), f"terms {sorted(terms)} but weights {sorted(weights)}, epoch {epoch}")
        for term, weight in weights.items():
            expect(isinstance(weight, float) and math.isfinite(weight), f"weight of {term} is {weight!r}")
    for term, value in terms.items():
        expect(value.shape == (), f"{term} must be a scalar, has shape {tuple(value.shape)}")
        expect_finite(value, f"{term} is {value}")
        expect(value.dtype == torch.float64, f"{term} is {value.dtype} where the networks compute in float64")


def check_inactive(distiller: type[Distiller], config: Config = None) -> None:
    """A term that is not active changes no other one, and the student learns as with 0 times it."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    whole = bench.losses(student, teacher)
    learners = [*bench.student.parameters(), *(each for each in bench.adapters.parameters() if each.requires_grad)]
    for term in whole if len(whole) > 1 else ():
        quiet = replace(bench, batch=replace(bench.batch, active=frozenset(whole) - {term}))
        values = quiet.losses(student, teacher)
        expect(whole.keys() - {term} <= values.keys(), f"without {term}, {sorted(whole.keys() - values.keys())} lack")
        for other in whole.keys() - {term}:
            expect(torch.equal(values[other], whole[other]), f"{other} differs where {term} is not active")
        zeroed, left = (
            torch.stack([(0 if name == term else 1) * value for name, value in each.items()]).sum()
            for each in (whole, {name: value for name, value in values.items() if name != term})
        )
        gradients = [
            torch.autograd.grad(loss, learners, retain_graph=True, allow_unused=True, materialize_grads=True)
            for loss in (zeroed, left)
            if loss.requires_grad
        ]
        for one, other_gradient in zip(gradients[0], gradients[-1], strict=True):
            same = torch.allclose(one, other_gradient, rtol=1e-12, atol=1e-14)
            expect(same, f"the student learns otherwise where {term} is not active than with 0 times it")
    for term in whole if len(whole) > 1 else ():
        quiet = replace(bench, batch=replace(bench.batch, active=frozenset(whole) - {term}))
        quiet.losses(student, teacher)
        quiet.distiller.after_step(student.detach(), teacher, quiet.batch)


def check_teacher_untouched(distiller: type[Distiller], config: Config = None) -> None:
    """No weight or running statistic of the teacher moves, no gradient reaches it, no output is changed in place."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    before = {key: value.clone() for key, value in bench.teacher.state_dict().items()}
    kept = [tensor.clone() for tensor in (*_tensors(student), *_tensors(teacher))]
    terms = bench.losses(student, teacher)
    torch.autograd.backward(bench.total(terms, LATE))
    bench.distiller.after_step(student.detach(), teacher, bench.batch)
    for key, value in bench.teacher.state_dict().items():
        expect(torch.equal(value, before[key]), f"the teacher's {key} was changed")
    for parameter in bench.teacher.parameters():
        expect(parameter.grad is None, "a gradient reached the teacher")
    for tensor, copy in zip((*_tensors(student), *_tensors(teacher)), kept, strict=True):
        expect(torch.equal(tensor, copy), "an output was changed in place")


def check_random(distiller: type[Distiller], config: Config = None) -> None:
    """Global generators are left alone; the step's generator is drawn from only where `needs.random`; twice is once."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    state = torch.get_rng_state()
    first = bench.losses(student, teacher)
    bench.distiller.predict(student, teacher)
    expect(torch.equal(torch.get_rng_state(), state), "the global generator was used: draw from batch.generator")
    untouched = torch.Generator().manual_seed(3).get_state()
    drew = not torch.equal(bench.batch.generator.get_state(), untouched)
    expect(not drew or bench.distiller.needs.random, "draws from batch.generator, but `needs.random` is False")
    again = bench.losses(student, teacher)
    for term, value in first.items():
        expect(torch.equal(value, again[term]), f"{term} differs when asked again: {value} and {again[term]}")


def check_finite(distiller: type[Distiller], config: Config = None) -> None:
    """Losses and gradients are finite at logits x 1e4, constant rows, one image, in bfloat16 and under its autocast."""
    for case, rows, dtype, scale in (
        ("logits x 1e4", 8, torch.float32, 1e4),
        ("logits x 1e4", 8, torch.float64, 1e4),
        ("constant rows", 8, torch.float32, 0.0),
        ("one image", 1, torch.float32, 1.0),
        ("bfloat16", 8, torch.bfloat16, 1.0),
        ("autocast to bfloat16", 8, torch.float32, 1.0),
        ("bfloat16 logits x 1e4", 8, torch.bfloat16, 1e4),
    ):
        bench = Bench.make(
            distiller, config, rows=rows, dtype=torch.float64 if dtype == torch.float64 else torch.float32
        )
        student, teacher = (_cast(outputs, dtype) for outputs in bench.outputs())
        logits = (student.logits.detach() * scale).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=case.startswith("autocast")):
            terms = bench.losses(with_logits(student, logits), with_logits(teacher, teacher.logits * scale))
        for term, value in terms.items():
            expect_finite(value, f"{term} is {value} with {case}")
        total = bench.total(terms, LATE)
        if total.requires_grad:
            torch.autograd.backward(total)
        expect_finite(logits.grad, f"the gradient of the student's logits is not finite with {case}")
        for key, parameter in (*bench.student.named_parameters(), *bench.adapters.named_parameters()):
            expect_finite(parameter.grad, f"the gradient of {key} is not finite with {case}")


def check_gradients(distiller: type[Distiller], config: Config = None) -> None:
    """Every term that has a weight teaches the student or an adapter; every trainable adapter learns, if in a phase."""
    bench = Bench.make(distiller, config)
    learners = {f"student.{key}": parameter for key, parameter in bench.student.named_parameters()}
    trained = {f"adapter.{key}": value for key, value in bench.adapters.named_parameters() if value.requires_grad}
    learners |= trained
    reached: set[str] = set()
    for term in [term for term, weight in bench.distiller.weights(LATE).items() if weight]:
        value = bench.losses(*bench.outputs())[term]
        expect(value.requires_grad, f"{term} has no gradient")
        gradients = torch.autograd.grad(value, list(learners.values()), allow_unused=True)
        moved = {key for key, found in zip(learners, gradients, strict=True) if found is not None and bool(found.any())}
        expect(bool(moved), f"{term} reaches neither the student nor an adapter")
        reached |= moved
    expect(bool(reached - trained.keys()), "nothing reaches the student")
    for phase in bench.distiller.phases():
        value = torch.stack(list(phase.losses(*bench.outputs(), bench.batch).values())).sum()
        held = {id(parameter) for module in phase.trainable for parameter in module.parameters()}
        learning = {key: parameter for key, parameter in trained.items() if id(parameter) in held}
        gradients = torch.autograd.grad(value, list(learning.values()), allow_unused=True) if learning else ()
        reached |= {key for key, found in zip(learning, gradients, strict=True) if found is not None and found.any()}
    lost = sorted(trained.keys() - reached)
    expect(not lost, f"no term reaches {', '.join(lost)}")


def check_state(distiller: type[Distiller], config: Config = None) -> None:
    """All that a resume needs is in the adapters' state_dict: a rebuilt distiller that loads it goes on the same."""
    first = Bench.make(distiller, config, adapter_seed=1)
    student, teacher = first.outputs()
    for _ in range(2):
        first.losses(student, teacher)
        first.distiller.after_step(student.detach(), teacher, first.batch)
    second = Bench.make(distiller, config, adapter_seed=2)
    second.adapters.load_state_dict(first.adapters.state_dict())
    expected, resumed = first.losses(student, teacher), second.losses(student, teacher)
    for term, value in expected.items():
        expect(torch.equal(value, resumed[term]), f"{term} is {resumed[term]} after a resume, was {value}")


def check_views(distiller: type[Distiller], config: Config = None) -> None:
    """Where `needs` asks for two views, the student's logits for the second one move a term."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    if student.second is None:
        return
    other = replace(student, second=replace(student.second, logits=2 * student.second.logits.flip(1)))
    terms, moved = bench.losses(student, teacher), bench.losses(other, teacher)
    expect(
        any(not torch.equal(value, moved[term]) for term, value in terms.items()),
        "`needs.views` is 2, which costs a second forward, but no term depends on the second view's logits",
    )


def check_batch_order(distiller: type[Distiller], config: Config = None) -> None:
    """The order of the images in a batch moves no term, unless `order_matters` says why it does."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    order = torch.tensor([3, 0, 6, 1, 7, 4, 2, 5])
    terms = bench.losses(student, teacher)
    shuffled = bench.permuted(order).losses(rows_of(student, order), rows_of(teacher, order))
    moved = [term for term, value in terms.items() if not torch.allclose(value, shuffled[term], rtol=1e-9, atol=1e-12)]
    if distiller.order_matters:
        expect(bool(moved), "`order_matters`, but no term depends on the order of the batch")
    else:
        expect(not moved, f"{', '.join(moved)} depends on the order of the batch: `order_matters` may say why")


def check_predict(distiller: type[Distiller], config: Config = None) -> None:
    """`predict` gives one finite row of logits per image."""
    bench = Bench.make(distiller, config)
    logits = bench.distiller.predict(*bench.outputs())
    expect(logits.shape == (len(bench.batch.labels), NUM_CLASSES), f"predict gives shape {tuple(logits.shape)}")
    expect_finite(logits, "predict gives values that are not finite")


def check_phases(distiller: type[Distiller], config: Config = None) -> None:
    """Every phase has a name of its own, epochs, a rate, and a finite loss that reaches what it trains."""
    bench = Bench.make(distiller, config)
    phases = bench.distiller.phases()
    expect(len({phase.name for phase in phases}) == len(phases), "two phases have one name")
    for phase in phases:
        expect(phase.epochs >= 1 and phase.lr > 0, f"phase {phase.name}: epochs {phase.epochs}, lr {phase.lr}")
        parameters = [parameter for module in phase.trainable for parameter in module.parameters()]
        total = torch.stack(list(phase.losses(*bench.outputs(), bench.batch).values())).sum()
        expect_finite(total, f"the loss of phase {phase.name} is {total}")
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        expect(any(g is not None and bool(g.any()) for g in gradients), f"phase {phase.name} trains nothing")


def check_zero_at_equal(distiller: type[Distiller], config: Config = None, terms: Collection[str] = ()) -> None:
    """The named terms are 0 and have no gradient where the student's logits are the teacher's, one for both views."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    teacher = with_logits(teacher, teacher.logits)
    logits = teacher.logits.clone().requires_grad_()
    values = bench.losses(with_logits(student, logits), teacher)
    for term in terms:
        gradient = torch.autograd.grad(values[term], logits, retain_graph=True)[0]
        expect(float(values[term].detach().abs()) < 1e-12, f"{term} is {values[term]} at the teacher's own outputs")
        expect(float(gradient.abs().max()) < 1e-10, f"{term} is not minimal at the teacher's own outputs")
        # flipped for those that do not see a scale, doubled for those that do not see the order of the classes
        far = bench.losses(with_logits(student, 2 * teacher.logits.flip(1)), teacher)[term]
        expect(float(far.detach()) > 1e-6, f"{term} does not grow away from the teacher's outputs")


def check_temperature(distiller: type[Distiller], config: Config = None, terms: Collection[str] = ()) -> None:
    """The named terms have a T²: their gradients have a limit at high temperature (Hinton et al. 2015, section 2.1)."""
    high, higher = (
        _logit_gradients(distiller, (config or distiller.Config()).model_copy(update={"temperature": value}), terms)
        for value in (400.0, 800.0)
    )
    for term, gradient in high.items():
        expect(float(gradient.abs().max()) > 1e-6, f"{term} has no gradient at high temperature")
        expect(
            torch.allclose(gradient, higher[term], rtol=0.05, atol=0.05 * float(gradient.abs().max())),
            f"the gradient of {term} has no limit at high temperature: a squared temperature is missing",
        )


DISTILLER_CHECKS: tuple[Callable[[type[Distiller], Config], None], ...] = (
    check_declaration,
    check_config_refuses,
    check_terms,
    check_teacher_untouched,
    check_random,
    check_finite,
    check_gradients,
    check_state,
    check_views,
    check_batch_order,
    check_predict,
    check_phases,
    check_inactive,
)


def _logit_gradients(distiller: type[Distiller], config: DistillerConfig, terms: Collection[str]) -> dict[str, Tensor]:
    """Of each term, by the student's logits."""
    bench = Bench.make(distiller, config)
    student, teacher = bench.outputs()
    logits = student.logits.detach().requires_grad_()
    values = bench.losses(with_logits(student, logits), teacher)
    return {term: torch.autograd.grad(values[term], logits, retain_graph=True)[0] for term in terms}


def _instance(distiller: type[Distiller], config: Config) -> Distiller:
    return distiller(config if config is not None else distiller.Config())


def _preset_values(distiller: type[Distiller]) -> Iterator[dict[str, Any]]:
    """The constants that the class's preset gives, for the method as a whole and for every dataset and pair."""
    preset = load_preset(distiller.preset or "")
    for method in [name for name in DISTILLERS if DISTILLERS.get(name) is distiller]:
        expect(method in preset.methods, f"preset {preset.name} has no constants for {method}")
        for dataset, scope in (("", None), *preset.methods[method].datasets.items()):
            for pair in ("", *(scope.pairs if scope else ())):
                values: dict[str, Any] = {}
                for _, level in preset.constants(method, dataset, pair):
                    values |= level
                yield values


def _refused(record: type[BaseModel], values: dict[str, Any], message: str) -> None:
    try:
        record(**values)
    except (ValidationError, KdHarnessError):
        return
    raise AssertionError(message)


def _outside(field: str, schema: dict[str, Any]) -> Iterator[Any]:
    """Values that the field's JSON Schema forbids. Raises AssertionError for a number without bounds."""
    for kind in schema.get("anyOf", [schema]):
        if kind.get("type") in ("number", "integer"):
            low, high = (
                kind.get("minimum", kind.get("exclusiveMinimum")),
                kind.get("maximum", kind.get("exclusiveMaximum")),
            )
            expect(
                low is not None and high is not None, f"{field} needs a range with both ends (Field(ge=..., le=...))"
            )
            yield from (low - 1, high + 1, math.nan, math.inf)
            if "exclusiveMinimum" in kind:
                yield low
        elif "enum" in kind or "pattern" in kind:
            yield "no such value!"


def _tensors(outputs: Outputs) -> list[Tensor]:
    """All that it holds, the second view's too."""
    found: list[Tensor] = []
    outputs.each(lambda value: found.append(value) or value)  # type: ignore[func-returns-value]
    return found


def _cast(outputs: Outputs, dtype: torch.dtype) -> Outputs:
    return outputs.each(lambda value: value.to(dtype))
