"""Logs are found, read and given back from a bucket in memory, also a damaged or hostile one."""

import errno
import fcntl
import gzip
import hashlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import zstandard

from shipper.archive.ahead import STEP_BYTES, read_ahead
from shipper.archive.buckets import KeyLayout, ReadBucket
from shipper.archive.doubled_logs import DoubledLogs
from shipper.archive.finding import Finder, Findings
from shipper.archive.log_content import LogReader, mismatch, readable_logs
from shipper.archive.manifest_entries import LOOKED_AT
from shipper.archive.restoring import Outcome, Restorer
from shipper.archive.surroundings import selected_logs
from shipper.core.archived_logs import ArchivedLog, logs_of, restored_path
from shipper.core.archived_segments import ArchivedSegment, Selection
from shipper.core.destinations import DEFAULT_KEY, HIVE_KEY
from shipper.core.manifests import Header, ManifestName, ObjectEntry, line_from
from shipper.core.object_keys import InstanceFacts, object_key
from shipper.core.types import Compression, FileId, RelativePath, WatchName
from shipper.edges.decoder import streamed
from shipper.edges.files.restored_files import RestoreDirectory
from shipper.ports import PortError
from tests.fakes.archive import FakeArchive, Kept
from tests.fakes.examples import promise

AT = 1_764_000_000
DAY = 86_400
_inodes = itertools.count(100)


class Bucket:
    """A bucket, into which logs are put as shipper puts them, and a reader of it."""

    def __init__(self, prefix: str = "logs/", key: str = DEFAULT_KEY) -> None:
        self.archive = FakeArchive()
        self.prefix = prefix
        self.key = key
        self.findings = Findings()
        self.told: list[PortError] = []
        self.layouts: tuple[KeyLayout, ...] = (KeyLayout(prefix, key),)

    def put(
        self,
        path: str,
        body: bytes,
        *,
        at: int = AT,
        start: int = 0,
        instance: str = "i-1",
        inode: int = 0,
        compression: Compression = Compression.ZSTD,
        **metadata: str,
    ) -> str:
        inode = inode or next(_inodes)
        one = promise(
            watch=WatchName("app"),
            path=RelativePath(path.rpartition("/")[2].encode()),
            file_id=FileId(inode, 4, "head"),
            raw_start=start,
            raw_end=start + len(body),
            mtime_ns=at * 10**9 + 5,
            compression=compression,
        )
        key = object_key(self.key, InstanceFacts(self.prefix, instance), one)
        stored = _compressed(body, compression)
        own = {
            "source-path": path,
            "source-inode": str(inode),
            "source-mtime": f"{at}.000000005",
            "raw-start": str(start),
            "raw-end": str(start + len(body)),
            "instance-id": instance,
        }
        named = {name.replace("_", "-"): text for name, text in metadata.items()}
        self.archive.objects[key] = Kept(stored, own | named, modified_at=float(at))
        return key

    def manifest(self, *keys: str, number: int = 1, at: int = AT, **changes: Any) -> None:
        """One that names these objects, written then."""
        name = ManifestName(self.prefix, "i-1", "E", number)
        facts: dict[str, Any] = dict.fromkeys(Header.__dataclass_fields__, "")
        facts |= {"schema": 1, "number": number, "entries": len(keys)}
        facts |= {"before_number": 0, "interval_seconds": 3600}
        facts |= {"from_": "2025-11-24T00:00:00.000Z", "to": "2025-11-24T01:00:00.000Z"}
        lines = [
            line_from(Header(**facts)),
            *(line_from(self._entry(key, changes)) for key in keys),
        ]
        body = zstandard.compress(b"".join(lines))
        self.archive.objects[name.key] = Kept(body, modified_at=float(at))

    def _entry(self, key: str, changes: dict[str, Any]) -> ObjectEntry:
        kept = self.archive.objects[key]
        raw = zstandard.decompress(kept.body) if key.endswith(".zst") else kept.body
        facts: dict[str, Any] = dict.fromkeys(ObjectEntry.__dataclass_fields__, "")
        facts |= {
            "key": key,
            "size": len(kept.body),
            "sha256": hashlib.sha256(raw).hexdigest(),
            "compression": "zstd" if key.endswith(".zst") else "none",
            "watch": "app",
            "path": kept.metadata["source-path"],
            "inode": int(kept.metadata["source-inode"]),
            "raw_start": int(kept.metadata["raw-start"]),
            "raw_end": int(kept.metadata["raw-end"]),
            "mtime_ns": int(kept.metadata["source-mtime"].replace(".", "")),
        }
        return ObjectEntry(**(facts | changes))

    def finder(self, selection: Selection = Selection(), **how: bool) -> Finder:  # noqa: B008
        bucket = ReadBucket(self.archive, "bucket", self.prefix, self.layouts)
        usual = {"with_facts": True, "asks_each": True}
        return Finder(bucket, selection, self.findings, streamed, **(usual | how))

    def found(self, selection: Selection = Selection(), **how: bool) -> list[ArchivedSegment]:  # noqa: B008
        return list(self.finder(selection, **how).found())

    def logs(
        self,
        selection: Selection = Selection(),  # noqa: B008
        *,
        may_begin_later: bool = False,
    ) -> list[ArchivedLog]:
        self.findings.missing.clear()
        found = self.found(selection)
        logs = logs_of([*found, *self.findings.missing], may_begin_later=may_begin_later)
        return DoubledLogs(lambda name: self.archive, streamed, self.told.append).once(logs)

    def cat(self, *, may_begin_later: bool = False, goes_on: bool = False) -> bytes:
        logs = readable_logs(
            self.logs(may_begin_later=may_begin_later), self.told.append, goes_on=goes_on
        )
        reader = LogReader(lambda name: self.archive, streamed, self.told.append)
        return b"".join(reader.content(logs))

    def fetch(self, into: Path) -> Outcome:
        with RestoreDirectory(str(into)) as directory:
            restorer = Restorer(lambda _: self.archive, streamed, directory, self.told.append)
            restorer.restore(self.logs())
        return restorer.outcome

    @property
    def codes(self) -> list[str]:
        return [error.code for error in self.told]

    def asked(self, what: str) -> list[str]:
        return [key for name, key in self.archive.asked if name == what]


