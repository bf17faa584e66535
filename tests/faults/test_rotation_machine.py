"""Whatever rotators, writers, S3, the journal's disk and crashes do, in whatever order.

A state machine acts on a real directory as programs do and lets the real services work on it,
with a fake clock and a fake bucket. The ledger knows every byte. After every step:

- the daemon has lost nothing: what S3 does not have, a name or a held descriptor leads to;
- nothing was removed or archived before S3 had all of it;
- every object is a range of one file, and none was overwritten;
- the descriptors open below the watch are those that are held, within the budget.

And once everything has come to rest, with all failures mended:

- every chunk that was in a rotated log, and was not lost by somebody else, is in exactly one
  object; what else may be there twice is listed in ``_is_excused``, and nowhere else;
- the bucket, read by names and lines as a person would, says the same;
- what is on disk is what the journal's segments add up to;
- every promise that came to nothing was said aloud.
"""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shipper.core import parts
from shipper.core.identity import chain_of, untouched
from shipper.core.lifecycle import FORGOTTEN
from shipper.core.rotation import is_compressed
from shipper.core.types import AfterUpload, Compression, Shipment, State, Watch, WatchName
from shipper.ports import PortError
from shipper.services import cutting, raw, recognition
from tests.fakes.disk import EVERY_ROW, DiskWorld
from tests.fakes.ledger import Body, Chunk, Ledger, Stored
from tests.fakes.rotator import ARCHIVERS, Rotator, line
from tests.fakes.world import Crash, Fuse, decoded

FRAME_BYTES = 4096
PART_BYTES = 16 * 1024
LIMIT = 5
ROUNDS = 20
FAR_BACK_HOURS = 100
"""Further than the clock was ever set back: what waits for its removal is as old as it looks."""
SIZES = (0, 1, 60, 500, 5_000, 30_000, 90_000)
OUTAGES = ("Unreachable", "InternalError", "SlowDown", "AccessDenied", "ExpiredToken")
FAILURES = (*OUTAGES, "NoSuchUpload", "InvalidPart", "OperationAborted", "BadDigest")
OPERATIONS = (
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "ListObjectsV2",
)
LOGS = ("app.log", "web.log")

which = st.integers(0, 9)
sizes = st.sampled_from(SIZES)
logs = st.sampled_from(LOGS)

WORK = ("look", "carry", "look and carry", "look and carry")
TAMPERINGS = (
    "rewrite",
    "replace",
    "delete",
    "reuse",
    "copy",
    "restore",
    "touch",
    "olddir",
    "back from olddir",
    "move away",
    "link",
    "symlink",
    "open",
    "deny",
)


