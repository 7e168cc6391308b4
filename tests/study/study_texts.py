"""Study files for tests: a small sound one, and ways to change a line of it."""

from collections.abc import Sequence
from pathlib import Path

from kdharness.core.errors import StudyError
from kdharness.results.records import ImportedTeacher
from kdharness.study.expand import Expansion, expand
from kdharness.study.load import Study, parse_study

SOUND = """\
study: sound
dataset: digits
teachers: train
recipe: digits-quick
pairs: [resnet20 -> resnet8]
distillers:
  - none
  - kd
  - {name: kd, preset: sun2024logit, label: KD+LS, against: kd}
seeds: 2
tables:
  - {baseline: kd}
"""


def change(line: str, by: str) -> str:
    """SOUND with the line that begins with `line` replaced."""
    assert sum(one.startswith(line) for one in SOUND.splitlines()) == 1
    return "".join(by + "\n" if one.startswith(line) else one + "\n" for one in SOUND.splitlines())


def study(text: str = SOUND) -> Study:
    return parse_study(text.encode(), "study.yaml")


def expanded(text: str = SOUND, confirmed: int | None = None, imports: Sequence[ImportedTeacher] = ()) -> Expansion:
    return expand(study(text), data=Path("nowhere"), imports=imports, confirmed=confirmed)


def problems(text: str | bytes) -> list[str]:
    """The lines that a user sees, [] for a sound study."""
    data = text.encode() if isinstance(text, str) else text
    try:
        expand(parse_study(data, "study.yaml"), data=Path("nowhere"))
    except StudyError as error:
        lines = str(error).splitlines()
        assert len(lines) == len(error.problems)
        return [line.removeprefix("study.yaml:") for line in lines]
    return []
