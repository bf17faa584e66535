"""What the fourth review found: each of these lost, doubled or stopped something."""

import gzip
from dataclasses import replace
from pathlib import Path

from shipper.core.lifecycle import CheckRetried
from shipper.core.types import AfterUpload, State
from shipper.ports import PortError
from tests.fakes.world import WATCH, World, random_log

DEL = replace(WATCH, after_upload=AfterUpload.DELETE, delete_after_seconds=600.0)


def test_a_log_cut_and_written_anew_to_its_first_length_ends_no_loop(tmp_path: Path) -> None:
    w = World(tmp_path, watch=DEL)
    w.files.write(b"app.log.1", random_log(1, 5000))
    w.discover()
    w.carry()
    assert w.row(b"app.log.1").state is State.VERIFIED
    w.clock.advance(seconds=60)
    w.files.append(b"app.log.1", random_log(2, 4000))
    w.discover()
    w.carry()
    w.clock.advance(seconds=60)
    w.files.write(b"app.log.1", random_log(3, 5000))
    w.discover()
    w.carry()
    w.clock.advance(minutes=15)
    w.carry()


def test_what_was_rewritten_while_its_removal_was_parked_is_not_removed(tmp_path: Path) -> None:
    w = World(tmp_path, watch=DEL)
    body = random_log(1, 20000)
    w.files.write(b"app.log.1", body)
    w.discover()
    w.carry()
    remove = w.files.remove

    def denied(*a):
        raise PortError("RemoveDenied", "x")

    w.files.remove = denied
    w.clock.advance(minutes=15)
    w.carry()
    r = w.row(b"app.log.1")
    assert r.state is State.PARKED
    new = body[:8000] + b"X" * 4000 + body[12000:]
    w.files.write(b"app.log.1", new)
    w.discover()
    w.discover()
    w.files.remove = remove
    w.journal.record(w.journal.shipment(r.id), CheckRetried(w.clock.now()))
    w.run()
    assert new in w.contents() or w.files.paths()


def test_the_clone_of_a_lost_journal_outlives_the_next_use_of_its_number(tmp_path: Path) -> None:
    w = World(tmp_path, clone_held=True)
    w.files.write(b"app.log.1", random_log(1, 20000))
    w.discover()
    assert len(w.clones.names()) == 1
    w.files.delete(b"app.log.1")
    w.lose_journal()
    assert len(w.clones.names()) == 1
    w.files.write(b"app.log.1", random_log(2, 20000))
    w.run()
    w.restart()
    assert len(w.clones.names()) == 1


def test_the_archive_of_an_equal_log_of_another_day_is_shipped(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.files.write(b"job.log.1", b"backup done\n")
    w.run()
    assert len(w.contents()) == 1
    m1 = w.row(b"job.log.1").mtime_ns
    # daemon down; two rotations with delaycompress
    w.clock.advance(hours=24)
    w.files.delete(b"job.log.1")
    w.files.write(b"job.log.3.gz", gzip.compress(b"backup done\n", mtime=0))
    w.files.touch(b"job.log.3.gz", m1)
    w.files.write(b"job.log.2.gz", gzip.compress(b"backup done\n", mtime=0))
    w.files.touch(b"job.log.2.gz", m1 + 86400 * 10**9)
    w.restart()
    w.run()
    assert len(w.contents()) == 2


def test_a_log_that_is_overwritten_while_it_is_sent_is_read_from_its_clone(tmp_path: Path) -> None:
    w = World(tmp_path, clone_held=True)
    body = random_log(1, 12 * 1024 * 1024)
    w.files.write(b"app.log.1", body)
    w.discover()
    assert len(w.clones.names()) == 1
    up = w.store.upload_part
    n = []

    def part(*a, **k):
        if not n:
            n.append(1)
            w.clock.advance(seconds=1)
            w.files.write(b"app.log.1", b"new\n")
        return up(*a, **k)

    w.store.upload_part = part
    w.run()
    assert body in w.contents()


def test_a_copy_of_a_copy_names_the_object_that_is_there(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.files.write(b"app.log.1", random_log(1, 20000))
    w.run()
    m = w.row(b"app.log.1").mtime_ns
    w.files.delete(b"app.log.1")
    w.files.write(b"app.log.1", random_log(1, 20000))
    w.files.touch(b"app.log.1", m)
    w.run()
    w.files.delete(b"app.log.1")
    w.files.write(b"app.log.1.gz", gzip.compress(random_log(1, 20000)))
    w.files.touch(b"app.log.1.gz", m)
    w.run()
    assert all(r.detail in w.store.objects() for r in w.rows(State.DUPLICATE))


def test_a_scan_that_fails_closes_nothing_that_is_held(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.files.write(b"a.log.1", random_log(1, 5000))
    w.clock.advance(seconds=1)
    w.files.write(b"b.log.1", random_log(2, 5000))
    keep, n = w.held.keep, []

    def once(shipment, source):
        n.append(1)
        if len(n) == 2:
            raise PortError("JournalUnwritable", "x")
        keep(shipment, source)

    w.held.keep = once
    w.discover()
    w.run()
    assert len(w.contents()) == 2


def test_a_disowned_log_dated_1970_is_shipped(tmp_path: Path) -> None:
    w = World(tmp_path, watch=DEL)
    body = random_log(1, 20000)
    w.files.write(b"app.log.1", body)
    w.discover()
    w.carry()
    new = body[:8000] + b"X" * 4000 + body[12000:]
    w.files.write(b"app.log.1", new)
    w.files.touch(b"app.log.1", 0)
    w.clock.advance(minutes=15)
    w.carry()
    w.run()
    assert new in w.contents()
