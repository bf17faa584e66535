"""Which instance this is."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from shipper.core.destinations import Destination
from shipper.core.object_keys import InstanceFacts
from shipper.core.tag_fields import unfit
from shipper.core.types import Instance
from shipper.ports import PortError
from shipper.services.instance import NOTHING_GIVEN, InstanceLookup
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.metadata import FakeMetadata


def instance_lookup(
    metadata: FakeMetadata,
    known: list[InstanceFacts],
    log: RecordingLog,
    *,
    tags: frozenset[str] = frozenset(),
    needs_region: bool = True,
    adopt: Callable[[InstanceFacts], None] = lambda facts: None,
    given: Instance = NOTHING_GIVEN,
) -> InstanceLookup:
    return InstanceLookup(
        metadata=metadata,
        prefix="logs/",
        needs_region=needs_region,
        hostname="web-1",
        tags=tags,
        adopt=adopt,
        known=known.append,
        rng=Random(0),
        log=log,
        given=given,
    )


def test_the_identity_document_says_where_we_are_and_is_asked_once() -> None:
    metadata, known, log = FakeMetadata(FakeClock()), list[InstanceFacts](), RecordingLog()
    here = instance_lookup(metadata, known, log)
    assert here.step() == here.step() == 3600.0
    assert here.facts == known[0]
    assert (known[0].instance_id, known[0].region) == ("i-1", "eu-central-1")
    assert metadata.asked == 1


def test_a_given_instance_is_known_without_a_question() -> None:
    metadata, known = FakeMetadata(FakeClock()), list[InstanceFacts]()
    metadata.fail_with("Unreachable")
    given = Instance("rack-7", region="eu-west-1")
    instance_lookup(metadata, known, RecordingLog(), given=given).step()
    assert metadata.asked == 0
    assert (known[0].instance_id, known[0].region) == ("rack-7", "eu-west-1")
    assert (known[0].account_id, known[0].availability_zone) == ("", "")


def test_what_is_given_stands_before_what_is_found_and_the_rest_is_found() -> None:
    metadata, known = FakeMetadata(FakeClock()), list[InstanceFacts]()
    given = Instance("", account_id="210987654321", availability_zone="eu-central-1c")
    instance_lookup(metadata, known, RecordingLog(), given=given).step()
    assert (known[0].instance_id, known[0].region) == ("i-1", "eu-central-1")
    assert (known[0].account_id, known[0].availability_zone) == ("210987654321", "eu-central-1c")


def test_an_unreachable_service_is_asked_again_and_said_once() -> None:
    metadata, known, log = FakeMetadata(FakeClock()), list[InstanceFacts](), RecordingLog()
    metadata.fail_with("Unreachable", "no route")
    here = instance_lookup(metadata, known, log)
    assert all(1 <= here.step() <= 60 for _ in range(5))
    assert here.problem is not None
    assert len(log.of("instance.not_identified")) == 1
    metadata.recover()
    here.step()
    assert here.problem is None
    assert len(known) == 1


def test_an_instance_that_the_journal_cannot_be_bound_to_is_not_known_yet() -> None:
    failures = [PortError("JournalUnwritable", "disk full")]

    def adopt(facts: InstanceFacts) -> None:
        if failures:
            raise failures.pop()

    known, log = list[InstanceFacts](), RecordingLog()
    here = instance_lookup(FakeMetadata(FakeClock()), known, log, adopt=adopt)
    here.step()
    assert (here.facts, known) == (None, [])
    assert here.problem is not None
    assert here.problem.code == "JournalUnwritable"
    here.step()
    assert here.facts == known[0]


def test_tags_that_keys_need_are_asked_for_and_a_missing_one_is_said() -> None:
    metadata, log = FakeMetadata(FakeClock()), RecordingLog()
    metadata.texts = {"meta-data/tags/instance/Team": "web"}
    here = instance_lookup(metadata, [], log, tags=frozenset({"Team", "Nope"}))
    here.step()
    assert here.facts is not None
    assert here.facts.tags == {"Team": "web", "Nope": ""}
    assert [record["tag"] for record in log.of("tag.missing")] == ["Nope"]


def test_a_document_without_a_region_is_asked_for_again_unless_one_is_configured() -> None:
    metadata, known = FakeMetadata(FakeClock()), list[InstanceFacts]()
    metadata.found = replace(metadata.found, region="")
    here = instance_lookup(metadata, known, RecordingLog())
    here.step()
    assert here.facts is None
    assert here.problem is not None
    assert "no region" in here.problem.detail
    configured = instance_lookup(metadata, known, RecordingLog(), needs_region=False)
    configured.step()
    assert known[0].region == ""


def test_what_the_journal_remembers_is_said_to_be_unconfirmed() -> None:
    metadata, known, log = FakeMetadata(FakeClock()), list[InstanceFacts](), RecordingLog()
    metadata.fail_with("Unreachable", "no route")
    here = instance_lookup(metadata, known, log)
    here.remember({"instance_id": "i-9", "region": "", "tags": {}})
    here.step()
    (line,) = log.of("instance.unconfirmed")
    assert line["instance_id"] == "i-9"
    assert log.of("instance.not_identified") == []


def test_without_a_tag_of_the_destination_the_instance_is_not_known_until_it_is_there() -> None:
    metadata, known, log = FakeMetadata(FakeClock()), list[InstanceFacts](), RecordingLog()
    destination = Destination(bucket="logs-{tag:Env}")
    here = instance_lookup(metadata, known, log, tags=frozenset({"Env"}))
    here.unfit = lambda tags: {"": unfit(destination, tags)}
    assert 0 < here.step() <= 60
    assert here.problem is not None
    assert (here.problem.code, known) == ("TagUnusable", [])
    assert "modify-instance-metadata-options" in here.problem.hint
    metadata.texts = {"meta-data/tags/instance/Env": "prod"}
    here.step()
    assert [facts.tags for facts in known] == [{"Env": "prod"}]


def test_what_the_journal_knows_is_not_enough_where_a_destination_needs_a_tag() -> None:
    here = instance_lookup(FakeMetadata(FakeClock()), [], RecordingLog(), tags=frozenset({"Env"}))
    destination = Destination(bucket="logs-{tag:Env}")
    here.unfit = lambda tags: {"": unfit(destination, tags)}
    here.remember({"instance_id": "i-1", "tags": {"Env": "prod"}})
    assert here.remembered is None
    here.unfit = lambda tags: {"": ""}  # the tag is in keys alone
    here.remember({"instance_id": "i-1", "tags": {"Team": "web"}})
    assert here.remembered is None
    here.remember({"instance_id": "i-1", "tags": {"Env": "prod"}})
    assert here.remembered is not None


def test_a_tag_that_one_destination_misses_is_asked_for_again_while_the_others_go_on() -> None:
    metadata, known, adopted = FakeMetadata(FakeClock()), list[InstanceFacts](), list[str]()
    tags = frozenset({"Env", "Team"})
    here = instance_lookup(metadata, known, RecordingLog(), tags=tags)
    there = {"": Destination("logs-{tag:Team}"), "audit": Destination("audit-{tag:Env}")}
    here.needed = tags
    here.unfit = lambda tags: {name: unfit(one, tags, name) for name, one in there.items()}
    here.adopt = lambda facts: adopted.append(facts.tags["Env"])
    metadata.texts = {"meta-data/tags/instance/Team": "web"}
    assert here.problem_of("audit") is None  # nothing is known yet
    assert here.step() == 3600.0
    problem = here.problem_of("audit")
    assert problem is not None
    assert problem.code == "TagUnusable"
    assert problem.detail.startswith("audit.bucket needs the instance tag 'Env'")
    assert here.problem_of("") is here.problem is None
    assert 0 < here.step() <= 60
    metadata.texts = {f"meta-data/tags/instance/{name}": "new" for name in tags}
    metadata.fail_with("Unreachable", "no route")
    assert 0 < here.step() <= 60
    assert len(known) == 1
    metadata.recover()
    here.step()
    assert [facts.tags for facts in known] == [
        {"Team": "web", "Env": ""},
        {"Team": "web", "Env": "new"},  # what is known stays
    ]
    assert adopted == ["", "new"]
    assert here.problem_of("audit") is None
    assert here.step() == 3600.0
