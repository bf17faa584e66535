"""Scenarios and settings of the mocked metadata service: what they mean, what they refuse."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.mock.facts import Facts, Keys
from shipper.mock.imds import MockImds
from shipper.mock.scenario import Player, load, scenario_from
from shipper.mock.settings import NAMES, changes_from, changes_from_texts
from shipper.ports import PortError
from tests.fakes.clock import START_AT, FakeClock

ROLE = "/latest/meta-data/iam/security-credentials/shipper"
SECRETS = {"access_key_id": "AK", "secret_access_key": "hush", "session_token": "psst"}
TOLD = {"spot_at", "rebalance_at"}
"""Facts that follow from the moment of a change."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def service(clock: FakeClock, lines: list[dict[str, Any]]) -> Iterator[MockImds]:
    """It never begins to serve: what it would answer is asked of it directly."""
    made = MockImds(clock=clock.now, log=lines.append)
    yield made
    made.stop()


def refused(act: Callable[[], object]) -> list[str]:
    """The problems that something is refused for."""
    with pytest.raises(PortError) as caught:
        act()
    assert caught.value.code == "BadSetting"
    return caught.value.detail.splitlines()


def test_every_fact_may_be_set_but_those_that_follow_from_the_moment() -> None:
    known = {field.name for field in fields(Facts)} - TOLD
    assert set(NAMES) == known | {"faults", "rotate", "forget_tokens", "spot_in_seconds"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("role", "other", "other"),
        ("lifetime_seconds", 20, 20.0),
        ("clock_offset_seconds", -3600.5, -3600.5),
        ("is_expired", True, True),
        ("profile", "trust-broken", "trust-broken"),
        ("spot", "hibernate", "hibernate"),
        ("tags", {"Name": "web"}, {"Name": "web"}),
        ("document_without", ["Token"], ["Token"]),
        ("role_document", {}, {}),
        ("role_document", False, None),
        ("role_list", "", ""),
        ("role_list", False, None),
        ("keys", SECRETS, Keys("AK", "hush", "psst")),
        ("keys", False, None),
    ],
)
def test_a_setting_becomes_a_fact(
    service: MockImds, name: str, value: object, expected: Any
) -> None:
    before = replace(service.facts)
    changes_from({name: value}, "test").apply(service)
    expected_facts = replace(before, **{name: expected})
    assert replace(service.facts, spot_at=0.0) == expected_facts


def test_a_member_of_a_table_may_be_set_alone(service: MockImds) -> None:
    service.facts.tags = {"a": "1", "b": "2"}
    changes = {"tags.b": "3", "tags.c.d": "4", "document_members.Code": "Failed"}
    changes_from(changes, "test").apply(service)
    assert service.facts.tags == {"a": "1", "b": "3", "c.d": "4"}
    assert service.facts.document_members == {"Code": "Failed"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("rolle", "x", "rolle: unknown; did you mean role?"),
        ("qqq", "x", "qqq: unknown"),
        ("spot_at", 1.0, "spot_at: unknown"),
        ("role.x", "x", "role.x: unknown"),
        ("role_document.Code", "x", "role_document.Code: unknown"),
        ("keys.secret_access_key", "hush", "keys.secret_access_key: unknown"),
        ("tags.", "x", "tags.: unknown"),
        ("role", 7, "role: 7 is not a text"),
        ("role", False, "role: False is not a text"),
        ("lifetime_seconds", -1, "lifetime_seconds: -1 is not a number from 0 to 1e9"),
        ("lifetime_seconds", 7e16, "lifetime_seconds: 7e+16 is not a number from 0 to 1e9"),
        ("lifetime_seconds", True, "lifetime_seconds: True is not a number from 0 to 1e9"),
        (
            "clock_offset_seconds",
            float("nan"),
            "clock_offset_seconds: nan is not a number from -1e9 to 1e9",
        ),
        (
            "clock_offset_seconds",
            float("inf"),
            "clock_offset_seconds: inf is not a number from -1e9 to 1e9",
        ),
        ("is_expired", "true", "is_expired: 'true' is not true or false"),
        ("profile", "gone", "profile: 'gone' is not one of 'attached', 'detached', 'no-role'"),
        ("spot", "reboot", "spot: 'reboot' is not one of '', 'terminate'"),
        ("spot", 7, "spot: 7 is not one of '', 'terminate'"),
        ("tags", {"a": 1}, "tags: {'a': 1} is not a table of texts"),
        ("tags.a", 1, "tags.a: 1 is not a text"),
        ("document_members", [], "document_members: [] is not a table"),
        ("document_without", "Token", "document_without: 'Token' is not a list of texts"),
        ("role_document", True, "role_document: this is not a table"),
        ("authorization", 7, "authorization: this is not a text"),
        ("keys", {"secret_access_key": "hush"}, "keys: this is not a table of access_key_id"),
        ("faults", "hang", "faults: 'hang' is not a list of faults"),
        ("faults", ["sulk"], "'sulk' is no fault; write [GET|PUT]"),
        ("rotate", False, "rotate: False is not true"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_in_words(
    name: str, value: object, problem: str
) -> None:
    (said,) = refused(lambda: changes_from({name: value}, "here"))
    assert said.startswith(f"here: {problem}")
    assert "hush" not in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=9), JSON))
