"""Which instance this is."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from shipper.core.object_keys import Place
from shipper.ports import PortError
from shipper.services.instance import Site
from tests.fakes.clock import FakeClock
from tests.fakes.log import RecordingLog
from tests.fakes.metadata import FakeMetadata


def site(
    metadata: FakeMetadata,
    known: list[Place],
    log: RecordingLog,
    *,
    tags: frozenset[str] = frozenset(),
    region: str = "",
    adopt: Callable[[Place], None] = lambda place: None,
) -> Site:
    return Site(
        metadata=metadata,
        prefix="logs/",
        region=region,
        hostname="web-1",
        tags=tags,
        adopt=adopt,
        known=known.append,
        rng=Random(0),
        log=log,
    )


def test_the_identity_document_says_where_we_are_and_is_asked_once() -> None:
    metadata, known, log = FakeMetadata(FakeClock()), list[Place](), RecordingLog()
    here = site(metadata, known, log)
    assert here.step() == here.step() == 3600.0
    assert here.place == known[0]
    assert (known[0].instance_id, known[0].region) == ("i-1", "eu-central-1")
    assert metadata.asked == 1


def test_a_configured_region_wins() -> None:
    here = site(FakeMetadata(FakeClock()), [], RecordingLog(), region="us-west-2")
    here.step()
    assert here.place is not None
    assert here.place.region == "us-west-2"


def test_an_unreachable_service_is_asked_again_and_said_once() -> None:
    metadata, known, log = FakeMetadata(FakeClock()), list[Place](), RecordingLog()
    metadata.fail_with("Unreachable", "no route")
    here = site(metadata, known, log)
    assert all(1 <= here.step() <= 60 for _ in range(5))
    assert here.problem is not None
    assert len(log.of("instance.not_identified")) == 1
    metadata.recover()
    here.step()
    assert here.problem is None
    assert len(known) == 1


def test_an_instance_that_the_journal_cannot_be_bound_to_is_not_known_yet() -> None:
    failures = [PortError("JournalUnwritable", "disk full")]

    def adopt(place: Place) -> None:
        if failures:
            raise failures.pop()

    known, log = list[Place](), RecordingLog()
    here = site(FakeMetadata(FakeClock()), known, log, adopt=adopt)
    here.step()
    assert (here.place, known) == (None, [])
    assert here.problem is not None
    assert here.problem.code == "JournalUnwritable"
    here.step()
    assert here.place == known[0]


def test_tags_that_keys_need_are_asked_for_and_a_missing_one_is_said() -> None:
    metadata, log = FakeMetadata(FakeClock()), RecordingLog()
    metadata.texts = {"meta-data/tags/instance/Team": "web"}
    here = site(metadata, [], log, tags=frozenset({"Team", "Nope"}))
    here.step()
    assert here.place is not None
    assert here.place.tags == {"Team": "web", "Nope": ""}
    assert [record["tag"] for record in log.of("tag.missing")] == ["Nope"]


def test_a_document_without_a_region_is_asked_for_again_unless_one_is_configured() -> None:
    metadata, known = FakeMetadata(FakeClock()), list[Place]()
    metadata.found = replace(metadata.found, region="")
    here = site(metadata, known, RecordingLog())
    here.step()
    assert here.place is None
    assert here.problem is not None
    assert "no region" in here.problem.detail
    configured = site(metadata, known, RecordingLog(), region="eu-west-1")
    configured.step()
    assert known[0].region == "eu-west-1"
