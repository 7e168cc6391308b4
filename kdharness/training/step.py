"""One run's networks, adapters and optimizer, and the step they take: the same code for a cohort and for a proof.

Nothing here knows where batches come from: a cohort draws them, the golden trajectories bring their own.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kdharness.core.records import Recipe
from kdharness.core.streams import seeded, stream_seed
from kdharness.core.types import Batch, BuildContext, Distiller, Model, Outputs
from kdharness.training import norms
from kdharness.training.adamw import AdamW
from kdharness.training.frozen import frozen_forward
from kdharness.training.inputs import Inputs, dtype_of, forward, of_next_image, set_products, shrunk
from kdharness.training.optimizers import optimizer, reads_tensors
from kdharness.training.reach import leave_zeros, reached, unmoved
from kdharness.training.sgd import SGD
from kdharness.training.stepped import Stepped
from kdharness.training.view import View


class TrainingRun:
    """What is trained in one run, at any moment of it.

    `student` is trained. `teacher` is what the distiller's needs name: None; a trained network, which stays frozen
    and may be shared (a copy is made where it must run in train mode); or for a peer a second fresh student.
    """

    def __init__(
        self,
        student: Model,
        teacher: Model | None,
        distiller: Distiller,
        recipe: Recipe,
        context: BuildContext,
        *,
        seed: int = 0,
        device: torch.device | None = None,
        shuffled_teacher: bool = False,
        grad_matched: bool = False,
    ) -> None:
        """Build the adapters and begin the first epoch.

        With `shuffled_teacher` the teacher answers for the next image of the batch; with `grad_matched` an epoch's
        weights are divided by their sum, so that methods with large weights do not take larger steps.

        Raises IncompatiblePair, and ValueError for needs that contradict each other or the teacher given.
        """
        self.distiller, self.recipe, self.seed = distiller, recipe, seed
        self.shuffled_teacher, self.grad_matched = shuffled_teacher, grad_matched
        self.needs = needs = distiller.needs
        self.device = device or torch.device("cpu")
        self.dtype = dtype_of(recipe.precision)
        if needs.peer != (needs.teacher == "architecture"):
            raise ValueError(f"needs contradict each other: peer={needs.peer}, teacher={needs.teacher!r}")
        if (teacher is None) != (needs.teacher == "none"):
            raise ValueError(f"needs.teacher is {needs.teacher!r}, but the teacher given is {type(teacher).__name__}")

        self.student = student.to(self.device, self.dtype)
        self.peer = teacher.to(self.device, self.dtype) if teacher is not None and needs.peer else None
        self.teacher = None if needs.peer else teacher
        self.own_teacher = self.teacher is not None and needs.teacher_mode == "train"
        if self.teacher is not None:
            self.teacher = deepcopy(self.teacher) if self.own_teacher else self.teacher
            self.teacher.to(self.device, self.dtype).eval().requires_grad_(False)
        self._partner = self.peer if self.peer is not None else self.teacher
        with seeded("adapters", seed):
            views = View(student, needs.tails), View(self._partner or student, needs.tails)
            self.adapters = distiller.build(*views, context).to(self.device, self.dtype)
        self.needs = distiller.needs  # a method that takes all stages knows their names only now
        # A student is a teacher too: of its peer, or where there is none in its own place.
        taught = () if self.teacher is not None else self.needs.teacher_stages
        self._stages = (*self.needs.stages, *taught)
        self.phases = [phase for phase in distiller.phases() if phase.epochs]

        self._learners = nn.ModuleList([self.student, self.adapters, *([self.peer] if self.peer is not None else [])])
        self._trainable = {
            name: parameter for name, parameter in self._learners.named_parameters() if parameter.requires_grad
        }
        self._judged_by_itself = type(distiller).predict is Distiller.predict
        self._generator = torch.default_generator
        if self.device.type == "cuda":
            self._generator = torch.cuda.default_generators[self.device.index or 0]
        # What changes between steps lies on the device, so that a recorded step reads what is true when it is replayed.
        self._epoch, self._step = (torch.zeros((), dtype=torch.int64, device=self.device) for _ in range(2))
        self._scales: dict[str, Tensor] = {}
        self._rate = torch.zeros((), device=self.device) if reads_tensors(self.device) else None
        self._idle: list[nn.Parameter] | None = None
        self.active: frozenset[str] = frozenset()
        self._entered: int | None = None
        self.begin(0, 1)

    def begin(self, phase: int, epoch: int) -> None:
        """Enter `epoch` (from 1) of the phase of that number; number `len(phases)` is the main training.

        A phase starts with a fresh optimizer over what it trains; everything else stands still.
        """
        self.phase = self.phases[phase] if phase < len(self.phases) else None
        self.epoch = epoch
        self.lr = self.phase.lr if self.phase is not None else self.recipe.lr_at(epoch)
        self.weights = dict(self.distiller.weights(epoch)) if self.phase is None else {}
        if self.grad_matched and (whole := sum(self.weights.values())):
            self.weights = {term: weight / whole for term, weight in self.weights.items()}
        active = frozenset(term for term, weight in self.weights.items() if weight)
        if self._entered != phase or active != self.active:
            self._idle = None
        self.active = active
        for term, weight in self.weights.items():
            self._scales.setdefault(term, torch.zeros((), dtype=self.dtype, device=self.device)).fill_(weight)
        self._epoch.fill_(epoch)
        if self._rate is not None:
            self._rate.fill_(self.lr)
        # Phases draw before epoch 1, so that the main training sees the same batches with them and without.
        self.draw_epoch = epoch - sum(each.epochs for each in self.phases[phase:])
        if phase != self._entered:
            self._entered = phase
            self.optimizer = self._fresh_optimizer()
        self.train_mode()

    def step(self, inputs: Inputs, shared: Outputs | None, position: int, step: int) -> Stepped:
        """Train on one batch.

        `shared` are the outputs of a frozen teacher if somebody has them already. `position` counts this epoch's
        steps and `step` this phase's, both from 0.
        """
        self.prepare(inputs, shared, position, step)
        return self.work(inputs, shared, first=position == 0)

    def prepare(self, inputs: Inputs, shared: Outputs | None, position: int, step: int) -> None:
        """What a step needs of the host before its `work`."""
        set_products(self.recipe.precision, self.device)
        if self._idle is None:
            self._idle = self._out_of_work(inputs, shared)
        self.seed_generators(self.step_seed(position))
        self._step.fill_(step)

    def step_seed(self, position: int) -> int:
        """Of the generators, in the step at that position of the epoch."""
        return stream_seed("step", self.seed, self.draw_epoch, position)

    def work(self, inputs: Inputs, shared: Outputs | None, *, first: bool) -> Stepped:
        """The step itself, all of it on the device; `first` in its epoch."""
        self.optimizer.zero_grad()
        student, partner = self._outputs(inputs, shared)
        learner, other = student.only(self.needs.stages), self._taught(partner.detach())
        batch = self._batch(inputs, self.active)
        terms = self._terms(learner, other, batch)
        loss = self._total(terms)
        recorded = "gradients" in self.recipe.record and self.phase is None
        gradients = self._gradients(terms) if recorded and first else {}
        losses = [loss]
        if self.peer is not None and self.phase is None:
            losses.append(self._total(self._exchanged_terms(student, partner, batch)))
        losses = [each for each in losses if each.requires_grad]
        if losses:
            torch.autograd.backward(losses)
        leave_zeros(self._idle or ())
        gradient = norms.norm((each.grad for each in self.student.parameters()), loss.detach()) if recorded else None
        self.optimizer.step(self.lr if self._rate is None else self._rate)

        with torch.no_grad():
            if self.phase is None:
                self.distiller.after_step(learner, other, batch)
            correct = (student.logits.argmax(1) == inputs.labels).sum()
        detached = {term: value.detach() for term, value in terms.items()}
        return Stepped(detached, loss.detach(), correct, gradient, gradients)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """(B, K): the logits by which the student is judged. Between `eval_mode` and `train_mode`."""
        set_products(self.recipe.precision, self.device)
        if self._judged_by_itself:
            return forward(self.student, images, self.recipe.precision, ()).logits
        student = forward(self.student, images, self.recipe.precision)
        theirs = shrunk(images, self.recipe.teacher_image_size)
        other = frozen_forward(self._partner, theirs, self.recipe.precision) if self._partner is not None else student
        return self.distiller.predict(student.only(self.needs.stages), self._taught(other))

    def train_mode(self) -> None:
        """Put every network into the mode that a step wants."""
        self._learners.train()
        if self.own_teacher and self.teacher is not None:
            self.teacher.train()
        if self.phase is None:
            return
        if self.peer is not None:
            self.peer.eval()
        if self.phase.batch_norm == "eval":
            for module in self.student.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def eval_mode(self) -> None:
        """Put every network and adapter into eval mode."""
        self._learners.eval()
        if self.teacher is not None:
            self.teacher.eval()

    def tensors(self) -> list[Tensor]:
        """All that a step changes, the tensors themselves."""
        moved = (*self._learners.parameters(), *self._buffers(), *self.optimizer.tensors)
        return [each.detach() for each in moved]

    def state(self) -> dict[str, Any]:
        """Copies of everything that a step changes: of a teacher in train mode the batch statistics."""
        statistics = dict(self.teacher.named_buffers()) if self.own_teacher and self.teacher is not None else None
        return {
            "student": _copy(self.student.state_dict()),
            "adapters": _copy(self.adapters.state_dict()),
            "peer": _copy(self.peer.state_dict()) if self.peer is not None else None,
            "teacher": _copy(statistics),
            "optimizer": _copy(self.optimizer.state_dict()),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, in the phase in which it was made (`begin` it first)."""
        self.student.load_state_dict(state["student"])
        self.adapters.load_state_dict(state["adapters"])
        if self.peer is not None:
            self.peer.load_state_dict(state["peer"])
        if self.own_teacher and self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"], strict=False)  # its weights it has
        self.optimizer.load_state_dict(_copy(state["optimizer"]))

    def _outputs(self, inputs: Inputs, shared: Outputs | None) -> tuple[Outputs, Outputs]:
        """The student's, and those of its peer, of its teacher, or where there is none its own again."""
        student = inputs.through(lambda images: forward(self.student, images, self.recipe.precision, self._stages))
        if self._partner is None:
            return student, student
        if self.peer is not None:
            return student, inputs.through(self._partner_forward)
        teacher = shared if shared is not None else inputs.through(self._partner_forward)
        return student, of_next_image(teacher) if self.shuffled_teacher else teacher

    def _batch(self, inputs: Inputs, active: frozenset[str]) -> Batch:
        return Batch(
            images=inputs.images,
            labels=inputs.labels,
            index=inputs.index,
            epoch=self._epoch,
            step=self._step,
            generator=self._generator,
            second_view=inputs.second_view,
            active=active,
        )

    def _terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The batch's active terms. Raises ValueError for one without a weight."""
        if self.phase is not None:
            return self.phase.losses(student, teacher, batch)
        terms = self.distiller.losses(student, teacher, batch)
        unknown = terms.keys() - self.weights.keys()
        if unknown:
            raise ValueError(f"losses gives terms that weights does not name: {', '.join(sorted(unknown))}")
        return {term: value for term, value in terms.items() if term in batch.active}

    def _exchanged_terms(self, student: Outputs, peer: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """The peer's, for which the student is the teacher."""
        return self._terms(peer.only(self.needs.stages), self._taught(student.detach()), batch)

    def _total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum; a phase's terms come weighted."""
        if self.phase is not None:
            return torch.stack(list(terms.values())).sum()
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for term, value in terms.items():
            total = total + self._scales[term] * value
        return total

    def _out_of_work(self, inputs: Inputs, shared: Outputs | None) -> list[nn.Parameter]:
        """The parameters that terms of weight 0 reach: the gradient that those would leave is 0, not absent."""
        inactive = self.weights.keys() - self.active
        if not inactive:
            return []
        self.seed_generators(stream_seed("reach", self.seed))
        with unmoved(self._buffers()):  # all terms are computed once
            batch = self._batch(inputs, frozenset(self.weights))
            student, partner = self._outputs(inputs, shared)
            terms = [self._terms(student.only(self.needs.stages), self._taught(partner.detach()), batch)]
            if self.peer is not None:
                terms.append(self._exchanged_terms(student, partner, batch))
        values = [value for each in terms for term, value in each.items() if term in inactive]
        return reached(values, list(self._trainable.values()))

    def _buffers(self) -> list[Tensor]:
        """Those that a forward moves: of a teacher only in train mode."""
        own_teacher = self.teacher.buffers() if self.own_teacher and self.teacher is not None else ()
        return [*self._learners.buffers(), *own_teacher]

    def seed_generators(self, seed: int) -> None:
        # not torch.manual_seed: without a GPU it formats a stack trace at each call, 1 ms
        for generator in (torch.default_generator, self._generator):
            generator.manual_seed(seed)

    def _gradients(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each weighted term's own gradient norm."""
        weighted = {term: self._scales[term] * value for term, value in terms.items()}
        return norms.of_terms(weighted, [each for each in self.student.parameters() if each.requires_grad])

    def _taught(self, teacher: Outputs) -> Outputs:
        """What the method may read of its teacher."""
        return teacher.only(self.needs.teacher_stages, pooled=self.needs.teacher_pooled)

    def _partner_forward(self, images: Tensor) -> Outputs:
        """Of a peer or a teacher; only a peer that is trained along keeps a graph."""
        assert self._partner is not None
        images = shrunk(images, self.recipe.teacher_image_size)
        if self.peer is None and not self.own_teacher:
            return frozen_forward(self._partner, images, self.recipe.precision)
        stages = self.needs.teacher_stages if self.peer is None else self._stages
        with torch.set_grad_enabled(self.peer is not None and self.phase is None):
            return forward(self._partner, images, self.recipe.precision, stages)

    def _fresh_optimizer(self) -> SGD | AdamW:
        """The recipe's, over every parameter it trains."""
        trained = self._trainable
        if self.phase is not None:
            named = {id(parameter) for module in self.phase.trainable for parameter in module.parameters()}
            trained = {name: parameter for name, parameter in trained.items() if id(parameter) in named}
            if not trained:
                raise ValueError(f"phase {self.phase.name!r} names nothing of the student or the adapters to train")
        for name, parameter in self._trainable.items():
            parameter.requires_grad_(name in trained)
            parameter.grad = None
        return optimizer(self.recipe, trained.items())


def _copy(tree: Any) -> Any:
    """The same nested dicts and lists with every tensor cloned on its device."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_copy(value) for value in tree)
    return tree
