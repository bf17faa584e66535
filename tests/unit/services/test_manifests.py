"""When manifests are written, and what becomes of one that S3 does not take."""

import hashlib
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from shipper.core.lifecycle import ObjectChecked, ObjectStored, SourceDisposed, SourceVanished
from shipper.core.manifests import (
    AHEAD_SECONDS,
    Header,
    Line,
    LossEntry,
    ObjectEntry,
    instant,
    lines_of,
    name_from_key,
)
from shipper.core.termination import Drain, Notice, Reason
from shipper.core.types import Compression, ETag, ObjectKey, StoredObject, WatchName
from shipper.edges.encoder import FrameEncoder
from shipper.journal import manifests as journal_manifests
from shipper.journal.manifests import Wording
from shipper.ports import PortError
from shipper.services.bugs import Bugs
from shipper.services.manifests import ANSWER_SECONDS, ILL_SECONDS, SHIP, ManifestWriter, Target
from tests.fakes.clock import FakeClock
from tests.fakes.examples import promise
from tests.fakes.log import RecordingLog
from tests.fakes.store import FakeStore
from tests.machines.world import Crash, Fuse, FusedDatabase, FusedJournal

HOUR = 3600.0
DENIED = PortError("AccessDenied", "no policy allows it", "ask", status=403)


class Host:
    """A machine whose journal ships, and whose manifests go into a bucket."""

    def __init__(self, path: Path, **store: Any) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = str(path / "journal.db")
        self.clock, self.log, self.store = FakeClock(), RecordingLog(), FakeStore(**store)
        self.draining: Drain | None = None
        self.is_shut = False
        self.refreshes = 0
        self.instance = "i-1"
        self.address = "s3://bucket/logs/"
        self.names = ["", "audit"]
        self.numbers = itertools.count(1)
        self.seeds = itertools.count(1)
        self.start()

    def start(self, effect: Callable[[str], None] = lambda name: None) -> None:
        database = FusedDatabase.open(self.path, now=self.clock.now(), set_aside=None)
        database._connection.execute("PRAGMA synchronous = OFF")
        self.journal = FusedJournal(database)
        if not self.journal.origin.starts():
            self.journal.manifests.journal_begins("first start", 0.0)
            self.journal.origin.count_start(0)
        self.journal.effect = self.store.effect = effect
        encoder = FrameEncoder()
        self.writer = ManifestWriter(
            journal=self.journal,
            interval_seconds=HOUR,
            instance_id=lambda: self.instance,
            wording=Wording(
                "1.0", "c" * 64, HOUR, {}, lambda raw: encoder.frame(raw, Compression.ZSTD, 3)
            ),
            encoder=encoder,
            drain=lambda: self.draining,
            clock=self.clock,
            rng=Random(next(self.seeds)),
            bugs=Bugs(self.log, str),
            names=self.names,
            log=self.log,
        )
        self.writer.add(self.target())

    def target(self, name: str = "", prefix: str = "logs/", **other: Any) -> Target:
        def refreshed() -> None:
            self.refreshes += 1

        own: dict[str, Any] = {
            "name": name,
            "prefix": prefix,
            "address": self.address,
            "journal": self.journal.of(name),
            "store": self.store,
            "is_shut": lambda: self.is_shut,
            "refresh_now": refreshed,
            "log": self.log,
        }
        return Target(**own | other)

    def restart(self, effect: Callable[[str], None] = lambda name: None) -> None:
        self.journal.effect = self.store.effect = lambda name: None
        self.journal.close()
        self.start(effect)

    def ship(self, destination: str = "") -> str:
        """Have one more object verified; its key."""
        one = replace(promise(next(self.numbers)), destination=destination)
        (row,) = self.journal.promise([one], now=self.clock.now())
        stored = ObjectStored(ETag("e"), 9, "sha", "", self.clock.now())
        self.journal.record(row, stored, ObjectChecked(1.0), SourceDisposed(self.clock.now()))
        return row.key

    def lose(self) -> str:
        (row,) = self.journal.promise([promise(next(self.numbers))], now=self.clock.now())
        self.journal.record(row, SourceVanished(self.clock.now()))
        return row.key

    def run(self, hours: float = 1.0) -> None:
        """Let the loop run for so long, as it does: at least twice a minute."""
        until = self.clock.monotonic() + hours * HOUR
        while self.clock.monotonic() < until:
            wait = min(max(self.writer.step(), 1.0), 30.0)
            self.clock.advance(seconds=wait)

    def manifests(self, instance: str = "") -> list[list[Line]]:
        """What is in the bucket, each chain in its order, those that began first first."""
        found = []
        for key, body in self.store.objects().items():
            name = name_from_key(key)
            if name is not None and instance in ("", name.instance):
                reader = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
                found.append(
                    ((name.epoch, name.number), [*lines_of(reader.read().splitlines(True))])
                )
        return [lines for _, lines in sorted(found, key=lambda one: one[0])]

    def headers(self) -> list[Header]:
        return [one[0] for one in self.manifests() if isinstance(one[0], Header)]

    def told(self) -> list[str]:
        """The keys of all entries."""
        return [
            one.key
            for lines in self.manifests()
            for one in lines[1:]
            if isinstance(one, ObjectEntry | LossEntry)
        ]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def drain(host: Host, seconds: float = 120.0) -> Drain:
    now = host.clock.boottime()
    return Drain(Notice(Reason.SPOT, "spot"), now, now + seconds, True, None)


