"""Who of a fleet is late or ill, by what a listing shows."""

import json
import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.archived import ArchivedObject
from shipper.core.fleet import (
    NEVER,
    UNREADABLE,
    Seen,
    absent,
    clock_now,
    hours_after,
    instances_from,
    is_late,
    is_to_read,
    newest,
    standing_of,
)
from shipper.core.heartbeats import SHUT_DOWN, Heartbeat, NoHeartbeat, State, encoded
from shipper.core.types import ETag, ObjectKey

NOW = 1_764_000_000.0
HOUR = 3600.0
PLAIN = Heartbeat(1, "i-1", "", "well", "1", "", HOUR, "")


def seen(state: str, age_seconds: float, *, instance: str = "i-1") -> Seen:
    size = len(encoded(replace(PLAIN, state=state)))
    key = ObjectKey(f"logs/_fleet/instance={instance}/heartbeat.json")
    return Seen(instance, ArchivedObject(key, size, ETag("e"), NOW - age_seconds))


def test_of_several_objects_of_an_instance_the_newest_counts() -> None:
    def at(key: str, age: float) -> ArchivedObject:
        return ArchivedObject(ObjectKey(f"logs/_fleet/{key}"), 160, ETag("e"), NOW - age)

    found, others = newest(
        "logs/",
        [
            at("hour=2025-11-24T15/instance=i-1/heartbeat-0712.json", 50),
            at("hour=2025-11-24T15/instance=i-4/heartbeat-0712.json", 50),
            at("hour=2025-11-24T15/instance=i-4/heartbeat.json", 50),
            at("hour=2025-11-24T15/instance=i-1/heartbeat.json", 60),
            at("hour=2025-11-24T15/instance=i-2/heartbeat.json", 70),
            at("instance=i-2/heartbeat.json", 80),
            at("instance=i-3/heartbeat.json", 90),
            at("notes.txt", 1),
        ],
    )
    assert {name: NOW - one.object.modified_at for name, one in found.items()} == {
        "i-1": 50,
        "i-2": 70,
        "i-3": 90,
        "i-4": 50,
    }
    assert "heartbeat-0712" in found["i-4"].object.key, "in the same second, the later of the two"
    assert others == 1


@pytest.mark.parametrize(
    ("state", "age", "late"),
    [
        ("well", 2 * HOUR, False),
        ("well", 2 * HOUR + 1, True),
        ("ill", 9 * HOUR, True),
        ("draining", 3 * HOUR, True),
        ("stopped", 3 * HOUR, True),
        ("ended", 1e6, False),
    ],
)
def test_late_is_what_is_older_than_two_intervals_but_for_what_has_ended(
    state: str, age: float, late: bool
) -> None:
    one = seen(state, age)
    assert is_late(one, NOW, HOUR) is late
    assert standing_of(one, NOW, HOUR).is_late is late


@pytest.mark.parametrize("state", [*State])
def test_only_those_are_read_of_whom_a_listing_does_not_tell_enough(state: State) -> None:
    one = seen(state.value, 60)
    assert is_to_read(one, late=True)
    assert is_to_read(one, late=False) is (state in (State.ILL, State.STOPPED))
    assert is_to_read(one, late=False, is_thorough=True) is (state is not State.WELL)


@pytest.mark.parametrize("state", [*State])
def test_the_ill_the_stopped_and_the_late_need_somebody(state: State) -> None:
    needy = state in (State.ILL, State.STOPPED)
    assert standing_of(seen(state.value, 60), NOW, HOUR).needs_somebody is needy
    assert standing_of(seen(state.value, 1e5), NOW, HOUR).needs_somebody is (
        state is not State.ENDED
    )


def test_one_that_has_ended_and_is_said_to_run_needs_somebody_once_it_is_late() -> None:
    one, young = seen("ended", 3 * HOUR), seen("ended", HOUR)
    assert is_late(one, NOW, HOUR, is_expected=True)
    assert standing_of(one, NOW, HOUR, is_expected=True).needs_somebody
    assert not standing_of(young, NOW, HOUR, is_expected=True).needs_somebody
    for is_expected in (None, False):
        assert not standing_of(one, NOW, HOUR, is_expected=is_expected).needs_somebody


