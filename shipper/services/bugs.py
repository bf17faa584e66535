"""Where a bug of ours ends: at the one file, row or chore that met it.

What the world does is a ``PortError`` and judged where it belongs, and a journal that cannot be
used is nobody's in particular. Anything else is a mistake of ours: whoever met it is set aside
with the last line of the traceback, and the others go on.
"""

import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from shipper.journal.database import is_unusable
from shipper.ports import PortError, Stopping

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_LONGEST_LINE = 300
_HINT = "a bug of shipper: please report it with the traceback in the log"


class Bugs:
    """Contains and counts them; ``_lock`` guards all fields.

    ``redact`` takes secrets out of a bug's text, for the journal keeps it.
    """

    def __init__(self, log: Any, redact: Callable[[str], str]) -> None:
        self._log = log
        self._redact = redact
        self._lock = threading.Lock()
        self._told: set[tuple[object, ...]] = set()
        self.count = 0

    def contained(
        self, work: Callable[[], Outcome], otherwise: Callable[[PortError], Outcome], **about: Any
    ) -> Outcome:
        """What ``work`` returns, or what ``otherwise`` makes of its bug.

        ``about`` says whose work it is; the same bug of the same one is logged once.

        Raises:
            PortError, Stopping: as ``work`` does; and what tells that the journal is unusable.
        """
        try:
            return work()
        except Exception as error:
            if not _is_bug(error):
                raise
            return otherwise(self._problem(error, about))

    async def contained_task(
        self,
        work: Callable[[], Awaitable[None]],
        otherwise: Callable[[PortError], Awaitable[None]],
        **about: Any,
    ) -> None:
        """As ``contained``."""
        try:
            return await work()
        except Exception as error:
            if not _is_bug(error):
                raise
            problem = self._problem(error, about)
        return await otherwise(problem)

    def each(
        self, found: Callable[[], Iterable[Item]], **about: Any
    ) -> Iterator[Item | PortError]:
        """All that is found, and last the bug that ended it, if one did.

        Raises:
            PortError, Stopping: as ``contained``.
        """
        try:
            yield from found()
        except Exception as error:
            if not _is_bug(error):
                raise
            yield self._problem(error, about)

    def batch(
        self,
        work: Callable[[Sequence[Item]], Iterable[Outcome] | None],
        items: Sequence[Item],
        about: Callable[[Item], dict[str, Any]],
        otherwise: Callable[[Item, PortError], None] = lambda item, problem: None,
    ) -> list[Outcome]:
        """What ``work``, which does all or nothing, makes of the items.

        Where one of them meets a bug, each is done by itself, and that one is left out.

        Raises:
            PortError, Stopping: as ``contained``.
        """
        try:
            return list(work(items) or ()) if items else []
        except Exception as error:
            if not _is_bug(error):
                raise
        made: list[Outcome] = []
        for item in items:
            alone = self.contained(partial(work, [item]), partial(otherwise, item), **about(item))
            made += alone or ()
        return made

    def _problem(self, error: Exception, about: dict[str, Any]) -> PortError:
        """``OutOfMemory``, which passes, or ``Bug``, which does not."""
        line = self._redact(traceback.format_exception_only(error)[-1].strip())[:_LONGEST_LINE]
        line = line.encode(errors="backslashreplace").decode()  # it may quote a file's name
        if isinstance(error, MemoryError):
            return PortError("OutOfMemory", line, "give the daemon more memory (MemoryMax=)")
        label = (*about.values(), line)
        with self._lock:
            self.count += 1
            is_news = label not in self._told
            self._told.add(label)
        if is_news:
            self._log.error(
                "bug.met", **about, code="Bug", detail=line, hint=_HINT, exc_info=error
            )
        return PortError("Bug", line, _HINT)


def _is_bug(error: Exception) -> bool:
    """Whether it is neither the world's, nor nobody's in particular."""
    return not isinstance(error, PortError | Stopping) and not is_unusable(error)
