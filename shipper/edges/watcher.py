"""watchdog as a doorbell: an event ends a wait and carries no truth.

Only what gives a file a new name is listened to, because only that brings work. Opening and
modifying are not: on a busy log they cost half a core (measured). Closing is not either: a program
that opens its log for each line closes it as often, and a file that waits for its writer is looked
at again anyway. Neither is removal: there is nothing to ship in it.

A root that cannot be watched is listed with the reason, and is scanned at the interval like all
others.

What watchdog does not do by itself and ``retry`` does: it follows a directory by its inode, so a
root that was replaced is watched anew; it cannot begin where a directory is missing; it says
nothing about a directory it may not read; and a thread of it that died is not started again. Not
seen here: a subdirectory for which no inotify watch was left.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.utils import BaseThread

LISTENED: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
STOP_SECONDS = 5.0

Root = tuple[str, str, bool]
"""A watch's name, its directory, and whether it is recursive."""

_Place = tuple[str, bool]
_HINTS = {
    errno.ENOSPC: "raise fs.inotify.max_user_watches",
    errno.EMFILE: "raise fs.inotify.max_user_instances, or the limit of open files",
    errno.ENOENT: "create the directory, or correct the watch",
    errno.EACCES: "give the daemon read permission on the directory",
}


class Watcher:
    """Rings when something may have been rotated. All methods belong to one thread.

    ``ring`` is called from watchdog's threads, often, and must be cheap.
    """

    def __init__(self, roots: Sequence[Root], *, ring: Callable[[], None], log: Any) -> None:
        self._names: dict[_Place, list[str]] = {}
        for name, directory, recursive in roots:
            self._names.setdefault((directory, recursive), []).append(name)
        self._bell = _Bell(ring, log)
        self._log = log
        self._observer: BaseObserver | None = None
        self._threads: list[threading.Thread] = []
        self._watched: dict[_Place, tuple[ObservedWatch, os.stat_result]] = {}
        self.unwatched: dict[str, str] = {}
        """Watches without events, by name, with the reason."""

    def start(self) -> None:
        """Begin to listen. What cannot be watched is in ``unwatched``."""
        for place in self._names:
            self._add(place)

    def retry(self) -> None:
        """Put right what has changed since: a root that came, went or was replaced; dead threads.

        Costs one ``stat`` per root when all is well.
        """
        if self._observer is not None and not self.is_alive():
            self._log.error("watcher.died", code="ThreadDied")
            self.stop()
        for place in self._names:
            if place in self._watched and not self._is_current(place):
                self._drop(place)
            if place not in self._watched:
                self._add(place)

    def stop(self) -> None:
        """Stop listening; idempotent."""
        observer, self._observer = self._observer, None
        threads, self._threads = self._threads, []
        self._watched.clear()
        if observer is None:
            return
        with contextlib.suppress(KeyError, OSError, RuntimeError):  # it may be half dead
            observer.stop()
        for thread in threads:
            thread.join(timeout=STOP_SECONDS)

    def is_alive(self) -> bool:
        """Whether events can arrive; False before ``start``."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def _add(self, place: _Place) -> None:
        directory, recursive = place
        try:
            status = _readable(directory)
            watch = self._running().schedule(
                self._bell,
                os.path.realpath(directory),
                recursive=recursive,
                event_filter=LISTENED,
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread could be started
            self._refused(place, error)
            return
        self._watched[place] = (watch, status)
        is_back = False
        for name in self._names[place]:
            if self.unwatched.pop(name, None) is not None:
                self._log.info("watch.begun", watch=name)
                is_back = True
        if is_back:
            self._bell.ring()

    def _running(self) -> BaseObserver:
        """The observer; its construction takes an inotify instance, which may not be left."""
        if self._observer is None:
            before = set(threading.enumerate())
            observer = Observer()
            observer.start()
            self._observer = observer
            self._threads = [
                thread
                for thread in threading.enumerate()
                if isinstance(thread, BaseThread) and thread not in before
            ]
        return self._observer

    def _refused(self, place: _Place, error: OSError | RuntimeError) -> None:
        number = (error.errno or 0) if isinstance(error, OSError) else 0
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        for name in self._names[place]:
            if self.unwatched.get(name) != reason:
                self._log.warning(
                    "watch.refused",
                    watch=name,
                    code=errno.errorcode.get(number, type(error).__name__),
                    detail=reason,
                    hint=_HINTS.get(number, ""),
                )
            self.unwatched[name] = reason

    def _is_current(self, place: _Place) -> bool:
        """Whether what is watched is what the name leads to now, and events of it can arrive."""
        watch, status = self._watched[place]
        try:
            is_there = os.path.samestat(os.stat(place[0]), status)
        except OSError:
            is_there = False
        emitters = self._running().emitters
        return is_there and any(each.watch == watch and each.is_alive() for each in emitters)

    def _drop(self, place: _Place) -> None:
        watch, _ = self._watched.pop(place)
        with contextlib.suppress(KeyError):  # two names of one directory share a watch
            self._running().unschedule(watch)
        for name in self._names[place]:
            self.unwatched[name] = "it was replaced"


def _readable(directory: str) -> os.stat_result:
    """The directory's identity, or why it cannot be listened to.

    Raises:
        OSError: missing, not a directory, or no permission.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


class _Bell(FileSystemEventHandler):
    """What escapes from here would end watchdog's dispatcher, and all events with it."""

    def __init__(self, ring: Callable[[], None], log: Any) -> None:
        self._ring = ring
        self._log = log

    def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002 - watchdog's signature
        self.ring()

    def ring(self) -> None:
        try:
            self._ring()
        except Exception as error:  # noqa: BLE001 - the top of a loop that is not ours
            self._log.error("ring.failed", code=type(error).__name__, exc_info=error)