def _compressed(body: bytes, compression: Compression) -> bytes:
    match compression:
        case Compression.ZSTD:
            return zstandard.compress(body)
        case Compression.GZIP:
            return gzip.compress(body)
        case Compression.NONE:
            return body


def files(into: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(into)): path.read_bytes()
        for path in into.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


# Ahead


def test_what_is_read_ahead_comes_in_order_and_an_error_is_the_last_of_its_source() -> None:
    def source(name: bytes, count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield name * STEP_BYTES
        if name == b"b":
            raise PortError("Broken")

    found = list(read_ahead(source(name, 3) for name in (b"a", b"b", b"c")))

    assert [number for number, _ in found] == [0] * 3 + [1] * 4 + [2] * 3
    assert isinstance(found[6][1], PortError)
    assert list(read_ahead(iter([]))) == []


def test_no_more_is_held_than_a_step_of_each_that_is_read() -> None:
    taken = list[int]()

    def source() -> Iterator[bytes]:
        for number in range(20):
            taken.append(number)
            yield bytes(STEP_BYTES)

    ahead = read_ahead((source() for _ in range(10)), at_once=3)
    next(ahead)
    ahead.close()

    assert len(taken) <= 3 + 1


def test_a_bug_in_a_source_is_raised_and_no_thread_stays() -> None:
    def source() -> Iterator[bytes]:
        yield b"a"
        raise RuntimeError("a bug")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="a bug"):
        list(read_ahead([source()]))
    assert threading.active_count() == before


# Finding


