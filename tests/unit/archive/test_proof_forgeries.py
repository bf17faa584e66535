"""What somebody who may write or delete in the bucket does to the past, as an audit sees it."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from shipper.archive.audited_chains import Counts, Scope
from shipper.archive.buckets import KeyLayout, ReadBucket
from shipper.archive.entry_spill import EntrySpill
from shipper.archive.proof import Proof
from shipper.core.chains import Limits
from shipper.core.findings import Finding
from shipper.core.heartbeats import DestinationWord
from shipper.edges.decoder import streamed
from shipper.ports import PortError
from tests.fakes.archive import FakeArchive, Kept
from tests.fakes.chains import BEGIN, HOUR, Chain, body_of, compressed, entry
from tests.unit.archive.test_proof import ONE, OTHER, SLACK, World, beat, named, ship_one

DAY = 24 * HOUR


@pytest.fixture
def world() -> World:
    """Two instances, each of which shipped ten logs in ten hours."""
    world = World()
    for instance in (ONE, OTHER):
        chain = world.chain(instance)
        for hour in range(5):
            world.ship(chain, f"a{hour}", f"b{hour}")
            world.ship(chain)
    return world


def digest(one: Any) -> str:
    return hashlib.sha256(one.body).hexdigest()


def other(world: World) -> Chain:
    return world.chains[Chain().epoch + OTHER]


def codes(findings: list[Finding]) -> list[str]:
    return [one.code.value for one in findings]


def again(world: World, after: float, **about: Any) -> Chain:
    """The first instance's next epoch, which begins so long after the first."""
    about = {"begins": "the journal was lost", "before": world.first.epoch} | about
    return world.chain(epoch="20260529T080000Z-1a2b3c4d", began=world.first.to + after, **about)


