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


@pytest.mark.parametrize(
    ("denied", "allowed", "pattern"),
    [
        ("logs/app/secure{}", "logs/app/access{}", "logs/app/secure*"),
        ("logs/{}/secret/x.log", "logs/{}/open/x.log", "logs/*/secret/x.log"),
        ("logs/{}1f/x-{}.gz", "logs/{}1f/x-{}.zst", "logs/*/x*.gz"),
        ("logs/{}-audit.log", "logs/{}-access.log", "logs/*-audit.log"),
        ("{}0audit.log", "{}0access.log", "*audit.log"),
        ("logs/1042/{}.log", "logs/1043/{}.log", "logs/1042/*.log"),
        ("logs/x{}", "logs/y{}", "logs/x*"),
    ],
)
def test_what_refused_keys_have_in_common_is_held_and_the_others_are_not(
    denied: str, allowed: str, pattern: str
) -> None:
    refusals = Refusals()
    holds = [refuse(refusals, denied.format(number, number)) for number in range(3)]
    assert holds[:2] == [None, None]
    assert holds[2] is not None
    assert holds[2].pattern == pattern
    assert holds[2].mark == f"held, for keys like {pattern} are refused"
    assert refusals.hold_of(denied.format(9, 9), 0.01) is holds[2]
    assert refusals.hold_of(allowed.format(9, 9), 0.01) is None


def test_keys_without_anything_in_common_hold_nothing_but_themselves() -> None:
    refusals = Refusals()
    refusals.accept("logs/7f3a.log")
    assert [refuse(refusals, f"logs/{number}d1e.log") for number in range(300)] == [None] * 300
    assert refusals.hold_of("logs/1c9.log", 0.0) is None
    assert refusals.wait_seconds("logs/5d1e.log") == 300.0, "one request a second for all of them"


def test_two_kinds_of_refused_keys_are_held_side_by_side() -> None:
    refusals = Refusals()
    refusals.accept("logs/web/1")
    for number in range(3):
        refuse(refusals, f"logs/app/{number}")
        refuse(refusals, f"logs/db/{number}")
    assert refusals.hold_of("logs/app/9", 0.0) is not None
    assert refusals.hold_of("logs/db/9", 0.0) is not None
    assert refusals.hold_of("logs/web/9", 0.0) is None


def test_where_nothing_has_passed_three_refused_keys_explain_all_that_are_like_them() -> None:
    refusals = Refusals()
    refuse(refusals, "logs/app/one")
    refuse(refusals, "logs/app/two")
    hold = refuse(refusals, "logs/app/six")
    assert hold is not None
    assert hold.pattern == "logs/app/*"


def test_a_new_key_is_tried_at_once_but_not_more_than_once_a_second() -> None:
    refusals = Refusals()
    for number in range(3):
        refuse(refusals, f"logs/{number}")
    for number in range(3, 20):
        refuse(refusals, f"logs/{number}", now=0.0)
    assert refusals.hold_of("logs/99", 0.9, is_new=True) is not None
    assert refusals.hold_of("logs/99", 1.0) is not None
    assert refusals.hold_of("logs/99", 1.0, is_new=True) is None
    assert refusals.hold_of("logs/98", 1.9, is_new=True) is not None
    assert refusals.hold_of("logs/98", 2.0, is_new=True) is None


def test_a_setting_that_is_refused_is_not_tried_for_every_new_key() -> None:
    refusals = Refusals()
    refuse(refusals, "a/1", "InvalidTag")
    for number in range(9):
        refuse(refusals, f"b/{number}", "InvalidTag")
    assert refusals.hold_of("c/1", 5.0, is_new=True) is not None


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
    for number in range(10, 22):
        waits.append(hold.trial_at - now)
        now = hold.trial_at
        assert refusals.hold_of(f"logs/{number}", now) is None
        assert refusals.hold_of(f"logs/{number + 1}", now) is not None
        hold = refuse(refusals, f"logs/{number}", now=now)
        assert hold is not None
    assert waits[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert waits[-1] == pytest.approx(LONGEST_TRIAL_SECONDS)


@pytest.mark.parametrize("code", ["InvalidTag", "AccessControlListNotSupported", "Tomorrow"])
def test_what_every_request_says_holds_everything_after_two_keys(code: str) -> None:
    refusals = Refusals()
    assert refuse(refusals, "a/1", code) is None
    hold = refuse(refusals, "b/2", code)
    assert hold is not None
    assert hold.pieces == frozenset()
    assert hold.mark == "held, for all keys are refused"


def test_a_code_that_was_taken_for_everybodys_in_error_is_a_keys_from_then_on() -> None:
    refusals = Refusals()
    refuse(refusals, "a/1", "InvalidArgument")
    refuse(refusals, "b/2", "InvalidArgument")
    is_mended, (lifted,) = refusals.accept("c/3")
    assert not is_mended
    assert lifted.pieces == frozenset()
    assert refuse(refusals, "d/4", "InvalidArgument") is None
    assert refuse(refusals, "e/5", "InvalidArgument") is None


def test_a_refused_key_that_passes_frees_all_that_was_held_with_it() -> None:
    refusals = Refusals()
    for number in range(3):
        refuse(refusals, f"logs/{number}")
    is_mended, (lifted,) = refusals.accept("logs/1")
    assert is_mended
    assert lifted.pattern == "logs/*"
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


def test_no_more_is_held_than_a_few_dozen_kinds_of_keys() -> None:
    """Beyond that the oldest hold goes, and its keys are tried again."""
    refusals = Refusals()
    for number in range(MOST_PASSED):
        refusals.accept(f"logs/good/{number}")
    kinds = [f"logs/{letter}{other}x/" for letter in "ghijkl" for other in "mnopqr"]
    for kind in kinds:
        for number in range(3):
            refuse(refusals, f"{kind}{number}")
    assert len(kinds) > MOST_HOLDS
    held = [refusals.hold_of(f"{kind}9", 0.0) is not None for kind in kinds]
    assert held == [False] * (len(kinds) - MOST_HOLDS) + [True] * MOST_HOLDS


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
            assert hold is None or hold.has(key)
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
    assert [hold and hold.pieces for hold in holds] == [None, frozenset(), frozenset()]
