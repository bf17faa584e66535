"""Which of a directory's names are finished logs, which are written, and which are neither."""

import cProfile
import string
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.dates_in_names import earlier_clock, periods
from shipper.core.globs import glob_pattern
from shipper.core.roles import may_be_held_open, overlap, role_and_reason, role_of, selection
from shipper.core.rotated_names import rotated_name, stem_and_extension
from shipper.core.siblings import NO_SIBLINGS, Listed, Siblings
from shipper.core.types import RelativePath, Role, Watch

WATCH = Watch(directory="/logs")
NOW = datetime(2026, 11, 29, 6, 30, tzinfo=UTC)
ROTATED, LIVE = Role.ROTATED, Role.LIVE


def roles(*names: str, watch: Watch = WATCH, links: tuple[str, ...] = ()) -> list[Role | None]:
    """The roles of names that stand in one directory."""
    beside = Siblings(lambda: [Listed(name.encode(), name in links) for name in (*names, *links)])
    return [role_of(watch, RelativePath(name.encode()), beside, NOW) for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "laravel-2026-11-29.log",
        "catalina.2026-11-29.log",
        "2026_11_29.request.log",
        "log20261129.txt",
        "u_ex261129.log",
        "app-29-11-2026.log",
        "app-2026-11-29-06.log",
        "app-2026-11.log",
        "app-2026-W48.log",
        "access_log.20261129",
        "20261129/10.0.0.1/jboss.log",
        "20261129/web-01.log",
        "2026/11/29/10.0.0.1",
        "2026/11/29/06/messages",
        "2026-11/messages",
    ],
)
def test_a_dated_name_is_live_until_its_period_is_over(name: str) -> None:
    path = RelativePath(name.encode())
    assert role_of(WATCH, path, NO_SIBLINGS, NOW) is LIVE
    assert selection(WATCH, path, NO_SIBLINGS, NOW) is None, "it is asked about again"
    assert role_of(WATCH, path, NO_SIBLINGS, NOW + timedelta(days=40)) is ROTATED
    included = replace(WATCH, include=("**/*",))
    assert role_of(included, path, NO_SIBLINGS, NOW) is LIVE


@pytest.mark.parametrize(
    "name",
    [
        "app.log-20261129",
        "messages-20261129",
        "app.log.2026-11-29",
        "laravel-2026-11-29.log.gz",
        "laravel-2026-11-28.log",
        "app-2026-11-29T06-29-00.000.log",
        "app__2026-11-29_06-00-00.log",
        "app-2026-11-29-05.log",
        "app-2029-01-01.log",
        "20261128/10.0.0.1/jboss.log",
        "20261129/jboss.log.gz",
    ],
)
def test_what_a_rotator_has_renamed_does_not_wait(name: str) -> None:
    assert roles(name) == [ROTATED]


def test_the_undated_name_beside_it_says_that_it_was_renamed_and_a_link_that_it_is_written() -> (
    None
):
    assert roles("app-20261129.log", "app.log") == [ROTATED, LIVE]
    assert roles("app-20261129.log", links=("app.log",)) == [LIVE]
    assert roles("app.log.20261129", links=("app.log",)) == [LIVE]


def test_a_newer_member_of_its_series_finishes_a_dated_log() -> None:
    assert roles("log20261129.txt", "log20261129_001.txt") == [ROTATED, LIVE]
    assert roles("app-2026-11-29.log", "app-2026-11-30.log") == [ROTATED, LIVE]
    assert roles("app-2026-11-29-9.log", "app-2026-11-29-12.log") == [ROTATED, LIVE]


def test_of_a_dated_log_in_numbers_the_highest_may_be_the_one_that_is_written() -> None:
    names = ("info-2026-11-29.log", "info-2026-11-29.log.1", "info-2026-11-29.log.2")
    assert roles(*names) == [LIVE, ROTATED, LIVE]
    assert roles("info-2023-12-11.log.1") == [ROTATED]


