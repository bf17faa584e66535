"""Says when a file may be compared with what was shipped, and for how long.

A worker carries nothing else while it compares. So one long proof goes on at a time, and it waits
where something else is worth more: in the worker for small files, on trial, and in a drain.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from shipper.core.concurrency import SMALL_BYTES
from shipper.journal.queue import Queue
from shipper.ports import Clock, PortError
from shipper.services.sending.gate import Gate

PROOF_SECONDS = 60.0
"""All proofs of one file together. gzip and zstd give 10 to 50 GB in that time, bzip2 some 2 GB.
Of a longer log the copy is shipped, too."""
URGENT_PROOF_SECONDS = 5.0
"""While the machine is about to end: rather a second object than a log that is lost."""
AT_ONCE_BYTES = 16 * 1024**2
"""The proof of a log of no more bytes takes a moment and little memory: it is never put off."""
WAIT_SECONDS = 10.0


@dataclass(kw_only=True)
class Proofs:
    """Begins proofs; safe to share between threads. ``long`` is held by the one long proof.

    ``tick`` is called for every read and every piece; whatever it raises ends the proof.
    """

    queue: Queue
    gate: Gate
    clock: Clock
    is_urgent: Callable[[], bool]
    tick: Callable[[], None]
    long: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of_a_file(self, *, is_brief: bool) -> "FileProofs":
        """The proofs of one file, whose time begins now; ``is_brief`` puts off long ones."""
        return FileProofs(self, is_brief)


class FileProofs:
    """The proofs of one file, for one thread."""

    def __init__(self, proofs: Proofs, is_brief: bool) -> None:
        self._proofs = proofs
        self._is_brief = is_brief
        self._is_urgent = proofs.is_urgent()
        seconds = URGENT_PROOF_SECONDS if self._is_urgent else PROOF_SECONDS
        self._until = proofs.clock.monotonic() + seconds

    @contextmanager
    def of(self, content_bytes: int) -> Iterator[Callable[[], None]]:
        """Prove against a log of so many bytes; what is given has to be called for every piece.

        Raises:
            PortError: ``DuplicateUndecided``; not now. ``ProofTooLong``, by what is given.
        """
        is_long = content_bytes > (SMALL_BYTES if self._is_brief else AT_ONCE_BYTES)
        if is_long:
            self._take_turn()
        try:
            yield lambda: self._tick(is_long=is_long)
        finally:
            if is_long:
                self._proofs.long.release()

    def _take_turn(self) -> None:
        if self._is_brief:
            raise put_off("this worker is for what takes a moment")
        if self._proofs.gate.reason() is not None:
            raise put_off("nothing passes, and only a write can tell that it does again")
        self._require_leisure()
        if not self._proofs.long.acquire(blocking=False):
            raise put_off("another file is being compared")

    def _require_leisure(self) -> None:
        """In a drain everything else that is due goes first."""
        due_at = self._proofs.queue.next_due_at() if self._proofs.is_urgent() else None
        if due_at is not None and due_at <= self._proofs.clock.now():
            raise put_off("other files go first while the machine is about to end")

    def _tick(self, *, is_long: bool) -> None:
        """Once a drain has begun, a few seconds are left, and none while something is due."""
        self._proofs.tick()
        if not self._is_urgent and self._proofs.is_urgent():
            self._is_urgent = True
            self._until = min(self._until, self._proofs.clock.monotonic() + URGENT_PROOF_SECONDS)
            if is_long:
                self._require_leisure()
        if self._proofs.clock.monotonic() >= self._until:
            raise PortError("ProofTooLong", "comparing it with what was shipped took too long")


def put_off(why: str) -> PortError:
    """Raised where a file is to be asked for again soon."""
    return PortError("DuplicateUndecided", f"waits: {why}", retry_after=WAIT_SECONDS)