def test_the_listing_is_as_narrow_as_the_question() -> None:
    bucket = Bucket()
    for day in range(30):
        for instance in ("i-1", "i-2"):
            bucket.put("/v/app.log.1", b"x", at=AT + day * DAY, instance=instance)
    since = float(AT + 3 * DAY)
    selection = Selection("i-1", "app", since_at=since, until_at=since + DAY)

    found = bucket.found(selection, with_facts=False, asks_each=False)

    assert [one.mtime_ns // 10**9 for one in found] == [AT + 3 * DAY]
    assert bucket.asked("directories") == []
    assert bucket.asked("list") == ["logs/app/i-1/dt=2025-11-27/", "logs/app/i-1/dt=2025-11-28/"]
    assert bucket.asked("metadata") == []


def test_what_is_found_comes_by_time_over_hosts_days_and_layouts() -> None:
    bucket, hive = Bucket(), Bucket(key=HIVE_KEY)
    hive.archive = bucket.archive
    for number in range(9):
        one = (bucket, hive)[number % 2]
        one.put("/v/app.log.1", b"x", at=AT + number * DAY // 3, instance=f"i-{number % 3}")
    bucket.layouts = (KeyLayout("logs/"), KeyLayout("logs/", HIVE_KEY))

    found = bucket.found(with_facts=False)

    assert [one.mtime_ns // 10**9 for one in found] == [AT + n * DAY // 3 for n in range(9)]
    assert {one.watch for one in found} == {"app"}
    assert {one.instance for one in found} == {"i-0", "i-1", "i-2"}


@pytest.mark.parametrize(
    "days", ["{mtime:%Y}/{mtime:%m}/{mtime:%d}", "{mtime:%d}/{mtime:%m}-{mtime:%Y}"]
)
@pytest.mark.parametrize("is_bounded", [True, False])
def test_days_of_several_directories_come_in_the_order_of_time(
    days: str, is_bounded: bool
) -> None:
    bucket = Bucket(key=f"{{prefix}}{days}/{{instance_id}}/{{stem}}.{{digest}}")
    times = [AT + day * DAY for day in range(0, 60, 4)]
    for at in times:
        bucket.put("/v/app.log.1", b"x", at=at, compression=Compression.NONE)
    bounds = (float(AT), float(AT + 60 * DAY)) if is_bounded else (None, None)

    found = bucket.found(Selection("", "", "", *bounds))

    assert [one.mtime_ns // 10**9 for one in found] == times


def test_a_watch_with_two_dots_is_found_by_its_name() -> None:
    bucket = Bucket()
    bucket.put("/v/app.log.1", b"x")
    [(key, kept)] = bucket.archive.objects.items()
    bucket.archive.objects = {key.replace("/app/", "/a%2E%2Eb/"): kept}

    assert [one.watch for one in bucket.found(Selection(watch="a..b"))] == ["a..b"]
    assert bucket.found(Selection(watch="\udcff")) == []


def test_watches_that_share_a_template_are_read_once() -> None:
    bucket = Bucket()
    bucket.put("/v/app.log.1", b"x")
    bucket.layouts = (KeyLayout("logs/", DEFAULT_KEY, "a"), KeyLayout("logs/", DEFAULT_KEY, "b"))

    assert len(bucket.found()) == 1


def test_manifests_and_heartbeats_are_no_logs_and_strangers_are_counted() -> None:
    bucket = Bucket("", "{prefix}{instance_id}/{stem}.{digest}{segment}{extension}")
    key = bucket.put("/v/app.log.1", b"x")
    bucket.manifest(key)
    bucket.archive.put("_fleet/instance=i-1/heartbeat.json", b"{}")
    for number in range(7):
        bucket.archive.put(f"i-1/stranger-{number}", b"x")

    found = bucket.found(with_facts=False)

    assert [(one.path, one.told_by) for one in found] == [(b"/v/app.log.1", "metadata")]
    assert bucket.findings.strange_count == 7
    assert len(bucket.findings.strange) == 5


def test_a_flat_listing_leaves_out_what_is_shipper_s_own() -> None:
    bucket = Bucket("logs/", "{prefix}{stem}-{digest}{segment}")
    bucket.put("/v/app.log.1", b"x", compression=Compression.NONE)
    bucket.archive.put("logs/_fleet/instance=i-1/heartbeat.json", b"{}")

    assert [one.instance for one in bucket.found()] == ["i-1"]
    assert bucket.findings.strange_count == 0


def test_a_log_that_vanishes_while_it_is_looked_at_is_a_problem_and_no_end() -> None:
    bucket = Bucket()
    gone, _ = bucket.put("/v/a.log.1", b"x"), bucket.put("/v/b.log.1", b"x")
    bucket.archive.errors[gone] = PortError("NoSuchKey", gone)

    assert [one.stem for one in bucket.found()] == [b"b.log"]
    assert bucket.findings.problems == [f"NoSuchKey: {gone}"]
    bucket.archive.errors[gone] = PortError("ExpiredToken")
    with pytest.raises(PortError, match="ExpiredToken"):
        bucket.found()


@pytest.mark.parametrize(
    "name", ["app.log.*", "app.log.1", "job-2025*", "/v/*", "/v/app.log.?", "[aj]*[14]*"]
)
@pytest.mark.parametrize("has_manifests", [True, False])
def test_a_name_that_the_key_does_not_tell_is_looked_up(name: str, has_manifests: bool) -> None:
    bucket = Bucket()
    keys = [bucket.put(f"/v/{one}", b"x") for one in ("app.log.1", "job-2025-11-24.log", "other")]
    if has_manifests:
        bucket.manifest(*keys, at=AT + 1)

    quick = bucket.found(Selection(name=name), with_facts=False, asks_each=False)

    assert [one.path for one in quick] == [one.path for one in bucket.found(Selection(name=name))]
    assert len(quick) == {"/v/*": 3, "[aj]*[14]*": 2}.get(name, 1)


def test_what_the_letters_of_a_name_rule_out_is_not_looked_up() -> None:
    bucket = Bucket()
    for _ in range(5):
        bucket.put("/v/other.log.1", b"x")
    bucket.put("/v/app.log.1", b"x")

    for name in ("app*", "app.log"):
        assert len(bucket.found(Selection(name=name), with_facts=False, asks_each=False)) == 1
    assert bucket.asked("metadata") == []


@pytest.mark.parametrize("has_manifest", [True, False])
def test_where_keys_tell_the_day_alone_the_time_of_day_is_looked_up(has_manifest: bool) -> None:
    bucket = Bucket(key="{prefix}{mtime:%Y/%m/%d}/{watch}/{instance_id}/{stem}.{digest}{segment}")
    key = bucket.put("/v/app.log.1", b"x", compression=Compression.NONE)
    if has_manifest:
        bucket.manifest(key, at=AT + 1)
    hour = 3600.0

    def found(since: float, until: float) -> int:
        selection = Selection(since_at=AT + since, until_at=AT + until)
        return len(bucket.found(selection, with_facts=False, asks_each=False))

    assert (found(-hour, hour), found(hour, 2 * hour), found(-2 * hour, -hour)) == (1, 0, 0)


def test_a_watch_that_no_key_tells_is_looked_up_and_what_stays_unknown_is_said() -> None:
    key = "{prefix}{instance_id}/dt={mtime:%Y-%m-%d}/{stem}.{mtime:%Y%m%dT%H%M%SZ}.{digest}"
    bucket = Bucket(key=key)
    bucket.layouts = (KeyLayout("logs/", key, "app"), KeyLayout("logs/", key, "audit"))
    told = bucket.put("/v/app.log.1", b"x", compression=Compression.NONE)
    bucket.put("/v/app.log.2", b"x", at=AT + 2 * DAY, compression=Compression.NONE)
    bucket.manifest(told, at=AT + 1)

    for how in ({}, {"with_facts": False, "asks_each": False}):
        bucket.findings = Findings()
        assert [one.stored.key for one in bucket.found(Selection(watch="app"), **how)] == [told]
        assert bucket.findings.problems == [
            "1 objects are left out: neither their keys nor manifests tell of which watch they are"
        ]
    bucket.layouts = bucket.layouts[:1]
    assert len(bucket.found(Selection(watch="app"))) == 2


@pytest.mark.parametrize(
    "denied",
    [
        {"instance_id": "i-2"},
        {"raw_start": "1"},
        {"source_path": "/v/other.log"},
        {"source_mtime": f"{AT + 1}.000000000"},
    ],
)
def test_metadata_that_deny_their_own_key_are_another_host_s_and_a_problem(
    denied: dict[str, Any],
) -> None:
    bucket = Bucket()
    key = bucket.put("/v/app.log.1", b"forged", **denied)
    bucket.put("/v/good.log.1", b"x")

    assert [one.stem for one in bucket.found()] == [b"good.log"]
    assert bucket.findings.problems == [f"NotOurs: {key}: its metadata are of another log"]


def test_a_listing_that_fails_ends_it() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log.1", b"x")

    def refused(prefix: str, *, after: str = "") -> Iterator[Any]:
        yield from ()
        raise PortError("AccessDenied", prefix)

    bucket.archive.listed = refused  # type: ignore[method-assign]
    with pytest.raises(PortError, match="AccessDenied"):
        bucket.found()


def test_each_host_speaks_of_its_own_logs_alone() -> None:
    bucket = Bucket()
    one, other = bucket.put("/v/a.log.1", b"x"), bucket.put("/v/a.log.1", b"x", instance="i-2")
    bucket.manifest(one, other, at=AT + 1)

    told = {found.instance: found.told_by for found in bucket.found()}
    assert told == {"i-1": "manifest", "i-2": "metadata"}


def test_manifests_tell_what_keys_do_not_with_few_of_them_read() -> None:
    bucket = Bucket()
    keys = [bucket.put("/v/app.log.1", b"x", at=AT + n * 3600) for n in range(6)]
    for number, key in enumerate(keys):
        bucket.manifest(key, number=number + 1, at=AT + number * 3600 + 60)
    since = float(AT + 4 * 3600)

    found = bucket.found(Selection(since_at=since, until_at=since + 3600))

    assert [(one.told_by, len(one.sha256)) for one in found] == [("manifest", 64)]
    assert len(bucket.asked("read")) == 1
    assert bucket.asked("metadata") == []


def test_an_object_that_was_written_over_is_known_to_the_manifests_of_its_log_s_time() -> None:
    bucket = Bucket()
    key = bucket.put("/v/app.log.1", b"one")
    bucket.manifest(key, at=AT + 60)
    for number in range(2, 20):
        bucket.manifest(number=number, at=AT + number * 60)
    kept = bucket.archive.objects[key]
    bucket.archive.objects[key] = Kept(kept.body, {}, modified_at=AT + 900.0)

    assert [one.told_by for one in bucket.found()] == ["manifest"]
    assert len(bucket.asked("read")) == LOOKED_AT + 1


def test_what_no_manifest_names_is_asked_for_and_a_broken_one_is_said() -> None:
    bucket = Bucket()
    key = bucket.put("/v/app.log.1", b"x")
    bucket.archive.objects["logs/_manifests/instance=i-1/epoch=E/00000001.jsonl.zst"] = Kept(
        b"no zstd", modified_at=AT + 1.0
    )
    bucket.archive.put("logs/_manifests/instance=i-1/epoch=E/strange", b"")

    assert [one.told_by for one in bucket.found()] == ["metadata"]
    assert "00000001.jsonl.zst" in bucket.findings.problems[0]
    bucket.findings = Findings()
    bucket.manifest(key, number=2, at=AT + 2)
    assert [one.told_by for one in bucket.found()] == ["manifest"]


def test_the_manifests_of_a_prefix_with_tags_are_found() -> None:
    bucket = Bucket("logs/prod/")
    key = bucket.put("/v/app.log.1", b"x")
    bucket.manifest(key, at=AT + 1)
    bucket.prefix, bucket.layouts = "logs/{tag:Env}/", (KeyLayout("logs/{tag:Env}/"),)

    assert [one.told_by for one in bucket.found()] == ["manifest"]


def test_named_keys_must_be_there_and_be_logs() -> None:
    bucket = Bucket()
    key = bucket.put("/v/app.log.1", b"x")
    bucket.archive.put("logs/strange", b"x")

    assert [one.stored.key for one in bucket.finder().named([key])] == [key]
    for other, code in (("logs/none", "NoSuchKey"), (key[:-1], "NoSuchKey"), ("zz", "NoSuchKey")):
        with pytest.raises(PortError, match=code):
            list(bucket.finder().named([other]))
    with pytest.raises(PortError, match=r"NotOurs.*logs/strange"):
        list(bucket.finder().named(["logs/strange"]))


def test_a_thousand_and_one_are_looked_up_in_two_rounds() -> None:
    bucket = Bucket()
    for number in range(1001):
        bucket.put(f"/v/{number}.log", b"x")

    assert len(bucket.found(asks_each=False)) == 1001


# cat


def test_segments_are_joined_and_decompressed_whoever_compressed_them() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7)
    bucket.put("/v/a.log", b"two ", inode=7, start=4, at=AT + 1, compression=Compression.GZIP)
    bucket.put("/v/a.log", b"three", inode=7, start=8, at=AT + 2, compression=Compression.NONE)
    body = gzip.compress(b"packed")
    bucket.put("/v/b.log.1.gz", body[:9], inode=8, at=AT + 3, compression=Compression.NONE)
    bucket.put(
        "/v/b.log.1.gz", body[9:], inode=8, start=9, at=AT + 4, compression=Compression.NONE
    )

    assert bucket.cat() == b"one two threepacked"
    assert bucket.told == []


def test_behind_a_missing_segment_nothing_comes_of_that_log_unless_it_is_wished() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7)
    bucket.put("/v/a.log", b"three ", inode=7, start=8, at=AT + 2)
    bucket.put("/v/b.log", b"other", at=AT + 3)

    assert bucket.cat() == b"one other"
    assert bucket.codes == ["SegmentMissing"]
    assert "i-1: /v/a.log: the bytes 4 to 8 are missing" in bucket.told[0].detail
    assert bucket.cat(goes_on=True) == b"one three other"


def test_a_log_of_which_all_that_is_there_is_behind_a_gap_is_left_out() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"late", start=8)

    assert bucket.cat() == b""
    assert "the bytes 0 to 8" in bucket.told[0].detail
    assert bucket.cat(may_begin_later=True) == b"late"


def test_what_a_manifest_names_and_the_bucket_has_no_more_is_missing(tmp_path: Path) -> None:
    bucket = Bucket()
    keys = [
        bucket.put("/v/a.log", b"one ", inode=7),
        bucket.put("/v/a.log", b"two ", inode=7, start=4, at=AT + 1),
        bucket.put("/v/a.log", b"three", inode=7, start=8, at=AT + 2),
        bucket.put("/v/gone.log", b"all of it", at=AT + 3),
        bucket.put("/v/part.log", b"ag", inode=9, at=AT + 4),
        bucket.put("/v/part.log.1", b"again", inode=9, at=AT + 5),
        bucket.put("/v/part.log.1", b"ag", inode=9, at=AT + 6),
    ]
    bucket.manifest(*keys, at=AT + 7)
    for at in (1, 3, 4, 6):
        del bucket.archive.objects[keys[at]]

    assert bucket.cat() == b"one again"
    assert bucket.codes == ["SegmentMissing"] * 2
    assert keys[1] in bucket.told[0].detail
    assert "the bytes 4 to 8 are missing" in bucket.told[0].detail
    assert keys[3] in bucket.told[1].detail
    assert bucket.cat(goes_on=True) == b"one threeagain"
    assert bucket.fetch(tmp_path).failed == 2
    assert list(files(tmp_path).values()) == [b"again"]
    assert bucket.logs(Selection(until_at=AT + 1))[0].before_gap() != []
    assert bucket.findings.missing == []


def test_a_log_that_comes_while_the_bucket_is_listed_is_given_too() -> None:
    bucket = Bucket()
    key = bucket.put("/v/a.log", b"one ")
    late = bucket.put("/v/b.log", b"two", at=AT + 1)
    bucket.manifest(key, late, at=AT + 2)
    listed, kept = bucket.archive.listed, bucket.archive.objects.pop(late)

    def arriving(prefix: str, *, after: str = "") -> Iterator[Any]:
        yield from listed(prefix, after=after)
        bucket.archive.objects[late] = kept

    bucket.archive.listed = arriving  # type: ignore[method-assign]
    assert bucket.cat() == b"one two"
    assert bucket.told == []


def selected(bucket: Bucket, selection: Selection) -> list[ArchivedLog]:
    def known(segments: Sequence[ArchivedSegment]) -> Iterator[ArchivedSegment]:
        return bucket.finder().facts_of(segments)

    def listed(window: Selection) -> list[ArchivedSegment]:
        return bucket.found(window, with_facts=False, asks_each=False)

    return selected_logs(bucket.found(selection), selection, listed, known)


@pytest.mark.parametrize("days", [0, 1, 30])
def test_a_beginning_that_was_not_asked_for_is_none_that_is_missing(days: int) -> None:
    """Whether what is before the time reaches the first segment is looked up."""
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7, at=AT - days * DAY - 20)
    second = bucket.put("/v/a.log", b"two ", inode=7, start=4, at=AT - 10)
    bucket.put("/v/a.log", b"three ", inode=7, start=8, at=AT + 1)
    bucket.put("/v/a.log.1", b"four", inode=7, start=14, at=AT + 2)
    bucket.put("/v/other.log", b"other", at=AT - 10)
    since = Selection(since_at=AT)

    [log] = selected(bucket, since)
    assert (log.start, log.end, log.gaps) == (8, 18, [])
    assert [log.start for log in selected(bucket, Selection(since_at=AT - 11))] == [0, 4]
    del bucket.archive.objects[second]
    [log] = selected(bucket, since)
    assert (log.start, log.gaps) == (8, [(4, 8)])