def test_a_bare_number_is_a_rotation_only_beside_its_log_or_a_series_with_rotations() -> None:
    for name in ("worker-1.log", "php-fpm-8.2.log", "Xorg.0.log", "python3.11.log", "0.log"):
        assert roles(name) == [LIVE]
    assert roles("app.1.log", "app.log") == [ROTATED, LIVE]
    assert roles("app.1.log", "app.2.log.gz") == [ROTATED, ROTATED]
    assert roles("app-2025.log", "app-2026.log") == [ROTATED, LIVE]
    assert roles("app.1", "app") == [ROTATED, LIVE]
    assert roles("app.1") == [None]


def test_an_explicit_live_glob_beats_the_names_that_rotators_give() -> None:
    watch = replace(WATCH, live=("*.log", "worker-*.log", "audit.*"))
    assert roles("worker-1.log", "worker.log", "audit.1", watch=watch) == [LIVE, LIVE, LIVE]
    assert roles("app-2026-11-28.log", watch=watch) == [ROTATED]


def test_logs_whose_rotations_the_watch_ships_are_live_without_a_setting() -> None:
    for name in (
        "access_log",
        "messages",
        "syslog",
        "catalina.out",
        "current",
        "gc.log.0.current",
    ):
        assert roles(name) == [LIVE]
    assert roles("myapp", "myapp-20261120") == [LIVE, ROTATED]
    assert roles("myapp", "myapp.1.gz") == [LIVE, ROTATED]
    assert roles("myapp", "other-20261120") == [None, ROTATED]
    narrow = replace(WATCH, include=("access_log-*",), exclude=("*.bad-*",))
    assert roles("access_log", "messages", "myapp.bad", watch=narrow) == [LIVE, None, None]


@pytest.mark.parametrize(
    "name",
    [
        "nginx.conf",
        "nginx.conf.1",
        "config.yml.old",
        "app.pid",
        "app.lock",
        "libssl.so.3",
        "README",
        "python3.11",
        "app-1.2.3",
        "release-2024-01-01.tar.gz",
        "foo-1.2.3.tar.gz",
        "linux-6.1.tar.xz",
        "backup-2024-01-01.zip",
        "dump.sql-20240101",
        "3f2504e0-4f89-11d3-9a0c-030520240101",
        "mysql-bin.000001",
        "server:8080",
        "key.pem.bak",
        "app.jar",
        "photo.2024.jpg",
        "2024/01/01/photo.jpg",
        "2024/01/01/app.pid",
        "app.tmp.1",
        "app.log.swp",
        "notes.old",
        "build-201205",
    ],
)
def test_ordinary_files_are_left_alone(name: str) -> None:
    assert role_of(WATCH, RelativePath(name.encode()), NO_SIBLINGS, NOW) is None


NUMBERS = st.integers(0, 99)
WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=8)


@given(WORDS, NUMBERS, NUMBERS, NUMBERS)
def test_no_version_is_a_rotation(name: str, major: int, minor: int, patch: int) -> None:
    for ending in ("", ".so", ".jar", ".conf", ".tar.gz", ".whl"):
        path = RelativePath(f"{name}-{major}.{minor}.{patch}{ending}".encode())
        assert role_of(WATCH, path, NO_SIBLINGS, NOW) is not ROTATED


@given(st.uuids(), st.sampled_from(["", ".log", ".pid", ".json", ".log.tmp"]))
def test_no_uuid_is_a_rotation(number: object, ending: str) -> None:
    assert (
        role_of(WATCH, RelativePath(f"job-{number}{ending}".encode()), NO_SIBLINGS) is not ROTATED
    )


@given(WORDS, st.integers(1024, 65535))
def test_no_port_or_process_is_a_rotation(word: str, number: int) -> None:
    name = f"{word}q"  # a log's name, such as debug, would be one
    for path in (f"{name}-{number}.log", f"{name}.{number}", f"{name}-{number}", f"{number}.log"):
        assert role_of(WATCH, RelativePath(path.encode()), NO_SIBLINGS, NOW) is not ROTATED


