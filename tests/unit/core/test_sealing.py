"""When a file has stopped changing."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.sealing import (
    UNPROVEN_QUIET_FACTOR,
    UNPROVEN_QUIET_SECONDS,
    Look,
    Sealed,
    Unsealed,
    early,
    look_again,
    removal_refusal,
    seal,
    wait_for_quiet,
    wait_for_segment,
)
from shipper.core.types import Entry, FileStat, RelativePath, Watch, WriterTest
from tests.fakes.examples import entry

SETTLE = 5.0


@pytest.mark.parametrize(
    ("writer", "is_unproven_enough", "code"),
    [
        (WriterTest.NONE, False, ""),
        (WriterTest.NONE_BY_PROC, False, ""),
        (WriterTest.OPEN, False, "SourceInUse"),
        (WriterTest.OPEN, True, "SourceInUse"),
        (WriterTest.UNKNOWN, False, "WriterUnproven"),
        (WriterTest.UNKNOWN, True, ""),
    ],
)
def test_nothing_is_removed_while_somebody_may_write_unless_the_operator_says_so(
    writer: WriterTest, is_unproven_enough: bool, code: str
) -> None:
    assert removal_refusal(writer, is_unproven_enough=is_unproven_enough) == code


def test_the_first_look_starts_the_quiet_time() -> None:
    look = look_again(None, entry(), now=10.0)
    assert wait_for_quiet(look, settle_seconds=SETTLE, now=12.0) == 3.0


def test_an_unchanged_file_keeps_its_quiet_time() -> None:
    look = look_again(look_again(None, entry(), now=10.0), entry(), now=14.0)
    assert look.since == 10.0


@pytest.mark.parametrize("change", [{"size_bytes": 101}, {"ctime_ns": 2_001}])
def test_a_changed_file_starts_anew(change: dict[str, Any]) -> None:
    look = look_again(look_again(None, entry(), now=10.0), entry(**change), now=14.0)
    assert look.since == 14.0


def test_an_mtime_that_was_set_back_proves_nothing() -> None:
    before = look_again(None, entry(mtime_ns=9_000), now=10.0)
    assert look_again(before, entry(mtime_ns=1, ctime_ns=2_001), now=14.0).since == 14.0


def test_a_rename_is_no_change_but_a_rename_with_another_mtime_is() -> None:
    before = look_again(None, entry(b"app.log.1"), now=10.0)
    renamed = entry(b"app.log.2", ctime_ns=3_000)
    assert look_again(before, renamed, now=14.0).since == 10.0
    rewritten = entry(b"app.log.2", ctime_ns=3_000, mtime_ns=3_000)
    assert look_again(before, rewritten, now=14.0).since == 14.0


def test_quiet_and_no_writer_seals_and_says_why() -> None:
    look = look_again(None, entry(), now=0.0)
    found = seal(look, WriterTest.NONE, settle_seconds=SETTLE, now=5.0)
    assert isinstance(found, Sealed)
    assert found.because == "quiet for 5.0 s, no writer (read lease granted)"


def test_too_early_waits_for_exactly_the_rest() -> None:
    look = look_again(None, entry(), now=0.0)
    found = seal(look, WriterTest.NONE, settle_seconds=SETTLE, now=4.0)
    assert isinstance(found, Unsealed)
    assert found.wait_seconds == 1.0


def test_a_writer_keeps_it_unsealed_and_is_asked_about_less_and_less_often() -> None:
    look = look_again(None, entry(), now=0.0)
    waits = []
    for now in (5.0, 100.0, 1000.0):
        found = seal(look, WriterTest.OPEN, settle_seconds=SETTLE, now=now)
        assert isinstance(found, Unsealed)
        waits.append(found.wait_seconds)
    assert waits == [5.0, 25.0, 250.0]


def test_without_a_writer_test_the_quiet_time_is_longer() -> None:
    look = look_again(None, entry(), now=0.0)
    found = seal(look, WriterTest.UNKNOWN, settle_seconds=SETTLE, now=59.0)
    assert isinstance(found, Unsealed)
    assert found.wait_seconds == UNPROVEN_QUIET_SECONDS - 59.0
    assert isinstance(seal(look, WriterTest.UNKNOWN, settle_seconds=SETTLE, now=60.0), Sealed)


@given(st.floats(0, 1e6), st.floats(0, 100), st.sampled_from(WriterTest))
def test_nothing_is_sealed_before_its_quiet_time(
    now: float, settle: float, writer: WriterTest
) -> None:
    look = look_again(None, entry(), now=0.0)
    found = seal(look, writer, settle_seconds=settle, now=now)
    if isinstance(found, Sealed):
        assert now >= settle
        assert writer is not WriterTest.OPEN
    else:
        assert found.wait_seconds > 0


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened to a file in the time before a look, in this order."""

    seconds: float
    is_written: bool = False
    is_overwritten: bool = False
    is_mtime_set_back: bool = False
    is_renamed: bool = False

    def to(self, entry: Entry, now: float) -> Entry:
        """The entry afterwards; whatever happens sets ctime, as the kernel does."""
        before, at = entry.stat, round(now * 1e9)
        stat: FileStat = before
        if self.is_written or self.is_overwritten:
            grown = 1 if self.is_written else 0
            stat = replace(stat, size_bytes=stat.size_bytes + grown, mtime_ns=at, ctime_ns=at)
        if self.is_mtime_set_back:
            stat = replace(stat, mtime_ns=1, ctime_ns=at)
        if not self.is_renamed:
            return Entry(entry.path, stat)
        return Entry(RelativePath(entry.path + b"0"), replace(stat, ctime_ns=at))

    @property
    def is_content(self) -> bool:
        return self.is_written or self.is_overwritten

    @property
    def is_hidden(self) -> bool:
        """What no ``stat`` shows: the same size and mtime, and a rename to explain the ctime."""
        is_same_size = self.is_overwritten and not self.is_written
        return is_same_size and self.is_mtime_set_back and self.is_renamed


