"""An audit of a fake machine: what the real services shipped, and what was done to it since."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.core.archived import ArchivedObject
from shipper.core.audit import OVERDUE_SECONDS
from shipper.core.dates_in_names import earlier_clock
from shipper.core.lifecycle import Rejected, SourceVanished
from shipper.core.object_keys import another_key, destined
from shipper.core.own_keys import own_keys
from shipper.core.roles import role_of
from shipper.core.types import (
    AfterUpload,
    ETag,
    ListedObject,
    ObjectKey,
    RelativePath,
    Role,
    Shipment,
    Watch,
    WatchName,
)
from shipper.journal.review import Review
from shipper.ports import PortError
from shipper.reports.audit import Asked, Audit
from shipper.reports.audit_disk import Disk
from shipper.reports.audit_listing import Bucket, Listing
from shipper.services.housekeeping import REMEMBERED_SECONDS
from tests.machines.world import FACTS, WATCH, World

TEMPLATE = "{prefix}{watch}/{instance_id}/{stem}.{digest}{segment}{extension}"
DENIED = PortError("AccessDenied", "no", "ask")


class Host:
    """A world, and audits of it. ``pages`` is told of every page that is asked for."""

    def __init__(self, directory: Path, watch: Watch = WATCH) -> None:
        self.world = World(directory, watch=watch)
        self.world.key_template = TEMPLATE
        self.path = str(directory / "journal.db")
        self.written: dict[str, float] = {}
        self.page_keys = 3
        self.pages: Callable[[str], None] = lambda prefix: None
        self.etags = True
        self.destinations = [""]
        self.moved_at: dict[str, float] = {}
        self.booted_at = 0.0
        self.found = list[tuple[str, str]]()
        self.last: Audit

    def write(self, *names: str) -> None:
        """Logs that are in S3 afterwards."""
        for name in names:
            self.world.files.write(name.encode(), f"of {name}\n".encode() * 99)
        self.world.discover()
        self.world.carry()

    def objects(self) -> list[str]:
        return sorted(self.world.store.objects())

    def rows(self, name: str) -> list[Shipment]:
        """The shipments of the log."""
        return self.world.journal.at_path(WATCH.name, RelativePath(name.encode()))

    def audit(self, **asked: Any) -> dict[str, Any]:
        """What it says; ``found`` has what it found."""
        world, review = self.world, Review.open(self.path)
        destination = world.destination_of(world.watch)
        bucket = Bucket(
            name="bucket",
            destinations=self.destinations,
            keys=[own_keys(destination.key, destined(FACTS, destination), world.watch.name)],
            roots={"logs/"},
            listing=Listing(self._page, [f"logs/{world.watch.name}/i-1/"]),
            find=self._find,
            moved_at=self.moved_at,
        )
        now = world.clock.now()
        self.last = Audit(
            instance_id="i-1",
            watches=[world.watch],
            journal=world.journal,
            review=review,
            buckets=[bucket],
            disk=Disk(files=world.files, journal=world.journal, now=now, booted_at=self.booted_at),
            now=now,
            asked=Asked(**asked),
        )
        self.last.run()
        review.close()
        document = self.last.document()
        self.found = [(one["kind"], one["name"]) for one in document["findings"]]
        return document

    def _page(self, prefix: str, after: str) -> tuple[list[ArchivedObject], bool]:
        self.pages(prefix)
        objects = self.world.store.objects()
        keys = [key for key in sorted(objects) if key.startswith(prefix) and key > after]
        page = [self._listed(key, objects[key]) for key in keys[: self.page_keys]]
        return page, len(keys) > self.page_keys

    def _listed(self, key: str, body: bytes) -> ArchivedObject:
        found = self.world.store.find(ObjectKey(key)).result()
        assert found is not None
        at = self.written.get(key, self.world.clock.now())
        etag = found.etag if self.etags else ETag("")
        return ArchivedObject(ObjectKey(key), len(body), etag, at)

    def _find(self, key: ObjectKey) -> ListedObject | None:
        return self.world.store.find(key).result()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.world.stop()


def days(*numbers: int) -> list[str]:
    return [f"app.log-202611{number:02}" for number in numbers]


def test_what_was_shipped_is_well(host: Host) -> None:
    host.write(*days(*range(3, 20)))
    document = host.audit()
    assert document["well"] is True
    assert document["counts"]["compared"] == document["objects"] == 17
    assert (host.last.progress.rows, host.last.progress.rows_in_all) == (17, 17)


def test_an_empty_journal_and_an_empty_bucket_are_well(host: Host) -> None:
    document = host.audit()
    assert (document["well"], document["shipments"]) == (True, 0)


def test_missing_altered_and_unknown_objects_are_named_and_no_other(host: Host) -> None:
    host.write(*days(*range(3, 20)))
    missing, altered = host.objects()[4], host.objects()[9]
    host.world.store.remove(missing)
    host.world.store.place(altered, b"another's")
    host.world.store.place("logs/app/i-1/a-foreign-one", b"x")
    host.world.store.place("logs/app/i-1/z-foreign-one", b"x")
    host.world.store.place("logs/app/i-12/not-ours", b"x")
    host.audit()
    assert host.found == [
        ("missing", missing),
        ("altered", altered),
        ("unknown", "logs/app/i-1/a-foreign-one"),
        ("unknown", "logs/app/i-1/z-foreign-one"),
    ]


def test_without_etags_sizes_are_compared_and_that_is_said(host: Host) -> None:
    host.write(*days(3, 4))
    host.etags = False
    document = host.audit()
    assert document["well"] is True
    assert document["counts"]["size_only"] == 2


def test_what_is_not_in_s3_yet_is_counted_and_not_wrong(host: Host) -> None:
    host.write(*days(3, 4, 5))
    host.world.store.outage = PortError("Unreachable")
    host.write(*days(6, 7, 8))
    host.world.store.outage = None
    document = host.audit()
    assert document["well"] is True
    assert (document["counts"]["waiting"], document["counts"]["compared"]) == (3, 3)


def test_what_is_shipped_between_two_pages_is_looked_at_again(host: Host) -> None:
    host.write(*days(3, 4, 5))
    host.world.files.write(b"app.log-20261106", b"meanwhile\n")
    host.page_keys = 1

    def ship(prefix: str) -> None:
        host.pages = lambda prefix: None
        host.world.discover()
        host.world.carry()
        [gone] = host.rows("app.log-20261103")
        host.world.store.remove(gone.key)
        host.world.journal._database.query("DELETE FROM shipments WHERE id = ?", gone.id)

    host.pages = ship
    assert host.audit()["well"] is True


def test_an_object_that_comes_after_its_page_was_listed_is_not_missing(host: Host) -> None:
    host.write(*days(3, 4, 5))
    kept = host.objects()[1]
    body = host.world.store.objects()[kept]
    host.world.store.remove(kept)
    host.page_keys = 99
    find = host._find

    def late(key: ObjectKey) -> ListedObject | None:
        host.world.store.place(key, body)
        return find(key)

    host._find = late  # type: ignore[method-assign]  # as the bucket comes to it
    assert host.audit()["well"] is True


def test_a_look_that_fails_is_a_problem_and_no_finding(host: Host) -> None:
    host.write(*days(3, 4, 5))
    host.world.store.remove(host.objects()[1])

    def refused(key: ObjectKey) -> ListedObject | None:
        raise DENIED

    host._find = refused  # type: ignore[method-assign]  # as the bucket comes to it
    document = host.audit()
    assert (document["well"], host.found) == (False, [])
    assert [one["code"] for one in document["problems"]] == ["AccessDenied"]


def test_objects_older_than_the_journal_remembers_are_counted(host: Host) -> None:
    host.write(*days(3, 4))
    host.world.clock.advance(hours=REMEMBERED_SECONDS / 3600 + 1)
    old = "logs/app/i-1/from-before"
    host.world.store.place(old, b"x")
    host.written[old] = host.world.clock.now() - REMEMBERED_SECONDS - 60
    document = host.audit()
    assert document["well"] is True
    assert document["counts"]["forgotten"] == 1
    host.written[old] = host.world.clock.now() - REMEMBERED_SECONDS + 60
    host.audit()
    assert host.found == [("unknown", old)]


def test_a_lost_journal_makes_no_object_wrong(host: Host) -> None:
    host.write(*days(*range(3, 9)))
    for key in host.objects():
        host.written[key] = host.world.clock.now()
    for name in days(*range(3, 7)):
        host.world.files.delete(name.encode())
    host.world.lose_journal()
    host.world.clock.advance(seconds=5)
    host.write(*days(9))
    document = host.audit()
    assert document["well"] is True
    assert document["counts"]["forgotten"] == 4


def test_what_is_under_a_key_that_shipper_left_alone_is_counted(host: Host) -> None:
    host.write(*days(3, 4))
    [row] = host.rows("app.log-20261103")
    taken = row.key
    host.world.store.place(another_key(taken), host.world.store.objects()[taken])
    host.world.journal._database.query(
        "UPDATE shipments SET key = ? WHERE id = ?", another_key(taken), row.id
    )
    document = host.audit()
    assert document["well"] is True
    assert document["counts"]["set_apart"] == 1


@pytest.mark.parametrize("state", ["READY", "UPLOADING", "PARKED", "GONE", "SUPERSEDED"])
def test_an_object_under_the_key_of_what_was_never_sent_is_unknown(host: Host, state: str) -> None:
    host.write(*days(3))
    host.world.files.write(b"app.log-20261104", b"not sent\n")
    host.world.discover()
    [row] = host.rows("app.log-20261104")
    change = "UPDATE shipments SET state = ?, code = 'LossAcknowledged', intents = ? WHERE id = ?"
    host.world.journal._database.query(change, state, "", row.id)
    assert host.audit()["well"] is True
    host.world.store.place(row.key, b"planted")
    host.audit()
    assert host.found == [("unknown", row.key)]
    host.written[row.key] = host.world.clock.now() - 3600
    assert host.audit()["counts"]["forgotten"] == 1
    del host.written[row.key]
    host.world.journal._database.query(change, state, "e:9 e:8", row.id)
    host.audit()
    assert host.found == [("unknown", row.key)]
    host.world.journal._database.query(change, state, "e:9 e:7", row.id)
    assert host.audit()["well"] is True


def test_an_object_is_judged_since_the_journal_began(host: Host) -> None:
    """And not since its oldest row, which may be forgotten, or promised by a wrong clock."""
    begun_at = host.world.clock.now()
    host.world.journal.manifests.journal_begins("first start", begun_at)
    host.world.clock.advance(hours=5)
    foreign, before = "logs/app/i-1/foreign", "logs/app/i-1/older"
    host.world.store.place(foreign, b"x")
    host.written[foreign] = begun_at + 3600
    host.world.store.place(before, b"x")
    host.written[before] = begun_at - 3600
    host.audit()
    assert host.found == [("unknown", foreign)]
    host.write(*days(3, 4))
    change = "UPDATE shipments SET promised_at = promised_at + 3e9 WHERE id = 1"
    host.world.journal._database.query(change)
    document = host.audit()
    assert host.found == [("unknown", foreign)]
    assert document["counts"]["forgotten"] == 1


def test_manifests_and_heartbeats_are_left_out(tmp_path: Path) -> None:
    listing = Listing(lambda prefix, after: ([], False), ["logs/"])
    bucket = Bucket(
        name="b",
        destinations=[""],
        keys=[own_keys("{digest}", FACTS, WATCH.name)],
        roots={"logs/"},
        listing=listing,
        find=lambda key: None,
    )
    assert bucket.is_reserved("logs/_manifests/instance=i-1/epoch=1/00000001.jsonl.zst")
    assert bucket.is_reserved("logs/_fleet/instance=i-1/heartbeat.json")
    assert not bucket.is_reserved("logs/app/_fleet/x")


def test_keys_of_an_earlier_prefix_are_listed_where_they_name_the_instance(host: Host) -> None:
    host.world.destination = replace(host.world.destination, prefix="zz-old/")
    host.write(*days(3, 4))
    host.world.key_template = "{prefix}{watch}/{stem}.{digest}{segment}{extension}"
    host.world.restart()
    host.write(*days(5))
    host.world.destination = replace(host.world.destination, prefix="logs/")
    host.world.key_template = TEMPLATE
    host.world.restart()
    host.write(*days(6, 7))
    document = host.audit()
    assert document["well"] is True
    assert document["buckets"][0]["prefixes"] == ["logs/app/i-1/", "zz-old/app/i-1/"]
    assert (document["counts"]["compared"], document["counts"]["elsewhere"]) == (4, 1)
    gone = next(key for key in host.objects() if key.startswith("zz-old/app/i-1"))
    host.world.store.remove(gone)
    host.audit()
    assert host.found == [("missing", gone)]


def test_what_went_to_a_bucket_or_a_destination_before_is_not_compared(host: Host) -> None:
    host.write(*days(3, 4))
    for key in host.objects():
        host.world.store.remove(key)
    host.world.clock.advance(seconds=60)
    host.moved_at = {"": host.world.clock.now()}
    host.world.clock.advance(seconds=60)
    host.write(*days(5))
    document = host.audit()
    assert document["well"] is True
    assert (document["counts"]["elsewhere"], document["counts"]["compared"]) == (2, 1)
    host.destinations = ["another"]
    document = host.audit()
    assert document["counts"]["elsewhere"] == 3


def test_a_bucket_that_cannot_be_listed_makes_nothing_missing(host: Host) -> None:
    host.write(*days(*range(3, 12)))

    def refused(prefix: str) -> None:
        raise DENIED

    host.pages = refused
    document = host.audit()
    assert (document["well"], host.found) == (False, [])
    assert document["counts"]["unlisted"] == 9
    assert document["problems"] == [
        {"name": "bucket/logs/app/i-1/", "code": "AccessDenied", "detail": "no", "hint": "ask"}
    ]


def test_only_what_is_asked_for_is_judged(host: Host) -> None:
    host.write(*days(3, 4))
    for key in host.objects():
        host.world.store.remove(key)
    host.world.clock.advance(hours=1)
    foreign = ("logs/app/i-1/foreign", "logs/app/i-1/new")
    for key in foreign:
        host.world.store.place(key, b"x")
    host.written[foreign[0]] = host.world.clock.now() - 1800
    host.audit(since_at=host.world.clock.now() - 600)
    assert host.found == [("unknown", foreign[1])]
    assert host.audit(watch=WatchName("app"))["totals"] == {"missing": 2}
    assert host.audit(watch=WatchName("other"))["well"] is True


def test_a_day_that_is_missing_in_a_series_is_a_notice_unless_it_stands_empty(host: Host) -> None:
    host.write(*days(*(day for day in range(3, 28) if day != 18)))
    document = host.audit()
    assert host.found == [("series", "app.log")]
    [finding] = document["findings"]
    assert "2026-11-18" in finding["detail"]
    assert (document["well"], finding["is_wrong"]) == (True, False)
    host.world.files.write(b"app.log-20261118", b"")
    assert host.audit()["well"] is True


@pytest.mark.parametrize(
    ("every_days", "since_day", "others", "is_wrong"),
    [
        (1.1, 1, (), True),
        (3.0, 1, (), False),
        (1.1, 19, (), False),
        (1.1, None, (), False),
        (1.1, 1, ("error.log-20261118",), False),
        (1.1, 1, ("other.old.log",), False),
    ],
)
def test_a_missing_day_is_wrong_where_a_log_had_to_come(
    tmp_path: Path,
    *,
    every_days: float,
    since_day: int | None,
    others: tuple[str, ...],
    is_wrong: bool,
) -> None:
    """Longer than ``expect_every``, since it is asked for, and nothing else comes."""
    watch = replace(WATCH, include=("*.log-*", "*.old.log"))
    host = Host(tmp_path, replace(watch, expect_every_seconds=every_days * 86_400))
    if since_day is not None:
        since = datetime(2026, 11, since_day, tzinfo=UTC).timestamp()
        host.world.journal.origin.expect("app", since)
    host.write(*days(*(day for day in range(3, 28) if day != 18)), *others)
    document = host.audit()
    assert host.found == [("series", "app.log")]
    assert document["well"] is not is_wrong
    assert document["findings"][0]["is_wrong"] is is_wrong
    host.world.stop()


def test_the_logs_of_an_image_are_in_no_series_of_its_clone(host: Host) -> None:
    host.world.key_template = TEMPLATE.replace("{instance_id}", "i-image")
    host.write(*days(*range(3, 9)))
    host.world.key_template = TEMPLATE
    host.world.restart()
    host.write(*days(20, 21))
    document = host.audit()
    assert (host.found, document["counts"]["elsewhere"]) == ([], 6)


def test_a_hole_of_many_days_is_cut_short(host: Host) -> None:
    host.write(*days(*range(1, 10), *range(17, 31)))
    detail = host.audit()["findings"][0]["detail"]
    assert detail.startswith("7 missing between 2026-11-09 and 2026-11-17: 2026-11-10, ")
    assert detail.endswith(", ...")


def test_a_lost_log_is_named_until_it_is_acknowledged(host: Host) -> None:
    host.world.files.write(b"app.log.1", b"gone\n")
    host.world.discover()
    [row] = host.world.journal.unfinished(9)
    host.world.journal.record(row, SourceVanished(host.world.clock.now()))
    host.world.files.delete(b"app.log.1")
    host.audit()
    assert host.found == [("lost", "app.log.1")]
    assert host.audit(since_at=host.world.clock.now() + 1)["well"] is True
    host.world.journal.acknowledge()
    assert host.audit()["well"] is True


def test_a_parked_shipment_is_counted(host: Host) -> None:
    host.world.files.write(b"app.log.1", b"parked\n")
    host.world.discover()
    [row] = host.world.journal.unfinished(9)
    host.world.journal.record(row, Rejected("SourceUnreadable", "EACCES"))
    document = host.audit()
    assert (document["well"], document["counts"]["parked"]) == (True, 1)


@pytest.mark.parametrize("after", [AfterUpload.DELETE, AfterUpload.ARCHIVE])
def test_a_file_that_stands_long_after_its_time_is_named(
    tmp_path: Path, after: AfterUpload
) -> None:
    host = Host(tmp_path, replace(WATCH, after_upload=after, delete_after_seconds=600.0))
    host.write("app.log.1", "app.log.2")
    host.world.clock.advance(seconds=600 + OVERDUE_SECONDS - 30)
    assert host.audit()["well"] is True
    host.world.clock.advance(seconds=60)
    host.audit()
    assert host.found == [("overdue", "app.log.1"), ("overdue", "app.log.2")]
    host.world.files.append(b"app.log.1", b"more\n")
    host.audit()
    assert host.found == [("overdue", "app.log.2")]
    host.world.stop()


def test_what_is_kept_is_never_overdue_and_neither_is_what_was_kept_before(host: Host) -> None:
    """No daemon removes it under another configuration."""
    host.write("app.log.1")
    host.world.clock.advance(hours=9)
    assert host.audit()["well"] is True
    host.world.watch = replace(WATCH, after_upload=AfterUpload.DELETE)
    host.world.restart()
    for _ in range(3):
        host.world.discover()
        host.world.carry()
        host.world.clock.advance(hours=2)
    assert host.world.files.paths() == [b"app.log.1"]
    assert host.audit()["well"] is True


def test_a_machine_that_has_just_booted_is_given_time(tmp_path: Path) -> None:
    host = Host(tmp_path, replace(WATCH, after_upload=AfterUpload.DELETE))
    host.write("app.log.1")
    host.world.files.write(b"app.log.2", b"rotated before the machine went off\n")
    host.world.clock.advance(hours=48)
    host.booted_at = host.world.clock.now() - 60
    assert host.audit()["well"] is True
    host.booted_at = host.world.clock.now() - 2 * OVERDUE_SECONDS
    host.audit()
    assert host.found == [("overdue", "app.log.1"), ("unpromised", "app.log.2")]
    host.world.stop()


def test_a_dated_log_is_given_time_after_its_day_is_over(host: Host) -> None:
    """It may have been quiet for long, and was live until then."""
    clock = host.world.clock
    name = f"app-{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%d}.log".encode()
    host.world.files.write(name, b"of the morning\n")

    def role() -> Role | None:
        return role_of(WATCH, RelativePath(name), now=earlier_clock(clock.now()))

    assert role() is Role.LIVE
    while role() is Role.LIVE:
        clock.advance(seconds=300)
    assert role() is Role.ROTATED
    assert host.audit()["well"] is True
    clock.advance(seconds=2 * OVERDUE_SECONDS)
    host.audit()
    assert host.found == [("unpromised", name.decode())]


def test_an_object_that_expires_just_before_its_row_is_forgotten_is_not_missing(
    host: Host,
) -> None:
    host.write(*days(3, 4))
    for key in host.objects():
        host.world.store.remove(key)
    host.world.files.delete(b"app.log-20261103")
    host.world.clock.advance(hours=REMEMBERED_SECONDS / 3600 - 1)
    assert host.audit()["totals"] == {"missing": 2}
    host.world.clock.advance(hours=2)
    document = host.audit()
    assert (document["totals"], document["counts"]["expired"]) == ({"missing": 1}, 1)


def test_a_rotated_file_that_nobody_promised_for_long_is_named(host: Host) -> None:
    host.world.files.write(b"app.log.1", b"nobody saw me\n")
    host.world.files.write(b"app.log.2", b"")
    host.world.files.write(b"app.log.0", b"java.util.logging still writes this\n")
    assert host.audit()["well"] is True
    host.world.clock.advance(seconds=OVERDUE_SECONDS + 60)
    host.audit()
    assert host.found == [("unpromised", "app.log.1")]
    host.world.watch = replace(WATCH, ignore_older_seconds=60.0)
    assert host.audit()["well"] is True


def test_a_directory_that_cannot_be_read_is_said(host: Host) -> None:
    host.world.files.fail_scan(error=PortError("DirectoryUnreadable", "EACCES", "look"))
    document = host.audit()
    assert document["well"] is False
    assert document["problems"] == [
        {
            "name": "watch app",
            "code": "DirectoryUnreadable",
            "detail": "EACCES",
            "hint": "look",
        }
    ]


def test_segments_that_do_not_meet_are_named(host: Host) -> None:
    host.write("app.log.1")
    for _ in range(3):
        host.world.files.append(b"app.log.1", b"more\n" * 50)
        host.world.clock.advance(hours=2)
        host.world.discover()
        host.world.carry()
    rows = host.rows("app.log.1")
    assert len(rows) > 2
    assert host.audit()["well"] is True
    change = "UPDATE shipments SET raw_end = raw_end - 1 WHERE id = ?"
    host.world.journal._database.query(change, rows[1].id)
    host.audit()
    assert host.found == [("hole", "app.log.1")]
    change = "UPDATE shipments SET raw_end = raw_end + 2 WHERE id = ?"
    host.world.journal._database.query(change, rows[1].id)
    host.audit()
    assert host.found == [("overlap", "app.log.1")]
    host.audit(watch=WatchName("other"))
    assert host.found == []


def test_segments_of_the_machine_of_an_image_are_not_judged(host: Host) -> None:
    host.write("app.log.1")
    host.world.files.append(b"app.log.1", b"more\n" * 50)
    host.world.clock.advance(hours=2)
    host.world.discover()
    host.world.carry()
    first, last = host.rows("app.log.1")
    host.world.journal._database.query("DELETE FROM shipments WHERE id = ?", first.id)
    host.world.store.remove(first.key)
    host.audit()
    assert host.found == [("hole", "app.log.1")]
    change = "UPDATE shipments SET key = ? WHERE id = ?"
    host.world.store.remove(last.key)
    elsewhere = last.key.replace("i-1", "i-image")
    host.world.journal._database.query(change, elsewhere, last.id)
    assert host.audit()["well"] is True


def test_a_hole_at_the_beginning_is_one_while_the_file_stands(host: Host) -> None:
    host.write("app.log.1")
    host.world.files.append(b"app.log.1", b"more\n" * 50)
    host.world.clock.advance(hours=2)
    host.world.discover()
    host.world.carry()
    first = host.rows("app.log.1")[0]
    host.world.store.remove(first.key)
    host.world.journal._database.query("DELETE FROM shipments WHERE id = ?", first.id)
    host.audit()
    assert host.found == [("hole", "app.log.1")]
    host.world.files.delete(b"app.log.1")
    assert host.audit()["well"] is True


def test_an_object_that_cannot_be_attributed_is_counted_alone(host: Host) -> None:
    host.world.key_template = "{prefix}{watch}/i-1/{stem}.{digest}{segment}{extension}"
    host.write(*days(3))
    host.world.store.place("logs/app/i-1/whose", b"x")
    host.world.facts = None
    document = host.audit()
    assert document["counts"]["unattributed"] == 0
    assert host.found == [("unknown", "logs/app/i-1/whose")]


@pytest.mark.parametrize("page", [["b", "a"], ["a", "a"], ["a", "outside"], []])
def test_a_server_that_lists_in_no_order_is_not_audited(page: list[str]) -> None:
    keys = [key if key == "outside" else f"logs/{key}" for key in page]
    found = [ArchivedObject(ObjectKey(key), 1, ETag("e"), 0.0) for key in keys]
    listing = Listing(lambda prefix, after: (found, not page), ["logs/"])
    list(listing.rest())
    assert [error.code for error in listing.failed.values()] == ["ListingUnordered"]


_NAMES = st.text("ab/\u00e9\U0001f600", min_size=1, max_size=4)


@given(st.sets(_NAMES), st.sets(_NAMES), st.sets(_NAMES, min_size=1), st.integers(1, 3))
def test_two_streams_meet_at_every_key_that_both_have(
    rows: set[str], objects: set[str], prefixes: set[str], page_keys: int
) -> None:
    def page(prefix: str, after: str) -> tuple[list[ArchivedObject], bool]:
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        found = [ArchivedObject(ObjectKey(key), 1, ETag("e"), 0.0) for key in keys]
        return found[:page_keys], len(found) > page_keys

    listing, strays, met = Listing(page, prefixes), list[str](), set[str]()
    covered = sorted(row for row in rows if listing.prefix_of(row))
    for row in covered:
        strays += [one.key for one in listing.before(row)]
        found = listing.take(row)
        met |= {found.key} if found is not None else set()
    strays += [one.key for one in listing.rest()]
    below = {key for key in objects if any(key.startswith(prefix) for prefix in prefixes)}
    assert met == set(covered) & objects
    assert strays == sorted(below - set(covered))
    assert listing.count == len(below)


@given(st.sets(_NAMES, min_size=1), st.sets(_NAMES), st.sampled_from(["b/", "\u00e9/"]))
def test_a_prefix_that_is_found_on_the_way_is_listed_in_its_place(
    objects: set[str], prefixes: set[str], found: str
) -> None:
    objects |= {f"{found}{one}" for one in objects}

    def page(prefix: str, after: str) -> tuple[list[ArchivedObject], bool]:
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
        return [ArchivedObject(ObjectKey(key), 1, ETag("e"), 0.0) for key in keys], False

    prefixes = {one for one in prefixes if not one.startswith(found[0])}
    listing = Listing(page, prefixes)
    before = [one.key for one in listing.before(found)]
    listing.insert(found)
    rest = [one.key for one in listing.rest()]
    every = {key for key in objects if any(key.startswith(one) for one in {*prefixes, found})}
    assert before + rest == sorted(every)


def test_a_prefix_within_another_is_listed_once() -> None:
    listing = Listing(lambda prefix, after: ([], False), ["b/", "a/x/", "a/", "a/x/"])
    assert listing.prefixes == ["a/", "b/"]
    assert listing.prefix_of("b/1") == "b/"
    assert listing.prefix_of("c/1") is None
