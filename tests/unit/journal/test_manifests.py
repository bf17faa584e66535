"""What manifests say: each thing once, whatever becomes of it meanwhile."""

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import zstandard

from shipper.core.lifecycle import (
    AttemptFailed,
    CheckFailed,
    CheckRetried,
    DuplicateFound,
    Event,
    LossAcknowledged,
    ObjectChecked,
    ObjectStored,
    Rejected,
    RemovalWanted,
    RestFound,
    Retried,
    SourceDisposed,
    SourceVanished,
    WriteIntended,
)
from shipper.core.manifests import (
    UNREADABLE as NO_CHAIN,
)
from shipper.core.manifests import (
    Beginning,
    Header,
    Line,
    LossEntry,
    ObjectEntry,
    another_epoch,
    broken_off,
    chain_from,
    lines_of,
    name_from_key,
)
from shipper.core.types import Compression, ETag, FileId, ObjectKey, RelativePath, State, WatchName
from shipper.journal import manifests as journal_manifests
from shipper.journal import statements as sql
from shipper.journal.journal import Journal
from shipper.journal.manifests import Manifest, Wording
from tests.fakes.examples import promise
from tests.fakes.journals import NOW, WAYS, add

BUCKET = "s3://bucket/logs/"
INTENDED = WriteIntended(ETag("e"), 9, "sha", 1001.5)
STORED = ObjectStored(ETag("e"), 9, "sha", "crc32:AAAAAA==", 1002.25)
VERIFIED = (INTENDED, STORED, ObjectChecked(NOW))


