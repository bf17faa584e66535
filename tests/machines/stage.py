"""Where rotators, the daemon and failures meet, one action at a time, and what each may do.

After every action the ledger is told what is in the bucket, on the disk and held. Only what the
daemon does may lose nothing.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from shipper.core.rotated_names import ASIDE
from shipper.core.types import Watch
from tests.machines.audit import Audit
from tests.machines.disk import DiskWorld, regular_inodes
from tests.machines.ledger import Body, Ledger
from tests.machines.rotator import Rotator, line
from tests.machines.world import Crash, Fuse

MOST_SHIPMENTS = 200
ROUNDS = 20
FAR_BACK_HOURS = 100
"""Further than the clock was ever set back: what waits for its removal is as old as it looks."""

Act = Callable[[], object]


class Stage:
    """One machine, one log directory, one bucket. ``counts`` is what was done on it."""

    def __init__(
        self, top: Path, watch: Watch, counts: Counter[str], *, seed: int, **world: Any
    ) -> None:
        self.counts = counts
        self.ledger = Ledger()
        self.world = DiskWorld(top, watch=watch, ledger=self.ledger, **world)
        self.rotator = Rotator(top, self.world.clock, self.ledger)
        self.world.disk.order = Random(seed)
        self.world.disk.born = self.rotator.born
        self._top = top
        self._crashes = 0
        self._spared: set[int] = set()
        """Inodes that once had two names, or none in the watch: disposal was done with them."""
        self.has_failed = False
        """Then it is not brought to rest."""

    def log(self, name: str) -> Path:
        """A log that is being written."""
        return self.rotator.logs / name

    def line(self, size_bytes: int) -> bytes:
        """A line unlike all others; with no size the shortest, which is like many."""
        return line(len(self.ledger.chunks), size_bytes) if size_bytes else b"x\n"

    # Who acts.

    def act(self, name: str, act: Act) -> None:
        """A program does something, and may lose whatever it likes."""
        self.counts[name] += 1
        with self._failing():
            self.world.observe()
            act()
            self._reconcile(name, may_lose=True)

    def act_on(self, name: str, pick: int, act: Callable[[Path], object]) -> None:
        """Something happens to one of the rotated files; where there is none, there is one first.

        Names that the daemon has set aside, and did not live to remove, are known to nobody.
        """
        if not self._rotated():
            self.act("write", lambda: self.rotator.write(self.log("app.log"), self.line(500)))
            self.act("rotate", lambda: self.rotator.rotate(self.log("app.log"), limit=2))
        rotated = self._rotated()
        self.act(name, lambda: act(rotated[pick % len(rotated)]))

    def _rotated(self) -> list[Path]:
        aside = ASIDE.decode()
        return [path for path in self.rotator.rotated() if not path.name.startswith(aside)]

    def daemon_acts(self, name: str, act: Act) -> None:
        """The daemon does something, and may lose nothing."""
        self.counts[name] += 1
        with self._failing():
            try:
                act()
            finally:
                self.world.observe()
                self._reconcile(name, may_lose=False)
            self._check_descriptors()

    def restart(self) -> None:
        """The daemon begins another life, without the descriptors of the last one."""
        self.counts["restart"] += 1
        self.world.restart()
        self._reconcile("restart", may_lose=True)

    def crash(self, at: int, name: str, act: Act) -> None:
        """The daemon dies at the n-th effect of what it does, if there are so many."""
        fuse = Fuse(at=at)
        self.world.arm(fuse)
        with contextlib.suppress(Crash):
            self.daemon_acts(f"crash in {name}", act)
        self.world.arm()
        if fuse.burnt_at:
            self._crashes += 1
            self.restart()

    def interrupt(self, at: int, name: str, act: Act, interruption: Act) -> None:
        """Somebody else does something at the n-th effect of what the daemon does."""
        self.world.arm(_Once(at, interruption))
        self.daemon_acts(name, act)
        self.world.arm()

    def mend(self) -> None:
        """S3 and the journal's disk are well, and the role's credentials new."""
        self.world.store.outage = None
        self.world.generation += 1
        self.world.fill_journal(is_full=False)
        self.world.lock_journal(is_locked=False)

    # What the daemon does.

    def look(self) -> None:
        """One scan."""
        self.world.look()
        self._check_held()

    def carry(self) -> None:
        """One shipment, if one is due."""
        self.world.carrier.step()

    def look_and_carry(self) -> None:
        """Promise what is quiet, and carry whatever is due."""
        self.world.discover()
        for _ in range(MOST_SHIPMENTS):
            if self.world.carrier.step() > 0:
                return
        raise AssertionError("the carrier never comes to rest")

    def drain(self, *, whole: bool) -> None:
        """A look, a pass over the live files, and whatever is due then."""
        self.world.discovery.step()
        self.world.go_live(whole=whole)
        self.world.is_urgent = True
        try:
            self.look_and_carry()
        finally:
            self.world.is_urgent = False

    def tidy(self) -> None:
        """A round of housekeeping."""
        self.world.housekeeping.step()

    # Rest.

    def come_to_rest(self) -> None:
        """Mend everything, let time pass until nothing is left to do, and audit.

        Raises:
            AssertionError: it never rests, or something does not add up.
        """
        self.counts["rest"] += 1
        self.rotator.close_writers()
        self.world.disk.denied.clear()
        self.act("unlink second names", self.rotator.unlink_second_names)
        self.world.store._failures.clear()
        self.mend()
        with self._failing():
            self._rest()
            audit = Audit(self.world, self.rotator, crashes=self._crashes, spared=self._spared)
            audit.check()
        self.counts.update(audit.counts)

    def _rest(self) -> None:
        world, rounds_at_rest = self.world, 0
        # Where ETags tell nothing, the next write tells a new life what S3 checks.
        another = self.rotator.logs / f"another.log.{self.counts['rest']}"
        text = self.line(20)
        self.act("write another log", lambda: self.rotator.write(another, text))
        for _ in range(ROUNDS):
            self.daemon_acts("retry", world.retry_parked)
            self.daemon_acts("look and carry", self.look_and_carry)
            world.clock.advance(minutes=6)
            self.daemon_acts("tidy", self.tidy)
            is_at_rest = not world.journal.unfinished(1) and not world.discovery.waiting_files
            rounds_at_rest = rounds_at_rest + 1 if is_at_rest else 0
            if rounds_at_rest == 2:
                world.clock.advance(hours=FAR_BACK_HOURS)
                self.daemon_acts("look and carry", self.look_and_carry)
                return
        left = world.journal.unfinished(3) + world.journal.parked(3)
        raise AssertionError(f"never at rest: {left} {world.discovery.waiting_files}")

    def close(self) -> None:
        """End the last life; nothing may be open then."""
        self.world.stop()
        self.rotator.close_writers()
        assert self.has_failed or self.world.descriptors(self._top) == []

    # What holds after every action.

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Crash:
            raise
        except BaseException:
            self.has_failed = True
            raise

    def _reconcile(self, by: str, *, may_lose: bool) -> None:
        away = regular_inodes(str(self.rotator.elsewhere))
        linked = regular_inodes(str(self.rotator.logs)) | away
        self._spared |= away | self.rotator.doubly_named()
        self.ledger.part({path: path.lstat().st_ino for path in self._rotated()})
        self.ledger.reconcile(linked, self.world.held_ranges(), by=by, may_lose=may_lose)

    def _check_descriptors(self) -> None:
        held = len(self.world.held.shipments())
        places = (self.rotator.logs, self.rotator.elsewhere)
        opened = sum(len(self.world.descriptors(facts)) for facts in places)
        assert opened == held + len(self.rotator.writers), "a descriptor leaked"
        assert held <= self.world.held_files

    def _check_held(self) -> None:
        """After a look, what waits is held, as far as the budget goes: nothing else excuses."""
        is_full = len(self.world.held.shipments()) >= self.world.held_files
        if is_full or self.world.discovery.trouble is not None:
            return
        for row in self.world.unheld():
            body = self._readable(row.path)
            is_there = body is not None and body.inode == row.file_id.inode
            is_there = is_there and self.world.is_as_promised(row)
            assert not is_there, f"{row.path!r} waits and is not held"

    def _readable(self, path: bytes) -> Body | None:
        """What is under a name, where the daemon may read it."""
        whole = self.rotator.logs / path.decode()
        if whole not in self.rotator.rotated():
            return None
        found = whole.lstat()
        is_refused = found.st_nlink > 1 or found.st_ino in self.world.disk.denied
        return None if is_refused else self.rotator.body(whole)


class _Once:
    """Acts at the n-th effect, once."""

    def __init__(self, at: int, act: Act) -> None:
        self._left = at
        self._act = act

    def __call__(self, name: str) -> None:
        self._left -= 1
        if not self._left:
            self._act()
