"""Part sizes within S3's limits, and what is left of a half-sent upload."""

from hypothesis import given
from hypothesis import strategies as st

from shipper.core.parts import (
    FRAME_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    Gap,
    gaps,
    is_full,
    part_size_for,
    part_sizes_giving,
)
from shipper.core.types import ETag, Receipt

TB = 10**12


@given(st.integers(1, 50 * TB), st.integers(1, MAX_PART_BYTES))
def test_any_object_fits_into_ten_thousand_parts_of_a_legal_size(raw: int, wanted: int) -> None:
    size = part_size_for(raw, wanted)
    largest = size + FRAME_BYTES + FRAME_BYTES // 100
    assert size >= MIN_PART_BYTES
    assert largest <= MAX_PART_BYTES
    assert raw * 1.01 / size <= MAX_PARTS


def test_the_wanted_size_is_used_where_it_fits() -> None:
    assert part_size_for(10**9, 16 * 1024**2) == 16 * 1024**2


def receipt(number: int, raw_start: int, raw_end: int) -> Receipt:
    return Receipt(number, raw_start, raw_end, 1, ETag("e"), "")


def test_nothing_sent_is_one_open_gap() -> None:
    assert gaps([], 10, 100) == [Gap(1, None, 10, 100)]


def test_everything_sent_is_no_gap() -> None:
    assert gaps([receipt(1, 0, 60), receipt(2, 60, 100)], 0, 100) == []


def test_a_hole_may_only_use_the_numbers_between_its_neighbours() -> None:
    found = gaps([receipt(1, 0, 10), receipt(4, 30, 40)], 0, 100)
    assert found == [Gap(2, 3, 10, 30), Gap(5, None, 40, 100)]


def test_a_number_that_was_left_out_is_no_hole() -> None:
    assert gaps([receipt(1, 0, 10), receipt(3, 10, 100)], 0, 100) == []


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.data())
def test_gaps_and_receipts_cover_every_byte_once(lengths: list[int], data: st.DataObject) -> None:
    parts, at = [], 0
    for number, length in enumerate(lengths, 1):
        parts.append(receipt(number, at, at + length))
        at += length
    kept = data.draw(st.lists(st.sampled_from(parts), unique_by=lambda part: part.number))
    missing = gaps(kept, 0, at)
    ranges = sorted(
        [(part.raw_start, part.raw_end) for part in kept]
        + [(gap.raw_start, gap.raw_end) for gap in missing]
    )
    assert [start for start, _ in ranges] == [0, *[end for _, end in ranges][:-1]]
    assert ranges[-1][1] == at
    for gap in missing:
        taken = {part.number for part in kept}
        last = gap.last_number if gap.last_number is not None else gap.first_number
        assert last >= gap.first_number
        assert not taken & set(range(gap.first_number, last + 1))


def test_a_part_is_cut_at_its_size_but_the_last_number_takes_the_rest() -> None:
    gap = Gap(2, 3, 10, 30)
    assert not is_full(4, 5, 2, gap)
    assert is_full(5, 5, 2, gap)
    assert not is_full(500, 5, 3, gap)
    assert is_full(5, 5, 99, Gap(2, None, 10, 30))


FRAMES = st.lists(st.integers(1, FRAME_BYTES), min_size=1, max_size=40)


@given(FRAMES, st.integers(1, 10))
def test_the_size_that_cut_an_object_is_among_those_that_may_have(
    frames: list[int], mib: int
) -> None:
    size, parts, length = mib * 1024**2, 0, 0
    for frame in frames:
        length += frame
        if length >= size:
            parts, length = parts + 1, 0
    parts += bool(length)
    likely = part_sizes_giving(parts, sum(frames), [size, 1, MAX_PART_BYTES])
    if parts == 1:
        assert likely == [sum(frames) + 1]
    else:
        assert size in likely
        assert MAX_PART_BYTES not in likely
