"""Whose names are rotated logs, and of which log."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shipper.core.globs import glob_pattern
from shipper.core.roles import overlap, role_of
from shipper.core.rotated_names import is_compressed, rotated_name, stem_and_extension
from shipper.core.types import RelativePath, Role, Watch, WatchName
from tests.machines.world import WATCH

ROTATED = {
    # logrotate
    b"app.log.1": (b"app.log", b""),
    b"app.log.14.gz": (b"app.log", b".gz"),
    b"syslog.1": (b"syslog", b""),
    b"messages-20261123": (b"messages", b""),
    b"app.log-20261123.gz": (b"app.log", b".gz"),
    b"app.log-2026112314": (b"app.log", b""),
    b"app.log-20261123-1764000000": (b"app.log", b""),
    b"app.1.log": (b"app.log", b""),
    b"app-20261123.log": (b"app.log", b""),
    b"app.log.1.zst": (b"app.log", b".zst"),
    b"app.log.1.xz": (b"app.log", b".xz"),
    b"app.log.1.bz2": (b"app.log", b".bz2"),
    # Python's handlers
    b"timed.log.2026-11-23": (b"timed.log", b""),
    b"timed.log.2026-11-23_14": (b"timed.log", b""),
    b"timed.log.2026-11-23_14-05": (b"timed.log", b""),
    b"timed.log.2026-11-23_14-05-59": (b"timed.log", b""),
    # log4j, logback
    b"app-2026-11-23-1.log.gz": (b"app.log", b".gz"),
    b"app.2026-11-23.log": (b"app.log", b""),
    b"app-11-23-2026-3.log": (b"app.log", b""),
    b"app.2026-11.log": (b"app.log", b""),
    # Tomcat
    b"catalina.2026-11-23.log": (b"catalina.log", b""),
    b"localhost_access_log.2026-11-23.txt": (b"localhost_access_log.txt", b""),
    # rotatelogs
    b"access_log.1764000000": (b"access_log", b""),
    # journald
    b"system@0006123456789abc-0123456789abcdef.journal": (b"system.journal", b""),
    # log4j
    b"bar.log.2002-23": (b"bar.log", b""),
    b"bar.log.2002-02-09-AM": (b"bar.log", b""),
    b"app-28-11-2026.log": (b"app.log", b""),
    # logrotate's dateformat, and what it sets aside
    b"app.log-202611": (b"app.log", b""),
    b"app.log-28112026": (b"app.log", b""),
    b"app.log-202647": (b"app.log", b""),
    b"app.log-2026-W47": (b"app.log", b""),
    b"app.log-2026333": (b"app.log", b""),
    b"app.log_1764000000": (b"app.log", b""),
    b"ssf-json.log-2023-01-05-2023010600.backup": (b"ssf-json.log", b""),
    b"app.log.28-Nov-2026": (b"app.log", b""),
    # everybody
    b"app.log.old": (b"app.log", b""),
    b"Player-prev.log": (b"Player.log", b""),
    b"app.log.1.lzo": (b"app.log", b".lzo"),
    b"app.log.1.br": (b"app.log", b".br"),
    b"app.log.1.tar.gz": (b"app.log", b".tar.gz"),
    # svlogd, s6
    b"@400000005cd420612d10facc.s": (b"current", b""),
    # Jetty, rotating-file-stream, syslog-ng
    b"2024_01_01.request.log": (b"request.log", b""),
    b"20151201-1200-01-file.log": (b"file.log", b""),
    b"2017-09-15-04-hp-rtr.log": (b"hp-rtr.log", b""),
    # Serilog, IIS, winston, lumberjack
    b"log20180631.txt": (b"log.txt", b""),
    b"log20240101_001.txt": (b"log.txt", b""),
    b"u_ex240101.log": (b"u_ex.log", b""),
    b"run20130629190056.log": (b"run.log", b""),
    b"app-2026-11-28T14-30-00.123456789.log": (b"app.log", b""),
    # WebLogic, Supervisor, java.util.logging
    b"AdminServer.log00001": (b"AdminServer.log", b""),
    b"myapp.log1": (b"myapp.log", b""),
    b"java0.log.1": (b"java0.log", b""),
    # Zeek, Spark
    b"conn.13:00:00-14:00:00.log.gz": (b"conn.log", b".gz"),
    b"stdout--2024-01-01--00-00": (b"stdout", b""),
    b"user-1000@0006123456789abc-0123456789abcdef.journal~": (b"user-1000.journal", b""),
}


@pytest.mark.parametrize("name", list(ROTATED))
def test_every_rotators_names_are_known_and_lead_to_the_log(name: bytes) -> None:
    found = rotated_name(RelativePath(b"some/where/" + name))
    assert found is not None
    assert (found.stem, found.extension) == ROTATED[name]


@pytest.mark.parametrize(
    "name",
    [
        b"app.log",
        b"access_log",
        b"syslog",
        b"catalina.out",
        b"error.txt",
        b".app.log.swp",
        b"app.log.tmp",
        b"app.pid",
        b"app.log.gz.part",
        b"logrotate.status",
        b"README",
        b".gz",
        b"system.journal",
    ],
)
def test_live_logs_and_other_files_are_no_rotated_logs(name: bytes) -> None:
    assert rotated_name(RelativePath(name)) is None


def test_all_copies_of_a_log_have_one_stem() -> None:
    names = (b"app.log.1", b"app.log.2.gz", b"app.log-20261123.gz", b"deep/app.log.9.xz")
    assert {stem_and_extension(RelativePath(name)).stem for name in names} == {b"app.log"}


def test_a_name_no_rotator_gives_is_its_own_stem() -> None:
    assert stem_and_extension(RelativePath(b"odd.gz")).stem == b"odd"
    assert stem_and_extension(RelativePath(b"odd.gz")).extension == b".gz"


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_bytes_have_a_stem(name: bytes) -> None:
    assert isinstance(stem_and_extension(RelativePath(name)).stem, bytes)


@given(st.binary(min_size=1).filter(lambda name: not {b"\0", b"/", b"@"} & {name[:1]}))
def test_whatever_a_log_is_called_its_first_rotation_is_found(name: bytes) -> None:
    if b"/" in name or b"\0" in name:
        return
    assert rotated_name(RelativePath(name + b".log.1")) is not None


def test_compressed_is_told_by_the_extension() -> None:
    assert is_compressed(RelativePath(b"a.log.1.gz"))
    assert not is_compressed(RelativePath(b"a.log.1"))


@pytest.mark.parametrize(
    ("path", "role"),
    [
        (b"app.log.1", Role.ROTATED),
        (b"app.log", Role.LIVE),
        (b"notes", None),
        (b"secret/app.log.1", None),
    ],
)
def test_a_watch_without_include_takes_what_rotators_name(path: bytes, role: Role | None) -> None:
    watch = replace(WATCH, exclude=("secret/**",))
    assert role_of(watch, RelativePath(path)) is role


def test_include_replaces_the_rotators_names() -> None:
    watch = replace(WATCH, include=("*.old",), live=())
    assert role_of(watch, RelativePath(b"deep/app.old")) is Role.ROTATED
    assert role_of(watch, RelativePath(b"app.log.1")) is None


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("[+--].log", b",.log", True),
        ("*.log.*", b"a.log.1", True),
        ("*.log.*", b"deep/er/a.log.1", True),
        ("/a.log", b"a.log", False),
        ("a/*.log", b"a/b.log", True),
        ("a/*.log", b"a/b/c.log", False),
        ("a/**/c.log", b"a/c.log", True),
        ("a/**/c.log", b"a/b/b/c.log", True),
        ("a/**", b"a/b/c", True),
        ("app.log.?", b"app.log.1", True),
        ("app.log.?", b"app.log.10", False),
        ("app.[0-9].log", b"app.7.log", True),
        ("app.[!0-9].log", b"app.7.log", False),
        ("app.[!0-9].log", b"app.x.log", True),
        ("app.[x", b"app.[x", True),
        ("*.log", b"two\nlines.log", True),
        ("caf\udce9.log", b"caf\xe9.log", True),
        ("a+b.log", b"a+b.log", True),
        ("[]]x", b"]x", True),
    ],
)
def test_globs(glob: str, path: bytes, matches: bool) -> None:
    assert bool(glob_pattern(glob).fullmatch(path)) is matches


@given(st.text(alphabet="ab*?./", min_size=1, max_size=8), st.text("ab./", max_size=8))
def test_globs_agree_with_a_slow_and_simple_reading(glob: str, path: str) -> None:
    assume(not path.startswith("/") and "//" not in path)  # no path of a watch is
    assume(not re.search(r"[^/*]\*\*+/", glob))
    anchored = glob if "/" in glob else f"**/{glob}"
    assert bool(glob_pattern(glob).fullmatch(path.encode())) is _matches(anchored, path)


def _matches(glob: str, path: str) -> bool:
    if not glob:
        return not path
    if glob.startswith("**/"):
        rest = glob[3:]
        starts = [0] + [i + 1 for i, c in enumerate(path) if c == "/" and _is_walk(path[: i + 1])]
        return any(_matches(rest, path[start:]) for start in starts)
    if glob.startswith("**"):
        return any(_matches(glob[2:], path[i:]) for i in range(len(path) + 1))
    if glob[0] == "*":
        ends = re.match("[^/]*", path)
        assert ends is not None
        return any(_matches(glob[1:], path[i:]) for i in range(ends.end() + 1))
    if not path:
        return False
    is_one = path[0] != "/" if glob[0] == "?" else glob[0] == path[0]
    return is_one and _matches(glob[1:], path[1:])


def _is_walk(directories: str) -> bool:
    return "" not in directories[:-1].split("/")


def watching(directory: str, **options: Any) -> Watch:
    return Watch(name=WatchName(directory), directory=directory, **options)


@pytest.mark.parametrize(
    ("one", "other", "is_overlap"),
    [
        (watching("/var/log"), watching("/var/log"), True),
        (watching("/var/log"), watching("/var/log/nginx"), True),
        (watching("/"), watching("/var/log"), True),
        (watching("/var/log", recursive=False), watching("/var/log/nginx"), False),
        (watching("/var/log", exclude=("nginx/**",)), watching("/var/log/nginx"), False),
        (watching("/var/log"), watching("/var/logs"), False),
        (watching("/l", include=("a*.log.*",)), watching("/l", include=("e*.log.*",)), False),
        (watching("/l", include=("*.gz",)), watching("/l", include=("a[0-9].gz",)), True),
        (watching("/l", include=("done/*.txt",)), watching("/l"), False),
    ],
)
def test_watches_that_would_ship_a_file_twice_overlap(
    one: Watch, other: Watch, is_overlap: bool
) -> None:
    assert overlap(one, other) is overlap(other, one) is is_overlap
