"""Study files and names that nobody would write: a study or a list of problems, soon, and never a traceback."""

import re
import resource
import sys
import time
import unicodedata
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome import Outcome

sys.path.insert(0, str(Path(__file__).parents[2] / "study"))
from study_texts import SOUND, expanded
from test_study_mutations import PIECES
from test_study_search import SEARCHED

from kdharness.core.errors import BadInput, StudyError
from kdharness.core.home import Home

MOST_SECONDS, MOST_MIB = 1.0, 200
WORDS = sorted(set(re.findall(r"[\w.+>-]+", SEARCHED)))
SCALARS = st.one_of(
    st.sampled_from(PIECES),
    st.sampled_from(WORDS),
    st.integers().map(str),
    st.floats().map(repr),
    st.booleans().map(str),
    st.text(max_size=30),
    st.from_regex(r"[0-9]{1,4}(:[0-9]{2}){1,2}|0[0-9]+|1e-?[0-9]{1,4}", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|yes|no|on|off", fullmatch=True),
)
FLOW = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(st.sampled_from([*PIECES, "temperature", "each", "recipe", "at"]), inner), max_size=4).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A sound study in which a few words are replaced by anything."""
    text = draw(st.sampled_from([SOUND, SEARCHED]))
    for _ in range(draw(st.integers(1, 3))):
        found = list(re.finditer(r"[\w.+>-]+", text))
        if not found:
            break
        word = draw(st.sampled_from(found))
        text = text[: word.start()] + draw(FLOW) + text[word.end() :]
    return text


TEXTS = st.one_of(mutated(), mutated(), mutated(), FLOW, st.text(max_size=400))


def study_files(count: int) -> Outcome:
    """What `check` makes of that many files."""
    for text in (SOUND, SEARCHED):
        expanded(text)  # what is imported once is no file's fault
    seen = {"files": 0, "accepted": 0, "tracebacks": 0, "slow": 0}
    slowest, largest = 0.0, 0

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(TEXTS)
    def look(text: str) -> None:
        nonlocal slowest, largest
        began, before = time.process_time(), _peak_mebibytes()
        seen["files"] += 1
        try:
            expanded(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
            seen["accepted"] += 1
        except StudyError as error:
            seen["tracebacks"] += not error.problems or len(str(error).splitlines()) != len(error.problems)
        except BadInput as error:
            seen["tracebacks"] += not error.remedy
        except Exception as error:  # noqa: BLE001  the very thing that is looked for
            seen["tracebacks"] += 1
            sys.stderr.write(f"{type(error).__name__}: {error}\n{text!r}\n")
        took = time.process_time() - began
        slowest, largest = max(slowest, took), max(largest, _peak_mebibytes() - before)
        seen["slow"] += took > MOST_SECONDS

    look()
    wrong = seen["tracebacks"] + seen["slow"] + (largest > MOST_MIB)
    note = f"{seen['accepted']} accepted, none took more than {largest + 1} MiB"
    return Outcome("fuzzed study files (52-56, 60)", seen["files"], wrong=wrong, slowest=slowest, note=note)


def _peak_mebibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def names(count: int) -> Outcome:
    """Any text as a study's name is refused, or is one plain file name inside the home."""
    home = Home.at(Path("/home-of-names"))
    seen = {"names": 0, "wrong": 0, "accepted": 0}
    alphabet = st.one_of(st.text(max_size=80), st.from_regex(r"[A-Za-z0-9._/\\-]{1,70}", fullmatch=True))

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(alphabet)
    def look(name: str) -> None:
        seen["names"] += 1
        quoted = "'" + name.encode("utf-8", "replace").decode().replace("'", "''") + "'"
        try:
            study = expanded(SOUND.replace("study: sound", f"study: {quoted}")).study
        except BadInput:
            return
        except Exception as error:  # noqa: BLE001  as above
            seen["wrong"] += 1
            sys.stderr.write(f"{type(error).__name__}: {error}\n{name!r}\n")
            return
        seen["accepted"] += 1
        path = (home.reports / f"{study.name}.md").resolve()
        plain = path.parent == home.reports and unicodedata.is_normalized("NFC", study.name) and study.name.isascii()
        seen["wrong"] += not plain

    look()
    note = f"{seen['accepted']} accepted"
    return Outcome("names of studies (58, 59)", seen["names"], wrong=seen["wrong"], note=note)