def test_a_beginning_of_which_nothing_is_there_is_missing() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", at=AT - 20)
    bucket.put("/v/a.log", b"late", inode=7, start=4, at=AT + 1)

    [log] = selected(bucket, Selection(since_at=AT, until_at=AT + 9))
    assert log.gaps == [(0, 4)]


def test_a_log_whose_end_was_not_asked_for_is_named_as_a_part() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7)
    bucket.put("/v/b.log", b"one ", inode=8)
    bucket.put("/v/b.log.1", b"other", inode=9)
    bucket.put("/v/a.log", b"two", inode=7, start=4, at=AT + DAY)

    parts = [restored_path(log) for log in selected(bucket, Selection(until_at=AT + 1))]
    assert sorted(part[-1] for part in parts if part) == [
        b"a.log.20251124T160000Z.to4",
        b"b.log.20251124T160000Z",
        b"b.log.20251124T160000Z",
    ]
    assert [log.goes_on for log in selected(bucket, Selection())] == [False] * 3


@pytest.mark.parametrize("compression", Compression)
def test_what_was_sent_again_without_the_journal_is_given_once(
    tmp_path: Path, compression: Compression
) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7, compression=compression)
    bucket.put("/v/a.log", b"two ", inode=7, start=4, at=AT + 1)
    bucket.put("/v/a.log", b"one tw", inode=7, at=AT + 2)  # and so much once more
    bucket.put("/v/a.log.1", b"o three", inode=7, start=6, at=AT + 3, compression=compression)
    bucket.put("/v/b.log", b"one ", inode=8, at=AT + 4)
    bucket.put("/v/b.log.1", b"other", inode=8, at=AT + 5)  # emptied, and written again
    bucket.put("/v/c.log", b"one ", inode=9, at=AT + 6)
    bucket.put("/v/c.log", b"two", inode=9, start=4, at=AT + 7)
    bucket.put("/v/c.log.1", b"two three", inode=9, start=4, at=AT + 8)  # an older journal's
    bucket.put("/v/d.log.1", b"all of it", inode=10, at=AT + 9)
    bucket.put("/v/d.log.1", b"all ", inode=10, at=AT + 10)

    whole = [b"one two three", b"one ", b"other", b"one two three", b"all of it"]
    assert bucket.cat() == b"".join(whole)
    assert bucket.fetch(tmp_path).restored == 5
    assert sorted(files(tmp_path).values()) == sorted(whole)
    assert bucket.told == []


