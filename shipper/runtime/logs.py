"""The log: structlog without global configuration, redacted, on a stream that may fail.

A terminal gets console lines, everything else one JSON object per line. The ``Redactor`` learns
every secret before anything could log it, and replaces it in every event.
"""

import base64
import itertools
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

from shipper.core.escapes import escaped
from shipper.core.failures import hint_for

# structlog loads rich where it is installed, which no log needs: 7 MiB of an idle daemon.
_rich = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: not to be found
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
REDACTED = "[redacted]"
_SECRET_NAMES = ("secret", "password", "authorization", "token")
_SHORTEST_SECRET = 8
_PIECE = 12
"""Of a secret of ``_LONG`` characters or more, a run of this many tells too much: it is redacted
wherever a text holds the whole of one of the secret's aligned pieces, and all around it."""
_LONG = 2 * _PIECE

Event = MutableMapping[str, Any]


class Stream(Protocol):
    """What of a text file a log needs."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


class Redactor:
    """Replaces secrets in everything that is logged; safe to share between threads.

    It knows a secret as ``repr`` and JSON write it, URL-encoded, in hexadecimal and within base64;
    and where a long one was cut, or stands in two fields, each part of it.
    """

    KEPT = 64
    """So many secrets are remembered; those of older session tokens have expired."""
    KEPT_IN_PIECES = 16
    """So many of the newest are known by their pieces, too, which take much more memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[str, set[str]] = {}
        self._whole: tuple[str, ...] = ()
        self._pieces: dict[str, tuple[str, int]] = {}

    def learn(self, secret: str) -> None:
        """Redact this text from now on; texts shorter than 8 characters are ignored."""
        if len(secret) < _SHORTEST_SECRET:
            return
        with self._lock:
            self._secrets[secret] = self._secrets.pop(secret, set()) or _forms(secret)
            if len(self._secrets) > self.KEPT:
                del self._secrets[next(iter(self._secrets))]
            forms = set[str]().union(*self._secrets.values())
            self._whole = tuple(sorted(forms, key=len, reverse=True))  # one may be in another
            self._pieces = {
                form[at : at + _PIECE]: (form, at)
                for known in list(self._secrets.values())[-self.KEPT_IN_PIECES :]
                for form in known
                if len(form) >= _LONG
                for at in range(0, len(form) - _PIECE + 1, _PIECE)
            }

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
        """The text without secrets, and with escapes for what would steer a terminal."""
        for form in self._whole:
            text = text.replace(form, REDACTED)
        return escaped(self._without_pieces(text) if self._pieces else text)

    def _without_pieces(self, text: str) -> str:
        pieces, shown, at, begun = self._pieces, [], 0, 0
        while at <= len(text) - _PIECE:
            found = pieces.get(text[at : at + _PIECE])
            if found is None:
                at += 1
                continue
            start, end = _extent(text, at, *found)
            shown += [text[begun : max(start, begun)], REDACTED]
            at = begun = end
        return "".join([*shown, text[begun:]])


def _extent(text: str, at: int, form: str, offset: int) -> tuple[int, int]:
    """From where to where the text holds what the form has around this offset."""
    start, end = at, at + _PIECE
    while start > 0 and offset > 0 and text[start - 1] == form[offset - 1]:
        start, offset = start - 1, offset - 1
    offset += end - start
    while end < len(text) and offset < len(form) and text[end] == form[offset]:
        end, offset = end + 1, offset + 1
    return start, end


def _forms(secret: str) -> set[str]:
    """How a secret may be written."""
    encoded = secret.encode("utf-8", "surrogatepass")
    found = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], encoded.hex()}
    found |= {encoded.hex().upper(), json.dumps(secret)[1:-1].replace("/", "\\/")}
    for special, form in itertools.product("+=/", ("\\u{:04x}", "\\u{:04X}")):
        found.add(secret.replace(special, form.format(ord(special))))
    found.add(re.sub("[^A-Za-z0-9]", lambda one: f"\\u{ord(one[0]):04x}", secret))
    for quoted in (quote(encoded), quote(encoded, safe=""), quote_plus(encoded)):
        lower = re.sub("%..", lambda escape: escape[0].lower(), quoted)
        found |= {quoted, quote(quoted, safe=""), lower}
    for before in range(3):  # where it begins within three bytes decides how base64 writes it
        text = base64.b64encode(bytes(before) + encoded).decode().rstrip("=")
        inner = text[(0, 2, 3)[before] : -1]
        found |= {inner, inner.translate({43: "-", 47: "_"})}
    return {form for form in found if len(form) >= _SHORTEST_SECRET}


def silent() -> Any:
    """A logger that drops everything."""
    return structlog.wrap_logger(None, processors=[_drop])


def _drop(_logger: Any, _name: str, _event: Any) -> Any:
    raise structlog.DropEvent


def log_of_process(level: str, format: str, stream: Stream | None = None) -> tuple[Any, Redactor]:
    """The log on standard error, and what nobody catches in it: a traceback may hold secrets."""
    redactor = Redactor()
    logger = make_logger(level, format, stream or sys.stderr, redactor)

    def crashed(error: BaseException | None) -> None:
        logger.critical("process.crashed", code="Bug", hint=hint_for("Bug"), exc_info=error)

    sys.excepthook = lambda _kind, error, _traceback: crashed(error)
    threading.excepthook = lambda uncaught: crashed(uncaught.exc_value)
    return logger, redactor


def make_logger(level: str, format: str, stream: Stream, redactor: Redactor) -> Any:
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

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        try:
            self._stream.write(_encodable(line, self._stream) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = _write


def _encodable(line: str, stream: Stream) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


class _Forward(logging.Handler):
    """Logs the libraries' warnings as events of ours."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what was said without what was filled in, which may be bytes off the wire."""
        said = str(record.msg) if record.args else f"line {record.lineno} of {record.module}"
        self._logger.warning("library.warned", library=record.name, detail=said)


def take_over_library_logs(logger: Any) -> None:
    """Send the libraries' warnings to this logger, and to no other."""
    for name in ("asyncio", "botocore", "boto3", "concurrent", "urllib3", "watchdog"):
        library = logging.getLogger(name)
        library.handlers = [_Forward(logger)]
        library.propagate = False

    def warned(_message: Any, category: type[Warning], filename: str, line: int, *_: Any) -> None:
        said = f"{category.__name__} in line {line}"
        logger.warning("library.warned", library=filename.rpartition("/")[2], detail=said)

    warnings.showwarning = warned  # type: ignore[assignment]  # called by position
