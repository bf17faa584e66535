"""Segments joined to logs, and where each log is given back."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.archived import ArchivedObject
from shipper.core.archived_logs import (
    ArchivedLog,
    logs_of,
    may_be_doubled,
    restored_path,
    united,
)
from shipper.core.archived_segments import ArchivedSegment
from shipper.core.types import ETag, ObjectKey

DAY_NS = 86_400 * 10**9
AT_NS = 1_764_000_000_123_456_789
_numbers = itertools.count()


def segment(start: int = 0, end: int = 10, **changes: Any) -> ArchivedSegment:
    key = changes.pop("key", f"logs/{next(_numbers):06}.zst")
    size = changes.pop("size", 5)
    usual: dict[str, Any] = {
        "instance": "i-1",
        "watch": "app",
        "stem": b"app.log",
        "mtime_ns": AT_NS + end,
        "told_by": "metadata",
        "path": b"/var/log/app.log.1",
        "inode": 7,
    }
    stored = ArchivedObject(ObjectKey(key), size, ETag("e"), 0.0)
    return ArchivedSegment("bucket", stored, raw_start=start, raw_end=end, **(usual | changes))


def ranges(logs: list[ArchivedLog]) -> list[list[tuple[int | None, int | None]]]:
    return [[(one.raw_start, one.raw_end) for one in log.segments] for log in logs]


@given(
    st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=5), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_logs_with_the_same_name_are_joined_each_by_itself(
    sizes: list[list[int]], random: Any
) -> None:
    """Whatever the order in which they are found, and with inodes that are used again."""
    segments = list[ArchivedSegment]()
    for number, own in enumerate(sizes):
        ends = list(itertools.accumulate(own, initial=0))
        segments += [
            segment(start, end, inode=number, mtime_ns=AT_NS + number * DAY_NS + end)
            for start, end in itertools.pairwise(ends)
        ]
    random.shuffle(segments)

    logs = logs_of(segments)

    assert [[one.raw_bytes for one in log.segments] for log in logs] == sizes
    assert [log.gaps for log in logs] == [[] for _ in sizes]
    assert [log.raw_bytes for log in logs] == [sum(own) for own in sizes]


def test_a_copy_goes_on_behind_its_log_with_an_inode_of_its_own() -> None:
    first = segment(0, 10, path=b"/var/log/app.log")
    rest = segment(10, 20, inode=8, path=b"/var/log/app.log.1.gz")

    assert ranges(logs_of([rest, first])) == [[(0, 10), (10, 20)]]


def test_an_inode_that_is_used_again_is_told_by_the_time() -> None:
    old, young = segment(0, 10), segment(0, 10, mtime_ns=AT_NS + DAY_NS)
    more = segment(10, 20, mtime_ns=AT_NS + DAY_NS + 5)

    assert logs_of([more, young, old])[1].segments == [young, more]


def test_a_segment_that_is_missing_is_a_gap_with_its_range() -> None:
    [log] = logs_of([segment(0, 10), segment(20, 30), segment(40, 50)])

    assert log.gaps == [(10, 20), (30, 40)]
    assert [one.raw_end for one in log.before_gap()] == [10]


def test_a_beginning_is_missing_unless_it_was_not_asked_for() -> None:
    late = segment(20, 30)

    [log] = logs_of([late])
    assert (log.gaps, log.before_gap()) == ([(0, 20)], [])
    [log] = logs_of([late], may_begin_later=True)
    assert (log.gaps, log.start, log.before_gap()) == ([], 20, [late])


def test_a_segment_that_was_sent_twice_counts_once() -> None:
    one, again = segment(0, 10, key="a.zst"), segment(0, 10, key="a.gz")

    assert logs_of([one, again])[0].segments in ([one], [again])
    assert len(logs_of([one, again])) == 1


def test_hosts_watches_and_stems_are_never_mixed() -> None:
    one = segment(0, 10)
    others = [
        replace(segment(10, 20), **change)
        for change in ({"instance": "i-2"}, {"watch": "b"}, {"stem": b"b"})
    ]
    assert len(logs_of([one, *others], may_begin_later=True)) == 4


def test_logs_of_two_directories_are_each_joined_with_their_own_copy() -> None:
    a, b = segment(path=b"/a/app.log", inode=1), segment(path=b"/b/app.log", inode=2)
    of_a = segment(10, 20, path=b"/a/app.log.1", inode=3)
    of_b = segment(10, 20, path=b"/b/app.log.1", inode=4)

    assert [log.segments for log in logs_of([b, of_a, a, of_b])] == [[a, of_a], [b, of_b]]
    [alone, late] = logs_of([a, of_b, segment(0, 5, path=b"/b/app.log", inode=9)])[1:]
    assert (alone.segments, late.gaps) == ([a], [(0, 10)])


def test_a_copy_in_a_directory_of_copies_goes_on_behind_the_one_log_that_fits() -> None:
    a, b = segment(path=b"/a/app.log", inode=1), segment(path=b"/b/app.log", inode=2)
    copy = segment(10, 20, path=b"/old/app.log.1", inode=3)

    assert [log.segments for log in logs_of([a, copy])] == [[a, copy]]
    assert [log.gaps for log in logs_of([a, b, copy])] == [[], [], [(0, 10)]]


def test_an_inode_number_of_another_generation_is_another_log() -> None:
    first = segment(generation="g1", path=b"/var/log/app.log")
    late = segment(10, 20, generation="g2")

    assert [log.gaps for log in logs_of([first, late])] == [[], [(0, 10)]]
    unknown = segment(10, 20)
    assert ranges(logs_of([first, unknown])) == [[(0, 10), (10, 20)]]


def test_another_log_of_the_same_name_is_no_copy() -> None:
    """A missing beginning is not hidden by another log of its length."""
    assert [log.gaps for log in logs_of([segment(), segment(10, 20, inode=8)])] == [[], [(0, 10)]]
    young = segment(path=b"/var/log/app.log", mtime_ns=AT_NS + DAY_NS)
    assert [log.gaps for log in logs_of([young, segment(10, 20, inode=8)])] == [[(0, 10)], []]


def test_the_same_inode_goes_first_whatever_was_written_before() -> None:
    first = segment(path=b"/var/log/app.log")
    late, own = segment(10, 20, inode=8), segment(10, 30, mtime_ns=AT_NS + DAY_NS)

    assert [log.segments for log in logs_of([first, late, own])] == [[late], [first, own]]


def test_a_generation_that_nobody_tells_is_no_other_one() -> None:
    one, again = segment(key="a.zst"), segment(key="b.zst", generation="g1", sha256="s")
    other = segment(key="c.zst", generation="g2")

    assert [log.segments for log in logs_of([one, again])] == [[again]]
    assert len(logs_of([one, again, other])) == 2


_cuts = st.sets(st.integers(1, 29), max_size=4).map(sorted)


@given(_cuts, _cuts, st.integers(1, 30), st.integers(0, 5))
def test_what_overlaps_is_united_to_ranges_that_meet(
    first: list[int], second: list[int], end: int, skipped: int
) -> None:
    """Or to none, where one segment would have to be cut."""

    def log(cuts: list[int], end: int) -> ArchivedLog:
        ends = [0, *(cut for cut in cuts if cut < end), end]
        return ArchivedLog([segment(*pair) for pair in itertools.pairwise(ends)])

    older, newer = log(first, end), log(second, 30)
    newer.segments = newer.segments[skipped:]
    newer.gaps = [(0, newer.start)] if newer.segments and newer.start else []
    if not newer.segments:
        return
    both = united(older, newer)

    is_cut = newer.start not in {0, *(one.raw_end for one in older.segments)}
    if both is None:
        assert is_cut
        assert older.end < newer.end
    elif newer.start <= older.end:
        assert both.gaps == []
        assert (both.start, both.end) == (0, 30)
        ends = [(one.raw_start, one.raw_end) for one in both.segments]
        assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))


def test_what_has_a_hole_or_never_met_is_not_united() -> None:
    hole = ArchivedLog([segment(0, 5), segment(9, 12)], [(5, 9)])
    whole = ArchivedLog([segment(0, 9)])

    assert united(hole, whole) is None
    assert may_be_doubled(hole, whole)
    assert not may_be_doubled(whole, ArchivedLog([segment(9, 12)]))
    emptied = ArchivedLog([segment(0, 9), segment(9, 12, inode=8)])
    again = ArchivedLog([segment(0, 7), segment(7, 12, inode=9)])
    assert not may_be_doubled(emptied, again)


def path_of(path: bytes, **changes: Any) -> str | None:
    log = ArchivedLog([segment(path=path, mtime_ns=AT_NS, **changes)])
    parts = restored_path(log)
    return None if parts is None else b"/".join(parts).decode()


@pytest.mark.parametrize(
    ("path", "restored"),
    [
        (b"/var/log/app.log.1", "i-1/var/log/app.log.20251124T160000Z"),
        (b"/var/log/app.log", "i-1/var/log/app.log.20251124T160000Z"),
        (b"/var/log/app.log-20251124", "i-1/var/log/app.log-20251124"),
        (b"/var/log/app-2025-11-24.log", "i-1/var/log/app-2025-11-24.log"),
        (b"/var/log/postgresql-Mon.log", "i-1/var/log/postgresql.log.20251124T160000Z"),
        (b"/app.log", "i-1/app.log.20251124T160000Z"),
        (b"cut/off/app.log", "i-1/cut/off/app.log.20251124T160000Z"),
    ],
)
def test_a_log_is_given_back_under_its_path_with_the_time_of_its_last_write(
    path: bytes, restored: str
) -> None:
    assert path_of(path) == restored


def test_what_the_rotator_compressed_keeps_its_extension_and_a_decoded_rest_loses_it() -> None:
    packed = {"key": "a.gz", "size": 10}
    assert path_of(b"/a.log.1.gz", **packed) == "i-1/a.log.20251124T160000Z.gz"
    assert path_of(b"/a.log-20251124.gz", **packed) == "i-1/a.log-20251124.gz"
    assert path_of(b"/a.log.1.gz", key="a.zst") == "i-1/a.log.20251124T160000Z"
    assert path_of(b"/a.log-20251124.gz", key="a.zst") == "i-1/a.log-20251124"


def test_a_log_has_the_extension_of_who_rotated_it_only_while_it_is_packed() -> None:
    assert ArchivedLog([segment(path=b"/a.log.1.gz", key="a.gz", size=10)]).extension == ".gz"
    assert ArchivedLog([segment(path=b"/a.log.1.gz", key="a.zst")]).extension == ""


def test_a_log_without_its_beginning_says_where_it_starts() -> None:
    late = ArchivedLog([segment(5, 9, mtime_ns=AT_NS)])
    assert restored_path(late) == (b"i-1", b"var", b"log", b"app.log.20251124T160000Z.at5")
    whole = ArchivedLog([segment(0, 9, mtime_ns=AT_NS)])
    precise = restored_path(whole, is_precise=True)
    assert precise is not None
    assert precise[-1] == b"app.log.20251124T160000.123456789Z"
    dated = ArchivedLog([segment(0, 9, mtime_ns=AT_NS, path=b"/app-20251124.log")])
    assert restored_path(dated, is_precise=True) == (
        b"i-1",
        b"app-20251124.log.20251124T160000.123456789Z",
    )


@pytest.mark.parametrize(
    "path",
    [
        b"/var/../../etc/passwd",
        b"/var/./app.log",
        b"//etc/app.log",
        b"/var/log/",
        b"/var/\0/app.log",
        b"/",
        b"..",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: bytes) -> None:
    assert path_of(path) is None


@given(st.binary(min_size=1, max_size=60), st.text(min_size=1, max_size=20), st.integers())
def test_a_restored_path_never_leads_out_of_the_directory(
    path: bytes, instance: str, mtime_ns: int
) -> None:
    log = ArchivedLog([segment(path=path, instance=instance, mtime_ns=mtime_ns)])
    for is_precise in (False, True):
        parts = restored_path(log, is_precise=is_precise)
        for part in parts or ():
            assert part not in (b"", b".", b"..")
            assert b"/" not in part
            assert b"\0" not in part
