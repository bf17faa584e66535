"""What an audit by manifests finds in a bucket: all that was done to it, and nothing else."""

import gzip
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.archive.audited_chains import Counts, Scope
from shipper.archive.buckets import KeyLayout, ReadBucket
from shipper.archive.entry_spill import EntrySpill
from shipper.archive.proof import Proof
from shipper.archive.stored_manifests import LINE_BYTES, RAW_BYTES, STORED_BYTES
from shipper.core.chains import Limits
from shipper.core.findings import Finding
from shipper.core.heartbeats import DestinationWord, Heartbeat, encoded
from shipper.core.manifests import LossEntry, ObjectEntry, line_from
from shipper.edges.decoder import streamed
from shipper.ports import PortError
from tests.fakes.archive import FakeArchive, Kept
from tests.fakes.chains import (
    BEGIN,
    HOUR,
    Chain,
    compressed,
    entry,
    iso,
    loss,
    objects_of,
    rewritten,
)

SLACK = 60.0
ONE, OTHER = "i-0aa11bb22cc33dd44", "i-0ee55ff66aa77bb88"


def bucket_of(archive: FakeArchive) -> ReadBucket:
    return ReadBucket(archive, "bucket", "logs/", (KeyLayout("logs/"),))


class World:
    """A bucket in which daemons wrote logs, and manifests every hour."""

    def __init__(self) -> None:
        self.archive = FakeArchive()
        self.archive.page = 7
        self.chains: dict[str, Chain] = {}

    def chain(self, instance: str = ONE, **about: Any) -> Chain:
        chain = Chain(instance=instance, **about)
        self.chains[chain.epoch + instance] = chain
        return chain

    def ship(
        self, chain: Chain, *names: str, because: str = "interval", after: float = HOUR
    ) -> None:
        """Ship logs, and write the manifest that names them."""
        entries = []
        for name in names:
            key = f"logs/app/{chain.instance}/dt=2026-05-28/{name}.zst"
            raw = f"{name} of {chain.instance}\n".encode() * 9
            at = chain.to + after / 2
            self.archive.objects[key] = Kept(compressed(raw), modified_at=at)
            entries.append(entry(key, raw, at=at))
        chain.write(*entries, because=because, after=after)
        self.publish(chain)

    def publish(self, chain: Chain) -> None:
        for key, body, at in objects_of(chain):
            self.archive.objects[key] = Kept(body, modified_at=at)

    def key(self, name: str, instance: str = ONE) -> str:
        return f"logs/app/{instance}/dt=2026-05-28/{name}.zst"

    @property
    def first(self) -> Chain:
        return next(iter(self.chains.values()))

    @property
    def now(self) -> float:
        return max(chain.to for chain in self.chains.values()) + 60

    def audit(self, **about: Any) -> tuple[list[Finding], Counts]:
        since = about.get("since", 0.0)
        limits = Limits(about.pop("now", self.now), SLACK, is_partial=since > 0)
        with EntrySpill() as spill:
            proof = Proof(bucket_of(self.archive), Scope(limits, **about), streamed, spill)
            return list(proof.findings()), proof.counts


@pytest.fixture
def world() -> World:
    """Two instances that have shipped a log an hour for five hours, in turn with idle hours."""
    world = World()
    for instance in (ONE, OTHER):
        chain = world.chain(instance)
        for hour in range(5):
            world.ship(chain, f"a{hour}", f"b{hour}")
            world.ship(chain)
    return world


def named(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.code.value, finding.key) for finding in findings]


def test_nothing_is_found_where_everything_is_as_it_was_written(world: World) -> None:
    findings, counts = world.audit(sample_percent=100)

    assert findings == []
    assert (counts.instances, counts.epochs, counts.manifests) == (2, 2, 20)
    assert (counts.entries, counts.objects, counts.matched) == (20, 20, 20)
    assert counts.compared == 20
    assert counts.compared_bytes == sum(len(f"a0 of {one}\n") * 9 * 10 for one in (ONE, OTHER))


