"""How wide LaTeX is: by the widths of Computer Modern's letters, TeX is not asked. Holds to about two percent."""

import re
from functools import lru_cache
from typing import NamedTuple

_OF_TEN_POINTS = {
    1.67: [r"\,"], 2.78: [*"!',.:;[]il", r"\cdot", r"\textbar"], 3.06: [*"fj"], 3.33: [*"-~ "],
    3.6: [r"\_"], 3.61: [*"I"], 3.89: [*"()t"], 3.92: [*"rs"],
    4.44: [*"cez", r"\dagger", r"\ddagger", r"\S"], 4.72: [*"?"], 5.14: [*"J"],
    5.26: [*'"kqvxy'], 5.56: [*"Sbdhnpu"], 6.03: [r"\mu"], 6.11: [*"Z"], 6.25: [*"L"], 6.43: [r"\alpha"], 6.53: [*"F"],
    6.81: [*"EP"], 7.08: [*"B"], 7.22: [*"CTw"], 7.36: [*"R"], 7.5: [*"AHNUVXY"], 7.64: [*"D"],
    7.78: [*"+=@KOQ", r"\textless", r"\textgreater", r"\&", r"\pm", r"\times", r"\leq", r"\geq"], 7.85: [*"G"],
    8.33: [*"m", r"\#", r"\%", r"\Delta", r"\surd"], 9.17: [*"M"], 10.0: [r"\rightarrow", r"\quad"], 10.28: [*"W"],
    13.33: [r"\ldots"], 0.0: [r"\underline", r"\itshape"],
}  # fmt: skip
"""Points -> what is so wide in letters of 10 points; anything else is taken for 5, as digits are."""

_WIDTHS = {sign: points for points, signs in _OF_TEN_POINTS.items() for sign in signs}
_MINUS, _BOLD, _RAISED = 7.78, 1.17, 0.98
_GROWING, _FIXED = 0, 1
_DIGITS = str.maketrans("123456789", "000000000")
"""All are as wide: most cells of a table differ in nothing else."""
_SIGN = re.compile(r"\\[A-Za-z]+|\\.|.")


class Size(NamedTuple):
    """A size of letters with the space between columns that goes with it."""

    command: str
    letters: float
    """Their width over that of 10 points."""
    gap: float
    """Between two columns, in points."""
    leading: float
    """From line to line, in points."""


SMALL = 0.797
r"""The width of \scriptsize's letters over that of 10 points."""

SIZES = (
    Size("", 1.0, 12.0, 12.0),
    Size(r"\footnotesize\setlength{\tabcolsep}{4pt}", 0.85, 8.0, 9.5),
    Size(r"\scriptsize\setlength{\tabcolsep}{2pt}", SMALL, 4.0, 8.0),
)
"""Those of a 10 point document that a table may have, the largest first."""


class Natural(NamedTuple):
    """The width of one line in points, in letters of 10 points."""

    growing: float
    """What grows with the letters around."""
    fixed: float
    r"""What \scriptsize has fixed."""

    def at(self, letters: float) -> float:
        """In letters so wide."""
        return letters * self.growing + self.fixed


@lru_cache(maxsize=1 << 16)
def natural(tex: str) -> Natural:
    """Of one line; citations take the room of numbers."""
    return _with_zeros(tex.replace(r"\char34", "0").translate(_DIGITS))


@lru_cache(maxsize=1 << 16)
def _with_zeros(tex: str) -> Natural:
    tex = re.sub(r"\\textcolor\{\w+\}|\\ttfamily", "", tex)
    tex = re.sub(r"\\cite\{([^}]*)\}", lambda keys: "[00" + ", 00" * keys[1].count(",") + "]", tex)
    tex = re.sub(r"(\\[A-Za-z]+) +", r"\1{}", tex)
    totals, scales, kinds, group, in_math = [0.0, 0.0], [1.0], [_GROWING], 1.0, False
    for sign in _SIGN.findall(tex):
        match sign:
            case "{":
                scales.append(scales[-1] * group)
                kinds.append(kinds[-1])
                group = 1.0
            case "}":
                scales.pop()
                kinds.pop()
            case "$":
                in_math = not in_math
            case r"\scriptsize":
                scales[-1], kinds[-1] = SMALL, _FIXED
            case r"\bfseries":
                scales[-1] *= _BOLD
            case r"\textbf":
                group = _BOLD
            case r"\textsuperscript":
                group = _RAISED
            case _:
                minus = in_math and sign == "-"
                totals[kinds[-1]] += scales[-1] * (_MINUS if minus else _WIDTHS.get(sign, 5.0))
    return Natural(totals[_GROWING], totals[_FIXED])