def test_a_manifest_an_interval_tells_of_all_that_was_shipped(host: Host) -> None:
    keys = [host.ship(), host.lose()]
    host.run(hours=1)
    keys.append(host.ship())
    host.run(hours=2)
    assert host.told() == keys
    assert [one.number for one in host.headers()] == [1, 2, 3]
    assert [one.because for one in host.headers()] == ["interval"] * 3
    assert len(host.log.of("manifest.stored")) == 3


def test_silence_is_told_too(host: Host) -> None:
    host.run(hours=4)
    assert [one.entries for one in host.headers()] == [0, 0, 0, 0]
    befores = [one.from_ for one in host.headers()[1:]]
    assert befores == [one.to for one in host.headers()[:-1]]


def test_machines_that_start_together_do_not_write_together(tmp_path: Path) -> None:
    firsts = set()
    for number in range(8):
        host = Host(tmp_path / str(number))
        host.writer.rng = Random(number)
        host.writer.step()
        firsts.add(round(host.writer.states()[0].due_by - host.clock.boottime()))
    assert len(firsts) > 6
    assert max(firsts) <= HOUR


@pytest.mark.parametrize("jump", [-10 * 86_400.0, 10 * 86_400.0])
def test_a_clock_that_jumps_costs_no_manifest_and_brings_none(host: Host, jump: float) -> None:
    host.run(hours=1)
    host.clock.set_wall(host.clock.now() + jump)
    host.run(hours=3)
    assert len(host.headers()) == 4


def test_a_start_after_a_clock_was_set_back_waits_for_an_interval_at_most(host: Host) -> None:
    host.run(hours=1)
    host.clock.set_wall(host.clock.now() - 10 * 86_400.0)
    host.restart()
    host.run(hours=1.1)
    assert len(host.headers()) == 2


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_clock_that_was_ahead_begins_an_epoch(host: Host, *, has_manifest: bool) -> None:
    """Else all later manifests would tell of one moment, and silence would not be seen."""
    host.clock.set_wall(host.clock.now() + 365 * 86_400.0)
    host.writer.step()
    host.run(hours=has_manifest * 1.1)
    before = [one.epoch for one in host.headers()]
    host.clock.set_wall(host.clock.now() - 365 * 86_400.0)
    host.run(hours=2)
    one, other = [one for one in host.headers() if one.epoch not in before]
    assert (one.number, one.begins) == (1, "the clock was ahead")
    assert one.before == "".join(before)
    assert one.from_ <= one.to == other.from_ < other.to <= instant(host.clock.now())


def test_a_clock_that_was_set_back_a_little_begins_no_epoch(host: Host) -> None:
    host.run(hours=1)
    host.clock.set_wall(host.clock.now() - HOUR - AHEAD_SECONDS / 2)
    host.run(hours=1)
    one, other = host.headers()
    assert (one.epoch, other.from_, other.to) == (other.epoch, one.to, one.to)


