"""Listening for rotations: an event ends the wait for the next scan, and proves nothing.

The scan is the truth. What no event tells of is found within ``scan.interval``; a root without
events is scanned more often (``core.backoff.scan_interval``).

Only events that give a file a name are listened to, because only those bring work. Opening,
writing and closing a busy log would cost half a core (measured).

The type of the mount decides whether to listen at all (``core.mounts``). A network file system is
never touched from here, for its server may hang.

``retry`` puts right what watchdog leaves alone:

- watchdog follows a directory by its inode, so a root that was replaced or mounted over is
  listened to anew. So is one that may have been unmounted and mounted again in between, which ends
  its events: the kernel gives the same numbers again, and only poll(2) on the table of mounts
  tells. It cannot begin where a directory is missing, it passes in silence over one
  that it may not read, and it does not replace a thread of its own that died.
- A file that is made and renamed before its new directory is listened to may be missed (4 to 66
  times in 1,000, measured). After a new directory, the next ``retry`` nudges again.

watchdog also passes over a subdirectory that inotify refuses (ENOSPC). Scans find its files.
IN_Q_OVERFLOW reaches no handler; watchdog logs a warning, and a warning of it nudges.
"""

import contextlib
import errno
import logging
import os
import select
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog import events
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.utils import BaseThread

from shipper.core.mounts import Mount, is_watchable, mounts_from_text, mounts_seen
from shipper.core.object_keys import printable
from shipper.edges.files.links import DIRECTORY, opened

LISTENED: list[type[FileSystemEvent]] = [
    events.FileCreatedEvent,
    events.FileMovedEvent,
    events.DirCreatedEvent,
    events.DirMovedEvent,
]
STOP_SECONDS = 5.0
MOUNTINFO = "/proc/self/mountinfo"
_WATCHDOG = logging.getLogger("watchdog")

Root = tuple[str, str, bool]
"""A watch's name, its directory, and whether it is recursive."""
MOST_MATCHED = 16
"""Of so many directories that a pattern matches events come, at the price of a thread for each."""

_HINTS = {
    "ENOSPC": "raise fs.inotify.max_user_watches",
    "EMFILE": "raise fs.inotify.max_user_instances, or the limit of open files",
    "ENOENT": "create the directory, or correct the watch",
    "EACCES": "give the daemon read permission on the directory",
    "NetworkMount": "it is scanned more often; a watch of its own spares the others that",
    "ManyDirectories": "they are scanned more often instead",
}
_UNSCANNABLE = frozenset({"ENOENT", "ENOTDIR", "EACCES", "Replaced"})


@dataclass(frozen=True, slots=True)
class Unwatched:
    """Why no events come from a watch's directory."""

    code: str
    """An errno's name, or ``NetworkMount``."""
    detail: str

    @property
    def is_scannable(self) -> bool:
        """Whether scans find what events do not tell; ``retry`` notices when others come back."""
        return self.code not in _UNSCANNABLE

    @property
    def hint(self) -> str:
        return _HINTS.get(self.code, "")


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    status: os.stat_result
    seen: tuple[Mount, ...]
    """The mounts at and below it when listening began."""