def test_what_overlaps_and_cannot_be_compared_is_said_with_both_names() -> None:
    bucket = Bucket()
    frozen = bucket.put("/v/a.log", b"one ", inode=7)
    whole = bucket.put("/v/a.log.1", b"one two", inode=7, at=AT + 1)
    bucket.archive.objects[frozen].storage_class = "DEEP_ARCHIVE"

    assert bucket.cat() == b"one two"
    assert bucket.codes == ["DoubledUnproven", "InvalidObjectState"]
    assert frozen in bucket.told[0].detail
    assert whole in bucket.told[0].detail


def test_what_cannot_be_read_is_said_with_its_key_and_the_next_log_goes_on() -> None:
    bucket = Bucket()
    frozen = bucket.put("/v/a.log", b"one", inode=7)
    bucket.put("/v/a.log", b"two", inode=7, start=3, at=AT + 1)
    damaged = bucket.put("/v/b.log", b"two", at=AT + 2)
    packed = bucket.put("/v/c.log.gz", b"no gzip", at=AT + 3, compression=Compression.NONE)
    bucket.put("/v/d.log", b"good", at=AT + 4)
    bucket.archive.objects[frozen].storage_class = "DEEP_ARCHIVE"
    bucket.archive.objects[damaged].body = b"damaged"

    assert bucket.cat() == b"good"
    assert bucket.codes == ["InvalidObjectState", "Undecodable", "Undecodable"]
    assert "restore-object" in bucket.told[0].hint
    assert [
        key in str(one) for key, one in zip((frozen, damaged, packed), bucket.told, strict=True)
    ]


