"""The times that people type: a date, a time, or how long ago. Without a zone they are UTC."""

import re
from datetime import UTC, date, datetime, timedelta

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The seconds that ``datetime`` has."""


def instant_from(text: str, now_at: float, *, is_end: bool = False) -> float | None:
    """Seconds since the epoch; None where the text is no time. As an end, a day is its end."""
    found = _instant(text, now_at, is_end=is_end)
    return found if found is not None and _FIRST <= found <= _LAST else None


def _instant(text: str, now_at: float, *, is_end: bool) -> float | None:
    words = text.strip().lower()
    if ago := _AGO.fullmatch(words):
        return now_at - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()
    if words == "now":
        return now_at
    try:
        day = day_from(text.strip(), now_at)
        if day is not None:
            return (day + timedelta(days=is_end)).timestamp()
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def day_from(text: str, now_at: float) -> datetime | None:
    """When a day begins; None where the text is none."""
    words = text.lower()
    today = datetime.fromtimestamp(now_at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if words in ("today", "yesterday"):
        return today - timedelta(days=words == "yesterday")
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:  # it has a time, or is none
        return None