class Seen:
    """What all runs together have done."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def report(self) -> str:
        """The counts, one line."""
        return ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))


SEEN = Seen()


class RotationMachine(RuleBasedStateMachine):
    """One machine, one log directory, one bucket."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = contextlib.ExitStack()
        patch = self._patches.enter_context(pytest.MonkeyPatch.context())
        for module in (parts, raw, recognition, cutting):
            patch.setattr(module, "FRAME_BYTES", FRAME_BYTES)
        patch.setattr(parts, "MIN_PART_BYTES", PART_BYTES)
        self.top = Path(tempfile.mkdtemp(prefix="rotation-"))
        self.ledger = Ledger()
        self.held_files = 0
        self.acts = 0
        """Since it was last at rest."""
        self.crashes = 0
        self.away: set[int] = set()
        """Inodes that once were outside of the watch: gone is gone, also for disposal."""
        self.has_failed = False

    @initialize(
        seed=st.integers(0, 9),
        compression=st.sampled_from(Compression),
        after_upload=st.sampled_from(AfterUpload),
        held_files=st.sampled_from((256, 256, 3)),
        etag_is_md5=st.booleans(),
        repeats_complete=st.booleans(),
        conditional_writes=st.booleans(),
    )
    def begin(
        self,
        seed: int,
        compression: Compression,
        after_upload: AfterUpload,
        held_files: int,
        **store: bool,
    ) -> None:
        watch = Watch(
            name=WatchName("app"),
            directory=str(self.top / "logs"),
            compression=compression,
            after_upload=after_upload,
            archive_directory=str(self.top / "logs" / "archive"),
            exclude=("archive/**",),
            delete_after_seconds=60.0,
        )
        self.world = DiskWorld(
            self.top,
            watch=watch,
            ledger=self.ledger,
            held_files=held_files,
            smallest_part_bytes=PART_BYTES,
            **store,
        )
        self.rotator = Rotator(self.top, self.world.clock, self.ledger)
        self.world.disk.order = Random(seed)
        self.world.part_size_bytes = PART_BYTES
        self.held_files = held_files
        self.world.restart()

    # What programs do.

    @rule(log=logs, size=sizes)
    def write(self, log: str, size: int) -> None:
        self._act("write", lambda: self.rotator.write(self._log(log), self._line(size)))

    @rule(log=logs, pick=which)
    def write_the_same_again(self, log: str, pick: int) -> None:
        chunks = self.ledger.chunks
        text = chunks[pick % len(chunks)].text if chunks else self._line(1)
        self._act("write the same", lambda: self.rotator.write(self._log(log), text))

    @rule(
        log=logs,
        how=st.sampled_from(("rename", "rename", "create", "hold", "dateext", "copytruncate")),
        between=st.sampled_from((0, 60)),
    )
    def rotate(self, log: str, how: str, between: int) -> None:
        path = self._log(log)
        if not path.exists():
            self._act("write", lambda: self.rotator.write(path, self._line(500)))
        text = self._line(between) if between else b""
        ways: dict[str, Callable[[], object]] = {
            "rename": lambda: self.rotator.rotate(path, LIMIT),
            "create": lambda: self.rotator.rotate(path, LIMIT, creates=True),
            "hold": lambda: self.rotator.rotate(path, LIMIT, is_held_open=True),
            "dateext": lambda: self.rotator.rotate_by_date(path),
            "copytruncate": lambda: self.rotator.copy_and_truncate(path, LIMIT, text),
        }
        self._act(f"rotate: {how}", ways[how])

    @rule(
        pick=which,
        extension=st.sampled_from(sorted(ARCHIVERS)),
        until=st.sampled_from(("the end", "the end", "the end", "the middle", "the unlink")),
    )
    def compress(self, pick: int, extension: str, until: str) -> None:
        self._act_on(
            f"compress to {until}",
            pick,
            lambda path: self.rotator.compress(path, extension, until=until),
        )

    @rule(pick=which, how=st.sampled_from(TAMPERINGS), size=sizes)
    def tamper(self, pick: int, how: str, size: int) -> None:
        self._act_on(how, pick, self._tampering(how, self._line(size)))

    @rule(pick=which, size=sizes)
    def append_late(self, pick: int, size: int) -> None:
        self._act_on("append", pick, self._tampering("append", self._line(size)))

    @rule(
        how=st.sampled_from(("bring back", "unlink second names", "close writers", "allow reads"))
    )
    def make_good(self, how: str) -> None:
        ways: dict[str, Callable[[], object]] = {
            "bring back": self.rotator.bring_back,
            "unlink second names": self.rotator.unlink_second_names,
            "close writers": self.rotator.close_writers,
            "allow reads": self.world.disk.denied.clear,
        }
        self._act(how, ways[how])

    # The daemon's rules.

    @rule(what=st.sampled_from(WORK))
    def work(self, what: str) -> None:
        self._daemon_acts(what, self._work(what))

    @rule()
    def seal(self) -> None:
        """Promise what is quiet, and send nothing yet."""
        self._daemon_acts("seal", self.world.discover)

    @rule(seconds=st.sampled_from((1, 6, 61, 400)))
    def wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds=seconds)
        self._daemon_acts("janitor", self._tidy)

    @rule(hours=st.sampled_from((-1, 1)))
    def set_clock(self, hours: int) -> None:
        self.world.clock.set_wall(self.world.clock.now() + hours * 3600)
        self._daemon_acts("janitor", self._tidy)

    @rule()
    def restart(self) -> None:
        self._restart()

    @rule(at=st.integers(1, 25), what=st.sampled_from(WORK))
    def crash(self, at: int, what: str) -> None:
        fuse = Fuse(at=at)
        self.world.arm(fuse)
        with contextlib.suppress(Crash):
            self._daemon_acts(f"crash in {what}", self._work(what))
        self.world.arm()
        if fuse.burnt_at:
            self.crashes += 1
            self._restart()

    @rule(
        at=st.integers(1, 25),
        what=st.sampled_from(WORK),
        pick=which,
        how=st.sampled_from((*TAMPERINGS, "append", "shift", "compress")),
    )
    def interrupt(self, at: int, what: str, pick: int, how: str) -> None:
        """The rotator comes while the daemon is in the middle of something."""
        self.world.arm(_Once(at, lambda: self._interruption(how, pick)))
        self._daemon_acts(f"{what} with {how} in it", self._work(what))
        self.world.arm()

    # What fails.

    @rule(code=st.sampled_from(OUTAGES))
    def begin_outage(self, code: str) -> None:
        self.world.store.outage = PortError(code)

    @rule()
    def mend(self) -> None:
        self._mend()

    @rule(
        operation=st.sampled_from(OPERATIONS),
        code=st.sampled_from(FAILURES),
        after_effect=st.booleans(),
    )
    def fail_next(self, operation: str, code: str, after_effect: bool) -> None:
        self.world.store.fail_next(operation, PortError(code), after_effect=after_effect)

    @rule(how=st.sampled_from(("uploads lost", "journal full", "journal locked")))
    def fail(self, how: str) -> None:
        ways: dict[str, Callable[[], object]] = {
            "uploads lost": self.world.store.lose_uploads,
            "journal full": lambda: self.world.fill_journal(is_full=True),
            "journal locked": lambda: self.world.lock_journal(is_locked=True),
        }
        self._act(how, ways[how])

    # Rest.

    @precondition(lambda self: self.acts > 15)
    @rule()
    def come_to_rest(self) -> None:
        self._come_to_rest()
        self._check_rest()

    def teardown(self) -> None:
        try:
            if not self.has_failed:
                self._come_to_rest()
                self._check_rest()
        finally:
            self.world.stop()
            self.rotator.close_writers()
            assert self.has_failed or self.world.descriptors(self.top) == []
            self._patches.close()
            shutil.rmtree(self.top)

    # How a step runs.

    def _log(self, name: str) -> Path:
        return self.rotator.logs / name

    def _line(self, size: int) -> bytes:
        return line(len(self.ledger.chunks), size) if size else b"x\n"

    def _act(self, name: str, act: Callable[[], object]) -> None:
        SEEN.counts[name] += 1
        self.acts += 1
        with self._failing():
            self.world.observe()
            act()
            self._reconcile(name, may_lose=True)

    def _act_on(self, name: str, pick: int, act: Callable[[Path], object]) -> None:
        rotated = self.rotator.rotated()
        if rotated:
            self._act(name, lambda: act(rotated[pick % len(rotated)]))

    def _mend(self) -> None:
        """S3 and the journal's disk are well, and the role's credentials new."""
        self.world.store.outage = None
        self.world.generation += 1
        self.world.fill_journal(is_full=False)
        self.world.lock_journal(is_locked=False)

    def _daemon_acts(self, name: str, act: Callable[[], object]) -> None:
        SEEN.counts[name] += 1
        self.acts += 1
        with self._failing():
            try:
                act()
            finally:
                self.world.observe()
                self._reconcile(name, may_lose=False)
            self._check_descriptors()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """A machine that has failed is not brought to rest."""
        try:
            yield
        except Crash:
            raise
        except BaseException:
            self.has_failed = True
            raise

    def _reconcile(self, by: str, *, may_lose: bool) -> None:
        away = self.rotator.inodes(self.rotator.elsewhere)
        linked = self.rotator.inodes(self.rotator.logs) | away
        self.away |= away
        self.ledger.reconcile(linked, self.world.held_ranges(), by=by, may_lose=may_lose)

    def _restart(self) -> None:
        SEEN.counts["restart"] += 1
        self.world.restart()
        self._reconcile("restart", may_lose=True)

    def _work(self, what: str) -> Callable[[], object]:
        ways: dict[str, Callable[[], object]] = {
            "look": self._look,
            "carry": self.world.carrier.step,
            "look and carry": self._look_and_carry,
        }
        return ways[what]

    def _look(self) -> None:
        self.world.discovery.step()
        self._check_held()

    def _look_and_carry(self) -> None:
        self.world.discover()
        for _ in range(200):
            if self.world.carrier.step() > 0:
                return
        raise AssertionError("the carrier never comes to rest")

    def _tidy(self) -> None:
        self.world.janitor.step()

    def _interruption(self, how: str, pick: int) -> None:
        self._act_on(f"{how} meanwhile", pick, self._tampering(how, self._line(500)))

    def _tampering(self, how: str, text: bytes) -> Callable[[Path], object]:
        rotator = self.rotator
        ways: dict[str, Callable[[Path], object]] = {
            "append": lambda path: rotator.append(path, text),
            "rewrite": lambda path: rotator.rewrite(path, text),
            "replace": lambda path: rotator.replace(path, text),
            "delete": rotator.delete,
            "reuse": lambda path: rotator.reuse(path, text),
            "copy": lambda path: rotator.copy(path, is_kept=True),
            "restore": lambda path: rotator.copy(path, is_kept=False),
            "touch": rotator.touch,
            "olddir": lambda path: rotator.move(path, rotator.logs / "old"),
            "back from olddir": lambda path: rotator.move(path, rotator.logs),
            "move away": lambda path: rotator.move(path, rotator.elsewhere),
            "link": rotator.link,
            "symlink": rotator.symlink,
            "open": rotator.open_writer,
            "deny": lambda path: self.world.disk.denied.add(path.lstat().st_ino),
            "shift": lambda path: rotator.shift(self._log("app.log"), LIMIT),
            "compress": lambda path: rotator.compress(path, ".gz"),
        }
        return ways[how]

    # What must hold.

    def _check_descriptors(self) -> None:
        held = len(self.world.held.shipments())
        places = (self.rotator.logs, self.rotator.elsewhere)
        opened = sum(len(self.world.descriptors(place)) for place in places)
        assert opened == held + len(self.rotator.writers)
        assert held <= self.held_files

    def _check_held(self) -> None:
        """After a look, what waits is held, as far as the budget goes: nothing else excuses."""
        if self.world.discovery.trouble is not None or self._is_held_back():
            return
        for row in self.world.unheld():
            body = self._named(row.path)
            is_there = body is not None and body.inode == row.file_id.inode
            is_there = is_there and self.world.is_as_promised(row)
            assert not is_there, f"{row.path!r} waits and is not held"

    def _is_held_back(self) -> bool:
        return len(self.world.held.shipments()) >= self.held_files

    def _named(self, path: bytes) -> Body | None:
        """What is under a name that the daemon may read, if anything is."""
        whole = self.rotator.logs / path.decode()
        if whole not in self.rotator.rotated():
            return None
        found = whole.lstat()
        if found.st_nlink > 1 or found.st_ino in self.world.disk.denied:
            return None
        return self.rotator.body(whole)

    def _come_to_rest(self) -> None:
        """Mend everything, and let time pass until nothing is left to do."""
        SEEN.counts["rest"] += 1
        self.acts = 0
        world = self.world
        self.rotator.close_writers()
        world.disk.denied.clear()
        self._act("unlink", self.rotator.unlink_second_names)
        world.store._failures.clear()
        self._mend()
        rounds_at_rest = 0
        for _ in range(ROUNDS):
            self._daemon_acts("retry", world.retry_parked)
            self._daemon_acts("rest", self._look_and_carry)
            world.clock.advance(minutes=6)
            self._daemon_acts("janitor", self._tidy)
            is_at_rest = not world.journal.unfinished(1) and not world.discovery.waiting_files
            rounds_at_rest = rounds_at_rest + 1 if is_at_rest else 0
            if rounds_at_rest == 2:
                world.clock.advance(hours=FAR_BACK_HOURS)
                self._daemon_acts("rest", self._look_and_carry)
                return
        left = world.journal.unfinished(3) + world.journal.parked(3)
        raise AssertionError(f"never at rest: {left} {world.discovery.waiting_files}")

    def _check_rest(self) -> None:
        counts = self._counts()
        live, stored = self._live(), self.ledger.stored_chunks()
        for chunk in self.ledger.chunks:
            holders = list(self.ledger.holders(chunk))
            if chunk not in stored:
                assert chunk.lost_to or chunk in live, f"chunk {chunk.number} is not in S3"
                SEEN.counts["chunks lost"] += bool(chunk.lost_to)
            self._check_doubles(chunk, holders)
        texts = Counter(chunk.text for chunk in self.ledger.chunks)
        for text in texts:
            same = [chunk for chunk in self.ledger.chunks if chunk.text == text]
            held = sum(len(list(self.ledger.holders(chunk))) for chunk in same)
            assert counts[text] == held, f"{text[:40]!r}: {counts[text]} in S3, not {held}"
        assert set(counts) <= set(texts), "lines that nobody wrote"
        SEEN.counts["chunks"] += len(self.ledger.chunks)
        SEEN.counts["objects"] += len(self.world.store.objects())
        self._check_chains()
        self._check_left()
        self._check_said()

    def _counts(self) -> Counter[bytes]:
        return Counter(
            text for content in self.ledger.contents() for text in content.splitlines(True)
        )

    def _live(self) -> set[Chunk]:
        """Chunks that are in no file that has to be shipped."""
        found: set[Chunk] = set()
        for path in (*map(self._log, LOGS), *self.rotator.elsewhere.iterdir()):
            if path.exists():
                found.update(self.rotator.body(path).chunks)
        for path in self.rotator.rotated():
            found.difference_update(self.rotator.body(path).chunks)
        return found

    def _check_doubles(self, chunk: Chunk, holders: list[tuple[Body, Stored]]) -> None:
        bodies = [body for body, _ in holders]
        assert len(set(bodies)) == len(bodies), f"chunk {chunk.number} twice from one file"
        for at, (body, stored) in enumerate(holders[1:], start=1):
            why = self._is_excused(body, stored, bodies[:at])
            assert why, f"chunk {chunk.number} is doubled: {[one.key for _, one in holders]}"
            SEEN.counts[f"doubled: {why}"] += 1

    def _is_excused(self, body: Body, stored: Stored, before: list[Body]) -> str:
        """Why the bytes may be in S3 once more; empty when they may not."""
        if any(_family(body) is _family(other) for other in before):
            return "cp -p"
        if body.archive is not None:
            return self._why_no_twin(body, stored.order)
        if any(other.archive is not None for other in before):
            return "the archive was shipped first"
        return ""

    def _why_no_twin(self, archive: Body, order: int) -> str:
        originals = [
            other
            for other in self.ledger.bodies
            if other.archive is None and other.chunks == archive.chunks and other.is_whole(order)
        ]
        if not originals:
            return "an archive of what was not shipped whole"
        if all(map(self._is_forgotten, originals)):
            return "an answer was lost, and the file before anybody could ask again"
        if archive.is_touched or all(original.is_touched for original in originals):
            return "touched: the pre-test goes by the mtime"
        return ""

    def _is_forgotten(self, body: Body) -> bool:
        """Whether the journal does not know that S3 has it."""
        rows = [self.world.row_of(one.key) for one in body.stored]
        return any(row is None or row.state in FORGOTTEN for row in rows)

    def _check_chains(self) -> None:
        """The file on the disk is what its segments are, end to end."""
        shipped = self.ledger.shipped_contents()
        for path in self.rotator.rotated():
            stat = self.world.disk.stat(path)
            rows = self.world.journal.known(self.world.watch.name, stat.inode)
            last = untouched(rows, stat)
            assert last is not None or not stat.size_bytes, f"{path.name} is not known at rest"
            chain = chain_of(last, rows) if last is not None else []
            content = b"".join(self._content(row, path, shipped) for row in chain)
            assert content == path.read_bytes(), f"{path.name} is not its segments"

    def _content(self, row: Shipment, path: Path, shipped: set[bytes]) -> bytes:
        """What S3 has of a segment; of a copy, that its bytes or what is in it are in S3."""
        if row.state is State.DUPLICATE:
            part = path.read_bytes()[row.raw_start : row.raw_end]
            plain = self.rotator.body(path).plain()
            return part if {part, plain} & shipped else b""
        body = self.world.store.objects()[row.key]
        return body if is_compressed(row.path) else decoded(row.key, body)

    def _check_left(self) -> None:
        """What was to be removed is removed."""
        if self.world.watch.after_upload is AfterUpload.KEEP:
            return
        left = [
            path
            for path in self.rotator.rotated()
            if path.stat().st_ino not in self.away
            and not self.ledger.taken_for_another(self.rotator.body(path))
        ]
        assert not left, f"were left: {left}"

    def _check_said(self) -> None:
        gone = sum(t.files for t in self.world.journal.totals() if t.state is State.GONE)
        # Whoever dies between the journal and the log has not said it.
        assert len(self.world.log.of("source.vanished")) + self.crashes >= gone
        assert not self.world.journal.parked(EVERY_ROW)


class _Once:
    """Acts at the n-th effect, once."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self._left = at
        self._act = act

    def __call__(self, name: str) -> None:
        self._left -= 1
        if not self._left:
            self._act()


def _family(body: Body) -> Body:
    return body if body.copied_from is None else _family(body.copied_from)


def run(examples: int, steps: int, **more: Any) -> None:
    """Run the machine so many times, each for so many steps."""
    run_state_machine_as_test(
        RotationMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_every_byte_is_shipped_exactly_once_whatever_happens() -> None:
    SEEN.counts.clear()
    run(50, 50, derandomize=True)
    print(SEEN.report())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_byte_is_shipped_exactly_once_whatever_happens_for_long() -> None:
    SEEN.counts.clear()
    run(1000, 100, derandomize=False)
    print(SEEN.report())
