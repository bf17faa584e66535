"""Whatever rotators, writers, S3, the journal's disk and crashes do, in whatever order.

A state machine acts on a real directory as programs do and lets the real services work on it,
with a fake clock and a fake bucket. The ledger knows every byte. After every step (``Stage``):

- the daemon has lost nothing: what S3 does not have, a name or a held descriptor leads to;
- nothing was removed or archived before S3 had all of it;
- every object is a range of one file, and none was overwritten;
- what waits is held within the budget, and no other descriptor is open below the watch.

And once everything has come to rest, with all failures mended (``Audit``):

- every chunk that was in a rotated log, and was not lost by somebody else, is in exactly one
  object; what else may be there twice is listed in ``Audit._excuse``, and nowhere else;
- the bucket, read by names and lines as a person would, says the same;
- what is on disk is what the journal's segments add up to, and what was to be removed is;
- every promise that came to nothing was said aloud.

Frames and parts are small here, so that a log of a few lines is a multipart upload.
"""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shipper.core import parts
from shipper.core.types import AfterUpload, Compression, Watch, WatchName
from shipper.ports import PortError
from shipper.services.sending import part_cutter
from shipper.services.sources import reading
from tests.machines.rotator import ARCHIVERS
from tests.machines.stage import Stage

EXAMPLES, STEPS = 100, 50
DRAIN_EXAMPLES = 30
LIVE_EXAMPLES = 30
LONG_EXAMPLES, LONG_STEPS = 1000, 100
FRAME_BYTES = 4096
PART_BYTES = 16 * 1024
LIMIT = 5
SIZES = (0, 1, 60, 500, 5_000, 30_000, 90_000)
OUTAGES = ("Unreachable", "InternalError", "SlowDown", "AccessDenied", "ExpiredToken")
FAILURES = (*OUTAGES, "NoSuchUpload", "InvalidPart", "OperationAborted", "BadDigest")
LOSABLE = ("Unreachable", "InternalError", "SlowDown")
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

WORK = ("look", "seal", "carry", "look and carry", "look and carry")
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


SEEN: Counter[str] = Counter()
"""What all examples of a run together have done."""


