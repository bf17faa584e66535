"""Rows, objects and segments, compared."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core import audit
from shipper.core.archived import ArchivedObject
from shipper.core.audit import (
    HINTS,
    Finding,
    Found,
    Kind,
    Row,
    Segment,
    broken_segments,
    difference,
    has_etags,
)
from shipper.core.types import ETag, ObjectKey, State

ROW = Row(1, "k", "app", 7, b"app.log.1", "DONE", "", "e", "", 9, 0, 5, 1.0, 2.0)
SEGMENT = Segment(1, "app", 7, "g1", "p", b"app.log", "DONE", 0, 10, 1.0, "k")


def listed(size_bytes: int = 9, etag: str = "e") -> ArchivedObject:
    return ArchivedObject(ObjectKey("k"), size_bytes, ETag(etag), 0.0)


def segments(*ranges: tuple[int, int], **changes: Any) -> list[Segment]:
    return [
        SEGMENT._replace(id=number, raw_start=start, raw_end=end, **changes)
        for number, (start, end) in enumerate(ranges, start=1)
    ]


def broken(rows: list[Segment]) -> list[tuple[Kind, int, int]]:
    return [found[1:] for found in broken_segments(rows)]


@pytest.mark.parametrize(
    ("state", "etag", "is_in_s3"),
    [
        (State.READY, None, False),
        (State.UPLOADING, None, False),
        (State.UPLOADED, "e", True),
        (State.VERIFIED, "e", True),
        (State.DONE, "e", True),
        (State.DONE, "", True),
        (State.PARKED, None, False),
        (State.PARKED, "e", True),
        (State.GONE, None, False),
        (State.SUPERSEDED, None, False),
        (State.DUPLICATE, None, False),
    ],
)
def test_s3_must_have_what_it_has_acknowledged(
    state: State, etag: str | None, *, is_in_s3: bool
) -> None:
    assert ROW._replace(state=state.value, etag=etag).is_in_s3 is is_in_s3


def test_the_same_size_and_etag_are_the_same_object() -> None:
    assert difference(ROW, listed()) is None
    intended = ROW._replace(etag="multipart-2", intents="e:9 f:9")
    assert difference(intended, listed(etag="f")) is None


def test_another_size_or_etag_is_another_object_and_none_is_missing() -> None:
    for found in (listed(size_bytes=8), listed(etag="other")):
        verdict = difference(ROW, found)
        assert verdict is not None
        assert verdict[0] is Kind.ALTERED
    assert difference(ROW, None) == (Kind.MISSING, "9 bytes, ETag e")


@pytest.mark.parametrize(("sent", "found"), [("", "x"), (None, "x"), ("e", "")])
def test_without_an_etag_the_size_must_do(sent: str | None, found: str) -> None:
    row = ROW._replace(etag=sent)
    assert not has_etags(row, listed(etag=found))
    assert difference(row, listed(etag=found)) is None
    assert difference(row, listed(size_bytes=8, etag=found)) is not None


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.randoms())
def test_segments_that_meet_are_whole_in_any_order(sizes: list[int], rng: object) -> None:
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    rows = segments(*pairwise(ends))
    rng.shuffle(rows)  # type: ignore[attr-defined]  # a Random
    assert broken(rows) == []


@given(st.lists(st.integers(1, 50), min_size=3, max_size=20), st.data())
def test_a_segment_that_is_nowhere_leaves_a_hole(sizes: list[int], data: st.DataObject) -> None:
    ends = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    rows = segments(*pairwise(ends))
    out = rows.pop(data.draw(st.integers(0, len(rows) - 2)))
    assert broken(rows) == [(Kind.HOLE, out.raw_start, out.raw_end)]


def test_bytes_that_two_segments_have_are_said() -> None:
    assert broken(segments((0, 10), (5, 20))) == [(Kind.OVERLAP, 5, 10)]
    assert broken(segments((0, 30), (5, 20))) == [(Kind.OVERLAP, 5, 20)]


def test_what_came_to_nothing_is_told_elsewhere() -> None:
    gone = segments((10, 20), state="GONE")
    assert broken(segments((0, 10)) + gone + segments((20, 30))) == []
    assert broken(segments((0, 10)) + segments((15, 20), state="SUPERSEDED")) == []


def test_another_file_of_the_inode_fills_no_hole() -> None:
    for change in ({"generation": "g2"}, {"place": "q"}):
        others = segments((0, 10), **change)
        assert broken(others + segments((10, 20))) == [(Kind.HOLE, 0, 10)]
    assert broken(segments((0, 10), place="") + segments((10, 20))) == []


def test_findings_are_counted_beyond_those_that_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "MOST_NAMED", 2)
    found = Found()
    for number in range(3):
        assert found.has_room(Kind.MISSING) is (number < 2)
        found.add(Finding(Kind.MISSING, "app", f"k{number}", ""))
    assert (len(found.named), found.totals) == (2, {Kind.MISSING: 3})


def test_every_kind_has_a_hint() -> None:
    assert set(HINTS) == set(Kind)