def test_what_is_left_of_a_removed_destination_is_said_once_all_others_are_known(
    host: Host,
) -> None:
    host.writer.step()
    host.ship("removed")
    host.names = ["", "audit"]
    host.restart()
    host.writer.step()
    assert host.log.of("manifest.left_out") == []
    host.writer.add(host.target("audit", "audit/", store=FakeStore()))
    host.writer.step()
    (event,) = host.log.of("manifest.left_out")
    assert (event["destination"], event["entries"]) == ("removed", 1)


def test_a_bug_at_the_beginning_is_contained(host: Host) -> None:
    host.instance = 7  # type: ignore[assignment]
    assert host.writer.step() == 30.0
    host.writer.finish(float("inf"))
    host.instance = "i-1"
    host.run(hours=1)
    assert len(host.headers()) == 1


def test_a_start_that_is_late_for_a_manifest_writes_within_a_minute(host: Host) -> None:
    host.run(hours=1)
    host.clock.advance(hours=10)
    host.restart()
    host.run(hours=0.02)
    assert len(host.headers()) == 2


def test_a_stop_writes_the_last_manifest(host: Host) -> None:
    key = host.ship()
    host.writer.finish(host.clock.monotonic() + 5)
    assert host.told() == [key]
    assert host.headers()[0].because == "stop"


def test_a_round_writes_one_that_has_entries_or_is_due(host: Host) -> None:
    def rounds(*minutes: int) -> list[int]:
        for minute in minutes:
            host.clock.advance(seconds=60 * minute)
            host.restart()
            host.writer.finish(float("inf"), SHIP)
        assert {one.because for one in host.headers()} <= {"ship"}
        return [one.entries for one in host.headers()]

    assert rounds(1, 1) == []
    host.ship()
    assert rounds(1, 1, 1) == [1]
    assert rounds(60, 1) == [1, 0]
    host.clock.set_wall(host.clock.now() - 30 * 86_400.0)
    assert len(rounds(0, 1)) == 3


def test_a_stop_first_sends_what_waits(host: Host) -> None:
    host.ship()
    host.store.outage = PortError("Unreachable")
    host.run(hours=1)
    host.store.outage = None
    host.ship()
    host.writer.finish(float("inf"))
    assert [one.because for one in host.headers()] == ["interval", "stop"]


def test_what_a_stop_could_not_send_is_sent_after_the_next_start(host: Host) -> None:
    key = host.ship()
    host.store.outage = PortError("Unreachable")
    host.writer.finish(float("inf"))
    assert host.manifests() == []
    host.store.outage = None
    host.restart()
    host.run(hours=0.01)
    assert host.told() == [key]
    assert [one.because for one in host.headers()] == ["stop"]


def test_at_a_shut_gate_the_last_manifest_is_made_and_not_sent(host: Host) -> None:
    host.is_shut = True
    host.writer.finish(float("inf"))
    assert host.store.operations() == []
    assert host.journal.manifests.waiting() is not None


def test_an_answer_that_does_not_come_holds_up_no_stop(host: Host) -> None:
    class Silent(FakeStore):
        def put(self, *args: Any, **kwargs: Any) -> Future[StoredObject]:
            return Future()

    host.restart()
    host.writer._new[:] = [host.target(store=Silent())]
    host.writer.finish(host.clock.monotonic() + 0.01)
    state = host.writer.states()[0]
    assert state.problem is not None
    assert state.problem.code == "Timeout"
    assert host.journal.manifests.waiting() is not None


def test_a_drain_ends_with_a_manifest(host: Host) -> None:
    host.writer.step()
    host.draining = drain(host)
    host.writer.step()
    key = host.ship()
    host.run(hours=0.01)
    assert host.manifests() == []
    host.draining = None
    host.run(hours=0.01)
    assert host.told() == [key]
    assert [one.because for one in host.headers()] == ["drain"]


def test_a_drain_that_lasts_has_its_manifest_shortly_before_its_end(host: Host) -> None:
    host.writer.step()
    host.draining = drain(host, seconds=100)
    host.run(hours=0.02)
    assert host.headers() == []
    host.run(hours=0.02)
    assert [one.because for one in host.headers()] == ["drain"]
    host.draining = None
    host.run(hours=0.01)
    assert len(host.headers()) == 1