@pytest.mark.parametrize(("length", "said"), [("9", "4 bytes fewer"), ("3", "more")])
def test_an_object_of_another_length_than_its_range_is_no_success(length: str, said: str) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"x" * 5, raw_end=length)

    assert len(bucket.cat()) <= 5
    assert bucket.codes == ["WrongLength"]
    assert said in bucket.told[0].detail


def test_what_is_not_what_its_manifest_says_is_said_behind_it_and_the_next_log_goes_on() -> None:
    bucket = Bucket()
    altered = bucket.put("/v/a.log", b"two")
    good = bucket.put("/v/b.log", b"good", at=AT + 1)
    bucket.manifest(altered, at=AT + 2, sha256="0" * 64)
    bucket.manifest(good, number=2, at=AT + 2)

    assert bucket.cat() == b"twogood"
    assert bucket.codes == ["Altered"]
    assert altered in bucket.told[0].detail


@pytest.mark.parametrize("compression", [*Compression])
def test_what_no_key_and_no_manifest_tells_is_decompressed_by_its_first_bytes(
    compression: Compression, tmp_path: Path
) -> None:
    bucket = Bucket(key=DEFAULT_KEY.replace("{extension}", ""))
    key = bucket.put("/v/a.log", b"a line\n" * 9, compression=compression)

    assert bucket.cat() == b"a line\n" * 9
    assert bucket.fetch(tmp_path).restored == 1
    assert list(files(tmp_path).values()) == [b"a line\n" * 9]
    bucket.archive.objects[key].body = b""
    assert bucket.cat() == b""
    assert bucket.codes == ["WrongLength"]


def test_a_bomb_ends_where_its_range_ends() -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", bytes(200 * 1024**2), raw_end="1000000")

    assert len(bucket.cat()) <= 1_000_000
    assert bucket.codes == ["WrongLength"]


# fetch


def test_a_log_is_restored_once_with_its_mtime_and_then_it_is_there(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7)
    key = bucket.put("/v/a.log.1", b"two", inode=7, start=4, at=AT + 1)
    bucket.put("/v/empty/a.log.1", b"other", at=AT + 1)

    assert bucket.fetch(tmp_path) == Outcome(restored=2, unverified=2, written_bytes=12)
    expected = {
        "i-1/v/a.log.20251124T160001Z": b"one two",
        "i-1/v/empty/a.log.20251124T160001Z": b"other",
    }
    assert files(tmp_path) == expected
    for name in expected:
        assert (tmp_path / name).stat().st_mtime_ns == (AT + 1) * 10**9 + 5
    bucket.archive.asked.clear()
    assert bucket.fetch(tmp_path) == Outcome(already_there=2, unverified=2)
    assert bucket.asked("read") == []
    assert key in bucket.asked("metadata")