HAPPENINGS = st.lists(
    st.builds(
        Happened,
        seconds=st.floats(0.01, 20),
        is_written=st.booleans(),
        is_overwritten=st.booleans(),
        is_mtime_set_back=st.booleans(),
        is_renamed=st.booleans(),
    ),
    max_size=30,
)


@given(HAPPENINGS, st.floats(0.1, 10), st.sampled_from(WriterTest))
def test_whatever_happens_to_it_a_file_is_sealed_only_after_its_quiet_time(
    happenings: list[Happened], settle: float, writer: WriterTest
) -> None:
    """Written, overwritten in place, dated back, renamed, in any order and at any time."""
    now, changed_at, file = 100.0, 100.0, entry(mtime_ns=50, ctime_ns=50)
    look: Look | None = look_again(None, file, now=now)
    for happened in happenings:
        now += happened.seconds
        file = happened.to(file, now)
        if happened.is_content and not happened.is_hidden:
            changed_at = now
        look = look_again(look, file, now=now)
        found = seal(look, writer, settle_seconds=settle, now=now)
        if isinstance(found, Sealed):
            assert now - changed_at >= settle - 1e-9
            assert writer is not WriterTest.OPEN


@given(HAPPENINGS, st.floats(0.1, 10), st.sampled_from(WriterTest))
def test_a_file_that_is_left_alone_is_sealed_when_its_waits_are_over_and_not_later(
    happenings: list[Happened], settle: float, writer: WriterTest
) -> None:
    """Following the waits it was given, whatever happened before, once a writer has closed."""
    now, file = 100.0, entry(mtime_ns=50, ctime_ns=50)
    look = look_again(None, file, now=now)
    for happened in happenings:
        now += happened.seconds
        file = happened.to(file, now)
        look = look_again(look, file, now=now)
    needed = settle
    if writer is WriterTest.UNKNOWN:
        needed = max(UNPROVEN_QUIET_FACTOR * settle, UNPROVEN_QUIET_SECONDS)
    after = WriterTest.NONE if writer is WriterTest.OPEN else writer
    began = now
    for _ in range(10):
        look = look_again(look, file, now=now)
        found = seal(look, after, settle_seconds=settle, now=now)
        if isinstance(found, Sealed):
            break
        now += found.wait_seconds + 1e-9
    else:
        pytest.fail("it waits for ever")
    assert now - began <= needed + 1e-6


def test_a_file_written_once_a_minute_for_a_day_makes_few_segments() -> None:
    promised: list[float] = []
    for minute in range(1440):
        if wait_for_segment(promised, minute * 60.0) == 0.0:
            promised.append(minute * 60.0)
    pauses = [after - before for before, after in itertools.pairwise(promised)]
    assert len(promised) < 35
    assert all(after >= min(2 * before, 3600) for before, after in itertools.pairwise(pauses))


def test_a_clock_that_was_set_back_makes_no_segment_wait_longer() -> None:
    assert wait_for_segment([1000.0, 1060.0], 0.0) == 0.0


AT = 1_800_000_000.0
"""The wall's time in the tests of ``min_age``."""


def early_at(
    mtime: float, *, seen_for: float = 1e6, min_age: float = 3600.0, is_ending: bool = False
) -> Unsealed | None:
    look = Look(RelativePath(b"app.log.1"), 1, round(mtime * 1e9), 0, 0.0, 0.0)
    watch = Watch("/logs", settle_seconds=SETTLE, min_age_seconds=min_age)
    return early(watch, look, now=seen_for, at=AT, assume_quiet=True, is_ending=is_ending)


def test_a_file_waits_until_its_mtime_is_min_age_ago() -> None:
    waits = early_at(AT - 600, seen_for=10.0)
    assert waits is not None
    assert (waits.wait_seconds, waits.is_expected) == (3000.0, True)
    assert waits.because == "min_age: 3000 s until it was last written 3600 s ago"
    assert early_at(AT - 3600, seen_for=0.0) is None
    assert early_at(AT - 600, seen_for=10.0, min_age=0.0) is None
    assert early_at(AT - 600, seen_for=10.0, is_ending=True) is None


@given(st.floats(-1e9, 1e9), st.floats(0, 1e5))
def test_min_age_waits_no_longer_than_a_quiet_time_of_its_own(age: float, seen: float) -> None:
    """Also for an mtime of the future, as of a clock that was wrong when the log was written."""
    waits = early_at(AT - age, seen_for=seen)
    if waits is not None:
        assert 0 < waits.wait_seconds <= 3600.0 - seen + 1e-3
    assert early_at(AT - age, seen_for=3600.0) is None
