"""The study language as JSON Schema, so that an editor completes and checks a study file while it is written."""

import ast
import inspect
from itertools import pairwise
from typing import Any

from kdharness.study import spec


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a study file's form; names of methods, models and constants are left to `check`."""
    made = spec.StudySpec.model_json_schema(by_alias=True)
    for part, said in _said().items():
        fields = made if part == spec.StudySpec.__name__ else made["$defs"].get(part, {})
        for field, text in said.items():
            if field in fields.get("properties", {}):
                fields["properties"][field]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "kdharness study"}


def _said() -> dict[str, dict[str, str]]:
    """Part -> key -> the docstring below its field."""
    found: dict[str, dict[str, str]] = {}
    parts = (node for node in ast.parse(inspect.getsource(spec)).body if isinstance(node, ast.ClassDef))
    for part in parts:
        for lines in pairwise(part.body):
            match lines:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    key = getattr(spec, part.name).model_fields[name].alias or name
                    found.setdefault(part.name, {})[key] = said
    return found
