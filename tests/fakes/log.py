"""A log that remembers."""

from typing import Any


class RecordingLog:
    """Collects what is logged; ``events`` are the names in order."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def events(self) -> list[str]:
        """The event names, in order."""
        return [event for _, event, _ in self.records]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of every record of one event."""
        return [fields for _, name, fields in self.records if name == event]

    def _record(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.records.append((level, event, fields))

    def debug(self, event: str, **fields: Any) -> None:
        self._record("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._record("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._record("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._record("error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        self._record("critical", event, fields)