def test_any_table_is_taken_or_refused_and_what_is_taken_can_be_applied(
    table: dict[str, Any],
) -> None:
    try:
        changes = changes_from(table, "here")
    except PortError as error:
        refusal = error.code
    else:
        service = MockImds()
        try:
            changes.apply(service)
            service.answer(ROLE)
        finally:
            service.stop()
        refusal = ""
    assert refusal in ("", "BadSetting")


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(refused(lambda: changes_from({"rolle": "x", "region": 7, "role": "y"}, "x"))) == 2


def test_words_of_the_command_line_become_settings() -> None:
    words = ["role=a=b", "lifetime-seconds=20", "is_expired=true", "tags.cost-center=42"]
    words += ["profile=detached", "spot=", "role-list=false", "keys=false", 'tags={"a": "b"}']
    assert changes_from_texts(words, "set") == {
        "role": "a=b",
        "lifetime_seconds": 20,
        "is_expired": True,
        "tags.cost-center": "42",
        "profile": "detached",
        "spot": "",
        "role_list": False,
        "keys": False,
        "tags": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("PUT 503 x2, hang", ["PUT 503 x2", "hang"]),
        ('["/a,b reset"]', ["/a,b reset"]),
    ],
)
def test_faults_on_the_command_line_are_separated_by_commas(
    value: str, expected: list[str]
) -> None:
    assert changes_from_texts([f"faults={value}"], "set") == {"faults": expected}


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("role", "'role' is not NAME=VALUE"),
        ("rolle=x", "rolle: unknown; did you mean role?"),
        ("lifetime-seconds=20s", "lifetime_seconds: '20s' is not a number from 0 to 1e9"),
        ("keys=hush", "keys: this is not a table of access_key_id"),
        ("tags=[[", "tags: '[[' is not a table of texts"),
    ],
)
def test_a_word_that_makes_no_sense_is_refused(word: str, problem: str) -> None:
    (said,) = refused(lambda: changes_from_texts([word], "set"))
    assert said.startswith(f"set: {problem}")


def test_a_notice_is_dated_from_the_moment_of_its_change(
    service: MockImds, clock: FakeClock
) -> None:
    clock.advance(seconds=10)
    changes_from({"spot": "stop", "is_rebalance_recommended": True}, "test").apply(service)
    assert service.facts.spot_at == START_AT + 130
    assert service.facts.rebalance_at == START_AT + 10
    changes_from({"spot_in_seconds": 5}, "test").apply(service)
    assert (service.facts.spot, service.facts.spot_at) == ("stop", START_AT + 15)


def test_rotation_and_forgetting_tokens_are_acts(service: MockImds) -> None:
    old = service.answer(ROLE)
    service.token("60")
    changes_from({"rotate": True, "forget_tokens": True}, "test").apply(service)
    assert service.answer(ROLE) != old
    assert service.tokens == {}


