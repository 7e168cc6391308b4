"""The imported teachers, written and read."""

from sqlalchemy import select

from kdharness.results.database import Database
from kdharness.results.encoding import moment
from kdharness.results.records import ImportedTeacher
from kdharness.results.schema import Teacher


def imported(database: Database) -> list[ImportedTeacher]:
    """See Store.imported_teachers."""
    wanted = select(Teacher.__table__).where(Teacher.origin == "imported").order_by(Teacher.name)
    with database.read() as connection:
        found = connection.execute(wanted).mappings().all()
    return [
        ImportedTeacher(
            name=row["name"],
            model=row["model"],
            dataset=row["dataset"],
            weights_sha256=row["weights_sha256"],
            declared_top1=row["declared_top1"],
            measured_top1=row["measured_top1"],
            accepted=None,
            path=row["path"],
            added=moment(row["added_ms"]),
        )
        for row in found
    ]
