"""Tables to text in one of the formats that `kdharness report` knows."""

from collections.abc import Callable, Mapping, Sequence

from kdharness.core.errors import BadInput
from kdharness.reporting import render_csv, render_html, render_json, render_latex, render_markdown
from kdharness.reporting.table import Table

FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    "md": lambda tables: "\n".join(map(render_markdown.render, tables)),
    "latex": lambda tables: "\n".join(map(render_latex.render, tables)),
    "csv": render_csv.render,
    "html": lambda tables: render_html.render(tables),
    "json": render_json.render,
}
"""For a terminal there is `render_terminal.render`, which returns something that rich prints."""


def render(tables: Table | Sequence[Table], form: str, links: render_html.Links | None = None) -> str:
    """All tables as one text, ending in a newline (CSV: CRLF). Raises BadInput for an unknown format.

    `links` are runs' pages in MLflow, for HTML.
    """
    if form not in FORMATS:
        raise BadInput(f"unknown format {form!r}", remedy="Formats: " + ", ".join(FORMATS))
    many = [tables] if isinstance(tables, Table) else list(tables)
    rendered = render_html.render(many, links) if form == "html" and links else FORMATS[form](many)
    return rendered if rendered.endswith("\n") else rendered + "\n"