def test_what_does_not_fit_follows_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_manifests, "MOST_ENTRIES", 2)
    host.writer.step()
    keys = [host.ship() for _ in range(5)]
    host.clock.advance(hours=1)
    for _ in range(3):
        assert host.writer.step() <= 1.0
    assert host.told() == keys
    assert [one.because for one in host.headers()] == ["full", "full", "interval"]


def test_a_stop_writes_all_that_does_not_fit_into_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_manifests, "MOST_ENTRIES", 2)
    keys = [host.ship() for _ in range(5)]
    host.writer.finish(float("inf"))
    assert host.told() == keys
    assert [one.because for one in host.headers()] == ["full", "full", "stop"]


# What S3 does not take.


def test_a_policy_that_forbids_it_is_said_and_stops_nothing_else(host: Host) -> None:
    key = host.ship()
    host.store.outage = DENIED
    host.run(hours=3)
    (state,) = host.writer.states()
    assert state.problem is DENIED
    assert not state.is_ill(host.clock.now())
    assert [event["code"] for event in host.log.of("manifest.failed")] == ["AccessDenied"]
    assert 10 < host.store.operations().count("PutObject") < 100
    host.store.outage = None
    host.run(hours=0.1)
    assert host.told() == [key]
    assert host.writer.states()[0].problem is None


def test_what_fails_for_a_day_is_an_ailment(host: Host) -> None:
    host.store.outage = DENIED
    host.run(hours=1)
    host.clock.advance(seconds=ILL_SECONDS)
    assert host.writer.states()[0].is_ill(host.clock.now())


def test_another_code_is_said_again(host: Host) -> None:
    host.store.fail_next("PutObject", DENIED)
    host.store.fail_next("PutObject", PortError("SlowDown", status=503))
    host.run(hours=2)
    said = [event["code"] for event in host.log.of("manifest.failed")]
    assert said == ["AccessDenied", "SlowDown"]


def test_credentials_that_are_refused_are_refreshed(host: Host) -> None:
    host.store.fail_next("PutObject", PortError("ExpiredToken", status=400))
    host.run(hours=1.2)
    assert host.refreshes == 1
    assert len(host.headers()) == 1


def test_at_a_shut_gate_nothing_is_sent(host: Host) -> None:
    host.is_shut = True
    host.run(hours=2)
    assert host.store.operations() == []
    host.is_shut = False
    host.run(hours=0.01)
    assert [one.number for one in host.headers()] == [1, 2]


def test_a_journal_that_cannot_be_written_is_tried_again(host: Host) -> None:
    def full(name: str) -> None:
        raise PortError("JournalUnwritable", "disk full")

    host.restart(full)
    assert host.writer.step() == 30.0
    host.writer.finish(float("inf"))
    assert host.writer.states() == []
    host.journal.effect = host.store.effect = lambda name: None
    host.run(hours=1)
    host.journal.effect = full
    host.run(hours=1)
    host.journal.effect = lambda name: None
    host.run(hours=0.1)
    assert len(host.headers()) == 2