class Watcher:
    """Nudges when something may have been rotated. All methods belong to one thread.

    ``nudge`` is called from watchdog's threads, often, and must be cheap.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        nudge: Callable[[], None],
        log: Any,
        mountinfo: str = MOUNTINFO,
    ) -> None:
        self._roots = {name: (directory, recursive) for name, directory, recursive in roots}
        self._events = _Events(nudge, log)
        self._warnings = _Warnings(self._events)
        self._log = log
        self._mountinfo = mountinfo
        self._mounts_text = ""
        self._mounts: tuple[Mount, ...] = ()
        self._mounts_file: int | None = None
        self._mounts_poll = select.poll()
        self._observer: BaseObserver | None = None
        self._threads: list[threading.Thread] = []
        self._watched: dict[str, _Watched] = {}
        self._matched: dict[str, Sequence[bytes]] = {}
        self.unwatched: dict[str, Unwatched] = {}
        """What gives no events, by the watch's name. Other threads may copy it."""

    def start(self) -> None:
        """Begin to listen. What cannot be listened to is in ``unwatched``."""
        # Where watchdog adds a directory twice, as after mkdir -p, it warns with the paths of all.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        _WATCHDOG.addHandler(self._warnings)
        self._has_new_mounts()
        for name in self._roots:
            self._begin(name)

    def retry(self) -> None:
        """Put right what has changed since: a root that came, went or was replaced; dead threads.

        Costs one ``stat`` per root, and one reading of the table of mounts, when all is well.
        """
        if self._observer is not None and not self.is_alive():
            self._log.error("watcher.died", code="ThreadDied")
            self._fall_silent()
            self._events.nudge()
        has_new_mounts = self._has_new_mounts()
        self._events.nudge_again()
        for name in self._roots:
            if name in self._watched and not self._is_current(name, has_new_mounts):
                self._drop(name)
                self.unwatched[name] = Unwatched("Replaced", "it was replaced")
            elif has_new_mounts and self._may_be_mounted_again(name):
                self._drop(name)
                self._events.nudge()
            if name not in self._watched:
                self._begin(name)

    def follow(self, name: str, directories: Sequence[bytes], *, recursive: bool) -> None:
        """Listen to the directories below a root that the watch's pattern matches.

        They are called ``NAME/DIRECTORY`` here, as it is shown: no watch's name has a slash.
        """
        if directories == self._matched.get(name, ()):
            return
        self._matched[name] = directories
        is_few, top = len(directories) <= MOST_MATCHED, os.path.realpath(self._roots[name][0])
        found = [each.rstrip(b"/") for each in directories if is_few]
        wanted = {
            f"{name}/{printable(each)}": os.path.join(top, os.fsdecode(each)) for each in found
        }
        for root in [one for one in self._roots if one.startswith(f"{name}/")]:
            if root not in wanted:
                self._forget(root)
        if is_few:
            self.unwatched.pop(f"{name}/*", None)
        else:
            said = f"{len(directories)} match, and events come of up to {MOST_MATCHED}"
            self.unwatched[f"{name}/*"] = Unwatched("ManyDirectories", said)
        for root in wanted.keys() - self._roots:
            self._roots[root] = wanted[root], recursive
            self._begin(root)
        self._events.nudge()  # what was rotated there meanwhile made no event

    def _forget(self, root: str) -> None:
        if root in self._watched:
            self._drop(root)
        self.unwatched.pop(root, None)
        del self._roots[root]

    def stop(self) -> None:
        _WATCHDOG.removeHandler(self._warnings)
        self._fall_silent()
        if self._mounts_file is not None:
            self._mounts_poll.unregister(self._mounts_file)
            os.close(self._mounts_file)
            self._mounts_file = None

    def is_alive(self) -> bool:
        """Whether events can arrive; False before ``start``."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def has_unwatched(self) -> bool:
        """Whether something may be rotated without an event, and a scan would find it."""
        return any(each.is_scannable for each in self.unwatched.values())

    def _fall_silent(self) -> None:
        if self._observer is not None:
            with contextlib.suppress(KeyError, OSError, RuntimeError):  # it may be half dead
                self._observer.stop()
        for thread in self._threads:
            thread.join(timeout=STOP_SECONDS)
        self._observer = None
        self._threads.clear()
        self._watched.clear()

    def _begin(self, name: str) -> None:
        """Listen to a root; say what has changed for it, and nudge when its events are back."""
        now, before = self._listen(name), self.unwatched.get(name)
        if now is not None:
            self.unwatched[name] = now
            is_gone = "/" in name and now.code == "ENOENT"  # the next scan knows
            if not is_gone and (before is None or before.code != now.code):
                said = {"code": now.code, "detail": now.detail, "hint": now.hint}
                self._log.warning("watch.refused", watch=name, **said)
        elif before is not None:
            del self.unwatched[name]
            self._log.info("watch.begun", watch=name)
            self._events.nudge()

    def _listen(self, name: str) -> Unwatched | None:
        """Listen to a root, or say why not."""
        directory, recursive = self._roots[name]
        try:
            seen = self._watchable(directory, recursive=recursive)
            if isinstance(seen, Unwatched):
                return seen
            with opened(os.open(directory, DIRECTORY)) as descriptor:
                status = os.fstat(descriptor)
            target = os.path.realpath(directory)
            if "/" in name and target != directory:  # scans enter no link, either
                return Unwatched("ENOENT", "a link took its place")
            seen = self._watchable(target, recursive=recursive)
            if isinstance(seen, Unwatched):
                return seen
            watch = self._running().schedule(
                self._events, target, recursive=recursive, event_filter=LISTENED
            )
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread could be started
            return _refusal(error)
        self._watched[name] = _Watched(watch, status, seen)
        return None

    def _watchable(self, directory: str, *, recursive: bool) -> tuple[Mount, ...] | Unwatched:
        """The mounts at and below the directory; or one of them that events do not tell of."""
        seen = mounts_seen(directory, self._mounts, recursive=recursive)
        for mount in seen:
            if not is_watchable(mount.kind):
                return Unwatched(
                    "NetworkMount", f"{mount.kind} at {printable(os.fsencode(mount.path))}"
                )
        return seen

    def _has_new_mounts(self) -> bool:
        """Read the table of mounts; whether it has changed. Without /proc nothing is known."""
        try:
            if self._mounts_file is None:
                self._mounts_file = os.open(self._mountinfo, os.O_RDONLY | os.O_CLOEXEC)
                self._mounts_poll.register(self._mounts_file, select.POLLPRI)
            was_touched = bool(self._mounts_poll.poll(0))
            with open(self._mountinfo, encoding="utf-8", errors="surrogateescape") as table:
                text = table.read()
        except OSError:
            return False
        if text == self._mounts_text:
            return was_touched
        self._mounts_text, self._mounts = text, mounts_from_text(text)
        return True

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

    def _is_current(self, name: str, has_new_mounts: bool) -> bool:
        """Whether what is watched is what the name leads to now, and events of it can arrive."""
        (directory, recursive), watched = self._roots[name], self._watched[name]
        if has_new_mounts:  # mounting over a directory says nothing to inotify
            seen = mounts_seen(watched.watch.path, self._mounts, recursive=recursive)
            if seen != watched.seen:
                return False
        try:
            is_there = os.path.samestat(os.stat(directory), watched.status)
        except OSError:
            is_there = False
        emitters = self._running().emitters
        return is_there and any(
            each.watch == watched.watch and each.is_alive() for each in emitters
        )

    def _may_be_mounted_again(self, name: str) -> bool:
        """Whether it is, in part, on a file system that can be unmounted."""
        return name in self._watched and any(
            mount.path != "/" for mount in self._watched[name].seen
        )

    def _drop(self, name: str) -> None:
        watched = self._watched.pop(name)
        with contextlib.suppress(KeyError):  # two names of one directory share a watch
            self._running().unschedule(watched.watch)


def _refusal(error: OSError | RuntimeError) -> Unwatched:
    if not isinstance(error, OSError):
        return Unwatched(type(error).__name__, str(error))
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return Unwatched(code, error.strerror or str(error))


class _Events(FileSystemEventHandler):
    """What escapes from here would end watchdog's dispatcher, and all events with it."""

    def __init__(self, nudge: Callable[[], None], log: Any) -> None:
        self._nudge = nudge
        self._log = log
        self._has_new_directory = False

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._has_new_directory |= event.is_directory
        self.nudge()

    def nudge_again(self) -> None:
        if self._has_new_directory:
            self._has_new_directory = False
            self.nudge()

    def nudge(self) -> None:
        try:
            self._nudge()
        except Exception as error:  # noqa: BLE001 - the top of a loop that is not ours
            self._log.error("ring.failed", code=type(error).__name__, exc_info=error)


class _Warnings(logging.Handler):
    """Nudges at every warning of watchdog's: events may have been lost (``IN_Q_OVERFLOW``)."""

    def __init__(self, events: _Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging's signature
        self._events.nudge()
