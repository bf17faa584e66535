"""The services on a fake machine: everything real but the disk, the bucket and the time.

``run`` is one life of the daemon. What survives it is what would: the journal's file, the log
directory, the bucket. A ``Fuse`` ends a life at its n-th effect, before or after it happened.
"""

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import zstandard

from shipper.core.backoff import Backoff
from shipper.core.destinations import Destination, for_watch, upload_settings_of
from shipper.core.object_keys import InstanceFacts, destined, object_key
from shipper.core.types import ObjectKey, RelativePath, Shipment, State, Watch, WatchName
from shipper.edges.encoder import FrameEncoder
from shipper.journal import statements as journal_statements
from shipper.journal.database import Database
from shipper.journal.journal import Journal
from shipper.journal.queue import ANY_SIZE
from shipper.ports import ObjectStore
from shipper.runtime.wiring_carrier import Sending, carrier_of
from shipper.services.bugs import Bugs
from shipper.services.finding.candidates import Candidates
from shipper.services.finding.discovery import Discovery
from shipper.services.finding.growth_proofs import FIRST_BYTES, GrowthProofs
from shipper.services.finding.live_files import LiveFiles
from shipper.services.housekeeping import Housekeeping
from shipper.services.sending.abandoned_uploads import abort_each
from shipper.services.sending.carrier import Carrier
from shipper.services.sending.destination_change import move
from shipper.services.sending.gate import Gate
from shipper.services.sending.memory_budget import ByteBudget
from shipper.services.sending.progress import Progress
from shipper.services.sending.rate_limits import ConcurrencyLimiter
from shipper.services.sending.retry import RetryPolicy
from shipper.services.sending.small_files import SmallFiles, with_memory
from shipper.services.sending.tasks import Blocking, Interleaved
from shipper.services.sources.disposal import Disposal
from shipper.services.sources.held_budget import HeldBudget
from shipper.services.sources.held_files import HeldFiles
from shipper.services.sources.lookup import SourceLookup
from shipper.services.sources.losses import Losses
from shipper.services.sources.watch_roots import WatchRoots
from tests.fakes.clock import FakeClock
from tests.fakes.descriptor_store import FakeDescriptorStore
from tests.fakes.files import FakeFiles
from tests.fakes.log import RecordingLog
from tests.fakes.store import FakeStore

MIB = 1024 * 1024
WATCH = Watch(name=WatchName("app"), directory="/logs")
FACTS = InstanceFacts(prefix="logs/", instance_id="i-1")
ONCE = Backoff(attempts=1)
KEY_TEMPLATE = "{prefix}{watch}/{stem}.{digest}{segment}{extension}"


class Crash(BaseException):
    """The process is gone."""


class Fuse:
    """Raises ``Crash`` at the n-th effect; counts them all."""

    def __init__(self, at: int = 0) -> None:
        self._at = at
        self.count = 0
        self.burnt_at = ""

    def __call__(self, name: str) -> None:
        self.count += 1
        if self.count == self._at:
            self.burnt_at = name
            raise Crash(name)


class FusedDatabase(Database):
    """A journal's file whose every transaction is an effect."""

    effect: Callable[[str], None] = staticmethod(lambda name: None)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Any]:
        self.effect("before journal")
        with super().transaction() as run:
            yield run
        self.effect("after journal")


class FusedJournal(Journal):
    """A journal in such a file."""

    def __init__(self, database: FusedDatabase) -> None:
        super().__init__(database)
        self._fused = database

    @property
    def effect(self) -> Callable[[str], None]:
        """What is told of every effect."""
        return self._fused.effect

    @effect.setter
    def effect(self, effect: Callable[[str], None]) -> None:
        self._fused.effect = effect