@given(st.text("0123456789abcdef", min_size=32, max_size=64))
def test_no_hash_is_a_rotation(digest: str) -> None:
    path = RelativePath(f"main.{digest}z.json".encode())
    assert role_of(WATCH, path, NO_SIBLINGS, NOW) is not ROTATED


@given(st.dates(date(2000, 1, 2), date(2090, 1, 1)), st.sampled_from([0, 1]))
def test_the_day_of_a_name_is_over_at_its_midnight(day: date, late: int) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    now = start + timedelta(days=1) - timedelta(seconds=1 - late)
    path = RelativePath(f"app-{start:%Y-%m-%d}.log".encode())
    assert role_of(WATCH, path, NO_SIBLINGS, now) is (ROTATED if late else LIVE)


@given(st.floats(0, 4e9))
def test_the_clock_that_is_behind_decides(now: float) -> None:
    assert earlier_clock(now) <= datetime.fromtimestamp(now, UTC)


def test_a_date_that_may_be_read_in_several_ways_has_several_periods() -> None:
    assert {(one.start.month, one.start.day) for one in periods(b"11-12-2026")} == {
        (11, 12),
        (12, 11),
    }
    [half] = periods(b"2026-11-29", b"-PM")
    assert (half.start.hour, half.end.day) == (12, 30)
    assert [one.start.day for one in periods(b"28-Nov-2026")] == [28]
    assert [one.start.day for one in periods(b"2026-Nov-28")] == [28]
    assert [one.start.timetuple().tm_yday for one in periods(b"2026-333")] == [333]
    assert periods(b"2026-366") == periods(b"99-Xxx-1") == periods(b"") == ()


def test_todays_log_may_be_held_open_for_hours() -> None:
    for name in (b"postgresql-2026-11-29_000000.log", b"app.log.2026-11-29", b"java0.log.0"):
        assert may_be_held_open(RelativePath(name), NOW)
    for name in (b"postgresql-2026-11-28_000000.log", b"app.log.1", b"app.log"):
        assert not may_be_held_open(RelativePath(name), NOW)


def test_an_excluded_name_is_never_asked_about_again() -> None:
    watch = replace(WATCH, exclude=("*-2026*",))
    assert selection(watch, RelativePath(b"a-2026-11-29.log"), NO_SIBLINGS, NOW) is False
    assert selection(WATCH, RelativePath(b"app.log"), NO_SIBLINGS, NOW) is False
    assert selection(WATCH, RelativePath(b"app.log.1"), NO_SIBLINGS, NOW) is True


def test_a_live_name_is_selected_and_noted_where_that_is_asked_for() -> None:
    live: set[RelativePath] = set()
    every = replace(WATCH, live=("*.log", "*.gz", "data"))
    names = (b"app.log", b"app.log.1", b"app.log.gz", b"data")
    selected = [selection(every, RelativePath(name), NO_SIBLINGS, NOW, live) for name in names]
    assert selected == [True, True, False, True]
    assert live == {b"app.log", b"data"}
    assert (
        "until 2026-11-30"
        in role_and_reason(WATCH, RelativePath(b"a-2026-11-29.log"), NO_SIBLINGS, NOW)[1]
    )


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*a*a*a*a*a*a*a*a*b", "a" * 255),
        ("**a*a**a*b", "a/" * 60 + "a" * 255),
        ("**/*a*/**/*a*/**/b", "a/" * 60 + "c"),
        ("*?*?*?*?*?*?*b", "a" * 255),
    ],
)
def test_a_glob_never_goes_back_over_a_name(glob: str, path: str) -> None:
    """With a translation that backtracks, this test does not end."""
    pattern = glob_pattern(glob)
    assert not any(pattern.fullmatch(path.encode()) for _ in range(100))


