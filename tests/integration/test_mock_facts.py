"""What the mocked metadata service says of an instance, its profile and its end."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from shipper.mock.facts import Facts, Issued, Keys, Profile
from shipper.mock.imds import EXTENDED, LEGACY, TOKEN_HEADER, MockImds
from shipper.mock.issuing import Issuer, made_up
from shipper.mock.settings import changes_from
from shipper.ports import PortError
from tests.fakes.clock import START_AT, FakeClock
from tests.machines.asker import Asker

META = "/latest/meta-data/"
INFO = META + "iam/info"
IDENTITY = "/latest/dynamic/instance-identity/document"
LIFE = 3600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def service(clock: FakeClock) -> Iterator[MockImds]:
    facts = Facts(lifetime_seconds=LIFE)
    with MockImds(facts, clock=clock.now, monotonic=clock.boottime) as running:
        yield running


@pytest.fixture
def asker(service: MockImds) -> Asker:
    return Asker(service.url)


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("profile", "info", "listed", "document"),
    [
        ("attached", (200, "Success", ""), 200, (200, "Success")),
        ("detached", (404, "", ""), 404, (404, "")),
        ("no-role", (200, "Success", "does not contain a role"), 404, (404, "")),
        ("deleted", (200, "InstanceProfileNotFound", "cannot be found"), 404, (404, "")),
        ("trust-broken", (200, "Success", ""), 200, (200, "AssumeRoleUnauthorizedAccess")),
    ],
)
@pytest.mark.parametrize("base", [LEGACY, EXTENDED])
def test_each_state_of_the_profile_looks_as_on_ec2(
    service: MockImds,
    asker: Asker,
    base: str,
    profile: Profile,
    info: tuple[int, str, str],
    listed: int,
    document: tuple[int, str],
) -> None:
    service.facts.profile = profile
    answered = asker.get(INFO)
    found = answered.document if answered.status == 200 else {}
    assert (answered.status, found.get("Code", "")) == info[:2]
    assert info[2] in found.get("Message", "")
    assert ("Message" in found) is bool(info[2])
    assert asker.get(base).status == listed
    answered = asker.get(base + "shipper")
    code = answered.document["Code"] if answered.status == 200 else ""
    assert (answered.status, code) == document


def test_the_words_of_a_broken_trust_policy_name_the_role_and_give_no_keys(
    service: MockImds, asker: Asker
) -> None:
    service.facts.profile = "trust-broken"
    found = asker.get(LEGACY + "shipper").document
    assert found["Message"].startswith("EC2 cannot assume the role shipper.")
    assert set(found) == {"Code", "Message", "LastUpdated"}
    assert service.issued == []


def test_a_profile_may_have_another_name_than_its_role(service: MockImds, asker: Asker) -> None:
    service.facts.profile_name = "web-profile"
    arn = "arn:aws:iam::123456789012:instance-profile/web-profile"
    assert asker.get(INFO).document["InstanceProfileArn"] == arn


def test_the_list_of_roles_may_be_given_as_it_is(service: MockImds, asker: Asker) -> None:
    service.facts.role_list = "\n shipper\r\nother\n"
    assert asker.get(EXTENDED).body == "\n shipper\r\nother\n"
    assert asker.get(EXTENDED + "other").status == 404
    service.facts = replace(service.facts, profile="no-role", role_list="")
    assert (asker.get(LEGACY).status, asker.get(LEGACY).body) == (200, "")


def test_members_of_the_role_document_may_be_changed_and_left_out(
    service: MockImds, asker: Asker
) -> None:
    service.facts.document_members = {"Expiration": "2030-01-01T00:00:00.832308Z", "New": [1]}
    service.facts.document_without = ["Token", "AccountId"]
    found = asker.get(EXTENDED + "shipper").document
    assert (found["Expiration"], found["New"]) == ("2030-01-01T00:00:00.832308Z", [1])
    assert not {"Token", "AccountId"} & set(found)


def test_a_role_that_was_replaced_has_keys_of_its_own(service: MockImds, asker: Asker) -> None:
    old = asker.get(LEGACY + "shipper").document["Token"]
    service.facts.role = "other"
    assert asker.get(LEGACY + "other").document["Token"] != old


def test_keys_given_later_are_handed_out_at_once(service: MockImds, asker: Asker) -> None:
    asker.get(LEGACY + "shipper")
    service.facts.keys = Keys("AKNEW", "hush", "psst")
    assert asker.get(LEGACY + "shipper").document["AccessKeyId"] == "AKNEW"


def test_the_dates_are_those_of_the_clock_it_was_given(service: MockImds, asker: Asker) -> None:
    service.facts.clock_offset_seconds = 86400.0
    answered = asker.get(LEGACY + "shipper")
    now = START_AT + 86400.0
    assert instant(answered.document["LastUpdated"]) == now
    assert answered.expires_at == now + LIFE
    assert parsedate_to_datetime(answered.headers["date"]) == datetime.fromtimestamp(now, UTC)


def test_metadata_tokens_age_by_the_clock_that_was_given(clock: FakeClock, asker: Asker) -> None:
    token = asker.token("60").body
    clock.suspend(59)
    assert asker.ask("GET", INFO, **{TOKEN_HEADER: token}).status == 200
    clock.suspend(1)
    assert asker.ask("GET", INFO, **{TOKEN_HEADER: token}).status == 401


def test_new_credentials_come_before_the_old_expire(clock: FakeClock, asker: Asker) -> None:
    old = asker.get(LEGACY + "shipper")
    clock.advance(seconds=LIFE / 2)
    assert asker.get(LEGACY + "shipper").document == old.document
    clock.advance(seconds=1)
    new = asker.get(LEGACY + "shipper")
    assert new.document["Token"] != old.document["Token"]
    assert new.expires_at == old.expires_at + LIFE / 2 + 1


def test_how_long_before_the_end_they_are_renewed_may_be_told(
    service: MockImds, clock: FakeClock, asker: Asker
) -> None:
    service.facts.renew_before_seconds = 300.0
    old = asker.get(LEGACY + "shipper").document
    clock.advance(seconds=LIFE - 300)
    assert asker.get(LEGACY + "shipper").document == old
    clock.advance(seconds=1)
    assert asker.get(LEGACY + "shipper").document != old


def test_a_service_that_does_not_renew_hands_out_what_has_expired(
    service: MockImds, clock: FakeClock, asker: Asker
) -> None:
    service.facts.is_renewed = False
    old = asker.get(LEGACY + "shipper")
    clock.advance(hours=24)
    assert asker.get(LEGACY + "shipper").document == old.document
    assert old.expires_at < clock.now()
    service.facts.is_renewed = True
    assert asker.get(LEGACY + "shipper").expires_at > clock.now()


def test_a_document_may_be_expired_from_the_start(
    service: MockImds, clock: FakeClock, asker: Asker
) -> None:
    service.facts.is_expired = True
    answered = asker.get(LEGACY + "shipper")
    assert answered.expires_at == clock.now() - 60
    assert instant(answered.document["LastUpdated"]) == answered.expires_at - LIFE
    clock.advance(seconds=60)
    assert asker.get(LEGACY + "shipper").document == answered.document


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("placement/region", "eu-north-1"),
        ("placement/availability-zone", "eu-north-1b"),
        ("instance-id", "i-9"),
        ("instance-type", "t3.micro"),
        ("ami-id", "ami-0123456789abcdef0"),
        ("local-ipv4", "10.0.0.10"),
        ("local-hostname", "ip-10-0-0-10.eu-north-1.compute.internal"),
        ("events/maintenance/scheduled", "[]"),
        ("services/partition", "aws"),
    ],
)
def test_the_instance_and_its_place_are_told(
    service: MockImds, asker: Asker, path: str, text: str
) -> None:
    service.facts = Facts(region="eu-north-1", availability_zone="eu-north-1b", instance_id="i-9")
    assert asker.get(META + path).body == text
    identity = asker.get(IDENTITY).document
    told = [identity[name] for name in ("instanceType", "imageId", "privateIp")]
    assert told == ["t3.micro", "ami-0123456789abcdef0", "10.0.0.10"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_lists_what_is_in_it(service: MockImds, asker: Asker, slash: str) -> None:
    service.facts.tags = {"Name": "web 1", "cost center": "42"}
    listed = asker.get("/latest/meta-data" + slash).body.splitlines()
    assert {"ami-id", "iam/", "placement/", "tags/"} <= set(listed)
    assert asker.get("/latest" + slash).body == "dynamic/\nmeta-data/"
    assert asker.get(META + "tags/instance" + slash).body == "Name\ncost center"
    assert asker.get(META + "iam" + slash).body == "info\nsecurity-credentials/"


def test_tags_are_not_there_when_they_are_not_enabled(asker: Asker) -> None:
    assert asker.get(META + "tags/instance").status == 404
    assert "tags/" not in asker.get(META).body.splitlines()


NOTICES = [
    (
        {"spot": "terminate"},
        "spot/instance-action",
        '{"action": "terminate", "time": "2025-11-24T16:02:00Z"}',
    ),
    ({"spot": "terminate"}, "spot/termination-time", "2025-11-24T16:02:00Z"),
    (
        {"spot": "hibernate", "spot_in_seconds": 5},
        "spot/instance-action",
        '{"action": "hibernate", "time": "2025-11-24T16:00:05Z"}',
    ),
    (
        {"is_rebalance_recommended": True},
        "events/recommendations/rebalance",
        '{"noticeTime": "2025-11-24T16:00:00Z"}',
    ),
    ({"lifecycle_state": "Terminated"}, "autoscaling/target-lifecycle-state", "Terminated"),
]


@pytest.mark.parametrize(("settings", "path", "text"), NOTICES)
def test_a_notice_is_not_found_until_it_is_given(
    service: MockImds, asker: Asker, settings: dict[str, object], path: str, text: str
) -> None:
    assert asker.get(META + path).status == 404
    changes_from(settings, "test").apply(service)
    answered = asker.get(META + path)
    assert (answered.status, answered.body) == (200, text)


def test_only_a_termination_has_a_termination_time(service: MockImds, asker: Asker) -> None:
    service.facts.spot = "stop"
    assert asker.get(META + "spot/termination-time").status == 404


def failing(facts: Facts, now: float) -> Issued:
    raise PortError("Unreachable", "no STS here")


def test_without_any_keys_the_service_is_in_trouble_and_says_so_once_a_request() -> None:
    lines: list[dict[str, object]] = []
    with MockImds(source=failing, log=lines.append) as service:
        assert Asker(service.url).get(LEGACY + "shipper").status == 500
    assert [line.get("failed") for line in lines] == [None, "credentials", None]
    assert lines[1]["code"] == "Unreachable"


class Source:
    """Makes keys, or fails, or waits until it may go on."""

    def __init__(self) -> None:
        self.is_failing = False
        self.called = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, facts: Facts, now: float) -> Issued:
        self.called.set()
        assert self.may_go_on.wait(20)
        return failing(facts, now) if self.is_failing else made_up(facts, now)


def test_a_source_that_fails_leaves_the_old_keys_in_use_but_not_for_another_role() -> None:
    source = Source()
    issuer = Issuer(source)
    old = issuer.current(Facts(), 0.0)
    source.is_failing = True
    assert issuer.current(Facts(), 20_000.0) == old
    with pytest.raises(PortError, match="Unreachable"):
        issuer.current(Facts(role="other"), 20_000.0)
    source.is_failing = False
    assert issuer.current(Facts(), 20_000.0) != old


def test_who_asks_while_the_first_keys_are_made_gets_the_same() -> None:
    source = Source()
    issuer, found = Issuer(source), []
    source.may_go_on.clear()
    asking = [
        threading.Thread(target=lambda: found.append(issuer.current(Facts(), 0.0)))
        for _ in range(2)
    ]
    for thread in asking:
        thread.start()
    assert source.called.wait(20)
    source.may_go_on.set()
    for thread in asking:
        thread.join()
    assert found[0] == found[1]
    assert len(issuer.history) == 1


def test_the_half_of_a_life_is_that_of_the_keys() -> None:
    def short(facts: Facts, now: float) -> Issued:
        return replace(made_up(facts, now), expires_at=now + 20)

    issuer = Issuer(short)
    old = issuer.current(Facts(), 0.0)
    assert issuer.current(Facts(), 10.0) == old
    assert issuer.current(Facts(), 10.5) != old