def cut(world: World, chain: Chain, left: int) -> None:
    """Remove the tail of a chain, and the objects that it names."""
    for one in chain.written[left:]:
        del world.archive.objects[one.name.key]
    for hour in range(left // 2, 5):
        for name in (f"a{hour}", f"b{hour}"):
            world.archive.objects.pop(world.key(name), None)


def test_the_tail_of_an_epoch_that_another_one_followed_cannot_be_cut_unnoticed(
    world: World,
) -> None:
    second = again(world, 60)
    for name in "cd":
        world.ship(second, name)
    world.ship(other(world), after=second.to - other(world).to)
    assert codes(world.audit()[0]) == ["new-epoch"]

    cut(world, world.first, 4)

    assert codes(world.audit()[0]) == ["new-epoch", "ended"]


def test_an_epoch_that_names_where_the_one_before_ended_gives_a_short_cut_away(
    world: World,
) -> None:
    last = world.first.written[-1]
    second = again(world, 60, begins="unsaid", before_number=10, before_sha256=digest(last))
    world.ship(second, "c")
    world.ship(other(world))
    assert codes(world.audit()[0]) == ["new-epoch"]

    del world.archive.objects[last.name.key]

    assert codes(world.audit()[0]) == ["new-epoch", "cut-tail"]


@pytest.mark.parametrize(
    "key",
    [
        f"logs/_fleet/instance={ONE}/heartbeat.json",
        f"logs/_fleet/hour=2026-05-29T06/instance={ONE}/heartbeat-0731.json",
    ],
)
def test_a_chain_that_was_recomputed_is_given_away_by_a_heartbeat_of_any_kind(
    world: World, key: str
) -> None:
    chain, objects = world.first, world.archive.objects
    objects[key] = objects.pop(beat(world, 8, digest(chain.written[7])))
    old = objects[key].modified_at - 1
    objects[f"logs/_fleet/hour=2026-05-29T05/instance={ONE}/heartbeat.json"] = Kept(
        b"{}", modified_at=old
    )
    assert world.audit()[0] == []

    header = replace(chain.written[4].header, entries=0)
    chain.written[4] = replace(chain.written[4], header=header, body=body_of(header))
    for at in range(5, 10):
        said = replace(chain.written[at].header, previous=digest(chain.written[at - 1]), entries=0)
        chain.written[at] = replace(chain.written[at], header=said, body=body_of(said))
    world.publish(chain)
    for hour in range(2, 5):
        del objects[world.key(f"a{hour}")], objects[world.key(f"b{hour}")]

    findings, _ = world.audit()
    assert codes(findings) == ["cut-tail"]
    assert "number 8" in findings[0].detail
    assert "another one" in findings[0].detail
    objects[chain.written[7].name.key].body = b""
    assert codes(world.audit()[0]) == ["unreadable-manifest", "cut-tail"]
    world.archive.errors[chain.written[7].name.key] = PortError("InvalidObjectState", "archived")
    assert codes(world.audit()[0]) == ["unreadable-manifest"]


def test_another_destinations_manifests_hide_no_cut_and_are_looked_for_elsewhere(
    world: World,
) -> None:
    last = world.first.written[-1]
    words = (
        DestinationWord(
            "", "open", "", "", 10, digest(last), world.first.epoch, "s3://bucket/logs/"
        ),
        DestinationWord("audit", "open", "", "", 2, "e" * 64, "E2", "s3://other/logs/"),
        DestinationWord("new", "open", "", "", 0, "", "E3", "s3://bucket/logs/"),
    )
    beat(world, 10, "", destinations=words)
    assert world.audit()[0] == []

    del world.archive.objects[last.name.key]

    assert codes(world.audit()[0]) == ["cut-tail"]


def test_an_epoch_that_was_removed_whole_is_known_to_a_heartbeat(world: World) -> None:
    words = DestinationWord("", "open", "", "", 1, "a" * 64, "20260529T08", "s3://bucket/logs/")
    beat(world, 1, "", destinations=(words,))

    findings, _ = world.audit(since=world.first.written[5].at)

    assert codes(findings) == ["cut-tail"]
    assert "of which nothing is there" in findings[0].detail


@pytest.mark.parametrize("sha256", ["", None])
def test_another_instance_vouches_for_nothing_of_this_one(
    world: World, sha256: str | None
) -> None:
    key, planted, chain = world.key("a1"), world.key("planted"), other(world)
    world.archive.objects[key].body = b"evil"
    world.archive.objects[planted] = Kept(b"x", modified_at=BEGIN + 3 * HOUR)
    evil = entry(key, b"evil", stored=b"evil")
    forged = chain.write(
        replace(evil, sha256=evil.sha256 if sha256 is None else sha256),
        entry(planted, b"x", stored=b"x"),
        entry(world.key("never"), b"x"),
    )
    world.publish(chain)
    world.ship(world.first)

    assert named(world.audit(sample_percent=100)[0]) == [
        *[("impossible-entry", forged.name.key)] * 3,
        ("altered-object", key),
        ("object-without-entry", planted),
    ]


def test_a_forged_epoch_within_a_living_one_is_named_and_vouches_for_no_other_content(
    world: World,
) -> None:
    key = world.key("a1")
    world.archive.objects[key].body = b"evil"
    forged = world.chain(
        epoch="20260528T233000Z-deadbeef", began=BEGIN + 3.2 * HOUR, before=world.first.epoch
    )
    evil = replace(entry(key, b"q", stored=b"evil"), sha256="")
    forged.write(evil, because="stop")
    world.publish(forged)

    expected = ["new-epoch", "another-writer", "double-entry", "altered-object"]
    assert codes(world.audit(sample_percent=100)[0]) == expected


def test_entries_without_a_sha256_that_contradict_each_other_are_named() -> None:
    world = World()
    chain, key = world.chain(), world.key("a")
    world.archive.put(key, b"x")
    good = replace(entry(key, b"x", stored=b"x"), sha256="")
    chain.write(good, replace(good, etag=""))
    world.publish(chain)
    assert world.audit()[0] == []

    chain.write(replace(good, etag="f" * 32))
    world.publish(chain)
    assert named(world.audit()[0]) == [("double-entry", key)]


@pytest.mark.parametrize(
    "about", [{}, {"expected": frozenset({ONE, OTHER})}, {"instances": (ONE,)}]
)
def test_an_instance_that_fell_silent_before_the_time_asked_for_has_ended(
    world: World, about: dict[str, Any]
) -> None:
    other(world).write(after=10 * DAY)
    world.publish(other(world))
    now = other(world).to + 60

    findings, _ = world.audit(now=now, since=now - 7 * DAY, **about)

    assert [(one.code.value, one.instance) for one in findings] == [("ended", ONE)]
    assert "number 10" in findings[0].detail


def test_what_was_removed_of_the_time_asked_for_is_no_chain_that_never_was(world: World) -> None:
    since = world.first.written[5].at + 1
    cut(world, world.first, 6)
    for name in ("a3", "b3"):
        world.archive.objects[world.key(name)] = Kept(b"x", modified_at=since + HOUR)

    findings, _ = world.audit(since=since)

    assert named(findings) == [
        ("ended", ""),
        ("object-without-entry", world.key("a3")),
        ("object-without-entry", world.key("b3")),
    ]


def test_the_link_to_the_manifest_before_the_time_asked_for_is_judged(world: World) -> None:
    chain = world.first
    since = chain.written[5].at
    del world.archive.objects[chain.written[5].name.key]
    assert codes(world.audit(since=since)[0]) == ["missing-number"]


def test_a_time_that_cannot_be_written_is_the_finding_and_not_the_end(world: World) -> None:
    bad = "9999-12-31T23:59:59-14:00"
    one = world.first.write(replace(entry(world.key("z"), b"x"), last_sent=bad))
    world.publish(world.first)

    assert named(world.audit()[0]) == [("impossible-entry", one.name.key)]


def test_an_entry_that_was_sent_at_an_unknown_time_is_one(world: World) -> None:
    key = ship_one(world, "adopted", b"x", b"x", last_sent="")
    assert world.audit(sample_percent=100)[0] == []

    del world.archive.objects[key]

    findings, _ = world.audit()
    assert named(findings) == [("missing-object", key)]
    assert "an unknown time" in findings[0].detail


def test_content_is_decoded_no_further_than_its_entry_says(world: World) -> None:
    bomb = compressed(bytes(1 << 28))
    key = ship_one(world, "bomb", b"123456789", bomb, compression="zstd")

    findings, counts = world.audit(sample_percent=100)

    assert named(findings) == [("altered-content", key)]
    assert "more than the 9 raw bytes" in findings[0].detail
    assert counts.compared == 21


def test_an_epoch_that_was_removed_and_says_that_it_was_here_is_missing(world: World) -> None:
    again(world, 60, begins="the destination was s3://bucket/logs/; 0 of its entries are lost")
    world.ship([*world.chains.values()][-1], "c")
    world.ship(other(world))
    for one in world.first.written:
        del world.archive.objects[one.name.key]

    assert codes(world.audit()[0]) == ["missing-epoch"]


def test_what_was_compared_by_size_alone_is_counted() -> None:
    world = World()
    chain, key = world.chain(), f"logs/app/{ONE}/a.zst"
    world.archive.put(key, compressed(b"x"))
    chain.write(replace(entry(key, b"x"), etag=""))
    world.publish(chain)

    findings, counts = world.audit()

    assert findings == []
    assert (counts.matched, counts.by_size) == (1, 1)


# Where logs go besides the prefix.


def audited(
    archive: FakeArchive, now: float, *layouts: KeyLayout, others: tuple[str, ...] = ()
) -> tuple[list[Finding], Counts]:
    bucket = ReadBucket(archive, "bucket", "logs/", layouts, others)
    with EntrySpill() as spill:
        proof = Proof(bucket, Scope(Limits(now, SLACK)), streamed, spill)
        return list(proof.findings()), proof.counts


def test_what_watches_put_below_other_prefixes_is_compared_and_the_rest_is_counted() -> None:
    world = World()
    chain = world.chain()
    keys = [f"secure/app/{ONE}/a.zst", f"plain/{ONE}/app/b.zst", f"elsewhere/{ONE}/c.zst"]
    keys.append(f"nginx/{ONE}/d.zst")
    for key in keys:
        world.archive.put(key, compressed(b"x"))
    chain.write(*(entry(key, b"x") for key in keys))
    chain.write_idle(3)
    world.publish(chain)
    layouts = (
        KeyLayout("secure/", "{prefix}{watch}/{instance_id}/{stem}.zst"),
        KeyLayout("logs/", "plain/{instance_id}/{watch}/{stem}.zst"),
        KeyLayout("logs/", "{instance_id}/{watch}/{stem}.zst"),
        KeyLayout("logs/", "{watch}/{instance_id}/{stem}.zst", "nginx"),
    )

    findings, counts = audited(world.archive, world.now, *layouts)
    assert findings == []
    assert (counts.matched, counts.objects, counts.outside) == (3, 3, 1)

    del world.archive.objects[keys[0]]
    alien = f"plain/{ONE}/app/alien.zst"
    world.archive.objects[alien] = Kept(b"x", modified_at=BEGIN + 2 * HOUR)
    findings, counts = audited(world.archive, world.now, *layouts)
    assert named(findings) == [("object-without-entry", alien), ("missing-object", keys[0])]


def test_what_another_destination_has_below_this_prefix_is_left_to_its_own_audit() -> None:
    world = World()
    chain = world.chain()
    chain.write_idle(5)
    chain.write(entry(f"logs/audit/{ONE}/a.zst", b"x"))
    world.publish(chain)
    for key in ("logs/audit/_manifests/x", f"logs/audit/{ONE}/b.zst", "logs/audit0"):
        world.archive.objects[key] = Kept(b"x", modified_at=BEGIN + HOUR)

    findings, counts = audited(
        world.archive, world.now, KeyLayout("logs/"), others=("logs/audit/",)
    )

    assert counts.outside == 1
    assert named(findings) == []


@pytest.mark.parametrize(
    ("key", "is_own"),
    [
        (f"logs/app/{ONE}/x.zst", True),
        (f"logs/{ONE}/app/x.zst", True),
        ("logs/app/x.zst", True),
        (f"logs/remote/{OTHER}-{ONE}/x.zst", True),
        (f"logs/app/{OTHER}/x.zst", False),
        (f"logs/{OTHER}/x", False),
        (f"logs/app/web-1/{ONE}-x", True),
    ],
)
def test_an_entry_is_of_its_own_instance_unless_the_key_names_another(
    world: World, key: str, *, is_own: bool
) -> None:
    world.archive.put(key, b"x")
    world.first.write(entry(key, b"x", stored=b"x"))
    world.publish(world.first)

    said = codes(world.audit()[0])

    assert ("impossible-entry" in said) != is_own
