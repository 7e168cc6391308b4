"""Which classes a student gets wrong, and those that are hardest for its teacher (LumiNet, Table 6)."""

from torch import Tensor

from kdharness.evaluation.judged import Found, Judged

HARDEST = 10


def classes(judged: Judged) -> Found:
    """Errors in percent: of the worst class, and over the ten classes that the teacher gets wrong most often.

    `hardest_classes_below_teacher` counts those of the ten where the student errs strictly less. (The paper's
    asterisks say "lower than the teacher" and stand at ties too.) Of equally hard classes the lower number comes first.
    Classes without an image have NaN and are left out.
    """
    own = class_errors(judged.logits, judged.labels)
    metrics = {"worst_class_error": own[~own.isnan()].max().item()}
    arrays = {"student": own.numpy()}
    if judged.teacher_logits is not None:
        teacher = class_errors(judged.teacher_logits, judged.labels)
        chosen = hardest(teacher)
        metrics["hardest_classes_error"] = own[chosen].mean().item()
        metrics["hardest_classes_below_teacher"] = float((own[chosen] < teacher[chosen]).sum())
        arrays |= {"teacher": teacher.numpy(), "hardest": chosen.numpy()}
    return Found(metrics, arrays)


def class_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Percent of each class's images that are put into another one: (N, K), (N,) -> (K,) float64."""
    number = logits.shape[1]
    of_class = labels.bincount(minlength=number).double()
    wrong = labels[logits.argmax(1) != labels].bincount(minlength=number).double()
    return 100 * wrong / of_class


def hardest(errors: Tensor) -> Tensor:
    """The ten classes with the largest errors, the largest first: (K,) -> (10,) int64 or fewer."""
    known = int((~errors.isnan()).sum())
    return errors.nan_to_num(-1.0).sort(descending=True, stable=True).indices[: min(HARDEST, known)]
