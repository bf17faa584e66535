"""Durations, sizes, rates and percentages as people write them.

``"1h30m"``, ``"16MiB"``, ``"20MiB/s"``, ``"85%"``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_NUMBER = r"(\d{1,12}(?:\.\d{1,12})?)"
_LONGEST_DAYS = 3650
_DURATION_PART = re.compile(_NUMBER + r"\s*(ms|[smhdw])\s*", re.ASCII)
_SIZE = re.compile(_NUMBER + r"\s*([A-Za-z]*)", re.ASCII)
_PERCENTAGE = re.compile(_NUMBER + r"\s*%", re.ASCII)


def seconds_from_text(text: str) -> float:
    """``"30s"``, ``"10m"``, ``"1h30m"``, ``"500ms"`` in seconds.

    Raises:
        ValueError: no duration, with what one looks like.
    """
    parts = _DURATION_PART.findall(text)
    if not parts or _DURATION_PART.sub("", text.strip()):
        raise ValueError(f'{text!r} is no duration; write "30s", "10m" or "1h30m"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST_DAYS * _SECONDS["d"]:
        raise ValueError(f'{text!r} is too long; write "{_LONGEST_DAYS}d" or less')
    return seconds


def rate_from_text(text: str) -> float:
    """``"20MiB/s"`` in bytes per second; 0 where there is no text.

    Raises:
        ValueError: no rate, with what one looks like.
    """
    if not text.strip():
        return 0.0
    size, _, unit = text.strip().rpartition("/")
    found = _SIZE.fullmatch(size.strip())
    rate = Decimal(found[1]) * _BYTES[found[2]] if found and found[2] in _BYTES else Decimal(0)
    if unit.strip() != "s" or rate < 1:
        raise ValueError(f'{text!r} is no rate; write "20MiB/s" or "500kB/s"')
    return float(rate)


def bytes_from_text(text: str) -> int:
    """``"16MiB"``, ``"5MB"``, ``"1024"`` in bytes.

    Raises:
        ValueError: no size, with what one looks like.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2] not in _BYTES:
        raise ValueError(f'{text!r} is no size; write "16MiB", "5MB" or "1024"')
    return int(Decimal(found[1]) * _BYTES[found[2]])


def ratio_from_text(text: str) -> float:
    """``"85%"`` as 0.85; 0 where there is no text.

    Raises:
        ValueError: no percentage, with what one looks like.
    """
    if not text.strip():
        return 0.0
    found = _PERCENTAGE.fullmatch(text.strip())
    if found is None or not Decimal(found[1]):
        raise ValueError(f'{text!r} is no percentage; write "85%"')
    return float(Decimal(found[1]) / 100)


def text_from_ratio(ratio: float) -> str:
    """What ``ratio_from_text`` reads as this ratio; no text for none."""
    return f"{100 * ratio:.12g}%" if ratio else ""


def text_from_seconds(seconds: float) -> str:
    """What ``seconds_from_text`` reads as these seconds, to the millisecond."""
    units = {unit: round(1000 * size) for unit, size in _SECONDS.items()}
    return _in_largest_unit(round(1000 * seconds), units) or "0s"


def text_from_bytes(size: float) -> str:
    """What ``bytes_from_text`` reads as these bytes."""
    return _in_largest_unit(int(size), _BYTES) or "0"


def text_from_rate(rate: float) -> str:
    """What ``rate_from_text`` reads as these bytes per second; no text for no limit."""
    return f"{text_from_bytes(rate)}/s" if rate else ""


def _in_largest_unit(number: int, units: dict[str, int]) -> str:
    """The number as a whole count of the largest unit that divides it."""
    by_size = sorted(units.items(), key=lambda unit: unit[1], reverse=True)
    whole = (f"{number // size}{unit}" for unit, size in by_size if number % size == 0)
    return next(whole) if number else ""


_DIGITS = r"\s*[0-9]{1,12}(\.[0-9]{1,12})?\s*"
_SIZES = "|".join(sorted(_BYTES, reverse=True))
DURATION = rf"^({_DIGITS}(ms|[smhdw]))+\s*$"
SIZE = rf"^{_DIGITS}({_SIZES})\s*$"
RATIO = rf"^({_DIGITS}%)?\s*$"
RATE = rf"^({_DIGITS}({_SIZES})\s*/\s*s)?\s*$"


@dataclass(frozen=True, slots=True)
class Unit:
    """How the values of a field are written in the file, and read."""

    kind: str
    example: str
    read: Callable[[str], float]
    write: Callable[[float], str]
    pattern: str
    """For editors (``config.schema_json``): matches every text that ``read`` takes."""


UNITS = {
    "_bytes_per_second": Unit("rate", '"20MiB/s"', rate_from_text, text_from_rate, RATE),
    "_bytes": Unit("size", '"16MiB"', bytes_from_text, text_from_bytes, SIZE),
    "_ratio": Unit("percentage", '"85%"', ratio_from_text, text_from_ratio, RATIO),
    "_seconds": Unit("duration", '"30s" or "10m"', seconds_from_text, text_from_seconds, DURATION),
}
"""By the end of the field's name."""
