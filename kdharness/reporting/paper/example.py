"""A document that takes every file of a paper's directory: to look at, and to copy the lines from."""

from collections.abc import Sequence

PACKAGES = "booktabs,threeparttable,longtable,xcolor,graphicx"
"""What the files need beside LaTeX itself."""

_DOCUMENT = r"""%% All files of this directory: pdflatex example; bibtex example; pdflatex example; pdflatex example
\documentclass{article}
\usepackage{%s}
\input{numbers}
\begin{document}
\section*{Setup}
\input{setup}
%s
%s
%s\end{document}
"""

_REFERENCES = r"""\nocite{*}
\bibliographystyle{plain}
\bibliography{refs}
"""


def example(inputs: Sequence[str], number: Sequence[str], *, references: bool) -> str:
    """The document with these files in their order, `references` where there are some.

    `number` is the table, row, column and quantity of one that its text names, empty where there is none.
    """
    said = "".join(f"{{{name}}}" for name in number)
    text = rf"A number of a table by its name: \kdh{said}." if number else ""
    files = "\n".join(rf"\input{{{name}}}" for name in inputs)
    return _DOCUMENT % (PACKAGES, text, files, _REFERENCES if references else "")