class RotationMachine(RuleBasedStateMachine):
    """The rules; what they come to is the stage's business."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = contextlib.ExitStack()
        patch = self._patches.enter_context(pytest.MonkeyPatch.context())
        for module in (parts, part_cutter, reading):
            patch.setattr(module, "FRAME_BYTES", FRAME_BYTES)
        patch.setattr(parts, "MIN_PART_BYTES", PART_BYTES)
        self.top = Path(tempfile.mkdtemp(prefix="rotation-"))
        self.steps = 0
        """Since it was last at rest."""

    live_interval_seconds = 0.0

    @initialize(
        seed=st.integers(0, 9),
        compression=st.sampled_from(Compression),
        after_upload=st.sampled_from(AfterUpload),
        held_files=st.sampled_from((256, 256, 3)),
        etag_is_md5=st.booleans(),
        repeats_complete=st.booleans(),
        conditional_writes=st.booleans(),
    )
    def begin(self, compression: Compression, after_upload: AfterUpload, **world: Any) -> None:
        watch = Watch(
            name=WatchName("app"),
            directory=str(self.top / "logs"),
            compression=compression,
            after_upload=after_upload,
            archive_directory=str(self.top / "logs" / "archive"),
            exclude=("archive/**",),
            delete_after_seconds=60.0,
            live_interval_seconds=self.live_interval_seconds,
        )
        self.stage = Stage(self.top, watch, SEEN, smallest_part_bytes=PART_BYTES, **world)
        self.stage.world.part_size_bytes = PART_BYTES
        self.stage.restart()

    # What programs do.

    @rule(log=logs, size=sizes)
    def write(self, log: str, size: int) -> None:
        self.stage.act(
            "write", lambda: self.stage.rotator.write(self.stage.log(log), self.stage.line(size))
        )

    @rule(log=logs, pick=which)
    def write_the_same_again(self, log: str, pick: int) -> None:
        chunks = self.stage.ledger.chunks
        text = chunks[pick % len(chunks)].text if chunks else self.stage.line(1)
        self.stage.act(
            "write the same", lambda: self.stage.rotator.write(self.stage.log(log), text)
        )

    @rule(
        log=logs,
        how=st.sampled_from(("rename", "rename", "create", "hold", "dateext", "copytruncate")),
        between=st.sampled_from((0, 60)),
    )
    def rotate(self, log: str, how: str, between: int) -> None:
        path = self.stage.log(log)
        if not path.exists():
            self.stage.act("write", lambda: self.stage.rotator.write(path, self.stage.line(500)))
        text = self.stage.line(between) if between else b""
        ways: dict[str, Callable[[], object]] = {
            "rename": lambda: self.stage.rotator.rotate(path, LIMIT),
            "create": lambda: self.stage.rotator.rotate(path, LIMIT, creates=True),
            "hold": lambda: self.stage.rotator.rotate(path, LIMIT, is_held_open=True),
            "dateext": lambda: self.stage.rotator.rotate_by_date(path),
            "copytruncate": lambda: self.stage.rotator.copy_and_truncate(path, LIMIT, text),
        }
        self.stage.act(f"rotate: {how}", ways[how])

    @rule(
        pick=which,
        extension=st.sampled_from(sorted(ARCHIVERS)),
        until=st.sampled_from(("the end", "the end", "the end", "the middle", "the unlink")),
    )
    def compress(self, pick: int, extension: str, until: str) -> None:
        self.stage.act_on(
            f"compress to {until}",
            pick,
            lambda path: self.stage.rotator.compress(path, extension, until=until),
        )

    @rule(pick=which, how=st.sampled_from(TAMPERINGS), size=sizes)
    def tamper(self, pick: int, how: str, size: int) -> None:
        self.stage.act_on(how, pick, self._tampering(how, self.stage.line(size)))

    @rule(pick=which, size=sizes)
    def append_late(self, pick: int, size: int) -> None:
        self.stage.act_on("append", pick, self._tampering("append", self.stage.line(size)))

    @rule(
        how=st.sampled_from(("bring back", "unlink second names", "close writers", "allow reads"))
    )
    def make_good(self, how: str) -> None:
        ways: dict[str, Callable[[], object]] = {
            "bring back": self.stage.rotator.bring_back,
            "unlink second names": self.stage.rotator.unlink_second_names,
            "close writers": self.stage.rotator.close_writers,
            "allow reads": self.stage.world.disk.denied.clear,
        }
        self.stage.act(how, ways[how])

    # The daemon's rules.

    @rule(what=st.sampled_from(WORK))
    def work(self, what: str) -> None:
        self.stage.daemon_acts(what, self._work(what))

    @rule(seconds=st.sampled_from((1, 6, 61, 400)))
    def wait(self, seconds: int) -> None:
        self.stage.world.clock.advance(seconds=seconds)
        self.stage.daemon_acts("tidy", self.stage.tidy)

    @rule(hours=st.sampled_from((-1, 1)))
    def set_clock(self, hours: int) -> None:
        clock = self.stage.world.clock
        clock.set_wall(clock.now() + hours * 3600)
        self.stage.daemon_acts("tidy", self.stage.tidy)

    @rule()
    def restart(self) -> None:
        self.stage.restart()

    @rule(at=st.integers(1, 25), what=st.sampled_from(WORK))
    def crash(self, at: int, what: str) -> None:
        self.stage.crash(at, what, self._work(what))

    @rule(
        at=st.integers(1, 25),
        what=st.sampled_from(WORK),
        pick=which,
        how=st.sampled_from((*TAMPERINGS, "append", "shift", "compress")),
    )
    def interrupt(self, at: int, what: str, pick: int, how: str) -> None:
        """The rotator comes while the daemon is in the middle of something."""
        self.stage.interrupt(
            at,
            f"{what}, interrupted",
            self._work(what),
            lambda: self.stage.act_on(
                f"{how} meanwhile", pick, self._tampering(how, self.stage.line(500))
            ),
        )

    @rule(at=st.integers(1, 40), what=st.sampled_from(WORK))
    def carry_at_once(self, at: int, what: str) -> None:
        """Another worker carries all that is due, in the middle of something."""
        self.stage.interrupt(
            at, "carried at once", self._work(what), self.stage.world.carry_meanwhile
        )

    # What fails.

    @rule(code=st.sampled_from(OUTAGES))
    def begin_outage(self, code: str) -> None:
        self.stage.world.store.outage = PortError(code)

    @rule()
    def mend(self) -> None:
        self.stage.mend()

    @rule(
        operation=st.sampled_from(OPERATIONS),
        code=st.sampled_from(FAILURES),
        after_effect=st.booleans(),
    )
    def fail_next(self, operation: str, code: str, after_effect: bool) -> None:
        """Only some answers can get lost: whoever refuses does nothing."""
        after_effect = after_effect and code in LOSABLE
        self.stage.world.store.fail_next(operation, PortError(code), after_effect=after_effect)

    @rule(how=st.sampled_from(("uploads lost", "journal full", "journal locked")))
    def fail(self, how: str) -> None:
        ways: dict[str, Callable[[], object]] = {
            "uploads lost": self.stage.world.store.lose_uploads,
            "journal full": lambda: self.stage.world.fill_journal(is_full=True),
            "journal locked": lambda: self.stage.world.lock_journal(is_locked=True),
        }
        self.stage.act(how, ways[how])

    # Rest.

    @invariant()
    def count(self) -> None:
        self.steps += 1
        SEEN["steps"] += 1

    @precondition(lambda self: self.steps > 15)
    @rule()
    def come_to_rest(self) -> None:
        self.steps = 0
        self.stage.come_to_rest()

    def teardown(self) -> None:
        try:
            if not self.stage.has_failed:
                self.stage.come_to_rest()
        finally:
            self.stage.close()
            self._patches.close()
            shutil.rmtree(self.top)

    def _work(self, what: str) -> Callable[[], object]:
        ways: dict[str, Callable[[], object]] = {
            "look": self.stage.look,
            "seal": self.stage.world.discover,
            "carry": self.stage.carry,
            "look and carry": self.stage.look_and_carry,
        }
        return ways[what]

    def _tampering(self, how: str, text: bytes) -> Callable[[Path], object]:
        rotator = self.stage.rotator
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
            "deny": lambda path: self.stage.world.disk.denied.add(path.lstat().st_ino),
            "shift": lambda path: rotator.shift(self.stage.log("app.log"), LIMIT),
            "compress": lambda path: rotator.compress(path, ".gz"),
        }
        return ways[how]


class DrainingMachine(RotationMachine):
    """The same, but now and then it seems that the machine is about to end."""

    @rule(whole=st.booleans())
    def drain(self, whole: bool) -> None:
        self.stage.daemon_acts("drain", lambda: self.stage.drain(whole=whole))

    @rule(whole=st.booleans())
    def promise_live(self, whole: bool) -> None:
        self.stage.daemon_acts("promise live", lambda: self.stage.world.go_live(whole=whole))

    @rule(at=st.integers(1, 25), whole=st.booleans())
    def crash_in_a_drain(self, at: int, whole: bool) -> None:
        self.stage.crash(at, "drain", lambda: self.stage.drain(whole=whole))


class LiveMachine(DrainingMachine):
    """The same, and live logs are shipped all the time."""

    live_interval_seconds = 30.0


def report() -> str:
    """The counts, one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(SEEN.items()))