class InlineExecutor(Executor):
    """Runs everything at once, in the thread that asks."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  (as executors do)
            future.set_exception(error)
        return future


class World:
    """A machine with one watch, its journal, and its bucket."""

    def __init__(
        self,
        directory: Path,
        *,
        watch: Watch = WATCH,
        held_files: int = 256,
        held_bytes: int = 1024 * MIB,
        stored: bool = False,
        through: Callable[[FakeStore], ObjectStore] = lambda bucket: bucket,
        **store: Any,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._journal_path = str(directory / "journal.db")
        self.watch = watch
        self.beside: tuple[Watch, ...] = ()
        """Watches of the same directory that go elsewhere."""
        self.clock = FakeClock()
        self.files = FakeFiles(self.clock, directory=watch.directory)
        self.stored = FakeDescriptorStore(is_none=not stored)
        self.held_files, self.held_bytes = held_files, held_bytes
        self.store = FakeStore(**store)
        self._through = through
        self.log = RecordingLog()
        self.facts: InstanceFacts | None = FACTS
        self.key_template = KEY_TEMPLATE
        self.destination = Destination("bucket")
        self.memory_limit_bytes = 64 * MIB
        self.generation = 0
        self.is_urgent = False
        self.refreshes = 0
        self.signs_of_life = 0
        self.part_size_bytes = 5 * MIB
        self.in_flight = 64
        self.scan_bytes = FIRST_BYTES
        self.stopping = threading.Event()
        self.start()

    def start(self, fuse: Callable[[str], None] = lambda name: None) -> None:
        """Begin a life: whatever was in memory is new.

        fsync is the journal's own tests' business, and would take most of the time here.
        """
        database = FusedDatabase.open(self._journal_path, now=self.clock.now(), set_aside=None)
        database._connection.execute("PRAGMA synchronous = OFF")
        journal = FusedJournal(database)
        journal.effect = fuse
        self.journal = journal.of(self.watch.destination)
        self.files.effect = fuse
        self.store.effect = fuse
        self.stored.effect = fuse
        self.bugs = Bugs(self.log, str)
        self.held = HeldFiles(store=self.stored, bugs=self.bugs, files=self.held_files)
        self.held.restore(self.journal, self.log)
        self.gate = Gate(
            clock=self.clock,
            generation=lambda: self.generation,
            log=self.log,
            opened=lambda refused, seconds: self.journal.queue.requeue(
                self.clock.now(), refused, seconds
            ),
            lifted=lambda pieces, mark: self.journal.queue.take_up(pieces, mark, self.clock.now()),
            passed_at=self.journal.figures.last_success_at() or 0.0,
        )
        self.roots = WatchRoots(files=self.files, journal=self.journal)
        self.lookup = SourceLookup(
            files=self.files, held=self.held, journal=self.journal, roots=self.roots
        )
        self.disposal = Disposal(
            files=self.files,
            journal=self.journal,
            lookup=self.lookup,
            clock=self.clock,
            tick=self._progressed,
        )
        self.losses = Losses(
            files=self.files,
            journal=self.journal,
            encoder=FrameEncoder(),
            clock=self.clock,
            tick=self._progressed,
        )
        self.live = LiveFiles(
            watches=self.watches,
            destination_of=self.destination_of,
            files=self.files,
            journal=self.journal,
            facts=lambda: self.facts,
            clock=self.clock,
            promised=lambda: None,
            held=self.held,
            bugs=self.bugs,
            log=self.log,
        )
        self.candidates = Candidates(
            files=self.files,
            journal=self.journal,
            clock=self.clock,
            destination_of=self.destination_of,
            facts=lambda: self.facts,
            proofs=GrowthProofs(self.clock, scan_bytes=self.scan_bytes),
            bugs=self.bugs,
            logs=self.live.logs,
        )
        self.discovery = Discovery(
            watches=self.watches,
            candidates=self.candidates,
            journal=self.journal,
            held=self.held,
            disposal=self.disposal,
            clock=self.clock,
            interval_seconds=30.0,
            promised=lambda: None,
            log=self.log,
        )
        self.limiter = ConcurrencyLimiter(most=self.in_flight or 1, clock=self.clock, log=self.log)
        self.carrier = self._carrier()
        self.small = SmallFiles(
            carrier=with_memory(self.carrier, self.small_budget),
            tasks=Interleaved(
                journal=self.journal,
                clock=self.clock,
                is_stopping=self.stopping.is_set,
                nudge=self._progressed,
                lingers=False,
            ),
            limiter=self.limiter,
            budget=self.small_budget,
        )
        self.housekeeping = self._housekeeping()

    @property
    def watches(self) -> list[Watch]:
        return [self.watch, *self.beside]

    def destination_of(self, watch: Watch) -> Destination:
        """Where its logs go."""
        return for_watch(replace(self.destination, key=self.key_template), watch)

    def key_of(self, shipment: Shipment) -> ObjectKey:
        to = self.destination_of(next(one for one in self.watches if one.name == shipment.watch))
        return object_key(to.key, destined(self.facts or FACTS, to), shipment)

    def _carrier(self) -> Carrier:
        reached = self._through(self.store)
        self.small_budget = ByteBudget(self.memory_limit_bytes // 4)
        self.budget = ByteBudget(self.memory_limit_bytes - self.small_budget.total_bytes)
        watches = {
            watch.name: self.destination_of(watch)
            for watch in self.watches
            if watch.destination == self.watch.destination
        }
        terms = upload_settings_of(self.destination, watches, self.store.algorithm)
        name, how = self.watch.destination, {"clock": self.clock, "bugs": self.bugs}
        abandoned = move(self.journal, name, terms, **how, log=self.log)  # type: ignore[arg-type]  # each its own
        self.journal.assign({watch.name: watch.destination for watch in self.watches})
        abort_each(reached, abandoned, is_stopping=self.stopping.is_set, log=self.log)
        self.sending = Sending(
            journal=self.journal,
            store=reached,
            lookup=self.lookup,
            held=self.held,
            losses=self.losses,
            disposal=self.disposal,
            gate=self.gate,
            watches=self.watches,
            facts=self.facts or FACTS,
            key_of=self.key_of,
            clock=self.clock,
            rng=Random(0),
            log=self.log,
            retry_policy=RetryPolicy(
                stopping=self.stopping,
                rng=Random(0),
                in_turn=self.limiter.request,
                backoff=ONCE,
            ),
            progress=Progress(
                is_stopping=self.stopping.is_set,
                passed=self.gate.passed,
                moved=self._progressed,
            ),
            frames=InlineExecutor(),
            ahead=2,
            parts=InlineExecutor(),
            concurrent_parts=2,
            blocking=Blocking(
                journal=self.journal, wait=self.stopping.wait, moved=self._progressed
            ),
            part_size_bytes=self.part_size_bytes,
            is_signed=self.destination.sign_payloads,
            budget=self.budget,
            refresh_now=self._refresh_now,
            is_urgent=lambda: self.is_urgent,
            bugs=self.bugs,
        )
        return carrier_of(self.sending)

    def _housekeeping(self) -> Housekeeping:
        self.held_budget = HeldBudget(
            held=self.held,
            journal=self.journal,
            lookup=self.lookup,
            losses=self.losses,
            watches={watch.name: watch for watch in self.watches},
            clock=self.clock,
            budget_bytes=self.held_bytes,
            bugs=self.bugs,
            log=self.log,
        )
        return Housekeeping(
            watches=self.watches,
            files=self.files,
            journal=self.journal,
            held=self.held,
            held_budget=self.held_budget,
            clock=self.clock,
            longest_wait_seconds=600,
            roots=self.roots,
            bugs=self.bugs,
            log=self.log,
        )

    def _progressed(self) -> None:
        self.signs_of_life += 1

    def _refresh_now(self) -> None:
        self.refreshes += 1

    def stop(self) -> None:
        """End a life without a word."""
        self.journal.effect = self.files.effect = self.store.effect = lambda name: None
        for task in self.small.tasks._tasks:
            task.close()
        self.held.close()
        self.journal.close()

    def restart(self, fuse: Callable[[str], None] = lambda name: None) -> None:
        """End this life and begin another."""
        self.stop()
        self.start(fuse)

    def lose_journal(self) -> None:
        """Begin a life that knows nothing of those before it."""
        self.stop()
        for path in Path(self._journal_path).parent.glob("journal.db*"):
            path.unlink()
        self.start()

    def discover(self) -> None:
        """Two looks, far enough apart: what is quiet is promised, and live what is due."""
        self.look()
        self.clock.advance(seconds=self.watch.settle_seconds)
        self.look()

    def look(self) -> float:
        """One scan, and what is due of the live files; the seconds until the next one."""
        wait = self.discovery.step()
        return min(wait, self.live.ship_due())

    def go_live(self, *, whole: bool = False) -> None:
        """One pass over the live files."""
        self.live.wanted = whole
        self.live.step()

    def carry(self) -> None:
        """Let the workers do all that is due: the small files at the same time, then the others.

        ``in_flight`` of 0 leaves everything to one worker, one after the other.
        """
        for _ in range(1000):
            waits = [self.small.step()] if self.in_flight else []
            sizes = self.small.others if self.in_flight else ANY_SIZE
            waits.append(self.carrier.step(sizes))
            if self.in_flight and not self.small.is_idle:  # the bucket is a real server
                self.small.tasks.wait(60.0)
            elif min(waits) > 0:
                return
        raise AssertionError("the carriers never come to rest")

    def carry_meanwhile(self) -> None:
        """Let another worker do all that is due, while one is in the middle of something."""
        in_flight, self.in_flight = self.in_flight, 0
        try:
            self.carry()
        finally:
            self.in_flight = in_flight

    def run(self, rounds: int = 6) -> None:
        """Discover and carry until nothing is left to do, letting time pass."""
        for _ in range(rounds):
            self.discover()
            self.carry()
            self.clock.advance(minutes=15)
            self.carry()

    # What came of it.

    def rows(self, *states: State) -> list[Shipment]:
        """Every shipment, or those in these states, by id."""
        rows = self.journal._database.shipments(f"{journal_statements.SELECT} ORDER BY id")
        return [row for row in rows if not states or row.state in states]

    def row(self, path: bytes) -> Shipment:
        """The newest shipment whose source was last seen under this path."""
        return self.journal.at_path(self.watch.name, RelativePath(path))[-1]

    def contents(self) -> list[bytes]:
        """The decoded objects, in the order of their keys."""
        return [decoded(key, body) for key, body in sorted(self.store.objects().items())]

    def is_empty_handed(self) -> bool:
        """Nothing is open and no memory is reserved but what is held for waiting shipments."""
        return self.budget.is_idle and self.small_budget.is_idle


def decoded(key: str, body: bytes) -> bytes:
    """An object's content."""
    if key.endswith(".zst"):
        reader = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
        return reader.read()
    if key.endswith(".gz"):
        return gzip.decompress(body)
    return body


def random_log(seed: int, size_bytes: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return Random(seed).randbytes(size_bytes)
