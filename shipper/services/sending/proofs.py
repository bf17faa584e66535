"""Says when a file may be compared with what was shipped, and for how long.

A worker carries nothing else while it compares. So one long proof goes on at a time, and it waits
where something else is worth more: in the worker for small files, on trial, and in a drain.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
    """Begins proofs; safe to share between threads. ``_long`` is held by the one long proof.

    ``tick`` is called for every read and every piece; whatever it raises ends the proof.
    """

    queue: Queue
    gate: Gate
    clock: Clock
    is_urgent: Callable[[], bool]
    tick: Callable[[], None]
    _long: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of_a_file(self, *, is_brief: bool) -> "FileProofs":
        """The proofs of one file, whose time begins now; ``is_brief`` puts off long ones."""
        return FileProofs(self, is_brief)

    @contextmanager
    def turn(self, content_bytes: int, *, is_brief: bool) -> Iterator[None]:
        """Keep the proof of so much content from going on beside another long one.

        Raises:
            PortError: ``DuplicateUndecided``; it is another's turn.
        """
        if content_bytes <= AT_ONCE_BYTES:
            yield
            return
        if is_brief:
            raise _put_off("this worker is for what takes a moment")
        if self.gate.reason() is not None:
            raise _put_off("nothing passes, and only a write can tell that it does again")
        self.require_leisure()
        if not self._long.acquire(blocking=False):
            raise _put_off("another file is being compared")
        try:
            yield
        finally:
            self._long.release()

    def require_leisure(self) -> None:
        """Let everything else that is due in a drain go first.

        Raises:
            PortError: ``DuplicateUndecided``; something is due.
        """
        if self.is_urgent():
            due_at = self.queue.next_due_at()
            if due_at is not None and due_at <= self.clock.now():
                raise _put_off("other files go first while the machine is about to end")


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

        def tick() -> None:
            self._proofs.tick()
            self._hurry(content_bytes)
            if self._proofs.clock.monotonic() >= self._until:
                raise PortError("ProofTooLong", "comparing it with what was shipped took too long")

        with self._proofs.turn(content_bytes, is_brief=self._is_brief):
            yield tick

    def _hurry(self, content_bytes: int) -> None:
        """Once a drain has begun, a few seconds are left, and none while something is due."""
        if self._is_urgent or not self._proofs.is_urgent():
            return
        self._is_urgent = True
        until = self._proofs.clock.monotonic() + URGENT_PROOF_SECONDS
        self._until = min(self._until, until)
        if content_bytes > AT_ONCE_BYTES:
            self._proofs.require_leisure()


def _put_off(why: str) -> PortError:
    return PortError("DuplicateUndecided", f"waits: {why}", retry_after=WAIT_SECONDS)
