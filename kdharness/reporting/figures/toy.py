"""The toy case of Logit Standardization (Figure 2): the wrong student diverges less, until both are standardized."""

import numpy

from kdharness.reporting.figures.drawing import Array, Drawing, panels, styled

CLASSES = ("Cat", "Dog", "Bird", "Frog")
TEACHER = numpy.array([1.0, 4.0, 3.0, 2.0])
STUDENTS = {"S1": numpy.array([1.0, 2.8, 3.0, 2.0]), "S2": numpy.array([0.1, 0.4, 0.3, 0.2])}
"""The logits stand in the figure, not in the text."""


def divergence(teacher: Array, student: Array) -> float:
    """KL(softmax(teacher) || softmax(student)) in nats, temperature 1."""
    log_teacher, log_student = (values - numpy.log(numpy.exp(values).sum()) for values in (teacher, student))
    return float((numpy.exp(log_teacher) * (log_teacher - log_student)).sum())


def standardized(logits: Array) -> Array:
    """By the sample deviation: the figure and the authors' code; Algorithm 1 of the paper divides by K."""
    scaled: Array = (logits - logits.mean()) / logits.std(ddof=1)
    return scaled


@styled
def toy() -> Drawing:
    """Teacher and both students, raw and standardized, with their divergences."""
    figure, axes = panels(3, rows=2, size=(2.0, 1.7))
    said = []
    for row, change in enumerate((lambda values: values, standardized)):
        teacher = change(TEACHER)
        for column, (name, logits) in enumerate({"T": TEACHER, **STUDENTS}.items()):
            one, values = axes[3 * row + column], change(logits)
            best = int(values.argmax())
            colours = ["0.35" if at == best else "0.8" for at in range(len(values))]
            one.bar(CLASSES, values, 0.7, color=colours, edgecolor="black")
            for at, value in enumerate(values):
                one.annotate(
                    f"{value:.3f}" if row else f"{value:g}", (at, value), ha="center", fontsize=6,
                    xytext=(0, 2 if value >= 0 else -2), textcoords="offset points",
                    va="bottom" if value >= 0 else "top",
                )  # fmt: skip
            one.axhline(0, color="black", linewidth=0.5)
            one.set_ylim((-2.0, 2.0) if row else (0, 4.9))
            if name == "T":
                one.set_title("teacher" if row == 0 else "")
                continue
            kl = divergence(teacher, values)
            right = "right" if best == int(TEACHER.argmax()) else "wrong"
            one.set_title(f"{name} ({right})\nKL {kl:.4f}" if row == 0 else f"KL {abs(kl):.4f}")
            said.append(f"{name} {abs(kl):.4f}")
    axes[0].set_ylabel("logit")
    axes[3].set_ylabel("standardized logit")
    caption = (
        "The toy case of Logit Standardization (Sun et al., CVPR 2024, Figure 2): KL(softmax(T) || softmax(S)) in "
        f"nats. Raw: {said[0]} < {said[1]}, though S1 has the wrong class first; standardized by the sample "
        f"deviation: {said[2]} > {said[3]}. Largest logits are dark. n = 1: three given vectors, nothing is trained."
    )
    return Drawing("toy", figure, caption)