SCENARIO: dict[str, Any] = {
    "about": "the profile is detached for a minute",
    "at": [
        {"seconds": 65, "profile": "attached", "role": "other"},
        {"seconds": 0, "lifetime_seconds": 20},
        {"seconds": 5.5, "profile": "detached", "faults": ["PUT 503 x2"]},
    ],
}
TOML = """\
about = "the profile is detached for a minute"
[[at]]
seconds = 65
profile = "attached"
role = "other"
[[at]]
seconds = 0
lifetime_seconds = 20
[[at]]
seconds = 5.5
profile = "detached"
faults = ["PUT 503 x2"]
"""


@pytest.mark.parametrize(("name", "text"), [("a.toml", TOML), ("a.json", json.dumps(SCENARIO))])
def test_a_scenario_is_read_from_toml_or_json_in_the_order_of_time(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = load(str(tmp_path / name))
    assert found == scenario_from(SCENARIO, "here")
    assert found.about == SCENARIO["about"]
    assert [moment.seconds for moment in found.moments] == [0.0, 5.5, 65.0]


def test_a_moment_is_applied_once_when_its_time_has_come(
    service: MockImds, lines: list[dict[str, Any]]
) -> None:
    player = Player(scenario_from(SCENARIO, "here"), service)
    assert player.advance(0.0) == 5.5
    assert (service.facts.lifetime_seconds, service.facts.profile) == (20.0, "attached")
    assert player.advance(5.0) == 0.5
    assert service.facts.profile == "attached"
    assert player.advance(6.0) == 59.0
    assert (service.facts.profile, service.faults.texts()) == ("detached", ["PUT 503 x2"])
    service.facts.profile = "no-role"
    assert player.advance(7.0) == 58.0
    assert service.facts.profile == "no-role"
    assert player.advance(1000.0) is None
    assert (service.facts.profile, service.facts.role) == ("attached", "other")
    told = [(line["scenario_seconds"], line["changed"]) for line in lines]
    assert told == [
        (0.0, ["lifetime_seconds"]),
        (5.5, ["faults", "profile"]),
        (65.0, ["profile", "role"]),
    ]


def test_moments_that_were_slept_through_come_in_their_order(service: MockImds) -> None:
    assert Player(scenario_from(SCENARIO, "here"), service).advance(65.0) is None
    assert (service.facts.profile, service.facts.lifetime_seconds) == ("attached", 20.0)


def test_an_empty_scenario_is_over_at_once(service: MockImds) -> None:
    assert Player(scenario_from({}, "here"), service).advance(0.0) is None


@pytest.mark.parametrize(
    ("document", "problems"),
    [
        ([], ["here: not a table"]),
        ({"att": []}, ["here: att: unknown; did you mean at?"]),
        ({"about": 7}, ["here: about: 7 is not a text"]),
        ({"at": {}}, ["here: at: not a list of tables; write [[at]]"]),
        ({"at": [7]}, ["here: at: not a list of tables; write [[at]]"]),
        ({"at": [{}]}, ["here: at 1: seconds: None is not a number from 0 to 1e9"]),
        ({"at": [{"seconds": -1}]}, ["here: at 1: seconds: -1 is not a number from 0 to 1e9"]),
        ({"at": [{"seconds": "5"}]}, ["here: at 1: seconds: '5' is not a number from 0 to 1e9"]),
        ({"at": [{"seconds": True}]}, ["here: at 1: seconds: True is not a number from 0 to 1e9"]),
        (
            {"at": [{"seconds": float("inf")}]},
            ["here: at 1: seconds: inf is not a number from 0 to 1e9"],
        ),
        (
            {"at": [{"seconds": 1, "role": 7}, {"seconds": -1, "rolle": "x"}]},
            [
                "here: at 1: role: 7 is not a text",
                "here: at 2: seconds: -1 is not a number from 0 to 1e9",
                "here: at 2: rolle: unknown; did you mean role?",
            ],
        ),
    ],
)
def test_everything_that_is_wrong_with_a_scenario_is_said_with_its_place(
    document: Any, problems: list[str]
) -> None:
    assert refused(lambda: scenario_from(document, "here")) == problems


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "["), ("a.json", "["), ("a.toml", "\udcff")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert refused(lambda: load(str(path)))[0].startswith(f"{path}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(lambda: load(str(tmp_path / "a.toml")))[0]
