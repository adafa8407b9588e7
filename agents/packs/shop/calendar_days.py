"""Days as the shop counts them: calendar days in its own time zone, so "2 days ago" never depends on the hour."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Berlin")  # as pack.toml's timezone
NEVER = -1  # the `*_days_ago` of something that has not happened


def day_of(moment: datetime) -> date:
    """The shop's calendar day of an aware `moment`."""
    return moment.astimezone(ZONE).date()


def moment_days_ago(now: datetime, days: int) -> datetime:
    """Noon of the shop's day `days` before `now` (UTC), but never after `now`."""
    noon = datetime.combine(day_of(now) - timedelta(days=days), time(12), ZONE).astimezone(UTC)
    return min(noon, now.astimezone(UTC)) if days >= 0 else noon


def days_ago(stamp: str | None, now: datetime) -> int:
    """Whole calendar days between a stored UTC `stamp` and `now`; NEVER for no stamp, 0 for a stamp after `now`."""
    if not stamp:
        return NEVER
    return max((day_of(now) - day_of(datetime.fromisoformat(stamp))).days, 0)


def on_day(stamp: str | None) -> str:
    """The shop's ISO date of a stored UTC `stamp`; "" for no stamp."""
    return day_of(datetime.fromisoformat(stamp)).isoformat() if stamp else ""


def in_days(now: datetime, days: int) -> str:
    """The shop's ISO date `days` after `now`."""
    return (day_of(now) + timedelta(days=days)).isoformat()


def stamp(moment: datetime) -> str:
    """An aware `moment` as it is stored: ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")
