"""One study's rows as a database of their own, for others: complete enough to make every table again, and nothing that
says on which machine or by whom they were made. Equal rows give equal bytes."""

import json
import sqlite3
from pathlib import Path, PurePath

from sqlalchemy import Table, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from kdharness.results import schema
from kdharness.results.checksums import COVERED
from kdharness.results.database import WAIT_SECONDS, Database, refusals
from kdharness.results.encoding import row_crc
from kdharness.results.studies import study_id_of

_OF_STUDY = "study_id = :study"
_OF_RUNS = "run_id IN (SELECT run_id FROM chosen)"
_ITS_TEACHER = (
    "origin = 'imported' AND EXISTS (SELECT 1 FROM shown "
    "WHERE instr(teacher_run_id, 'imported-' || substr(weights_sha256, 1, 12)))"
)

KEPT = {
    "studies": _OF_STUDY,
    "study_texts": _OF_STUDY,
    "study_runs": _OF_STUDY,
    "searches": _OF_STUDY,
    "draws": _OF_STUDY,
    "draw_runs": _OF_STUDY,
    "study_labels": "study_run_id IN (SELECT study_run_id FROM shown)",
    "settings": "setting_key IN (SELECT setting_key FROM chosen)",
    "runs": _OF_RUNS,
    "run_needs": _OF_RUNS,
    "attempts": _OF_RUNS,
    "metrics": _OF_RUNS,
    "epoch_metrics": _OF_RUNS,
    "predictions": _OF_RUNS,
    "run_tags": _OF_RUNS,
    "exclusions": _OF_RUNS,
    "notes": f"{_OF_RUNS} OR study_id = :study",
    "teachers": f"{_OF_RUNS} OR ({_ITS_TEACHER})",
    "revealed": "(dataset, pair, distiller) IN (SELECT dataset, pair, distiller FROM shown)",
}
"""Table -> which of its rows belong to the study: `chosen` are its runs, its draws' and what they need, `shown` its
labels. The ledger counts what any study revealed of the same dataset, pair and distiller: a caption says how many."""

LEFT_OUT = ("checkpoints", "mirror", "outbox", "places", "process_leases")
"""Tables about files and processes of one machine."""

_MACHINE = {
    "runs": {
        "owner_host": "NULL",
        "owner_boot_id": "NULL",
        "owner_pid": "CASE state WHEN 'running' THEN 0 END",
        "owner_pid_start": "NULL",
        "owner_nonce": "NULL",
        "slot": "NULL",
        "lease_until": "CASE state WHEN 'running' THEN 0.0 END",
        "message": "NULL",
    },
    "attempts": {
        "owner_host": "''",
        "owner_boot_id": "''",
        "owner_pid": "0",
        "owner_pid_start": "0",
        "owner_nonce": "''",
        "message": "NULL",
    },
    "study_texts": {"path": "file_name(path)"},
    "teachers": {"provenance": "file_name_in(provenance)"},
}
"""What stands in place of columns that name hosts, processes and directories; messages of errors may hold paths."""

_CHOSEN = """
CREATE TEMP TABLE chosen AS WITH RECURSIVE asked(run_id) AS (
  SELECT run_id FROM source.study_runs WHERE study_id = :study
  UNION SELECT run_id FROM source.draws WHERE study_id = :study
  UNION SELECT run_id FROM source.draw_runs WHERE study_id = :study
  UNION SELECT needs_run_id FROM source.run_needs JOIN asked USING (run_id)
) SELECT run_id, setting_key FROM asked JOIN source.runs USING (run_id)
"""

_SHOWN = """
CREATE TEMP TABLE shown AS
SELECT study_run_id, dataset, label.pair AS pair, setting.distiller AS distiller, label.teacher_run_id AS teacher_run_id
FROM source.study_labels AS label JOIN source.study_runs USING (study_run_id)
JOIN chosen USING (run_id) JOIN source.settings AS setting USING (setting_key) WHERE study_id = :study
"""


def extract(database: Database, study: str, target: Path) -> None:
    """See Store.extract."""
    from kdharness.migrations import HEAD

    with database.read() as connection:
        study_id = study_id_of(connection, study)
        connection.execute(text("SELECT 1 FROM sqlite_master"))  # rolls back what a killed writer left half done
    with refusals(database.path):
        new = sqlite3.connect(f"{target.absolute().as_uri()}?mode=rwc", uri=True, timeout=WAIT_SECONDS)
        try:
            new.isolation_level = None
            new.create_function("row_crc", -1, row_crc, deterministic=True)
            new.create_function("file_name", 1, lambda path: PurePath(path).name, deterministic=True)
            new.create_function("file_name_in", 1, _file_name_in, deterministic=True)
            for pragma in ("page_size=4096", "journal_mode=OFF", "synchronous=OFF", "trusted_schema=OFF"):
                new.execute(f"PRAGMA {pragma}")
            _create(new, HEAD)
            new.execute("ATTACH ? AS source", (f"{database.path.as_uri()}?mode=ro",))
            new.execute("BEGIN")
            new.execute(_CHOSEN, {"study": study_id})
            new.execute(_SHOWN, {"study": study_id})
            for table in schema.Table.metadata.sorted_tables:
                if table.name in KEPT:
                    new.execute(_copying(table), {"study": study_id})
            new.execute("COMMIT")
            new.execute("DETACH source")
            new.execute("VACUUM")
        finally:
            new.close()


def _create(connection: sqlite3.Connection, version: str) -> None:
    dialect = sqlite.dialect()
    for table in schema.Table.metadata.sorted_tables:
        connection.execute(str(CreateTable(table).compile(dialect=dialect)))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(str(CreateIndex(index).compile(dialect=dialect)))
    connection.execute("CREATE TABLE kdharness_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.execute("INSERT INTO kdharness_version VALUES (?)", (version,))


def _copying(table: Table) -> str:
    """The statement that copies the study's rows of one table, in the order of its key."""
    put = dict(_MACHINE.get(table.name, {}))
    covered = next((names for kind, names in COVERED.items() if kind.__tablename__ == table.name), ())
    if put.keys() & set(covered):  # a checksum that held holds of what stands there now
        before, after = (", ".join(part) for part in (covered, (put.get(name, name) for name in covered)))
        put["crc"] = f"CASE crc WHEN row_crc({before}) THEN row_crc({after}) ELSE crc END"
    columns = [column.name for column in table.columns]
    values = [put.get(name, name) for name in columns]
    key = ", ".join(column.name for column in table.primary_key)
    return (
        f"INSERT INTO main.{table.name} ({', '.join(columns)}) SELECT {', '.join(values)} "  # noqa: S608  our schema's
        f"FROM source.{table.name} WHERE {KEPT[table.name]} ORDER BY {key}"
    )


def _file_name_in(provenance: str | None) -> str | None:
    """The provenance of an import with the name of its file alone."""
    said = json.loads(provenance or "{}")
    if "file" not in said:
        return provenance
    return json.dumps({**said, "file": PurePath(said["file"]).name}, sort_keys=True, separators=(",", ":"))
