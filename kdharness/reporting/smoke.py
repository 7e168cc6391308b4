"""What reports say of a study that `--smoke` shrank, and beside which printed numbers its cells stand."""

from kdharness.core.records import Smoke
from kdharness.reporting import names
from kdharness.reporting.cells import Groups
from kdharness.reporting.runs import Run


def sentence(smoke: Smoke) -> str:
    """What stands under every table and figure."""
    instead = [f"128 digits for {smoke.dataset}"]
    instead += [f"{names.pair(new)} for {names.pair(old)}" for new, old in smoke.pairs.items()]
    return (
        f"Smoke form of {smoke.study} ({', '.join(instead)}): it shows that the path works, no number means anything."
    )


def as_printed(groups: Groups, smoke: Smoke) -> Groups:
    """The groups as if their runs were those that the whole study asks for: so that print finds its cells."""
    return {key: group._replace(runs=tuple(_whole(run, smoke) for run in group.runs)) for key, group in groups.items()}


def _whole(run: Run, smoke: Smoke) -> Run:
    teacher, _, student = smoke.pairs.get(run.pair, run.pair).partition(" -> ")
    return run._replace(dataset=smoke.dataset, teacher=teacher, student=student)
