"""The identity of a setting: a canonical form in which equal meanings are equal text, and its hash."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all records: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Since:
    """Marks a field that a later version added: `Annotated[int, Since(0)]`.

    `value` is what older settings had in effect; at that value the field is left out of the canonical form, so that
    keys made before the field existed stay.
    """

    value: Any


def canonical(record: BaseModel) -> dict[str, Any]:
    """The record as plain JSON values, typed by its schema, without fields that stand at their `Since` value."""
    form: dict[str, Any] = {}
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if any(isinstance(mark, Since) and mark.value == value for mark in field.metadata):
            continue
        form[name] = _plain(value)
    return form


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return canonical(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no canonical form")
    return value


def canonical_json(record: BaseModel) -> str:
    """One line of JSON with sorted keys: equal records give equal text, on every machine and version."""
    return json.dumps(canonical(record), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key_of(record: BaseModel) -> str:
    """SHA-256 (64 hex digits) of the canonical form."""
    return hashlib.sha256(canonical_json(record).encode()).hexdigest()
