"""The laws that every network of the zoo keeps: `check_model(MY_ENTRY)` in one test of your own package."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdharness.core.types import Model, ModelEntry, Outputs
from kdharness.testing.expect import expect

NUM_CLASSES = 10
Shape = tuple[int, int, int]


def check_model(entry: ModelEntry, image_shapes: tuple[Shape, ...] = ()) -> None:
    """Every check of this module on networks built for `image_shapes`. Raises AssertionError with what is broken.

    The shapes checked are by default (3, 8, 8) and (3, 32, 32), or those of the network's smallest images and of images
    four times as large. Every check of one shape takes the first.
    """
    for shape in image_shapes or (smallest_shape(entry), larger_shape(entry)):
        check_shapes(entry, shape)
    for check in MODEL_CHECKS:
        check(entry, image_shapes[0] if image_shapes else None)


def smallest_shape(entry: ModelEntry) -> Shape:
    return (3, entry.smallest, entry.smallest)


def larger_shape(entry: ModelEntry) -> Shape:
    return (3, 4 * entry.smallest, 4 * entry.smallest)


def check_shapes(entry: ModelEntry, image_shape: Shape | None = None) -> None:
    """`shapes` are those of the real outputs: every stage by name, `pooled` and `logits`, and no others."""
    model, images = _made(entry, image_shape)
    outputs = _run(model.eval(), images)
    found = {name: tuple(features.shape[1:]) for name, features in outputs.stages.items()}
    found |= {"pooled": tuple(outputs.pooled.shape[1:]), "logits": tuple(outputs.logits.shape[1:])}
    declared = {name: tuple(shape) for name, shape in model.shapes.items()}
    expect(found == declared, f"{entry.name} declares {declared} but returns {found}")
    expect(
        declared["logits"] == (NUM_CLASSES,), f"{entry.name} has {declared['logits']} logits for {NUM_CLASSES} classes"
    )
    expect("stage1" in declared, f"{entry.name} names no stage1: layers are stem, stage1..N and their .preact, .tokens")
    for name, shape in declared.items():
        stage, _, kind = name.partition(".")
        if kind == "tokens":
            wide, height, width = declared.get(stage, (0, 0, 0))
            fits = len(shape) == 2 and shape[0] >= height * width and shape[1] == wide
            expect(fits, f"{entry.name}: {name} {shape} cannot hold the map {stage} {declared.get(stage)}")
            tokens, patches = outputs.stages[name], outputs.stages[stage].flatten(2).transpose(1, 2)
            expect(_near(tokens[:, -height * width :], patches), f"{entry.name}: {stage} is not the end of {name}")


def check_tails(entry: ModelEntry, image_shape: Shape | None = None) -> None:
    """`forward_from(stage, outputs of the stage)` gives the network's own later stages and logits, in both modes.

    What the network does not pass on may raise KeyError: a `.preact` off its path, a map beside its `.tokens` (which
    the error names), and beside `distill_logits` that layer and `pooled`. Every other layer must be accepted.
    In train mode a network that draws at random is not compared: a tail has other draws.
    """
    for training in (False, True):
        model, images = _made(entry, image_shape)
        model.train(training)
        draws, whole = _drawn(model, images)
        for stage in (*whole.stages, "pooled"):
            features = whole.pooled if stage == "pooled" else whole.stages[stage]
            try:
                with torch.no_grad():
                    tail = model.forward_from(stage, features)
            except KeyError as error:
                expect(_off_path(stage, whole, str(error)), f"{entry.name} cannot continue from {stage}: {error}")
                continue
            where = f"{entry.name} from {stage}, {'train' if training else 'eval'} mode"
            for name, later in {**tail.stages, "pooled": tail.pooled, "logits": tail.logits}.items():
                own = {**whole.stages, "pooled": whole.pooled, "logits": whole.logits}[name]
                same = later.shape == own.shape if draws else _near(later, own)
                expect(same, f"{where}: {name} differs from the whole network's")
            place = list(whole.stages).index(stage) if stage != "pooled" else len(whole.stages)
            later_names = [
                name for name in list(whole.stages)[place + 1 :] if name.split(".")[0] != stage.split(".")[0]
            ]
            expect(set(later_names) <= set(tail.stages), f"{where}: lacks {set(later_names) - set(tail.stages)}")
    try:
        model.forward_from("no such layer", features)
    except KeyError:
        return
    raise AssertionError(f"{entry.name} continues from a layer it lacks: forward_from must raise KeyError")


def _off_path(stage: str, whole: Outputs, error: str) -> bool:
    """Whether the network may refuse to continue from `stage` with this error."""
    if f"{stage}.tokens" in whole.stages:
        return f"{stage}.tokens" in error
    return stage.endswith(".preact") or ("distill_logits" in whole.stages and stage in ("pooled", "distill_logits"))


def check_statistics(entry: ModelEntry, image_shape: Shape | None = None) -> None:
    """A tail moves running statistics only with `update_statistics`, only its own, and leaves the mode as it was."""
    model, images = _made(entry, image_shape)
    model.train()
    stage, features = _passed_on(_run(model, images), "stage1")
    before = _buffers(model)
    with torch.no_grad():
        model.forward_from(stage, features + 1)
    expect(_same(before, _buffers(model)), f"{entry.name}: a tail moved running statistics without being asked")
    with torch.no_grad():
        model.forward_from(stage, features + 1, update_statistics=True)
    after = _buffers(model)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    expect(bool(moved) or not before, f"{entry.name}: update_statistics moved nothing")
    own = [
        id(module) for part in ("stem", "stage1") for layer in model.layers.get(part, ()) for module in layer.modules()
    ]
    fixed = [name for name, module in model.named_modules() if id(module) in own and isinstance(module, _BatchNorm)]
    wrong = [key for key in moved if key.rsplit(".", 1)[0] in fixed]
    expect(not wrong, f"{entry.name}: a tail from stage1 moved {wrong}")
    again = _run(model, images)
    stopped = bool(after) and _same(after, _buffers(model))
    expect(not stopped, f"{entry.name}: the network stopped tracking statistics after a tail")
    expect(again.logits.shape == (len(images), NUM_CLASSES), f"{entry.name}: logits have shape {again.logits.shape}")


def check_gradients_through_tails(entry: ModelEntry, image_shape: Shape | None = None) -> None:
    """Gradients flow through a frozen network's tail to the features, and its parameters get none."""
    model, images = _made(entry, image_shape)
    model.eval().requires_grad_(False)
    stage, features = _passed_on(_run(model, images), "stage2")
    features.requires_grad_()
    gradient = torch.autograd.grad(model.forward_from(stage, features).logits.sum(), features)[0]
    expect(bool(gradient.any()), f"{entry.name}: no gradient flows through forward_from")


