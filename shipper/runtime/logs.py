"""The log: structlog without global configuration, redacted, on a stream that may fail.

A terminal gets console lines, everything else one JSON object per line. The ``Redactor`` learns
every secret before anything could log it, and replaces it in every event.
"""

import logging
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
REDACTED = "[redacted]"
_SECRET_NAMES = ("secret", "password", "authorization", "token")
_SHORTEST_SECRET = 8

Event = MutableMapping[str, Any]


class Redactor:
    """Replaces secrets in everything that is logged; safe to share between threads."""

    KEPT = 64
    """So many secrets are remembered; those of older session tokens have expired."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()

    def learn(self, secret: str) -> None:
        """Redact this text from now on; texts shorter than 8 characters are ignored."""
        if len(secret) < _SHORTEST_SECRET:
            return
        with self._lock:
            others = (known for known in self._secrets if known != secret)
            self._secrets = (*others, secret)[-self.KEPT :]

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        return {name: self._clean(name, value) for name, value in event.items()}

    def _clean(self, name: str, value: Any) -> Any:
        if any(word in name.lower() for word in _SECRET_NAMES):
            return REDACTED
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.text(value.decode("utf-8", "replace"))
            case Mapping():
                named = [(str(key), inner) for key, inner in value.items()]
                return {self.text(key): self._clean(key, inner) for key, inner in named}
            case list() | tuple():
                return [self._clean("", inner) for inner in value]
            case bool() | int() | float() | None:
                return value
            case _:
                return self.text(str(value))

    def text(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):  # one may be in another
            text = text.replace(secret, REDACTED)
        return text


def silent() -> Any:
    """A logger that drops everything."""
    return structlog.wrap_logger(None, processors=[_drop])


def _drop(_logger: Any, _name: str, _event: Any) -> Any:
    raise structlog.DropEvent


def make_logger(level: str, format: str, stream: TextIO, redactor: Redactor) -> Any:
    """A logger that writes to ``stream``; ``format`` is auto, json or console."""
    is_console = format == "console" or (format == "auto" and stream.isatty())
    renderer: Any = (
        # Rich tracebacks show local variables, which may hold secrets.
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if is_console
        else structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
    )
    logger = structlog.wrap_logger(
        _Stream(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redactor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
    )
    take_over_library_logs(logger)
    return logger.bind()  # a lazy logger would bind itself again for every event


class _Stream:
    """Writes whole lines; a line that cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        try:
            self._stream.write(_encodable(line, self._stream) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = _write


def _encodable(line: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


class _Forward(logging.Handler):
    """Logs the libraries' warnings as events of ours."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self._logger.warning("library.warned", library=record.name, detail=record.getMessage())


def take_over_library_logs(logger: Any) -> None:
    """Send the libraries' warnings to this logger, and to no other."""
    for name in ("botocore", "urllib3", "watchdog"):
        library = logging.getLogger(name)
        library.handlers = [_Forward(logger)]
        library.propagate = False
