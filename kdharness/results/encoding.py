"""How values stand in the database, and back: non-finite numbers, JSON, times, settings."""

import json
import math
import time
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from sqlalchemy import RowMapping, Select, bindparam, column, func, select

from kdharness.core.keys import Since
from kdharness.core.records import Setting
from kdharness.results.owner import Owner

M = TypeVar("M", bound=BaseModel)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    """Unix time in ms: for people and charts, never to decide who may write."""
    return time.time_ns() // 1_000_000


def moment(ms: int | None) -> datetime | None:
    """The same time, aware, in UTC."""
    return None if ms is None else _EPOCH + timedelta(milliseconds=ms)


def known_moment(ms: int) -> datetime:
    """As `moment`, of a time that is always there."""
    return _EPOCH + timedelta(milliseconds=ms)


def dumps(value: Any) -> str:
    """Sorted, compact JSON. Raises ValueError for a number that is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def split_value(value: float) -> dict[str, Any]:
    """The columns `value` and `nonfinite` of a number."""
    value = float(value)
    if math.isfinite(value):
        return {"value": value, "nonfinite": None}
    return {"value": None, "nonfinite": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}


def join_value(value: float | None, nonfinite: str | None) -> float:
    """The number that stands in the columns `value` and `nonfinite`."""
    return float(nonfinite) if value is None and nonfinite is not None else float(value or 0.0)


def metric_row(run_id: str, name: str, value: float) -> dict[str, Any]:
    """A row of metrics with its checksum."""
    split = split_value(value)
    return {"run_id": run_id, "name": name, **split, "crc": metric_crc(run_id, name, **split)}


def epoch_row(run_id: str, epoch: int, name: str, value: float) -> dict[str, Any]:
    """A row of epoch_metrics with its checksum."""
    split = split_value(value)
    row = {"run_id": run_id, "epoch": int(epoch), "name": name, **split}
    return row | {"crc": row_crc(*row.values())}


def metric_crc(run_id: str, name: str, value: float | None, nonfinite: str | None) -> int:
    """CRC-32 of a final metric as it stands in its row."""
    return zlib.crc32(f"{run_id} {name} {nonfinite if value is None else float(value).hex()}".encode())


def row_crc(*values: Any) -> int:
    """CRC-32 of columns as SQLite gives them; also a function of SQL on every connection that writes."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass"))


def among(parameter: str) -> Select[Any]:
    """A subquery of names given at execution, `listing(names)`, as one parameter however many they are."""
    return select(func.json_each(bindparam(parameter)).table_valued(column("value")).c.value)


def listing(names: Iterable[str | int]) -> str:
    """What `among` takes as its parameter."""
    return json.dumps(list(names))


def owner_columns(owner: Owner) -> dict[str, Any]:
    """The columns `owner_*` of a lease or attempt."""
    return {f"owner_{name}": value for name, value in vars(owner).items()}


def owner_of(row: RowMapping) -> Owner | None:
    """The owner that stands in the columns `owner_*`; None where there is none."""
    if row["owner_pid"] is None:
        return None
    return Owner(**{name: row[f"owner_{name}"] for name in ("host", "boot_id", "pid", "pid_start", "nonce")})


def setting_of(canonical: str) -> Setting:
    """The setting whose canonical form this is: the same key, whichever version wrote it."""
    return restore(Setting, json.loads(canonical))


def restore(model: type[M], form: Mapping[str, Any]) -> M:
    """The record behind a canonical form. A field that it leaves out stands at its `Since` value."""
    return model.model_validate(_filled(model, form))


def _filled(model: type[BaseModel], form: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(form)
    for name, field in model.model_fields.items():
        if name not in filled:
            for mark in field.metadata:
                if isinstance(mark, Since):
                    filled[name] = mark.value
            continue
        inner = next((kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)), None)
        value = filled[name]
        if inner is not None and isinstance(value, dict):
            filled[name] = _filled(inner, value)
        elif inner is not None and isinstance(value, list):
            filled[name] = [_filled(inner, item) for item in value]
    return filled


def _kinds(annotation: Any) -> list[type]:
    """The classes in an annotation: `tuple[Teacher, ...] | None` -> tuple, Teacher, None's."""
    found = [annotation] if isinstance(annotation, type) else []
    return found + [kind for part in get_args(annotation) for kind in _kinds(part)]
