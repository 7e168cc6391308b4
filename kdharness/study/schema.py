"""The study language as JSON Schema, so that an editor completes and checks a study file while it is written."""

from typing import Any

from kdharness.study.spec import StudySpec


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a study file's form; names of methods, models and constants are left to `check`."""
    made = StudySpec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "kdharness study"}
