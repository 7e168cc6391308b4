"""Whatever a study file is turned into: it is a study or a list of problems, never a traceback."""

import random
import re

import pytest
from fake_search import SEARCHED
from study_texts import SOUND, expanded

from kdharness.core.errors import BadInput, StudyError

PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "'",
    '"',
    "~",
    "+",
    "->",
    "-",
    "null",
    "true",
    "1e-3",
    "-1",
    "0",
    "100000000000000",
    "each:",
    "{each:[]}",
    "{each:[1]}",
    "{float:[1,2]}",
    "{choice:[a,1]}",
    "{choice:[[1],2]}",
    "{int:[0,3],log:true}",
    "kd",
    "resnet8",
    "name:",
    "label:",
    "group:",
    "of:[kd]",
    "recipe:{lr:1}",
    "\u202e",
    "é",
    "\n",
    "&",
    "*",
    "!",
    "%",
    "?",
]


@pytest.mark.parametrize("seed", range(4))
def test_mutated_studies_are_refused_in_words(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(60):
        text = draw.choice([SOUND, SEARCHED])
        for _ in range(draw.randint(1, 3)):
            word = draw.choice(list(re.finditer(r"[\w.+>-]+", text)))
            text = text[: word.start()] + draw.choice(PIECES) + " " * draw.randint(0, 1) + text[word.end() :]
        try:
            expanded(text)
        except StudyError as error:
            assert len(str(error).splitlines()) == len(error.problems) > 0, text
            assert all(one.line >= 1 and one.column >= 1 for one in error.problems), text
        except BadInput as error:
            assert error.remedy, text
