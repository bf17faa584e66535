"""May a lost journal have known this file? In doubt it may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.birth import SLACK_SECONDS, may_be_older
from tests.fakes.examples import shipment

BORN_AT = 1_764_000_000.0
DAY = SLACK_SECONDS
TIMES = st.floats(0, 4e9)


@pytest.mark.parametrize(
    ("mtime_at", "promised_at", "is_older"),
    [
        (BORN_AT - 1, BORN_AT + 90 * DAY, True),
        (BORN_AT + DAY / 2, BORN_AT + 90 * DAY, True),
        (BORN_AT + 2 * DAY, BORN_AT + 2 * DAY, False),
        (BORN_AT + 900 * DAY, BORN_AT + 5, True),
        (BORN_AT + 900 * DAY, BORN_AT - 5, True),
    ],
    ids=["before", "slack", "after", "mtime in the future", "clock set back since"],
)
def test_it_is_older_by_its_mtime_or_because_it_was_promised_early(
    mtime_at: float, promised_at: float, is_older: bool
) -> None:
    one = shipment(mtime_ns=int(mtime_at * 1e9), promised_at=promised_at)
    assert may_be_older(one, BORN_AT) is is_older


@given(TIMES, TIMES)
def test_nothing_is_older_than_a_birth_that_nobody_knows(mtime: float, promised: float) -> None:
    one = shipment(mtime_ns=int(mtime * 1e9), promised_at=promised)
    assert may_be_older(one, None) is False


@given(TIMES, st.floats(0, DAY - 1))
def test_whatever_a_young_journal_promises_may_be_older(mtime: float, age: float) -> None:
    one = shipment(mtime_ns=int(mtime * 1e9), promised_at=BORN_AT + age)
    assert may_be_older(one, BORN_AT)