def framed(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(raw)


WORDING = Wording("1.0", "c" * 64, 3600.0, {WatchName("app"): "/var/log/app"}, framed)


def beginning(instance: str = "i-1", to: str = BUCKET, epoch: str = "E1") -> Beginning:
    return Beginning(instance, to, epoch, NOW)


def begin(journal: Journal, **how: Any) -> None:
    journal.manifests.begin({"": beginning(**how)}, WORDING, [""])


def read(manifest: Manifest | None) -> list[Line]:
    assert manifest is not None
    assert hashlib.sha256(manifest.body).hexdigest() == manifest.sha256
    reader = zstandard.ZstdDecompressor().stream_reader(manifest.body, read_across_frames=True)
    return [*lines_of(reader.read().splitlines(keepends=True))]


def told(journal: Journal, at: float = NOW + 60) -> list[Line]:
    """The entries of the next manifest, which S3 has then."""
    manifest = journal.manifests.cut(at, "interval", WORDING)
    journal.manifests.stored(manifest, at)
    return read(manifest)[1:]


def header(manifest: Manifest | None) -> Header:
    first = read(manifest)[0]
    assert isinstance(first, Header)
    return first


def test_an_object_is_told_with_all_that_an_auditor_asks(journal: Journal) -> None:
    journal.manifests.journal_begins("first start", 0.0)
    begin(journal)
    row = add(journal, 1, *VERIFIED, SourceDisposed(NOW + 5))
    manifest = journal.manifests.cut(NOW + 60, "interval", WORDING)
    assert header(manifest) == Header(
        schema=1,
        instance="i-1",
        epoch="E1",
        number=1,
        from_="1970-01-01T00:16:40.000Z",
        to="1970-01-01T00:17:40.000Z",
        previous="",
        begins="first start",
        before="",
        before_number=0,
        before_sha256="",
        because="interval",
        interval_seconds=3600,
        destination=BUCKET,
        version="1.0",
        configuration="c" * 64,
        entries=1,
    )
    assert read(manifest)[1:] == [
        ObjectEntry(
            key=row.key,
            size=9,
            etag="e",
            checksum="crc32:AAAAAA==",
            sha256="sha",
            compression=row.compression.value,
            watch="app",
            path=f"/var/log/app/{row.path.decode()}",
            inode=row.file_id.inode,
            generation=row.file_id.generation,
            raw_start=row.raw_start,
            raw_end=row.raw_end,
            mtime_ns=row.mtime_ns,
            first_sent="1970-01-01T00:16:41.500Z",
            last_sent="1970-01-01T00:16:42.250Z",
            sealed=row.sealed_because,
        )
    ]


def test_a_chain_names_the_manifest_before_and_goes_on_where_it_ended(journal: Journal) -> None:
    begin(journal)
    first = journal.manifests.cut(NOW + 60, "interval", WORDING)
    journal.manifests.stored(first, NOW + 61)
    second = journal.manifests.cut(NOW + 90, "stop", WORDING)
    found = header(second)
    assert (found.number, found.previous, found.begins) == (2, first.sha256, "")
    assert (found.from_, found.because, found.entries) == (header(first).to, "stop", 0)
    journal.manifests.stored(second, NOW + 91)
    chain = journal.manifests.chain()
    assert chain is not None
    assert (chain.number, chain.sha256) == (2, second.sha256)
    assert (chain.until_at, chain.stored_at) == (NOW + 90, NOW + 91)


def test_a_clock_that_was_set_back_does_not_turn_a_manifest_round(journal: Journal) -> None:
    begin(journal)
    found = header(journal.manifests.cut(NOW - 500, "interval", WORDING))
    assert found.from_ == found.to


def test_what_waits_is_the_same_bytes_after_a_restart(journal: Journal) -> None:
    begin(journal)
    add(journal, 1, *VERIFIED)
    manifest = journal.manifests.cut(NOW, "interval", WORDING)
    begin(journal, epoch="E2")
    assert journal.manifests.waiting() == manifest
    assert journal.manifests.pending() == 0


@pytest.mark.parametrize("state", [State.GONE, State.SUPERSEDED, State.PARKED])
def test_a_loss_is_told_with_its_reason(journal: Journal, state: State) -> None:
    begin(journal)
    row = add(journal, 1, *WAYS[state])
    at = "1970-01-01T00:16:40.000Z" if row.finished_at else "1970-01-01T00:17:40.000Z"
    (entry,) = told(journal)
    assert isinstance(entry, LossEntry)
    assert (entry.loss, entry.code, entry.at) == (state.lower(), row.code, at)
    assert (entry.key, entry.detail) == (row.key, row.detail)
    assert told(journal) == []


@pytest.mark.parametrize("state", [State.READY, State.UPLOADING, State.UPLOADED, State.DUPLICATE])
def test_what_is_on_its_way_or_a_copy_is_no_entry(journal: Journal, state: State) -> None:
    begin(journal)
    add(journal, 1, *WAYS[state])
    assert told(journal) == []


VANISHED = SourceVanished(NOW)
PARKED = Rejected("SourceUnreadable", "EACCES")
COPY = DuplicateFound("logs/original", NOW)
UNFOUND = (INTENDED, STORED, Rejected("ObjectMissing", ""))
AGAIN: tuple[tuple[tuple[Event, ...], tuple[Event, ...], list[str]], ...] = (
    (VERIFIED, (SourceDisposed(NOW),), []),
    ((*VERIFIED, SourceDisposed(NOW)), (RemovalWanted(NOW), ObjectChecked(NOW)), []),
    (VERIFIED, (AttemptFailed("SlowDown", "", NOW), Rejected("RemoveDenied", "")), []),
    (VERIFIED, (CheckFailed("", NOW), *VERIFIED), ["object"]),
    ((VANISHED,), (LossAcknowledged(),), []),
    ((VANISHED,), (Retried(NOW), COPY), ["duplicate"]),
    ((PARKED,), (Retried(NOW), COPY), ["duplicate"]),
    ((PARKED,), (Retried(NOW), Rejected("KeyTaken", "")), ["parked"]),
    ((PARKED,), (Retried(NOW), Rejected("SourceUnreadable", "", "logs/other")), ["parked"]),
    (UNFOUND, (CheckRetried(NOW), CheckFailed("", NOW), COPY), ["duplicate"]),
    ((VANISHED,), (Retried(NOW), VANISHED), []),
    ((VANISHED,), (Retried(NOW), *VERIFIED), ["object"]),
    ((PARKED,), (Retried(NOW), PARKED), []),
    ((PARKED,), (Retried(NOW), *VERIFIED), ["object"]),
    ((INTENDED, STORED, Rejected("ObjectMissing", "")), (CheckRetried(NOW),), []),
)


@pytest.mark.parametrize(("before", "after", "again"), AGAIN)
def test_each_thing_is_told_once(
    journal: Journal, before: tuple[Event, ...], after: tuple[Event, ...], again: list[str]
) -> None:
    begin(journal)
    row = add(journal, 1, *before)
    assert len(told(journal)) == 1
    for event in after:
        row = journal.record(row, event)
    kinds = [one.loss if isinstance(one, LossEntry) else "object" for one in told(journal)]
    assert kinds == again
    assert told(journal) == []


@pytest.mark.parametrize("loss", [VANISHED, PARKED])
def test_a_loss_that_is_none_before_it_is_told_is_told_by_nobody(
    journal: Journal, loss: Event
) -> None:
    begin(journal)
    row = add(journal, 1, loss)
    (row,) = journal.bring_back(NOW, row.id)
    assert told(journal) == []
    journal.record(row, COPY)
    assert told(journal) == []


def test_a_loss_that_is_known_before_it_is_told_has_its_reason(journal: Journal) -> None:
    begin(journal)
    add(journal, 1, SourceVanished(NOW, "SourceChanged", "it is another file"))
    journal.acknowledge()
    (entry,) = told(journal)
    assert isinstance(entry, LossEntry)
    assert entry.code == "LossAcknowledged"
    assert entry.detail == "SourceChanged: it is another file"


@pytest.mark.parametrize("after", [CheckFailed("", NOW), Rejected("ObjectMissing", "")])
def test_an_object_in_another_bucket_whose_row_moves_on_is_counted(
    journal: Journal, after: Event
) -> None:
    begin(journal)
    add(journal, 1, *VERIFIED, SourceDisposed(NOW))
    journal.assign({WatchName("app"): "b"})
    (row,) = journal._database.shipments(sql.SELECT_ONE, 1)
    row = journal.record(row, RemovalWanted(NOW))
    assert row.destination == "b"
    journal.record(row, after)
    chain = journal.manifests.chain()
    assert chain is not None
    assert chain.gap == 1
    assert journal.manifests.pending() == 0


def test_an_object_that_was_missed_before_it_was_told_is_told_once(journal: Journal) -> None:
    begin(journal)
    row = add(journal, 1, *VERIFIED)
    row = journal.record(row, CheckFailed("", NOW, new_key="logs/other"))
    assert journal.manifests.pending() == 0
    journal.record(row, *VERIFIED)
    (entry,) = told(journal)
    assert isinstance(entry, ObjectEntry)
    assert entry.key == "logs/other"


def test_an_object_whose_file_stays_is_no_loss(journal: Journal) -> None:
    begin(journal)
    row = add(journal, 1, *VERIFIED)
    row = journal.record(row, Rejected("RemoveDenied", ""))
    (entry,) = told(journal)
    assert isinstance(entry, ObjectEntry)
    journal.record(row, CheckRetried(NOW), Rejected("ObjectMissing", ""))
    (entry,) = told(journal)
    assert isinstance(entry, LossEntry)


def test_of_a_copy_that_goes_on_the_range_of_its_content_is_told(journal: Journal) -> None:
    begin(journal)
    rest = RestFound("k", 100, 150, "file", ObjectKey("logs/rest"), Compression.ZSTD)
    add(journal, 1, rest, *VERIFIED)
    (entry,) = told(journal)
    assert isinstance(entry, ObjectEntry)
    assert (entry.raw_start, entry.raw_end, entry.key) == (100, 150, "logs/rest")


def test_odd_names_and_inodes_are_told_as_they_are(journal: Journal) -> None:
    begin(journal)
    one = promise(1)
    odd = replace(
        one,
        path=RelativePath(b'a"\\\xff\n.1'),
        file_id=FileId(2**64 - 3, one.file_id.head_length, "h", 'x"\n'),
        sealed_because='because "\u00e9"',
    )
    journal.record(journal.promise([odd], now=NOW)[0], *VERIFIED)
    (entry,) = told(journal)
    assert isinstance(entry, ObjectEntry)
    assert entry.path == "/var/log/app/a%22%5C%FF%0A.1"
    assert (entry.inode, entry.generation) == (2**64 - 3, 'x"\n')
    assert entry.sealed == 'because "\u00e9"'


def test_of_a_watch_that_was_removed_the_path_below_it_is_told(journal: Journal) -> None:
    begin(journal)
    row = add(journal, 1, *VERIFIED)
    nobody = replace(WORDING, directories={})
    entry = read(journal.manifests.cut(NOW, "interval", nobody))[1]
    assert isinstance(entry, ObjectEntry)
    assert entry.path == row.path.decode()


def test_what_does_not_fit_goes_into_the_next(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_manifests, "MOST_ENTRIES", 2)
    begin(journal)
    keys = [add(journal, number, *VERIFIED).key for number in range(5)]
    found, reasons = list[str](), list[str]()
    for _ in range(3):
        manifest = journal.manifests.cut(NOW, "drain", WORDING)
        journal.manifests.stored(manifest, NOW)
        reasons.append(header(manifest).because)
        found += [one.key for one in read(manifest)[1:] if isinstance(one, ObjectEntry)]
    assert found == keys
    assert reasons == ["full", "full", "drain"]


def test_long_entries_make_a_shorter_manifest(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_manifests, "MOST_BYTES", 1)
    begin(journal)
    add(journal, 1, *VERIFIED)
    add(journal, 2, *VERIFIED)
    assert [len(told(journal)) for _ in range(3)] == [1, 1, 0]


def test_each_destination_has_a_chain_of_its_own(journal: Journal) -> None:
    other = journal.of("audit").manifests
    (row,) = journal.promise([replace(promise(1), destination="audit")], now=NOW)
    both = {"": beginning(), "audit": beginning(to="s3://audit/")}
    journal.manifests.begin(both, WORDING, both)
    add(journal, 2, *VERIFIED)
    journal.record(row, *VERIFIED)
    assert (journal.manifests.pending(), other.pending()) == (1, 1)
    mine, its = (one.cut(NOW, "interval", WORDING) for one in (journal.manifests, other))
    assert header(its).destination == "s3://audit/"
    assert [one.key for one in read(its)[1:]] == [row.key]  # type: ignore[union-attr]
    other.stored(its, NOW)
    assert journal.manifests.waiting() == mine
    assert other.waiting() is None


# How an epoch begins.


def beginnings(journal: Journal, **how: Any) -> list[tuple[str, str]]:
    found = journal.manifests.begin({"": beginning(**how)}, WORDING, [""])
    return [(chain.begins, chain.before) for _, chain in found]


def test_an_epoch_goes_on_across_restarts(journal: Journal) -> None:
    journal.manifests.journal_begins("first start", 0.0)
    assert beginnings(journal) == [("first start", "")]
    assert beginnings(journal, epoch="E2") == []


def test_a_destination_that_comes_later_is_new(journal: Journal) -> None:
    journal.manifests.journal_begins("first start", 0.0)
    begin(journal)
    both = {"": beginning(), "late": beginning(to="s3://late/")}
    ((_, chain),) = journal.manifests.begin(both, WORDING, both)
    assert chain.begins == "the destination is new"


def test_a_destination_that_the_journal_began_with_says_how_that_was(journal: Journal) -> None:
    journal.manifests.journal_begins("the journal was lost", 0.0)
    late = {"late": beginning(to="s3://late/")}
    journal.manifests.begin({"": beginning()}, WORDING, ["", "late"])
    ((_, chain),) = journal.manifests.begin(late, WORDING, ["", "late"])
    assert chain.begins == "the journal was lost"


UNREADABLE = ["not JSON", "[]", "{}", '{"number": 7}']


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_chain_that_cannot_be_read_is_lost(journal: Journal, text: str) -> None:
    begin(journal)
    row = add(journal, 1, *VERIFIED)
    journal._database.query("UPDATE meta SET value = ? WHERE name = 'chain of '", text)
    journal.manifests.journal_begins("the journal was lost", 0.0)
    assert beginnings(journal, epoch="E2") == [("the journal was lost", "")]
    assert [one.key for one in told(journal)] == [row.key]  # type: ignore[union-attr]


def test_a_chain_whose_number_is_none_is_lost() -> None:
    text = json.dumps(asdict(another_epoch(None, beginning(), "")) | {"number": "7"})
    assert chain_from(text) == NO_CHAIN


def test_what_a_later_version_notes_of_a_chain_is_left_out(journal: Journal) -> None:
    begin(journal)
    before = journal.manifests.chain()
    change = "UPDATE meta SET value = json_set(value, '$.later', 1) WHERE name = 'chain of '"
    journal._database.query(change)
    assert journal.manifests.chain() == before
    assert beginnings(journal, epoch="E2") == []


def renamed(journal: Journal, to: str = BUCKET) -> list[str]:
    """How the chain begins that the destination has as ``cold``; it was ``second`` before."""
    second = journal.of("second").manifests
    second.begin({"second": beginning()}, WORDING, ["second"])
    rows = journal.promise([replace(promise(n), destination="second") for n in (1, 2)], now=NOW)
    journal.record(rows[0], *VERIFIED)
    second.cut(NOW, "interval", WORDING)
    journal.record(rows[1], *VERIFIED)
    begun = second.begin({"cold": beginning(to=to, epoch="E2")}, WORDING, ["cold"])
    return [chain.begins for _, chain in begun]


def test_a_destination_that_gets_another_name_goes_on(journal: Journal) -> None:
    assert renamed(journal) == []
    cold = journal.of("cold").manifests
    manifest = cold.waiting()
    assert manifest is not None
    cold.stored(manifest, NOW)
    assert (header(manifest).epoch, header(manifest).entries) == ("E1", 1)
    assert (cold.pending(), cold.leave_out(["cold"])) == (1, {})


def test_what_was_to_be_told_of_a_removed_destination_is_counted_and_goes(
    journal: Journal,
) -> None:
    assert renamed(journal, "s3://cold/") == ["the destination is new"]
    second = journal.of("second").manifests
    assert second.leave_out(["cold"]) == {"second": 2}
    assert (second.pending(), second.waiting(), second.leave_out(["cold"])) == (0, None, {})
    chain = second.chain()
    assert chain is not None
    assert broken_off(chain, NOW) == "entries were left out"
    again = another_epoch(chain, beginning(), broken_off(chain, NOW))
    assert again.begins == "entries were left out; 2 of its entries are in no manifest"
    assert broken_off(again, NOW) == ""


def test_a_journal_that_does_not_say_how_it_began_has_new_destinations(journal: Journal) -> None:
    assert beginnings(journal) == [("the destination is new", "")]


def test_an_older_copy_of_the_journal_begins_an_epoch_with_what_it_would_have_sent(
    journal: Journal,
) -> None:
    begin(journal)
    journal.manifests.stored(journal.manifests.cut(NOW, "interval", WORDING), NOW)
    row = add(journal, 1, *VERIFIED)
    journal.manifests.cut(NOW, "interval", WORDING)
    journal.manifests.journal_begins("the journal was lost", 0.0)
    assert beginnings(journal, epoch="E2") == [("the journal was lost", "E1")]
    found = header(journal.manifests.waiting())
    assert (found.number, found.previous, found.before) == (1, "", "E1")
    assert [one.key for one in read(journal.manifests.waiting())[1:]] == [row.key]  # type: ignore[union-attr]


def test_a_clone_begins_an_epoch_and_leaves_what_the_other_machine_did_to_it(
    journal: Journal,
) -> None:
    journal.origin.adopt("i-1")
    begin(journal)
    add(journal, 1, *VERIFIED)
    journal.manifests.cut(NOW, "interval", WORDING)
    add(journal, 2, *VERIFIED)
    assert journal.origin.adopt("i-2")
    said = "the instance was i-1; 2 of its entries are in no manifest"
    assert beginnings(journal, instance="i-2", epoch="E2") == [(said, "")]
    assert journal.manifests.waiting() is None
    assert told(journal) == []


def test_another_bucket_begins_an_epoch_that_says_how_many_entries_are_in_no_manifest(
    journal: Journal,
) -> None:
    begin(journal)
    add(journal, 1, *VERIFIED)
    add(journal, 2, VANISHED)
    journal.manifests.cut(NOW, "interval", WORDING)
    add(journal, 3, *VERIFIED)
    add(journal, 4, VANISHED)
    said = f"the destination was {BUCKET}; 3 of its entries are in no manifest"
    assert beginnings(journal, to="s3://other/", epoch="E2") == [(said, "")]
    (entry,) = told(journal)
    assert isinstance(entry, LossEntry)


def test_another_bucket_with_nothing_to_tell(journal: Journal) -> None:
    begin(journal)
    said = f"the destination was {BUCKET}; 0 of its entries are in no manifest"
    assert beginnings(journal, to="s3://other/", epoch="E2") == [(said, "")]


@pytest.mark.parametrize("other", [{"to": "s3://other/"}, {"instance": "i-2"}])
def test_an_older_copy_tells_nothing_of_another_place_or_machine(
    journal: Journal, other: dict[str, str]
) -> None:
    begin(journal)
    add(journal, 1, *VERIFIED)
    journal.manifests.cut(NOW, "interval", WORDING)
    journal.manifests.journal_begins("the journal was lost", 0.0)
    said = "the journal was lost; 1 of its entries are in no manifest"
    assert beginnings(journal, epoch="E2", **other) == [(said, "")]
    assert journal.manifests.waiting() is None


def test_where_another_object_has_the_number_an_epoch_begins_with_the_same_entries(
    journal: Journal,
) -> None:
    begin(journal)
    row = add(journal, 1, *VERIFIED)
    refused = journal.manifests.cut(NOW, "drain", WORDING)
    journal.manifests.restart(beginning(epoch="E2"), "another object was there", WORDING)
    manifest = journal.manifests.waiting()
    found = header(manifest)
    assert (found.epoch, found.begins, found.before) == ("E2", "another object was there", "")
    assert (found.because, found.entries) == ("drain", 1)
    assert read(manifest)[1:] == read(refused)[1:]
    assert read(manifest)[1].key == row.key  # type: ignore[union-attr]


# What the journal keeps for manifests.


def test_what_no_manifest_has_told_for_as_long_as_rows_are_kept_is_counted(
    journal: Journal,
) -> None:
    begin(journal)
    add(journal, 1, VANISHED, LossAcknowledged())
    add(journal, 2, *WAYS[State.DONE])
    assert journal.forget(WatchName("app"), {}, finished_before=NOW + 4) == 1
    chain = journal.manifests.chain()
    assert chain is not None
    assert chain.gap == 1
    assert len(told(journal)) == 1


def off(journal: Journal, now: float = NOW) -> None:
    journal.manifests.switch_off(now)


def on(journal: Journal) -> None:
    """As another process does."""
    journal._database.enters = True


def test_while_manifests_are_off_nothing_is_noted_and_later_all_of_it_is_told(
    journal: Journal,
) -> None:
    begin(journal)
    add(journal, 1, *VERIFIED, SourceDisposed(NOW))
    told(journal)
    before = add(journal, 2, *VERIFIED, SourceDisposed(NOW))
    late = 3 * 86_400.0
    off(journal, late)
    off(journal, late + 500)
    sent = replace(STORED, last_sent_at=late + 5)
    keys = [add(journal, 3, INTENDED, sent, ObjectChecked(NOW)).key]
    keys.append(add(journal, 4, SourceVanished(late + 9)).key)
    keys.append(add(journal, 5, PARKED).key)
    assert journal.manifests.pending() == 1
    on(journal)
    assert beginnings(journal, epoch="E2") == [("manifests were off", "E1")]
    found = told(journal, late + 60)
    assert [one.key for one in found] == [before.key, *keys]  # type: ignore[union-attr]
    assert beginnings(journal, epoch="E3") == []


def test_a_destination_that_is_new_when_manifests_are_switched_on(journal: Journal) -> None:
    journal.manifests.journal_begins("first start", 0.0)
    off(journal)
    on(journal)
    assert beginnings(journal) == [("manifests were off", "")]


def test_the_key_of_a_manifest_is_that_of_its_header() -> None:
    name = name_from_key("logs/_manifests/instance=i-1/epoch=E1/00000001.jsonl.zst")
    assert name is not None
    assert (name.prefix, name.number) == ("logs/", 1)


def test_a_copy_that_is_settled_is_no_entry(journal: Journal) -> None:
    begin(journal)
    add(journal, 1, DuplicateFound("logs/other", NOW))
    assert journal.manifests.pending() == 0