def test_exactly_what_was_done_is_named(world: World) -> None:
    chain = world.first
    objects = world.archive.objects
    del objects[world.key("a0")]
    objects[world.key("b0")].body += b"x"
    objects[world.key("alien", OTHER)] = Kept(b"x", modified_at=BEGIN + 3 * HOUR)
    body = objects[chain.written[4].name.key].body
    objects[chain.written[4].name.key].body = body[: len(body) // 2]
    del objects[chain.written[6].name.key]

    findings, counts = world.audit()

    assert named(findings) == [
        ("unreadable-manifest", chain.written[4].name.key),
        ("missing-number", chain.written[6].name.key),
        ("missing-object", world.key("a0")),
        ("altered-object", world.key("b0")),
        ("object-without-entry", world.key("alien", OTHER)),
    ]
    assert all(finding.is_wrong for finding in findings)
    assert counts.unentered == {"in-hole": 4}


def test_an_object_of_the_same_size_is_known_by_its_etag_and_without_one_by_its_content(
    world: World,
) -> None:
    stored = world.archive.objects[world.key("a3")]
    stored.body = bytes(reversed(stored.body))

    assert named(world.audit()[0]) == [("altered-object", world.key("a3"))]


def test_a_server_without_etags_is_judged_by_sizes_and_by_content() -> None:
    world = World()
    chain = world.chain()
    key, raw = world.key("a"), b"a log\n"
    world.archive.put(key, compressed(raw))
    chain.write(replace(entry(key, raw), etag=""), replace(entry(key, b"a lie\n"), etag=""))
    world.publish(chain)

    assert named(world.audit(sample_percent=100)[0]) == [
        ("double-entry", key),
        ("altered-content", key),
    ]


@pytest.mark.parametrize("instance", [ONE, OTHER])
def test_one_instance_is_audited_without_reading_or_listing_another(
    world: World, instance: str
) -> None:
    del world.archive.objects[world.key("a1", ONE)]
    world.archive.objects[world.key("alien", OTHER)] = Kept(b"x", modified_at=BEGIN + 3 * HOUR)
    unasked = OTHER if instance == ONE else ONE

    findings, counts = world.audit(instances=(instance,))

    wrong = ("missing-object", world.key("a1", ONE))
    alien = ("object-without-entry", world.key("alien", OTHER))
    assert named(findings) == [wrong if instance == ONE else alien]
    assert counts.instances == 1
    assert not [asked for asked in world.archive.asked if unasked in asked[1]]


def test_one_instance_is_audited_wherever_keys_have_its_id() -> None:
    world = World()
    chain = world.chain()
    keys = [f"logs/dt=2026-05-28/{ONE}-{name}.zst" for name in "ab"]
    for key in keys:
        world.archive.put(key, compressed(b"x"))
    chain.write(*(entry(key, b"x") for key in keys))
    world.publish(chain)
    del world.archive.objects[keys[0]]
    world.archive.objects[f"logs/dt=2026-05-28/{OTHER}-a.zst"] = Kept(
        b"x", modified_at=chain.to - HOUR / 2
    )

    assert named(world.audit(instances=(ONE,))[0]) == [("missing-object", keys[0])]


def test_an_object_of_which_nothing_tells_whose_it_is_needs_an_entry_in_some_manifest() -> None:
    world = World()
    chain = world.chain(instance="web-1")
    chain.write_idle(5)
    world.publish(chain)
    for name, at in (("a", BEGIN - 1), ("b", BEGIN + HOUR), ("c", chain.to)):
        world.archive.objects[f"logs/app/{name}.zst"] = Kept(b"x", modified_at=at)

    findings, counts = world.audit()

    assert named(findings) == [("object-without-entry", "logs/app/b.zst")]
    assert counts.unentered == {"before": 1, "pending": 1}


def test_what_is_there_before_any_manifest_is_no_archive_of_shippers() -> None:
    world = World()
    world.archive.put("logs/a", b"x")
    world.archive.put(f"logs/app/{ONE}/x", b"x")
    with EntrySpill() as spill:
        scope = Scope(Limits(BEGIN, SLACK))
        findings = list(Proof(bucket_of(world.archive), scope, streamed, spill).findings())

    assert named(findings) == [("object-without-entry", "logs/a"), ("no-manifests", "")]
    assert findings[1].instance == ONE


def test_instances_that_are_expected_and_those_that_have_logs_only_are_named(world: World) -> None:
    silent, logs_only, old = "i-00000000000000001", "i-00000000000000002", "i-00000000000000003"
    for instance, at in ((logs_only, BEGIN + HOUR), (old, BEGIN - HOUR)):
        world.archive.objects[world.key("a", instance)] = Kept(b"x", modified_at=at)

    findings, counts = world.audit(expected=frozenset({ONE, silent, logs_only}))

    assert [(one.code.value, one.instance) for one in findings] == [
        ("no-manifests", logs_only),
        ("never-wrote", silent),
    ]
    assert "1 log and no manifest" in findings[0].detail
    assert counts.unentered == {"before": 1}


def test_an_instance_that_is_asked_for_and_is_not_there_is_named(world: World) -> None:
    findings, _ = world.audit(instances=("i-00000000000000001",))
    assert [(one.code.value, one.instance) for one in findings] == [
        ("never-wrote", "i-00000000000000001")
    ]


def test_a_chain_that_ended_is_named_and_one_that_stopped_is_a_notice(world: World) -> None:
    world.ship(world.first, "last", because="drain", after=60)

    findings, _ = world.audit(now=world.first.to + 100 * HOUR)

    assert [(one.code.value, one.instance, one.is_wrong) for one in findings] == [
        ("stopped", ONE, False),
        ("ended", OTHER, True),
    ]


def test_a_tail_that_was_cut_is_given_away_by_what_was_shipped_since(world: World) -> None:
    chain = world.first
    world.ship(chain, "last", because="drain", after=60)
    for one in chain.written[8:]:
        del world.archive.objects[one.name.key]

    findings, _ = world.audit()

    assert named(findings) == [
        ("ended", ""),
        *(("object-without-entry", world.key(name)) for name in ("a4", "b4", "last")),
    ]


def beat(world: World, number: int, sha256: str, **changes: Any) -> str:
    """A heartbeat of the first instance that knows this manifest as its last; its key."""
    here = "s3://bucket/logs/"
    words = (DestinationWord("", "open", "", "", number, sha256, world.first.epoch, here),)
    at = iso(world.first.to)
    said = Heartbeat(1, ONE, at, "well", "1", "", HOUR, "", destinations=words)
    said = replace(said, **changes)
    key = f"logs/_fleet/instance={ONE}/heartbeat.json"
    world.archive.put(key, encoded(said))
    return key


def test_a_tail_that_was_cut_is_given_away_by_a_heartbeat(world: World) -> None:
    last = world.first.written[-1]
    beat(world, last.header.number, hashlib.sha256(last.body).hexdigest())
    assert world.audit()[0] == []

    del world.archive.objects[last.name.key]

    findings, _ = world.audit()
    assert [(one.code.value, one.instance) for one in findings] == [("cut-tail", ONE)]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_what_a_cut_tail_may_have_named_is_counted_and_not_named_one_by_one(
    world: World, *, is_replaced: bool
) -> None:
    chain = world.first
    world.ship(chain, "last", because="stop")
    last = chain.written[-1]
    beat(world, last.header.number, hashlib.sha256(last.body).hexdigest())
    if is_replaced:
        forged = Chain(written=chain.written[:-1])
        forged.write(because="stop")
        world.archive.objects[last.name.key].body = forged.written[-1].body
    else:
        del world.archive.objects[last.name.key]

    findings, counts = world.audit(now=world.now + 3 * HOUR, instances=(ONE,))

    over = "stopped" if is_replaced else "ended"
    assert named(findings) == [("cut-tail", ""), (over, "")]
    assert counts.unentered == {"in-hole": 1}


def test_what_is_no_heartbeat_says_nothing(world: World) -> None:
    key = beat(world, 99, "f" * 64, at="soon")
    assert world.audit()[0] == []
    for body in (b"{}", b" " * 100_000):
        world.archive.put(key, body)
        assert world.audit()[0] == []
    world.archive.errors[key] = PortError("InvalidObjectState", key)
    assert world.audit()[0] == []
    world.archive.errors[key] = PortError("AccessDenied", key)
    with pytest.raises(PortError, match="AccessDenied"):
        world.audit()


def test_a_journal_that_was_lost_and_a_clone_are_a_notice_at_most(world: World) -> None:
    chain = world.first
    lost = "logs/app/" + ONE + "/dt=2026-05-28/unsaid.zst"
    world.archive.objects[lost] = Kept(b"x", modified_at=chain.to + HOUR)
    again = world.chain(
        epoch="20260529T080000Z-1a2b3c4d",
        began=chain.to + 2 * HOUR,
        begins="the journal was lost",
        before=chain.epoch,
    )
    key, raw = world.key("a0"), f"a0 of {ONE}\n".encode() * 9
    again.write(entry(key, raw, at=BEGIN))
    world.ship(again, "c")
    clone = world.chain(
        "i-00000000000000001",
        epoch="20260529T090000Z-ffffffff",
        began=again.to,
        begins=f"the instance was {ONE}",
        before=chain.epoch,
    )
    world.ship(clone, "a", after=30)
    other = world.chains[Chain().epoch + OTHER]
    world.ship(other, after=again.to - other.to)

    findings, counts = world.audit()

    assert [(one.code.value, one.is_wrong) for one in findings] == [("new-epoch", False)]
    assert "the journal was lost" in findings[0].detail
    assert counts.unentered == {"journal-lost": 1}
    assert world.audit(instances=("i-00000000000000001",))[0] == []


def test_what_is_from_before_the_time_asked_for_is_left_out(world: World) -> None:
    chain, objects = world.first, world.archive.objects
    since = chain.written[5].at
    for one in chain.written[:4]:
        del objects[one.name.key]
    for name in ("a0", "b0", "a4"):
        del objects[world.key(name)]
    objects[world.key("alien")] = Kept(b"x", modified_at=BEGIN + HOUR / 4)

    findings, counts = world.audit(since=since)

    assert named(findings) == [("missing-object", world.key("a4"))]
    assert counts.manifests == 12  # the one before of each tells how they go on
    assert counts.too_old == 7
    again, _ = world.audit(since=since, instances=(ONE,))
    assert named(again) == named(findings)


def test_an_entry_that_is_told_late_is_not_missed_if_it_is_from_before_the_time_asked_for() -> (
    None
):
    world = World()
    chain = world.chain()
    chain.write(entry(world.key("a"), b"x", at=BEGIN - HOUR))
    world.publish(chain)

    findings, counts = world.audit(since=BEGIN)

    assert findings == []
    assert counts.too_old == 1


def test_an_object_that_manifests_know_as_lost_alone_needs_a_reason_as_one_they_do_not_know(
    world: World,
) -> None:
    planted, late = world.key("planted"), world.key("late")
    world.first.write(loss(planted, "parked"), loss(late, "parked"))
    world.publish(world.first)
    world.archive.objects[planted] = Kept(b"x", modified_at=BEGIN + HOUR)
    world.archive.objects[late] = Kept(b"x", modified_at=world.now)

    findings, counts = world.audit(sample_percent=100)

    assert named(findings) == [("object-without-entry", planted)]
    assert "but as lost or parked" in findings[0].detail
    assert counts.unentered == {"pending": 1}
    assert counts.matched == 20


def test_losses_are_counted_and_no_reason_to_look_for_their_objects(world: World) -> None:
    there = world.key("a0")
    world.first.write(
        loss("logs/app/x/gone"), loss("logs/app/x/parked", "parked"), loss(there, "superseded")
    )
    world.publish(world.first)

    findings, counts = world.audit()

    assert findings == []
    assert counts.losses == {"gone": 1, "parked": 1, "superseded": 1}


# What others may have written.


def put_first(world: World, body: bytes) -> str:
    """Another body for the first manifest; its key."""
    key = world.first.written[0].name.key
    world.archive.objects[key].body = body
    return key


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "it is empty"),
        (b"\x00" * 100, "Undecodable"),
        (compressed(b"not JSON\n"), "is not JSON"),
        (compressed(b"[]\n"), "no JSON object"),
        (compressed(b"[" * 50_000 + b"\n"), "nested too deeply"),
        (compressed(b'{"schema": 99}\n'), "schema is 99"),
        (compressed(b'{"schema": "\x1b[31m"}\n'.replace(b"\x1b", b"\\u001b")), "schema is"),
        (compressed(b"x" * (LINE_BYTES + 1)), "a line has more than"),
        (compressed(b"x" * (LINE_BYTES + 1) + b"\n"), "a line has more than"),
        (compressed(b"{}\n" * 10)[:-8], "middle of a line|is None|empty|Undecodable"),
    ],
)
def test_a_manifest_that_is_none_is_named_with_its_key_and_why(
    world: World, body: bytes, words: str
) -> None:
    key = put_first(world, body)

    findings, _ = world.audit()

    assert named(findings) == [("unreadable-manifest", key)]
    assert re.search(words, findings[0].detail)
    assert findings[0].detail.isprintable()