def check_members(entry: ModelEntry, image_shape: Shape | None = None) -> None:
    """`classifier`, `batch_norms` and `layers` are the network's own modules, and `layers` hold every parameter.

    `classifier(pooled)` is `logits`; in eval mode of a network with `distill_logits`, `logits` are the mean of the two.
    """
    model, images = _made(entry, image_shape)
    own = set(model.modules())
    expect(model.classifier in own, f"{entry.name}: classifier is not one of its modules")
    for training in (True, False):
        outputs = _run(model.train(training), images)
        logits = model.classifier(outputs.pooled)
        if "distill_logits" in outputs.stages and not training:
            logits = (logits + outputs.stages["distill_logits"]) / 2
        where = f"{entry.name}, {'train' if training else 'eval'} mode"
        expect(_near(logits, outputs.logits), f"{where}: classifier(pooled) is not logits")
    for stage, norm in model.batch_norms.items():
        expect(norm in own and isinstance(norm, nn.BatchNorm2d), f"{entry.name}: batch_norms[{stage}] is not its own")
        channels = model.shapes[stage][0]
        expect(norm.num_features == channels, f"{entry.name}: batch_norms[{stage}] has {norm.num_features} channels")
    named = [module for modules in model.layers.values() for module in modules]
    parameters = {id(parameter) for parameter in model.parameters()}
    for module in named:
        loose = isinstance(module, nn.ParameterList) and all(id(value) in parameters for value in module.parameters())
        expect(module in own or loose, f"{entry.name}: layers names a module that is not its own")
    held = {id(parameter) for module in named for parameter in module.parameters()}
    lost = [key for key, parameter in model.named_parameters() if id(parameter) not in held]
    expect(not lost, f"{entry.name}: no layer holds {', '.join(lost)}")
    stages = {name for name in model.shapes if "." not in name} - {"pooled", "logits"}
    expect(stages | {"classifier"} <= set(model.layers), f"{entry.name}: layers lacks some of {sorted(stages)}")


