"""100,000 files and 1,000,000 journal rows: what finding and remembering cost.

Also 26,280 rows over 15 inode numbers, as a rotator leaves them, and 10,000 segments of one file.

``python -m tests.performance.scale [FILES DIRECTORIES ROWS]`` makes a tree of rotated logs, finds,
promises and finishes them all as the daemon would (S3 left out), and prints the CPU seconds of
each scan and the memory above idle; then what a claim costs in a journal with many rows.
"""

import logging
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import structlog
from structlog import make_filtering_bound_logger

from shipper.core.destinations import Destination
from shipper.core.identity import chain_of, latest_segments, untouched
from shipper.core.object_keys import InstanceFacts
from shipper.core.siblings import Siblings
from shipper.core.types import Entry, FileId, RelativePath, Shipment, Watch, WatchName
from shipper.edges.clock import SystemClock
from shipper.edges.files.directory_files import DirectoryFiles
from shipper.journal.journal import Journal
from shipper.services.bugs import Bugs
from shipper.services.finding.candidates import Candidates
from shipper.services.finding.discovery import Discovery
from shipper.services.finding.growth_proofs import GrowthProofs
from shipper.services.finding.live_logs import LiveLogs
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.watch_roots import WatchRoots
from tests.fakes.claims import claim
from tests.fakes.clock import FakeClock
from tests.fakes.descriptor_store import held_by
from tests.fakes.examples import promise, stat

BATCH = 10_000
FACTS = InstanceFacts(prefix="logs/", instance_id="i-0123456789abcdef0")


def resident_mib() -> float:
    """Memory of this process now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 1024**2


def cpu_seconds(work: Callable[[], object]) -> float:
    """User and system time that ``work`` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def make_tree(top: str, files: int, directories: int) -> None:
    """Small rotated logs, evenly spread."""
    for number in range(directories):
        os.makedirs(f"{top}/application-{number:04}")
    for number in range(files):
        name = f"application-{number % directories:04}/access.log.{1 + number // directories}"
        with open(f"{top}/{name}", "wb") as file:
            file.write(b"%012d GET /index.html\n" % number)


def discovery_for(watch: Watch, journal: Journal, clock: FakeClock) -> Discovery:
    """Discovery with the real files and journal, and a clock that is moved by hand."""
    files, held = DirectoryFiles(), held_by(files=0)
    roots = WatchRoots(files=files, journal=journal)
    lookup = SourceLookup(files=files, held=held, journal=journal, roots=roots)
    candidates = Candidates(
        files=files,
        journal=journal,
        clock=clock,
        destination_of=lambda watch: Destination("bucket"),
        facts=lambda: FACTS,
        proofs=GrowthProofs(clock),
        bugs=Bugs(None, str),
        logs=LiveLogs(files=files, journal=journal, clock=clock),
    )
    return Discovery(
        watches=[watch],
        candidates=candidates,
        journal=journal,
        held=held,
        disposal=Disposal(
            files=files, journal=journal, lookup=lookup, clock=clock, tick=lambda: None
        ),
        clock=clock,
        interval_seconds=30.0,
        promised=lambda: None,
        log=structlog.wrap_logger(None, wrapper_class=make_filtering_bound_logger(logging.INFO)),
    )


