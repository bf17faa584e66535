"""What must hold of a bucket, a disk and a journal once everything has come to rest.

The model is the ledger; the journal is asked only for what it promises to know. Every excuse for
bytes that are in S3 twice has a sentence here, and is counted under it; there is no other.
"""

from collections import Counter
from pathlib import Path

from shipper.core.duplicates import is_carried_over
from shipper.core.identity import chain_of, untouched
from shipper.core.lifecycle import FORGOTTEN
from shipper.core.rotated_names import is_compressed
from shipper.core.types import AfterUpload, Shipment, State
from tests.machines.disk import EVERY_ROW, DiskWorld
from tests.machines.ledger import Body, Chunk, Ledger, Stored
from tests.machines.rotator import Rotator
from tests.machines.world import decoded

TOUCHED = "touched: the pre-test goes by the mtime"
APART = "an archive whose log, or a cp -p of it, stands under another name"
FORGOT = "an answer was lost, and the file before anybody could ask again"


class Audit:
    """Compares everything with everything else.

    ``crashes`` may each have cost one log line; the inodes in ``spared`` need not be removed.
    """

    def __init__(
        self, world: DiskWorld, rotator: Rotator, *, crashes: int, spared: set[int]
    ) -> None:
        self._world = world
        self._rotator = rotator
        self._ledger: Ledger = world.ledger
        self._crashes = crashes
        self._spared = spared
        self.counts: Counter[str] = Counter()
        """Chunks, objects, what was lost to others, and what was excused and why."""

    def check(self) -> None:
        """Raises ``AssertionError`` with the first thing that does not hold."""
        self._check_chunks()
        self._check_lines()
        self._check_segments()
        self._check_left()
        self._check_said()

    def _check_chunks(self) -> None:
        """Every chunk that nobody else lost is in exactly one object."""
        unsealed, stored = self._unsealed(), self._ledger.stored_chunks()
        for chunk in self._ledger.chunks:
            if chunk not in stored:
                assert chunk.lost_to or chunk in unsealed, f"chunk {chunk.number} is not in S3"
                self.counts["chunks lost by others"] += bool(chunk.lost_to)
            self._check_doubles(chunk)
        self.counts["chunks"] += len(self._ledger.chunks)
        self.counts["objects"] += len(self._world.store.objects())

    def _unsealed(self) -> set[Chunk]:
        """Chunks that are in no file that has to be shipped."""
        found: set[Chunk] = set()
        for path in (*self._rotator.logs.glob("*.log"), *self._rotator.elsewhere.iterdir()):
            found.update(self._rotator.body(path).chunks)
        for path in self._rotator.rotated():
            found.difference_update(self._rotator.body(path).chunks)
        return found

    def _check_lines(self) -> None:
        """The bucket, read by names and lines as a person would, says what the ledger says."""
        contents = self._ledger.contents()
        counts = Counter(line for content in contents for line in content.splitlines(True))
        expected: Counter[bytes] = Counter()
        for chunk in self._ledger.chunks:
            expected[chunk.text] += len(list(self._ledger.holders(chunk)))
        assert counts == +expected

    # Twice?

    def _check_doubles(self, chunk: Chunk) -> None:
        holders = list(self._ledger.holders(chunk))
        bodies = [body for body, _ in holders]
        assert len(set(bodies)) == len(bodies), f"chunk {chunk.number} twice from one file"
        for at, (body, stored) in enumerate(holders[1:], start=1):
            why = self._excuse(body, stored, bodies[:at])
            assert why, f"chunk {chunk.number} is doubled: {[one.key for _, one in holders]}"
            self.counts[f"doubled: {why}"] += 1

    def _excuse(self, body: Body, stored: Stored, before: list[Body]) -> str:
        """Why the bytes may be in S3 once more; empty when they may not."""
        if any(_family(body) is _family(other) for other in before):
            return "cp -p: a log of its own"
        if body.archive is not None:
            return self._why_no_duplicate(body, stored.order)
        return self._why_unpacked(
            body, stored, [other for other in before if other.archive is not None]
        )

    def _why_unpacked(self, body: Body, stored: Stored, archives: list[Body]) -> str:
        """A log that was found before its archive was shipped is waited for."""
        shipped = body.plain()[: stored.raw_end]
        archives = [other for other in archives if other.plain() == shipped]
        if not archives:
            return "the log went on after its archive"
        log = self._world.row_of(stored.key)
        rows = [self._world.row_of(one.key) for other in archives for one in other.stored]
        if rows and log is not None and all(row and _is_of_another_time(row, log) for row in rows):
            return TOUCHED
        if any(row is None or log is None or row.id < log.id for row in rows):
            return "unpacked: a log of its own"
        return APART if all(body in one.apart for one in archives) else ""

    def _why_no_duplicate(self, archive: Body, order: int) -> str:
        """The archive of a log that was shipped whole is recognised."""
        originals = [
            other
            for other in self._ledger.bodies
            if other.archive is None and other.chunks == archive.chunks and other.is_whole(order)
        ]
        if not originals:
            begun = any(self._is_begun_live(other, archive) for other in self._ledger.bodies)
            return "" if begun else "an archive of what was not shipped whole"
        if all(map(self._is_forgotten, originals)):
            return FORGOT
        if any(
            other.archive is not None and other.chunks == archive.chunks and other is not archive
            for other in self._ledger.bodies
        ):
            return "a second archive of one log"
        if archive.is_touched or all(original.is_touched for original in originals):
            return TOUCHED
        known = [one for one in originals if not (one.is_touched or self._is_forgotten(one))]
        return APART if archive.apart.issuperset(known) else ""

    def _is_begun_live(self, log: Body, archive: Body) -> bool:
        """Whether the archive is that of a log of which all that S3 has was shipped live, and
        which stands nowhere any more: then only the rest of it was to be sent."""
        length = len(log.chunks)
        if log.archive is not None or not log.stored or archive.chunks[:length] != log.chunks:
            return False
        rows = [self._world.row_of(one.key) for one in log.stored]
        stands = {path.lstat().st_ino for path in self._rotator.rotated()}
        ends = sorted((one.raw_start, one.raw_end) for one in log.stored)
        at = [0, *(end for _, end in ends[:-1])]
        is_whole = at == [start for start, _ in ends]
        is_live = all(row is not None and row.is_live and row.copy_of == "" for row in rows)
        is_alone = log not in archive.apart and not log.is_touched and not archive.is_touched
        return is_whole and is_live and is_alone and log.inode not in stands

    def _is_forgotten(self, body: Body) -> bool:
        """Whether the journal does not know that S3 has it, or took it for another's copy."""
        rows = [self._world.row_of(one.key) for one in body.stored]
        return any(row is None or row.state in (*FORGOTTEN, State.DUPLICATE) for row in rows)

    # The disk, the journal and the log.

    def _check_segments(self) -> None:
        """Every file on the disk is what its segments are, end to end."""
        stored, shipped = self._ledger.stored_chunks(), self._ledger.shipped_contents()
        for path in self._rotator.rotated():
            whole, at = path.read_bytes(), 0
            for row in self._chain(path):
                if row.decoded_end:
                    plain = self._rotator.body(path).plain()
                    rest = plain[row.decoded_start : row.decoded_end]
                    assert decoded(row.key, self._world.store.objects()[row.key]) == rest
                    assert plain[: row.decoded_start] in shipped, f"{path.name} has no beginning"
                    at = row.raw_end
                    continue
                part = whole[row.raw_start : row.raw_end]
                if row.state is State.DUPLICATE:
                    chunks = self._rotator.body(path).within(row.raw_start, row.raw_end)
                    is_in_s3 = set(chunks) <= stored if chunks else part in shipped
                else:
                    is_in_s3 = self._content(row) == part
                assert is_in_s3, f"{path.name} is not its segments"
                assert row.raw_start == at
                at = row.raw_end
            assert at == len(whole), f"{path.name} has {len(whole)} bytes, {at} are known"

    def _chain(self, path: Path) -> list[Shipment]:
        stat = self._world.disk.stat(path)
        rows = self._world.journal.known(self._world.watch.name, stat.inode)
        last = untouched(rows, stat)
        return chain_of(last, rows) if last is not None else []

    def _content(self, row: Shipment) -> bytes:
        body = self._world.store.objects()[row.key]
        return body if is_compressed(row.path) else decoded(row.key, body)

    def _check_left(self) -> None:
        """What was to be removed is removed."""
        if self._world.watch.after_upload is AfterUpload.KEEP:
            return
        left = [path for path in self._rotator.rotated() if path.stat().st_ino not in self._spared]
        assert not left, f"were left: {left}"

    def _check_said(self) -> None:
        """Every promise that came to nothing was said aloud."""
        totals = self._world.journal.figures.totals()
        gone = sum(total.files for total in totals if total.state is State.GONE)
        assert len(self._world.log.of("source.vanished")) + self._crashes >= gone
        assert not self._world.journal.parked(EVERY_ROW)


def _is_of_another_time(archive: Shipment, log: Shipment) -> bool:
    return not is_carried_over(log.mtime_ns, archive.mtime_ns)


def _family(body: Body) -> Body:
    return body if body.copied_from is None else _family(body.copied_from)
