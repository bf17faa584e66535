"""How full a disk is, and what has to go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.disk_space import (
    ACTIVE_SECONDS,
    IDLE_SECONDS,
    NEAR_SECONDS,
    DiskSpace,
    Excess,
    Marks,
    Removable,
    excess_over,
    is_to_shrink,
    oldest_within,
    seconds_to_next_look,
)
from shipper.core.types import ShipmentId

MARKS = Marks(0.85, 0.75)
SIZES = st.integers(0, 2**50)
RATIOS = st.floats(0.01, 0.99)
FILES = st.lists(st.integers(0, 10_000), max_size=30)


def disk(percent: int, *, inodes: int = 0) -> DiskSpace:
    return DiskSpace(1, percent, 100 - percent, inodes, 100 - inodes if inodes else 0, 1)


def removable(sizes: list[int]) -> list[Removable]:
    return [Removable(at, ShipmentId(at), size, 0.0) for at, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("percent", "is_shrinking", "goes"),
    [(84, False, False), (85, False, True), (84, True, True), (75, True, True), (74, True, False)],
)
def test_removal_begins_at_the_high_water_and_ends_below_the_low_water(
    percent: int, is_shrinking: bool, goes: bool
) -> None:
    assert is_to_shrink(disk(percent), MARKS, is_shrinking=is_shrinking) is goes


def test_a_disk_without_free_inodes_is_full_and_files_have_to_go_whatever_their_size() -> None:
    space = disk(10, inodes=99)
    assert space.used_ratio == 0.99
    excess = excess_over(space, MARKS.low)
    assert (excess.size_bytes, excess.files) == (0, 25)
    assert excess.asks_for(0)


def test_an_empty_file_frees_no_bytes() -> None:
    assert not Excess(size_bytes=1).asks_for(0)
    assert Excess(size_bytes=1).asks_for(1)
    assert not Excess()


def test_a_disk_of_no_size_is_not_full() -> None:
    assert DiskSpace(1, 0, 0).used_ratio == 0
    assert not excess_over(DiskSpace(1, 0, 0), 0.5)


@given(used=SIZES, free=SIZES, low=RATIOS)
def test_a_disk_without_its_excess_is_below_the_low_water_and_with_a_byte_more_is_not(
    used: int, free: int, low: float
) -> None:
    gone = excess_over(DiskSpace(1, used, free), low).size_bytes
    assert 0 <= gone <= max(used, 1)
    limit = (used + free) * low
    assert used - gone < limit or used + free == 0 or limit < 1
    assert gone == 0 or used - gone + 1 >= int(limit)


@given(sizes=FILES, wanted=st.integers(0, 100_000), block=st.sampled_from([1, 512, 4096]))
def test_the_oldest_go_and_not_one_more_than_it_takes(
    sizes: list[int], wanted: int, block: int
) -> None:
    files = removable(sizes)
    chosen, left = oldest_within(files, Excess(wanted, 0, block))
    assert chosen == files[: len(chosen)]
    freed = [-(-one.raw_end // block) * block for one in chosen]
    assert sum(freed) >= wanted or chosen == files
    assert not chosen or sum(freed[:-1]) < wanted
    assert left.size_bytes == wanted - sum(freed)


def test_a_disk_is_looked_at_more_often_the_fuller_it_is() -> None:
    assert seconds_to_next_look(0.70, MARKS, is_shrinking=False) == IDLE_SECONDS
    assert seconds_to_next_look(0.76, MARKS, is_shrinking=False) == NEAR_SECONDS
    assert seconds_to_next_look(0.76, MARKS, is_shrinking=True) == ACTIVE_SECONDS
