"""The log: what it never shows, how it looks, and what it survives."""

import base64
import io
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.runtime.logs import REDACTED, Redactor, make_logger

SECRET = "wJalrXUtnFEMI/K7MDENG"
LIBRARIES = ("asyncio", "botocore", "boto3", "concurrent", "urllib3", "watchdog")


@pytest.fixture(autouse=True)
def _library_logs_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(one.handlers, one.propagate) for one in loggers]
    showwarning = warnings.showwarning
    yield
    warnings.showwarning = showwarning
    for one, (handlers, propagate) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate


class Lines:
    """A logger that writes JSON, and what it wrote."""

    def __init__(self, level: str = "debug", *, secrets: tuple[str, ...] = (SECRET,)) -> None:
        self.stream = io.StringIO()
        self.redactor = Redactor()
        for secret in secrets:
            self.redactor.learn(secret)
        self.log = make_logger(level, "json", self.stream, self.redactor)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text.split("\n")[-2])
        return found


class Credentials:
    """Something that shows what it should not."""

    def __str__(self) -> str:
        return f"<{SECRET}>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SECRET, REDACTED),
        (f"a {SECRET} and {SECRET}.", f"a {REDACTED} and {REDACTED}."),
        (SECRET.encode(), REDACTED),
        (b"\xff" + SECRET.encode(), f"\ufffd{REDACTED}"),
        ({"a": {"b": SECRET}}, {"a": {"b": REDACTED}}),
        ({SECRET: 1}, {REDACTED: 1}),
        ([1, [SECRET]], [1, [REDACTED]]),
        ((SECRET, {"a": (SECRET,)}), [REDACTED, {"a": [REDACTED]}]),
        ({SECRET}, f"{{'{REDACTED}'}}"),
        (bytearray(SECRET.encode()), f"bytearray(b'{REDACTED}')"),
        (Credentials(), f"<{REDACTED}>"),
        (ValueError(f"bad {SECRET}"), f"bad {REDACTED}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_learned_secret_is_shown_in_no_value(value: Any, shown: Any) -> None:
    lines = Lines()
    lines.log.info("thing.happened", detail=value)
    assert lines.last["detail"] == shown
    assert SECRET not in lines.text


@pytest.mark.parametrize(
    "name",
    [
        "secret",
        "SecretAccessKey",
        "secret_access_key",
        "password",
        "Authorization",
        "session_token",
        "SessionToken",
        "Token",
        "X-Amz-Security-Token",
        "X-aws-ec2-metadata-token",
    ],
)
def test_a_field_named_like_a_secret_is_never_shown(name: str) -> None:
    lines = Lines(secrets=())
    lines.log.info("thing.happened", **{name: "abc"})
    lines.log.info("thing.happened", headers={name: {"a": "abc"}})
    assert lines.last["headers"] == {name: REDACTED}
    assert "abc" not in lines.text


@pytest.mark.parametrize("value", [True, None, 0, -1.5, "text", [], {}])
def test_what_is_no_secret_is_shown_as_it_is(value: Any) -> None:
    lines = Lines()
    lines.log.info("thing.happened", key=value)
    assert lines.last["key"] == value
    assert type(lines.last["key"]) is type(value)


def test_a_traceback_is_shown_without_secrets() -> None:
    lines = Lines()
    try:
        raise OSError(f"no {SECRET}") from ValueError(SECRET)
    except OSError:
        lines.log.exception("thing.failed")
    assert "Traceback (most recent call last)" in lines.last["exception"]
    assert f"OSError: no {REDACTED}" in lines.last["exception"]
    assert f"ValueError: {REDACTED}" in lines.last["exception"]
    assert SECRET not in lines.text
    assert lines.last["level"] == "error"


def test_the_event_itself_is_shown_without_secrets() -> None:
    lines = Lines()
    event = f"got {SECRET}"
    lines.log.info(event)
    assert lines.last["event"] == f"got {REDACTED}"


def test_a_secret_inside_another_leaves_nothing_of_the_longer_one() -> None:
    redactor = Redactor()
    redactor.learn("12345678")
    redactor.learn("12345678-and-more")
    assert redactor.text("12345678-and-more 12345678") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize(("secret", "is_learned"), [("1234567", False), ("12345678", True)])
def test_what_is_too_short_to_be_a_secret_is_not_learned(secret: str, is_learned: bool) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    redactor.learn("")
    assert redactor.text(f"x{secret}x") == (f"x{REDACTED}x" if is_learned else f"x{secret}x")


def test_only_the_newest_secrets_are_kept_and_learning_again_makes_new() -> None:
    redactor = Redactor()
    secrets = [f"secret-{number:04}" for number in range(Redactor.KEPT)]
    for secret in [*secrets, secrets[0], "the-65th-secret"]:
        redactor.learn(secret)
    shown = [secret for secret in secrets if redactor.text(secret) == secret]
    assert shown == [secrets[1]]
    assert redactor.text("the-65th-secret") == REDACTED
    assert Redactor.KEPT == 64


def test_learning_one_secret_many_times_forgets_no_other() -> None:
    redactor = Redactor()
    for secret in ["the-first-secret", *["the-second-secret"] * Redactor.KEPT]:
        redactor.learn(secret)
    assert redactor.text("the-first-secret") == REDACTED


def test_secrets_may_be_learned_from_many_threads() -> None:
    redactor = Redactor()
    secrets = [f"secret-{number:04}" for number in range(Redactor.KEPT)]
    start = threading.Barrier(8)

    def learn(mine: list[str]) -> None:
        start.wait()
        for secret in mine:
            redactor.learn(secret)

    threads = [threading.Thread(target=learn, args=(secrets[one::8],)) for one in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {redactor.text(secret) for secret in secrets} == {REDACTED}


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.just(SECRET),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just(SECRET), inner),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_logged_is_one_line_of_json_without_a_secret(value: Any) -> None:
    lines = Lines()
    lines.log.info("thing.happened", detail=[value, f"{value}"])
    assert lines.text.count("\n") == 1
    assert lines.last["event"] == "thing.happened"
    assert SECRET not in lines.text


# How it looks.


def test_a_line_has_its_event_its_level_and_an_aware_time_in_utc() -> None:
    lines = Lines()
    lines.log.warning("part.stored", size_bytes=5)
    timestamp = lines.last.pop("timestamp")
    assert timestamp.endswith("Z")
    found = {**lines.last, "timestamp": ""}
    expected = {"event": "part.stored", "level": "warning", "size_bytes": 5, "timestamp": ""}
    assert found == expected


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_what_is_below_the_level_is_not_shown(level: str) -> None:
    lines = Lines(level)
    every = ["debug", "info", "warning", "error", "critical"]
    for one in every:
        getattr(lines.log, one)("thing.happened")
    shown = [json.loads(line)["level"] for line in lines.text.splitlines()]
    assert shown == every[every.index(level) :]


class Terminal:
    """A terminal, from both sides."""

    def __init__(self, far: int, stream: TextIO) -> None:
        self._far = far
        self.stream = stream

    def seen(self) -> str:
        return os.read(self._far, 65536).decode()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    far, near = os.openpty()
    with open(near, "w", encoding="utf-8") as stream:
        yield Terminal(far, stream)
    os.close(far)


def test_on_a_terminal_lines_are_for_people(terminal: Terminal) -> None:
    make_logger("info", "auto", terminal.stream, Redactor()).info("thing.happened", count=3)
    seen = terminal.seen()
    assert "\x1b[" in seen
    assert "thing.happened" in seen
    assert not seen.startswith("{")


def test_json_may_be_had_on_a_terminal_too(terminal: Terminal) -> None:
    make_logger("info", "json", terminal.stream, Redactor()).info("thing.happened", count=3)
    assert json.loads(terminal.seen())["count"] == 3


def test_console_lines_may_be_had_in_a_file_without_colours() -> None:
    stream = io.StringIO()
    make_logger("info", "console", stream, Redactor()).info("thing.happened", count=3)
    assert "thing.happened" in stream.getvalue()
    assert stream.getvalue().rstrip().endswith("count=3")
    assert "\x1b[" not in stream.getvalue()


def test_without_a_terminal_lines_are_json() -> None:
    stream = io.StringIO()
    make_logger("info", "auto", stream, Redactor()).info("thing.happened", count=3)
    assert json.loads(stream.getvalue())["count"] == 3


def test_a_traceback_for_people_is_plain_and_without_secrets(terminal: Terminal) -> None:
    redactor = Redactor()
    redactor.learn(SECRET)
    log = make_logger("info", "auto", terminal.stream, redactor)
    local_secret = SECRET
    try:
        raise OSError(local_secret)
    except OSError:
        log.exception("thing.failed")
    seen = terminal.seen()
    assert f"OSError: {REDACTED}" in seen
    assert SECRET not in seen


# What it survives.


def test_a_full_disk_costs_the_line_and_not_the_daemon() -> None:
    written = 0
    closing = pytest.raises(OSError, match="No space left")
    with closing, open("/dev/full", "w", encoding="utf-8") as stream:
        log = make_logger("info", "json", stream, Redactor())
        for _ in range(100):
            log.info("thing.happened", detail="x" * 1000)
            written += 1
    assert written == 100


class TroubledStream(io.StringIO):
    """A stream whose disk is full for a while."""

    is_full = False

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_when_the_disk_has_room_again_the_next_line_is_whole() -> None:
    stream = TroubledStream()
    log = make_logger("info", "json", stream, Redactor())
    for number, is_full in enumerate([False, True, False]):
        stream.is_full = is_full
        log.info("thing.happened", number=number)
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [0, 2]


def test_a_closed_stream_costs_the_line_and_not_the_daemon() -> None:
    stream = io.StringIO()
    log = make_logger("info", "json", stream, Redactor())
    stream.close()
    log.info("thing.happened")
    assert stream.closed


def test_a_reader_that_is_gone_costs_the_line_and_not_the_daemon() -> None:
    written = 0
    reader, writer = os.pipe()
    closing = pytest.raises(BrokenPipeError)
    with closing, open(writer, "w", encoding="utf-8") as stream:
        log = make_logger("info", "json", stream, Redactor())
        os.close(reader)
        for _ in range(2):
            log.info("thing.happened")
            written += 1
    assert written == 2


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "café \\udce9 \U0001f600"),
        ("latin-1", "café \\udce9 \\U0001f600"),
        ("ascii", "caf\\xe9 \\udce9 \\U0001f600"),
    ],
)
def test_what_a_stream_cannot_encode_is_written_as_escapes(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as stream:
        log = make_logger("info", "console", stream, Redactor())
        log.info("thing.happened", path="café \udce9 \U0001f600")
        assert shown in raw.getvalue().decode(encoding)


# What libraries say.


@pytest.mark.parametrize("library", [*LIBRARIES, "botocore.retries", "urllib3.connectionpool"])
def test_a_warning_of_a_library_is_an_event_without_secrets(library: str) -> None:
    lines = Lines("info")
    logging.getLogger(library).warning("%s failed with %s", "signing", SECRET)
    assert lines.last["event"] == "library.warned"
    assert lines.last["library"] == library
    assert lines.last["detail"] == "%s failed with %s"


def test_what_a_library_formatted_itself_is_not_repeated() -> None:
    lines = Lines("info")
    logging.getLogger("asyncio").warning(f"unparsed data: {'off the wire'!r}")  # noqa: G004
    assert "off the wire" not in lines.text
    assert lines.last["library"] == "asyncio"


def test_a_python_warning_is_an_event_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    lines = Lines("info")
    warnings.showwarning(UserWarning("off the wire"), UserWarning, "/lib/thing.py", 7)
    assert (lines.last["library"], lines.last["detail"]) == ("thing.py", "UserWarning in line 7")


LONG = "IQoJb3JpZ2lu/X2VjEJr+AAAaCXVz'LWVhc3Qt\\MSJ=IMEYCIQDx9Z%2B"


@pytest.mark.parametrize(
    "written",
    [
        repr(LONG),
        repr(LONG.encode()),
        json.dumps({"a": LONG}),
        quote(LONG),
        quote(LONG, safe=""),
        quote_plus(LONG),
        re.sub("%..", lambda escape: escape[0].lower(), quote(LONG, safe="")),
        LONG.encode().hex(),
        *(base64.b64encode(b"x" * n + LONG.encode() + b"more").decode() for n in range(6)),
        *(base64.urlsafe_b64encode(b"x" * n + LONG.encode()).decode() for n in range(3)),
        LONG[:30],
        LONG[20:],
        LONG[7:37] + "…",
        f"{LONG}{LONG}",
    ],
)
def test_a_secret_is_known_however_it_is_written_and_cut(written: str) -> None:
    lines = Lines(secrets=(LONG,))
    lines.log.info("thing.happened", detail=f"before {written} after", hint=[written])
    shown = lines.last["detail"]
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert REDACTED in shown
    longest = max(len(part) for part in re.split(r"\[redacted\]|before | after", shown))
    assert longest < 24


def test_a_secret_that_is_split_across_fields_is_in_neither() -> None:
    lines = Lines(secrets=(LONG,))
    lines.log.info("thing.happened", detail=LONG[:29], hint=LONG[29:])
    assert LONG[5:20] not in lines.text
    assert LONG[35:50] not in lines.text


def test_control_characters_reach_no_log_line() -> None:
    stream = io.StringIO()
    make_logger("info", "console", stream, Redactor()).info("x", detail="a\x1b[31m\x9b2J\u202eb")
    assert "a\\x1b[31m\\x9b2J\\u202eb" in stream.getvalue()


def test_what_libraries_say_below_a_warning_is_not_shown() -> None:
    lines = Lines("debug")
    library = logging.getLogger("botocore")
    before = library.level
    library.setLevel(logging.DEBUG)
    library.info("signing with %s", SECRET)
    library.setLevel(before)
    assert lines.text == ""


def test_a_warning_of_a_library_is_shown_once_however_many_loggers_were_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = Lines(), Lines()
    logging.getLogger("urllib3").warning("retrying")
    assert (first.text, second.text.count("library.warned")) == ("", 1)
    assert caplog.records == [], "the root logger has it too"