def run(
    examples: int, steps: int, machine: type[RotationMachine] = RotationMachine, **more: Any
) -> None:
    """Run the machine so many times, each for so many steps."""
    run_state_machine_as_test(
        machine,
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
    """The first third of the one below."""
    SEEN.clear()
    run(EXAMPLES // 3, STEPS, derandomize=True)
    assert SEEN["steps"] > 2000 // 3


@pytest.mark.system
@pytest.mark.lengthy
def test_every_byte_is_shipped_exactly_once_whatever_happens_for_longer() -> None:
    """A run of the long one below prints the same counts."""
    SEEN.clear()
    run(EXAMPLES, STEPS, derandomize=True)
    print(report())
    assert SEEN["steps"] > 2000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_byte_is_shipped_exactly_once_whatever_happens_for_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    SEEN.clear()
    run(LONG_EXAMPLES, LONG_STEPS, derandomize=False)
    with capsys.disabled():
        print(f"\n{report()}")
    assert SEEN["steps"] > 80_000


def test_every_byte_is_shipped_exactly_once_though_live_files_are_shipped_as_well() -> None:
    SEEN.clear()
    run(DRAIN_EXAMPLES, STEPS, DrainingMachine, derandomize=True)
    assert SEEN["drain"] > DRAIN_EXAMPLES


def test_every_byte_is_shipped_exactly_once_though_live_logs_go_in_segments() -> None:
    SEEN.clear()
    run(LIVE_EXAMPLES, STEPS, LiveMachine, derandomize=True)
    assert SEEN["objects"] > LIVE_EXAMPLES


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [DrainingMachine, LiveMachine])
def test_the_same_for_long(machine: type[RotationMachine]) -> None:
    run(LONG_EXAMPLES, LONG_STEPS, machine, derandomize=False)