def check_reproducible(entry: ModelEntry, image_shape: Shape | None = None) -> None:
    """One seed gives one network; its weights survive a state_dict round trip; its forward draws nothing in eval mode.

    In train mode it may draw, from torch's global generator: one seed gives one result.
    """
    first, images = _made(entry, image_shape)
    second, _ = _made(entry, image_shape)
    expect(_same(first.state_dict(), second.state_dict()), f"{entry.name}: one seed built two different networks")
    draws, outputs = _drawn(first.eval(), images)
    expect(not draws, f"{entry.name}: the forward pass draws from the global generator in eval mode")
    expect(torch.equal(outputs.logits, _run(first, images).logits), f"{entry.name}: eval mode gives two results")
    again, outputs = (_drawn(network.train(), images)[1] for network in (second, first))
    expect(torch.equal(again.logits, outputs.logits), f"{entry.name}: one seed gives two results in train mode")
    expect(bool(torch.isfinite(outputs.logits).all()), f"{entry.name}: logits are not finite")
    third, _ = _made(entry, image_shape, seed=2)
    expect(not _same(first.state_dict(), third.state_dict()), f"{entry.name}: the seed does not reach the weights")
    third.load_state_dict(first.state_dict())
    same = torch.equal(_run(third.eval(), images).logits, _run(first.eval(), images).logits)
    expect(same, f"{entry.name}: a loaded state_dict gives other logits")


MODEL_CHECKS: tuple[Callable[[ModelEntry, Shape | None], None], ...] = (
    check_tails,
    check_statistics,
    check_gradients_through_tails,
    check_members,
    check_reproducible,
)


def _made(entry: ModelEntry, image_shape: Shape | None, seed: int = 1) -> tuple[Model, Tensor]:
    """A float64 network and two images of noise; weights that start at zero get noise, not to hide what feeds them."""
    image_shape = image_shape or smallest_shape(entry)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = entry.build(NUM_CLASSES, image_shape).double()
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(generator=noise)
    return model, torch.randn((2, *image_shape), generator=noise, dtype=torch.float64)


def _drawn(model: Model, images: Tensor) -> tuple[bool, Outputs]:
    """Whether the forward pass draws from the global generator, seeded for it, and what it returns."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = torch.get_rng_state()
        outputs = _run(model, images)
        return not torch.equal(torch.get_rng_state(), state), outputs


def _passed_on(outputs: Outputs, stage: str) -> tuple[str, Tensor]:
    """The layer to continue from after `stage`: its tokens, where it has some."""
    name = f"{stage}.tokens" if f"{stage}.tokens" in outputs.stages else stage
    return name, outputs.stages[name]


def _run(model: Model, images: Tensor) -> Outputs:
    with torch.no_grad():
        outputs: Outputs = model(images)
    return outputs


def _buffers(model: Model) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.named_buffers()}


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def _near(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, rtol=1e-9, atol=1e-9)