def test_a_manifest_that_would_fill_the_memory_is_not_decoded(world: World) -> None:
    header = line_from(world.first.written[0].header)
    line = line_from(entry("logs/" + "k" * 900, b"x"))
    bomb = compressed(header + line * (RAW_BYTES // len(line) + 1))
    assert len(bomb) < RAW_BYTES / 100
    put_first(world, bomb)

    findings, _ = world.audit()

    assert f"more than {RAW_BYTES} bytes" in findings[0].detail


def test_a_manifest_that_is_too_large_is_not_fetched(world: World) -> None:
    key = put_first(world, b"x" * (STORED_BYTES + 1))

    findings, _ = world.audit()

    assert named(findings) == [("unreadable-manifest", key)]
    assert ("read", key) not in world.archive.asked


def test_a_manifest_that_grows_while_it_is_read_is_not_read_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.archive.stored_manifests.STORED_BYTES", 10)
    key = put_first(world, b"x" * 10)
    listed = world.archive.listed

    def small(prefix: str, *, after: str = "") -> Iterator[Any]:
        for one in listed(prefix, after=after):
            yield replace(one, size_bytes=1)

    monkeypatch.setattr(world.archive, "listed", small)
    world.archive.objects[key].body += b"x"

    findings, _ = world.audit()

    assert "it grew while it was read" in findings[0].detail


@pytest.mark.parametrize("code", ["NoSuchKey", "InvalidObjectState"])
def test_a_manifest_that_cannot_be_fetched_is_named(world: World, code: str) -> None:
    key = world.first.written[0].name.key
    world.archive.errors[key] = PortError(code, "S3 says so")

    findings, _ = world.audit()

    assert named(findings) == [("unreadable-manifest", key)]
    assert code in findings[0].detail


def test_a_reader_who_may_not_read_is_told_so_and_not_that_all_is_broken(world: World) -> None:
    world.archive.errors[world.first.written[0].name.key] = PortError("AccessDenied", "no")

    with pytest.raises(PortError, match="AccessDenied"):
        world.audit()


def test_a_header_without_a_time_is_none(world: World) -> None:
    key = put_first(world, rewritten(world.first.written[0], to="later").body)
    assert named(world.audit()[0]) == [("unreadable-manifest", key)]


def test_an_entry_that_no_shipper_writes_is_named_with_its_manifest(world: World) -> None:
    bad: list[ObjectEntry | LossEntry] = [
        replace(entry("logs/x", b"x"), key="logs/_fleet/\x1b[31m"),
        replace(entry("logs/x", b"x"), size=2**70),
        replace(loss("logs/x"), loss="\x1b[2J"),
    ]
    one = world.first.write(*bad)
    world.publish(world.first)

    findings, _ = world.audit()

    assert named(findings) == [("impossible-entry", one.name.key)] * 3
    assert "\\x1b" in findings[0].detail


def test_a_manifest_full_of_what_no_shipper_writes_costs_little(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.archive.audited_chains._MOST_IMPOSSIBLE", 2)
    monkeypatch.setattr("shipper.archive.audited_chains._MOST_DIRECTORIES", 3)
    world.first.write(*(replace(entry("logs/x", b"x"), key=f"logs/_fleet/{n}") for n in range(9)))
    keys = [f"logs/{number}/{ONE}/x" for number in range(9)]
    world.first.write(*(entry(key, b"x") for key in keys))
    world.publish(world.first)
    for key in keys:
        world.archive.put(key, compressed(b"x"))

    findings, counts = world.audit(instances=(ONE,))

    assert [one.code.value for one in findings] == ["impossible-entry"] * 2
    assert counts.matched == 19


def test_keys_of_countless_made_up_instances_are_named_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shipper.archive.proof._MOST_UNKNOWN", 1)
    keys = [world.key("a", f"i-0000000000000000{number}") for number in range(1, 4)]
    for key in keys:
        world.archive.objects[key] = Kept(b"x", modified_at=BEGIN + HOUR)

    assert named(world.audit()[0]) == [
        ("object-without-entry", keys[1]),
        ("object-without-entry", keys[2]),
        ("no-manifests", ""),
    ]


def test_another_instances_log_without_an_entry_is_no_matter_of_this_one(world: World) -> None:
    chain = world.chain(instance="web-1")
    key = "logs/web-1-a.zst"
    chain.write(entry(key, b"x"))
    world.publish(chain)
    world.archive.put(key, compressed(b"x"))
    for name in (f"logs/{OTHER}-b.zst", "logs/nobodys.zst"):
        world.archive.objects[name] = Kept(b"x", modified_at=BEGIN + HOUR / 2)

    assert world.audit(instances=("web-1",), now=chain.to)[0] == []


def test_what_lies_among_manifests_and_is_none_is_a_notice(world: World) -> None:
    stray = f"logs/_manifests/instance={ONE}/notes.txt"
    world.archive.put(stray, b"x")
    world.archive.put("logs/_manifests/readme", b"x")
    world.archive.put("logs/_manifests/0", b"x")
    beside = f"instance={ONE}/heartbeat.bin"
    world.archive.put(f"logs/_fleet/{beside}", b"x")
    world.archive.put("logs/_manifests/other/x", b"x")
    world.archive.put(f"logs/_fleet/instance={ONE}/heartbeat.json", b"{}")

    findings, _ = world.audit()

    assert named(findings) == [
        ("stray-key", f"logs/_fleet/{beside}"),
        ("stray-key", "logs/_manifests/0"),
        ("stray-key", "logs/_manifests/other/x"),
        ("stray-key", "logs/_manifests/readme"),
        ("stray-key", stray),
    ]
    assert not any(finding.is_wrong for finding in findings)


def test_two_manifests_that_contradict_each_other_are_named(world: World) -> None:
    key = world.key("a0")
    world.first.write(entry(key, b"another content"))
    world.publish(world.first)

    assert named(world.audit()[0]) == [("double-entry", key)]


def test_a_log_that_s3_lost_and_has_again_in_other_frames_is_fine(world: World) -> None:
    key, raw = world.key("a0"), f"a0 of {ONE}\n".encode() * 9
    body = compressed(raw[:20]) + compressed(raw[20:])
    world.archive.objects[key].body = body
    again = replace(entry(key, raw), size=len(body), etag=hashlib.md5(body).hexdigest())
    world.first.write(again)
    world.publish(world.first)

    assert world.audit(sample_percent=100)[0] == []


# The content.


def ship_one(world: World, name: str, raw: bytes, stored: bytes, **changes: Any) -> str:
    key = world.key(name)
    world.archive.put(key, stored)
    about = replace(entry(key, raw, stored=stored), **changes)
    world.first.write(about, after=60)
    world.publish(world.first)
    return key


def test_content_is_compared_as_it_was_read_whatever_it_was_compressed_with(world: World) -> None:
    raw = b"a line\n" * 1000
    ship_one(world, "gz", raw, gzip.compress(raw), compression="gzip")
    rotated = gzip.compress(b"by the rotator")
    ship_one(world, "as-it-lies", rotated, rotated)

    findings, counts = world.audit(sample_percent=100)

    assert findings == []
    assert counts.compared == 22


def test_content_that_is_another_or_cannot_be_read_is_named(world: World) -> None:
    raw = b"a line\n" * 1000
    wrong = ship_one(world, "wrong", b"another\n", compressed(raw), compression="zstd")
    damaged = compressed(raw)[:-30] + b"\xff" * 30
    broken = ship_one(world, "xbroken", raw, damaged, compression="zstd")
    gone = ship_one(world, "ygone", raw, raw)
    denied = ship_one(world, "zdenied", raw, raw)
    world.archive.errors = {
        gone: PortError("NoSuchKey", gone),
        denied: PortError("KMS.DisabledException", denied),
    }

    findings, _ = world.audit(sample_percent=100)

    assert named(findings) == [
        ("altered-content", wrong),
        ("unreadable-content", broken),
        ("missing-object", gone),
        ("unreadable-content", denied),
    ]


def test_content_that_must_be_restored_first_is_counted_and_not_asked_for(world: World) -> None:
    frozen, tiered = world.key("a0"), world.key("b0")
    world.archive.objects[frozen].storage_class = "GLACIER"
    world.archive.errors[tiered] = PortError("InvalidObjectState", tiered)
    ship_one(world, "nodigest", b"x", b"x", sha256="")

    findings, counts = world.audit(sample_percent=100)

    assert findings == []
    assert (counts.not_restored, counts.without_digest, counts.compared) == (2, 1, 18)
    assert ("read", frozen) not in world.archive.asked


def test_an_error_that_is_not_about_one_object_ends_the_audit(world: World) -> None:
    world.archive.errors[world.key("a0")] = PortError("Unreachable", "no route")

    with pytest.raises(PortError, match="Unreachable"):
        world.audit(sample_percent=100)


# Any bucket.


@given(st.data())
def test_whatever_is_done_to_objects_is_named_and_nothing_else(data: st.DataObject) -> None:
    """Deletes, changes and additions, of two instances, with keys of any form."""
    world = World()
    names = data.draw(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), unique=True)
    )
    chain = world.chain()
    for name in names:
        world.ship(chain, name)
    world.ship(chain)
    world.ship(chain)
    expected = []
    for name in names:
        key = world.key(name)
        done = data.draw(st.sampled_from(["", "", "missing-object", "altered-object"]))
        if done == "missing-object":
            del world.archive.objects[key]
        elif done:
            world.archive.objects[key].body += b"x"
        if done:
            expected.append((done, key))
    for name in data.draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=6))):
        key = world.key(f"{name}/added")
        world.archive.objects[key] = Kept(b"x", modified_at=BEGIN + 60)
        expected.append(("object-without-entry", key))

    findings, _ = world.audit()

    assert sorted(named(findings)) == sorted(set(expected))


def test_entries_are_sorted_as_s3_lists_whatever_their_order_and_number() -> None:
    keys = [f"logs/{number:05}-{'éa𝒳�'[number % 4]}" for number in range(5000)]
    mixed = list(keys)
    Random(1).shuffle(mixed)
    with EntrySpill() as spill:
        for key in mixed:
            spill.add(3, entry(key, b"x"))
        rows = list(spill.sorted())

    assert [row.key for row in rows] == sorted(keys, key=str.encode)
    assert rows[0].sent_at == BEGIN
    assert rows[0].instance == 3


def test_a_disk_without_room_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipper.archive.entry_spill._BATCH", 200)
    with EntrySpill() as spill:
        spill._database.execute("PRAGMA max_page_count = 2")
        for number in range(199):
            spill.add(0, entry(f"logs/{number}", b"x"))
        with pytest.raises(PortError, match="NoTemporarySpace") as failed:
            spill.add(0, entry("logs/last", b"x"))
    assert "TMPDIR" in failed.value.hint
