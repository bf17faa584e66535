"""Which files are held, and which are let go."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.holding import (
    LastCopy,
    affordable_files,
    beyond_budget,
    clone_name,
    needs_source,
    shipment_id_from_name,
)
from shipper.core.types import ETag, FileId, RelativePath, ShipmentId, State
from tests.fakes.examples import shipment

COPIES = st.builds(
    LastCopy,
    shipment_id=st.integers(1, 10**6).map(ShipmentId),
    mtime_ns=st.integers(-(10**6), 10**6),
    size_bytes=st.integers(1, 1000),
    is_clone=st.booleans(),
)
MANY = st.lists(COPIES, max_size=20, unique_by=lambda copy: copy.shipment_id)


def copy(number: int, size_bytes: int, *, is_clone: bool = False) -> LastCopy:
    """The n-th oldest."""
    return LastCopy(ShipmentId(number), number, size_bytes, is_clone)


def numbers(copies: list[LastCopy]) -> list[int]:
    return [copy.shipment_id for copy in copies]


def test_the_newest_are_let_go_first() -> None:
    copies = [copy(3, 10), copy(1, 10), copy(2, 10)]
    assert numbers(beyond_budget(copies, budget_bytes=20, lacking_bytes=0)) == [3]


def test_a_file_that_is_too_large_does_not_cost_the_small_ones() -> None:
    copies = [copy(1, 1000), copy(2, 10), copy(3, 10)]
    assert numbers(beyond_budget(copies, budget_bytes=20, lacking_bytes=0)) == [1]


def test_what_the_state_directory_lacks_only_clones_give_back() -> None:
    copies = [copy(1, 10), copy(2, 10, is_clone=True), copy(3, 10, is_clone=True), copy(4, 10)]
    assert numbers(beyond_budget(copies, budget_bytes=100, lacking_bytes=1)) == [3]
    assert numbers(beyond_budget(copies, budget_bytes=100, lacking_bytes=99)) == [2, 3]


@given(MANY, st.integers(0, 3000), st.integers(0, 3000))
def test_what_is_kept_is_within_the_budget_and_nothing_else_would_fit(
    copies: list[LastCopy], budget_bytes: int, lacking_bytes: int
) -> None:
    beyond = beyond_budget(copies, budget_bytes=budget_bytes, lacking_bytes=lacking_bytes)
    kept = [one for one in copies if one not in beyond]
    assert sum(one.size_bytes for one in kept) <= budget_bytes
    given_back = sum(one.size_bytes for one in beyond if one.is_clone)
    assert given_back >= lacking_bytes or not any(one.is_clone for one in kept)
    if not lacking_bytes:
        left = budget_bytes - sum(one.size_bytes for one in kept)
        assert all(one.size_bytes > left for one in beyond)
        assert not beyond or sum(one.size_bytes for one in copies) > budget_bytes


@given(MANY, st.integers(0, 3000))
def test_which_are_let_go_does_not_depend_on_the_order_of_asking(
    copies: list[LastCopy], budget_bytes: int
) -> None:
    there = beyond_budget(copies, budget_bytes=budget_bytes, lacking_bytes=0)
    back = beyond_budget(copies[::-1], budget_bytes=budget_bytes, lacking_bytes=0)
    assert there == back


@pytest.mark.parametrize(
    ("wanted", "limit", "found"), [(256, 1024, 256), (900, 1024, 724), (9, 100, 0), (9, -1, 9)]
)
def test_descriptors_are_held_as_the_limit_of_open_files_allows(
    wanted: int, limit: int, found: int
) -> None:
    assert affordable_files(wanted, limit=limit, reserved=300) == found


@pytest.mark.parametrize("state", list(State))
def test_a_source_is_needed_until_a_listing_has_shown_the_object(state: State) -> None:
    unsent = state in (State.READY, State.UPLOADING, State.UPLOADED, State.PARKED)
    assert needs_source(shipment(state=state)) is unsent


def test_a_parked_shipment_that_s3_has_needs_no_source() -> None:
    assert not needs_source(shipment(state=State.PARKED, etag=ETag("")))


def test_the_name_of_a_clone_tells_whose_it_is_and_of_which_file() -> None:
    one = shipment(id=ShipmentId(17))
    assert shipment_id_from_name(clone_name(one)) == 17
    assert clone_name(one) == clone_name(
        replace(one, mtime_ns=5, attempts=3, path=RelativePath(b"x"))
    )
    others = [
        replace(one, file_id=FileId(8, 4, "head")),
        replace(one, raw_end=101),
        replace(one, tail_digest="other"),
    ]
    assert len({clone_name(each) for each in [one, *others]}) == 4


@pytest.mark.parametrize("name", ["", "17", "a-b", "-1-x", "\u0661-x", "9" * 30 + "-x"])
def test_other_names_are_nobodys_clone(name: str) -> None:
    assert shipment_id_from_name(name) is None