def test_one_that_was_shut_down_is_over_only_where_a_list_says_that_it_does_not_run() -> None:
    shut_down = replace(PLAIN, state="stopped", reasons=(SHUT_DOWN,))
    for is_expected, needy in ((None, True), (True, True), (False, False)):
        for age in (60, 1e6):
            one = standing_of(seen("stopped", age), NOW, HOUR, shut_down, is_expected=is_expected)
            assert one.needs_somebody is needy
    left = replace(PLAIN, state="stopped")
    assert standing_of(seen("stopped", 60), NOW, HOUR, left, is_expected=False).needs_somebody


def test_one_that_writes_less_often_is_late_later_and_not_for_ever() -> None:
    one = seen("well", 20 * HOUR)
    daily = replace(PLAIN, interval_seconds=86_400.0)
    assert not standing_of(one, NOW, HOUR, daily).is_late
    assert standing_of(one, NOW, HOUR, PLAIN).is_late
    never = replace(PLAIN, interval_seconds=1e15)
    assert standing_of(seen("well", 15 * 86_400.0), NOW, HOUR, never).is_late


def test_what_was_read_counts_more_than_what_was_listed() -> None:
    ill = replace(PLAIN, state="ill")
    assert standing_of(seen("well", 1e5), NOW, HOUR, ill).word == "ill"


def test_what_is_no_heartbeat_or_another_ones_is_unreadable_and_says_why() -> None:
    bad = standing_of(seen("ill", 60), NOW, HOUR, NoHeartbeat("it is not JSON"))
    assert (bad.word, bad.problem, bad.needs_somebody) == (UNREADABLE, "it is not JSON", True)
    another = standing_of(seen("ill", 60, instance="i-2"), NOW, HOUR, PLAIN)
    assert (another.word, another.problem) == (UNREADABLE, "it is a heartbeat of i-1")
    odd = Seen("i-1", replace(seen("well", 60).object, size_bytes=15))
    assert standing_of(odd, NOW, HOUR).problem == "no heartbeat has 15 bytes"
    assert not is_to_read(odd, late=True, is_thorough=True)


def test_one_that_cannot_be_asked_for_stands_as_it_is_listed() -> None:
    one = standing_of(seen("ill", 60), NOW, HOUR, None, "AccessDenied")
    assert (one.word, one.problem) == ("ill", "AccessDenied")


def test_those_that_never_wrote_are_named_as_keys_name_them() -> None:
    (one,) = absent(["i-1", "i/2"], {"i-1": None})
    assert (one.instance, one.word, one.needs_somebody) == ("i%2F2", NEVER, True)


def test_a_clock_that_is_behind_s3s_is_put_right_and_told() -> None:
    assert clock_now(NOW, []) == (NOW, 0.0)
    assert clock_now(NOW, [seen("well", 500)]) == (NOW, 0.0)
    assert clock_now(NOW, [seen("well", -30)]) == (NOW + 30, 0.0)
    assert clock_now(NOW, [seen("well", -600), seen("well", 5)]) == (NOW + 600, 600.0)


def test_hours_are_listed_for_a_day_or_three_intervals() -> None:
    assert hours_after(NOW, HOUR) == "2025-11-23T16"
    assert hours_after(NOW, 7 * 86_400.0) == "2025-11-03T16"


@pytest.mark.parametrize(
    "text",
    [
        "i-1\ni-2\n",
        "i-1\ti-2",
        "  i-1 , i-2,",
        '"i-1"\r\n"i-2"\r\n',
        "'i-1' 'i-2'",
        '["i-1", "i-2"]',
        '[["i-1"], [["i-2"], null]]',
        "i-1\nNone\ni-2\ni-1\n",
    ],
)
def test_a_list_of_instances_is_read_as_people_and_the_aws_cli_write_it(text: str) -> None:
    assert instances_from(text) == ["i-1", "i-2"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no instance"),
        (" \n", "names no instance"),
        ("None", "names no instance"),
        ("[]", "names no instance"),
        ('["i-1"', "not JSON"),
        ("[" * 10_000, "not JSON"),
        ("[1]", "1 is no instance's id"),
        ('{"Reservations": []}', "is no instance's id"),
    ],
)
def test_a_list_that_names_no_instance_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        instances_from(text)


@given(st.lists(st.text(string.ascii_lowercase + "-0123456789", min_size=1), min_size=1))
def test_lines_and_json_say_the_same(names: list[str]) -> None:
    assert instances_from("\n".join(names)) == instances_from(json.dumps(names))