def test_two_logs_of_one_second_have_both_their_names(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log.1", b"one")
    bucket.put("/v/a.log.2", b"other", source_mtime=f"{AT}.000000007")

    for outcome in (Outcome(2, unverified=2, written_bytes=8), Outcome(0, 2, unverified=2)):
        assert bucket.fetch(tmp_path) == outcome
    assert files(tmp_path) == {
        "i-1/v/a.log.20251124T160000Z": b"one",
        "i-1/v/a.log.20251124T160000.000000007Z": b"other",
    }


def test_two_logs_with_one_dated_name_have_both_their_names(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/app-20251124.log", b"one")
    bucket.put("/v/app-20251124.log", b"other", at=AT + 7)

    for outcome in (Outcome(2, unverified=2, written_bytes=8), Outcome(0, 2, unverified=2)):
        assert bucket.fetch(tmp_path) == outcome
    assert files(tmp_path) == {
        "i-1/v/app-20251124.log": b"one",
        "i-1/v/app-20251124.log.20251124T160007.000000005Z": b"other",
    }


def test_three_logs_that_nothing_tells_apart_are_not_laid_over_each_other(tmp_path: Path) -> None:
    bucket = Bucket()
    for number in range(3):
        bucket.put(f"/v/a.log.{number + 1}", b"%d" % number)

    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["Taken"]
    assert len(files(tmp_path)) == 2


def test_another_file_is_never_overwritten(tmp_path: Path) -> None:
    bucket = Bucket()
    key = bucket.put("/v/a.log", b"one")
    target = tmp_path / "i-1/v/a.log.20251124T160000Z"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"own")

    assert bucket.fetch(tmp_path).failed == 1
    target.write_bytes(b"two")
    os.utime(target, ns=(AT * 10**9 + 5, AT * 10**9 + 5))
    bucket.manifest(key, at=AT + 1)
    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["Taken", "Taken"]
    assert files(tmp_path) == {"i-1/v/a.log.20251124T160000Z": b"two"}
    target.write_bytes(b"one")
    assert bucket.fetch(tmp_path) == Outcome(already_there=1)


def test_a_file_that_was_cut_since_it_was_measured_is_another_one(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.manifest(bucket.put("/v/a.log", b"one"), at=AT + 1)
    [segment] = bucket.found()

    assert mismatch([segment], iter([b"on"])) is segment
    assert mismatch([segment], iter([b"o", b"ne"])) is None


def test_a_file_that_appears_while_it_is_fetched_stays(tmp_path: Path) -> None:
    bucket = Bucket()
    key = bucket.put("/v/a.log", b"one")
    target = tmp_path / "i-1/v/a.log.20251124T160000Z"
    read = bucket.archive.read

    def appearing(asked: Any, *, start: int = 0) -> Iterator[bytes]:
        if asked == key:
            target.write_bytes(b"own")
        return read(asked, start=start)

    bucket.archive.read = appearing  # type: ignore[method-assign,assignment]
    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["Taken"]
    assert target.read_bytes() == b"own"


def test_what_is_not_what_its_manifest_says_is_not_restored(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.manifest(bucket.put("/v/a.log", b"one"), at=AT + 1, sha256="0" * 64)

    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["Altered"]
    assert list(files(tmp_path).values()) == [b""]


def test_a_log_with_a_gap_is_not_restored(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one", inode=7)
    bucket.put("/v/a.log", b"two", inode=7, start=9, at=AT + 1)

    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["SegmentMissing"]
    assert files(tmp_path) == {}


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("is_known", [True, False])
def test_a_fetch_that_ended_early_goes_on(
    tmp_path: Path, compression: Compression, is_known: bool
) -> None:
    """With each possible length of what it left, and with what it left damaged."""
    bucket = Bucket()
    bodies = [b"first ", b"second ", b"third"]
    whole, keys = b"".join(bodies), list[str]()
    for number, body in enumerate(bodies):
        start = sum(map(len, bodies[:number]))
        keys.append(
            bucket.put(
                *("/v/a.log", body),
                inode=7,
                start=start,
                at=AT + number,
                compression=compression,
            )
        )
    if is_known and compression is not Compression.GZIP:
        bucket.manifest(*keys, at=AT + 9)
    bucket.fetch(tmp_path / "reference")
    [name] = files(tmp_path / "reference")
    for length in range(len(whole) + 3):
        into = tmp_path / str(length)
        _begin(bucket, into, (whole + b"more")[:length])

        assert bucket.fetch(into).restored == 1, length
        assert files(into) == {name: whole}


def _begin(bucket: Bucket, into: Path, left: bytes) -> None:
    """Leave what a fetch that was killed has left."""
    errors = bucket.archive.errors
    for one in bucket.found():
        errors[one.stored.key] = PortError("NoSuchKey", one.stored.key)
    segments = list[ArchivedSegment]()
    errors.clear()
    segments = bucket.found()
    for one in segments:
        errors[one.stored.key] = PortError("InternalError", one.stored.key)
    with RestoreDirectory(str(into)) as directory:
        restorer = Restorer(lambda _: bucket.archive, streamed, directory, lambda error: None)
        restorer.restore(logs_of(segments))
    errors.clear()
    [partial] = into.rglob(".*.partial")
    partial.write_bytes(left)


def test_a_damaged_beginning_is_fetched_again_where_a_manifest_knows_it(tmp_path: Path) -> None:
    bucket = Bucket()
    first = bucket.put("/v/a.log", b"first", inode=7)
    second = bucket.put("/v/a.log", b"second", inode=7, start=5, at=AT + 1)
    bucket.manifest(first, second, at=AT + 9)
    _begin(bucket, tmp_path, b"fIrst")

    assert bucket.fetch(tmp_path) == Outcome(restored=1, written_bytes=11)
    assert list(files(tmp_path).values()) == [b"firstsecond"]


# Hostile buckets


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/../../etc/cron.d/own", "PathRefused"),
        ("/v/%2E%2E/%2E%2E/own", "PathRefused"),
        ("/v/a%00b", "PathRefused"),
        ("/link/own", "PathRefused"),
        ("/file/own", "PathRefused"),
        ("/" + "x" * 250, "NameTooLong"),
        ("/" + "y" * 300 + "/own", "NameTooLong"),
    ],
)
def test_nothing_is_written_elsewhere(tmp_path: Path, path: str, code: str) -> None:
    into, outside = tmp_path / "into", tmp_path / "outside"
    outside.mkdir()
    (into / "i-1").mkdir(parents=True)
    (into / "i-1/link").symlink_to(outside)
    (into / "i-1/file").write_bytes(b"")
    bucket = Bucket()
    bucket.put(unquote(path), b"own", source_path=path)
    bucket.put("/v/good.log", b"good", at=AT + 1)

    assert bucket.fetch(into) == Outcome(1, failed=1, unverified=1, written_bytes=4)
    assert bucket.codes == [code]
    assert list(outside.iterdir()) == []
    assert sorted(files(tmp_path).values()) == [b"", b"good"]


def test_a_link_or_a_fifo_under_the_name_itself_is_not_followed(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"own")
    target = tmp_path / "i-1/v/a.log.20251124T160000Z"
    target.parent.mkdir(parents=True)
    target.symlink_to("/etc/passwd")
    assert bucket.fetch(tmp_path).failed == 1
    target.unlink()
    os.mkfifo(target)
    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["Taken", "Taken"]


def test_a_partial_file_that_another_made_or_writes_is_left_alone(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"own")
    _begin(bucket, tmp_path, b"")
    [partial] = tmp_path.rglob(".*.partial")
    os.link(partial, tmp_path / "second")
    assert bucket.fetch(tmp_path).failed == 1
    (tmp_path / "second").unlink()
    with RestoreDirectory(str(tmp_path)) as directory:
        place = directory.place((b"i-1", b"v", b"a.log.20251124T160000Z"))
        place.begin(partial.name.split(".")[-2])
        assert bucket.fetch(tmp_path).failed == 1
        place.close()
    partial.unlink()
    partial.symlink_to(tmp_path / "elsewhere")
    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["PathRefused", "InUse", "PathRefused"]
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("is_begun_again", [False, True])
def test_a_partial_file_that_another_finishes_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_begun_again: bool
) -> None:
    """Between its opening and its lock."""
    with RestoreDirectory(str(tmp_path)) as directory:
        one, other = directory.place([b"a.log"]), directory.place([b"a.log"])
        one.begin("mark")
        one.write(b"all of it")
        lock = fcntl.flock

        def finishing(file: Any, how: int) -> None:
            monkeypatch.setattr(fcntl, "flock", lock)
            one.finish(AT * 10**9)
            one.close()
            if is_begun_again:
                (tmp_path / ".a.log.mark.partial").write_bytes(b"")
            lock(file, how)

        monkeypatch.setattr(fcntl, "flock", finishing)
        with pytest.raises(PortError, match="InUse"):
            other.begin("mark")
        other.close()
    assert (tmp_path / "a.log").read_bytes() == b"all of it"


def test_an_instance_s_name_is_one_directory(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"own", instance="../../x")

    assert bucket.fetch(tmp_path).restored == 1
    assert list(files(tmp_path)) == ["..%2F..%2Fx/v/a.log.20251124T160000Z"]


def test_a_full_disk_says_so_and_what_is_there_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket()
    bucket.put("/v/a.log", b"one ", inode=7)
    bucket.put("/v/a.log", b"two", inode=7, start=4, at=AT + 1)
    write, left = os.write, [1]

    def full(descriptor: int, piece: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        return write(descriptor, piece)

    monkeypatch.setattr("os.write", full)
    assert bucket.fetch(tmp_path).failed == 1
    monkeypatch.undo()
    assert bucket.codes == ["DiskFull"]
    assert "goes on" in bucket.told[0].hint
    assert bucket.fetch(tmp_path) == Outcome(1, unverified=1, written_bytes=3)


def test_an_mtime_that_no_file_can_have_is_an_error_and_no_bug(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.manifest(bucket.put("/v/a.log", b"x"), at=AT + 1, mtime_ns=2**100)

    assert bucket.fetch(tmp_path).failed == 1
    assert bucket.codes == ["Unwritable"]


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PortError, match=r"PathRefused|Unwritable"):
        RestoreDirectory(str(tmp_path / "file" / "into"))
