"""What a refusal holds: as little as explains it, and less as more passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.refusals import (
    LONGEST_TRIAL_SECONDS,
    LONGEST_WAIT_SECONDS,
    MOST_HOLDS,
    MOST_KEYS,
    MOST_PASSED,
    Hold,
    Refusals,
    Refused,
)

DENIED = "AccessDenied"


def refuse(refusals: Refusals, key: str, code: str = DENIED, now: float = 0.0) -> Hold | None:
    return refusals.refuse(Refused(key, code, "no", "", 0, now))


def test_one_denied_key_holds_itself_and_waits_longer_each_time() -> None:
    refusals = Refusals()
    waits = []
    for _ in range(9):
        assert refuse(refusals, "logs/bad") is None
        waits.append(refusals.wait_seconds("logs/bad"))
    assert waits[:3] == [60.0, 120.0, 240.0]
    assert waits[-1] == LONGEST_WAIT_SECONDS
    assert refusals.fresh == 1
    assert refusals.hold_of("logs/good", 0.0) is None


def test_keys_that_begin_alike_are_held_and_the_others_are_not() -> None:
    refusals = Refusals()
    refusals.accept("logs/web/good1")
    holds = [refuse(refusals, f"logs/app/secure{number}") for number in range(3)]
    assert [hold and hold.prefix for hold in holds] == [None, None, "logs/app/secure"]
    assert refusals.hold_of("logs/app/secure9", 0.1) is not None
    assert refusals.hold_of("logs/app/access1", 0.1) is None
    assert refusals.hold_of("logs/web/good2", 0.1) is None


def test_what_passes_between_refused_keys_keeps_them_from_being_one_thing() -> None:
    refusals = Refusals()
    for number in range(3):
        refusals.accept(f"logs/app{number}b")
        assert refuse(refusals, f"logs/app{number}a") is None


def test_held_keys_are_tried_one_at_a_time_and_ever_more_seldom() -> None:
    refusals = Refusals()
    hold = [refuse(refusals, f"logs/{number}") for number in range(3)][-1]
    assert hold is not None
    waits, now = [], 0.0
    for number in range(10, 20):
        waits.append(hold.trial_at - now)
        now = hold.trial_at
        assert refusals.hold_of(f"logs/{number}", now) is None
        assert refusals.hold_of(f"logs/{number + 1}", now) is not None
        hold = refuse(refusals, f"logs/{number}", now=now)
        assert hold is not None
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_TRIAL_SECONDS


@pytest.mark.parametrize("code", ["InvalidTag", "AccessControlListNotSupported", "Tomorrow"])
def test_what_every_request_says_holds_everything_after_two_keys(code: str) -> None:
    refusals = Refusals()
    assert refuse(refusals, "a/1", code) is None
    hold = refuse(refusals, "b/2", code)
    assert hold is not None
    assert hold.prefix == ""


def test_a_code_that_was_taken_for_everybodys_in_error_is_a_keys_from_then_on() -> None:
    refusals = Refusals()
    refuse(refusals, "a/1", "InvalidArgument")
    refuse(refusals, "b/2", "InvalidArgument")
    ((prefix, mark),) = refusals.accept("c/3")
    assert (prefix, mark) == ("", "held, for all keys are refused")
    assert refuse(refusals, "d/4", "InvalidArgument") is None
    assert refuse(refusals, "e/5", "InvalidArgument") is None


def test_a_refused_key_that_passes_frees_all_that_was_held_with_it() -> None:
    refusals = Refusals()
    for number in range(3):
        refuse(refusals, f"logs/{number}")
    assert refusals.accept("logs/1") == [("logs/", "")]
    assert refusals.hold_of("logs/7", 0.0) is None
    assert refusals.fresh == 0


def test_other_credentials_are_not_held_for_what_the_last_ones_were_refused() -> None:
    refusals = Refusals()
    for number in range(3):
        refuse(refusals, f"logs/{number}")
    refusals.forget()
    assert refusals.hold_of("logs/7", 0.0) is None
    assert refusals.has_refused


def test_credentials_are_blamed_once() -> None:
    refusals = Refusals()
    assert [refusals.blames_credentials(now) for now in (0.0, 1.0, 599.0, 600.0)] == [
        *(True, False, False, True)
    ]


def test_what_is_refused_is_told_by_code_until_it_is_refused_no_more() -> None:
    refusals = Refusals()
    refuse(refusals, "a")
    refuse(refusals, "b", now=100.0)
    refuse(refusals, "c", "KMS.Disabled", now=100.0)
    told = {one.code: (files, one.key) for files, one in refusals.standing(500.0)}
    assert told == {DENIED: (2, "b"), "KMS.Disabled": (1, "c")}
    assert [files for files, _ in refusals.standing(950.0)] == [1, 1]
    assert refusals.standing(5000.0) == []
    assert not refusals.has_refused


def test_what_is_learned_is_bounded() -> None:
    refusals = Refusals()
    for number in range(2 * MOST_KEYS):
        refusals.accept(f"{number:06}/x")
        for each in "abc":
            refuse(refusals, f"{number:06}/{each}{number}")
            refuse(refusals, f"{number:06}/aa{each}{number}")
    assert len(refusals._refused) == MOST_KEYS
    assert len(refusals._passed) == MOST_PASSED
    assert len(refusals._holds) <= MOST_HOLDS
    assert refusals.fresh <= MOST_KEYS


keys = st.lists(st.tuples(st.text("ab/", min_size=1, max_size=6), st.booleans()), max_size=60)


@given(keys)
def test_nothing_that_just_passed_is_held_and_nothing_is_held_for_ever(
    found: list[tuple[str, bool]],
) -> None:
    refusals = Refusals()
    for now, (key, passes) in enumerate(found):
        if passes:
            refusals.accept(key)
            assert refusals.hold_of(key, float(now)) is None
        else:
            hold = refuse(refusals, key, now=float(now))
            assert hold is None or key.startswith(hold.prefix)
            assert hold is None or hold.trial_at - now <= LONGEST_TRIAL_SECONDS
    for later, (key, _) in enumerate(found, 2):
        assert refusals.hold_of(key, later * 10 * LONGEST_TRIAL_SECONDS) is None


def test_a_narrower_explanation_does_not_lift_the_hold_of_all_keys() -> None:
    refusals = Refusals()
    codes = ["InvalidTag", "InvalidTag", "AccessDenied"]
    holds = [
        refusals.refuse(Refused(f"x/{number}", code, "", "", 0, float(number)))
        for number, code in enumerate(codes)
    ]
    assert [hold and hold.prefix for hold in holds] == [None, "", ""]
