"""Any text as LaTeX that prints it."""

import re
import unicodedata

_TEXT = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"{\ttfamily\char34}", "'": r"{'}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
    "*": "{*}", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "−": "$-$", "–": "--", "—": "---",
    "†": r"$\dagger$", "‡": r"$\ddagger$", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}", "≤": r"$\leq$",
    "≥": r"$\geq$", "≠": r"$\neq$", "·": r"$\cdot$", "²": "$^2$", "³": "$^3$", "°": r"$^{\circ}$", "µ": r"$\mu$",
    "\u00a0": "~", "√": r"$\surd$", "§": r"\S{}",
}  # fmt: skip

_SPECIAL = re.compile(r"[^A-Za-z0-9 .,;:()/+=?!-]")
"""What may not print itself: little of a table, and of its notes."""

_ACCENTS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
_LETTERS = set("ßøØæÆœŒłŁåÅ")
"""What pdfLaTeX prints in its oldest font encoding; letters with another accent lose it."""

_LAST_LETTER = "\u017f"
"""Of those that LaTeX's UTF-8 surely knows (Latin-1 and Latin Extended-A): one that it does not know is an error."""

_CAPITALS = {"Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"}
"""Greek capitals that have a command; the others look Latin and have none."""


def escape(value: str) -> str:
    """Text that prints as itself wherever it stands in a document, also at the start of a table's line.

    Latin letters with accents stay; Greek letters become mathematics; any other character that pdfLaTeX does not
    have is printed as its code point, so that a label never stops a compilation.
    """
    written = _SPECIAL.sub(_character, value if value.isascii() else unicodedata.normalize("NFC", value))
    return re.sub(r"-(?=-)", "-{}", written) if "--" in value else written


def _character(found: re.Match[str]) -> str:
    character = found[0]
    if character in _TEXT:
        return _TEXT[character]
    if character.isspace():
        return " "
    if " " <= character <= "~" or character in _LETTERS:
        return character
    parts = unicodedata.normalize("NFD", character)
    if len(parts) > 1 and parts[0].isascii():
        return character if set(parts[1:]) <= _ACCENTS and character <= _LAST_LETTER else parts[0]
    if "Α" <= character <= "ω":
        return _greek(character)
    if unicodedata.category(character).startswith("C"):
        return ""
    return rf"{{\ttfamily U+{ord(character):04X}}}"


def _greek(character: str) -> str:
    name = unicodedata.name(character, "").rsplit(" ", 1)[-1].lower().replace("lamda", "lambda")
    command = name.capitalize() if character.isupper() else name
    if character in "οςΐΰάέήίόύώϊϋ" or (character.isupper() and command not in _CAPITALS) or not name:
        return rf"{{\ttfamily U+{ord(character):04X}}}"
    return rf"$\{command}$"


def slug(value: str) -> str:
    """`CIFAR-100, three pairs` -> `cifar-100-three-pairs`: what a label may be called."""
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "table"
