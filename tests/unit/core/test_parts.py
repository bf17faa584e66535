"""Part sizes within S3's limits, and what is left of a half-sent upload."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from shipper.core.concurrency import in_flight_within
from shipper.core.parts import (
    AHEAD_BYTES,
    FRAME_BYTES,
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    Gap,
    frames_ahead,
    gaps,
    is_full,
    longest_encoded,
    part_size_for,
    parts_memory,
    plain_part_bytes,
    whole_frames,
)
from shipper.core.types import ETag, Receipt
from shipper.runtime.wiring_sending import SMALL_FILES_SHARE
from shipper.services.sending.memory_budget import ByteBudget

MIB, TB = 1024**2, 10**12


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


RATIOS = st.floats(0.0002, 1.01)
"""Encoded by raw bytes: from zeros to what does not compress."""


def parts_needed(raw_bytes: int, wanted: int, encoded_frame: int) -> int:
    """How many parts a file is cut into, if all of its frames come out equally long."""
    part_frames = -(-part_size_for(raw_bytes, wanted) // encoded_frame)
    return -(-raw_bytes // (part_frames * FRAME_BYTES))


@given(st.integers(1, 50 * TB), st.integers(MIN_PART_BYTES, MAX_PART_BYTES), RATIOS)
@example(50 * TB, MIN_PART_BYTES, 1.01)
@example(600 * 10**9, 16 * 1024**2, 1.0)
def test_a_file_of_any_length_and_ratio_is_cut_into_ten_thousand_parts(
    raw_bytes: int, wanted: int, ratio: float
) -> None:
    assert parts_needed(raw_bytes, wanted, max(1, int(FRAME_BYTES * ratio))) <= MAX_PARTS


@given(
    st.integers(1, 50 * TB),
    st.lists(st.floats(0.0002, 1.01), min_size=1, max_size=20),
    st.lists(st.floats(0.0002, 1.01), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 9_999), st.integers(1, 50)), max_size=6),
)
def test_a_resumed_upload_keeps_to_the_numbers_though_its_parts_come_out_otherwise(
    raw_bytes: int,
    before: list[float],
    after: list[float],
    lost: list[tuple[int, int]],
) -> None:
    """A changed level makes other frames: a gap takes its own numbers, the open end the rest."""
    part_size = part_size_for(raw_bytes, 16 * 1024**2)
    first = cut(Gap(1, None, 0, raw_bytes), part_size, before)
    missing = {start + n for start, length in lost for n in range(length)}
    kept = [part for index, part in enumerate(first[:-1]) if index not in missing]
    numbers = {part.number for part in kept}
    for gap in gaps(kept, 0, raw_bytes):
        again = {part.number for part in cut(gap, part_size, after)}
        assert not again & numbers
        numbers |= again
    assert max(numbers) <= MAX_PARTS


def cut(gap: Gap, part_size: int, ratios: list[float]) -> list[Receipt]:
    """The gap's parts, of which each compresses as the next of ``ratios``, from first to first."""
    found: list[Receipt] = []
    number, at = gap.first_number, gap.raw_start
    while at < gap.raw_end:
        frame = max(1, int(FRAME_BYTES * ratios[number % len(ratios)]))
        end = min(gap.raw_end, at + -(-part_size // frame) * FRAME_BYTES)
        end = gap.raw_end if number == gap.last_number else end
        found.append(receipt(number, at, end))
        number, at = number + 1, end
    return found


@given(st.integers(1, 40 * FRAME_BYTES), st.integers(1, 9 * FRAME_BYTES), st.booleans())
def test_plain_parts_are_cut_where_frames_of_that_length_would_be(
    raw_bytes: int, part_size: int, is_last_number: bool
) -> None:
    gap = Gap(3, 3 if is_last_number else None, 7, 7 + raw_bytes)
    length = 0
    while length < raw_bytes and not is_full(length, part_size, 3, gap):
        length += min(FRAME_BYTES, raw_bytes - length)
    assert plain_part_bytes(part_size, 3, gap, 7) == length


@given(st.integers(1, 256), st.integers(13, 4096), st.integers(5, 4096))
def test_what_is_compressed_ahead_leaves_room_for_a_part(
    cores: int, limit_mib: int, part_mib: int
) -> None:
    limit, part_size = limit_mib * 1024**2, part_mib * 1024**2
    assume(limit >= part_size + 2 * FRAME_BYTES)  # a configuration must
    ahead = frames_ahead(cores, limit, part_size)
    assert 0 <= ahead <= cores
    assert ahead * AHEAD_BYTES <= limit // 4
    assert limit - ahead * AHEAD_BYTES >= part_size + 2 * FRAME_BYTES


def test_one_core_has_nothing_to_do_ahead() -> None:
    assert frames_ahead(1, 128 * 1024**2, 16 * 1024**2) == 0
    assert frames_ahead(2, 128 * 1024**2, 16 * 1024**2) == 2
    assert frames_ahead(64, 128 * 1024**2, 16 * 1024**2) == 4


def test_what_is_left_for_parts_is_less_than_all_and_enough_for_one() -> None:
    assert parts_memory(128 * MIB, 4, 64) == (128 - 32 - 4 - 10) * MIB
    assert parts_memory(32 * MIB, 0, 25) >= longest_encoded(16 * MIB + FRAME_BYTES)


@given(st.sampled_from([5 * MIB, 7 * MIB, 8 * MIB, 16 * MIB]), st.integers(1, 1024))
def test_a_plain_part_has_room_in_the_least_memory(part_size: int, max_in_flight: int) -> None:
    """As the wiring divides it: then no part has to be read twice."""
    least = part_size + 2 * FRAME_BYTES
    ahead = frames_ahead(8, least, part_size)
    memory = parts_memory(least, ahead, in_flight_within(max_in_flight, least, 0.0))
    longest = whole_frames(part_size)
    budget = ByteBudget(memory - memory // SMALL_FILES_SHARE, longest_bytes=longest)
    assert budget.longest_bytes >= longest
