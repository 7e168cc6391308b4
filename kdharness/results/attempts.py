"""What was tried for a study: every attempt of its runs, those that came to nothing and those it dropped too."""

from sqlalchemy import and_, func, or_, select

from kdharness.results import schema
from kdharness.results.database import Database
from kdharness.results.encoding import moment
from kdharness.results.reading import attempt_of
from kdharness.results.records import StudyAttempt
from kdharness.results.studies import study_id_of


def read(database: Database, study: str) -> list[StudyAttempt]:
    """See Store.attempts."""
    attempt, epoch = schema.Attempt, schema.EpochMetric
    within = (epoch.run_id == attempt.run_id, epoch.at_ms >= attempt.claimed_ms)
    before = or_(attempt.finished_ms.is_(None), epoch.at_ms <= attempt.finished_ms)
    sign = select(func.max(epoch.at_ms)).where(*within, before).scalar_subquery()
    taken = or_(attempt.outcome.is_(None), attempt.outcome == "lost", attempt.reason == "killed")
    wanted = select(schema.StudyRun.run_id)
    with database.read() as connection:
        asked = schema.Run.run_id.in_(wanted.where(schema.StudyRun.study_id == study_id_of(connection, study)))
        dropped = and_(schema.Run.origin_study == study, schema.Run.run_id.not_in(wanted))
        tried = select(attempt).join(schema.Run, schema.Run.run_id == attempt.run_id).where(or_(asked, dropped))
        rows = connection.execute(
            tried.add_columns(schema.Run.origin_study, asked.label("asked")).order_by(attempt.run_id, attempt.number)
        )
        signs = {
            (run_id, number): at
            for run_id, number, at in connection.execute(
                tried.where(taken).with_only_columns(attempt.run_id, attempt.number, sign)
            )
        }
        found = []
        for row in rows.mappings():
            last = signs.get((row["run_id"], row["number"]), row["finished_ms"])
            found.append(
                StudyAttempt(row["run_id"], row["origin_study"], bool(row["asked"]), attempt_of(row), moment(last))
            )
        return found