@pytest.mark.parametrize(
    ("one", "other", "is_overlap"),
    [
        ({"include": ("x.*",)}, {"include": ("*.gz",)}, True),
        ({}, {"include": ("*.gz",)}, True),
        ({}, {"include": ("x.*.gz",)}, True),
        ({"include": ("*.log.*",)}, {"include": ("*.1.gz",)}, True),
        ({"include": ("*.gz",)}, {"include": ("*.zst",)}, False),
        ({"directory": "/a", "archive_directory": "/logs/old"}, {}, True),
        ({"directory": "/a", "archive_directory": "/logs/old"}, {"recursive": False}, False),
        ({"directory": "/a", "archive_directory": "/old"}, {}, False),
    ],
)
def test_watches_that_meet_in_compressed_names_or_archives_overlap(
    one: dict[str, object], other: dict[str, object], is_overlap: bool
) -> None:
    first, second = (replace(WATCH, **fields) for fields in (one, other))  # type: ignore[arg-type]
    assert overlap(first, second) is overlap(second, first) is is_overlap


def test_a_log_whose_rotations_are_excluded_is_no_live_log() -> None:
    watch = Watch("/logs", exclude=("messages.*", "messages-*"))
    assert role_of(watch, RelativePath(b"messages")) is None
    assert role_of(Watch("/logs"), RelativePath(b"messages")) is Role.LIVE


def test_there_is_no_week_54() -> None:
    assert periods(b"2024w54") == ()


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("postgresql-Sun.log", LIVE),  # today's
        ("postgresql-Mon.log", LIVE),  # tomorrow's, where the other clock is ahead
        ("postgresql-Sat.log", ROTATED),
        ("postgresql-Tue.csv", ROTATED),  # of five days ago
        ("postgresql-Sun.log.gz", ROTATED),
        ("backup-Sunday.log", LIVE),
    ],
)
def test_the_log_of_a_weekday_is_live_while_that_day_may_be_today(name: str, role: Role) -> None:
    assert roles(name) == [role]
    assert selection(WATCH, RelativePath(b"app-Sat.log"), NO_SIBLINGS, NOW) is True


def test_what_is_dated_in_the_future_finishes_nothing() -> None:
    today = "laravel-2026-11-29.log"
    assert roles(today, "laravel-2099-01-01.log") == [LIVE, ROTATED]
    assert roles(today, "laravel-2026-11-30.log") == [ROTATED, LIVE], (
        "where it is tomorrow already"
    )


@pytest.mark.parametrize(
    ("written", "role"), [(1, LIVE), (2, ROTATED), (3, ROTATED), (None, ROTATED)]
)
def test_an_undated_log_that_was_left_over_finishes_nothing(
    written: int | None, role: Role
) -> None:
    times = {b"laravel.log": written, b"laravel-2026-11-29.log": 2}
    beside = Siblings(lambda: [Listed(name, False) for name in times], mtime_ns=times.get)
    assert role_of(WATCH, RelativePath(b"laravel-2026-11-29.log"), beside, NOW) is role


def test_what_a_name_asks_of_its_siblings_costs_the_same_however_many_there_are() -> None:
    def calls(count: int) -> int:
        forms = (
            b"host%05d-20261129.log",
            b"job-20261101-%06d.log",
            b"app.%05d.log",
            b"app-%d.out",
        )
        names = [form % number for number in range(count) for form in forms]
        beside = Siblings(lambda: [Listed(name, False) for name in names])
        profile = cProfile.Profile()
        profile.enable()
        for name in names:
            selection(WATCH, RelativePath(name), beside, NOW)
        profile.disable()
        return sum(found.callcount for found in profile.getstats())

    assert calls(1200) < 3 * calls(600)


def test_a_name_that_was_kept_again_and_again_is_read_once() -> None:
    assert rotated_name(RelativePath(b"app.log" + b".old" * 60)) is not None
    profile = cProfile.Profile()
    profile.enable()
    stem_and_extension(RelativePath(b"app.log" + b"-old" * 61))
    profile.disable()
    assert sum(found.callcount for found in profile.getstats()) < 200
