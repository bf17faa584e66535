"""Which file it is, whatever it is called now."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.identity import (
    Segment,
    chain_of,
    digest,
    file_id,
    hole_before,
    is_certain,
    is_same_file,
    latest_segments,
    recognise,
    tail_range,
    untouched,
)
from shipper.core.types import HEAD_BYTES, Shipment, ShipmentId, State
from tests.fakes.examples import shipment, stat


def known(body: bytes, *, inode: int = 7) -> Shipment:
    offset, length = tail_range(len(body))
    return shipment(
        file_id=file_id(inode, body),
        raw_end=len(body),
        tail_digest=digest(body[offset : offset + length]),
        mtime_ns=1_000,
    )


def found(before: Shipment, body: bytes, *, inode: int = 7, is_compressed: bool = False) -> object:
    offset, length = tail_range(before.raw_end)
    return recognise(
        [before],
        stat(inode=inode, size_bytes=len(body)),
        head=body[:HEAD_BYTES],
        tail_of=lambda row: body[offset : offset + length],
        is_compressed=is_compressed,
        is_proven=lambda chain: True,
    )


def test_the_head_is_at_most_4096_bytes_and_its_length_is_kept() -> None:
    assert file_id(7, b"abc").head_length == 3
    assert file_id(7, b"x" * 5000) == file_id(7, b"x" * HEAD_BYTES + b"y")


def test_the_newest_file_speaks_first_for_an_inode_and_by_its_furthest_segment() -> None:
    old = replace(known(b"old"), id=ShipmentId(1))
    first = replace(known(b"new"), id=ShipmentId(2), raw_end=10)
    last = replace(first, id=ShipmentId(3), raw_start=20, raw_end=30)
    hole = replace(first, id=ShipmentId(4), raw_start=10, raw_end=20)
    assert latest_segments([old, first, last, hole]) == [last, old]
    assert latest_segments([old, first, last]) == [last, first, old]
    assert latest_segments([]) == []


def test_the_same_size_and_mtime_is_untouched_and_anything_else_is_not() -> None:
    row = known(b"x" * 100)
    assert untouched([row], stat(size_bytes=100, mtime_ns=1_000)) == row
    assert untouched([row], stat(size_bytes=100, mtime_ns=1_001)) is None
    assert untouched([row], stat(size_bytes=101, mtime_ns=1_000)) is None
    assert untouched([], stat()) is None


def test_a_file_with_a_hole_is_not_untouched() -> None:
    row = replace(known(b"x" * 100), raw_start=50)
    assert untouched([row], stat(size_bytes=100, mtime_ns=1_000)) is None


def test_two_file_systems_with_one_inode_are_told_apart() -> None:
    here = replace(known(b"x" * 100), id=ShipmentId(1))
    there = replace(known(b"y" * 200), id=ShipmentId(2))
    rows = [here, there]
    assert untouched(rows, stat(size_bytes=100, mtime_ns=1_000)) == here
    assert untouched(rows, stat(size_bytes=200, mtime_ns=1_000)) == there
    grown = recognise(
        rows,
        stat(inode=7, size_bytes=150),
        head=b"x" * 150,
        tail_of=lambda row: b"x" * row.raw_end,
        is_compressed=False,
        is_proven=lambda chain: True,
    )
    assert grown == Segment(file_id(7, b"x" * 150), 100, 150)


@given(st.binary(min_size=1, max_size=9000), st.binary(max_size=9000))
def test_an_append_is_growth_and_nothing_is_no_change(body: bytes, more: bytes) -> None:
    row = known(body)
    next_segment = Segment(file_id(7, body + more), len(body), len(body + more))
    assert found(row, body + more) == (next_segment if more else row)


@given(st.binary(min_size=1, max_size=9000), st.data())
def test_a_shorter_file_is_a_new_one(body: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(body) - 1))
    assert found(known(body), body[:size]) is None


@pytest.mark.parametrize("position", [0, -1])
def test_other_bytes_at_either_end_are_another_file(position: int) -> None:
    body = bytearray(b"x" * 9000)
    row = known(bytes(body))
    body[position] ^= 1
    assert found(row, bytes(body)) is None


def test_another_inode_or_no_promise_at_all_is_unknown() -> None:
    body = b"x" * 100
    assert found(known(body), body, inode=8) is None
    nothing = recognise(
        [],
        stat(),
        head=body,
        tail_of=lambda row: body,
        is_compressed=False,
        is_proven=lambda chain: True,
    )
    assert nothing is None


def test_a_compressed_file_never_grows() -> None:
    assert found(known(b"x"), b"xy", is_compressed=True) is None


def test_a_touched_twin_is_a_new_file() -> None:
    assert found(replace(known(b"x"), state=State.DUPLICATE), b"x") is None


def segments(*ranges: tuple[int, int]) -> list[Shipment]:
    return [
        shipment(id=ShipmentId(number), raw_start=start, raw_end=end)
        for number, (start, end) in enumerate(ranges, 1)
    ]


@pytest.mark.parametrize(
    ("ranges", "hole"),
    [
        ([(0, 10)], None),
        ([(0, 10), (10, 30)], None),
        ([(10, 30)], (0, 10)),
        ([(0, 10), (20, 30)], (10, 20)),
        ([(5, 10), (20, 30)], (10, 20)),
        ([(20, 30), (0, 10), (10, 20)], None),
    ],
)
def test_a_range_that_no_segment_has_is_a_hole(
    ranges: list[tuple[int, int]], hole: tuple[int, int] | None
) -> None:
    rows = segments(*ranges)
    last = latest_segments(rows)[0]
    assert hole_before(last, rows) == hole


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_holes_are_filled_one_by_one_until_the_segments_meet(
    lengths: list[int], data: st.DataObject
) -> None:
    ends = list(itertools.accumulate(lengths))
    whole = list(zip([0, *ends[:-1]], ends, strict=True))
    kept = [one for one in whole[:-1] if data.draw(st.booleans())]
    rows = segments(*kept, whole[-1])
    for _ in whole:
        last = latest_segments(rows)[0]
        assert last.raw_end == ends[-1]
        hole = hole_before(last, rows)
        if hole is None:
            break
        rows.append(shipment(id=ShipmentId(len(rows) + 1), raw_start=hole[0], raw_end=hole[1]))
    covered = sorted((row.raw_start, row.raw_end) for row in rows)
    assert [start for start, _ in covered] == [0, *(end for _, end in covered[:-1])]


def test_an_older_file_of_the_same_inode_fills_no_hole() -> None:
    body = b"y" * 100 + b"x" * 200
    old = replace(known(b"z" * 100), id=ShipmentId(1))
    last = replace(known(body), id=ShipmentId(2), raw_start=200)
    last = replace(last, tail_digest=digest(body[:300]))
    answer = recognise(
        [old, last],
        stat(size_bytes=300, inode=7),
        head=body,
        tail_of=lambda row: body[: row.raw_end],
        is_compressed=False,
        is_proven=lambda chain: True,
    )
    assert answer == Segment(last.file_id, 0, 200)


def grown(first_id: int, body: bytes, ends: list[int]) -> list[Shipment]:
    """The segments of a file that was promised at each of these lengths."""
    return [
        shipment(
            id=ShipmentId(first_id + number),
            file_id=file_id(7, body[:end]),
            raw_start=start,
            raw_end=end,
        )
        for number, (start, end) in enumerate(itertools.pairwise([0, *ends]))
    ]


@given(
    st.lists(st.lists(st.sampled_from([10, 20, 4096, 5000]), unique=True, min_size=1), min_size=2)
)
def test_files_that_had_one_inode_after_each_other_share_no_segment(
    files: list[list[int]],
) -> None:
    chains: list[list[Shipment]] = []
    for number, ends in enumerate(files):
        body = b"%d" % number * 5000
        chains.append(grown(1 + 10 * number, body, sorted(ends)))
    rows = [row for chain in chains for row in chain]
    for chain in chains:
        assert chain_of(chain[-1], rows) == chain


def test_a_segment_of_a_file_that_begins_otherwise_fills_no_hole() -> None:
    (other,) = grown(1, b"y" * 5000, [5000])
    _, last = grown(2, b"x" * 6000, [5000, 6000])
    assert chain_of(last, [other, last]) == [last]
    assert hole_before(last, [other, last]) == (0, 5000)


def test_a_file_that_grew_still_holds_what_was_promised() -> None:
    row = known(b"x" * 100)
    assert is_same_file(row, stat(size_bytes=500), head=b"x" * 500, tail=b"x" * 100)


@given(st.binary(min_size=1, max_size=9000), st.binary(max_size=9000), st.booleans())
def test_what_is_not_proven_is_a_new_file_and_only_what_looks_alike_is_proven(
    body: bytes, more: bytes, is_proven: bool
) -> None:
    row, asked = known(body), []
    answer = recognise(
        [row],
        stat(inode=7, size_bytes=len(body + more)),
        head=(body + more)[:HEAD_BYTES],
        tail_of=lambda row: body[-HEAD_BYTES:],
        is_compressed=False,
        is_proven=lambda chain: asked.append(list(chain)) or is_proven,  # type: ignore[func-returns-value]
    )
    assert (answer is not None) == is_proven
    assert asked == [[row]]


@given(st.binary(min_size=1, max_size=9000), st.binary(max_size=9000))
def test_another_generation_is_another_file_whatever_it_contains(body: bytes, more: bytes) -> None:
    row = replace(known(body), file_id=file_id(7, body, "g1"))
    answers = {
        generation: recognise(
            [row],
            stat(inode=7, size_bytes=len(body + more), generation=generation),
            head=(body + more)[:HEAD_BYTES],
            tail_of=lambda row: body[-HEAD_BYTES:],
            is_compressed=False,
            is_proven=lambda chain: True,
        )
        for generation in ("g1", "g2", "", "b1.5")
    }
    assert [one for one, answer in answers.items() if answer is None] == ["g2"]


def test_an_equal_ctime_or_generation_makes_it_certain() -> None:
    row = replace(known(b"x"), file_id=file_id(7, b"x", "g1"), ctime_ns=5)
    assert is_certain(row, stat(ctime_ns=5))
    assert is_certain(row, stat(ctime_ns=6, generation="g1"))
    assert not is_certain(row, stat(ctime_ns=6))
    assert not is_certain(replace(row, file_id=file_id(7, b"x")), stat(ctime_ns=6))


@given(st.integers(0, 10**12))
def test_the_tail_ends_at_the_end(raw_end: int) -> None:
    offset, length = tail_range(raw_end)
    assert offset + length == raw_end
    assert length == min(raw_end, HEAD_BYTES)