def finish_all(path: str) -> None:
    """As if S3 had taken everything."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE shipments SET state='DONE', due_at=NULL, finished_at=id")


def measure_scans(top: str, journal_path: str, files: int) -> None:
    """Scan by scan, in the order in which a daemon meets them."""
    clock, watch = FakeClock(SystemClock().now()), Watch(top, WatchName("logs"))
    journal = Journal.open(journal_path, now=clock.now())
    discovery, idle = discovery_for(watch, journal, clock), resident_mib()

    def told(what: str) -> None:
        spent = cpu_seconds(discovery.step)
        above = resident_mib() - idle
        print(f"{what:44}{spent:8.2f} s CPU {spent / files * 1e6:8.1f} us/file {above:8.1f} MiB")

    told("first scan, nothing known")
    clock.advance(seconds=10)
    told("sealed: opened, identified, promised")
    told("on their way")
    finish_all(journal_path)
    told("shipped meanwhile")
    for _ in range(3):
        told("nothing changed")
    discovery = discovery_for(watch, journal, clock)
    told("first scan after a restart")
    told("nothing changed")
    journal.close()


def grow(path: str, journal: Journal, rows: int, now: float) -> None:
    """Add finished rows until there are about so many."""
    have = sum(total.files for total in journal.figures.totals())
    for first in range(have, rows, BATCH):
        journal.promise([promise(first + n) for n in range(BATCH)], now=now)
    finish_all(path)


def measure_claims(path: str, rows: int) -> None:
    """A claim among a hundred due shipments, with few and with many finished rows behind."""
    clock = FakeClock()
    journal = Journal.open(path, now=clock.now())
    for behind in (1_000, rows):
        grow(path, journal, behind, clock.now())
        due = [promise(10**9 + behind + n) for n in range(100)]
        assert len(journal.promise(due, now=clock.now())) == len(due)

        def claim_each() -> None:
            for _ in range(100):
                claimed = claim(journal.queue, clock.now() + 1)
                assert claimed is not None
                journal.queue.release(claimed.id)

        spent = min(cpu_seconds(claim_each) for _ in range(5)) / 100
        print(f"claim, {behind:9,} finished rows behind {spent * 1e6:8.1f} us CPU")
    journal.close()


def measure_inodes(top: str, path: str, rows: int = 26_280, files: int = 15) -> None:
    """Scans of files whose inode numbers many others had before; and forgetting those."""
    clock, watch = FakeClock(SystemClock().now()), Watch(top, WatchName("logs"))
    make_tree(top, files, 1)
    found = [one for one in DirectoryFiles().scan(watch, is_any) if isinstance(one, Entry)]
    earlier = [
        promise(
            number,
            watch=watch.name,
            file_id=FileId(found[number % files].stat.inode, 4, "head", f"g{number}"),
            place=found[0].place,
        )
        for number in range(rows)
    ]
    journal = Journal.open(path, now=clock.now())
    for batch in (earlier[:-files], earlier[-files:]):
        journal.promise(batch, now=clock.now())
        finish_all(path)
    discovery = discovery_for(watch, journal, clock)

    def told(what: str) -> None:
        print(f"{what:44}{cpu_seconds(discovery.step) * 1e3:8.1f} ms CPU")

    told(f"{rows:,} rows, {files} inodes: first scan")
    told("not sealed yet")
    clock.advance(seconds=10)
    told("sealed: opened, identified, promised")
    finish_all(path)
    told("shipped meanwhile")
    told("nothing changed")
    discovery = discovery_for(watch, journal, clock)
    told("first scan after a restart")
    standing = {found[0].place: {one.stat.inode for one in found}}
    started = time.process_time()
    forgotten = journal.forget(watch.name, standing, finished_before=clock.now())
    spent = time.process_time() - started
    left = len(journal.known(watch.name, found[0].stat.inode))
    print(f"{forgotten:,} rows forgotten, {left} left of one inode {spent * 1e3:9.1f} ms CPU")
    journal.close()


def measure_segments(path: str, segments: int = 10_000) -> None:
    """What is asked of a file that was shipped in many pieces."""
    journal = Journal.open(path, now=0.0)
    promises = [promise(n, raw_start=n, raw_end=n + 1) for n in range(segments)]
    file_id = promises[0].file_id
    journal.promise([replace(one, file_id=file_id) for one in promises], now=0.0)
    finish_all(path)
    rows: list[Shipment] = []
    last = stat(inode=file_id.inode, size_bytes=segments, mtime_ns=promises[0].mtime_ns)
    questions: dict[str, Callable[[], object]] = {
        "the journal": lambda: rows.extend(journal.known(promises[0].watch, file_id.inode)),
        "its summary": lambda: journal.inode_summary(promises[0].watch, file_id.inode),
        "untouched": lambda: untouched(rows, last),
        "latest_segments": lambda: latest_segments(rows),
        "chain_of": lambda: chain_of(rows[-1], rows),
        "forget": lambda: journal.forget(promises[0].watch, {}, finished_before=2.0),
    }
    for name, ask in questions.items():
        print(f"{segments:,} segments: {name:24}{cpu_seconds(ask) * 1e3:8.1f} ms CPU")
    journal.close()


def is_any(path: RelativePath, siblings: Siblings) -> bool:
    """Every entry."""
    return True


def main() -> None:
    """All measurements."""
    given = [int(one) for one in sys.argv[1:]]
    files, directories, rows = given or (100_000, 1_000, 1_000_000)
    with tempfile.TemporaryDirectory() as facts:
        make_tree(f"{facts}/logs", files, directories)
        measure_scans(f"{facts}/logs", f"{facts}/scans.db", files)
        measure_inodes(f"{facts}/few", f"{facts}/inodes.db")
        measure_segments(f"{facts}/segments.db")
        measure_claims(f"{facts}/claims.db", rows)


if __name__ == "__main__":
    main()
