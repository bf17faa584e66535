"""watchdog as a doorbell: an event ends a wait and carries no truth.

Only what a rotation causes is listened to. Opened, modified and closed-without-writing are not:
on a busy log they cost half a core (measured). A root that cannot be watched is listed with the
reason, and is scanned at the interval like all others.
"""

from collections.abc import Callable, Sequence
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

LISTENED = [
    FileCreatedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
Root = tuple[str, str, bool]
"""A watch's name, its directory, and whether it is recursive."""


class Watcher:
    """Rings when something may have been rotated. ``start``, ``retry``, ``stop``: one thread."""

    def __init__(self, roots: Sequence[Root], *, ring: Callable[[], None], log: Any) -> None:
        self._roots = {root[0]: root for root in roots}
        self._bell = _Bell(ring)
        self._log = log
        self._observer = Observer()
        self.unwatched: dict[str, str] = {}
        """Watches without events, by name, with the reason."""

    def start(self) -> None:
        """Begin to listen."""
        self._observer.start()
        for root in self._roots.values():
            self._add(root)

    def retry(self) -> None:
        """Try the unwatched roots again: their directory may have been created."""
        for name in list(self.unwatched):
            self._add(self._roots[name])

    def stop(self) -> None:
        """Stop listening."""
        self._observer.stop()
        self._observer.join(timeout=5.0)

    def is_alive(self) -> bool:
        """Whether events can still arrive."""
        return self._observer.is_alive()

    def _add(self, root: Root) -> None:
        name, directory, recursive = root
        try:
            self._observer.schedule(
                self._bell, directory, recursive=recursive, event_filter=LISTENED
            )
        except OSError as error:
            reason = error.strerror or str(error)
            if self.unwatched.get(name) != reason:
                self._log.warning("watch.refused", watch=name, code="OSError", detail=reason)
            self.unwatched[name] = reason
        else:
            if self.unwatched.pop(name, None) is not None:
                self._log.info("watch.begun", watch=name)
                self._bell.ring()


class _Bell(FileSystemEventHandler):
    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.ring()
