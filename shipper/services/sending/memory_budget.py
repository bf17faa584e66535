"""The memory that parts in flight may take."""

import contextlib
import mmap
import threading
from collections.abc import Callable

MEANWHILE_SECONDS = 10.0
Buffer = bytearray | mmap.mmap
MAPPED_BYTES = 1024**2


class ByteBudget:
    """Memory that parts in flight may take, for the whole daemon. ``_freed`` guards all fields.

    An eighth is kept for requests of no more than that, so that small files do not wait behind the
    parts of huge ones; less where ``longest_bytes`` would not fit beside it. ``meanwhile`` is
    called while somebody waits.

    Buffers are kept for the next part of the same size: fresh pages cost half as much as hashing.
    Lent and kept together never exceed the budget, and nothing is kept while nothing is in flight.
    Large buffers are mapped outside of the heap, which they would fragment.
    """

    def __init__(
        self,
        total_bytes: int,
        *,
        longest_bytes: int = 0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._meanwhile = meanwhile
        self.total_bytes = total_bytes
        self._small = max(0, min(total_bytes // 8, total_bytes - longest_bytes))
        self.longest_bytes = total_bytes - self._small
        """No request gets more, and no buffer should be longer."""
        self._left = total_bytes
        self._kept: list[Buffer] = []
        self._freed = threading.Condition()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lent."""
        with self._freed:
            return self._left == self.total_bytes

    def lend(self, wanted_bytes: int, length: int) -> tuple[int, Buffer]:
        """Block until the bytes are free; how many were taken: at most ``longest_bytes``.

        The buffer of ``length`` is among them; its content is undefined.
        """
        with self._freed:
            spared = self._small if wanted_bytes > self._small else 0
            taken = min(wanted_bytes, self.total_bytes - spared)
            while self._left - taken < spared:
                self._freed.wait(MEANWHILE_SECONDS)
                self._meanwhile()
            self._left -= taken
            fitting = next((each for each in self._kept if len(each) == length), None)
            if fitting is not None:
                self._kept = [each for each in self._kept if each is not fitting]
            self._forget()
        try:
            return taken, _buffer(length) if fitting is None else fitting
        except MemoryError:
            self.give_back(taken)
            raise

    def lengthen(self, taken_bytes: int, buffer: Buffer, length: int) -> tuple[int, Buffer]:
        """A longer buffer with the same bytes for one that was lent, and what is taken now.

        It goes beyond the budget if need be: who has memory must not wait for more.
        """
        longer = _buffer(length)
        with memoryview(buffer) as present:
            longer[: len(present)] = present
        more_bytes = length - len(buffer)
        _release(buffer)
        with self._freed:
            self._left -= more_bytes
            self._forget()
        return taken_bytes + more_bytes, longer

    def give_back(self, taken_bytes: int, buffer: Buffer | None = None) -> None:
        with self._freed:
            self._left += taken_bytes
            self._kept += [] if buffer is None else [buffer]
            self._forget()
            self._freed.notify_all()

    def _forget(self) -> None:
        """Free kept buffers until they fit, all of them when nothing is in flight."""
        room = 0 if self._left == self.total_bytes else self._left
        while self._kept and sum(map(len, self._kept)) > room:
            _release(self._kept.pop(0))


def _buffer(length: int) -> Buffer:
    if length < MAPPED_BYTES:
        return bytearray(length)
    try:
        return mmap.mmap(-1, length)
    except OSError as error:
        raise MemoryError(f"{length} bytes: {error.strerror}") from error


def _release(buffer: Buffer) -> None:
    """Free it now even if it is referred to; later if a view of it is open."""
    with contextlib.suppress(BufferError):
        if isinstance(buffer, mmap.mmap):
            buffer.close()
        else:
            buffer.clear()
