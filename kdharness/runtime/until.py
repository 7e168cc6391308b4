"""`run --until TIME`: a time of day, a date, or so long from now."""

import re
from datetime import datetime, timedelta

from kdharness.core.errors import BadInput

_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(h|hours?|min|minutes?|s)")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def parse_until(text: str, now: datetime) -> datetime:
    """The moment that is meant, with the time zone of `now`: `18:30` is the next one, `2026-11-22 06:00` a date, `8h`
    or `90 min` from now. Raises BadInput for anything else, and for what has passed."""
    span = _SPAN.fullmatch(text.strip())
    if span:
        return now + timedelta(seconds=float(span[1]) * _SECONDS[span[2][0]])
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text.strip()):
            hour, minute = map(int, text.strip().split(":"))
            moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return moment if moment > now else moment + timedelta(days=1)
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(f"--until {text!r} is no time", remedy="as 18:30, 2026-11-22T06:00, 8h or 90min") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)
    if moment <= now:
        raise BadInput(f"--until {text}: that has passed, it is {now:%Y-%m-%d %H:%M}")
    return moment