def test_a_bug_is_contained(host: Host) -> None:
    host.writer.step()
    host.writer.wording = replace(host.writer.wording, frame=lambda raw: 1 // 0)  # type: ignore[arg-type, return-value]
    host.run(hours=1.1)
    (state,) = host.writer.states()
    assert state.problem is not None
    assert state.problem.code == "Bug"


# Lost answers, and keys that are taken.


@pytest.mark.parametrize("etag_is_md5", [True, False])
@pytest.mark.parametrize("conditional", [True, False])
def test_an_answer_that_was_lost_is_found_again(
    tmp_path: Path, *, etag_is_md5: bool, conditional: bool
) -> None:
    host = Host(tmp_path, etag_is_md5=etag_is_md5, conditional_writes=conditional)
    key = host.ship()
    host.store.fail_next("PutObject", PortError("Timeout"), after_effect=True)
    host.run(hours=1.2)
    assert host.told() == [key]
    assert host.log.of("manifest.taken") == []
    assert host.store.operations().count("PutObject") == (2 if conditional else 1)


def taken(host: Host, body: bytes) -> str:
    """Put another object where the next manifest is to be; its key."""
    host.writer.step()
    chain = host.journal.manifests.chain()
    assert chain is not None
    key = f"logs/_manifests/instance=i-1/epoch={chain.epoch}/{chain.number + 1:08}.jsonl.zst"
    host.store.place(key, body)
    return key


@pytest.mark.parametrize("conditional", [True, False])
def test_another_object_under_the_next_number_begins_an_epoch_and_loses_nothing(
    tmp_path: Path, *, conditional: bool
) -> None:
    host = Host(tmp_path, conditional_writes=conditional)
    key, at = host.ship(), taken(host, b"another machine's")
    host.run(hours=1.1)
    assert host.store.objects()[at] == b"another machine's"
    host.store.remove(at)
    (found,) = host.headers()
    assert (found.number, found.begins) == (1, "another object was under the next number")
    assert host.told() == [key]
    (event,) = host.log.of("manifest.taken")
    assert event["key"] == at
    assert "copy" in event["hint"]


@pytest.mark.parametrize("told", [{}, {"etags_are_md5": "nonsense"}])
def test_where_nothing_tells_what_etags_are_the_size_decides(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    class Undeclared(FakeStore):
        def encryption(self, watch: WatchName) -> str:
            return ""

    host = Host(tmp_path)
    host.store = Undeclared(etag_is_md5=False)
    host.restart()
    host.journal.origin.remember_answers(told)
    host.store.fail_next("PutObject", PortError("Timeout"), after_effect=True)
    host.run(hours=1.2)
    assert len(host.headers()) == 1
    assert host.log.of("manifest.taken") == []


def test_another_life_s_manifest_of_the_same_length_is_none_of_ours(tmp_path: Path) -> None:
    """Where ETags tell nothing, as with SSE-KMS, and a disk is put back to a snapshot."""

    class Encrypted(FakeStore):
        def encryption(self, watch: WatchName) -> str:
            return "aws:kms"

    host = Host(tmp_path)
    host.store = Encrypted(etag_is_md5=False)
    host.restart()
    key, at = host.ship(), taken(host, b"")
    waiting = host.journal.manifests.cut(host.clock.now(), "interval", host.writer.wording)
    host.store.place(at, b"x" * len(waiting.body))
    host.run(hours=1.1)
    assert len(host.log.of("manifest.taken")) == 1
    host.store.remove(at)
    assert host.told() == [key]


def test_an_object_that_is_there_and_not_listed_is_asked_for_again(host: Host) -> None:
    host.store.fail_next("PutObject", PortError("PreconditionFailed", status=412))
    host.run(hours=1.2)
    assert len(host.headers()) == 1
    assert host.log.of("manifest.taken") == []


# Epochs.


def test_a_clone_begins_an_epoch_with_what_it_shipped_itself(host: Host) -> None:
    host.journal.origin.adopt("i-1")
    first = host.ship()
    host.run(hours=1)
    host.ship()
    host.instance = "i-2"
    host.journal.origin.adopt("i-2")
    host.restart()
    mine = host.ship()
    host.run(hours=1)
    one, other = host.headers()
    assert host.told() == [first, mine]
    assert (other.instance, other.before, other.number) == ("i-2", one.epoch, 1)
    assert other.begins == "the instance was i-1; 1 of its entries are in no manifest"
    assert len(host.log.of("epoch.begun")) == 2


def test_each_destination_has_a_chain_and_none_waits_for_another(host: Host) -> None:
    other = FakeStore()
    host.restart()
    host.writer.add(host.target("audit", "audit/", store=other))
    host.store.outage = DENIED
    mine, its = host.ship(), host.ship("audit")
    host.run(hours=1.1)
    assert {one.startswith("audit/_manifests/") for one in other.objects()} == {True}
    assert host.manifests() == []
    host.store.outage = None
    host.run(hours=1)
    assert host.told() == [mine]
    host.store = other
    assert host.told() == [its]


def test_an_epoch_begins_only_once(host: Host) -> None:
    host.run(hours=1)
    for _ in range(3):
        host.restart()
        host.run(hours=1)
    assert len({one.epoch for one in host.headers()}) == 1
    assert [one.number for one in host.headers()] == [1, 2, 3, 4]


def test_whatever_the_crash_point_each_thing_is_told_once_in_one_chain(tmp_path: Path) -> None:
    """Dying before or after any effect of journal or bucket leaves no gap and no double."""
    for n in itertools.count(1):
        host = Host(tmp_path / str(n))
        fuse = Fuse(at=n)
        keys = [host.ship()]
        host.restart(fuse)
        try:
            host.run(hours=1)
            keys += [host.ship(), host.lose()]
            host.run(hours=1)
            host.writer.finish(float("inf"))
        except Crash:
            pass
        host.restart()
        left = host.journal.manifests.pending()
        host.run(hours=1.1)
        host.writer.finish(float("inf"))
        rows = [host.journal.shipment(number) for number in range(1, 4)]
        listed = [row.key for row in rows if row is not None and row.listed]
        assert host.told() == listed, fuse.burnt_at
        assert [*keys] == listed[: len(keys)], (fuse.burnt_at, left)
        headers, previous = host.headers(), ""
        for number, (found, key) in enumerate(
            zip(headers, sorted(host.store.objects()), strict=True), 1
        ):
            assert (found.number, found.previous) == (number, previous), fuse.burnt_at
            previous = _sha256(host.store.objects()[key])
        assert len({one.epoch for one in headers}) == 1
        if not fuse.burnt_at:
            assert n > 15
            return


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# A destination that does not answer.


class Silent(FakeStore):
    """Takes writes, and never answers."""

    def put(self, key: ObjectKey, *args: Any, **kwargs: Any) -> Future[StoredObject]:
        super().put(key, *args, **kwargs)
        return Future()


def beside_a_silent_one(host: Host) -> FakeStore:
    """Let the machine have a destination that answers, ``audit``, and one that does not."""
    other = FakeStore()
    host.restart()
    host.writer._new[:] = [host.target(store=Silent())]
    host.writer.add(host.target("audit", "audit/", store=other))
    return other


def test_a_silent_destination_costs_no_other_one_its_manifests(host: Host) -> None:
    host.store = beside_a_silent_one(host)
    keys = [host.ship("audit")]
    host.run(hours=1.1)
    keys.append(host.ship("audit"))
    host.run(hours=1)
    assert host.told() == keys


def test_a_silent_destination_costs_no_other_one_its_last_manifest(host: Host) -> None:
    host.store = beside_a_silent_one(host)
    key = host.ship("audit")
    host.writer.finish(host.clock.monotonic() + 0.01)
    assert host.told() == [key]
    silent, other = host.writer.states()
    assert (silent.problem and silent.problem.code, other.problem) == ("Timeout", None)


def test_an_answer_that_comes_while_the_stop_waits_is_taken_up(host: Host) -> None:
    answer: Future[StoredObject] = Future()

    class Slow(FakeStore):
        def put(self, *args: Any, **kwargs: Any) -> Future[StoredObject]:
            stored = super().put(*args, **kwargs).result()
            threading.Timer(0.05, answer.set_result, [stored]).start()
            return answer

    host.store = Slow()
    host.restart()
    key = host.ship()
    host.writer.finish(host.clock.monotonic() + 60)
    assert host.journal.manifests.waiting() is None
    assert host.told() == [key]


@pytest.mark.parametrize("stops", [True, False])
def test_an_answer_that_comes_later_is_taken_up(host: Host, *, stops: bool) -> None:
    answer: Future[StoredObject] = Future()

    class Slow(FakeStore):
        def put(self, *args: Any, **kwargs: Any) -> Future[StoredObject]:
            super().put(*args, **kwargs)
            return answer

    host.store = Slow()
    host.restart()
    key = host.ship()
    host.run(hours=1.1)
    assert host.writer.step() == ANSWER_SECONDS
    assert host.journal.manifests.waiting() is not None
    answer.set_result(StoredObject(ETag("e"), confirmed=True))
    if stops:
        host.writer.finish(host.clock.monotonic() + 1)
    host.run(hours=0.01)
    assert host.journal.manifests.waiting() is None
    assert host.told() == [key]
    assert [one.because for one in host.headers()] == ["interval", "stop"][: 1 + stops]
